//! `src/backend/cuda/params.rs` is what bindgen makes of `kernels/params.h`. `MACR_BLESS=1` rewrites it.

use std::{env, fs, panic, path::Path};

#[test]
fn the_mirror_of_the_parameters_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = root.join("kernels/params.h");
    // bindgen panics if it finds no libclang.
    let generated = panic::catch_unwind(|| {
        bindgen::Builder::default()
            .header(header.to_str().unwrap())
            .clang_args(["-x", "c++", "-std=c++17"])
            .allowlist_file(".*params\\.h")
            .raw_line("//! The structs of `kernels/params.h`, made by bindgen: `MACR_BLESS=1 cargo test --test params`.")
            .raw_line("#![allow(missing_docs)]")
            .raw_line("")
            .use_core()
            .derive_debug(true)
            .layout_tests(true)
            .disable_header_comment()
            .generate()
            .unwrap()
            .to_string()
    });
    let Ok(generated) = generated else {
        assert!(env::var_os("REQUIRE_LIBCLANG").is_none(), "libclang was not found");
        eprintln!("skipped: libclang was not found (Debian: libclang1-14)");
        return;
    };
    let path = root.join("src/backend/cuda/params.rs");
    if env::var_os("MACR_BLESS").is_some_and(|v| v == "1") {
        return fs::write(path, generated).unwrap();
    }
    assert!(
        fs::read_to_string(path).unwrap() == generated,
        "src/backend/cuda/params.rs is out of date with kernels/params.h: MACR_BLESS=1 cargo test --test params"
    );
}
