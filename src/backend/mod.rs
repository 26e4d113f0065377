//! Devices: the operations that training needs, each written once per device.
//!
//! A [`Backend`] holds the state of one training: parameters, optimiser state, and the buffers of a batch. A step is a
//! [`Sequence`] of [`Operations`] on that state. They take no value that changes from step to step: the step's number
//! and all that follows from it belong to the state, so that a device can record the sequence once and replay it.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod expomf;
pub mod lists;
pub mod state;

pub use lists::Ranks;
pub use state::{Exchange, State};

use crate::{
    backbone::LightGcn,
    backend::cpu::table::Parts,
    error::Result,
    model::{Branch, Kept, Ranking},
    objective::{BranchInput, BranchKind, Layout, Objective, PARTS},
    optim::{Adam, CatchUp},
    sampling::Sampler,
    storage::Storage,
};

/// What tells the random numbers of tables and branches of one seed apart.
pub mod streams {
    /// The users' table.
    pub const USERS: u32 = 0;
    /// The items' table.
    pub const ITEMS: u32 = 1;
    /// The users' branch.
    pub const USER_BRANCH: u32 = 2;
    /// The items' branch.
    pub const ITEM_BRANCH: u32 = 3;
}

/// What a training is made of, apart from its data and its objective.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Embedding size D.
    pub dim: usize,
    /// The form of the parameters.
    pub storage: Storage,
    /// LightGCN; `None` for matrix factorisation.
    pub lightgcn: Option<LightGcn>,
    /// Adam's constants.
    pub adam: Adam,
    /// How rows that a step does not touch are kept up with.
    pub catch_up: CatchUp,
    /// Form of the branches, where the objective has any.
    pub branch: BranchKind,
    /// Which embeddings they score, where these are not the same.
    pub branch_input: BranchInput,
    /// L2 coefficient lambda.
    pub l2: f32,
    /// Seed of initialisation and samples.
    pub seed: u64,
}

impl Settings {
    /// True if the branches of `objective` score other rows than match scores come from.
    pub fn has_ego_branches(&self, objective: &dyn Objective) -> bool {
        self.lightgcn.is_some()
            && self.branch_input == BranchInput::Ego
            && (objective.user_branch() || objective.item_branch())
    }
}

/// Final embeddings and branches, without padding.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// `[U, D]`.
    pub users: Vec<f32>,
    /// `[I, D]`.
    pub items: Vec<f32>,
    /// Where the objective has one.
    pub user_branch: Option<Branch>,
    /// Where the objective has one.
    pub item_branch: Option<Branch>,
    /// LightGCN: the parameters themselves, users `[U, D]` and items `[I, D]`.
    pub ego: Option<[Vec<f32>; 2]>,
    /// What ranking does not use.
    pub kept: Kept,
}

impl Parameters {
    /// Of tables whose rows are divided into `parts`: embeddings become what is ranked by, and the rest is kept.
    fn ranked(mut self, layout: Layout, parts: [Parts; 2]) -> Self {
        if layout.ranked() < parts[1].count {
            self.kept.second_user_embedding = parts[0].split_off(&mut self.users);
            self.kept.second_item_embedding = parts[1].split_off(&mut self.items);
            for (values, parts) in self.ego.iter_mut().flatten().zip(parts) {
                parts.split_off(values);
            }
        }
        self
    }
}

/// Sums over steps of the parts of the loss and, last, of its penalty and its L2 term.
pub type Losses = [f64; PARTS + 2];

/// The state of one training on one device.
pub trait Backend: std::fmt::Debug {
    /// Where samples come from.
    fn sampler(&self) -> &Sampler<'_>;

