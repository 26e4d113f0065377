//! Devices: the operations that training needs, each written once per device.

pub mod cpu;
