//! Lists for users, and items like an item.

use crate::{
    backend::lists::{Candidate, Ranks, TopK, ranker},
    data::{Csr, Interactions, Split},
    device::Resolved,
    error::{Error, Result},
    model::{Model, Ranking, Tables},
    numerals::counted,
};

/// Recommends items with a trained model.
///
/// ```no_run
/// use macr::{Interactions, Model, recommend::Recommender};
/// let (model, data) = (Model::load("run")?, Interactions::open("data.macr")?);
/// let lists = Recommender::new(&model)?.seen(&data).recommend(&[0, 1], 20)?;
/// println!("best for user 0: item {}", lists.list(0, 0)[0].item());
/// # Ok::<(), macr::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Recommender<'a> {
    tables: Tables<'a>,
    ranking: Ranking,
    seen: Vec<Csr<'a>>,
    device: &'a Resolved,
}

impl<'a> Recommender<'a> {
    /// Recommends with `model`, ranking in the model's own way, from all items.
    ///
    /// # Errors
    /// [`Error::Data`] if the model's tables do not fit together.
    pub fn new(model: &'a Model) -> Result<Self> {
        let (tables, ranking) = (model.tables()?, model.metadata.ranking);
        Ok(Recommender { tables, ranking, seen: Vec::new(), device: &Resolved::Cpu })
    }

    /// Sets how items are ranked.
    pub fn ranking(mut self, ranking: Ranking) -> Self {
        self.ranking = ranking;
        self
    }

    /// Ranks on `device` instead of the CPU; lists are the same bits.
    pub fn device(mut self, device: &'a Resolved) -> Self {
        self.device = device;
        self
    }

    /// Leaves out what users have in any split of `data`, as a service does. Lists that are to be measured on a split
    /// must not leave that one out: [`Recommender::seen_in`].
    pub fn seen(self, data: &'a Interactions) -> Self {
        self.seen_in(data, &Split::ALL)
    }

    /// Leaves out what users have in these splits of `data`.
    pub fn seen_in(mut self, data: &'a Interactions, splits: &[Split]) -> Self {
        let used = splits.iter().filter(|&&split| data.count(split) > 0);
        self.seen = used.map(|&split| data.by_user(split)).collect();
        self
    }

    /// The `k` best items for each of `users` (as ranking 0 of the result), best first.
    ///
    /// Preparing the items takes time in proportion to their number; for many calls with few users use
    /// [`Recommender::ranker`] once.
    ///
    /// # Errors
    /// [`Error::Config`] for a `k` that cannot be used; [`Error::Data`] if a user or the seen items do not fit the
    /// model.
    pub fn recommend(&self, users: &[u32], k: usize) -> Result<TopK> {
        self.ranker(k)?.top_k(users, self.masks())
    }

    /// The prepared ranking, to be asked with [`Recommender::masks`] as often as wanted.
    ///
    /// # Errors
    /// [`Error::Config`] for a `k` that cannot be used.
    pub fn ranker(&self, k: usize) -> Result<Box<dyn Ranks + '_>> {
        ranker(self.device, &self.tables, &[self.ranking], k)
    }

    /// What is left out of the lists, by user.
    pub fn masks(&self) -> &[Csr<'a>] {
        &self.seen
    }

    /// For each of `items`, the `k` other items whose embeddings have the highest cosine with its own, best first.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no `k` other items; [`Error::Data`] if an item does not exist.
    pub fn similar_items(&self, items: &[u32], k: usize) -> Result<Vec<Vec<Candidate>>> {
        let count = self.tables.items();
        if k == 0 || k >= count as usize {
            return Err(Error::config(
                "k",
                k,
                format!("an item has {}", counted(count.saturating_sub(1), "other")),
                "choose a smaller k, at least 1",
            ));
        }
        if let Some(item) = items.iter().find(|&&item| item >= count) {
            return Err(Error::data(
                format!("item {item} is asked for, the model has {count} items"),
                format!("ask for items 0 to {}", count - 1),
            ));
        }
        let mut directions = self.tables.item_embedding().to_vec();
        for row in directions.chunks_exact_mut(self.tables.dim()) {
            let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
            }
        }
        let popularity = self.tables.popularity();
        let tables = Tables::new(self.tables.dim(), &directions, &directions, None, popularity)?;
        // An item is as similar to itself as to its duplicates, so it need not be first: one more is asked for.
        let lists = ranker(self.device, &tables, &[Ranking::default()], k + 1)?.top_k(items, &[])?;
        let others = |(position, &item): (usize, &u32)| {
            let list = lists.list(position, 0).iter().copied();
            list.filter(|candidate| candidate.item() != item).take(k).collect()
        };
        Ok(items.iter().enumerate().map(others).collect())
    }
}
