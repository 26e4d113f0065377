//! Sequences of operations, recorded once and replayed without the host.

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaGraph, CudaStream,
    sys::{CUgraphInstantiate_flags, CUstreamCaptureMode, CUstreamCaptureStatus},
};

use super::{Device, failure::failed};
use crate::error::{Error, Result};

/// A recorded sequence of launches, replayed as a whole.
///
/// It holds the addresses that were recorded, not the buffers: keep these alive as long as it is replayed.
pub struct Graph {
    graph: CudaGraph,
    context: Arc<CudaContext>,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // cudarc destroys it in whatever context the thread has.
        self.context.record_err(self.context.bind_to_thread());
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").finish_non_exhaustive()
    }
}

impl Device {
    /// Records what `record` queues on this device, without running it. It may launch kernels, clear buffers
    /// and copy from and to page-locked memory; it may not allocate, free, copy from or to other host memory, or wait.
    ///
    /// # Errors
    /// The error of `record`; [`Error::Device`] if something was queued that cannot be recorded.
    pub fn capture(&self, record: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let operation = || failed("record a sequence of launches");
        self.stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .map_err(operation())?;
        let recorded = record();
        let ended = self.stream.end_capture(CUgraphInstantiate_flags(0));
        recorded?;
        let graph = ended.map_err(operation())?.ok_or_else(|| Error::Device {
            operation: "record a sequence of launches".into(),
            message: "nothing was recorded".into(),
            remedy: "please report this defect of the engine".into(),
        })?;
        graph.upload().map_err(operation())?;
        Ok(Graph { graph, context: self.context.clone() })
    }
}

impl Graph {
    /// Queues the sequence `times` times.
    ///
    /// # Errors
    /// [`Error::Device`] if a launch is refused.
    ///
    /// # Safety
    /// All buffers and page-locked memory that the recorded operations use must live until the work is done, and nobody
    /// may meanwhile hold a slice of the latter that they write.
    pub unsafe fn replay(&self, times: u64) -> Result<()> {
        for _ in 0..times {
            self.graph.launch().map_err(failed("replay a sequence of launches"))?;
        }
        Ok(())
    }
}

/// Refuses what would be recorded with an address that is gone, or memory that is not there, at the replay.
pub(super) fn outside_capture(stream: &CudaStream, operation: &str) -> Result<()> {
    match stream.capture_status().map_err(failed(operation))? {
        CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE => Ok(()),
        _ => Err(Error::Device {
            operation: operation.into(),
            message: "a sequence of launches is being recorded".into(),
            remedy: "please report this defect of the engine".into(),
        }),
    }
}
