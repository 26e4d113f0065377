//! ExpoMF's epoch: one iteration of expectation maximisation.

use std::time::Instant;

use super::observer::Epoch;
#[cfg(feature = "cuda")]
use crate::backend::cuda;
use crate::{
    backend::{
        cpu::expomf::ExpoMf,
        expomf::{Em, State},
    },
    config::Config,
    data::Interactions,
    device::Resolved,
    error::{Error, Result},
};

/// A training at its first iteration.
pub(super) fn engine<'a>(
    device: &Resolved,
    data: &'a Interactions,
    config: &Config,
) -> Result<Box<dyn Em + 'a>> {
    let settings = config.expomf()?;
    let state = State::new(data.users() as usize, data.items() as usize, &settings);
    match device {
        Resolved::Cpu => Ok(Box::new(ExpoMf::new(data, settings, state))),
        #[cfg(feature = "cuda")]
        Resolved::Cuda(device) => Ok(Box::new(cuda::expomf::ExpoMf::new(device, data, settings, &state)?)),
    }
}

/// One iteration. Its loss is the negative log posterior; its samples are all pairs, since each is looked at.
pub(super) fn epoch(engine: &mut dyn Em, epoch: u64, samples: u64) -> Result<Epoch> {
    let start = Instant::now();
    let posterior = engine.iterate()?;
    if !posterior.is_finite() {
        let problem = format!("the log posterior became {posterior} in iteration {epoch}");
        return Err(Error::data(problem, "raise --lambda-theta and --lambda-beta, or lower --lambda-y"));
    }
    Ok(Epoch {
        epoch,
        loss: -posterior,
        parts: vec![("log_posterior".into(), posterior)],
        samples,
        seconds: start.elapsed().as_secs_f64(),
    })
}
