//! Evaluates a model on a split: one scoring pass, every ranking, every k.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    groups::{GroupBy, GroupOutcome, ItemGroups},
    metric::{AllLists, LIST_METRICS, USER_METRICS, UserList, ideal},
};
use crate::{
    backend::lists::{Block, ranker},
    data::{Csr, Interactions, Split},
    device::Resolved,
    error::{Error, Result},
    model::{Model, Ranking, Tables},
};

/// Which items are left out of a user's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mask {
    /// The user's training items, as in the reference code.
    #[default]
    Train,
    /// When testing, the user's validation items too.
    TrainAndValid,
}

/// Ranks all items for every user who has items in a split, and measures the lists.
///
/// ```
/// use macr::{Edges, InteractionsBuilder, Split, eval::Evaluator, model::Tables};
/// let data = InteractionsBuilder::new(1, 3)
///     .split(Split::Train, Edges::from_pairs([(0, 0)]))
///     .split(Split::Test, Edges::from_pairs([(0, 2)]))
///     .build()?;
/// let tables = Tables::new(1, &[1.0], &[3.0, 2.0, 1.0], None, &[1, 0, 0])?;
/// let evaluation = Evaluator::new(&data, Split::Test).ks(&[1, 2]).evaluate_tables(&tables)?;
/// assert_eq!(evaluation.results[1].metrics.get("recall"), Some(1.0));
/// # Ok::<(), macr::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Evaluator<'a> {
    data: &'a Interactions,
    split: Split,
    ks: Vec<usize>,
    rankings: Vec<Ranking>,
    mask: Mask,
    groups: Option<GroupBy>,
    device: &'a Resolved,
}

impl<'a> Evaluator<'a> {
    /// Evaluates on `split` of `data`, at k = 20.
    pub fn new(data: &'a Interactions, split: Split) -> Self {
        let (ks, rankings, mask) = (vec![20], Vec::new(), Mask::Train);
        Evaluator { data, split, ks, rankings, mask, groups: None, device: &Resolved::Cpu }
    }

    /// Cuts lists at each of `ks`.
    pub fn ks(mut self, ks: &[usize]) -> Self {
        self.ks = ks.to_vec();
        self
    }

    /// Ranks in each of these ways, all from one scoring pass. Unless set, a model ranks in its own way and bare
    /// tables rank by the total effect.
    pub fn rankings(mut self, rankings: &[Ranking]) -> Self {
        self.rankings = rankings.to_vec();
        self
    }

    /// Sets which items are left out of the lists.
    pub fn mask(mut self, mask: Mask) -> Self {
        self.mask = mask;
        self
    }

    /// Ranks on `device` instead of the CPU; results are the same bits.
    pub fn device(mut self, device: &'a Resolved) -> Self {
        self.device = device;
        self
    }

    /// Also measures how well items are found by their popularity.
    pub fn groups(mut self, by: GroupBy) -> Self {
        self.groups = Some(by);
        self
    }

    /// Evaluates a model.
    ///
    /// # Errors
    /// [`Error::Config`] for a k or a ranking that cannot be used; [`Error::Data`] if the split is empty, or model
    /// and data differ in their numbers of users or items.
    pub fn evaluate(&self, model: &Model) -> Result<Evaluation> {
        self.run(&model.tables()?, model.metadata.ranking)
    }

