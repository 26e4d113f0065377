//! A hand-tuned engine for recommendation without popularity bias: MACR (Wei et al., KDD 2021), the backbones it
//! debiases and what it is compared with.
//!
//! [`Interactions`] is the data, [`Config`] says what to train, [`Trainer`] trains, [`Model`] is the result,
//! [`Evaluator`] measures it by full ranking, [`Recommender`] serves it and [`report`] makes tables and figures of it.
//! The library prints nothing, keeps no global state, and runs on the rayon pool of its caller; results are the same
//! bits at any number of threads.

pub mod atomic_file;
pub mod backbone;
pub mod backend;
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod data;
pub mod device;
pub mod error;
pub mod eval;
mod huge;
pub mod model;
mod model_file;
mod names;
pub mod objective;
pub mod optim;
pub mod recommend;
pub mod report;
pub mod sampling;
mod simd;
pub mod storage;
mod tensor_file;
pub mod train;
mod words;

pub use config::Config;
pub use data::{Csr, Edges, Ids, Interactions, InteractionsBuilder, Split};
pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use eval::{Evaluation, Evaluator};
pub use model::{Branch, Metadata, Model, Ranking, Tables};
pub use recommend::Recommender;
pub use storage::Storage;
pub use train::{Checkpoint, Observer, Summary, Trainer};
