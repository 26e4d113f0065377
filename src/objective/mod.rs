//! Objectives: what is optimised, as a scalar stage between dot products and coefficients.
//!
//! An objective sees, for each row (user, positive, negative) of a batch, the match scores and the branch logits. It
//! returns the loss and its derivative with respect to each of these scalars; gathering, dot products, scattering
//! and Adam are written once, outside. It never sees a backbone.

pub mod bce;
pub mod bpr;
mod branch;
pub mod macr;
pub mod scalar;

pub use self::{branch::BranchKind, macr::Pairing};

use crate::error::{Error, Result};

/// Rows per [`Tile`].
pub const TILE: usize = 64;
/// One scalar for each row of a tile.
pub type Lanes = [f32; TILE];
/// Index of the positive sample in the pairs of a [`Tile`].
pub const POSITIVE: usize = 0;
/// Index of the negative sample in the pairs of a [`Tile`].
pub const NEGATIVE: usize = 1;

/// The scalars of up to [`TILE`] rows of a batch. Lanes beyond the last row hold zeros and count for nothing.
#[derive(Debug, Clone)]
pub struct Tile {
    /// 1 / B, the weight of a row.
    pub weight: f32,
    /// In: match scores a = p_u . q_i of the positive and the negative sample.
    pub score: [Lanes; 2],
    /// In: logit y_u of the user branch.
    pub user_logit: Lanes,
    /// In: logits y_i of the item branch for the positive and the negative item.
    pub item_logit: [Lanes; 2],
    /// All-pairs objectives: dL/dg for the gate g of each sample, set before the stage. Rows: unused.
    pub gate_gradient: [Lanes; 2],
    /// Out: dL/da. All-pairs objectives: set before the stage.
    pub score_gradient: [Lanes; 2],
    /// Out: dL/dy_u, both samples together.
    pub user_gradient: Lanes,
    /// Out: dL/dy_i.
    pub item_gradient: [Lanes; 2],
    /// Out: the row's loss, split into [`Objective::parts`], already weighted. All-pairs: the main part is set before.
    pub loss: [Lanes; PARTS],
}

/// Most parts that a loss is reported in.
pub const PARTS: usize = 3;

impl Default for Tile {
    fn default() -> Self {
        let zero = [0.0; TILE];
        Tile {
            weight: 0.0,
            score: [zero; 2],
            user_logit: zero,
            item_logit: [zero; 2],
            gate_gradient: [zero; 2],
            score_gradient: [zero; 2],
            user_gradient: zero,
            item_gradient: [zero; 2],
            loss: [zero; PARTS],
        }
    }
}

/// The scalar stage of a method, and which heads it needs.
pub trait Objective: std::fmt::Debug + Send + Sync {
    /// Name in the registry.
    fn name(&self) -> &'static str;

    /// Names of the parts of the loss, the main one first.
    fn parts(&self) -> &'static [&'static str] {
        &["main"]
    }

    /// Has a user branch (y_u = v . p_u, or an MLP).
    fn user_branch(&self) -> bool {
        false
    }

    /// Has an item branch (y_i = w . q_i, or an MLP).
    fn item_branch(&self) -> bool {
        false
    }

    /// Some when every match score of a batch meets every gate; the value says how the sums are computed.
    fn all_pairs(&self) -> Option<AllPairs> {
        None
    }

    /// All-pairs objectives: the gates g of both samples of each row.
    fn gates(&self, _tile: &Tile) -> [Lanes; 2] {
        [[1.0; TILE]; 2]
    }

    /// Turns the tile's inputs into losses and derivatives.
    fn stage(&self, tile: &mut Tile);
}

/// How the B x B sums of an all-pairs objective are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllPairs {
    /// By Chebyshev interpolation in both arguments, O(B) per node; brute force where too many nodes would be needed.
    Interpolated,
    /// Term by term, with the loss log(sigma + 1e-10) of the reference code.
    EpsCompat,
}

/// What an objective is built from; the training configuration fills it in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObjectiveConfig {
    /// Weight of the item branch's loss, alpha.
    pub alpha: f32,
    /// Weight of the user branch's loss, beta.
    pub beta: f32,
    /// How MACR pairs match scores with gates.
    pub pairing: Pairing,
    /// MACR with (true) or without its user branch: the ablation of the paper's Table 3.
    pub user_branch: bool,
    /// MACR with (true) or without its item branch.
    pub item_branch: bool,
    /// log(sigma + 1e-10) instead of the stable form, as in the reference code.
    pub eps_compat: bool,
}

type Build = fn(&ObjectiveConfig) -> Box<dyn Objective>;

/// Every objective: name, what it is, constructor. To add one, add its file and its line here.
pub const REGISTRY: &[(&str, &str, Build)] = &[
    ("bce", "binary cross-entropy on the match score", |c| Box::new(bce::Bce { eps_compat: c.eps_compat })),
    ("bpr", "Bayesian personalised ranking", |_| Box::new(bpr::Bpr)),
    ("macr", "MACR: match score gated by a user and an item branch, three BCE losses", |c| {
        Box::new(macr::Macr::new(c))
    }),
];

/// What trains without a scalar stage and without batches goes by this name; see [`crate::backend::expomf`].
pub const EXPOMF: &str = "expomf";

/// Builds the objective called `name`, which is not [`EXPOMF`].
///
/// # Errors
/// [`Error::Unknown`] naming the nearest objective.
pub fn build(name: &str, config: &ObjectiveConfig) -> Result<Box<dyn Objective>> {
    REGISTRY.iter().find(|(known, ..)| *known == name).map(|(.., build)| build(config)).ok_or_else(|| {
        let names = REGISTRY.iter().map(|(known, ..)| *known).chain([EXPOMF]);
        Error::unknown("objective", name, names)
    })
}
