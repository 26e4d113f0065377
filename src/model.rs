//! A trained recommender: final embeddings, branches, popularity, and how it ranks.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    data::{Interactions, InteractionsBuilder},
    error::{Error, Result},
    model_file,
    objective::BranchInput,
    storage::Storage,
};

/// Name of the model file in a run folder.
pub const MODEL_FILE: &str = "model.safetensors";
/// Name of the file with counts and external ids in a run folder: an interaction file without splits.
pub const IDS_FILE: &str = "ids.macr";

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

    /// True if all parameters are finite.
    #[cfg(feature = "cuda")]
    pub(crate) fn is_finite(&self) -> bool {
        let finite = |values: &[f32]| values.iter().all(|x| x.is_finite());
        match self {
            Branch::Linear { weight } => finite(weight),
            Branch::Mlp { w1, b1, w2, b2 } => finite(w1) && finite(b1) && finite(w2) && b2.is_finite(),
        }
    }

    /// The gates of embeddings `[rows, D]`.
    pub(crate) fn gates(&self, embedding: &[f32], dim: usize) -> Vec<f32> {
        embedding.par_chunks_exact(dim).map(|x| gate(self.logit(x))).collect()
    }
}

/// The gate s = sigma(y) of a logit.
pub(crate) fn gate(logit: f64) -> f32 {
    (1.0 / (1.0 + libm::exp(-logit))) as f32
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
    /// Which embeddings the branches score.
    pub branch_input: BranchInput,
    /// How it ranks unless told otherwise.
    pub ranking: Ranking,
    /// Checksum of the data it was trained on.
    pub data: String,
    /// Where that data came from, if its validation split was taken from the train split for this training.
    pub carved: Option<Carved>,
    /// The form in which embeddings were kept; a model file keeps them in it too.
    pub storage: Storage,
    /// Seed of the training.
    pub seed: u64,
    /// Version of the program that trained it.
    pub version: String,
}

/// A validation split that was taken from the train split for one training ([`crate::data::split::carve_valid`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carved {
    /// Checksum of the data before.
    pub from: String,
    /// How many interactions were taken.
    pub interactions: u64,
    /// Seed of the choice.
    pub seed: u64,
}

/// What a training learned and ranking does not use.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kept {
    /// BS: `[I]`.
    pub item_bias: Option<Vec<f32>>,
    /// CausE with a backbone that propagates: the users' vectors for the debiased set, `[U, D]`.
    pub second_user_embedding: Option<Vec<f32>>,
    /// CausE: the items' vectors for the debiased set, `[I, D]`.
    pub second_item_embedding: Option<Vec<f32>>,
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
    /// LightGCN: the parameters whose propagation the embeddings are, users `[U, D]` and items `[I, D]`.
    pub ego: Option<[Vec<f32>; 2]>,
    /// What ranking does not use.
    pub kept: Kept,
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

    /// `[I]`: the item gates s_i = sigma(y_i), where there is an item branch.
    pub fn item_gates(&self) -> Option<Vec<f32>> {
        let ego = self.ego.as_ref().map(|[_, items]| items.as_slice());
        let scored = self.metadata.branch_input.choose(&self.item_embedding, ego);
        Some(self.item_branch.as_ref()?.gates(scored, self.dim))
    }

    /// Refuses arrays whose lengths do not fit together.
    fn check(&self) -> Result<()> {
        let dim = self.dim;
        let table = |rows: u32, values: &[f32]| values.len() == rows as usize * dim;
        let branch = |branch: &Branch| match branch {
            Branch::Linear { weight } => weight.len() == dim,
            Branch::Mlp { w1, b1, w2, .. } => w1.len() == b1.len() * dim && w2.len() == b1.len(),
        };
        let fits = dim > 0
            && [&self.user_branch, &self.item_branch].into_iter().flatten().all(branch)
            && self.ego.as_ref().is_none_or(|[u, i]| table(self.users(), u) && table(self.items(), i))
            && self.kept.item_bias.as_ref().is_none_or(|bias| bias.len() == self.items() as usize)
            && self.kept.second_user_embedding.as_ref().is_none_or(|values| table(self.users(), values))
            && self.kept.second_item_embedding.as_ref().is_none_or(|values| table(self.items(), values));
        if fits {
            return Ok(());
        }
        Err(Error::data(
            format!("the model's branches and tables are not for its embeddings of size {dim}"),
            "give every table a row of this size for each user or item, and branches for it",
        ))
    }

    /// What ranking needs of the model; computes the item gates.
    ///
    /// # Errors
    /// [`Error::Data`] if the tables do not fit together.
    pub fn tables(&self) -> Result<Tables<'_>> {
        self.check()?;
        Tables::new(
            self.dim,
            &self.user_embedding,
            &self.item_embedding,
            self.item_gates().map(Cow::Owned),
            &self.item_popularity,
        )
    }

    /// Bytes of memory that its tables take.
    pub(crate) fn memory(&self) -> u64 {
        let Kept { item_bias, second_user_embedding, second_item_embedding } = &self.kept;
        let kept = [item_bias, second_user_embedding, second_item_embedding].into_iter().flatten();
        let tables = [&self.user_embedding, &self.item_embedding].into_iter().chain(kept);
        let numbers: usize = tables.chain(self.ego.iter().flatten()).map(Vec::len).sum();
        4 * (numbers + self.item_popularity.len()) as u64
    }

    /// Writes the model to a safetensors file, atomically; equal models give equal bytes.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; [`Error::Data`] if the tables do not fit together.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        model_file::contents(self)?.write(path.as_ref())
    }

    /// Reads a model from a safetensors file, or from `model.safetensors` in a run folder.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::File`] if it is damaged or no model of this program.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        model_file::load(&in_run(path.as_ref(), MODEL_FILE))
    }

    /// True where [`Model::load`] finds what begins as a model.
    pub fn is_at(path: impl AsRef<Path>) -> bool {
        model_file::is_model(&in_run(path.as_ref(), MODEL_FILE))
    }
}

