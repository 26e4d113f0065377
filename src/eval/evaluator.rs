//! Evaluates a model on a split: one scoring pass, every ranking, every k.

use rayon::prelude::*;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    groups::{GroupBy, GroupOutcome},
    metric::{AllLists, LIST_METRICS, USER_METRICS, UserList, ideal},
};
use crate::{
    backend::{
        Ranks, Snapshot,
        lists::{Audience, Hit, Hits, Measured, ranker},
    },
    data::{Interactions, Split, popularity::Groups},
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
        let (data, rankings) = (self.data, self.rankings_or(own));
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
        let audience = self.audience()?;
        let ranker = ranker(self.device, tables, &rankings, self.longest()?)?;
        self.measure(&audience, ranker.as_ref(), &rankings, tables.popularity())
    }

    /// Evaluates a training in progress on what [`Evaluator::audience`] returned; `popularity` `[I]` are the training
    /// interactions of each item.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn evaluate_snapshot(
        &self,
        audience: &Audience<'_>,
        snapshot: &dyn Snapshot,
        popularity: &[u32],
    ) -> Result<Evaluation> {
        let rankings = self.rankings_or(Ranking::default());
        let ranker = snapshot.ranker(popularity, &rankings, self.longest()?)?;
        self.measure(audience, ranker.as_ref(), &rankings, popularity)
    }

    /// The users who have items in the split, ascending, with what they have seen, on the device.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Data`] if the split cannot be evaluated on; if the device fails.
    pub fn audience(&self) -> Result<Audience<'a>> {
        let (data, split) = (self.data, self.split);
        if split == Split::Train {
            return Err(Error::config(
                "split",
                split,
                "training items are never in the lists",
                "evaluate on `valid` or `test`",
            ));
        }
        let relevant = data.by_user(split);
        let users: Vec<u32> = (0..data.users()).filter(|&user| relevant.degree(user) > 0).collect();
        if users.is_empty() {
            return Err(Error::data(
                format!("the data has no {split} interactions"),
                format!("hold some out with `macr split`, as a {split} split"),
            ));
        }
        let mut seen = vec![data.by_user(Split::Train)];
        if self.mask == Mask::TrainAndValid && split == Split::Test {
            seen.push(data.by_user(Split::Valid));
        }
        Audience::new(self.device, users, seen, relevant)
    }

    fn rankings_or(&self, own: Ranking) -> Vec<Ranking> {
        if self.rankings.is_empty() { vec![own] } else { self.rankings.clone() }
    }

    /// The largest of the ks.
    fn longest(&self) -> Result<usize> {
        if let Some(k) = self.ks.iter().find(|&&k| k == 0) {
            return Err(Error::config("k", k, "an empty list cannot be measured", "give a k of at least 1"));
        }
        self.ks.iter().copied().max().ok_or_else(|| {
            Error::config("k", "", "no length of lists is given", "give at least one k, as in --k 20")
        })
    }

    fn measure(
        &self,
        audience: &Audience<'_>,
        ranker: &dyn Ranks,
        rankings: &[Ranking],
        popularity: &[u32],
    ) -> Result<Evaluation> {
        let users = audience.users();
        let Measured { hits, frequency } = ranker.measure(audience, &self.ks)?;
        let mut evaluation = Evaluation {
            users: users.len() as u64,
            results: Vec::new(),
            ids: users.to_vec(),
            relevant: users.iter().map(|&user| audience.relevant().degree(user)).collect(),
            variants: rankings.len(),
            hits,
            frequency,
        };
        evaluation.results = self.outcomes(&evaluation, rankings, popularity);
        Ok(evaluation)
    }

    fn outcomes(&self, evaluation: &Evaluation, rankings: &[Ranking], popularity: &[u32]) -> Vec<Outcome> {
        let ideal = ideal(self.ks.iter().copied().max().unwrap_or(0));
        let groups = self.groups.map(|by| by.group(popularity));
        let cases: Vec<(usize, usize)> = (0..rankings.len())
            .flat_map(|variant| (0..self.ks.len()).map(move |cut| (variant, cut)))
            .collect();
        // Every mean is a sum in the order of the users, whichever threads form its terms.
        let outcome = |(index, &(variant, cut)): (usize, &(usize, usize))| {
            let k = self.ks[cut];
            let values =
                evaluation.map_users(variant, k, &ideal, |list| USER_METRICS.map(|m| (m.value)(list)));
            let mut sums = [0.0; USER_METRICS.len()];
            for values in values {
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
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
        groups: &Groups,
        variant: usize,
        index: usize,
        k: usize,
    ) -> Vec<GroupOutcome> {
        let (mut items, mut interactions, mut listed, mut found) = {
            let zero = || vec![0u64; groups.names.len()];
            (zero(), zero(), zero(), zero())
        };
        let by_item = self.data.by_item(self.split);
        for (item, &group) in groups.of.iter().enumerate() {
            items[group as usize] += 1;
            interactions[group as usize] += u64::from(by_item.degree(item as u32));
            listed[group as usize] += u64::from(evaluation.frequency[index][item]);
        }
        for position in 0..evaluation.ids.len() {
            for hit in evaluation.hits_of(position, variant).iter().filter(|hit| hit.rank as usize <= k) {
                found[groups.of[hit.item as usize] as usize] += 1;
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
        Ok(self.map_users(variant, k, &ideal(k), found.value))
    }

    /// The hits in the list of the user at `position` of [`Evaluation::user_ids`] under ranking `variant`, by rank.
    pub fn hits_of(&self, position: usize, variant: usize) -> &[Hit] {
        self.hits.of(position * self.variants + variant)
    }

    /// `[I]`: in how many of the evaluated users' lists each item is, for `results[result]`.
    pub fn frequency(&self, result: usize) -> &[u32] {
        &self.frequency[result]
    }

    /// What `value` makes of each user's list, in the order of the users.
    fn map_users<R: Send>(
        &self,
        variant: usize,
        k: usize,
        ideal: &[f64],
        value: impl Fn(&UserList<'_>) -> R + Sync,
    ) -> Vec<R> {
        let of_user = |ranks: &mut Vec<u32>, (position, &relevant): (usize, &u32)| {
            ranks.clear();
            let hits = self.hits_of(position, variant).iter().map(|hit| hit.rank);
            ranks.extend(hits.take_while(|&rank| rank as usize <= k));
            value(&UserList { hits: ranks, relevant: relevant as usize, k, ideal })
        };
        self.relevant.par_iter().enumerate().with_min_len(256).map_init(Vec::new, of_user).collect()
    }
}
