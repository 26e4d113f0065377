//! What a dataset looks like: sizes, density, concentration, and what may be wrong with it.

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use super::{
    interactions::{Csr, Interactions, Split},
    popularity::{Groups, ITEM_CUTS, SortedCounts, USER_CUTS, degrees},
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
    pub fn of(counts: &SortedCounts) -> Self {
        let n = counts.len();
        if n == 0 {
            return Quantiles::default();
        }
        let at = |percent: u64| counts.at((n * percent).div_ceil(100).max(1) - 1);
        Quantiles {
            min: at(0),
            p25: at(25),
            p50: at(50),
            p75: at(75),
            p90: at(90),
            p99: at(99),
            max: at(100),
        }
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
    /// Looks at `data`. What it takes follows from the interactions, not from the rows, of which a small file may name
    /// billions.
    pub fn of(data: &Interactions) -> Self {
        let cells = f64::from(data.users()) * f64::from(data.items());
        let density = |n: u64| if cells > 0.0 { n as f64 / cells } else { 0.0 };
        let [train_users, train_items] = counts(data, Split::Train);
        let [users_only_held_out, items_only_held_out] = only_held_out(data);
        let splits: Vec<SplitProfile> = Split::ALL
            .into_iter()
            .filter(|&split| data.count(split) > 0)
            .map(|split| {
                let [users, items] = counts(data, split);
                let Quantiles { min, max, .. } = Quantiles::of(&items);
                SplitProfile {
                    split,
                    interactions: data.count(split),
                    density: density(data.count(split)),
                    users: users.positive() as u32,
                    items: items.positive() as u32,
                    least_per_item: min,
                    most_per_item: max,
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
            popularity_gini: train_items.gini(),
            share_of_top_fifth: train_items.head_share(0.2),
            items_covering_80_percent: train_items.head_size(0.8),
            users_without_train: data.users() - train_users.positive() as u32,
            items_without_train: data.items() - train_items.positive() as u32,
            users_only_held_out,
            items_only_held_out,
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

/// Rows by user and by item of a split with interactions. Of one without, no row is looked at.
fn rows(data: &Interactions, split: Split) -> Option<[Csr<'_>; 2]> {
    (data.count(split) > 0).then(|| [data.by_user(split), data.by_item(split)])
}

/// Interactions of the users and of the items.
fn counts(data: &Interactions, split: Split) -> [SortedCounts; 2] {
    match rows(data, split) {
        Some(rows) => rows.map(|csr| (0..csr.rows() as u32).map(|row| csr.degree(row)).collect()),
        None => [data.users(), data.items()].map(SortedCounts::zeros),
    }
}

/// Users and items that are in valid or test but not in train.
fn only_held_out(data: &Interactions) -> [u32; 2] {
    let train = rows(data, Split::Train);
    let held_out: Vec<_> = [Split::Valid, Split::Test].into_iter().filter_map(|s| rows(data, s)).collect();
    let Some(first) = held_out.first() else { return [0; 2] };
    [0, 1].map(|side| {
        let has = |rows: &[Csr<'_>; 2], row| rows[side].degree(row) > 0;
        let only = |&row: &u32| {
            held_out.iter().any(|rows| has(rows, row)) && !train.iter().any(|rows| has(rows, row))
        };
        (0..first[side].rows() as u32).filter(only).count() as u32
    })
}

/// Pairs that are in both splits: a merge of ascending rows.
fn shared(data: &Interactions, a: Split, b: Split) -> u64 {
    let (Some([a, _]), Some([b, _])) = (rows(data, a), rows(data, b)) else { return 0 };
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
        let q = Quantiles::of(&(1..=100).collect());
        assert_eq!((q.min, q.p25, q.p50, q.p75, q.p90, q.p99, q.max), (1, 25, 50, 75, 90, 99, 100));
        assert_eq!(Quantiles::of(&SortedCounts::of(&[7])).p99, 7);
        assert_eq!(Quantiles::of(&SortedCounts::zeros(0)), Quantiles::default());
        let q = Quantiles::of(&SortedCounts::of(&[5, 0, 0, 9]));
        assert_eq!((q.min, q.p50, q.p75, q.max), (0, 0, 5, 9));
    }
}
