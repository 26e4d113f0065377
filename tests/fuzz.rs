//! The corpora of `fuzz/` through their targets: seeds, and every input that once failed.

use std::{fs, path::Path};

#[path = "../fuzz/src/lib.rs"]
mod targets;

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
}
