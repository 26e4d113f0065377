//! Facts about the machine.

use std::{fs, path::Path};

use sysinfo::{CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};

/// Main memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All of it, or as much as the container's limit allows.
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
}

impl Memory {
    /// As it is now.
    pub fn now() -> Self {
        let kind = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(kind);
        let (mut total, mut available) = (system.total_memory(), system.available_memory());
        if let Some(limits) = system.cgroup_limits().filter(|limits| limits.total_memory > 0) {
            total = total.min(limits.total_memory);
            available = available.min(limits.free_memory);
        }
        Memory { total, available }
    }
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
