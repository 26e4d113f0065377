//! A hand-tuned engine for recommendation without popularity bias.

pub mod atomic_file;
pub mod backend;
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod data;
pub mod error;
pub mod eval;
pub mod model;
mod model_file;
pub mod objective;
pub mod optim;
pub mod recommend;
pub mod sampling;
mod simd;
pub mod train;

pub use config::Config;
pub use data::{Csr, Edges, Ids, Interactions, InteractionsBuilder, Split};
pub use error::{Error, Result};
pub use eval::{Evaluation, Evaluator};
pub use model::{Branch, Metadata, Model, Ranking};
pub use recommend::{Recommendation, Recommender};
pub use train::{Observer, Summary, Trainer};
