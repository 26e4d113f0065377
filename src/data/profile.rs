//! What a dataset looks like: sizes, density, concentration, and what may be wrong with it.

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use super::{
    interactions::{Csr, Interactions, Split},
    popularity::{Groups, ITEM_CUTS, USER_CUTS, degrees, gini, head_share, head_size},
};

/// Numbers that describe a dataset; serialises to the JSON of `macr inspect --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// U.
    pub users: u32,
    /// I.
    pub items: u32,
    /// Interactions of all splits together.
    pub interactions: u64,
    /// Interactions / (U I), the column that the paper's Table 1 calls sparsity.
    pub density: f64,
    /// The splits that hold interactions.
    pub splits: Vec<SplitProfile>,
    /// Training interactions of an item.
    pub popularity: Quantiles,
    /// Training interactions of a user.
    pub activity: Quantiles,
    /// Gini coefficient of popularity: 0 when all items are equal, towards 1 when one item has everything.
    pub popularity_gini: f64,
    /// Share of the training interactions that the most popular fifth of the items has.
    pub share_of_top_fifth: f64,
    /// The smallest number of items that has 80 % of the training interactions.
    pub items_covering_80_percent: usize,
    /// Users without training interactions.
    pub users_without_train: u32,
    /// Items without training interactions.
    pub items_without_train: u32,
    /// Users that are in valid or test but not in train: nothing is known of them.
    pub users_only_held_out: u32,
    /// Items that are in valid or test but not in train.
    pub items_only_held_out: u32,
    /// Pairs that two splits share; 0 in a sound dataset.
    pub duplicates: Duplicates,
    /// Identity of the data.
    pub checksum: String,
    /// Size of the interaction file.
    pub file_bytes: u64,
    /// Where the data came from, as JSON where it is JSON.
    pub provenance: Value,
}

/// One split in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitProfile {
    /// Which one.
    pub split: Split,
    /// Its interactions.
    pub interactions: u64,
    /// Interactions / (U I).
    pub density: f64,
    /// Users with interactions in it.
    pub users: u32,
    /// Items with interactions in it.
    pub items: u32,
    /// Smallest number of interactions of an item.
    pub least_per_item: u32,
    /// Largest number of interactions of an item.
    pub most_per_item: u32,
    /// Whether the times of the interactions are known.
    pub timestamps: bool,
    /// Whether ratings or weights are known.
    pub weights: bool,
}

/// Quantiles (nearest rank) of counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Quantiles {
    pub min: u32,
    pub p25: u32,
    pub p50: u32,
    pub p75: u32,
    pub p90: u32,
    pub p99: u32,
    pub max: u32,
}

impl Quantiles {
    /// Quantiles of `counts`; all 0 if there are none.
    pub fn of(counts: &[u32]) -> Self {
        let mut sorted = counts.to_vec();
        sorted.par_sort_unstable();
        let Some(&max) = sorted.last() else { return Quantiles::default() };
        let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        Quantiles { min: sorted[0], p25: at(25), p50: at(50), p75: at(75), p90: at(90), p99: at(99), max }
    }
}

/// Pairs that two splits share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// In train and in valid.
    pub train_valid: u64,
    /// In train and in test: the test is partly known to the model.
    pub train_test: u64,
    /// In valid and in test.
    pub valid_test: u64,
}

impl Profile {
    /// Looks at `data`.
    pub fn of(data: &Interactions) -> Self {
        let cells = f64::from(data.users()) * f64::from(data.items());
        let density = |n: u64| if cells > 0.0 { n as f64 / cells } else { 0.0 };
        let [train_users, train_items] =
            [degrees(data.by_user(Split::Train)), degrees(data.by_item(Split::Train))];
        let splits: Vec<SplitProfile> = Split::ALL
            .into_iter()
            .filter(|&split| data.count(split) > 0)
            .map(|split| {
                let by_item = degrees(data.by_item(split));
                SplitProfile {
                    split,
                    interactions: data.count(split),
                    density: density(data.count(split)),
                    users: present(&degrees(data.by_user(split))),
                    items: present(&by_item),
                    least_per_item: by_item.iter().copied().min().unwrap_or(0),
                    most_per_item: by_item.iter().copied().max().unwrap_or(0),
                    timestamps: data.timestamps(split).is_some(),
                    weights: data.weights(split).is_some(),
                }
            })
            .collect();
        let interactions = splits.iter().map(|s| s.interactions).sum();
        let provenance = data.provenance();
        Profile {
            users: data.users(),
            items: data.items(),
            interactions,
            density: density(interactions),
            popularity: Quantiles::of(&train_items),
            activity: Quantiles::of(&train_users),
            popularity_gini: gini(&train_items),
            share_of_top_fifth: head_share(&train_items, 0.2),
            items_covering_80_percent: head_size(&train_items, 0.8),
            users_without_train: data.users() - present(&train_users),
            items_without_train: data.items() - present(&train_items),
            users_only_held_out: only_held_out(&train_users, |split| data.by_user(split)),
            items_only_held_out: only_held_out(&train_items, |split| data.by_item(split)),
            duplicates: Duplicates {
                train_valid: shared(data, Split::Train, Split::Valid),
                train_test: shared(data, Split::Train, Split::Test),
                valid_test: shared(data, Split::Valid, Split::Test),
            },
            checksum: data.checksum(),
            file_bytes: data.file_bytes(),
            provenance: serde_json::from_str(&provenance).unwrap_or_else(|_| provenance.as_ref().into()),
            splits,
        }
    }
}

