//! `macr train`: fits a model and writes a run folder.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::ArgAction;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;

use super::{output::Output, recipes};
use crate::{
    atomic_file::write_atomic,
    config::Config,
    data::{Split, split::carve_valid},
    error::{Error, Result},
    model::{MODEL_FILE, Model, save_ids},
    train::{Epoch, Evaluated, Observer, Summary, Trainer},
};

/// Train a model on the train split of DATA and write it to a run folder.
///
/// The resolved configuration, the metrics of every evaluation and the best model are in the run folder.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Interactions: a .macr file, or anything that `macr import` reads.
    data: PathBuf,
    /// Run folder to write [default: runs/SYSTEM-SEED].
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overwrite the run folder if it exists.
    #[arg(long)]
    force: bool,
    /// Settings of a system from the dataset's recipes: [DATASET/]NAME, as in adressa/macr_mf.
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Where to compute.
    #[arg(long, default_value = "auto", value_parser = ["auto", "cpu"])]
    device: String,
    /// Print a summary as JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Say what would be trained, with sizes, and stop.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Every setting that a recipe or a default can also give. Names are those of `config.toml`.
#[derive(Debug, Default, clap::Args, Serialize)]
#[command(next_help_heading = "Settings (default, then recipe, then flag)")]
struct Settings {
    /// Backbone: mf or lightgcn.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    backbone: Option<String>,
    /// LightGCN: number of layers.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<usize>,
    /// LightGCN: how the layers are computed, auto (the cheaper way), layers, or gram (the item-item product).
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    propagation: Option<String>,
    /// Objective: bce, bpr, macr.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    objective: Option<String>,
    /// MACR: pair match scores with gates over rows (equation 7) or all_pairs (the reference code).
    #[arg(long, value_parser = ["rows", "all_pairs"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pairing: Option<String>,
    /// MACR: weight of the item branch's loss.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    /// MACR: weight of the user branch's loss.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    beta: Option<f64>,
    /// MACR: form of the branches, linear (the reference code's) or mlp:H with H hidden units.
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// MACR: false removes the user branch.
    #[arg(long, action = ArgAction::Set, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    user_branch: Option<bool>,
    /// MACR: false removes the item branch.
    #[arg(long, action = ArgAction::Set, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    item_branch: Option<bool>,
    /// Counterfactual reference score, or several to choose from.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<Vec<f64>>,
    /// Strength of the popularity adjustment, or several to choose from.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    tau: Option<Vec<f64>>,
    /// Positives: user-uniform (the paper's) or interaction.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    sampler: Option<String>,
    /// Negatives: uniform (the paper's) or popularity:A.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    negatives: Option<String>,
    /// Embedding size.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    dim: Option<usize>,
    /// Rows of a batch.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<u32>,
    /// Adam's learning rate.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    learning_rate: Option<f64>,
    /// L2 coefficient.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    l2: Option<f64>,
    /// Most epochs to train.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    epochs: Option<u32>,
    /// Epochs from one evaluation to the next.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_every: Option<u32>,
    /// Evaluations without improvement before stopping; 0 never stops early.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    patience: Option<u32>,
    /// Split to choose the epoch, c and tau on; test is the paper's protocol.
    #[arg(long, value_parser = ["valid", "test"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    select: Option<String>,
    /// Length of the lists that decide the selection.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<usize>,
    /// Seed of initialisation and samples.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    /// log(sigma + 1e-10) as in the reference code.
    #[arg(long, action = ArgAction::SetTrue)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    eps_compat: bool,
    /// How Adam keeps up untouched rows: quadrature or replay (bitwise dense).
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    catch_up: Option<String>,
}

