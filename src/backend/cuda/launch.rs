//! Kernels and their launches, typed by the struct of their parameters.

use std::marker::PhantomData;

use cudarc::driver::{
    CudaFunction, DeviceRepr, LaunchConfig, PushKernelArg,
    sys::{self, CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as DYNAMIC},
};

use super::{Device, failure::failed};
use crate::error::{Error, Result};

/// A struct of `kernels/params.h`, and the kernel that takes it.
///
/// # Safety
/// The kernel of that name, and its variants `NAME_...`, take exactly this struct by value.
pub unsafe trait Params: Copy {
    /// The kernel's name.
    const KERNEL: &'static str;
}

/// A kernel of the loaded image that takes a `P`.
#[derive(Debug)]
pub struct Kernel<P> {
    function: CudaFunction,
    name: String,
    params: PhantomData<fn(P)>,
}

/// How many threads a launch has, and how much shared memory each block is given besides its static arrays.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Blocks, in three dimensions.
    pub grid: [u32; 3],
    /// Threads of a block, the number that the kernel is declared with.
    pub block: u32,
    /// Bytes of dynamic shared memory of a block.
    pub shared: u32,
}

impl Shape {
    /// A grid of one dimension, without dynamic shared memory.
    pub fn linear(blocks: u32, block: u32) -> Self {
        Shape { grid: [blocks, 1, 1], block, shared: 0 }
    }
}

#[repr(transparent)]
struct Argument<P>(P);

// SAFETY: the trait promises that the kernel takes this struct by value.
unsafe impl<P: Params> DeviceRepr for Argument<P> {}

impl Device {
    /// The kernel that takes a `P`.
    ///
    /// # Errors
    /// [`Error::Device`] if the image has no such kernel, or one with other parameters.
    pub fn kernel<P: Params>(&self) -> Result<Kernel<P>> {
        self.find(P::KERNEL.to_owned())
    }

    /// A variant of the kernel that takes a `P`: `NAME_variant`.
    ///
    /// # Errors
    /// As for [`Device::kernel`].
    pub fn kernel_variant<P: Params>(&self, variant: impl std::fmt::Display) -> Result<Kernel<P>> {
        self.find(format!("{}_{variant}", P::KERNEL))
    }

    fn find<P: Params>(&self, name: String) -> Result<Kernel<P>> {
        // Whatever thread this is: not every call of cudarc sees to it.
        self.context.bind_to_thread().map_err(failed(format!("find the kernel {name}")))?;
        let function = self.module.load_function(&name).map_err(failed(format!("find the kernel {name}")))?;
        let (mut offset, mut bytes) = (0, 0);
        // SAFETY: writes the two integers it is given.
        unsafe { sys::cuFuncGetParamInfo(function.cu_function(), 0, &mut offset, &mut bytes) }
            .result()
            .map_err(failed(format!("ask for the parameters of {name}")))?;
        if bytes != size_of::<P>() {
            return Err(Error::Device {
                operation: format!("use the kernel {name}"),
                message: format!(
                    "it takes {bytes} bytes of parameters, this program passes {}",
                    size_of::<P>()
                ),
                remedy: "load the kernels of the same version as the program".into(),
            });
        }
        // All the shared memory that there is: launches say what they use, and more than 48 KiB needs permission.
        let shared = function.shared_size_bytes().and_then(|fixed| {
            function.set_attribute(DYNAMIC, self.description().shared_memory as i32 - fixed)
        });
        shared.map_err(failed(format!("give shared memory to {name}")))?;
        Ok(Kernel { function, name, params: PhantomData })
    }

    /// Queues a launch of `kernel`.
    ///
    /// # Safety
    /// Every pointer in `params` is valid on this device for what the kernel reads and writes there, until the launch,
    /// and each replay of a graph that it is captured in, is done.
    ///
    /// # Errors
    /// [`Error::Device`] if the launch is refused. What goes wrong while it runs is reported when the host waits.
    pub unsafe fn launch<P: Params>(&self, kernel: &Kernel<P>, shape: Shape, params: P) -> Result<()> {
        let [x, y, z] = shape.grid;
        let config = LaunchConfig {
            grid_dim: (x, y, z),
            block_dim: (shape.block, 1, 1),
            shared_mem_bytes: shape.shared,
        };
        let argument = Argument(params);
        let mut launch = self.stream.launch_builder(&kernel.function);
        launch.arg(&argument);
        // SAFETY: by the caller's promise, and the type of the kernel's one parameter was checked by its size.
        unsafe { launch.launch(config) }
            .map(|_| ())
            .map_err(failed(format!("launch {} with {shape:?}", kernel.name)))
    }
}
