//! The epoch loop.

use std::time::Instant;

use serde::Serialize;

use super::{
    early_stopping::EarlyStopping,
    observer::{Epoch, Evaluated, Observer},
    placement::settings,
    sequence::{minibatch, propagated_minibatch},
};
#[cfg(feature = "cuda")]
use crate::backend::cuda::Cuda;
use crate::{
    backbone::Backbone,
    backend::{Backend, Parameters, cpu::Cpu},
    config::Config,
    data::{Interactions, popularity::item_counts},
    device::Resolved,
    error::{Error, Result},
    eval::{Evaluator, Outcome},
    model::{Carved, Metadata, Model, Ranking},
    objective,
    sampling::Sampler,
};

/// Trains one model on one dataset.
///
/// ```
/// use macr::{Config, Edges, InteractionsBuilder, Split, Trainer};
/// # let pairs = (0..40u32).flat_map(|u| (0..20u32).filter(move |i| (u + i) % 2 == 0).map(move |i| (u, i)));
/// # let (test, train): (Vec<_>, Vec<_>) = pairs.partition(|(u, i)| (u * 7 + i) % 5 == 0);
/// let data = InteractionsBuilder::new(40, 20)
///     .split(Split::Train, Edges::from_pairs(train))
///     .split(Split::Test, Edges::from_pairs(test))
///     .build()?;
/// let config = Config { batch_size: 32, epochs: 20, k: 5, select: Split::Test, ..Config::default() };
/// let (model, summary) = Trainer::new(&data, config)?.fit(&mut ())?;
/// assert_eq!((model.users(), model.items()), (40, 20));
/// assert!(summary.best_epoch >= 1);
/// # Ok::<(), macr::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer<'a> {
    data: &'a Interactions,
    config: Config,
    engine: Box<dyn Backend + 'a>,
    device: Resolved,
    popularity: Vec<u32>,
    parts: Vec<&'static str>,
    carved: Option<Carved>,
}

/// What a training did.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The epoch whose model was kept.
    pub best_epoch: u64,
    /// Epochs trained.
    pub epochs: u64,
    /// Rows of all batches.
    pub samples: u64,
    /// Throughput of the training steps alone.
    pub samples_per_second: f64,
    /// Seconds in training steps.
    pub train_seconds: f64,
    /// Seconds in evaluations.
    pub eval_seconds: f64,
    /// True if the observer ended the training before its time.
    pub stopped: bool,
    /// The best evaluation.
    pub best: Evaluated,
}

impl<'a> Trainer<'a> {
    /// A training of `config` on the train split of `data`, at its first step, on the CPU.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Unknown`] for settings that cannot be used, [`Error::Data`] for data that cannot
    /// be trained on or selected with.
    pub fn new(data: &'a Interactions, config: Config) -> Result<Self> {
        Self::on(&Resolved::Cpu, data, config)
    }

