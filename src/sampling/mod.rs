//! Which users, positives and negatives a step sees: pure functions of (seed, step, index).
//!
//! Nothing here has state that advances, so samples do not depend on threads, order or device.

pub mod batch;
pub mod margin;
pub mod negatives;
pub mod permutation;
pub mod philox;

pub use batch::{Sampler, SamplerKind, most_rows};
pub use negatives::Negatives;