fn present(counts: &[u32]) -> u32 {
    counts.iter().filter(|&&n| n > 0).count() as u32
}

fn only_held_out<'a>(train: &[u32], rows: impl Fn(Split) -> Csr<'a>) -> u32 {
    let (valid, test) = (rows(Split::Valid), rows(Split::Test));
    let held_out = |k: u32| valid.degree(k) + test.degree(k) > 0;
    (0u32..).zip(train).filter(|&(k, &n)| n == 0 && held_out(k)).count() as u32
}

/// Pairs that are in both splits: a merge of ascending rows.
fn shared(data: &Interactions, a: Split, b: Split) -> u64 {
    let (a, b) = (data.by_user(a), data.by_user(b));
    (0..data.users())
        .into_par_iter()
        .map(|user| {
            let (few, many) = if a.degree(user) < b.degree(user) {
                (a.row(user), b.row(user))
            } else {
                (b.row(user), a.row(user))
            };
            few.iter().filter(|item| many.binary_search(item).is_ok()).count() as u64
        })
        .sum()
}

/// A grouping of items or users with what each group holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grouping {
    /// What is grouped, and by what.
    pub by: &'static str,
    /// From the least to the most popular (or active).
    pub groups: Vec<Group>,
}

/// One group of a [`Grouping`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Name of the group.
    pub name: String,
    /// Items or users in it.
    pub members: u32,
    /// Their training interactions.
    pub train: u64,
    /// Their validation interactions.
    pub valid: u64,
    /// Their test interactions.
    pub test: u64,
}

/// Items and users by the paper's cuts of their train counts, and items in fifths of equal size and of equal share.
pub fn groupings(data: &Interactions) -> Vec<Grouping> {
    let items = Split::ALL.map(|split| degrees(data.by_item(split)));
    let users = Split::ALL.map(|split| degrees(data.by_user(split)));
    let grouping = |by, groups: Groups, counts: &[Vec<u32>; 3]| {
        let [train, valid, test] = [0, 1, 2].map(|split| groups.totals(&counts[split]));
        let members = groups.sizes();
        let of =
            |(k, name)| Group { name, members: members[k], train: train[k], valid: valid[k], test: test[k] };
        Grouping { by, groups: groups.names.into_iter().enumerate().map(of).collect() }
    };
    vec![
        grouping("items by training interactions", Groups::by_cuts(&items[0], &ITEM_CUTS), &items),
        grouping("items in fifths of equal size", Groups::equal_size(&items[0], 5), &items),
        grouping("items in fifths of equal share", Groups::equal_share(&items[0], 5), &items),
        grouping("users by training interactions", Groups::by_cuts(&users[0], &USER_CUTS), &users),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Edges, InteractionsBuilder};

    #[test]
    fn finds_what_is_wrong() {
        let data = InteractionsBuilder::new(4, 5)
            .split(Split::Train, Edges::from_pairs([(0, 0), (0, 1), (1, 0), (2, 0)]))
            .split(Split::Valid, Edges::from_pairs([(1, 1), (0, 1)]))
            .split(Split::Test, Edges::from_pairs([(3, 0), (0, 4), (0, 0), (1, 0)]))
            .provenance("hand made")
            .build()
            .unwrap();
        let p = Profile::of(&data);
        assert_eq!((p.interactions, p.density), (10, 0.5));
        assert_eq!((p.users_without_train, p.users_only_held_out), (1, 1));
        assert_eq!((p.items_without_train, p.items_only_held_out), (3, 1));
        assert_eq!(p.duplicates, Duplicates { train_valid: 1, train_test: 2, valid_test: 0 });
        assert_eq!((p.popularity.max, p.popularity.p50, p.activity.max), (3, 0, 2));
        assert_eq!((p.items_covering_80_percent, p.share_of_top_fifth), (2, 0.75));
        assert_eq!(p.provenance, "hand made");
        assert_eq!(p.splits.iter().map(|s| s.items).collect::<Vec<_>>(), [2, 1, 2]);
        for grouping in groupings(&data) {
            assert_eq!(grouping.groups.iter().map(|g| g.train).sum::<u64>(), 4, "{}", grouping.by);
        }
    }

    #[test]
    fn quantiles_are_nearest_rank() {
        let q = Quantiles::of(&(1..=100).collect::<Vec<_>>());
        assert_eq!((q.min, q.p25, q.p50, q.p75, q.p90, q.p99, q.max), (1, 25, 50, 75, 90, 99, 100));
        assert_eq!(Quantiles::of(&[7]).p99, 7);
        assert_eq!(Quantiles::of(&[]), Quantiles::default());
    }
}
