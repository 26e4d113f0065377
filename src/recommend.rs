//! Top-N lists for users, and items alike.

use crate::{
    backend::cpu::rank::Ranker,
    data::{Csr, Interactions, Split},
    error::{Error, Result},
    model::{Model, Ranking},
};

/// A recommended item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recommendation {
    /// Internal item id.
    pub item: u32,
    /// Its score under the ranking; comparable within one user's list only.
    pub score: f32,
}

/// Recommends from a model; see [`Recommender::recommend`].
#[derive(Debug, Clone)]
pub struct Recommender<'a> {
    model: &'a Model,
    ranking: Ranking,
    seen: Vec<Csr<'a>>,
}

impl<'a> Recommender<'a> {
    /// Ranks as the model's own metadata says; nothing is excluded.
    pub fn new(model: &'a Model) -> Self {
        Recommender { model, ranking: model.metadata.ranking, seen: Vec::new() }
    }

    /// Ranks by `ranking` instead.
    pub fn ranking(mut self, ranking: Ranking) -> Self {
        self.ranking = ranking;
        self
    }

    /// Leaves out what users have in any split of `data`.
    pub fn exclude_seen(mut self, data: &'a Interactions) -> Self {
        self.seen = Split::ALL.map(|split| data.by_user(split)).into();
        self
    }

    /// The best `n` items of each of `users`, best first; shorter where fewer items are left.
    ///
    /// # Errors
    /// [`Error::Data`] for a user that the model does not know, or seen items of other data;
    /// [`Error::Config`] if `n` is 0 or more than the catalogue.
    pub fn recommend(&self, users: &[u32], n: usize) -> Result<Vec<Vec<Recommendation>>> {
        let items = self.model.items();
        if n == 0 || n > items as usize {
            let problem = format!("a list holds 1 to {items} items, the size of the catalogue");
            return Err(Error::config("k", n, problem, format!("use at most {items}")));
        }
        let tables = self.model.tables()?;
        let top = Ranker::new(&tables, &[self.ranking], n)?.top_k(users, &self.seen)?;
        let list = |position| {
            let list = top.list(position, 0).iter();
            list.map(|c| Recommendation { item: c.item(), score: c.score() }).collect()
        };
        Ok((0..users.len()).map(list).collect())
    }

    /// The `n` items whose embeddings have the largest cosine with that of `item`, without `item` itself.
    ///
    /// # Errors
    /// [`Error::Data`] for an item that the model does not know.
    pub fn similar_items(&self, item: u32, n: usize) -> Result<Vec<Recommendation>> {
        let (dim, items) = (self.model.dim, self.model.items());
        if item >= items {
            return Err(Error::data(
                format!("item {item} is asked for, the model has {items} items"),
                format!("ask for an item below {items}"),
            ));
        }
        let row = |i: u32| &self.model.item_embedding[i as usize * dim..][..dim];
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        let norm = |i: u32| dot(row(i), row(i)).sqrt().max(f64::MIN_POSITIVE);
        let own = norm(item);
        let cosine = |i: u32| (dot(row(item), row(i)) / (own * norm(i))) as f32;
        let mut all: Vec<Recommendation> =
            (0..items).filter(|&i| i != item).map(|i| Recommendation { item: i, score: cosine(i) }).collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item)));
        all.truncate(n);
        Ok(all)
    }
}
