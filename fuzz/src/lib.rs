//! What a fuzzer does with an input, for each thing that macr reads. Whatever the input, the answer is data or an
//! error: never a panic, and never more memory than [`MEMORY`] says.
//!
//! `scripts/fuzz` runs the targets; `tests/fuzz.rs` replays their corpora as part of the ordinary tests.

pub mod arguments;
pub mod checkpoint;
pub mod config;
pub mod import;
pub mod interactions;
mod memory;
pub mod model;

use std::{fs, path::PathBuf, sync::OnceLock};

use tempfile::TempDir;

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Target); 6] = [
    ("import", import::run),
    ("interactions", interactions::run),
    ("model", model::run),
    ("checkpoint", checkpoint::run),
    ("config", config::run),
    ("arguments", arguments::run),
];

/// Bytes that may be allocated at a time: so many for each of the input, and so many for any input.
pub const MEMORY: (usize, usize) = (10, 16 << 20);

/// How zstd and gzip begin.
const PACKED: [&[u8]; 2] = [b"\x28\xb5\x2f\xfd", b"\x1f\x8b"];

/// Gives `input` to `target`.
pub fn run(target: Target, input: &[u8]) {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| {
        // One thread, the fuzzer's own: nothing waits, and what is covered depends on the input alone.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global();
        // Once for what it makes only once.
        target(b"");
    });
    let peak = memory::peak_of(|| target(input));
    let most = MEMORY.0 * input.len() + MEMORY.1;
    // Of packed text the size counts that it has unpacked, which only its reader knows; a zstd frame also names a window
    // of up to 128 MiB. The fuzzer's own limit holds for it.
    let packed = PACKED.iter().any(|magic| input.windows(magic.len()).any(|bytes| bytes == *magic));
    assert!(
        packed || peak <= most,
        "{peak} bytes of memory for an input of {} bytes: at most {most}",
        input.len()
    );
}

/// A folder for this process's inputs as files; `TMPDIR` should be in memory.
fn folder() -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder for files")).path().into()
}

/// `bytes` as a file.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).expect("a file in memory");
    path
}
