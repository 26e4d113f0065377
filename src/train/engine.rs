//! What does the work of an epoch: steps on batches, or the iterations of ExpoMF.

use super::{
    placement::settings,
    sequence::{minibatch, propagated_minibatch},
};
#[cfg(feature = "cuda")]
use crate::backend::cuda::{self, Cuda};
use crate::{
    backbone::Backbone,
    backend::{
        Backend, Losses, Operations, Snapshot, State,
        cpu::{self, Cpu},
        expomf::{self, Em},
    },
    config::Config,
    data::Interactions,
    device::Resolved,
    error::{Error, Result},
    objective::{self, EXPOMF, Pairing},
};

/// The engine of one training.
#[derive(Debug)]
pub(super) enum Engine<'a> {
    /// Steps on batches.
    Steps {
        /// The device and its state.
        backend: Box<dyn Backend + 'a>,
        /// What a step is made of.
        sequence: fn(&mut dyn Operations) -> Result<()>,
        /// Names of the objective's losses.
        parts: &'static [&'static str],
        /// True if the objective has a penalty.
        penalised: bool,
        /// As [`objective::Objective::pairing`].
        pairing: Option<Pairing>,
    },
    /// Iterations of expectation maximisation, each an epoch of one step.
    Em {
        /// The device and its state.
        em: Box<dyn Em + 'a>,
        /// Users times items: an iteration looks at every pair.
        pairs: u64,
    },
}

impl<'a> Engine<'a> {
    /// The engine of a training at its first step.
    pub fn new(device: &Resolved, data: &'a Interactions, config: &Config) -> Result<Self> {
        if config.objective == EXPOMF {
            return Self::em(device, data, config);
        }
        let sampler = config.sampler(data)?;
        let objective = objective::build(config, &sampler)?;
        config.fits(objective.as_ref())?;
        let (parts, penalised) = (objective.parts(), objective.penalty().is_some());
        let pairing = objective.pairing();
        let shape = (data.users(), data.items());
        let settings = settings(data, config)?;
        let backend: Box<dyn Backend + 'a> = match device {
            Resolved::Cpu => Box::new(Cpu::new(shape, sampler, objective, settings)?),
            #[cfg(feature = "cuda")]
            Resolved::Cuda(device) => {
                Box::new(Cuda::new(device, shape, sampler, objective.as_ref(), settings)?)
            }
        };
        let sequence = match config.backbone {
            Backbone::Mf => minibatch,
            Backbone::LightGcn => propagated_minibatch,
        };
        Ok(Engine::Steps { backend, sequence, parts, penalised, pairing })
    }

    fn em(device: &Resolved, data: &'a Interactions, config: &Config) -> Result<Self> {
        let settings = config.expomf()?;
        let state = expomf::State::new(data.users() as usize, data.items() as usize, &settings);
        let em: Box<dyn Em + 'a> = match device {
            Resolved::Cpu => Box::new(cpu::expomf::ExpoMf::new(data, settings, state)),
            #[cfg(feature = "cuda")]
            Resolved::Cuda(device) => Box::new(cuda::expomf::ExpoMf::new(device, data, settings, &state)?),
        };
        Ok(Engine::Em { em, pairs: u64::from(data.users()) * u64::from(data.items()) })
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        match self {
            Engine::Steps { backend, .. } => backend.sampler().steps_per_epoch(),
            Engine::Em { .. } => 1,
        }
    }

    /// Rows of the batches of `steps` steps from `first` on; of an iteration, the pairs.
    pub fn samples(&self, first: u64, steps: u64) -> u64 {
        match self {
            Engine::Steps { backend, .. } => {
                (first..first + steps).map(|step| u64::from(backend.sampler().rows(step))).sum()
            }
            Engine::Em { pairs, .. } => steps * pairs,
        }
    }

    /// The next `steps` steps; their losses are added to `losses`. The loss of an iteration is the negative log
    /// posterior.
    pub fn advance(&mut self, steps: u64, losses: &mut Losses) -> Result<()> {
        match self {
            Engine::Steps { backend, sequence, .. } => backend.advance(steps, sequence, losses),
            Engine::Em { em, .. } => (0..steps).try_for_each(|_| {
                let posterior = em.iterate()?;
                losses[0] -= posterior;
                if posterior.is_finite() {
                    return Ok(());
                }
                Err(Error::data(
                    format!("the log posterior became {posterior}"),
                    "raise --lambda-theta and --lambda-beta, or lower --lambda-y",
                ))
            }),
        }
    }

    /// An epoch's mean losses by their names.
    pub fn parts(&self, losses: &Losses) -> Vec<(String, f64)> {
        match self {
            Engine::Steps { parts, penalised, .. } => {
                let [.., penalty, l2] = *losses;
                let penalty = penalised.then_some(("penalty", penalty));
                let parts = parts.iter().copied().zip(*losses).chain(penalty).chain([("l2", l2)]);
                parts.map(|(name, value)| (name.to_owned(), value)).collect()
            }
            Engine::Em { .. } => vec![("log_posterior".into(), -losses[0])],
        }
    }

    /// As [`objective::Objective::pairing`].
    pub fn pairing(&self) -> Option<Pairing> {
        match self {
            Engine::Steps { pairing, .. } => *pairing,
            Engine::Em { .. } => None,
        }
    }

    /// As [`Backend::is_finite`]; a log posterior that is finite says it of ExpoMF.
    pub fn is_finite(&mut self) -> Result<bool> {
        match self {
            Engine::Steps { backend, .. } => backend.is_finite(),
            Engine::Em { .. } => Ok(true),
        }
    }

    /// As [`Backend::snapshot`].
    pub fn snapshot(&mut self) -> Result<Box<dyn Snapshot + '_>> {
        match self {
            Engine::Steps { backend, .. } => backend.snapshot(),
            Engine::Em { em, .. } => em.snapshot(),
        }
    }

    /// As [`Backend::state`].
    pub fn state(&mut self) -> Result<State> {
        match self {
            Engine::Steps { backend, .. } => backend.state(),
            Engine::Em { em, .. } => em.save(),
        }
    }

    /// As [`Backend::restore`].
    pub fn restore(&mut self, state: &State) -> Result<()> {
        match self {
            Engine::Steps { backend, .. } => backend.restore(state),
            Engine::Em { em, .. } => em.restore(state),
        }
    }
}
