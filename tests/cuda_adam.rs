//! `adam` on the device: rules against the CPU's, exports against step-by-step sums in f64.
#![cfg(feature = "cuda")]

mod batches;
mod emulator;

use batches::{World, cases, near};
use macr::{
    backend::cuda::adam::{Optimiser, StepRules},
    optim::{Adam, CatchUp, Rules},
};

#[test]
fn rules_are_those_of_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let adam = Adam::default();
    let optimiser = Optimiser::new(&device, adam, CatchUp::Quadrature).unwrap();
    let steps = [0, 1, 2, 100, 256, 257, 3000, 20_784, 20_785, 1_000_000];
    let mut rules = StepRules::new(&device, steps.len()).unwrap();
    optimiser.rules(&device.upload(batches::TEST, &steps).unwrap(), steps.len() as u32, &mut rules).unwrap();
    let got = rules.read().unwrap();
    for (k, &now) in steps.iter().enumerate() {
        let cpu = Rules::new(adam, now);
        for n in 0..=now.saturating_sub(1).min(256) {
            let expected = cpu.get(now - n);
            let expected = [expected.weight, expected.root].concat();
            for (j, &expected) in expected.iter().enumerate() {
                let got = got[(k * 257 + n as usize) * 4 + j];
                // The last bits of f32, and a weight of 0 that is a difference.
                near(
                    got,
                    f64::from(expected),
                    3e-7 * f64::from(expected.abs()) + 1e-16,
                    format_args!("now {now}, n {n}"),
                );
            }
        }
    }
}

#[test]
fn an_export_is_every_row_caught_up() {
    let Some(device) = emulator::device() else { return };
    let adam = Adam::default();
    for case in cases().into_iter().filter(|case| case.rows < 200) {
        let world = World::new(case);
        let optimiser = Optimiser::new(&device, adam, CatchUp::Quadrature).unwrap();
        for table in &world.tables {
            let on_device = table.upload(&device);
            let got = optimiser.export(&on_device, case.now).unwrap().read().unwrap();
            assert_eq!(got.len(), table.rows * table.stride());
            for (row, got) in got.chunks_exact(table.stride()).enumerate() {
                table.check_row(&adam, row, case.now, got, &format!("{case:?}"));
            }
            assert_eq!(on_device.p.read().unwrap(), table.p);
        }
    }
}
