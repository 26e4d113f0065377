//! Popularity of items and activity of users, and groups of either.

use super::interactions::{Csr, Interactions, Split};

/// Train counts that bound the item groups of the paper's Adressa figures; a last group lies above.
pub const ITEM_CUTS: [u32; 5] = [10, 50, 100, 200, 500];
/// Train counts that bound the user groups of the paper's Adressa figures; a last group lies above.
pub const USER_CUTS: [u32; 5] = [5, 7, 10, 15, 20];

/// `[I]`: training interactions of each item, n_i.
pub fn item_counts(data: &Interactions) -> Vec<u32> {
    degrees(data.by_item(Split::Train))
}

/// `[U]`: training interactions of each user.
pub fn user_counts(data: &Interactions) -> Vec<u32> {
    degrees(data.by_user(Split::Train))
}

/// Length of each row.
pub fn degrees(csr: Csr<'_>) -> Vec<u32> {
    (0..csr.rows() as u32).map(|r| csr.degree(r)).collect()
}

/// Counts in ascending order. Of those that are 0 there is only the number: a small file may name billions of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortedCounts {
    zeros: u64,
    /// The others, ascending.
    rest: Vec<u32>,
}

impl FromIterator<u32> for SortedCounts {
    fn from_iter<T: IntoIterator<Item = u32>>(counts: T) -> Self {
        let mut sorted = SortedCounts::zeros(0);
        for count in counts {
            match count {
                0 => sorted.zeros += 1,
                _ => sorted.rest.push(count),
            }
        }
        sorted.rest.sort_unstable();
        sorted
    }
}

impl SortedCounts {
    /// `counts` in order.
    pub fn of(counts: &[u32]) -> Self {
        counts.iter().copied().collect()
    }

    /// So many that are 0.
    pub fn zeros(n: u32) -> Self {
        SortedCounts { zeros: n.into(), rest: Vec::new() }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.zeros + self.positive()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are not 0.
    pub fn positive(&self) -> u64 {
        self.rest.len() as u64
    }

    /// The count at `place`, from 0.
    ///
    /// # Panics
    /// If `place` is not below [`SortedCounts::len`].
    pub fn at(&self, place: u64) -> u32 {
        place.checked_sub(self.zeros).map_or(0, |place| self.rest[place as usize])
    }

    /// Gini coefficient: sum over j = 1..n of (2 j - n - 1) f_j, divided by n times the sum of f, where f are the
    /// counts in ascending order: 0 if all are equal, 1 - 1/n if one has everything. 0 if there is nothing.
    pub fn gini(&self) -> f64 {
        let n = i128::from(self.len());
        let total = i128::from(sum(&self.rest));
        if total == 0 {
            return 0.0;
        }
        let places = i128::from(self.zeros) + 1..;
        let weighted: i128 =
            self.rest.iter().zip(places).map(|(&f, place)| (2 * place - n - 1) * i128::from(f)).sum();
        weighted as f64 / (n * total) as f64
    }

    /// The smallest number of members whose counts add up to at least `share` of the total.
    pub fn head_size(&self, share: f64) -> usize {
        let wanted = share * sum(&self.rest) as f64;
        let mut covered = 0u64;
        let needed = |&&count: &&u32| {
            let needed = (covered as f64) < wanted;
            covered += u64::from(count);
            needed
        };
        self.rest.iter().rev().take_while(needed).count()
    }

    /// Share of the total that the top `part` of the members (rounded up) hold.
    pub fn head_share(&self, part: f64) -> f64 {
        let total = sum(&self.rest);
        if total == 0 {
            return 0.0;
        }
        let head = (part * self.len() as f64).ceil() as usize;
        let others = self.rest.len().saturating_sub(head);
        sum(&self.rest[others..]) as f64 / total as f64
    }
}

fn sum(counts: &[u32]) -> u64 {
    counts.iter().map(|&c| u64::from(c)).sum()
}

/// Items or users in groups, from the least to the most popular (or active).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Names, ready for a table or an axis.
    pub names: Vec<String>,
    /// Group of each member.
    pub of: Vec<u8>,
}

impl Groups {
    /// Groups by count: up to `cuts[0]`, up to `cuts[1]`, ..., above the last cut.
    ///
    /// # Panics
    /// If `cuts` is empty, not ascending, or longer than 254.
    pub fn by_cuts(counts: &[u32], cuts: &[u32]) -> Groups {
        assert!(cuts.is_sorted() && (1..255).contains(&cuts.len()), "cuts {cuts:?}");
        let names =
            (cuts.iter().map(|c| format!("<={c}"))).chain(cuts.last().map(|c| format!(">{c}"))).collect();
        Groups { names, of: counts.iter().map(|&c| cuts.partition_point(|&cut| cut < c) as u8).collect() }
    }

