//! A CUDA device for tests: the emulator under a driver of its own, or with `REQUIRE_CUDA=1` the machine's GPU.
//!
//! The very same `kernels/*.cu` are compiled with the host's C++ compiler and linked, with the emulator and a small
//! driver, into a `libcuda.so` under the build folder. Opened by its absolute path before cudarc asks for `libcuda.so`,
//! it is what the dynamic loader then hands out, since it bears that name; a driver of the machine is neither needed
//! nor touched. `MACR_EMULATOR_ORDER` is the order of blocks, warps and lanes (`forward`, `reversed`, or a seed);
//! `MACR_EMULATOR_SANITIZE=1` builds with AddressSanitizer and UBSan, whose runtime must then be preloaded.
#![allow(dead_code)]

use std::{
    env, fs,
    hash::Hasher,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};

use macr::backend::cuda::Device;

/// The name that the emulated device gives itself.
pub const EMULATED: &str = "CUDA emulator";

const FLAGS: [&str; 8] = [
    "-std=c++17",
    "-O2",
    "-g1",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-Wall",
];

static DRIVER: OnceLock<Result<libloading::os::unix::Library, String>> = OnceLock::new();

/// A device to test on, or `None`, with the reason printed, where there is no C++ compiler.
pub fn device() -> Option<Device> {
    if env::var_os("REQUIRE_CUDA").is_some_and(|v| v == "1") {
        let device = Device::open(0).unwrap();
        assert_ne!(device.description().name, EMULATED, "REQUIRE_CUDA=1 asks for a real device");
        return Some(device);
    }
    if let Err(reason) = DRIVER.get_or_init(load) {
        eprintln!("skipped: {reason}");
        return None;
    }
    let device = Device::open_with(0, b"kernels are in the driver".into()).unwrap();
    assert_eq!(device.description().name, EMULATED, "another driver was loaded than the emulator's");
    Some(device)
}

/// Held by tests that share the device's memory with one that measures it.
pub fn alone() -> MutexGuard<'static, ()> {
    static DEVICE: Mutex<()> = Mutex::new(());
    DEVICE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the emulated driver refuse the `number`-th allocation of device memory from now on; 0: none. False on a GPU.
pub fn refuse_allocation(number: u64) -> bool {
    let Some(Ok(driver)) = DRIVER.get() else { return false };
    // SAFETY: driver.cpp defines it so.
    let refuse = unsafe { driver.get::<extern "C" fn(u64) -> i32>(b"emulatorRefuseAllocation\0") }.unwrap();
    assert_eq!(refuse(number), 0);
    true
}

/// Gives a program that is yet to start the emulated device as its only GPU. False without a C++ compiler, and where
/// the machine's GPU is asked for: the sources may then be elsewhere.
pub fn equip(command: &mut Command) -> bool {
    if env::var_os("REQUIRE_CUDA").is_some_and(|v| v == "1") {
        return false;
    }
    let Ok(library) = build() else { return false };
    command.env("LD_LIBRARY_PATH", library.parent().unwrap());
    // Any file: the kernels are in the driver. So the program may have been built without nvcc.
    command.env("MACR_FATBIN", library);
    true
}

/// Fails unless `test` of this program, which prints `bits` and a hash, prints the same in any order of blocks and
/// threads.
pub fn same_bits_in_any_order(test: &str) {
    if device().is_none() {
        return;
    }
    let run = |order: &str| {
        let mut program = Command::new(env::current_exe().unwrap());
        program.args(["--exact", test, "--nocapture"]).env("MACR_EMULATOR_ORDER", order);
        let text = String::from_utf8(program.output().unwrap().stdout).unwrap();
        text.split("bits ").nth(1).unwrap_or_else(|| panic!("{text}"))[..16].to_owned()
    };
    let forward = run("forward");
    for order in ["forward", "reversed", "1", "2"] {
        assert_eq!(forward, run(order), "{order}");
    }
}

/// Builds the emulated driver where needed, and opens it.
fn load() -> Result<libloading::os::unix::Library, String> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    let path = build()?;
    // SAFETY: its initialisers only fill tables of its own.
    unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }
        .map_err(|error| panic!("cannot open {}: {error}", path.display()))
}

/// The path of `libcuda.so`. Everything is cached under names that hash all that goes into it.
///
/// # Panics
/// If the kernels do not compile.
fn build() -> Result<PathBuf, String> {
    // Threads of one process would write the same partial files.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let version = command(&compiler)
        .arg("--version")
        .output()
        .map_err(|error| format!("no C++ compiler ({compiler}: {error})"))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (kernels, emulator) = (root.join("kernels"), root.join("tests/emulator"));
    let sanitize = env::var_os("MACR_EMULATOR_SANITIZE").is_some_and(|v| v == "1");
    let mut flags: Vec<String> = FLAGS.map(String::from).to_vec();
    flags.extend([format!("-I{}", kernels.display()), format!("-I{}", emulator.display())]);
    if sanitize {
        flags.extend(
            ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
                .map(String::from),
        );
    }

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulator");
    fs::create_dir_all(&folder).unwrap();
    let mut common = xxhash_rust::xxh3::Xxh3::new();
    common.update(&version.stdout);
    common.update(flags.join(" ").as_bytes());
    for header in [
        files(&kernels, &["h", "cuh"]),
        files(&kernels.join("objectives"), &["cuh"]),
        files(&emulator, &["h"]),
    ]
    .concat()
    {
        common.update(&fs::read(header).unwrap());
    }
    let sources = [files(&kernels, &["cu"]), files(&emulator, &["cpp"])].concat();
    let mut library = common.clone();
    let objects: Vec<(PathBuf, PathBuf)> = sources
        .into_iter()
        .map(|source| {
            let mut hash = common.clone();
            hash.update(&fs::read(&source).unwrap());
            library.write_u64(hash.digest());
            let name = format!("{}-{:016x}.o", source.file_stem().unwrap().to_string_lossy(), hash.digest());
            (source, folder.join(name))
        })
        .collect();
    let library = folder.join(format!("{:016x}", library.digest())).join("libcuda.so");
    if library.exists() {
        return Ok(library);
    }

    let missing: Vec<_> = objects.iter().filter(|(_, object)| !object.exists()).collect();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for part in missing.chunks(missing.len().div_ceil(threads).max(1)) {
            let (compiler, flags) = (&compiler, &flags);
            scope.spawn(move || {
                for (source, object) in part {
                    make(object, |partial| {
                        let mut c = command(compiler);
                        c.args(flags).arg("-o").arg(partial).args(["-c", "-x", "c++"]).arg(source);
                        c
                    });
                }
            });
        }
    });
    fs::create_dir_all(library.parent().unwrap()).unwrap();
    make(&library, |partial| {
        let mut c = command(&compiler);
        c.args(&flags).args(["-shared", "-Wl,-soname,libcuda.so", "-o"]).arg(partial);
        c.args(objects.iter().map(|(_, object)| object));
        c
    });
    Ok(library)
}

/// Runs the command that makes a file, which appears under its name when it is whole: other processes may be at the
/// same, and then make the same file.
fn make(path: &Path, command: impl Fn(&Path) -> Command) {
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let mut command = command(&partial);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    fs::rename(partial, path).unwrap();
}

/// A command without the preloaded runtime of the sanitizers.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_remove("LD_PRELOAD");
    command
}

/// Files of a folder by extension, in order.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)))
        .collect();
    files.sort();
    files
}
