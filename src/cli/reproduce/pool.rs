//! Trains what is missing, several runs side by side.
//!
//! A training gives the same bits at any number of threads and gains less than twofold from two, so each run gets as
//! few threads as keep all of them busy. On a GPU each has a stream of its own.

use std::{
    mem,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use serde_json::json;

use super::{
    cache::{self, Found, Record},
    plan::{Plan, Training},
};
use crate::{
    cli::{
        interrupt,
        output::Output,
        run_writer::RunWriter,
        system::{Memory, not_started, start_thread},
    },
    config::Config,
    device::Resolved,
    error::{Error, Result},
    model::Model,
    train::{self, Checkpoint, Epoch, Evaluated, Observer, Placement, Trainer, checkpoint::CHECKPOINTS},
};

/// Units of the progress bar in a second of expected work.
const TICKS: f64 = 1000.0;
/// Time from one checkpoint of a run to the next.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(60);
/// Most trainings at a time on a GPU: the streams of each, one while it trains, share its queues of work, of which there
/// are eight unless it is told otherwise (`CUDA_DEVICE_MAX_CONNECTIONS` in NVIDIA's CUDA programming guide).
const MOST_ON_GPU: usize = 8;
/// What a checkpoint notes: bytes of metrics written before.
const LOGGED: &str = "logged";

/// Trains what the plan has still to do. What fails is said and returned; what is finished is kept whatever happens.
///
/// # Errors
/// [`Error::Stopped`] after Ctrl-C; [`Error::Io`] if runs cannot be written.
pub fn train(plan: &mut Plan, out: &Path, device: &Resolved, output: &Output) -> Result<Vec<Error>> {
    let todo = plan.todo();
    if todo.is_empty() {
        return Ok(Vec::new());
    }
    let interrupted = interrupt::flag();
    let Sharing { jobs, threads: each, .. } = Sharing::of(plan, &todo, device)?;
    let threads = rayon::current_num_threads();
    output.remark(format_args!(
        "{} trainings, {jobs} at a time with {each} of {threads} threads each",
        todo.len(),
    ));
    let expected: f64 = todo.iter().map(|&k| plan.trainings[k].seconds()[0]).sum();
    let bar = output.progress((expected * TICKS) as u64, "training");
    let (next, done, crowded) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let shared: &Plan = plan;
    let work = |todo: &[usize], next: &AtomicUsize, threads: usize, alone: bool| {
        while let Some(&k) = todo.get(next.fetch_add(1, Ordering::SeqCst)) {
            if interrupted.load(Ordering::SeqCst) {
                return;
            }
            let training = &shared.trainings[k];
            let mut progress = Progress { bar: &bar, interrupted: &interrupted, ticks: Ticks::new(training) };
            let result = one(shared, training, threads, &mut progress);
            if !alone && matches!(result, Err(Error::DeviceMemory { .. })) {
                crowded.lock().unwrap_or_else(PoisonError::into_inner).push(k);
                continue;
            }
            progress.ticks.rest(&bar);
            let name = training.name(&shared.datasets);
            match &result {
                Ok(record) => bar.suspend(|| {
                    output.remark(format_args!(
                        "{name}: epoch {} of {}, {:.1} s",
                        record.best_epoch,
                        record.epochs,
                        (record.train_ms + record.eval_ms) as f64 / 1000.0
                    ));
                }),
                Err(Error::Interrupted { .. }) => {}
                Err(error) => bar.suspend(|| output.remark(format_args!("{name}: {error}"))),
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((k, result));
        }
    };
    let pools: Vec<rayon::ThreadPool> = (0..jobs)
        .map(|job| {
            // Threads that do not divide go to the first ones.
            with_threads(each + usize::from(job < threads % jobs))
        })
        .collect::<Result<_>>()?;
    thread::scope(|scope| {
        for pool in &pools {
            scope.spawn(|| pool.install(|| work(&todo, &next, pool.current_num_threads(), jobs == 1)));
        }
    });
    // What a GPU takes beside buffers, for code and recorded steps, is not known beforehand: a training that found too
    // little of its memory left by others has all of it now.
    let crowded = mem::take(&mut *crowded.lock().unwrap_or_else(PoisonError::into_inner));
    pools[0].install(|| work(&crowded, &AtomicUsize::new(0), pools[0].current_num_threads(), true));
    bar.finish_and_clear();
    let mut failed = Vec::new();
    for (k, result) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
        match result {
            Ok(record) => plan.trainings[k].found = Found::Finished(record),
            Err(Error::Interrupted { .. }) => {}
            Err(error) => {
                plan.failed(k, &error);
                failed.push(error);
            }
        }
    }
    if interrupted.load(Ordering::SeqCst) {
        return Err(Error::Stopped { saved: out.into() });
    }
    Ok(failed)
}

/// How trainings share the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// How many go side by side: as many as there are threads and memory for, also of a GPU.
    pub jobs: usize,
    /// Threads that each has at least.
    pub threads: usize,
    /// Whether they share a GPU: then it is not known that several together are faster than one after the other.
    pub on_gpu: bool,
}

impl Sharing {
    /// For those at the positions `trainings` of the plan; `device` is the one that the command was given.
    ///
    /// # Errors
    /// If the device fails, or memory runs out.
    pub fn of(plan: &Plan, trainings: &[usize], device: &Resolved) -> Result<Self> {
        let threads = rayon::current_num_threads();
        let [of_host, of_gpu] = plan.peak(trainings)?;
        let fitting = |available: u64, peak: u64| (available / peak.max(1)) as usize;
        let mut jobs = threads.min(trainings.len()).min(fitting(Memory::now().available, of_host));
        if let Some(free) = device.free_memory()? {
            jobs = jobs.min(MOST_ON_GPU).min(fitting(free, of_gpu));
        }
        let jobs = jobs.max(1);
        Ok(Sharing { jobs, threads: threads / jobs, on_gpu: of_gpu > 0 })
    }

