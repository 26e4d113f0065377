//! Counts what is allocated, and what is mapped past the allocator: files, and tables in huge pages.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that were allocated at a time while `work` ran, or of addresses taken, beyond those before.
///
/// The system remembers only the most addresses that were ever taken: of work that stays below what other work took,
/// there are the allocations alone.
pub fn peak_of(work: impl FnOnce()) -> usize {
    let (begin, most) = addresses();
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    let allocated = PEAK.load(Relaxed).saturating_sub(before);
    let (_, end) = addresses();
    if end > most { allocated.max(end - begin) } else { allocated }
}

/// Bytes of addresses that the process has taken, and the most that it had; 0 where the system does not tell.
fn addresses() -> (usize, usize) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = |name: &str| -> Option<usize> {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().strip_suffix(" kB")?.parse().ok()
    };
    let bytes = |name| kibibytes(name).map_or(0, |n| n << 10);
    (bytes("VmSize:"), bytes("VmPeak:"))
}
