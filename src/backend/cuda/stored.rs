//! Numbers of a table or a layer on the device, in the form that they are kept in.

use std::ffi::c_void;

use super::{Buffer, Device, Purpose};
use crate::{
    backend::state::Place,
    error::Result,
    storage::{Element, Storage, with_storage},
};

/// An array of numbers in one form.
#[derive(Debug)]
pub struct Stored {
    storage: Storage,
    len: usize,
    bytes: Buffer<u8>,
}

impl Stored {
    /// Room for `len` numbers, whose values are undefined.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if there is not enough.
    pub fn alloc(device: &Device, purpose: Purpose, storage: Storage, len: usize) -> Result<Self> {
        Ok(Stored { storage, len, bytes: device.alloc(purpose, len * storage.bytes())? })
    }

    /// `values` on the device, rounded to the nearest.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if there is not enough memory.
    pub fn upload(device: &Device, purpose: Purpose, storage: Storage, values: &[f32]) -> Result<Self> {
        let mut stored = Self::alloc(device, purpose, storage, values.len())?;
        stored.write(values)?;
        Ok(stored)
    }

    /// Copies `values` to the device, rounded to the nearest.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    ///
    /// # Panics
    /// If they are not as many.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        assert_eq!(values.len(), self.len, "another length");
        with_storage!(self.storage, T => {
            let values: Vec<T> = values.iter().map(|&x| T::nearest(x)).collect();
            self.bytes.write(bytemuck::cast_slice(&values))
        })
    }

    /// Number of numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Their form.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Makes it an array of another form, of as many bytes, whose values are undefined.
    ///
    /// # Panics
    /// If numbers of that form have more bytes.
    pub fn hold(&mut self, storage: Storage) {
        assert_eq!(storage.bytes(), self.storage.bytes(), "{} for {storage}", self.storage);
        self.storage = storage;
    }

    /// Where it lies, for a kernel that reads it.
    pub fn ptr(&self) -> *const c_void {
        self.bytes.ptr().cast()
    }

    /// Where it lies, for a kernel that writes it.
    pub fn ptr_mut(&mut self) -> *mut c_void {
        self.bytes.ptr_mut().cast()
    }

    /// Waits for all queued work, and copies the values to the host.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails, or any queued work did.
    pub fn read(&self) -> Result<Vec<f32>> {
        with_storage!(self.storage, T => {
            // Bytes alone need not be aligned for numbers.
            let mut values = vec![T::nearest(0.0); self.len];
            bytemuck::cast_slice_mut(&mut values).copy_from_slice(&self.bytes.read()?);
            Ok(values.into_iter().map(T::widen).collect())
        })
    }
}

impl Place<f32> for Stored {
    fn get(&self) -> Result<Vec<f32>> {
        self.read()
    }

    fn set(&mut self, values: &[f32]) -> Result<()> {
        self.write(values)
    }
}
