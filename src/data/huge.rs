//! Large zeroed memory in huge pages: what is read and written at random spends less time on address translation.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::AtomicU64,
};

use bytemuck::Pod;
use memmap2::MmapMut;

use super::interactions::in_memory;
use crate::error::{Error, Result};

/// Anonymous memory of at least `bytes` zero bytes.
pub(super) fn zeroed_bytes(bytes: usize) -> Result<MmapMut> {
    let memory = MmapMut::map_anon(bytes.max(1)).map_err(Error::io("allocate", in_memory()))?;
    // Small memory would grow by rounding up to pages of 2 MiB. Advice may be refused: then pages are small.
    #[cfg(target_os = "linux")]
    if bytes >= 8 << 20 {
        let _ = memory.advise(memmap2::Advice::HugePage);
    }
    Ok(memory)
}

/// `[n] T`, all zero at first.
#[derive(Debug)]
pub(super) struct Zeroed<T> {
    memory: MmapMut,
    bytes: usize,
    element: PhantomData<T>,
}

impl<T: Pod> Zeroed<T> {
    pub(super) fn new(n: usize) -> Result<Self> {
        let bytes = n.saturating_mul(size_of::<T>());
        Ok(Zeroed { memory: zeroed_bytes(bytes)?, bytes, element: PhantomData })
    }
}

impl Zeroed<u64> {
    /// The same words for several threads to change.
    pub(super) fn atomics(&mut self) -> &[AtomicU64] {
        let words: &mut [u64] = self;
        // SAFETY: AtomicU64 has the layout of u64, whose alignment the mapping (page aligned) has, and the exclusive
        // borrow keeps every other access out while the atomics live.
        unsafe { std::slice::from_raw_parts(words.as_mut_ptr().cast(), words.len()) }
    }
}

impl<T: Pod> Deref for Zeroed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.memory[..self.bytes])
    }
}

impl<T: Pod> DerefMut for Zeroed<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.memory[..self.bytes])
    }
}
