//! A hand-tuned engine for recommendation without popularity bias.

pub mod atomic_file;
pub mod backend;
#[doc(hidden)]
pub mod cli;
pub mod data;
pub mod error;
pub mod model;
mod model_file;
pub mod objective;
pub mod optim;
pub mod sampling;
mod simd;

pub use data::{Csr, Edges, Ids, Interactions, InteractionsBuilder, Split};
pub use error::{Error, Result};
pub use model::{Metadata, Model, Ranking};
