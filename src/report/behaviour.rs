//! What a model recommends to whom: exposure of items, item recall, gates; and the groups they are shown by.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{
    backend::lists::ranker,
    data::{
        Csr, Interactions, Split,
        popularity::{Groups, ITEM_CUTS, USER_CUTS, item_counts, user_counts},
    },
    device::Resolved,
    error::Result,
    eval::{Evaluation, Mask},
    model::{Branch, Model},
};

/// Length of the lists that are looked at, unless there are fewer items.
pub const LIST_LENGTH: usize = 20;

/// Length of the lists that are looked at, of so many items.
pub fn list_length(items: u32) -> usize {
    LIST_LENGTH.min(items as usize)
}

/// Groups, where a dataset has no cuts of its own.
const QUANTILES: u8 = 6;

/// Items and users in groups, from the least to the most popular and active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// Items by training interactions.
    pub items: Groups,
    /// Users by training interactions.
    pub users: Groups,
    /// How the groups were formed, for captions.
    pub note: String,
}

impl Grouping {
    /// The cuts that the paper's authors use for Adressa.
    pub fn adressa(data: &Interactions) -> Self {
        let by_cuts = |counts: &[u32], cuts: &[u32]| {
            let between = cuts.windows(2).map(|pair| format!("{}–{}", pair[0] + 1, pair[1]));
            let names = std::iter::once(format!("≤{}", cuts[0])).chain(between);
            let names = names.chain(cuts.last().map(|cut| format!(">{cut}"))).collect();
            Groups { names, ..Groups::by_cuts(counts, cuts) }
        };
        Grouping {
            items: by_cuts(&item_counts(data), &ITEM_CUTS),
            users: by_cuts(&user_counts(data), &USER_CUTS),
            note: "Groups are by training interactions, with the cuts of the authors' program.".into(),
        }
    }

    /// Six groups of equally many items, and of equally many users.
    pub fn quantiles(data: &Interactions) -> Self {
        let equal = |counts: &[u32]| {
            let groups = Groups::equal_size(counts, QUANTILES);
            let range = |group: u8| {
                let members = || groups.of.iter().zip(counts).filter(|(of, _)| **of == group).map(|(_, n)| n);
                match (members().min(), members().max()) {
                    (Some(least), Some(most)) if least < most => format!("{least}–{most}"),
                    (Some(least), _) => least.to_string(),
                    _ => "none".into(),
                }
            };
            Groups { names: (0..QUANTILES).map(range).collect(), of: groups.of.clone() }
        };
        Grouping {
            items: equal(&item_counts(data)),
            users: equal(&user_counts(data)),
            note: format!(
                "Groups are {QUANTILES} of equally many members, by training interactions; the paper's cuts are for \
                 Adressa alone. Members with as many interactions may fall on both sides of a boundary."
            ),
        }
    }
}

/// What a model does, item by item and user by user.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// `[I]`: in how many of all users' lists each item is.
    pub frequency: Vec<u32>,
    /// `[I]`: share of an item's test interactions whose user has it in the list; none where it has no test
    /// interaction.
    pub item_recall: Vec<Option<f64>>,
    /// Gates of the branches.
    pub gates: Gates,
}

/// Gates sigma(y), where the model has the branch. The `ego` ones of LightGCN are of the parameters before propagation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gates {
    /// `[U]`.
    pub users: Option<Vec<f64>>,
    /// `[I]`.
    pub items: Option<Vec<f64>>,
    /// `[U]`.
    pub ego_users: Option<Vec<f64>>,
    /// `[I]`.
    pub ego_items: Option<Vec<f64>>,
}

impl Gates {
    /// The gates of `model`.
    pub fn of(model: &Model) -> Self {
        let gates = |branch: &Option<Branch>, table: &[f32]| {
            let branch = branch.as_ref()?;
            let gate = |x: &[f32]| 1.0 / (1.0 + libm::exp(-branch.logit(x)));
            Some(table.chunks_exact(model.dim).map(gate).collect())
        };
        let ego = |side: usize, branch| model.ego.as_ref().and_then(|ego| gates(branch, &ego[side]));
        Gates {
            users: gates(&model.user_branch, &model.user_embedding),
            items: gates(&model.item_branch, &model.item_embedding),
            ego_users: ego(0, &model.user_branch),
            ego_items: ego(1, &model.item_branch),
        }
    }
}

