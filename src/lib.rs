//! A hand-tuned engine for recommendation without popularity bias.

pub mod atomic_file;
pub mod backend;
#[doc(hidden)]
pub mod cli;
pub mod data;
pub mod error;
pub mod eval;
pub mod model;
mod model_file;
pub mod recommend;

pub use data::{Csr, Edges, Ids, Interactions, InteractionsBuilder, Split};
pub use error::{Error, Result};
pub use eval::{Evaluation, Evaluator};
pub use model::{Branch, Metadata, Model, Ranking, Tables};
pub use recommend::Recommender;
