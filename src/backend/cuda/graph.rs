//! Sequences of operations, recorded once and replayed without the host.

use cudarc::driver::{
    CudaGraph,
    sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
};

use super::{Device, failure::failed};
use crate::error::{Error, Result};

/// A recorded sequence of launches, replayed as a whole.
///
/// It holds the addresses that were recorded, not the buffers: keep these alive as long as it is replayed.
pub struct Graph {
    graph: CudaGraph,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").finish_non_exhaustive()
    }
}

impl Device {
    /// Records what `record` queues on this device, without running it. It may launch kernels and clear buffers; it
    /// may not allocate, free, copy from or to the host, or wait.
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
        Ok(Graph { graph })
    }
}

impl Graph {
    /// Queues the sequence `times` times.
    ///
    /// # Errors
    /// [`Error::Device`] if a launch is refused.
    pub fn replay(&self, times: u64) -> Result<()> {
        for _ in 0..times {
            self.graph.launch().map_err(failed("replay a sequence of launches"))?;
        }
        Ok(())
    }
}
