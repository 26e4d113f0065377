//! The CPU backend: rayon over fixed chunks, vector loops of fixed lane order. The same bits at any thread count.

pub mod adam;
pub mod all_pairs;
mod apply;
mod bias;
pub mod branch;
pub mod ceiling;
pub mod divergence;
mod engine;
pub mod expomf;
mod gather;
pub mod gram;
mod metrics;
mod penalty;
pub mod propagation;
pub mod rank;
mod sample;
pub mod spmm;
mod step;
pub mod table;
pub mod team;

pub use engine::Cpu;
