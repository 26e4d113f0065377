//! One stem per operation: every kernel file has a launcher and a twin on the CPU.

use std::{fs, path::Path};

#[test]
fn every_kernel_has_a_launcher_and_a_cpu_twin() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut stems = 0;
    for entry in fs::read_dir(root.join("kernels")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "cu") {
            continue;
        }
        let stem = path.file_stem().unwrap().to_str().unwrap();
        stems += 1;
        for backend in ["cuda", "cpu"] {
            let folder = root.join("src/backend").join(backend);
            let there = folder.join(format!("{stem}.rs")).is_file() || folder.join(stem).is_dir();
            assert!(there, "kernels/{stem}.cu has no src/backend/{backend}/{stem}.rs");
        }
        let test = root.join(format!("tests/cuda_{stem}.rs"));
        assert!(test.is_file(), "kernels/{stem}.cu has no tests/cuda_{stem}.rs");
    }
    assert!(stems > 0);
}

#[test]
fn nothing_reads_the_time_of_day() {
    // Durations come from a clock that never goes back; a date would make a difference between two equal runs.
    fn walk(folder: &Path, files: &mut u32) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                *files += 1;
                let text = fs::read_to_string(&path).unwrap();
                assert!(!text.contains("SystemTime"), "{} reads the time of day", path.display());
            }
        }
    }
    let mut files = 0;
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files > 100);
}

#[test]
fn a_build_that_is_repeated_compiles_nothing() {
    // What the build script watches and is not there counts as changed every time.
    let told = Path::new(env!("OUT_DIR")).with_file_name("output");
    let told = fs::read_to_string(&told).unwrap();
    let watched: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("cargo:rerun-if-changed=")).collect();
    assert!(watched.len() > 20, "{told}");
    for path in watched {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{path} is watched and not there");
    }
}
