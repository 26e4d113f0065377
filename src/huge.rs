//! Large zeroed memory in huge pages: what is read and written at random spends less time on address translation.

use std::{
    io,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::AtomicU64,
};

use bytemuck::Pod;
use memmap2::MmapMut;

use crate::{
    data::interactions::in_memory,
    error::{Error, Result},
};

/// Anonymous memory of at least `bytes` zero bytes.
pub(crate) fn zeroed_bytes(bytes: usize) -> io::Result<MmapMut> {
    let memory = MmapMut::map_anon(bytes.max(1))?;
    // Small memory would grow by rounding up to pages of 2 MiB. Advice may be refused: then pages are small.
    #[cfg(target_os = "linux")]
    if bytes >= 1 << 20 {
        let _ = memory.advise(memmap2::Advice::HugePage);
    }
    Ok(memory)
}

/// `[n] T`, all zero at first.
#[derive(Debug)]
pub(crate) struct Zeroed<T> {
    /// None for no `T`.
    memory: Option<MmapMut>,
    bytes: usize,
    element: PhantomData<T>,
}

impl<T> Default for Zeroed<T> {
    fn default() -> Self {
        Zeroed { memory: None, bytes: 0, element: PhantomData }
    }
}

impl<T: Pod> Zeroed<T> {
    pub(crate) fn new(n: usize) -> Result<Self> {
        let bytes = n.saturating_mul(size_of::<T>());
        let memory = (bytes > 0).then(|| zeroed_bytes(bytes)).transpose();
        let memory = memory.map_err(Error::io("allocate", in_memory()))?;
        Ok(Zeroed { memory, bytes, element: PhantomData })
    }
}

impl Zeroed<u64> {
    /// The same words for several threads to change.
    pub(crate) fn atomics(&mut self) -> &[AtomicU64] {
        let words: &mut [u64] = self;
        // SAFETY: AtomicU64 has the layout of u64, whose alignment the mapping (page aligned) has, and the exclusive
        // borrow keeps every other access out while the atomics live.
        unsafe { std::slice::from_raw_parts(words.as_mut_ptr().cast(), words.len()) }
    }
}

impl<T: Pod> Deref for Zeroed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.memory.as_ref().map_or(&[], |memory| bytemuck::cast_slice(&memory[..self.bytes]))
    }
}

impl<T: Pod> DerefMut for Zeroed<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let bytes = self.bytes;
        self.memory.as_mut().map_or(&mut [], |memory| bytemuck::cast_slice_mut(&mut memory[..bytes]))
    }
}
