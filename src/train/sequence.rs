//! What a minibatch step is made of.

use crate::{backend::Operations, error::Result};

/// One step of matrix factorisation: the gathered rows are the final embeddings, and Adam is fused with their gradient.
///
/// # Errors
/// If the device fails.
pub fn minibatch(operations: &mut dyn Operations) -> Result<()> {
    operations.sample()?;
    operations.gather()?;
    operations.step()?;
    operations.all_pairs()?;
    operations.apply()
}

/// One step of LightGCN: parameters are propagated before, and gradients after what matrix factorisation does.
///
/// # Errors
/// If the device fails.
pub fn propagated_minibatch(operations: &mut dyn Operations) -> Result<()> {
    operations.sample()?;
    operations.propagate()?;
    operations.gather()?;
    operations.step()?;
    operations.all_pairs()?;
    operations.apply()?;
    operations.backward()
}
