//! Randomness: pure functions of (seed, step, index), the same on every backend and machine.

pub mod philox;