    /// Seconds until the last of `todo` is done, expected and at most: whenever a job is free it takes the next. On a
    /// GPU as many as one after the other.
    pub fn wall_seconds(self, plan: &Plan, todo: &[usize]) -> [f64; 2] {
        [0, 1].map(|part| {
            let mut busy = vec![0.0; if self.on_gpu { 1 } else { self.jobs }];
            for &k in todo {
                if let Some(first) = busy.iter_mut().min_by(|a, b| f64::total_cmp(a, b)) {
                    *first += plan.trainings[k].seconds()[part];
                }
            }
            busy.into_iter().fold(0.0, f64::max)
        })
    }
}

/// A pool of `threads`.
///
/// # Errors
/// [`Error::Config`] if they cannot be started.
pub fn with_threads(threads: usize) -> Result<rayon::ThreadPool> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).spawn_handler(start_thread);
    pool.build().map_err(not_started(threads))
}

/// Trains one and marks it as finished.
fn one(plan: &Plan, training: &Training, threads: usize, progress: &mut Progress<'_>) -> Result<Record> {
    let (dataset, folder) = (&plan.datasets[training.dataset], &training.folder);
    let carved = dataset.carved(&training.config)?;
    let (data, carved) = match &carved {
        Some((data, carved)) => (data, Some(carved.clone())),
        None => (&dataset.data, None),
    };
    let lock = folder.is_dir().then(|| RunWriter::take(folder)).transpose()?;
    // Another command may have come first.
    if let Found::Finished(record) = cache::look(folder, &training.identity) {
        return Ok(record);
    }
    let placement = Placement::new(data, &training.config, training.device)?;
    let mut trainer = Trainer::on(&placement.device, data, training.config.clone())?.carved(carved);
    let settings = training.config.to_toml()?;
    let mut writer = match (lock, begun(folder, &training.config)) {
        (Some(lock), Some(checkpoint)) => {
            let logged = checkpoint.notes[LOGGED].as_u64().unwrap_or(0);
            trainer = trainer.resume(&checkpoint)?;
            RunWriter::resume(folder, lock, 0, &settings, &checkpoint, logged)?
        }
        (lock, _) => {
            drop(lock);
            RunWriter::create(folder, 0, &settings, data)?
        }
    };
    cache::reopen(folder)?;
    let mut watch = Watch { writer: &mut writer, progress, saved: Instant::now() };
    let (_, summary) = trainer.fit(&mut watch)?;
    writer.finish_saving()?;
    let ms = |seconds: f64| (seconds * 1000.0) as u64;
    let record = Record {
        identity: training.identity.clone(),
        model: String::new(),
        best_epoch: summary.best_epoch,
        epochs: summary.epochs,
        train_ms: ms(summary.train_seconds),
        eval_ms: ms(summary.eval_seconds),
        threads,
        device: placement.device.to_string(),
    };
    let record = cache::finish(folder, record)?;
    // Not before the run counts as finished: until then it goes on from them.
    writer.finish()?;
    Ok(record)
}

/// The last checkpoint of the same training in `folder`; none where there is none to go on from.
fn begun(folder: &Path, config: &Config) -> Option<Checkpoint> {
    let checkpoint = Checkpoint::newest(&folder.join(CHECKPOINTS)).ok()??;
    checkpoint.admits(config).ok()?;
    Some(checkpoint)
}

/// What a training adds to the bar: each epoch its part, and at its end what it did not need.
struct Ticks {
    epoch: u64,
    left: u64,
}

impl Ticks {
    fn new(training: &Training) -> Self {
        let [expected, most] = training.seconds();
        let epoch = (most * TICKS) as u64 / training.config.epochs.max(1);
        Ticks { epoch, left: (expected * TICKS) as u64 }
    }

    fn epoch(&mut self, bar: &ProgressBar) {
        let ticks = self.epoch.min(self.left);
        self.left -= ticks;
        bar.inc(ticks);
    }

    fn rest(&mut self, bar: &ProgressBar) {
        bar.inc(mem::take(&mut self.left));
    }
}

struct Progress<'a> {
    bar: &'a ProgressBar,
    interrupted: &'a AtomicBool,
    ticks: Ticks,
}

struct Watch<'a, 'b> {
    writer: &'a mut RunWriter,
    progress: &'a mut Progress<'b>,
    /// When the last checkpoint was taken.
    saved: Instant,
}

impl Observer for Watch<'_, '_> {
    fn epoch(&mut self, epoch: &Epoch) -> Result<()> {
        self.progress.ticks.epoch(self.progress.bar);
        self.writer.log(epoch)
    }

    fn evaluated(&mut self, evaluated: &Evaluated) -> Result<()> {
        self.writer.log(evaluated)
    }

    fn improved(&mut self, model: &Model) -> Result<()> {
        self.writer.save(model)
    }

    /// The memory of a checkpoint and that of an evaluation are not needed at the same time.
    fn evaluating(&mut self) -> Result<()> {
        self.writer.finish_saving()
    }

    fn checkpoint_is_due(&mut self, _: &train::Progress, finished: bool) -> bool {
        !finished && self.saved.elapsed() >= CHECKPOINT_PAUSE
    }

    fn checkpoint(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        checkpoint.notes = json!({ LOGGED: self.writer.logged() });
        self.saved = Instant::now();
        self.writer.checkpoint(checkpoint)
    }

    fn stop(&self) -> bool {
        self.progress.interrupted.load(Ordering::SeqCst)
    }
}
