//! A GPU: found, opened, described.

use std::{borrow::Cow, sync::Arc};

use cudarc::{
    driver::{
        CudaContext, CudaModule, CudaStream,
        sys::{self, CUdevice_attribute as Attribute, CUmemPool_attribute as PoolAttribute},
    },
    nvrtc::Ptx,
};

use super::{failure::failed, image};
use crate::error::{Error, Result};

/// Least driver version, that of the toolkit whose interface `cudarc` is built for: 13.0.
const DRIVER: i32 = 13_000;

/// An open GPU with the kernels loaded, and its stream. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Device {
    pub(super) context: Arc<CudaContext>,
    /// All work is queued here, in program order.
    pub(super) stream: Arc<CudaStream>,
    pub(super) module: Arc<CudaModule>,
    description: Arc<Description>,
}

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Number among the devices, as in `cuda:N`.
    pub ordinal: u32,
    /// As the driver calls it.
    pub name: String,
    /// Major and minor compute capability.
    pub compute_capability: (i32, i32),
    /// Bytes of memory.
    pub memory: usize,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Most shared memory of a block, in bytes, when a kernel asks for it.
    pub shared_memory: u32,
    /// Version of the driver: 1000 major + 10 minor.
    pub driver: i32,
}

impl Device {
    /// Number of GPUs that the driver offers.
    ///
    /// # Errors
    /// [`Error::Device`] without a driver, or with one that is too old.
    pub fn count() -> Result<u32> {
        driver_version()?;
        let count = CudaContext::device_count().map_err(failed("list the GPUs"))?;
        Ok(count.unsigned_abs())
    }

    /// Opens GPU `ordinal` with the kernels of this build, or those in the file that `MACR_FATBIN` names.
    ///
    /// # Errors
    /// [`Error::Device`] without a driver, without such a device, or if the build has no kernels.
    pub fn open(ordinal: u32) -> Result<Self> {
        // First, so that a machine without a driver says so.
        driver_version()?;
        Self::open_with(ordinal, image::kernels()?)
    }

    /// Opens GPU `ordinal` with the kernels of `image`: a fatbin, a cubin, or PTX.
    ///
    /// # Errors
    /// As for [`Device::open`].
    pub fn open_with(ordinal: u32, image: Cow<'_, [u8]>) -> Result<Self> {
        let driver = driver_version()?;
        let operation = || format!("open the GPU cuda:{ordinal}");
        let context = CudaContext::new(ordinal as usize).map_err(failed(operation()))?;
        // What is given back stays with the process, to be given out again without the system's help.
        if let Some(pool) = default_pool(&context)? {
            let (threshold, mut keep) = (PoolAttribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX);
            // SAFETY: the attribute is an integer of 64 bits.
            unsafe { sys::cuMemPoolSetAttribute(pool, threshold, (&raw mut keep).cast()) }
                .result()
                .map_err(failed(operation()))?;
        }
        // SAFETY: a buffer is used on the stream that it was made on, in program order. Where ranking reads it on
        // streams of its own, these begin after a synchronisation, and are waited for.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(failed(operation()))?;
        let module = context
            .load_module(Ptx::from_binary(image.into_owned()))
            .map_err(failed("load the GPU kernels"))?;
        let attribute = |attribute| context.attribute(attribute).map_err(failed(operation()));
        let description = Description {
            ordinal,
            name: context.name().map_err(failed(operation()))?,
            compute_capability: context.compute_capability().map_err(failed(operation()))?,
            memory: context.total_mem().map_err(failed(operation()))?,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.unsigned_abs(),
            shared_memory: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?
                .unsigned_abs(),
            driver,
        };
        Ok(Device { context, stream, module, description: Arc::new(description) })
    }

    /// A handle with a stream of its own, whose work runs beside that of the others. Nothing orders the work of
    /// different streams but [`Device::synchronize`].
    pub(super) fn with_own_stream(&self) -> Result<Self> {
        let stream = self.context.new_stream().map_err(failed("open a stream"))?;
        Ok(Device { stream, ..self.clone() })
    }

    /// What this device is.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Bytes of memory that are free now, for this process.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn free_memory(&self) -> Result<usize> {
        let operation = || failed("ask for the free GPU memory");
        let (free, _) = self.context.mem_get_info().map_err(operation())?;
        let Some(pool) = default_pool(&self.context)? else { return Ok(free) };
        let of_pool = |attribute| -> Result<usize> {
            let mut bytes = 0u64;
            // SAFETY: the attribute is an integer of 64 bits.
            unsafe { sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()) }
                .result()
                .map_err(operation())?;
            Ok(bytes as usize)
        };
        let reserved = of_pool(PoolAttribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        Ok(free + reserved.saturating_sub(of_pool(PoolAttribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?))
    }

    /// Waits until all queued work is done.
    ///
    /// # Errors
    /// [`Error::Device`] if any of it failed.
    pub fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().map_err(failed("run the queued GPU work"))
    }
}

/// The pool that buffers come from, where the device has pools.
fn default_pool(context: &CudaContext) -> Result<Option<sys::CUmemoryPool>> {
    let pools = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED);
    if pools.map_err(failed("ask for the GPU's memory pool"))? == 0 {
        return Ok(None);
    }
    let mut pool = std::ptr::null_mut();
    // SAFETY: writes the handle of a pool that lives as long as the device.
    unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device()) }
        .result()
        .map_err(failed("ask for the GPU's memory pool"))?;
    Ok(Some(pool))
}

/// Version of the driver.
///
/// # Errors
/// [`Error::Device`] if there is none, or if it is too old for this build.
fn driver_version() -> Result<i32> {
    let refuse = |message: String, remedy: &str| Error::Device {
        operation: "use a GPU".into(),
        message,
        remedy: remedy.into(),
    };
    // SAFETY: loads the driver's library, which any CUDA program does. cudarc panics if it is not there.
    if !unsafe { sys::is_culib_present() } {
        return Err(refuse("no NVIDIA driver was found".into(), "install one, or use --device cpu"));
    }
    let mut version = 0;
    // SAFETY: writes the integer it is given, and may be called before anything else.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(failed("ask the NVIDIA driver for its version"))?;
    if version < DRIVER {
        // Newer functions are missing in it, and cudarc panics when one is called.
        return Err(refuse(
            format!("the NVIDIA driver is of CUDA {}.{}", version / 1000, version % 1000 / 10),
            "update it to CUDA 13.0 (driver 580) or newer, or use --device cpu",
        ));
    }
    Ok(version)
}
