//! What computes: the operations of the engine, once per kind of device.

pub mod cpu;
