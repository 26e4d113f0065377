//! Objectives: what is optimised, as a scalar stage between dot products and coefficients.
//!
//! An objective sees, for each row (user, positive, negative) of a batch, the match scores and the logits of its heads.
//! It returns the loss and its derivative with respect to each of these scalars; gathering, dot products, scattering
//! and Adam are written once, outside. It never sees a backbone.

pub mod bce;
pub mod bpr;
mod branch;
pub mod bs;
pub mod cause;
pub mod dice;
pub mod ipw;
mod layout;
pub mod macr;
mod penalty;
pub mod reg;
pub mod scalar;

pub use self::{
    branch::{BranchInput, BranchKind},
    dice::DiceLoss,
    ipw::{IpwScope, IpwVariant},
    layout::{Layout, Shape},
    macr::Pairing,
    penalty::Penalty,
    reg::{RegForm, RegNorm},
};

use crate::{
    config::Config,
    error::{Error, Result},
    sampling::Sampler,
};

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
    /// The epoch that the step belongs to, from 0.
    pub epoch: u64,
    /// In: match scores a = p_u . q_i of the positive and the negative sample; of divided rows, those of their first
    /// vectors.
    pub score: [Lanes; 2],
    /// In, of divided rows: match scores of their second vectors.
    pub second_score: [Lanes; 2],
    /// In: logit y_u of the user branch.
    pub user_logit: Lanes,
    /// In: logits y_i of the items' head for the positive and the negative item.
    pub item_logit: [Lanes; 2],
    /// In, with [`Objective::item_constants`]: those of the positive and the negative item.
    pub item_constant: [Lanes; 2],
    /// In, with item constants: the user, the positive and the negative item.
    pub ids: [[u32; TILE]; 3],
    /// In, of [`Objective::grouped`] ones: what [`Objective::second_group`] said.
    pub second_group: [bool; TILE],
    /// In, of grouped ones: 1 / rows of the batch in the first and the second group, 0 where there are none.
    pub group_weight: [f32; 2],
    /// All-pairs objectives: dL/dg for the gate g of each sample, set before the stage. Rows: unused.
    pub gate_gradient: [Lanes; 2],
    /// Out: dL/da. All-pairs objectives: set before the stage.
    pub score_gradient: [Lanes; 2],
    /// Out, of divided rows: the same for the second scores.
    pub second_gradient: [Lanes; 2],
    /// Out: dL/dy_u, both samples together.
    pub user_gradient: Lanes,
    /// Out: dL/dy_i.
    pub item_gradient: [Lanes; 2],
    /// Out: the row's loss, split into [`Objective::parts`], already weighted. All-pairs: the main part is set before.
    pub loss: [Lanes; PARTS],
}

/// Most parts that a loss is reported in, apart from penalty and L2.
pub const PARTS: usize = 3;

impl Default for Tile {
    fn default() -> Self {
        let zero = [0.0; TILE];
        Tile {
            weight: 0.0,
            epoch: 0,
            score: [zero; 2],
            second_score: [zero; 2],
            user_logit: zero,
            item_logit: [zero; 2],
            item_constant: [zero; 2],
            ids: [[0; TILE]; 3],
            second_group: [false; TILE],
            group_weight: [0.0; 2],
            gate_gradient: [zero; 2],
            score_gradient: [zero; 2],
            second_gradient: [zero; 2],
            user_gradient: zero,
            item_gradient: [zero; 2],
            loss: [zero; PARTS],
        }
    }
}

/// What gives an item a logit y_i of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemHead {
    /// Nothing.
    None,
    /// A function of its embedding: w . q_i, or an MLP.
    Branch,
    /// A free scalar for each item, which is neither propagated nor regularised.
    Bias,
}

/// The scalar stage of a method, and what it needs around it.
pub trait Objective: std::fmt::Debug + Send + Sync {
    /// Name in the registry.
    fn name(&self) -> &'static str;

