//! The epoch loop: steps, evaluations, selection of the best epoch, early stopping, checkpoints.

pub mod checkpoint;
pub mod early_stopping;
mod engine;
pub mod observer;
pub mod placement;
pub mod progress;
pub mod sequence;
pub mod trainer;
mod warm_start;

pub use checkpoint::Checkpoint;
pub use observer::{Epoch, Evaluated, Observer};
pub use placement::Placement;
pub use progress::Progress;
pub use trainer::{Rehearsal, Summary, Trainer};
