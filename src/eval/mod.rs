//! Full-ranking evaluation: accuracy, and how the lists spread over the catalogue.

pub mod accuracy;
pub mod evaluator;
pub mod exposure;

pub use accuracy::Accuracy;
pub use evaluator::{Evaluation, Evaluator, Outcome};
pub use exposure::Exposure;