/// Writes the counts and external ids of `data` into a run folder, so that the model can be used without the data.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn save_ids(data: &Interactions, run: impl AsRef<Path>) -> Result<()> {
    InteractionsBuilder::new(data.users(), data.items())
        .ids(data.user_ids().into_owned(), data.item_ids().into_owned())
        .build()?
        .save(run.as_ref().join(IDS_FILE))
}

/// Reads what [`save_ids`] wrote into a run folder, which its model file stands for too; `None` if there is none.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] if the file cannot be used.
pub fn load_ids(run: impl AsRef<Path>) -> Result<Option<Interactions>> {
    let run = run.as_ref();
    let path = if run.is_file() { run.with_file_name(IDS_FILE) } else { run.join(IDS_FILE) };
    if path.is_file() { Interactions::open(path).map(Some) } else { Ok(None) }
}

/// `file` in a run folder; a path that is no folder is taken for the file itself.
fn in_run(path: &Path, file: &str) -> PathBuf {
    if path.is_dir() { path.join(file) } else { path.into() }
}

/// The arrays that decide a ranking, borrowed from wherever they are: a [`Model`], or a training in progress.
#[derive(Debug, Clone)]
pub struct Tables<'a> {
    dim: usize,
    user_embedding: &'a [f32],
    item_embedding: &'a [f32],
    gates: Option<Cow<'a, [f32]>>,
    popularity: &'a [u32],
}

impl<'a> Tables<'a> {
    /// Tables of embedding size `dim`: users `[U, D]`, items `[I, D]`, item gates `[I]` where there is an item
    /// branch, and `[I]` training interactions of each item.
    ///
    /// # Errors
    /// [`Error::Data`] if the lengths do not fit together.
    pub fn new(
        dim: usize,
        user_embedding: &'a [f32],
        item_embedding: &'a [f32],
        gates: Option<Cow<'a, [f32]>>,
        popularity: &'a [u32],
    ) -> Result<Self> {
        let whole = |table: &[f32]| {
            dim > 0 && table.len().is_multiple_of(dim) && u32::try_from(table.len() / dim).is_ok()
        };
        let items = popularity.len();
        if !whole(user_embedding)
            || !whole(item_embedding)
            || item_embedding.len() / dim != items
            || gates.as_ref().is_some_and(|gates| gates.len() != items)
        {
            return Err(Error::data(
                format!(
                    "the tables do not fit together: embedding size {dim}, {} user and {} item components, {} item \
                     gates, {items} item counts",
                    user_embedding.len(),
                    item_embedding.len(),
                    gates.as_ref().map_or("no".into(), |gates| gates.len().to_string()),
                ),
                "give whole rows, and one gate and one count for each item",
            ));
        }
        Ok(Tables { dim, user_embedding, item_embedding, gates, popularity })
    }

    /// Embedding size, D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of users, U.
    pub fn users(&self) -> u32 {
        (self.user_embedding.len() / self.dim) as u32
    }

    /// Number of items, I.
    pub fn items(&self) -> u32 {
        self.popularity.len() as u32
    }

    /// `[U, D]`, row-major.
    pub fn user_embedding(&self) -> &'a [f32] {
        self.user_embedding
    }

    /// `[I, D]`, row-major.
    pub fn item_embedding(&self) -> &'a [f32] {
        self.item_embedding
    }

    /// `[I]`: s_i, where there is an item branch.
    pub fn gates(&self) -> Option<&[f32]> {
        self.gates.as_deref()
    }

    /// `[I]`: n_i.
    pub fn popularity(&self) -> &'a [u32] {
        self.popularity
    }
}
