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

/// A branch that scores one side alone: the item branch (y_i) or the user branch (y_u).
#[derive(Debug, Clone, PartialEq)]
pub enum Branch {
    /// `y = w . x`.
    Linear {
        /// `[D]`.
        weight: Vec<f32>,
    },
    /// `y = b2 + w2 . relu(W1 x + b1)`.
    Mlp {
        /// `[H, D]`, row-major.
        w1: Vec<f32>,
        /// `[H]`.
        b1: Vec<f32>,
        /// `[H]`.
        w2: Vec<f32>,
        /// Scalar.
        b2: f32,
    },
}

impl Branch {
    /// The branch's logit for one embedding `x` of length D, accumulated in f64.
    pub fn logit(&self, x: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        match self {
            Branch::Linear { weight } => dot(weight, x),
            Branch::Mlp { w1, b1, w2, b2 } => {
                let hidden = w1.chunks_exact(x.len()).zip(b1).zip(w2);
                f64::from(*b2)
                    + hidden
                        .map(|((w, &b), &o)| f64::from(o) * (dot(w, x) + f64::from(b)).max(0.0))
                        .sum::<f64>()
            }
        }
    }
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
    /// Scores users alone, where the objective has a user branch.
    pub user_branch: Option<Branch>,
    /// Scores items alone, where the objective has an item branch.
    pub item_branch: Option<Branch>,
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
