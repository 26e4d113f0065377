//! Ranks all items for every user with something to find, and measures the lists.

use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;

use super::{accuracy::Accuracy, exposure::Exposure};
use crate::{
    backend::cpu::rank::{Block, Ranker},
    data::{Csr, Interactions, Split},
    error::{Error, Result},
    model::{Model, Ranking, Tables},
};

/// Measures models on one split of one dataset: all cut-offs from one list, all rankings from one scoring pass.
#[derive(Debug, Clone)]
pub struct Evaluator<'a> {
    data: &'a Interactions,
    split: Split,
    ks: Vec<usize>,
    rankings: Vec<Ranking>,
    mask_valid: bool,
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Users with at least one relevant item: those that the means are over.
    pub users: u32,
    /// One outcome for each ranking and cut-off, in the order asked for.
    pub results: Vec<Outcome>,
}

/// Metrics of one ranking at one cut-off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outcome {
    /// The ranking.
    #[serde(flatten)]
    pub ranking: Ranking,
    /// Cut-off K.
    pub k: usize,
    /// Means over the users.
    #[serde(flatten)]
    pub accuracy: Accuracy,
    /// Spread over the catalogue.
    #[serde(flatten)]
    pub exposure: Exposure,
}

impl<'a> Evaluator<'a> {
    /// Evaluates on `split` of `data`, at K = 20, under the plain ranking, training items masked.
    pub fn new(data: &'a Interactions, split: Split) -> Self {
        Evaluator { data, split, ks: vec![20], rankings: vec![Ranking::default()], mask_valid: false }
    }

    /// Sets the cut-offs.
    pub fn ks(mut self, ks: &[usize]) -> Self {
        self.ks = ks.to_vec();
        self
    }

    /// Sets the rankings.
    pub fn rankings(mut self, rankings: &[Ranking]) -> Self {
        self.rankings = rankings.to_vec();
        self
    }

    /// Masks the validation items too when testing; the reference code does not.
    pub fn mask_valid(mut self, mask: bool) -> Self {
        self.mask_valid = mask;
        self
    }

    /// Evaluates a model.
    ///
    /// # Errors
    /// [`Error::Data`] if the split is empty or the model does not fit the data, [`Error::Config`] if a K or a
    /// ranking cannot be used.
    pub fn evaluate(&self, model: &Model) -> Result<Evaluation> {
        self.evaluate_tables(&model.tables()?)
    }

    /// Evaluates tables that are not a [`Model`].
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn evaluate_tables(&self, tables: &Tables<'_>) -> Result<Evaluation> {
        let (data, items) = (self.data, self.data.items());
        if (tables.users(), tables.items()) != (data.users(), items) {
            return Err(Error::data(
                format!(
                    "the model has {} users and {} items, the data {} and {items}",
                    tables.users(),
                    tables.items(),
                    data.users()
                ),
                "evaluate on the data that the model was trained on, or another split of it",
            ));
        }
        let relevant = data.by_user(self.split);
        let users: Vec<u32> = (0..data.users()).filter(|&u| relevant.degree(u) > 0).collect();
        if users.is_empty() {
            return Err(Error::data(
                format!("the data has no {} split to evaluate on", self.split),
                "make one with `macr split`, or name another with --split",
            ));
        }
        for &k in &self.ks {
            if k == 0 || k > items as usize {
                return Err(Error::config(
                    "k",
                    k,
                    format!("a list holds 1 to {items} items, the size of the catalogue"),
                    format!("use a K of at most {items}"),
                ));
            }
        }
        let longest = self.ks.iter().copied().max().unwrap_or(1);
        let mut seen = vec![data.by_user(Split::Train)];
        if self.mask_valid && self.split == Split::Test {
            seen.push(data.by_user(Split::Valid));
        }
        let cells = self.rankings.len() * self.ks.len();
        // Counts are integers: the order in which threads add them does not matter.
        let listed: Vec<AtomicU32> = (0..cells * items as usize).map(|_| AtomicU32::new(0)).collect();
        let blocks = Ranker::new(tables, &self.rankings, longest)?
            .map_blocks(&users, &seen, |block| self.measure(block, relevant, &listed))?;

        let mut sums = vec![Accuracy::default(); cells];
        for block in &blocks {
            for (sum, part) in sums.iter_mut().zip(block) {
                *sum = sum.plus(*part);
            }
        }
        let cell = |(index, sum): (usize, Accuracy)| {
            let listed: Vec<u32> = listed[index * items as usize..][..items as usize]
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .collect();
            Outcome {
                ranking: self.rankings[index / self.ks.len()],
                k: self.ks[index % self.ks.len()],
                accuracy: sum.times(1.0 / users.len() as f64),
                exposure: Exposure::of(&listed, tables.popularity()),
            }
        };
        Ok(Evaluation {
            users: users.len() as u32,
            results: sums.into_iter().enumerate().map(cell).collect(),
        })
    }

    /// Sums over the users of a block, by ranking and cut-off.
    fn measure(&self, block: &Block<'_>, relevant: Csr<'_>, listed: &[AtomicU32]) -> Vec<Accuracy> {
        let items = self.data.items() as usize;
        let mut sums = vec![Accuracy::default(); self.rankings.len() * self.ks.len()];
        let mut hits = Vec::new();
        for (row, &user) in block.users.iter().enumerate() {
            let relevant = relevant.row(user);
            for variant in 0..self.rankings.len() {
                let list = block.list(row, variant);
                hits.clear();
                let ranked = list.iter().zip(1u32..);
                hits.extend(
                    ranked.filter(|(c, _)| relevant.binary_search(&c.item()).is_ok()).map(|(_, rank)| rank),
                );
                for (at, &k) in self.ks.iter().enumerate() {
                    let cell = variant * self.ks.len() + at;
                    sums[cell] = sums[cell].plus(Accuracy::of(&hits, relevant.len(), k));
                    for candidate in &list[..k.min(list.len())] {
                        listed[cell * items + candidate.item() as usize].fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        sums
    }
}
