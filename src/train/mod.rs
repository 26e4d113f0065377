//! The epoch loop: steps, evaluations, selection of the best epoch, early stopping.

pub mod early_stopping;
pub mod observer;
pub mod placement;
pub mod sequence;
pub mod trainer;

pub use observer::{Epoch, Evaluated, Observer};
pub use placement::Placement;
pub use trainer::{Rehearsal, Summary, Trainer};
