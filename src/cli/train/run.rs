//! What a training shows and writes as it goes on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use indicatif::ProgressBar;
use serde_json::json;

use crate::{
    cli::{
        interrupt,
        output::Output,
        resume::{Clock, Notes},
        run_writer::RunWriter,
    },
    config::Config,
    error::Result,
    model::Model,
    train::{Checkpoint, Epoch, Evaluated, Observer, Progress},
};

/// Shows and writes what a training does as it goes on.
pub struct Run<'a> {
    /// The run's folder.
    pub writer: RunWriter,
    notes: Notes,
    clock: Clock,
    output: &'a Output,
    /// How far it is.
    pub bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
    last_loss: f64,
}

impl<'a> Run<'a> {
    /// A run of `config` that is yet to begin, or to go on.
    pub fn new(writer: RunWriter, notes: Notes, clock: Clock, config: &Config, output: &'a Output) -> Self {
        let interrupted = interrupt::flag();
        let bar = output.progress(config.epochs, "training");
        Run { writer, notes, clock, output, bar, interrupted, last_loss: f64::NAN }
    }
}

impl Observer for Run<'_> {
    fn epoch(&mut self, epoch: &Epoch) -> Result<()> {
        self.last_loss = epoch.loss;
        self.bar.set_position(epoch.epoch);
        self.bar.set_message(format!(
            "loss {:.4}, {:.2} M samples/s",
            epoch.loss,
            epoch.samples as f64 / epoch.seconds / 1e6
        ));
        self.writer.log(epoch)
    }

    /// The memory of a checkpoint and that of an evaluation are not needed at the same time.
    fn evaluating(&mut self) -> Result<()> {
        self.writer.finish_saving()
    }

    fn evaluated(&mut self, e: &Evaluated) -> Result<()> {
        if !self.output.is_terminal() {
            self.output.remark(format_args!(
                "epoch {}: loss {:.4}, hit rate {:.4}, recall {:.4}, ndcg {:.4} (c {}, tau {}){}",
                e.epoch,
                self.last_loss,
                e.hit_rate,
                e.recall,
                e.ndcg,
                e.ranking.c,
                e.ranking.tau,
                if e.best { " *" } else { "" },
            ));
        }
        self.writer.log(e)
    }

    fn improved(&mut self, model: &Model) -> Result<()> {
        self.writer.save(model)
    }

    fn checkpoint_is_due(&mut self, progress: &Progress, finished: bool) -> bool {
        match finished {
            true => self.notes.keep > 0 && self.clock.is_new(progress),
            false => self.writer.writing().is_some_and(|time| self.clock.is_due(progress, time)),
        }
    }

    fn checkpoint(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        self.clock.taken(&checkpoint.progress);
        self.notes.metrics = self.writer.logged();
        checkpoint.notes = json!(self.notes);
        self.writer.checkpoint(checkpoint)
    }

    fn stop(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}