    /// `groups` groups of equally many members (to within one), ordered by count and, among equals, by id.
    pub fn equal_size(counts: &[u32], groups: u8) -> Groups {
        let members = counts.len();
        Groups::ranked(counts, groups, |rank, _| rank * usize::from(groups) / members.max(1))
    }

    /// `groups` groups with equal shares of the interactions, as far as whole members allow: a member belongs where the
    /// middle of its interactions falls (on a boundary: above it) when all are laid out by count and, among equals, by
    /// id.
    pub fn equal_share(counts: &[u32], groups: u8) -> Groups {
        let total = sum(counts);
        let mut before = 0;
        Groups::ranked(counts, groups, |_, count| {
            let middle = 2 * before + u128::from(count);
            before += u128::from(count);
            (middle * u128::from(groups) / (2 * u128::from(total.max(1)))) as usize
        })
    }

    fn ranked(counts: &[u32], groups: u8, mut group: impl FnMut(usize, u32) -> usize) -> Groups {
        assert!(groups > 0, "no groups");
        let mut order: Vec<u32> = (0..counts.len() as u32).collect();
        order.sort_unstable_by_key(|&k| (counts[k as usize], k));
        let mut of = vec![0; counts.len()];
        for (rank, &k) in order.iter().enumerate() {
            of[k as usize] = group(rank, counts[k as usize]).min(usize::from(groups) - 1) as u8;
        }
        Groups { names: (1..=groups).map(|g| format!("{g}/{groups}")).collect(), of }
    }

    /// Members of each group.
    pub fn sizes(&self) -> Vec<u32> {
        let mut sizes = vec![0; self.names.len()];
        for &group in &self.of {
            sizes[usize::from(group)] += 1;
        }
        sizes
    }

    /// Sum of the members' `counts` in each group.
    ///
    /// # Panics
    /// If there is not one count for each member.
    pub fn totals(&self, counts: &[u32]) -> Vec<u64> {
        assert_eq!(self.of.len(), counts.len(), "one count for each member");
        let mut totals = vec![0; self.names.len()];
        for (&group, &count) in self.of.iter().zip(counts) {
            totals[usize::from(group)] += u64::from(count);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_inclusive() {
        let groups = Groups::by_cuts(&[0, 10, 11, 500, 501], &ITEM_CUTS);
        assert_eq!(groups.of, [0, 0, 1, 4, 5]);
        assert_eq!(groups.names, ["<=10", "<=50", "<=100", "<=200", "<=500", ">500"]);
        assert_eq!(groups.sizes(), [2, 1, 0, 0, 1, 1]);
    }

    #[test]
    fn equal_groups_have_equal_size_or_share() {
        let counts = [1, 1, 1, 1, 4, 8, 2, 2];
        assert_eq!(Groups::equal_size(&counts, 4).sizes(), [2, 2, 2, 2]);
        let shares = Groups::equal_share(&counts, 2);
        // The middle of the 4 lies on the boundary, which belongs to the upper group.
        assert_eq!(shares.totals(&counts), [8, 12]);
        assert_eq!(shares.of, [0, 0, 0, 0, 1, 1, 0, 0]);
        assert_eq!(Groups::equal_share(&[0, 0], 3).of, [0, 0]);
        assert!(Groups::equal_size(&[], 3).of.is_empty());
    }

    #[test]
    fn concentration_of_known_lists() {
        let of = SortedCounts::of;
        assert_eq!(of(&[5, 5, 5]).gini(), 0.0);
        assert!((of(&[0, 0, 0, 9]).gini() - 0.75).abs() < 1e-12);
        assert_eq!(of(&[1, 7, 1, 1]).head_size(0.7), 1);
        assert_eq!(of(&[1, 7, 1, 1]).head_size(0.8), 2);
        assert_eq!(of(&[0, 0]).head_size(0.8), 0);
        assert!((of(&[1, 7, 1, 1, 0]).head_share(0.2) - 0.7).abs() < 1e-12);
        assert_eq!(of(&[1, 7, 0, 0, 0]).head_share(0.8), 1.0);
        let counts = of(&[3, 0, 1, 0]);
        assert_eq!([0, 1, 2, 3].map(|place| counts.at(place)), [0, 0, 1, 3]);
        assert_eq!((counts.len(), counts.positive(), of(&[]).is_empty()), (4, 2, true));
    }
}
