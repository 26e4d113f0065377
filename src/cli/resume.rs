//! Checkpoints on the command line: when they are taken, what is noted in them, and how a run is continued.

use std::{
    fs,
    path::{Path, PathBuf, absolute},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    lock::Lock,
    output::Output,
    run_writer::{CONFIG_FILE, RunWriter},
};
use crate::{
    config::Config,
    device::{DeviceChoice, Resolved},
    error::{Error, Result},
    train::{Checkpoint, Progress, checkpoint::CHECKPOINTS},
};

/// When checkpoints are taken and how many are kept; what is not given is as in the run that is continued.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[command(next_help_heading = "Checkpoints")]
pub struct Cadence {
    /// Take a checkpoint every so many epochs, or later while checkpoints would take more than a twentieth of the time;
    /// 0 for none [default: 0].
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    /// Take a checkpoint every so many minutes, or later as above; 0 for none [default: 1].
    #[arg(long, value_name = "M")]
    checkpoint_minutes: Option<f64>,
    /// Checkpoints to keep beside that of the best epoch; 0 for none once the training is done [default: 1].
    #[arg(long, value_name = "K")]
    keep_checkpoints: Option<usize>,
}

/// What the command remembers in its checkpoints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notes {
    /// DATA, from the root.
    #[serde(with = "super::paths::exact")]
    pub data: PathBuf,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// The run that was started from, as it was named; for people.
    pub warm_start: Option<String>,
    /// Bytes of metrics written before.
    pub metrics: u64,
    every: u64,
    minutes: f64,
    /// Checkpoints kept.
    pub keep: usize,
}

impl Notes {
    /// For a training on `data`.
    ///
    /// # Errors
    /// [`Error::Config`] for a time that is none; [`Error::Io`] if the present folder is gone.
    pub fn new(data: &Path, device: &Resolved, before: Option<&Notes>, asked: Cadence) -> Result<Self> {
        let minutes = asked.checkpoint_minutes.unwrap_or(before.map_or(1.0, |notes| notes.minutes));
        if !(0.0..=1e9).contains(&minutes) {
            let problem = "it must be a number of minutes";
            return Err(Error::config("checkpoint-minutes", minutes, problem, "use 0 or more"));
        }
        Ok(Notes {
            data: absolute(data).map_err(Error::io("find", data))?,
            device: device.to_string(),
            warm_start: before.and_then(|notes| notes.warm_start.clone()),
            metrics: before.map_or(0, |notes| notes.metrics),
            every: asked.checkpoint_every.unwrap_or(before.map_or(0, |notes| notes.every)),
            minutes,
            keep: asked.keep_checkpoints.unwrap_or(before.map_or(1, |notes| notes.keep)),
        })
    }
}

impl Notes {
    /// What `config.toml` says: settings, and in a comment the run that was started from.
    ///
    /// # Errors
    /// As [`Config::to_toml`].
    pub fn settings(&self, config: &Config) -> Result<String> {
        let start = self.warm_start.as_ref().map(|run| format!("# started from {run:?}\n"));
        Ok(start.unwrap_or_default() + &config.to_toml()?)
    }
}

/// Says when the next checkpoint is due.
#[derive(Debug)]
pub struct Clock {
    every: u64,
    pause: Option<Duration>,
    /// When the last checkpoint was taken, or the training began.
    last: Instant,
    /// Epochs and steps at that time.
    at: (u64, u64),
    /// When the checkpoint that is being taken was found due.
    found: Instant,
    /// What the copying of the state took, the last time.
    copying: Duration,
}

/// Of the time of a training, its checkpoints take at most one part in so many.
const SHARE: u32 = 20;

impl Clock {
    /// From a training's beginning, or from the checkpoint at `progress`.
    pub fn new(notes: &Notes, progress: Option<&Progress>) -> Self {
        let now = Instant::now();
        Clock {
            every: notes.every,
            pause: (notes.minutes > 0.0).then(|| Duration::from_secs_f64(60.0 * notes.minutes)),
            last: now,
            at: progress.map_or((0, 0), |progress| (progress.epochs, progress.steps)),
            found: now,
            copying: Duration::ZERO,
        }
    }