    /// Names of the parts of the loss, the main one first.
    fn parts(&self) -> &'static [&'static str] {
        &["main"]
    }

    /// Name of the CUDA kernels of its stage and of its groups.
    fn kernel(&self) -> &'static str {
        self.name()
    }

    /// What these kernels are told of its settings, in the order in which its file in `kernels/objectives` reads them.
    fn kernel_settings(&self) -> Vec<f32> {
        Vec::new()
    }

    /// The vectors of an embedding row.
    fn layout(&self) -> Layout {
        Layout::Whole
    }

    /// Has a user branch (y_u = v . p_u, or an MLP).
    fn user_branch(&self) -> bool {
        false
    }

    /// What y_i is.
    fn item_head(&self) -> ItemHead {
        ItemHead::None
    }

    /// True if y_i is a branch's.
    fn item_branch(&self) -> bool {
        self.item_head() == ItemHead::Branch
    }

    /// `[I]`: a number for each item that does not change in a training; the tile then has those of its items, and ids.
    fn item_constants(&self) -> Option<&[f32]> {
        None
    }

    /// What is added to the loss for the rows of a batch.
    fn penalty(&self) -> Option<Penalty> {
        None
    }

    /// True if the rows of a batch fall into two groups, each of which is averaged over its own rows.
    fn grouped(&self) -> bool {
        false
    }

    /// Grouped objectives: which rows belong to the second group, by ids and item constants.
    fn second_group(&self, _tile: &Tile) -> [bool; TILE] {
        [false; TILE]
    }

    /// Objectives with gates: which of them a match score meets, as a model's file says.
    fn pairing(&self) -> Option<Pairing> {
        None
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

type Build = fn(&Config, &Sampler<'_>) -> Box<dyn Objective>;

/// Every objective: name, what it is, constructor. To add one, add its file and its line here.
pub const REGISTRY: &[(&str, &str, Build)] = &[
    ("bce", "binary cross-entropy on the match score", |c, _| {
        Box::new(bce::Bce { eps_compat: c.eps_compat })
    }),
    ("bpr", "Bayesian personalised ranking", |_, _| Box::new(bpr::Bpr)),
    ("macr", "MACR: match score gated by a user and an item branch, three BCE losses", |c, _| {
        Box::new(macr::Macr::new(c))
    }),
    ("bs", "BCE with an item bias that ranking drops", |c, _| {
        Box::new(bs::Bs { bce: bce::Bce { eps_compat: c.eps_compat } })
    }),
    ("ipw", "BCE weighted by inverse propensity", |c, s| Box::new(ipw::Ipw::new(c, s))),
    ("reg", "BCE with a regulariser by popularity", |c, s| Box::new(reg::Reg::new(c, s))),
    ("cause", "CausE: BCE with tied item vectors of a biased and a debiased set", |c, s| {
        Box::new(cause::Cause::new(c, s))
    }),
    ("dice", "DICE: BPR or BCE with halves for interest and conformity", |c, s| {
        Box::new(dice::Dice::new(c, s))
    }),
];

/// What trains without a scalar stage and without batches goes by this name; see [`crate::backend::expomf`].
pub const EXPOMF: &str = "expomf";

/// Names of everything that can be trained.
pub fn names() -> impl Iterator<Item = &'static str> {
    REGISTRY.iter().map(|(name, ..)| *name).chain([EXPOMF])
}

/// Builds the objective of `config`, which is not [`EXPOMF`], for trainings on what `sampler` draws.
///
/// # Errors
/// [`Error::Unknown`] naming the nearest objective.
pub fn build(config: &Config, sampler: &Sampler<'_>) -> Result<Box<dyn Objective>> {
    find(&config.objective).map(|build| build(config, sampler))
}

/// Refuses the name of an objective that does not exist.
pub(crate) fn check(name: &str) -> Result<()> {
    if name == EXPOMF { Ok(()) } else { find(name).map(|_| ()) }
}

fn find(name: &str) -> Result<Build> {
    let known = REGISTRY.iter().find(|(known, ..)| *known == name);
    known.map(|&(.., build)| build).ok_or_else(|| Error::unknown("objective", name, names()))
}
