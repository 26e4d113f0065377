//! The operations on the processor: rayon across cores, SIMD within.

pub mod rank;
