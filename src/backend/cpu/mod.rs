//! The CPU backend: rayon over fixed chunks, vector loops of fixed lane order. The same bits at any thread count.

pub mod adam;
pub mod all_pairs;
pub mod apply;
pub mod bias;
pub mod branch;
pub mod ceiling;
pub mod divergence;
mod engine;
pub mod expomf;
pub mod gather;
pub mod gram;
pub mod metrics;
pub mod penalty;
pub mod propagation;
pub mod rank;
pub mod sample;
pub mod spmm;
pub mod step;
pub mod table;
pub mod team;

pub use engine::Cpu;
