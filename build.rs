//! Compiles `kernels/*.cu` into one image for the GPU, where a CUDA compiler is found.
//!
//! The image holds machine code for compute capabilities 8.0 and 9.0 and PTX for later ones; it is embedded in the
//! library. nvcc is looked for in `MACR_NVCC` (a path, or 0 for none), `CUDA_HOME`, `CUDA_PATH`, `.cuda/` of this
//! project (see `scripts/install-nvcc`), `PATH`, `/usr/local/cuda`, and Python's `nvidia` packages. Without it the
//! library is built for the CPU alone.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Written by `scripts/install-nvcc`, with the versions that it installed.
const INSTALLED: &str = ".cuda/installed";
const TARGETS: [&str; 3] = [
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90a,code=sm_90a",
    "-gencode=arch=compute_80,code=compute_80",
];
const FLAGS: [&str; 8] =
    ["-fatbin", "-std=c++17", "-O3", "-lineinfo", "--threads=0", "-Xptxas=-v,-warn-spills", "-I", "kernels"];

fn main() {
    for variable in ["MACR_NVCC", "CUDA_HOME", "CUDA_PATH", "PATH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    // What is not there would count as changed at every build, so scripts/install-nvcc changes build.rs itself.
    if Path::new(INSTALLED).exists() {
        println!("cargo:rerun-if-changed={INSTALLED}");
    }
    println!("cargo:rerun-if-changed=kernels/objectives");
    // Not the folder itself, whose README changes too. A new kernel changes params.h.
    for path in files(&["cu", "cuh", "h"]) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    println!("cargo:rustc-check-cfg=cfg(macr_kernels)");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() || env::var_os("MACR_NVCC").is_some_and(|v| v == "0") {
        return;
    }
    match find_nvcc() {
        Some(nvcc) => compile(&nvcc),
        None => println!(
            "cargo:warning=nvcc was not found: building without GPU kernels, for the CPU alone. Run scripts/install-nvcc, or \
             set MACR_NVCC to its path (or to 0, to build without and without this warning)"
        ),
    }
}

fn find_nvcc() -> Option<PathBuf> {
    let file = |path: PathBuf| path.is_file().then_some(path);
    if let Some(path) = env::var_os("MACR_NVCC") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "MACR_NVCC={} is not a file", path.display());
        return Some(path);
    }
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    toolkits
        .chain([PathBuf::from(".cuda/nvidia/cu13")])
        .map(|folder| folder.join("bin"))
        .chain(env::split_paths(&path))
        .chain([PathBuf::from("/usr/local/cuda/bin")])
        .find_map(|folder| file(folder.join("nvcc")))
        .or_else(|| python_nvcc().and_then(file))
}

/// The nvcc of the `nvidia-cuda-nvcc` package of the active Python, if there is one.
fn python_nvcc() -> Option<PathBuf> {
    let script = "import nvidia; print(list(nvidia.__path__)[0])";
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    Some(Path::new(folder.trim()).join("cu13/bin/nvcc"))
}

/// The files of `kernels/` with these extensions, in order.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir("kernels")
        .expect("kernels/ is part of the sources")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)))
        .collect();
    files.sort();
    files
}

fn compile(nvcc: &Path) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // One translation unit and so one module; the targets are compiled in parallel.
    let unit: String = files(&["cu"])
        .iter()
        .map(|path| format!("#include \"{}\"\n", path.file_name().expect("a file").to_string_lossy()))
        .collect();
    let (source, image, log) = (out.join("kernels.cu"), out.join("kernels.fatbin"), out.join("ptxas.log"));
    fs::write(&source, unit).expect("OUT_DIR can be written");
    let mut command = Command::new(nvcc);
    command.args(FLAGS).args(TARGETS).arg("-o").arg(&image).arg(&source);
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {}: {error}", nvcc.display()));
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed (MACR_NVCC=0 builds without GPU kernels):\n{}{messages}",
        String::from_utf8_lossy(&output.stdout)
    );
    for line in messages.lines().filter(|line| line.contains("warning")) {
        println!("cargo:warning={line}");
    }
    fs::write(&log, &*messages).expect("OUT_DIR can be written");
    println!("cargo:rustc-cfg=macr_kernels");
    println!("cargo:rustc-env=MACR_PTXAS_LOG={}", log.display());
}
