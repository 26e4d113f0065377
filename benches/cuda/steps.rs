//! Whole steps and whole trainings, on the device and on the CPU, by the host's clock: nothing is left out.

use std::time::Instant;

use macr::{
    Config, Interactions, Result,
    backend::{
        Backend, Sequence,
        cuda::{Cuda, Device, expomf::ExpoMf},
        expomf::{Em, State},
    },
    objective::{EXPOMF, Pairing},
    train::sequence::minibatch,
};

use crate::{
    Options,
    ceilings::repeat,
    report::Line,
    workloads::{Loss, Workload},
};

/// Epochs of the training that is measured as a whole.
const EPOCHS: u64 = 1000;

pub fn measure(device: &Device, options: &Options, workload: &Workload, data: &Interactions) -> Result<()> {
    iterations(device, options, workload, data)?;
    for loss in Workload::losses() {
        let size = (data.users(), data.items());
        let objective = workload.objective(data, loss);
        let cuda =
            || Cuda::new(device, size, workload.sampler(data), objective.as_ref(), workload.settings());
        let mut engine = cuda()?;
        steps(&mut engine, options, workload, loss, "cuda")?;
        steps(&mut workload.cpu(data, loss), options, workload, loss, "cpu")?;
        if loss.0 == "macr" && workload.name == Workload::ADRESSA.name {
            let epochs = if options.small { 2 } else { EPOCHS };
            let steps = epochs * engine.sampler().steps_per_epoch();
            let mut line = line(workload, loss, "cuda", &format!("{epochs} epochs"));
            line.elements = Some(steps * u64::from(workload.batch));
            let once = || {
                let mut engine = cuda()?;
                let start = Instant::now();
                engine.repeat(steps, &minibatch)?;
                let parameters = engine.parameters()?;
                let seconds = start.elapsed().as_secs_f64();
                assert!(parameters.items.iter().all(|x| x.is_finite()), "the training diverged");
                Ok(seconds)
            };
            line.print((0..3).map(|_| once()).collect::<Result<_>>()?);
        }
    }
    Ok(())
}

/// Seconds of an iteration of ExpoMF.
fn iterations(device: &Device, options: &Options, workload: &Workload, data: &Interactions) -> Result<()> {
    let settings = Config { objective: EXPOMF.into(), dim: workload.dim, ..Config::default() }.expomf()?;
    let state = State::new(data.users() as usize, data.items() as usize, &settings);
    let mut engine = ExpoMf::new(device, data, settings, &state)?;
    let (pairs, dim) = (u64::from(data.users()) * u64::from(data.items()), workload.dim as u64);
    let mut line = Line::new("steps", "iteration/expomf", workload.shape());
    line.elements = Some(pairs);
    // The normal matrices of both sides; the scores of three E-steps.
    line.flops = Some(pairs * (2 * dim * (dim + 1) + 3 * 2 * dim));
    let once = || {
        let start = Instant::now();
        let posterior = engine.iterate()?;
        let seconds = start.elapsed().as_secs_f64();
        assert!(posterior.is_finite(), "the training diverged");
        Ok(seconds)
    };
    line.print(std::iter::repeat_with(once).take(options.repeats()).collect::<Result<_>>()?);
    Ok(())
}

fn line(workload: &Workload, (objective, pairing): Loss, device: &'static str, what: &str) -> Line {
    let name = match pairing {
        Pairing::Rows => format!("{what}/{objective}"),
        Pairing::AllPairs => format!("{what}/{objective} {pairing}"),
    };
    let mut line = Line::new("steps", name, workload.shape());
    line.device = device;
    line
}

fn steps(
    engine: &mut dyn Backend,
    options: &Options,
    workload: &Workload,
    loss: Loss,
    device: &'static str,
) -> Result<()> {
    let mut line = line(workload, loss, device, "step");
    line.elements = Some(u64::from(workload.batch));
    line.print(seconds(engine, options, &minibatch)?);
    Ok(())
}

/// Seconds of a step, over enough steps for a tenth of a second, the first ones left out.
pub fn seconds(engine: &mut dyn Backend, options: &Options, sequence: Sequence<'_>) -> Result<Vec<f64>> {
    let mut count = if options.small { 2 } else { 64 };
    engine.repeat(count, sequence)?;
    let mut run = |count: u64| {
        let start = Instant::now();
        let losses = engine.repeat(count, sequence)?;
        let seconds = start.elapsed().as_secs_f64();
        assert!(losses.iter().all(|loss| loss.is_finite()), "the training diverged");
        Ok(seconds)
    };
    while !options.small && run(count)? < 0.1 {
        count *= 2;
    }
    Ok(repeat(options, || run(count))?.iter().map(|seconds| seconds / count as f64).collect())
}
