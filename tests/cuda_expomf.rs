//! `expomf` on the device: iterations against the f64 reference and the CPU, rows that are worked on in parts, and what
//! is refused.
#![cfg(feature = "cuda")]

mod emulator;
mod exposure;

use exposure::{begin, settings, world};
use macr::{
    Config, Edges, InteractionsBuilder, Split, Trainer,
    backend::{
        cpu,
        cuda::expomf::{ExpoMf, MOST_DIM, check},
        expomf::{Em, ExposureConstant},
    },
    device::Resolved,
    objective::EXPOMF,
};

#[test]
fn iterations_are_those_of_the_reference() {
    let Some(device) = emulator::device() else { return };
    for (dim, constant) in [
        (1, ExposureConstant::Exact),
        (7, ExposureConstant::Repo),
        (32, ExposureConstant::Exact),
        (65, ExposureConstant::Exact),
    ] {
        exposure::check(dim, constant, 2, |data, settings, state| {
            Box::new(ExpoMf::new(&device, data, settings, &state).unwrap())
        });
    }
}

#[test]
fn several_iterations_stay_with_the_cpu_and_raise_the_log_posterior() {
    let Some(device) = emulator::device() else { return };
    let (data, settings) = (world(), settings(12));
    let mut engine = ExpoMf::new(&device, &data, settings, &begin(&settings)).unwrap();
    let mut twin = cpu::expomf::ExpoMf::new(&data, settings, begin(&settings));
    let mut last = f64::NEG_INFINITY;
    for iteration in 1..=5 {
        let (posterior, expected) = (engine.iterate().unwrap(), twin.iterate().unwrap());
        assert!(posterior > last, "iteration {iteration}: {posterior} after {last}");
        assert!((posterior / expected - 1.0).abs() < 1e-6, "iteration {iteration}: {posterior}, {expected}");
        last = posterior;
    }
    // From its own state it goes on as if nothing had happened.
    let mut again = ExpoMf::new(&device, &data, settings, &engine.state().unwrap()).unwrap();
    assert_eq!(engine.iterate().unwrap().to_bits(), again.iterate().unwrap().to_bits());
    assert_eq!(engine.state().unwrap(), again.state().unwrap());
}

#[test]
fn a_whole_training_runs_on_the_device() {
    let Some(device) = emulator::device() else { return };
    let pairs = || (0..40u32).flat_map(|u| (0..20u32).filter(move |i| (u + i) % 2 == 0).map(move |i| (u, i)));
    let held_out = |&(u, i): &(u32, u32)| (u * 7 + i * 3) % 5 == 0;
    let data = InteractionsBuilder::new(40, 20)
        .split(Split::Train, Edges::from_pairs(pairs().filter(|pair| !held_out(pair))))
        .split(Split::Test, Edges::from_pairs(pairs().filter(held_out)))
        .build()
        .unwrap();
    let config = Config {
        objective: EXPOMF.into(),
        dim: 2,
        epochs: 4,
        eval_every: 1,
        k: 2,
        select: Split::Test,
        ..Config::default()
    };
    let fit = |device: &Resolved| Trainer::on(device, &data, config.clone()).unwrap().fit(&mut ()).unwrap().1;
    let (gpu, cpu) = (fit(&Resolved::Cuda(device)), fit(&Resolved::Cpu));
    assert_eq!((gpu.epochs, gpu.samples), (cpu.epochs, cpu.samples));
    assert!(
        gpu.best.hit_rate > 0.7 && (gpu.best.hit_rate - cpu.best.hit_rate).abs() < 1e-9,
        "{gpu:?}, {cpu:?}"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let data = world();
    assert!(check(&device, &data, &settings(MOST_DIM), 0).unwrap() > 0);
    let message = check(&device, &data, &settings(MOST_DIM + 1), 0).unwrap_err().to_string();
    assert!(message.contains("dim") && message.contains("--device cpu"), "{message}");
    let mut broken = begin(&settings(4));
    broken.beta[5] = f32::NAN;
    let message =
        ExpoMf::new(&device, &data, settings(4), &broken).unwrap().iterate().unwrap_err().to_string();
    assert!(message.contains("lambda-theta = 0.02: ") && message.contains("user 0"), "{message}");
}
