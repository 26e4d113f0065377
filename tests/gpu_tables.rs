//! The tables of `docs/gpu.md` are those that `scripts/gpu-tables` makes of the records.

use std::{path::Path, process::Command};

#[test]
fn tables_are_in_step_with_the_records() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = match Command::new("python3").arg(root.join("scripts/gpu-tables")).arg("--check").output() {
        Ok(output) => output,
        Err(reason) => return eprintln!("skipped: python3: {reason}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
