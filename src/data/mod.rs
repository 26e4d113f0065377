//! Interaction data: the mapped file, importing, filtering, splitting, generating.

pub mod builder;
pub mod filter;
mod huge;
pub mod ids;
pub mod import;
pub mod interactions;
pub mod source;
mod table;

pub use builder::{Edges, InteractionsBuilder};
pub use ids::Ids;
pub use interactions::{Csr, Interactions, Split};