    /// True if a checkpoint is due at `progress`, where the last one took `writing` to be written.
    pub fn is_due(&mut self, progress: &Progress, writing: Duration) -> bool {
        let every =
            self.every > 0 && progress.steps == 0 && progress.epochs >= self.at.0.saturating_add(self.every);
        let elapsed = self.last.elapsed();
        let due = every || self.pause.is_some_and(|pause| elapsed >= pause);
        self.found = Instant::now();
        due && self.is_new(progress) && elapsed >= SHARE * (self.copying + writing)
    }

    /// True unless there is a checkpoint of `progress`.
    pub fn is_new(&self, progress: &Progress) -> bool {
        self.at != (progress.epochs, progress.steps)
    }

    /// A checkpoint was taken.
    pub fn taken(&mut self, progress: &Progress) {
        (self.copying, self.last) = (self.found.elapsed(), Instant::now());
        self.at = (progress.epochs, progress.steps);
    }
}

/// A run that is continued.
#[derive(Debug)]
pub struct Resumed {
    /// The run folder.
    pub folder: PathBuf,
    /// Held while the run is continued.
    pub lock: Lock,
    /// Where it continues.
    pub checkpoint: Checkpoint,
    /// What the command noted.
    pub notes: Notes,
}

impl Resumed {
    /// The last checkpoint of the run in `folder`.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none, or another process writes the run; [`Error::File`] if it is damaged.
    pub fn open(folder: PathBuf) -> Result<Self> {
        let lock = RunWriter::take(&folder)?;
        let checkpoints = folder.join(CHECKPOINTS);
        let Some(checkpoint) = Checkpoint::newest(&checkpoints)? else {
            return Err(Error::data(
                format!("the run {} has no checkpoint", folder.display()),
                "train it again: --checkpoint-every and --checkpoint-minutes say when checkpoints are taken",
            ));
        };
        let notes = Notes::deserialize(&checkpoint.notes).map_err(|e| Error::File {
            path: checkpoints,
            problem: format!("the last checkpoint was not taken by this command ({e})"),
            remedy: "continue it with the program that took it".into(),
        })?;
        Ok(Resumed { folder, lock, checkpoint, notes })
    }

    /// The run's settings with what its `config.toml` and the command change of them.
    ///
    /// # Errors
    /// [`Error::Data`] and [`Error::Config`] for changes that cannot be made any more.
    pub fn config(&self, changes: toml::Table) -> Result<Config> {
        let mut config = self.checkpoint.config.clone();
        let path = self.folder.join(CONFIG_FILE);
        if path.exists() {
            let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            let wrong = |problem: String| Error::File {
                path: path.clone(),
                problem,
                remedy:
                    "put it back as the training wrote it, or delete it: the checkpoint has the settings too"
                        .into(),
            };
            let table = text.parse::<toml::Table>().map_err(|e| wrong(e.to_string().trim().to_owned()))?;
            config = config.with(table).map_err(|e| wrong(e.to_string()))?;
        }
        let config = config.with(changes)?;
        self.checkpoint.admits(&config)?;
        Ok(config)
    }

    /// The device to go on with: the one asked for, or the one before.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the one before has no name.
    pub fn device(&self, asked: Option<DeviceChoice>) -> Result<DeviceChoice> {
        asked.map_or_else(|| self.notes.device.parse(), Ok)
    }

    /// Says from where the run goes on, and whether its bits will be others.
    pub fn remark(&self, device: &Resolved, output: &Output) {
        let Progress { epochs, steps, .. } = self.checkpoint.progress;
        output.remark(format_args!("continuing after {epochs} epochs and {steps} steps"));
        let (before, now) = (&self.checkpoint.device, device.model());
        if *before != now {
            output.remark(format_args!(
                "until now the run was trained on {before}, and from here on {now}: numbers will differ in their last \
                 digits from those of a run that stayed where it was"
            ));
        }
    }
}
