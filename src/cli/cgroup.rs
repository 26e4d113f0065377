//! What the control groups of this process (a container's, a service's) leave it of memory.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// Bytes under the limits of all groups, from the process's own to the outermost that can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// The lowest limit.
    pub(super) total: u64,
    /// The least that a group leaves without swapping.
    pub(super) available: u64,
    /// The least that a group leaves at all.
    pub(super) most: u64,
}

/// The two versions of control groups: their files, and what these call things.
struct Version {
    /// Where its groups with limits of memory are, from `sys/fs/cgroup`.
    mount: &'static str,
    limit: &'static str,
    /// Keys of `memory.stat`, of a group and those within: what cannot be taken back without swapping.
    held: [&'static str; 2],
}

const V1: Version =
    Version { mount: "memory", limit: "memory.limit_in_bytes", held: ["total_rss", "total_shmem"] };
const V2: Version = Version { mount: "", limit: "memory.max", held: ["anon", "shmem"] };

impl Limits {
    /// As the files under `root` (`/`) say, where `swap` bytes of swap are free; `None` without a limit.
    pub(super) fn read(root: &Path, swap: u64) -> Option<Self> {
        let membership = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        // A line is `number:controllers:path`; the second version has number 0 and names no controllers.
        let groups = membership.lines().filter_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let version = match (number, controllers) {
                ("0", "") => &V2,
                _ if controllers.split(',').any(|name| name == "memory") => &V1,
                _ => return None,
            };
            Some((version, Path::new(path)))
        });
        let limits = groups.flat_map(|(version, path)| version.limits(root, path, swap));
        limits.reduce(|a, b| Limits {
            total: a.total.min(b.total),
            available: a.available.min(b.available),
            most: a.most.min(b.most),
        })
    }
}

impl Version {
    /// Of the group at `path` and those around it, where they have a limit. A container may see a path of its host's,
    /// of which only the outermost folder is there, and is its own.
    fn limits(&'static self, root: &Path, path: &Path, swap: u64) -> impl Iterator<Item = Limits> + use<> {
        let mount = root.join("sys/fs/cgroup").join(self.mount);
        // A path that leads out of what can be seen says nothing.
        let inside = !path.components().any(|part| part == Component::ParentDir);
        let path = path.strip_prefix("/").unwrap_or(path);
        let path = if inside { path } else { Path::new("") };
        let folders: Vec<PathBuf> = path.ancestors().map(|group| mount.join(group)).collect();
        folders.into_iter().filter_map(move |folder| self.limit(&folder, swap))
    }

