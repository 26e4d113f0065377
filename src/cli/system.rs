//! Facts about the machine.

use std::{fs, io, path::Path, thread};

use sysinfo::{CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};

use super::cgroup::Limits;
use crate::error::{Error, Result};

/// Main memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All of it, or as much as the limits of control groups (of a container) allow.
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
    /// What can be had at all.
    most: u64,
    /// What sets that limit, if it is not what the machine has.
    limit: Option<&'static str>,
}

impl Memory {
    /// As it is now.
    pub fn now() -> Self {
        // What the allocator has for later is not in use.
        // SAFETY: gives pages back that nobody has.
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        unsafe {
            libc::malloc_trim(0);
        }
        let kind = RefreshKind::nothing().with_memory(MemoryRefreshKind::everything());
        let system = System::new_with_specifics(kind);
        let (total, available) = (system.total_memory(), system.available_memory());
        let most = available.saturating_add(system.free_swap());
        let mut memory = Memory { total, available, most, limit: None };
        if let Some(limits) = Limits::read(Path::new("/"), system.free_swap()) {
            memory.total = total.min(limits.total);
            memory.available = available.min(limits.available);
            memory.restrict(limits.most, "the limit of its control group");
        }
        if let Some(free) = free_addresses() {
            memory.restrict(free, "ulimit -v");
        }
        memory
    }

    fn restrict(&mut self, most: u64, limit: &'static str) {
        if most < self.most {
            (self.most, self.limit) = (most, Some(limit));
        }
    }

    /// Refuses `what`, which needs so many bytes more than are in use now, where they cannot be had.
    ///
    /// # Errors
    /// [`Error::Memory`] with the numbers.
    pub fn admit(&self, what: &'static str, asked: u64, remedy: &'static str) -> Result<()> {
        let &Memory { most: available, limit, .. } = self;
        if asked > available {
            return Err(Error::Memory { what, asked, available, limit, remedy });
        }
        Ok(())
    }
}

/// Starts a thread of a pool, unless so few addresses are left that its start could fail half-way: that would end the
/// process without a word of ours.
///
/// # Errors
/// If it cannot be started.
pub fn start_thread(thread: rayon::ThreadBuilder) -> io::Result<()> {
    const STACK: u64 = 2 << 20;
    const BEGINNING: u64 = 1 << 20;
    if free_addresses().is_some_and(|free| free < STACK + BEGINNING) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    thread::Builder::new().spawn(|| thread.run()).map(drop)
}

/// For `map_err`: the error of a pool of `asked` threads that could not be started.
pub fn not_started(asked: impl ToString) -> impl FnOnce(rayon::ThreadPoolBuildError) -> Error {
    move |e| Error::config("threads", asked, format!("they cannot be started ({e})"), "ask for fewer")
}

/// Bytes of addresses that the process may still take, where that is limited.
#[cfg(target_os = "linux")]
fn free_addresses() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the place is one for the answer.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) };
    if asked != 0 || limit.rlim_cur == libc::RLIM_INFINITY {
        return None;
    }
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let used = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?.trim().strip_suffix(" kB")?;
    Some(limit.rlim_cur.saturating_sub(used.parse::<u64>().ok()? << 10))
}

/// Elsewhere it is not known.
#[cfg(not(target_os = "linux"))]
fn free_addresses() -> Option<u64> {
    None
}

/// Model of the processor, if the system tells it.
pub fn cpu_model() -> Option<String> {
    let kind = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(kind);
    let model = system.cpus().first()?.brand().trim().to_owned();
    (!model.is_empty()).then_some(model)
}

/// Bytes that can be written to the disk of `path`, which need not exist yet; none if the disk is not known.
pub fn free_disk(path: &Path) -> Option<u64> {
    let there = path.ancestors().find_map(|folder| fs::canonicalize(folder).ok())?;
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage());
    let holding = disks.iter().filter(|disk| there.starts_with(disk.mount_point()));
    holding.max_by_key(|disk| disk.mount_point().as_os_str().len()).map(|disk| disk.available_space())
}

/// Whether large tables get huge pages, in the kernel's own word; none where there is no such switch.
pub fn huge_pages() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}
