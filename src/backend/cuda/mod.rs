//! The CUDA backend. `kernels/README.md` says how kernels, launchers and tests belong together.
//!
//! Host code speaks the driver interface through `cudarc`, which opens the driver at run time: building needs no
//! toolkit, and a program starts without a driver. Every operation is queued on the one stream of its [`Device`], in
//! program order; the host waits only where it reads a result.

pub mod adam;
pub mod all_pairs;
pub mod apply;
pub mod batch;
pub mod bias;
pub mod branch;
pub mod buffer;
pub mod ceiling;
pub mod device;
pub mod divergence;
mod engine;
pub mod expomf;
mod failure;
pub mod gather;
pub mod gram;
pub mod graph;
mod image;
pub mod launch;
mod memory;
pub mod metrics;
pub mod params;
pub mod penalty;
pub mod propagation;
pub mod rank;
pub mod sample;
pub mod spmm;
pub mod step;
pub mod stored;
pub mod table;
pub mod timer;

pub use buffer::{Buffer, Element, Pinned, Purpose};
pub use device::Device;
pub use engine::Cuda;
pub use graph::Graph;
pub use launch::{Kernel, Params, Shape};
pub use memory::{check, evaluation as evaluation_memory, memory, ranked};
pub use stored::Stored;
pub use timer::Timer;