    fn limit(&self, folder: &Path, swap: u64) -> Option<Limits> {
        // `max`, and a number that no machine has, are no limit.
        let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let limited = |name: &str| number(name).filter(|&limit| limit < 1 << 60);
        let total = limited(self.limit)?;
        let stat = fs::read_to_string(folder.join("memory.stat")).ok()?;
        // Files that were read count as used, but can be taken back.
        let of = |line: &str| {
            let (key, value) = line.split_once(' ')?;
            self.held.contains(&key).then(|| value.trim().parse::<u64>().ok())?
        };
        let available = total.saturating_sub(stat.lines().filter_map(of).sum());
        let swap = match (limited("memory.swap.max"), number("memory.swap.current")) {
            (Some(limit), used) => swap.min(limit.saturating_sub(used.unwrap_or(0))),
            _ => swap,
        };
        let most = available.saturating_add(swap);
        // In the first version, of memory and swap together.
        let together = limited("memory.memsw.limit_in_bytes").zip(number("memory.memsw.usage_in_bytes"));
        let used = number("memory.usage_in_bytes").unwrap_or(0);
        let most = match together {
            Some((limit, both)) => {
                let swapped = both.saturating_sub(used);
                most.min(limit.saturating_sub(total - available).saturating_sub(swapped))
            }
            None => most,
        };
        Some(Limits { total, available, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root folder with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn limits(files: &[(&str, &str)], swap: u64) -> Option<[u64; 3]> {
        Limits::read(machine(files).path(), swap).map(|l| [l.total, l.available, l.most])
    }

    const SECOND: (&str, &str) = ("proc/self/cgroup", "0::/user.slice/run\n");

    #[test]
    fn the_second_version() {
        let stat = "anon 300\nfile 400\nshmem 20\nanon_thp 7\n";
        let group = |limit| {
            [
                SECOND,
                ("sys/fs/cgroup/user.slice/run/memory.max", limit),
                ("sys/fs/cgroup/user.slice/run/memory.stat", stat),
            ]
        };
        // What was read of files can be taken back; memory shared in files of memory cannot.
        assert_eq!(limits(&group("1000\n"), 50), Some([1000, 680, 730]));
        assert_eq!(limits(&group("max\n"), 50), None);
        assert_eq!(limits(&group(""), 50), None);
        // More is in use than a lowered limit allows.
        assert_eq!(limits(&group("100\n"), 0), Some([100, 0, 0]));
    }

    #[test]
    fn swap_of_the_second_version() {
        let with = |max, current| {
            [
                SECOND,
                ("sys/fs/cgroup/user.slice/run/memory.max", "1000\n"),
                ("sys/fs/cgroup/user.slice/run/memory.stat", "anon 300\n"),
                ("sys/fs/cgroup/user.slice/run/memory.swap.max", max),
                ("sys/fs/cgroup/user.slice/run/memory.swap.current", current),
            ]
        };
        assert_eq!(limits(&with("max\n", "9\n"), 50), Some([1000, 700, 750]));
        assert_eq!(limits(&with("20\n", "9\n"), 50), Some([1000, 700, 711]));
        assert_eq!(limits(&with("0\n", "0\n"), 50), Some([1000, 700, 700]));
    }

    #[test]
    fn groups_within_groups() {
        let nested = [
            SECOND,
            ("sys/fs/cgroup/user.slice/run/memory.max", "5000\n"),
            ("sys/fs/cgroup/user.slice/run/memory.stat", "anon 4000\n"),
            // The outer group is larger and fuller: each sets one of the numbers.
            ("sys/fs/cgroup/user.slice/memory.max", "9000\n"),
            ("sys/fs/cgroup/user.slice/memory.stat", "anon 8500\n"),
            ("sys/fs/cgroup/memory.stat", "anon 20000\n"),
        ];
        assert_eq!(limits(&nested, 10), Some([5000, 500, 510]));
        // The inner group has no limit of its own.
        assert_eq!(limits(&[nested[0], nested[3], nested[4]], 10), Some([9000, 500, 510]));
    }

    #[test]
    fn the_first_version() {
        let group = |membership| {
            [
                ("proc/self/cgroup", membership),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/memory.stat", "total_rss 90000\n"),
                ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1000\n"),
                ("sys/fs/cgroup/memory/box/memory.stat", "rss 1\nshmem 1\ntotal_rss 200\ntotal_shmem 50\n"),
            ]
        };
        let alone = group("9:name=systemd:/\n4:memory:/box\n1:cpu,cpuacct:/\n0::/\n");
        assert_eq!(limits(&alone, 60), Some([1000, 750, 810]));
        assert_eq!(limits(&group("4:hugetlb,memory:/box/inner\n"), 60), Some([1000, 750, 810]));
        assert_eq!(limits(&group("4:memory:/\n"), 60), None);
        assert_eq!(limits(&group("4:memory_recursive:/box\n"), 60), None);
        // Memory and swap together; 30 of the swap are in use.
        let together = [
            ("sys/fs/cgroup/memory/box/memory.memsw.limit_in_bytes", "1040\n"),
            ("sys/fs/cgroup/memory/box/memory.memsw.usage_in_bytes", "530\n"),
            ("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "500\n"),
        ];
        assert_eq!(limits(&[&alone[..], &together].concat(), 60), Some([1000, 750, 760]));
    }

    #[test]
    fn a_container_whose_path_is_that_of_its_host() {
        let container = [
            ("proc/self/cgroup", "0::/../../docker/3f\n"),
            ("sys/fs/cgroup/memory.max", "1000\n"),
            ("sys/fs/cgroup/memory.stat", "anon 100\n"),
        ];
        assert_eq!(limits(&container, 0), Some([1000, 900, 900]));
        let elsewhere = ("proc/self/cgroup", "0::/docker/3f\n");
        assert_eq!(limits(&[elsewhere, container[1], container[2]], 0), Some([1000, 900, 900]));
    }

    #[test]
    fn files_that_are_missing_or_say_nothing() {
        assert_eq!(limits(&[], 0), None);
        assert_eq!(limits(&[SECOND], 0), None);
        let limit = ("sys/fs/cgroup/memory.max", "1000\n");
        assert_eq!(limits(&[SECOND, limit], 0), None, "what is in use is not known");
        let used = ("sys/fs/cgroup/memory.stat", "anon many\nanon\n\nfile 3\n");
        assert_eq!(limits(&[SECOND, limit, used], 0), Some([1000, 1000, 1000]));
        for membership in ["", "\n", "0", "0:", "no such line\n", ":::\n"] {
            assert_eq!(limits(&[("proc/self/cgroup", membership), limit, used], 0), None, "{membership:?}");
        }
    }
}