    /// Evaluates tables that need not belong to a finished model.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn evaluate_tables(&self, tables: &Tables<'_>) -> Result<Evaluation> {
        self.run(tables, Ranking::default())
    }

    fn run(&self, tables: &Tables<'_>, own: Ranking) -> Result<Evaluation> {
        let rankings = if self.rankings.is_empty() { vec![own] } else { self.rankings.clone() };
        let users = self.check(tables)?;
        let Some(&longest) = self.ks.iter().max() else {
            return Err(Error::config(
                "k",
                "",
                "no length of lists is given",
                "give at least one k, as in --k 20",
            ));
        };
        if let Some(k) = self.ks.iter().find(|&&k| k == 0) {
            return Err(Error::config("k", k, "an empty list cannot be measured", "give a k of at least 1"));
        }
        let ranker = ranker(self.device, tables, &rankings, longest)?;
        let mut seen = vec![self.data.by_user(Split::Train)];
        if self.mask == Mask::TrainAndValid && self.split == Split::Test {
            seen.push(self.data.by_user(Split::Valid));
        }

        let relevant = self.data.by_user(self.split);
        let exposure = Exposure::new(rankings.len(), &self.ks, tables.items() as usize);
        let blocks = ranker.map_blocks(&users, &seen, |block| {
            exposure.count(block);
            hits_of_block(block, rankings.len(), relevant)
        })?;
        let mut hits = Hits { starts: vec![0], hits: Vec::new() };
        for (lengths, block) in blocks {
            for length in lengths {
                hits.starts.push(hits.starts[hits.starts.len() - 1] + u64::from(length));
            }
            hits.hits.extend(block);
        }
        let relevant = users.iter().map(|&user| relevant.degree(user)).collect();
        let mut evaluation = Evaluation {
            users: users.len() as u64,
            results: Vec::new(),
            ids: users,
            relevant,
            variants: rankings.len(),
            hits,
            frequency: exposure.into_frequencies(),
        };
        evaluation.results = self.outcomes(&evaluation, &rankings, tables);
        Ok(evaluation)
    }

    /// The users to evaluate, ascending.
    fn check(&self, tables: &Tables<'_>) -> Result<Vec<u32>> {
        let (data, split) = (self.data, self.split);
        if split == Split::Train {
            return Err(Error::config(
                "split",
                split,
                "training items are never in the lists",
                "evaluate on `valid` or `test`",
            ));
        }
        if (data.users(), data.items()) != (tables.users(), tables.items()) {
            return Err(Error::data(
                format!(
                    "the model has {} users and {} items, the data has {} and {}",
                    tables.users(),
                    tables.items(),
                    data.users(),
                    data.items()
                ),
                "evaluate on the data that the model was trained on",
            ));
        }
        let relevant = data.by_user(split);
        let users: Vec<u32> = (0..data.users()).filter(|&user| relevant.degree(user) > 0).collect();
        if users.is_empty() {
            return Err(Error::data(
                format!("the data has no {split} interactions"),
                "split it with `macr split ...`, or choose another --split",
            ));
        }
        Ok(users)
    }

    fn outcomes(&self, evaluation: &Evaluation, rankings: &[Ranking], tables: &Tables<'_>) -> Vec<Outcome> {
        let ideal = ideal(self.ks.iter().copied().max().unwrap_or(0));
        let popularity = tables.popularity();
        let groups = self.groups.map(|by| ItemGroups::new(by, popularity));
        let cases: Vec<(usize, usize)> = (0..rankings.len())
            .flat_map(|variant| (0..self.ks.len()).map(move |cut| (variant, cut)))
            .collect();
        // Every mean is a sum in the order of the users, whichever thread forms it.
        let outcome = |(index, &(variant, cut)): (usize, &(usize, usize))| {
            let k = self.ks[cut];
            let mut sums = [0.0; USER_METRICS.len()];
            evaluation.for_each_user(variant, k, &ideal, |list| {
                for (sum, metric) in sums.iter_mut().zip(&USER_METRICS) {
                    *sum += (metric.value)(list);
                }
            });
            let lists = AllLists { frequency: &evaluation.frequency[index], popularity };
            let means = USER_METRICS.iter().zip(sums).map(|(m, sum)| (m.name, sum / evaluation.users as f64));
            let exposure = LIST_METRICS.iter().map(|metric| (metric.name, (metric.value)(&lists)));
            Outcome {
                c: rankings[variant].c,
                tau: rankings[variant].tau,
                k,
                metrics: Scores(means.chain(exposure).collect()),
                groups: groups.as_ref().map(|groups| self.by_group(evaluation, groups, variant, index, k)),
            }
        };
        cases.par_iter().enumerate().map(outcome).collect()
    }

    fn by_group(
        &self,
        evaluation: &Evaluation,
        groups: &ItemGroups,
        variant: usize,
        index: usize,
        k: usize,
    ) -> Vec<GroupOutcome> {
        let (mut items, mut interactions, mut listed, mut found) = {
            let zero = || vec![0u64; groups.names.len()];
            (zero(), zero(), zero(), zero())
        };
        let by_item = self.data.by_item(self.split);
        for (item, &group) in groups.of_item.iter().enumerate() {
            items[group as usize] += 1;
            interactions[group as usize] += u64::from(by_item.degree(item as u32));
            listed[group as usize] += u64::from(evaluation.frequency[index][item]);
        }
        for position in 0..evaluation.ids.len() {
            for hit in evaluation.hits_of(position, variant).iter().filter(|hit| hit.rank as usize <= k) {
                found[groups.of_item[hit.item as usize] as usize] += 1;
            }
        }
        let ratio = |a: u64, b: u64| a as f64 / b as f64;
        (groups.names.iter().enumerate())
            .map(|(group, name)| GroupOutcome {
                group: name.clone(),
                items: items[group],
                interactions: interactions[group],
                recall: (interactions[group] > 0).then(|| ratio(found[group], interactions[group])),
                frequency: ratio(listed[group], items[group].max(1)),
            })
            .collect()
    }
}

/// The hits of a block's lists, and how many each list has, by user and ranking.
fn hits_of_block(block: &Block<'_>, variants: usize, relevant: Csr<'_>) -> (Vec<u32>, Vec<Hit>) {
    let (mut lengths, mut hits) = (Vec::with_capacity(block.users.len() * variants), Vec::new());
    for (row, &user) in block.users.iter().enumerate() {
        let relevant = relevant.row(user);
        for variant in 0..variants {
            let before = hits.len();
            for (rank, candidate) in (1..).zip(block.list(row, variant)) {
                if relevant.binary_search(&candidate.item()).is_ok() {
                    hits.push(Hit { rank, item: candidate.item() });
                }
            }
            lengths.push((hits.len() - before) as u32);
        }
    }
    (lengths, hits)
}

