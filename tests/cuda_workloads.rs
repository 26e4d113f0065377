//! The workloads of `benches/cuda`, trained on the device and on the CPU: a benchmarked shape is a tested shape.
#![cfg(feature = "cuda")]

mod emulator;
mod parameters;
#[path = "../benches/workloads/mod.rs"]
mod workloads;

use macr::{
    backend::{Backend, cuda::Cuda},
    storage::Storage,
    train::sequence::minibatch,
};
use parameters::{distance, flat};
use workloads::Workload;

/// The emulator trains them in small.
#[test]
fn trains_like_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let emulated = device.description().name == emulator::EMULATED;
    for workload in Workload::ALL {
        let workload = if emulated { workload.small() } else { workload };
        let data = workload.data(None);
        for loss in Workload::losses() {
            let what = format!("{} {loss:?}", workload.shape());
            let objective = workload.objective(&data, loss);
            let mut cpu = workload.cpu(&data, loss);
            let size = (data.users(), data.items());
            let sampler = workload.sampler(&data);
            let mut cuda =
                Cuda::new(&device, size, sampler, objective.as_ref(), workload.settings()).unwrap();
            for steps in [1, 19] {
                let (expected, got) =
                    (cpu.repeat(steps, &minibatch).unwrap(), cuda.repeat(steps, &minibatch).unwrap());
                for (part, (expected, got)) in expected.iter().zip(got).enumerate() {
                    // Sums of f32 terms in another order.
                    let error = (got - expected).abs();
                    assert!(error <= 1e-5 * expected.abs(), "{what}, part {part}: {got}, CPU {expected}");
                }
            }
            let (expected, got) = (flat(&cpu.parameters().unwrap()), flat(&cuda.parameters().unwrap()));
            // Adam divides by sqrt(v): where v is tiny, rounding grows; 20 steps are at most 0.02. In f16, sums that
            // differ by the last bits of f32 are now and then rounded to different neighbours.
            let largest = expected.iter().fold(0f32, |a, x| a.max(x.abs()));
            let unit = if workload.storage == Storage::F16 { largest / 1024.0 } else { 0.0 };
            let far = distance(&expected, &got);
            assert!(far < 2e-5 + 3.0 * unit, "{what}: parameters differ by {far}");
        }
    }
}
