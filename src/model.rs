//! A trained recommender: final embeddings, branches, popularity, and how it ranks.

use serde::{Deserialize, Serialize};

/// How scores are corrected for popularity when ranking.
///
/// An item's rank for a user is decided by `s_i (p_u . q_i - c) - tau ln(n_i + 1)`, where `s_i` is the item gate
/// (1 without an item branch) and `n_i` the number of training interactions. The user gate is one positive constant
/// per user and changes no ranking (MACR, equation 8).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Ranking {
    /// Counterfactual reference score; 0 ranks by the total effect.
    pub c: f32,
    /// Strength of the post-hoc popularity adjustment; 0 turns it off.
    pub tau: f32,
}

/// What a model is and where it came from; written into `model.safetensors`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// `mf` or `lightgcn`.
    pub backbone: String,
    /// Name of the objective it was trained with.
    pub objective: String,
    /// `rows` or `all_pairs`, for objectives that pair.
    pub pairing: Option<String>,
    /// How it ranks unless told otherwise.
    pub ranking: Ranking,
    /// Checksum of the data it was trained on.
    pub data: String,
    /// Seed of the training.
    pub seed: u64,
    /// Version of the program that trained it.
    pub version: String,
}

/// Final embeddings and heads of a trained recommender.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Embedding size, D.
    pub dim: usize,
    /// `[U, D]`, row-major.
    pub user_embedding: Vec<f32>,
    /// `[I, D]`, row-major.
    pub item_embedding: Vec<f32>,
    /// `[D]`, v of y_u = v . p_u, where the objective has a user branch.
    pub user_branch: Option<Vec<f32>>,
    /// `[D]`, w of y_i = w . q_i, where the objective has an item branch.
    pub item_branch: Option<Vec<f32>>,
    /// `[I]`: training interactions of each item, n_i.
    pub item_popularity: Vec<u32>,
    /// What it is.
    pub metadata: Metadata,
}

impl Model {
    /// Number of users, U.
    pub fn users(&self) -> u32 {
        (self.user_embedding.len() / self.dim) as u32
    }

    /// Number of items, I.
    pub fn items(&self) -> u32 {
        (self.item_embedding.len() / self.dim) as u32
    }
}
