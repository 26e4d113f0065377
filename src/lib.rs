//! A hand-tuned engine for recommendation without popularity bias.

pub mod atomic_file;
pub mod backend;
#[doc(hidden)]
pub mod cli;
pub mod data;
pub mod error;
pub mod model;
mod model_file;

pub use data::{Csr, Edges, Ids, Interactions, InteractionsBuilder, Split};
pub use error::{Error, Result};
pub use model::{Branch, Metadata, Model, Ranking};
