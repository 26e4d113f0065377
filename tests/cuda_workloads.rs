//! The workloads of `benches/cuda`, trained on the device and on the CPU: a benchmarked shape is a tested shape.
#![cfg(feature = "cuda")]

mod emulator;
#[path = "../benches/workloads/mod.rs"]
mod workloads;

use macr::{
    Branch,
    backend::{Backend, Parameters, cuda::Cuda},
    model::Kept,
    train::sequence::minibatch,
};
use workloads::Workload;

fn flat(parameters: Parameters) -> Vec<f32> {
    let Kept { item_bias, second_user_embedding, second_item_embedding } = parameters.kept;
    let kept = [item_bias, second_user_embedding, second_item_embedding].into_iter().flatten().flatten();
    let branches = [parameters.user_branch, parameters.item_branch].into_iter().flatten();
    let weights = branches.flat_map(|branch| match branch {
        Branch::Linear { weight } => weight,
        other => panic!("{other:?}"),
    });
    [parameters.users, parameters.items].concat().into_iter().chain(weights).chain(kept).collect()
}

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
            let (objective, config) = (workload.objective(&data, loss), workload.config(loss));
            let mut cpu = workload.cpu(&data, loss);
            let size = (data.users(), data.items());
            let sampler = workload.sampler(&data);
            let mut cuda =
                Cuda::new(&device, size, sampler, objective.as_ref(), &config, workload.settings()).unwrap();
            for steps in [1, 19] {
                let (expected, got) =
                    (cpu.repeat(steps, &minibatch).unwrap(), cuda.repeat(steps, &minibatch).unwrap());
                for (part, (expected, got)) in expected.iter().zip(got).enumerate() {
                    // Sums of f32 terms in another order.
                    let error = (got - expected).abs();
                    assert!(error <= 1e-5 * expected.abs(), "{what}, part {part}: {got}, CPU {expected}");
                }
            }
            let (expected, got) = (flat(cpu.parameters().unwrap()), flat(cuda.parameters().unwrap()));
            assert_eq!(expected.len(), got.len());
            let far = expected.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(got.iter().all(|x| x.is_finite()), "{what}");
            // Adam divides by sqrt(v): where v is tiny, rounding grows; 20 steps are at most 0.02.
            assert!(far < 2e-5, "{what}: parameters differ by {far}");
        }
    }
}
