//! The epoch loop.

use std::{sync::Arc, time::Instant};

use serde::Serialize;
use serde_json::Value;

use super::{
    Checkpoint, Progress,
    engine::Engine,
    observer::{Epoch, Evaluated, Observer},
    warm_start::warm,
};
use crate::{
    backend::{Parameters, lists::Audience},
    config::Config,
    data::{Ids, Interactions, popularity::item_counts},
    device::Resolved,
    error::{Error, Result},
    eval::{Evaluator, Outcome},
    model::{Carved, Metadata, Model, Ranking},
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
    engine: Engine<'a>,
    device: Resolved,
    popularity: Vec<u32>,
    carved: Option<Carved>,
    progress: Progress,
    best: Option<Arc<Model>>,
}

/// Seconds of steps after which the observer is asked again.
const PIECE_SECONDS: f64 = 0.5;

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
    /// The best evaluation.
    pub best: Evaluated,
}

/// How long the parts of a training take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rehearsal {
    /// Seconds for the steps of an epoch.
    pub epoch_seconds: f64,
    /// Seconds for an evaluation.
    pub evaluation_seconds: f64,
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
        config.check()?;
        if data.count(config.select) == 0 {
            return Err(Error::data(
                format!("the data has no {0} split to choose the epoch on", config.select),
                "make one with `macr split`, or choose another with --select",
            ));
        }
        Ok(Trainer {
            engine: Engine::new(device, data, &config)?,
            device: device.clone(),
            popularity: item_counts(data),
            data,
            config,
            carved: None,
            progress: Progress::default(),
            best: None,
        })
    }

    /// Has the model say where the data's validation split came from.
    pub fn carved(mut self, carved: Option<Carved>) -> Self {
        self.carved = carved;
        self
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.engine.steps_per_epoch()
    }

    /// The configuration, as resolved.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Continues from `checkpoint`. On the device that took it, the training gives the same bits as one that was never
    /// put down.
    ///
    /// # Errors
    /// [`Error::Data`] if it is of other data, or of settings that would have changed what is done.
    pub fn resume(mut self, checkpoint: &Checkpoint) -> Result<Self> {
        checkpoint.admits(&self.config)?;
        let data = self.data.checksum();
        if checkpoint.data != data {
            return Err(Error::data(
                format!(
                    "the run was trained on data with the checksum {}, and this has {data}",
                    checkpoint.data
                ),
                "give the data that it began with, or train a new run",
            ));
        }
        let Progress { epochs, steps, .. } = checkpoint.progress;
        let (in_epoch, step) = (self.steps_per_epoch(), checkpoint.state.step);
        if steps >= in_epoch
            || epochs.checked_mul(in_epoch).and_then(|all| all.checked_add(steps)) != Some(step)
        {
            return Err(Error::data(
                format!(
                    "the checkpoint says that it was taken after {step} steps, and after {epochs} epochs of {in_epoch} \
                     steps and {steps} more"
                ),
                "continue from another checkpoint, or train a new run",
            ));
        }
        self.engine.restore(&checkpoint.state)?;
        Ok(Trainer { progress: checkpoint.progress.clone(), best: checkpoint.best.clone(), ..self })
    }

    /// Starts from `model` where it is known: `rows` gives for each user and each item the model's row, if it has one.
    /// The others, and the optimiser, begin as usual. Branches are taken over where they have the same form.
    ///
    /// # Errors
    /// [`Error::Data`] if rows have another length, or `rows` names others than there are.
    pub fn warm_start(mut self, model: &Model, rows: [&[Option<u32>]; 2]) -> Result<Self> {
        let mut state = self.engine.state()?;
        warm(&mut state, model, self.config.backbone, rows)?;
        self.engine.restore(&state)?;
        Ok(self)
    }

    /// The training as it is now.
    ///
    /// # Errors
    /// [`Error::Diverged`] if its parameters are not finite; if the device fails.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        let state = self.engine.state()?;
        if state.not_finite().is_some() {
            let Progress { epochs, steps, .. } = self.progress;
            let epoch = epochs + u64::from(steps > 0);
            return Err(self.diverged(epoch, "a parameter became NaN or infinite".into()));
        }
        Ok(Checkpoint {
            progress: self.progress.clone(),
            config: self.config.clone(),
            data: self.data.checksum(),
            carved: self.carved.clone(),
            device: self.device.model(),
            notes: Value::Null,
            best: self.best.clone(),
            state,
        })
    }

    /// Trains until the epochs are done or patience runs out; returns the best model.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss or a parameter is no longer finite; [`Error::Interrupted`] when the observer
    /// stops it; whatever the observer returns.
    pub fn fit(mut self, observer: &mut dyn Observer) -> Result<(Model, Summary)> {
        let rankings = self.config.rankings();
        let device = self.device.clone();
        let evaluator = Evaluator::new(self.data, self.config.select)
            .ks(&[self.config.k])
            .rankings(&rankings)
            .device(&device);
        let audience = evaluator.audience()?;
        let Config { epochs, eval_every, patience, .. } = self.config;
        // What happens at the head of this loop follows from the progress alone, so that a training can be taken up
        // again at every one of its turns.
        let mut piece = 1;
        loop {
            if self.progress.evaluation_is_due(eval_every, epochs) {
                self.evaluate(&evaluator, &audience, observer)?;
            }
            let Progress { epochs: done, steps, stopping, .. } = self.progress;
            let finished = steps == 0 && (done >= epochs || stopping.should_stop(patience));
            let stopped = !finished && observer.stop();
            if observer.checkpoint_is_due(&self.progress, finished) || stopped {
                observer.checkpoint(self.checkpoint()?)?;
            }
            if finished {
                break;
            }
            if stopped {
                return Err(Error::Interrupted { epochs: done, steps, saved: None });
            }
            piece = self.advance(piece, observer)?;
        }
        let Progress { epochs: done, samples, train_seconds, eval_seconds, best, .. } = self.progress;
        drop(self.engine);
        let (Some(model), Some(evaluated)) = (self.best, best) else {
            return Err(Error::config("epochs", epochs, "no epoch was trained", "use at least 1"));
        };
        let summary = Summary {
            best_epoch: evaluated.epoch,
            epochs: done,
            samples,
            samples_per_second: samples as f64 / train_seconds.max(f64::MIN_POSITIVE),
            train_seconds,
            eval_seconds,
            best: evaluated,
        };
        Ok((Arc::unwrap_or_clone(model), summary))
    }

    /// Up to `piece` steps, to the end of the epoch at most. Returns how many to do next: as many as take about
    /// [`PIECE_SECONDS`].
    fn advance(&mut self, piece: u64, observer: &mut dyn Observer) -> Result<u64> {
        let start = Instant::now();
        let steps = self.steps_per_epoch();
        let Progress { epochs, steps: done, ref mut losses, .. } = self.progress;
        let now = piece.min(steps - done);
        self.engine.advance(now, losses)?;
        let seconds = start.elapsed().as_secs_f64();
        self.progress.steps += now;
        self.progress.seconds += seconds;
        if self.progress.steps == steps {
            let sums = std::mem::take(&mut self.progress.losses).map(|sum| sum / steps as f64);
            let epoch = Epoch {
                epoch: epochs + 1,
                loss: sums.iter().sum(),
                parts: self.engine.parts(&sums),
                samples: self.engine.samples(epochs * steps, steps),
                seconds: std::mem::take(&mut self.progress.seconds),
            };
            if !epoch.loss.is_finite() || !self.engine.is_finite()? {
                let what = match epoch.loss.is_finite() {
                    true => "a parameter became NaN or infinite".into(),
                    false => format!("the loss became {}", epoch.loss),
                };
                return Err(self.diverged(epoch.epoch, what));
            }
            let progress = &mut self.progress;
            (progress.epochs, progress.steps) = (epoch.epoch, 0);
            progress.samples = progress.samples.saturating_add(epoch.samples);
            progress.train_seconds += epoch.seconds;
            observer.epoch(&epoch)?;
        }
        Ok(if now == piece && seconds < PIECE_SECONDS / 2.0 { 2 * piece } else { piece })
    }

    fn evaluate(
        &mut self,
        evaluator: &Evaluator<'_>,
        audience: &Audience<'_>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        observer.evaluating()?;
        let start = Instant::now();
        let mut snapshot = self.engine.snapshot()?;
        snapshot.round()?;
        let results = match evaluator.evaluate_snapshot(audience, snapshot.as_ref(), &self.popularity) {
            Ok(evaluation) => evaluation.results,
            Err(error) => {
                // What is not finite is not ranked, but is no fault of the data.
                let parameters = snapshot.into_parameters()?;
                self.model(parameters, Ranking::default())?;
                return Err(error);
            }
        };
        // The first of equals: grids are written with the plain ranking first.
        let value = |outcome: &Outcome, metric| outcome.metrics.get(metric).unwrap_or(f64::NAN);
        let hit_rate = |outcome: &Outcome| value(outcome, "hit_rate");
        let chosen = results.iter().reduce(|a, b| if hit_rate(b) > hit_rate(a) { b } else { a });
        self.progress.evaluated = self.progress.epochs;
        let Some(chosen) = chosen else { return Ok(()) };
        let evaluated = Evaluated {
            epoch: self.progress.epochs,
            ranking: Ranking { c: chosen.c, tau: chosen.tau },
            hit_rate: hit_rate(chosen),
            recall: value(chosen, "recall"),
            ndcg: value(chosen, "ndcg"),
            best: self.progress.stopping.improves(hit_rate(chosen)),
            seconds: start.elapsed().as_secs_f64(),
        };
        self.progress.eval_seconds += evaluated.seconds;
        observer.evaluated(&evaluated)?;
        if evaluated.best {
            // Only now are the parameters copied from a GPU.
            let parameters = snapshot.into_parameters()?;
            let model = self.model(parameters, evaluated.ranking)?;
            observer.improved(&model)?;
            self.best = Some(Arc::new(model));
            self.progress.best = Some(evaluated);
        }
        Ok(())
    }

    /// Takes a few steps and one evaluation, and says how long they took; the training is used up.
    ///
    /// # Errors
    /// As [`Trainer::fit`].
    pub fn rehearse(mut self) -> Result<Rehearsal> {
        const MOST_STEPS: u64 = 64;
        const ENOUGH_SECONDS: f64 = 0.25;
        // The first step also touches memory for the first time.
        let losses = &mut self.progress.losses;
        self.engine.advance(1, losses)?;
        let mut steps = 4;
        let step_seconds = loop {
            let start = Instant::now();
            self.engine.advance(steps, losses)?;
            let seconds = start.elapsed().as_secs_f64();
            if steps >= MOST_STEPS || seconds >= ENOUGH_SECONDS {
                break seconds / steps as f64;
            }
            steps *= 4;
        };
        let start = Instant::now();
        let rankings = self.config.rankings();
        let evaluator =
            Evaluator::new(self.data, self.config.select).ks(&[self.config.k]).rankings(&rankings);
        let evaluator = evaluator.device(&self.device);
        let mut snapshot = self.engine.snapshot()?;
        snapshot.round()?;
        evaluator.evaluate_snapshot(&evaluator.audience()?, snapshot.as_ref(), &self.popularity)?;
        drop(snapshot);
        let evaluation_seconds = start.elapsed().as_secs_f64();
        Ok(Rehearsal { epoch_seconds: step_seconds * self.steps_per_epoch() as f64, evaluation_seconds })
    }

    /// Says where it is that `what` happened.
    fn diverged(&mut self, epoch: u64, what: String) -> Error {
        let state = match self.engine.state() {
            Ok(state) => state,
            Err(error) => return error,
        };
        let place = state.not_finite().map(|(table, row)| {
            let id = |ids: Ids<'_>| ids.get(row as u32).into_owned();
            match table {
                "users" => format!("row {row} of `users` (user `{}`)", id(self.data.user_ids())),
                "items" | "item_bias" => {
                    format!("row {row} of `{table}` (item `{}`)", id(self.data.item_ids()))
                }
                _ => format!("number {row} of `{table}`"),
            }
        });
        let Config { learning_rate, l2, storage, .. } = self.config;
        Error::Diverged { what, epoch, place, learning_rate, l2, storage }
    }

    /// A model of these parameters.
    fn model(&mut self, parameters: Parameters, ranking: Ranking) -> Result<Model> {
        let Parameters { mut users, mut items, user_branch, item_branch, mut ego, mut kept } = parameters;
        // What is ranked is what a file will hold.
        let storage = self.config.storage;
        let second = [&mut kept.second_user_embedding, &mut kept.second_item_embedding];
        let tables = [&mut users, &mut items].into_iter().chain(ego.iter_mut().flatten());
        for table in tables.chain(second.into_iter().flatten()) {
            storage.round(table);
            if let Some(&x) = table.iter().find(|x| !x.is_finite()) {
                return Err(self.diverged(self.progress.epochs, format!("a parameter became {x}")));
            }
        }
        // Where nothing is propagated they are the same.
        let branch_input = ego.as_ref().map_or_else(Default::default, |_| self.config.branch_input);
        Ok(Model {
            dim: self.config.dim,
            user_embedding: users,
            item_embedding: items,
            user_branch,
            item_branch,
            ego,
            kept,
            item_popularity: self.popularity.clone(),
            metadata: Metadata {
                backbone: self.config.backbone.to_string(),
                objective: self.config.objective.clone(),
                pairing: self.engine.pairing().map(|pairing| pairing.to_string()),
                branch_input,
                ranking,
                data: self.data.checksum(),
                carved: self.carved.clone(),
                storage,
                seed: self.config.seed,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        })
    }
}
