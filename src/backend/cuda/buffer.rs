//! Memory of the device, and host memory that it copies from and to directly.

use std::sync::Arc;

use bytemuck::AnyBitPattern;
use cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, PinnedHostSlice, ValidAsZeroBits, sys,
};

use super::{Device, failure::failed, graph::outside_capture};
use crate::{
    backend::state::Place,
    error::{Error, Result},
};

/// Plain numbers, and structs of them.
pub trait Element: DeviceRepr + ValidAsZeroBits + AnyBitPattern {}

impl<T: DeviceRepr + ValidAsZeroBits + AnyBitPattern> Element for T {}

/// What memory is for; an error for want of memory says it.
#[derive(Debug, Clone, Copy)]
pub struct Purpose {
    /// As in "the item table".
    pub what: &'static str,
    /// The setting that makes it smaller.
    pub lower: &'static str,
}

/// An array in the memory of a [`Device`].
#[derive(Debug)]
pub struct Buffer<T> {
    slice: CudaSlice<T>,
    len: usize,
}

/// An array in page-locked host memory: copies between it and a [`Buffer`] run while the host goes on.
#[derive(Debug)]
pub struct Pinned<T> {
    slice: PinnedHostSlice<T>,
    stream: Arc<CudaStream>,
}

impl Device {
    /// Memory for `len` elements, whose values are undefined.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if there is not enough.
    pub fn alloc<T: Element>(&self, purpose: Purpose, len: usize) -> Result<Buffer<T>> {
        outside_capture(&self.stream, "allocate GPU memory")?;
        // The driver gives no memory of 0 bytes.
        // SAFETY: T is valid for any bits, and no kernel result depends on elements never written.
        match unsafe { self.stream.alloc::<T>(len.max(1)) } {
            Ok(slice) => Ok(Buffer { slice, len }),
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Err(Error::DeviceMemory {
                what: purpose.what,
                asked: len.max(1).saturating_mul(size_of::<T>()) as u64,
                free: self.free_memory()? as u64,
                lower: purpose.lower,
            }),
            Err(error) => Err(failed(format!("allocate GPU memory for {}", purpose.what))(error)),
        }
    }

    /// Memory for `len` zeros.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if there is not enough.
    pub fn zeros<T: Element>(&self, purpose: Purpose, len: usize) -> Result<Buffer<T>> {
        let mut buffer = self.alloc(purpose, len)?;
        buffer.fill_zero()?;
        Ok(buffer)
    }

    /// A copy of `values` on the device.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if there is not enough memory.
    pub fn upload<T: Element>(&self, purpose: Purpose, values: &[T]) -> Result<Buffer<T>> {
        let mut buffer = self.alloc(purpose, values.len())?;
        buffer.write(values)?;
        Ok(buffer)
    }

    /// Page-locked host memory for `len` elements, whose values are undefined.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver refuses.
    pub fn pinned<T: Element>(&self, len: usize) -> Result<Pinned<T>> {
        // SAFETY: T is valid for any bits. Flags 0: ordinary cached memory, which the host reads as fast as any.
        unsafe { self.context.alloc_pinned_with_flags(len.max(1), 0) }
            .map(|slice| Pinned { slice, stream: self.stream.clone() })
            .map_err(failed("allocate page-locked memory"))
    }
}

impl<T: Element> Buffer<T> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it lies, for a kernel that reads it.
    pub fn ptr(&self) -> *const T {
        let (pointer, _in_order) = self.slice.device_ptr(self.slice.stream());
        pointer as *const T
    }

    /// Where it lies, for a kernel that writes it.
    pub fn ptr_mut(&mut self) -> *mut T {
        let stream = self.slice.stream().clone();
        let (pointer, _in_order) = self.slice.device_ptr_mut(&stream);
        pointer as *mut T
    }

    /// Queues setting all bytes to zero.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn fill_zero(&mut self) -> Result<()> {
        let stream = self.slice.stream().clone();
        stream.memset_zeros(&mut self.slice).map_err(failed("clear GPU memory"))
    }

    /// Copies `values` to the front of the buffer.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    ///
    /// # Panics
    /// If there are more values than elements.
    pub fn write(&mut self, values: &[T]) -> Result<()> {
        assert!(values.len() <= self.len, "{} values for a buffer of {}", values.len(), self.len);
        if values.is_empty() {
            return Ok(());
        }
        let stream = self.slice.stream().clone();
        outside_capture(&stream, "copy to the GPU")?;
        stream.memcpy_htod(values, &mut self.slice).map_err(failed("copy to the GPU"))
    }

    /// Waits for all queued work, and copies the elements to the host.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails, or any queued work did.
    pub fn read(&self) -> Result<Vec<T>> {
        outside_capture(self.slice.stream(), "copy from the GPU")?;
        let mut values = self.slice.stream().clone_dtoh(&self.slice).map_err(failed("copy from the GPU"))?;
        values.truncate(self.len);
        Ok(values)
    }

    /// Queues a copy of `from` to the front of the buffer. Can be captured.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    ///
    /// # Panics
    /// If `from` is longer than the buffer, or was made for another stream.
    pub fn write_pinned(&mut self, from: &Pinned<T>) -> Result<()> {
        let stream = self.slice.stream().clone();
        assert!(Arc::ptr_eq(&stream, &from.stream), "page-locked memory of another stream");
        stream.memcpy_htod(&from.slice, &mut self.slice).map_err(failed("copy to the GPU"))
    }

    /// Queues a copy of the elements into the front of `to`, which waits when it is read. Can be captured.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    ///
    /// # Panics
    /// If `to` is shorter than the buffer, or was made for another stream.
    pub fn read_pinned(&self, to: &mut Pinned<T>) -> Result<()> {
        assert!(Arc::ptr_eq(self.slice.stream(), &to.stream), "page-locked memory of another stream");
        self.slice.stream().memcpy_dtoh(&self.slice, &mut to.slice).map_err(failed("copy from the GPU"))
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        // cudarc gives the memory back in whatever context the thread has.
        let context = self.slice.context();
        context.record_err(context.bind_to_thread());
    }
}

impl<T: Element> Place<T> for Buffer<T> {
    fn get(&self) -> Result<Vec<T>> {
        self.read()
    }

    fn set(&mut self, values: &[T]) -> Result<()> {
        self.write(values)
    }
}

impl<T: Element> Pinned<T> {
    /// The elements, once all queued work is done.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails, or any queued work did.
    pub fn as_slice(&self) -> Result<&[T]> {
        self.wait()?;
        self.slice.as_slice().map_err(failed("read page-locked memory"))
    }

    /// The elements, once all queued work is done.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails, or any queued work did.
    pub fn as_mut_slice(&mut self) -> Result<&mut [T]> {
        self.wait()?;
        self.slice.as_mut_slice().map_err(failed("write page-locked memory"))
    }

    // cudarc would wait for the copies of this memory, but does not track them with its event tracking off.
    fn wait(&self) -> Result<()> {
        self.stream.synchronize().map_err(failed("run the queued GPU work"))
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // Copies may be queued. An error comes up again at the next call that can return it.
        let _ = self.stream.synchronize();
    }
}
