//! Time on the device.

use cudarc::driver::{CudaEvent, CudaStream, sys::CUevent_flags};
use std::sync::Arc;

use super::{Device, failure::failed};
use crate::error::Result;

/// Two points in the queue of a [`Device`], and the time between the device's reaching them.
#[derive(Debug)]
pub struct Timer {
    stream: Arc<CudaStream>,
    start: CudaEvent,
    stop: CudaEvent,
}

impl Timer {
    /// A timer of `device`.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the driver refuses.
    pub fn new(device: &Device) -> Result<Self> {
        let event = || device.context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        let new = || Ok((event()?, event()?));
        let (start, stop) = new().map_err(failed("make a timer"))?;
        Ok(Timer { stream: device.stream.clone(), start, stop })
    }

    /// Queues the first point. Cannot be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    pub fn start(&self) -> Result<()> {
        self.start.record(&self.stream).map_err(failed("start a timer"))
    }

    /// Queues the second point. Cannot be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    pub fn stop(&self) -> Result<()> {
        self.stop.record(&self.stream).map_err(failed("stop a timer"))
    }

    /// Waits for the second point, and says how many seconds lie between the two.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails, or any work queued before the second point did.
    pub fn seconds(&self) -> Result<f64> {
        let milliseconds = self.start.elapsed_ms(&self.stop).map_err(failed("read a timer"))?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}
