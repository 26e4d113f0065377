//! What a training will do, told before it begins.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    memory::Estimate,
    output::{Output, counted, grouped, size, table},
    system,
};
use crate::{
    backbone::{Backbone, Cost, Form, LightGcn},
    config::Config,
    data::{Interactions, Split},
    device::{DeviceChoice, Resolved},
    error::{Error, Result},
    objective::{self, EXPOMF},
    train::Placement,
};

/// A training before it begins.
#[derive(Debug)]
pub struct Plan {
    folder: PathBuf,
    config: Config,
    users: u32,
    items: u32,
    interactions: u64,
    steps_per_epoch: u64,
    samples_per_epoch: u64,
    propagation: Option<(LightGcn, Cost)>,
    placement: Placement,
    memory: Estimate,
}

impl Plan {
    /// The training of `config` on `data`, which took the place of data of `original_bytes`, on the device of `choice`.
    ///
    /// # Errors
    /// As [`crate::Trainer::on`] and [`Placement::new`], but no table is made.
    pub fn new(
        data: &Interactions,
        original_bytes: u64,
        config: &Config,
        folder: &Path,
        choice: DeviceChoice,
    ) -> Result<Self> {
        let (steps, samples) = if config.objective == EXPOMF {
            config.expomf()?;
            (1, u64::from(data.users()) * u64::from(data.items()))
        } else {
            let sampler = config.sampler(data)?;
            let objective = objective::build(config, &sampler)?;
            config.fits(objective.as_ref())?;
            let steps = sampler.steps_per_epoch();
            (steps, (0..steps).map(|step| u64::from(sampler.rows(step))).sum())
        };
        let propagation = match config.backbone {
            Backbone::Mf => None,
            Backbone::LightGcn => {
                Some(LightGcn::new(data, config.layers, config.batch_size, config.propagation)?)
            }
        };
        Ok(Plan {
            folder: folder.into(),
            users: data.users(),
            items: data.items(),
            interactions: data.count(Split::Train),
            steps_per_epoch: steps,
            samples_per_epoch: samples,
            memory: Estimate::new(
                data,
                original_bytes,
                config,
                propagation.map(|(lightgcn, _)| lightgcn),
                rayon::current_num_threads() as u64,
            )?,
            propagation,
            placement: Placement::new(data, config, choice)?,
            config: config.clone(),
        })
    }

    /// The device that was chosen.
    pub fn device(&self) -> &Resolved {
        &self.placement.device
    }

    /// Refuses a training that cannot fit into the host's memory. The mapped file is there already, and its pages can
    /// be taken back; so is a checkpoint to go on from, of so many bytes, and a training has one in memory only while it
    /// is written.
    ///
    /// # Errors
    /// [`crate::Error::Memory`].
    pub fn admit(&self, checkpoint: u64) -> Result<()> {
        let remedy = "lower --dim, --batch-size or --threads";
        let of_host = self.memory.of_host(self.placement.gpu_memory);
        let asked = of_host.saturating_sub(self.memory.data).saturating_sub(checkpoint);
        system::Memory::now().admit("the training", asked, remedy)
    }

    /// Which device and why, what will be trained, and a warning where memory is short.
    pub fn remark(&self, output: &Output) {
        let (config, memory) = (&self.config, self.memory.of_host(self.placement.gpu_memory));
        let on_gpu = self.placement.gpu_memory.map(|bytes| format!(" and {} on the GPU", size(bytes)));
        output.remark(format_args!("device: {}", self.placement.reason));
        output.remark(format_args!(
            "{} on {} ({}): {}, {}, {}; {} of {}, about {} of memory{}; choosing on {} by hit rate @{}",
            config.system(),
            self.placement.device,
            counted(rayon::current_num_threads() as u64, "thread"),
            counted(self.users, "user"),
            counted(self.items, "item"),
            counted(self.interactions, "interaction"),
            counted(config.epochs, "epoch"),
            counted(self.steps_per_epoch, "step"),
            size(memory),
            on_gpu.unwrap_or_default(),
            config.select,
            config.k,
        ));
        let available = system::Memory::now().available;
        if memory > available {
            output.remark(format_args!(
                "warning: only {} of memory are available; lower --dim if the training does not fit",
                size(available)
            ));
        }
    }

    /// The result of a dry run.
    ///
    /// # Errors
    /// If the configuration has no TOML form.
    pub fn print(&self, as_json: bool, output: &Output) -> Result<()> {
        let Plan { config, memory, .. } = self;
        let epochs = config.epochs;
        if as_json {
            // Through text, where a number of 32 bits has as few digits as in config.toml.
            let unwritable = |e: serde_json::Error| Error::io("write", "standard output")(e.into());
            let config_json = serde_json::to_string(config).map_err(unwritable)?;
            let config_json: serde_json::Value = serde_json::from_str(&config_json).map_err(unwritable)?;
            output.json(&json!({
                "run": self.folder.display().to_string(),
                "system": config.system(),
                "device": self.placement.device.to_string(),
                "device_reason": self.placement.reason,
                "gpu_memory": self.placement.gpu_memory,
                "threads": rayon::current_num_threads(),
                "users": self.users,
                "items": self.items,
                "interactions": self.interactions,
                "epochs": epochs,
                "steps_per_epoch": self.steps_per_epoch,
                "samples_per_epoch": self.samples_per_epoch,
                "steps": epochs.saturating_mul(self.steps_per_epoch),
                "samples": epochs.saturating_mul(self.samples_per_epoch),
                "propagation": self.propagation.map(|(l, cost)| json!({ "form": l.form, "cost": cost })),
                "memory": memory,
                "config": config_json,
            }));
            return Ok(());
        }
        let steps = [
            ("users", u64::from(self.users)),
            ("items", u64::from(self.items)),
            ("training interactions", self.interactions),
            ("steps of an epoch", self.steps_per_epoch),
            ("samples of an epoch", self.samples_per_epoch),
            ("epochs at most", epochs),
            ("steps at most", epochs.saturating_mul(self.steps_per_epoch)),
            ("samples at most", epochs.saturating_mul(self.samples_per_epoch)),
        ];
        output.result(table(
            [&format!("{} on {}", config.system(), self.placement.device), "number"],
            steps.map(|(name, n)| [name.to_owned(), grouped(n)]),
        ));
        let parts = match self.placement.gpu_memory {
            Some(bytes) => vec![("on the GPU", bytes), ("of the host, at most", memory.beside_gpu)],
            None => memory.parts().into_iter().chain([("at most", memory.peak)]).collect(),
        };
        output.result(format_args!(
            "\n{}",
            table(["memory", "size"], parts.into_iter().map(|(name, bytes)| [name.to_owned(), size(bytes)]))
        ));
        if let Some((lightgcn, cost)) = &self.propagation {
            let way = match lightgcn.form {
                Form::Layers => "layer by layer",
                Form::Gram => "through the item-item product",
            };
            let product = cost.gram.map_or("not possible".into(), |gram| format!("{:.3} M", gram / 1e6));
            output.result(format_args!(
                "\npropagation {way}; rows gathered in a step, or their worth: {:.3} M layer by layer, {product} through \
                 the product",
                cost.layers / 1e6
            ));
        }
        output.result(format_args!("\ndevice  {}", self.placement.reason));
        output.result(format_args!(
            "\nrun folder  {}\n\n{}",
            self.folder.display(),
            config.to_toml()?.trim_end()
        ));
        Ok(())
    }
}
