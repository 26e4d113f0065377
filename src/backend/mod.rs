//! Devices: the operations that training needs, each written once per device.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