    /// As [`Trainer::new`], with steps and evaluations on a device. [`super::Placement`] chooses one.
    ///
    /// # Errors
    /// As for [`Trainer::new`]; [`Error::Config`] for what only the CPU can do, [`Error::Device`] and
    /// [`Error::DeviceMemory`] if the device fails or is too small.
    pub fn on(device: &Resolved, data: &'a Interactions, config: Config) -> Result<Self> {
        let objective = objective::build(&config.objective, &config.objective_config())?;
        let parts = objective.parts().to_vec();
        let sampler = Sampler::new(data, config.sampler, config.negatives, config.batch_size, config.seed)?;
        if data.count(config.select) == 0 {
            return Err(Error::data(
                format!("the data has no {0} split to choose the epoch on", config.select),
                "make one with `macr split`, or choose another with --select",
            ));
        }
        let shape = (data.users(), data.items());
        let settings = settings(data, &config)?;
        let engine: Box<dyn Backend + 'a> = match device {
            Resolved::Cpu => Box::new(Cpu::new(shape, sampler, objective, settings)?),
            #[cfg(feature = "cuda")]
            Resolved::Cuda(device) => {
                let config = config.objective_config();
                Box::new(Cuda::new(device, shape, sampler, objective.as_ref(), &config, settings)?)
            }
        };
        let device = device.clone();
        Ok(Trainer { engine, device, popularity: item_counts(data), data, config, parts, carved: None })
    }

    /// Has the model say where the data's validation split came from.
    pub fn carved(mut self, carved: Option<Carved>) -> Self {
        self.carved = carved;
        self
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.engine.sampler().steps_per_epoch()
    }

    /// The configuration, as resolved.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Trains until the epochs are done, patience runs out or the observer stops it; returns the best model.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss is no longer finite; whatever the observer returns.
    pub fn fit(mut self, observer: &mut dyn Observer) -> Result<(Model, Summary)> {
        let rankings = self.config.rankings();
        let device = self.device.clone();
        let evaluator = Evaluator::new(self.data, self.config.select)
            .ks(&[self.config.k])
            .rankings(&rankings)
            .device(&device);
        let audience = evaluator.audience()?;
        let mut stopping = EarlyStopping::new(self.config.patience);
        let mut best: Option<(Model, Evaluated)> = None;
        let (mut samples, mut train_seconds, mut eval_seconds, mut stopped) = (0, 0.0, 0.0, false);
        let mut epoch = 0;
        while epoch < self.config.epochs && !stopped && !stopping.should_stop() {
            epoch += 1;
            let done = self.epoch(epoch)?;
            samples += done.samples;
            train_seconds += done.seconds;
            observer.epoch(&done)?;
            stopped = observer.stop();
            if epoch % self.config.eval_every == 0 || epoch == self.config.epochs || stopped {
                let start = Instant::now();
                let snapshot = self.engine.snapshot()?;
                let results =
                    evaluator.evaluate_snapshot(&audience, snapshot.as_ref(), &self.popularity)?.results;
                // The first of equals: grids are written with the plain ranking first.
                let value = |outcome: &Outcome, metric| outcome.metrics.get(metric).unwrap_or(f64::NAN);
                let hit_rate = |outcome: &Outcome| value(outcome, "hit_rate");
                let chosen = results.iter().reduce(|a, b| if hit_rate(b) > hit_rate(a) { b } else { a });
                let Some(chosen) = chosen else { continue };
                let evaluated = Evaluated {
                    epoch,
                    ranking: Ranking { c: chosen.c, tau: chosen.tau },
                    hit_rate: hit_rate(chosen),
                    recall: value(chosen, "recall"),
                    ndcg: value(chosen, "ndcg"),
                    best: stopping.improves(hit_rate(chosen)),
                    seconds: start.elapsed().as_secs_f64(),
                };
                eval_seconds += evaluated.seconds;
                observer.evaluated(&evaluated)?;
                if evaluated.best {
                    // Only now are the parameters copied from a GPU.
                    let parameters = snapshot.into_parameters()?;
                    let model = self.model(parameters, evaluated.ranking);
                    observer.improved(&model)?;
                    best = Some((model, evaluated));
                }
            }
        }
        let Some((model, evaluated)) = best else {
            return Err(Error::config(
                "epochs",
                self.config.epochs,
                "no epoch was trained",
                "use at least 1",
            ));
        };
        let summary = Summary {
            best_epoch: evaluated.epoch,
            epochs: epoch,
            samples,
            samples_per_second: samples as f64 / train_seconds.max(f64::MIN_POSITIVE),
            train_seconds,
            eval_seconds,
            stopped,
            best: evaluated,
        };
        Ok((model, summary))
    }

    fn epoch(&mut self, epoch: u64) -> Result<Epoch> {
        let start = Instant::now();
        let steps = self.steps_per_epoch();
        let first = (epoch - 1) * steps;
        let samples = (first..first + steps).map(|s| u64::from(self.engine.sampler().rows(s))).sum();
        let sequence = match self.config.backbone {
            Backbone::Mf => minibatch,
            Backbone::LightGcn => propagated_minibatch,
        };
        let sums = self.engine.repeat(steps, &sequence)?.map(|sum| sum / steps as f64);
        let loss: f64 = sums.iter().sum();
        if !loss.is_finite() {
            let Config { learning_rate, l2, .. } = self.config;
            return Err(Error::Diverged { epoch, loss, learning_rate, l2 });
        }
        let names = self.parts.iter().copied().zip(sums);
        let l2 = sums[sums.len() - 1];
        let parts = names.chain([("l2", l2)]).map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Epoch { epoch, loss, parts, samples, seconds: start.elapsed().as_secs_f64() })
    }

    /// A model of these parameters.
    fn model(&self, parameters: Parameters, ranking: Ranking) -> Model {
        let Parameters { users, items, user_branch, item_branch, ego } = parameters;
        Model {
            dim: self.config.dim,
            user_embedding: users,
            item_embedding: items,
            user_branch,
            item_branch,
            ego,
            item_popularity: self.popularity.clone(),
            metadata: Metadata {
                backbone: self.config.backbone.to_string(),
                objective: self.config.objective.clone(),
                pairing: (self.config.objective == "macr").then(|| self.config.pairing.to_string()),
                ranking,
                data: self.data.checksum(),
                carved: self.carved.clone(),
                seed: self.config.seed,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        }
    }
}
