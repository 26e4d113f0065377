//! Where a training runs.

use crate::{
    backbone::{Backbone, LightGcn},
    backend::Settings,
    config::Config,
    data::Interactions,
    device::{DeviceChoice, Resolved},
    error::Result,
};

/// A device for one training, chosen before it begins.
#[derive(Debug)]
pub struct Placement {
    /// The device.
    pub device: Resolved,
    /// Which it is and why, in one line.
    pub reason: String,
    /// Bytes that the training with its evaluations takes of the GPU's memory; `None` on the CPU.
    pub gpu_memory: Option<u64>,
}

impl Placement {
    /// The device that `choice` comes to for a training of `config` on `data`. `auto` is the CPU where there is no GPU,
    /// or one that cannot do it.
    ///
    /// # Errors
    /// [`crate::Error::Device`], [`crate::Error::Config`] and [`crate::Error::DeviceMemory`] if a GPU is asked for by
    /// name and is not there, cannot do what `config` says, or has too little memory.
    pub fn new(data: &Interactions, config: &Config, choice: DeviceChoice) -> Result<Self> {
        config.check()?;
        let (device, reason) = choice.resolve()?;
        match gpu_memory(data, config, &device) {
            Ok(gpu_memory) => Ok(Placement { device, reason, gpu_memory }),
            Err(error) if choice == DeviceChoice::Auto => Ok(Placement {
                device: Resolved::Cpu,
                reason: format!("the CPU, since the GPU cannot be used for this: {error}"),
                gpu_memory: None,
            }),
            Err(error) => Err(error),
        }
    }
}

/// What a backend has to know of `config`.
pub(super) fn settings(data: &Interactions, config: &Config) -> Result<Settings> {
    let lightgcn = match config.backbone {
        Backbone::Mf => None,
        Backbone::LightGcn => {
            Some(LightGcn::new(data, config.layers, config.batch_size, config.propagation)?.0)
        }
    };
    Ok(Settings {
        dim: config.dim,
        storage: config.storage,
        lightgcn,
        adam: config.adam(),
        catch_up: config.catch_up,
        branch: config.branch,
        branch_input: config.branch_input,
        l2: config.l2,
        seed: config.seed,
    })
}

#[cfg(feature = "cuda")]
fn gpu_memory(data: &Interactions, config: &Config, device: &Resolved) -> Result<Option<u64>> {
    use crate::{
        backend::cuda::{self, rank::Ranked},
        error::Error,
        objective,
    };
    let Resolved::Cuda(device) = device else { return Ok(None) };
    let longest = cuda::params::RANK_LONGEST as usize;
    if config.k > longest {
        let problem = format!("lists on a GPU have at most {longest} items");
        return Err(Error::config("k", config.k, problem, "use --device cpu, or a smaller --k"));
    }
    let evaluation = |ranked| cuda::evaluation_memory(device, data, config, ranked);
    if config.objective == objective::EXPOMF {
        let settings = config.expomf()?;
        let ranked = Ranked { dim: settings.dim, item_branch: None };
        return cuda::expomf::check(device, data, &settings, evaluation(ranked)).map(Some);
    }
    let sampler = config.sampler(data)?;
    let objective = objective::build(config, &sampler)?;
    let (shape, settings) = ((data.users(), data.items()), settings(data, config)?);
    let evaluation = evaluation(cuda::ranked(objective.as_ref(), &settings));
    cuda::check(device, shape, &sampler, objective.as_ref(), &settings, evaluation).map(Some)
}

#[cfg(not(feature = "cuda"))]
fn gpu_memory(_data: &Interactions, _config: &Config, _device: &Resolved) -> Result<Option<u64>> {
    Ok(None)
}
