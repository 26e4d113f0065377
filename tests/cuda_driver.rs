//! The host layer on the emulated driver: memory, graphs, and how faults come to light.
#![cfg(feature = "cuda")]

mod emulator;

use std::{env, process::Command};

use macr::{
    DeviceChoice, Error,
    backend::cuda::{Buffer, Device, Params, Purpose, Shape},
    device::Resolved,
};

const SCRATCH: Purpose = Purpose { what: "a test", lower: "its size" };

/// As in `tests/emulator/faults.cpp`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Plain {
    values: *mut f32,
    length: u32,
    unused: u32,
}

// SAFETY: tests/emulator/faults.cpp.
unsafe impl Params for Plain {
    const KERNEL: &'static str = "plain";
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Fault(Plain);

// SAFETY: tests/emulator/faults.cpp.
unsafe impl Params for Fault {
    const KERNEL: &'static str = "fault";
}

/// The emulator; its own kernels are on no other device.
fn emulated() -> Option<Device> {
    let device = emulator::device()?;
    if device.description().name != emulator::EMULATED {
        eprintln!("skipped: for the emulator alone");
        return None;
    }
    Some(device)
}

fn plain(values: &mut Buffer<f32>) -> Plain {
    Plain { values: values.ptr_mut(), length: values.len() as u32, unused: 0 }
}

fn launch(device: &Device, kernel: &str, shape: Shape, values: &mut Buffer<f32>) -> macr::Result<()> {
    let params = plain(values);
    // SAFETY: the buffer outlives the launch, which the callers wait for.
    unsafe { device.launch(&device.kernel_variant::<Plain>(kernel)?, shape, params) }
}

/// The message of a launch that must fail while it runs.
fn fault(device: &Device, kernel: &str, threads: u32) -> String {
    let mut values = device.zeros(SCRATCH, 64).unwrap();
    let params = Fault(plain(&mut values));
    let kernel = device.kernel_variant::<Fault>(kernel).unwrap();
    // SAFETY: as above.
    unsafe { device.launch(&kernel, Shape::linear(1, threads), params) }.unwrap();
    let message = device.synchronize().unwrap_err().to_string();
    eprintln!("{message}");
    message
}

#[test]
fn memory_is_nan_until_it_is_written() {
    let Some(device) = emulated() else { return };
    let mut buffer = device.alloc::<f32>(SCRATCH, 3).unwrap();
    assert!(buffer.read().unwrap().iter().all(|x| x.is_nan()));
    buffer.fill_zero().unwrap();
    assert_eq!(buffer.read().unwrap(), [0.0; 3]);
    buffer.write(&[1.0, 2.0]).unwrap();
    assert_eq!(buffer.read().unwrap(), [1.0, 2.0, 0.0]);
    assert!(device.upload::<f32>(SCRATCH, &[]).unwrap().read().unwrap().is_empty());

    let mut values = device.zeros::<f32>(SCRATCH, 6).unwrap();
    let shape = Shape { grid: [3, 1, 1], block: 32, shared: 128 };
    launch(&device, "shared", shape, &mut values).unwrap();
    for (i, x) in values.read().unwrap().into_iter().enumerate() {
        // Static arrays, at even places, are left alone in the sanitizer's build.
        assert!(x.is_nan() || (i % 2 == 0 && sanitized()), "{i}: {x}");
    }
}

#[test]
fn pinned_memory_carries_values_there_and_back() {
    let Some(device) = emulator::device() else { return };
    let mut pinned = device.pinned::<u32>(4).unwrap();
    pinned.as_mut_slice().unwrap().copy_from_slice(&[1, 2, 3, 4]);
    let mut buffer = device.zeros::<u32>(SCRATCH, 4).unwrap();
    buffer.write_pinned(&pinned).unwrap();
    let mut back = device.pinned::<u32>(4).unwrap();
    buffer.read_pinned(&mut back).unwrap();
    pinned.as_mut_slice().unwrap().fill(0);
    assert_eq!(back.as_slice().unwrap(), [1, 2, 3, 4]);

    pinned.as_mut_slice().unwrap().copy_from_slice(&[5, 6, 7, 8]);
    let graph = device
        .capture(|| {
            buffer.write_pinned(&pinned)?;
            buffer.read_pinned(&mut back)
        })
        .unwrap();
    // SAFETY: what was recorded is there until its result is read.
    unsafe { graph.replay(1) }.unwrap();
    assert_eq!(back.as_slice().unwrap(), [5, 6, 7, 8]);
}

#[test]
fn a_graph_replays_what_was_recorded() {
    let Some(device) = emulated() else { return };
    let mut values = device.zeros::<f32>(SCRATCH, 100).unwrap();
    let graph = device
        .capture(|| {
            launch(&device, "increment", Shape::linear(2, 64), &mut values)?;
            launch(&device, "increment", Shape::linear(2, 64), &mut values)
        })
        .unwrap();
    assert_eq!(values.read().unwrap(), [0.0; 100], "recording does not run");
    // SAFETY: what was recorded is there until its result is read.
    unsafe { graph.replay(3) }.unwrap();
    assert_eq!(values.read().unwrap(), [6.0; 100]);
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let Some(device) = emulator::device() else { return };
    let mut buffer = device.zeros::<f32>(SCRATCH, 10).unwrap();
    assert!(device.capture(|| device.synchronize()).is_err());
    assert!(device.capture(|| buffer.read().map(|_| ())).is_err());
    assert!(device.capture(|| buffer.write(&[1.0])).is_err());
    assert!(device.capture(|| device.zeros::<f32>(SCRATCH, 1).map(|_| ())).is_err());
    // The device goes on.
    assert_eq!(buffer.read().unwrap(), [0.0; 10]);
}

#[test]
fn sums_go_through_warps_and_block() {
    let Some(device) = emulated() else { return };
    let mut values = device.zeros::<f32>(SCRATCH, 1).unwrap();
    launch(&device, "sum", Shape::linear(1, 256), &mut values).unwrap();
    assert_eq!(values.read().unwrap(), [256.0]);
}

#[test]
fn faults_of_a_kernel_reach_the_host_as_text() {
    let Some(device) = emulated() else { return };
    let message = fault(&device, "deadlock", 64);
    assert!(
        message.contains("fault_deadlock: deadlock in block (0,0,0): 64 of 64 threads left"),
        "{message}"
    );
    let message = fault(&device, "two_barriers", 64);
    assert!(message.contains("divergent __syncthreads"), "{message}");
    let message = fault(&device, "mask", 32);
    assert!(message.contains("is not in its own mask 0000ffff"), "{message}");
    // The device goes on.
    let mut values = device.zeros::<f32>(SCRATCH, 1).unwrap();
    launch(&device, "increment", Shape::linear(1, 64), &mut values).unwrap();
    assert_eq!(values.read().unwrap(), [1.0]);
}

#[test]
fn a_missing_barrier_shows() {
    let Some(device) = emulated() else { return };
    let mut values = device.zeros::<f32>(SCRATCH, 64).unwrap();
    let params = Fault(plain(&mut values));
    let kernel = device.kernel_variant::<Fault>("missing_barrier").unwrap();
    // SAFETY: the buffer outlives the launch.
    unsafe { device.launch(&kernel, Shape::linear(1, 64), params) }.unwrap();
    // Whoever runs first finds the NaN of fresh shared memory.
    let right = (0..64).map(|i| ((i + 32) % 64) as f32);
    assert!(values.read().unwrap().into_iter().zip(right).any(|(value, right)| value != right));
}

#[test]
fn wrong_launches_are_refused() {
    let Some(device) = emulated() else { return };
    let mut values = device.zeros::<f32>(SCRATCH, 64).unwrap();
    let mut refused = |shape, expected: &str| {
        let message = launch(&device, "increment", shape, &mut values).unwrap_err().to_string();
        assert!(
            message.contains("cannot launch plain_increment with") && message.contains(expected),
            "{message}"
        );
    };
    refused(Shape::linear(1, 65), "65 threads a block, declared for at most 64");
    refused(Shape::linear(0, 64), "a launch of nothing");
    refused(Shape { grid: [1, 1 << 16, 1], block: 64, shared: 0 }, "too many blocks");
    refused(Shape { grid: [1, 1, 1], block: 64, shared: 300_000 }, "300000 bytes of dynamic shared memory");

    #[derive(Debug, Clone, Copy)]
    struct Longer(#[allow(dead_code)] [u64; 3]);
    // SAFETY: not so, which is the test.
    unsafe impl Params for Longer {
        const KERNEL: &'static str = "plain_increment";
    }
    let message = device.kernel::<Longer>().unwrap_err().to_string();
    assert!(message.contains("it takes 16 bytes of parameters, this program passes 24"), "{message}");
    let message = device.kernel_variant::<Plain>("absent").unwrap_err().to_string();
    assert!(message.contains("no kernel is named plain_absent"), "{message}");
}

#[test]
fn too_much_memory_is_an_error_with_numbers() {
    let Some(device) = emulator::device() else { return };
    let total = device.description().memory;
    let error = device.alloc::<u64>(SCRATCH, total).unwrap_err();
    assert_eq!(error.kind(), macr::error::Kind::Device);
    match error {
        Error::DeviceMemory { asked, free, .. } => {
            assert_eq!(asked, total as u64 * 8);
            assert!(free > 0 && free <= total as u64);
        }
        other => panic!("{other}"),
    }
    assert!(Device::open_with(99, b"".into()).unwrap_err().to_string().contains("cuda:99"));
}

/// Run by the test below in a process of its own, where nothing but the environment leads to the emulated driver.
#[test]
#[ignore = "needs the environment that the test below gives"]
fn resolve() {
    let (device, line) = "cuda".parse::<DeviceChoice>().unwrap().resolve().unwrap();
    println!("{line}");
    assert!(matches!(device, Resolved::Cuda(device) if device.description().ordinal == 0));
}

#[test]
fn a_program_finds_the_device_by_name() {
    let mut command = Command::new(env::current_exe().unwrap());
    if !emulator::equip(&mut command) {
        eprintln!("skipped: no C++ compiler");
        return;
    }
    let output = command.args(["--ignored", "--exact", "resolve", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("CUDA emulator (cuda:0), 8 GiB"), "{output:?}");
}

/// Run by the tests below in a process of its own, which it ends.
#[test]
#[ignore = "overruns a buffer"]
fn overrun() {
    let Some(device) = emulated() else { return };
    fault(&device, "overrun", 32);
}

/// As above.
#[test]
#[ignore = "writes to no memory"]
fn wild() {
    let Some(device) = emulated() else { return };
    fault(&device, "wild", 1);
}

/// What the test `name` of this program, which must not succeed, says before it ends.
fn last_words(name: &str) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    let output = command.args(["--ignored", "--exact", name, "--nocapture"]).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn sanitized() -> bool {
    env::var_os("MACR_EMULATOR_SANITIZE").is_some_and(|v| v == "1")
}

#[test]
fn a_crash_names_the_kernel() {
    if emulated().is_none() {
        return;
    }
    let text = last_words("wild");
    let expected = if sanitized() {
        "faults.cpp"
    } else {
        "fault_wild, block (0,0,0) thread (0,0,0): Segmentation fault"
    };
    assert!(text.contains(expected), "{text}");
}

#[test]
fn the_sanitizer_sees_an_overrun() {
    if !sanitized() || emulated().is_none() {
        eprintln!("skipped: only with MACR_EMULATOR_SANITIZE=1");
        return;
    }
    let text = last_words("overrun");
    assert!(text.contains("heap-buffer-overflow") && text.contains("faults.cpp"), "{text}");
}