/// Counts in how many lists each item is. Sums of integers are the same in any order.
struct Exposure<'a> {
    ks: &'a [usize],
    /// `[V x ks, I]`.
    counts: Vec<Vec<AtomicU32>>,
}

impl<'a> Exposure<'a> {
    fn new(variants: usize, ks: &'a [usize], items: usize) -> Self {
        let zeros = || (0..items).map(|_| AtomicU32::new(0)).collect();
        Exposure { ks, counts: (0..variants * ks.len()).map(|_| zeros()).collect() }
    }

    fn count(&self, block: &Block<'_>) {
        for row in 0..block.users.len() {
            for (index, counts) in self.counts.iter().enumerate() {
                let (variant, k) = (index / self.ks.len(), self.ks[index % self.ks.len()]);
                for candidate in block.list(row, variant).iter().take(k) {
                    counts[candidate.item() as usize].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn into_frequencies(self) -> Vec<Vec<u32>> {
        self.counts.into_iter().map(|c| c.into_iter().map(AtomicU32::into_inner).collect()).collect()
    }
}

/// A relevant item in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Its rank, from 1.
    pub rank: u32,
    /// Its id.
    pub item: u32,
}

/// Hits of all lists, in the order of users and then rankings.
#[derive(Debug, Clone, PartialEq)]
struct Hits {
    /// `[users x V + 1]`, ascending, from 0.
    starts: Vec<u64>,
    hits: Vec<Hit>,
}

/// What an evaluation found: means in [`Evaluation::results`], and what they were formed from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of users who have relevant items.
    pub users: u64,
    /// One result for each ranking and each k, in the order of rankings and then ks.
    pub results: Vec<Outcome>,
    #[serde(skip)]
    ids: Vec<u32>,
    /// `[users]`: number of relevant items.
    #[serde(skip)]
    relevant: Vec<u32>,
    #[serde(skip)]
    variants: usize,
    #[serde(skip)]
    hits: Hits,
    /// `[results, I]`.
    #[serde(skip)]
    frequency: Vec<Vec<u32>>,
}

/// Metrics under one ranking at one k.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Counterfactual reference score.
    pub c: f32,
    /// Strength of the popularity adjustment.
    pub tau: f32,
    /// Cut-off, K.
    pub k: usize,
    /// Every metric of the registry.
    #[serde(flatten)]
    pub metrics: Scores,
    /// By group of items, least popular first, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupOutcome>>,
}

/// Values of metrics by name, in the order of the registry.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores(Vec<(&'static str, f64)>);

impl Scores {
    /// The value of the metric called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| *known == name).map(|&(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.0.iter().copied()
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Evaluation {
    /// The evaluated users, ascending.
    pub fn user_ids(&self) -> &[u32] {
        &self.ids
    }

    /// The values of a metric of accuracy for each of [`Evaluation::user_ids`], under ranking `variant` at `k`.
    ///
    /// # Errors
    /// [`Error::Unknown`] if no metric of accuracy has this name.
    ///
    /// # Panics
    /// If there is no ranking `variant`.
    pub fn per_user(&self, metric: &str, variant: usize, k: usize) -> Result<Vec<f64>> {
        assert!(variant < self.variants, "ranking {variant} of {}", self.variants);
        let Some(found) = USER_METRICS.iter().find(|known| known.name == metric) else {
            return Err(Error::unknown("metric", metric, USER_METRICS.iter().map(|known| known.name)));
        };
        let mut values = Vec::with_capacity(self.ids.len());
        self.for_each_user(variant, k, &ideal(k), |list| values.push((found.value)(list)));
        Ok(values)
    }

    /// The hits in the list of the user at `position` of [`Evaluation::user_ids`] under ranking `variant`, by rank.
    pub fn hits_of(&self, position: usize, variant: usize) -> &[Hit] {
        let list = position * self.variants + variant;
        &self.hits.hits[self.hits.starts[list] as usize..self.hits.starts[list + 1] as usize]
    }

    /// `[I]`: in how many of the evaluated users' lists each item is, for `results[result]`.
    pub fn frequency(&self, result: usize) -> &[u32] {
        &self.frequency[result]
    }

    fn for_each_user(&self, variant: usize, k: usize, ideal: &[f64], mut visit: impl FnMut(&UserList<'_>)) {
        let mut ranks = Vec::new();
        for (position, &relevant) in self.relevant.iter().enumerate() {
            ranks.clear();
            let hits = self.hits_of(position, variant).iter().map(|hit| hit.rank);
            ranks.extend(hits.take_while(|&rank| rank as usize <= k));
            visit(&UserList { hits: &ranks, relevant: relevant as usize, k, ideal });
        }
    }
}