    /// Performs `sequence` once for each of the next `steps` steps, and adds their losses to `losses`, step by step:
    /// however steps are cut into calls, the sums are the same bits. A device may record the sequence and replay the
    /// record, so it must be the same operations each time.
    ///
    /// # Errors
    /// If the device fails.
    fn advance(&mut self, steps: u64, sequence: Sequence<'_>, losses: &mut Losses) -> Result<()>;

    /// As [`Backend::advance`]; returns the losses of these steps alone.
    ///
    /// # Errors
    /// If the device fails.
    fn repeat(&mut self, steps: u64, sequence: Sequence<'_>) -> Result<Losses> {
        let mut losses = Losses::default();
        self.advance(steps, sequence, &mut losses)?;
        Ok(losses)
    }

    /// The state after the steps done so far, every row caught up; the training's own state is not touched.
    ///
    /// # Errors
    /// If the device fails.
    fn snapshot(&mut self) -> Result<Box<dyn Snapshot + '_>>;

    /// The parameters after the steps done so far.
    ///
    /// # Errors
    /// If the device fails.
    fn parameters(&mut self) -> Result<Parameters> {
        self.snapshot()?.into_parameters()
    }

    /// True if all parameters are finite.
    ///
    /// # Errors
    /// If the device fails.
    fn is_finite(&mut self) -> Result<bool>;

    /// Shows `exchange` the number of steps and every tensor that the steps to come depend on, to be read or replaced.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if a state that is put in is of another training; if the device fails.
    fn exchange(&mut self, exchange: &mut Exchange<'_>) -> Result<()>;

    /// The state after the steps done so far.
    ///
    /// # Errors
    /// If the device fails.
    fn state(&mut self) -> Result<State> {
        let mut state = State::default();
        self.exchange(&mut Exchange::Save(&mut state))?;
        Ok(state)
    }

    /// Continues from `state`. It may come from another backend: then the steps to come are the same steps, and their
    /// results the same up to rounding.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if it is of another training; this one can then no longer be used.
    fn restore(&mut self, state: &State) -> Result<()> {
        let mut exchange = Exchange::Load { state, taken: 0 };
        self.exchange(&mut exchange)?;
        exchange.finish()
    }
}

/// The state of a training after some step, in the memory of its device.
pub trait Snapshot: std::fmt::Debug {
    /// Prepares to rank by the final embeddings where they are, as [`lists::ranker`] does; `popularity` `[I]` are the
    /// training interactions of each item.
    ///
    /// # Errors
    /// As [`lists::ranker`].
    fn ranker<'s>(
        &'s self,
        popularity: &'s [u32],
        rankings: &[Ranking],
        k: usize,
    ) -> Result<Box<dyn Ranks + 's>>;

    /// Rounds the final embeddings to the form in which tables are kept: what a file will hold.
    ///
    /// # Errors
    /// If the device fails.
    fn round(&mut self) -> Result<()>;

    /// The parameters, on the host.
    ///
    /// # Errors
    /// If the device fails.
    fn into_parameters(self: Box<Self>) -> Result<Parameters>;
}

/// The operations of one step, in their order.
pub type Sequence<'s> = &'s (dyn Fn(&mut dyn Operations) -> Result<()> + Sync);

/// What a device does within a step; see `kernels/README.md` for the cost of each.
pub trait Operations {
    /// The step's users, positives and negatives, from (seed, step, index), and the distinct rows that they touch.
    ///
    /// # Errors
    /// If the device fails.
    fn sample(&mut self) -> Result<()>;

    /// LightGCN: all layers of the final embeddings but the last.
    ///
    /// # Errors
    /// If the device fails.
    fn propagate(&mut self) -> Result<()>;

    /// The final embeddings of the touched rows, side by side: caught up to the state before the step, or of LightGCN's
    /// last layer; their logits and norms.
    ///
    /// # Errors
    /// If the device fails.
    fn gather(&mut self) -> Result<()>;

    /// Match scores and, unless the objective pairs all rows, its scalar stage: losses and coefficients.
    ///
    /// # Errors
    /// If the device fails.
    fn step(&mut self) -> Result<()>;

    /// The B x B sums, then the scalar stage, of objectives that pair all rows; others have nothing to do here.
    ///
    /// # Errors
    /// If the device fails.
    fn all_pairs(&mut self) -> Result<()>;

    /// Per touched row the sum of coefficient x partner row, then L2 and Adam in place, which ends the step; for
    /// LightGCN only the sum, which is the gradient of the final embeddings. Adam on the heads.
    ///
    /// # Errors
    /// If the device fails.
    fn apply(&mut self) -> Result<()>;

    /// LightGCN: the gradient of the parameters, L2 and Adam on all rows, which ends the step.
    ///
    /// # Errors
    /// If the device fails.
    fn backward(&mut self) -> Result<()>;
}
