//! The corpora of `fuzz/` through their targets: seeds, and every input that once failed.

use std::{fs, path::Path};

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Takes a gigabyte past the allocator that counts, as tables in huge pages are, and touches none of it.
fn map(_: &[u8]) {
    drop(memmap2::MmapMut::map_anon(1 << 30).unwrap());
}

#[test]
fn no_known_input_fails() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            targets::run(target, &fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 3, "{inputs} inputs for {name}");
    }
    // What is mapped counts too. Not a test of its own: the two would see each other's memory.
    if cfg!(target_os = "linux") {
        assert!(std::panic::catch_unwind(|| targets::run(map, b"")).is_err(), "a gigabyte was not seen");
    }
}