impl Behaviour {
    /// What `model` does on `data`, ranking in its own way: lists of [`list_length`] for all users, without what `mask` says.
    /// `evaluation` is of the same model on the test split, with the model's own ranking as its only one.
    ///
    /// # Errors
    /// If lists cannot be formed.
    pub fn of(
        model: &Model,
        data: &Interactions,
        evaluation: &Evaluation,
        mask: Mask,
        device: &Resolved,
    ) -> Result<Self> {
        let items = data.items() as usize;
        let length = list_length(data.items());
        let tables = model.tables()?;
        let ranker = ranker(device, &tables, &[model.metadata.ranking], length)?;
        let mut seen: Vec<Csr<'_>> = vec![data.by_user(Split::Train)];
        if mask == Mask::TrainAndValid {
            seen.push(data.by_user(Split::Valid));
        }
        let counts: Vec<AtomicU32> = (0..items).map(|_| AtomicU32::new(0)).collect();
        let users: Vec<u32> = (0..data.users()).collect();
        ranker.map_blocks(&users, &seen, |block| {
            for row in 0..block.users.len() {
                for candidate in block.list(row, 0) {
                    counts[candidate.item() as usize].fetch_add(1, Ordering::Relaxed);
                }
            }
        })?;

        let mut found = vec![0u32; items];
        for position in 0..evaluation.user_ids().len() {
            for hit in evaluation.hits_of(position, 0).iter().filter(|hit| hit.rank as usize <= length) {
                found[hit.item as usize] += 1;
            }
        }
        let test = data.by_item(Split::Test);
        let item_recall = (0u32..).zip(&found).map(|(item, &found)| {
            let relevant = test.degree(item);
            (relevant > 0).then(|| f64::from(found) / f64::from(relevant))
        });
        Ok(Behaviour {
            frequency: counts.into_iter().map(AtomicU32::into_inner).collect(),
            item_recall: item_recall.collect(),
            gates: Gates::of(model),
        })
    }
}

/// Mean of the members' values in each group; none where no member has one.
pub fn group_means(groups: &Groups, values: impl IntoIterator<Item = Option<f64>>) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0u32); groups.names.len()];
    for (&group, value) in groups.of.iter().zip(values) {
        if let Some(value) = value {
            let (sum, count) = &mut sums[usize::from(group)];
            *sum += value;
            *count += 1;
        }
    }
    sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / f64::from(count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Edges, InteractionsBuilder,
        eval::Evaluator,
        model::{Metadata, Ranking},
    };

    fn data() -> Interactions {
        InteractionsBuilder::new(3, 3)
            .split(Split::Train, Edges::from_pairs([(0, 0), (1, 0), (2, 0), (0, 1)]))
            .split(Split::Test, Edges::from_pairs([(1, 1), (2, 1), (1, 2)]))
            .build()
            .unwrap()
    }

    #[test]
    fn lists_hits_and_gates_are_counted_by_hand() {
        let data = data();
        // All users alike: item 0 before 1 before 2, by scores 3, 2, 1.
        let model = Model {
            dim: 1,
            user_embedding: vec![1.0; 3],
            item_embedding: vec![3.0, 2.0, 1.0],
            user_branch: Some(Branch::Linear { weight: vec![0.0] }),
            item_branch: None,
            ego: None,
            kept: Default::default(),
            item_popularity: vec![3, 1, 0],
            metadata: Metadata {
                backbone: "mf".into(),
                objective: "bce".into(),
                pairing: None,
                branch_input: Default::default(),
                ranking: Ranking::default(),
                data: String::new(),
                carved: None,
                storage: Default::default(),
                seed: 0,
                version: String::new(),
            },
        };
        let evaluation = Evaluator::new(&data, Split::Test).ks(&[2]).evaluate(&model).unwrap();
        let behaviour = Behaviour::of(&model, &data, &evaluation, Mask::Train, &Resolved::Cpu).unwrap();
        // Lists of three, without training items: user 0 gets 2, the others 1 and 2.
        assert_eq!(behaviour.frequency, [0, 2, 3]);
        // Evaluated at 2: users 1 and 2 find both of theirs.
        assert_eq!(behaviour.item_recall, [None, Some(1.0), Some(1.0)]);
        assert_eq!((behaviour.gates.users, behaviour.gates.items), (Some(vec![0.5; 3]), None));
    }

    #[test]
    fn groups_are_named_by_their_counts() {
        let grouping = Grouping::adressa(&data());
        assert_eq!(grouping.items.names, ["≤10", "11–50", "51–100", "101–200", "201–500", ">500"]);
        assert_eq!(grouping.items.of, [0, 0, 0]);
        let grouping = Grouping::quantiles(&data());
        assert_eq!(grouping.items.names, ["0", "none", "1", "none", "3", "none"]);
        let groups = Groups { names: vec!["a".into(), "b".into()], of: vec![0, 1, 0] };
        assert_eq!(group_means(&groups, [Some(1.0), None, Some(2.0)]), [Some(1.5), None]);
    }
}
