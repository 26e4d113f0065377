//! Interaction data: the mapped file, importing, filtering, splitting, generating.

pub mod builder;
pub mod filter;
pub mod graph;
pub mod ids;
pub mod import;
pub mod interactions;
pub(crate) mod layout;
pub mod popularity;
pub mod profile;
pub mod source;
pub mod split;
pub mod synth;
mod table;
mod tilted;

pub use builder::{Edges, InteractionsBuilder};
pub use ids::Ids;
pub use interactions::{Csr, Interactions, Split};
