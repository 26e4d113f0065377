//! Whatever a training on the device asks memory for may not be there: the error says what it was for.
#![cfg(feature = "cuda")]

mod emulator;
mod trainings;

use macr::{
    Config, Error, Split, Trainer,
    backbone::{Backbone, Propagation},
    device::Resolved,
    objective::{BranchKind, Pairing},
};

#[test]
fn every_allocation_of_a_training_may_fail() {
    let Some(device) = emulator::device() else { return };
    if !emulator::refuse_allocation(0) {
        return eprintln!("skipped: a GPU refuses no memory that it has");
    }
    let data = trainings::split(40, 24, 6);
    let base = Config {
        objective: "macr".into(),
        c: vec![0.0, 1.0],
        batch_size: 16,
        dim: 4,
        k: 5,
        epochs: 1,
        select: Split::Test,
        ..Config::default()
    };
    let lightgcn =
        |propagation| Config { backbone: Backbone::LightGcn, layers: 2, propagation, ..base.clone() };
    for config in [
        base.clone(),
        Config { branch: BranchKind::Mlp(3), pairing: Pairing::AllPairs, ..base.clone() },
        lightgcn(Propagation::Layers),
        lightgcn(Propagation::Gram),
    ] {
        let resolved = Resolved::Cuda(device.clone());
        let fit = || Trainer::on(&resolved, &data, config.clone())?.fit(&mut ());
        fit().unwrap();
        device.synchronize().unwrap();
        let before = device.free_memory().unwrap();
        let mut refused = 0;
        loop {
            emulator::refuse_allocation(refused + 1);
            let error = match fit() {
                Ok(_) => break,
                Err(error) => error,
            };
            refused += 1;
            let Error::DeviceMemory { what, asked, free, lower } = &error else {
                panic!("allocation {refused}: {error}")
            };
            assert!(*asked > 0 && *free > 0 && !what.is_empty() && !lower.is_empty(), "{error}");
            let words = error.to_string();
            assert!(words.contains(what) && words.contains(lower), "{words}");
            // Nothing stays behind.
            device.synchronize().unwrap();
            assert_eq!(device.free_memory().unwrap(), before, "after allocation {refused}: {what}");
        }
        emulator::refuse_allocation(0);
        assert!(refused > 60, "only {refused} allocations were seen");
    }
}