impl Settings {
    fn changes(&self) -> Result<toml::Table> {
        toml::Table::try_from(self)
            .map_err(|e| Error::config("config", e, "a value cannot be used", "see `macr train --help`"))
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever stands in the way of a finished run; [`Error::Interrupted`] after Ctrl-C, with the best model saved.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let data = super::open_data(&args.data, output)?;
    let mut config = Config::default();
    if let Some(name) = &args.recipe {
        let recipe = recipes::find(name, data.users(), data.items())?;
        output.remark(format_args!("recipe {}", recipe.name));
        config = config.with(recipe.settings)?;
    }
    config = config.with(args.settings.changes()?)?;
    let carved = if config.select == Split::Valid && data.count(Split::Valid) == 0 {
        let carved = carve_valid(&data, None, config.seed)?;
        output.remark(format_args!(
            "the data has no valid split: {} interactions were taken from train, item-uniformly (seed {}); --select test \
             chooses on the test split, as the paper does",
            carved.count(Split::Valid),
            config.seed
        ));
        Some(carved)
    } else {
        None
    };
    let data = carved.as_ref().unwrap_or(&data);

    let folder =
        args.out.clone().unwrap_or_else(|| format!("runs/{}-{}", config.system(), config.seed).into());
    let trainer = Trainer::new(data, config)?;
    let config = trainer.config().clone();
    let rows = f64::from(data.users()) + f64::from(data.items());
    output.remark(format_args!(
        "{} on the CPU ({} threads): {} users, {} items, {} interactions; {} epochs of {} steps, {:.1} MB of state; \
         choosing on {} by hit rate @{}",
        config.system(),
        rayon::current_num_threads(),
        data.users(),
        data.items(),
        data.count(Split::Train),
        config.epochs,
        trainer.steps_per_epoch(),
        rows * config.dim.next_multiple_of(16) as f64 * 12e-6,
        config.select,
        config.k,
    ));
    if args.dry_run {
        output.result(config.to_toml()?);
        return Ok(());
    }
    let mut run = Run::create(&folder, args.force, &config, output)?;
    save_ids(data, &folder)?;
    let (_, summary) = trainer.fit(&mut run)?;
    run.bar.finish_and_clear();
    report(&summary, &config, &folder, args.json, output);
    if summary.stopped {
        return Err(Error::Interrupted { saved: folder });
    }
    Ok(())
}

fn report(summary: &Summary, config: &Config, folder: &Path, as_json: bool, output: &Output) {
    let best = &summary.best;
    if as_json {
        let key = |metric: &str| format!("{metric}@{}", config.k);
        output.json(&json!({
            "run": folder.display().to_string(),
            "system": config.system(),
            "select": config.select,
            "best_epoch": summary.best_epoch,
            "epochs": summary.epochs,
            "samples": summary.samples,
            "samples_per_second": summary.samples_per_second,
            "train_seconds": summary.train_seconds,
            "eval_seconds": summary.eval_seconds,
            "c": best.ranking.c,
            "tau": best.ranking.tau,
            "metrics": {
                key("hit_rate"): best.hit_rate, key("recall"): best.recall, key("ndcg"): best.ndcg,
            },
        }));
        return;
    }
    output.result(format_args!(
        "{}: best epoch {} of {} on {}: hit rate {:.4}, recall {:.4}, ndcg {:.4} @{} (c {}, tau {})",
        config.system(),
        summary.best_epoch,
        summary.epochs,
        config.select,
        best.hit_rate,
        best.recall,
        best.ndcg,
        config.k,
        best.ranking.c,
        best.ranking.tau,
    ));
    output.result(format_args!(
        "trained {} samples in {:.1} s ({:.2} M samples/s), evaluated in {:.1} s; written to {}",
        summary.samples,
        summary.train_seconds,
        summary.samples_per_second / 1e6,
        summary.eval_seconds,
        folder.display(),
    ));
}

/// Writes the run folder as training goes on.
struct Run<'a> {
    folder: PathBuf,
    metrics: File,
    output: &'a Output,
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
    last_loss: f64,
}

impl<'a> Run<'a> {
    fn create(folder: &Path, force: bool, config: &Config, output: &'a Output) -> Result<Self> {
        if folder.join("config.toml").exists() && !force {
            return Err(Error::config(
                "out",
                folder.display(),
                "a run is there already",
                "choose another folder with --out, or pass --force to replace the run",
            ));
        }
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let path = folder.join("metrics.jsonl");
        let metrics = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        let text = config.to_toml()?;
        write_atomic(&folder.join("config.toml"), |w| w.write_all(text.as_bytes()))?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupted);
        // The first Ctrl-C ends the epoch and saves, the second ends the process. A handler can be set only once in a
        // process; where a caller has its own, that one stays.
        let _ = ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        });
        let bar = output.progress(config.epochs, "training");
        Ok(Run { folder: folder.into(), metrics, output, bar, interrupted, last_loss: f64::NAN })
    }

    fn log(&mut self, line: &impl Serialize) -> Result<()> {
        let path = self.folder.join("metrics.jsonl");
        let mut text = serde_json::to_string(line).map_err(|e| Error::Io {
            operation: "write",
            path: path.clone(),
            source: e.into(),
        })?;
        text.push('\n');
        self.metrics.write_all(text.as_bytes()).map_err(Error::io("write", path))
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
        self.log(epoch)
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
        self.log(e)
    }

    fn improved(&mut self, model: &Model) -> Result<()> {
        model.save(self.folder.join(MODEL_FILE))
    }

    fn stop(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}
