//! The epoch loop: steps, evaluations, selection of the best epoch, early stopping.

pub mod early_stopping;
pub mod observer;
pub mod sequence;
pub mod trainer;

pub use observer::{Epoch, Evaluated, Observer};
pub use trainer::{Summary, Trainer};
