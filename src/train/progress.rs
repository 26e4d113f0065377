//! How far a training has come, apart from its parameters.

use serde::{Deserialize, Serialize};

use super::{early_stopping::EarlyStopping, observer::Evaluated};
use crate::backend::Losses;

/// What of a training's past decides its future, and what it reports at its end.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are done.
    pub epochs: u64,
    /// Steps done of the epoch after them.
    pub steps: u64,
    /// Sums of the losses of these steps.
    pub losses: Losses,
    /// Seconds that these steps took.
    pub seconds: f64,
    /// The last epoch that was evaluated; 0 before the first.
    pub evaluated: u64,
    /// Early stopping.
    pub stopping: EarlyStopping,
    /// The best evaluation.
    pub best: Option<Evaluated>,
    /// Rows of all batches.
    pub samples: u64,
    /// Seconds in training steps.
    pub train_seconds: f64,
    /// Seconds in evaluations.
    pub eval_seconds: f64,
}

impl Progress {
    /// True if the epoch that has just ended is to be evaluated.
    pub fn evaluation_is_due(&self, eval_every: u64, epochs: u64) -> bool {
        self.steps == 0
            && self.epochs > self.evaluated
            && (self.epochs.is_multiple_of(eval_every) || self.epochs == epochs)
    }
}
