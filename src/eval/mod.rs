//! How good the lists of a model are: full ranking of all items, metrics per user, per list and per item group.

pub mod evaluator;
pub mod groups;
pub mod metric;
pub mod significance;

pub use crate::backend::lists::Hit;
pub use evaluator::{Evaluation, Evaluator, Mask, Outcome, Scores};
pub use groups::{GroupBy, GroupOutcome};
