//! Whole steps and whole trainings, on the device and on the CPU, by the host's clock: nothing is left out.

use std::time::Instant;

use macr::{
    Interactions, Result,
    backend::{
        Backend,
        cuda::{Cuda, Device},
    },
    objective::Pairing,
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
    for loss in Workload::losses() {
        let size = (data.users(), data.items());
        let objective = workload.objective(data, loss);
        let config = workload.config(loss);
        let cuda = || {
            Cuda::new(device, size, workload.sampler(data), objective.as_ref(), &config, workload.settings())
        };
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

fn line(workload: &Workload, (objective, pairing): Loss, device: &'static str, what: &str) -> Line {
    let name = match pairing {
        Pairing::Rows => format!("{what}/{objective}"),
        Pairing::AllPairs => format!("{what}/{objective} {pairing}"),
    };
    let mut line = Line::new("steps", name, workload.shape());
    line.device = device;
    line
}

/// Seconds of a step, over enough steps for a tenth of a second, the first ones left out.
fn steps(
    engine: &mut dyn Backend,
    options: &Options,
    workload: &Workload,
    loss: Loss,
    device: &'static str,
) -> Result<()> {
    let mut count = if options.small { 2 } else { 64 };
    engine.repeat(count, &minibatch)?;
    let mut run = |count: u64| {
        let start = Instant::now();
        let losses = engine.repeat(count, &minibatch)?;
        let seconds = start.elapsed().as_secs_f64();
        assert!(losses.iter().all(|loss| loss.is_finite()), "the training diverged");
        Ok(seconds)
    };
    while !options.small && run(count)? < 0.1 {
        count *= 2;
    }
    let mut line = line(workload, loss, device, "step");
    line.elements = Some(u64::from(workload.batch));
    let seconds = repeat(options, || run(count))?;
    line.print(seconds.iter().map(|seconds| seconds / count as f64).collect());
    Ok(())
}
