//! What a training tells whoever watches it. The loop itself prints nothing and writes nothing.

use serde::{Deserialize, Serialize};

use super::{Checkpoint, Progress};
use crate::{
    error::Result,
    model::{Model, Ranking},
};

/// One epoch done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: u64,
    /// Mean loss of a step, all parts together.
    pub loss: f64,
    /// Mean of each named part (`main`, `item`, `user`, `l2`).
    pub parts: Vec<(String, f64)>,
    /// Rows of the epoch's batches.
    pub samples: u64,
    /// Seconds that the epoch's steps took.
    pub seconds: f64,
}

/// One evaluation done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// The epoch after which it was made.
    pub epoch: u64,
    /// The best ranking of the grid.
    pub ranking: Ranking,
    /// Its metrics at the selection's k.
    pub hit_rate: f64,
    /// Recall.
    pub recall: f64,
    /// NDCG.
    pub ndcg: f64,
    /// True if no evaluation before was better.
    pub best: bool,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Watches a training. Every method has a default that does nothing.
pub trait Observer {
    /// An epoch is done.
    ///
    /// # Errors
    /// An error ends the training and is handed on.
    fn epoch(&mut self, _epoch: &Epoch) -> Result<()> {
        Ok(())
    }

    /// An evaluation begins.
    ///
    /// # Errors
    /// As above.
    fn evaluating(&mut self) -> Result<()> {
        Ok(())
    }

    /// An evaluation is done.
    ///
    /// # Errors
    /// As above.
    fn evaluated(&mut self, _evaluated: &Evaluated) -> Result<()> {
        Ok(())
    }

    /// This model is the best so far.
    ///
    /// # Errors
    /// As above.
    fn improved(&mut self, _model: &Model) -> Result<()> {
        Ok(())
    }

    /// Asked several times in an epoch: whether a checkpoint is to be taken now. `finished` is true once, at the end.
    fn checkpoint_is_due(&mut self, _progress: &Progress, _finished: bool) -> bool {
        false
    }

    /// A checkpoint that was due, or the one that is taken before a training is stopped.
    ///
    /// # Errors
    /// As above.
    fn checkpoint(&mut self, _checkpoint: Checkpoint) -> Result<()> {
        Ok(())
    }

    /// Asked several times in an epoch; true stops the training there, after a checkpoint.
    fn stop(&self) -> bool {
        false
    }
}

/// Watches nothing.
impl Observer for () {}
