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
