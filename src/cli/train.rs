//! `macr train`: fits a model and writes a run folder.

mod run;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::ArgAction;
use serde::Serialize;
use serde_json::json;

use self::run::Run;
use super::{
    effects,
    help::Names,
    output::{Output, counted},
    paths,
    plan::Plan,
    recipes,
    resume::{Cadence, Clock, Notes, Resumed},
    run_writer::RunWriter,
    warm_start,
};
use crate::{
    backbone::{Backbone, Propagation},
    backend::expomf::ExposureConstant,
    config::Config,
    data::{Interactions, Split, split::carve_valid},
    device::DeviceChoice,
    error::{Error, Result},
    model::Carved,
    objective::{self, BranchInput, DiceLoss, EXPOMF, IpwScope, IpwVariant, Pairing, RegForm, RegNorm},
    optim::CatchUp,
    sampling::{SamplerKind, most_rows},
    storage::Storage,
    train::{Summary, Trainer},
};

/// Train a model on the train split of DATA and write it to a run folder.
///
/// The resolved configuration, the metrics of every evaluation and the best model are in the run folder.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Interactions: a .macr file, or anything that `macr import` reads. A run that is continued knows its data.
    #[arg(required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Run folder to write [default: runs/SYSTEM-SEED].
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue the run in this folder from its last checkpoint, bit for bit. Of its settings, --epochs and --patience
    /// may be changed.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["out", "force", "recipe", "config", "warm_start"])]
    resume: Option<PathBuf>,
    /// Start from the model of another run: users and items that it knows, by their external ids, begin with its
    /// embeddings. Its path is noted in config.toml.
    #[arg(long, value_name = "RUN")]
    warm_start: Option<PathBuf>,
    /// Overwrite the run folder if it exists.
    #[arg(long)]
    force: bool,
    /// Settings of a system from the dataset's recipes: [DATASET/]NAME, as in adressa/macr_mf.
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Settings from a TOML file, such as the config.toml of another run.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to compute: auto (the first GPU if it can, else the CPU), cpu, cuda or cuda:N [default: auto, or where the
    /// run that is continued was].
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// Say what would be trained, in how many steps and with how much memory, and stop.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cadence: Cadence,
    #[command(flatten)]
    settings: Settings,
}

/// Every setting that a recipe or a default can also give. Names are those of `config.toml`.
#[derive(Debug, Default, clap::Args, Serialize)]
#[command(next_help_heading = "Settings (default, then recipe, then --config, then flag)")]
struct Settings {
    /// Backbone.
    #[arg(long, value_parser = Names::new(Backbone::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    backbone: Option<String>,
    /// LightGCN: number of layers.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<usize>,
    /// LightGCN: how the layers are computed: the cheaper way, layer by layer, or through the item-item product.
    #[arg(long, value_parser = Names::new(Propagation::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    propagation: Option<String>,
    /// Objective.
    #[arg(long, value_parser = Names::new(objective::names()))]
    #[serde(skip_serializing_if = "Option::is_none")]
    objective: Option<String>,
    /// MACR: match scores meet the gates of their row (equation 7), or all of the batch (the reference code).
    #[arg(long, value_parser = Names::new(Pairing::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pairing: Option<String>,
    /// MACR: weight of the item branch's loss.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    /// MACR: weight of the user branch's loss.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    beta: Option<f64>,
    /// MACR: form of the branches, linear (the reference code's) or mlp:H with H hidden units.
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// MACR on LightGCN: the branches score the embeddings as propagated (the reference code's) or the parameters
    /// before propagation (ego).
    #[arg(long, value_name = "WHICH", value_parser = Names::new(BranchInput::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    branch_input: Option<String>,
    /// MACR: false removes the user branch.
    #[arg(long, action = ArgAction::Set, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    user_branch: Option<bool>,
    /// MACR: false removes the item branch.
    #[arg(long, action = ArgAction::Set, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    item_branch: Option<bool>,
    /// IPW: weights by inverse propensity (ips), clipped (c), normalised (cn) or smoothed (cnsr).
    #[arg(long, value_parser = Names::new(IpwVariant::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    ipw_variant: Option<String>,
    /// IPW: weight of a sample, that of the positive for both (pair), of the positive alone (positive), or each its
    /// own.
    #[arg(long, value_parser = Names::new(IpwScope::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    ipw_scope: Option<String>,
    /// IPW: scale the weights to a mean of 1 over drawn positives.
    #[arg(long, action = ArgAction::Set, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ipw_rescale: Option<bool>,
    /// IPW: exponent of the propensity.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    eta: Option<f64>,
    /// IPW: exponent of the smoothed weights.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    smoothing: Option<f64>,
    /// Reg: weight of the regulariser.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    mu: Option<f64>,
    /// Reg: popular and unpopular items together (cross), each set together (same), or L2 by popularity (decay).
    #[arg(long, value_parser = Names::new(RegForm::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    reg_form: Option<String>,
    /// Reg: the pairwise forms as a mean over pairs (pair_mean) or a sum over the catalogue (sum).
    #[arg(long, value_parser = Names::new(RegNorm::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    reg_norm: Option<String>,
    /// CausE: most that the probability of an interaction to be in the debiased set may be.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    treatment_cap: Option<f64>,
    /// CausE: strength of the tie between the two sets' vectors; DICE: of what pushes the halves apart.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    nu: Option<f64>,
    /// DICE: the main loss, on pairs of scores (its authors') or on each by itself (bce).
    #[arg(long, value_parser = Names::new(DiceLoss::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    dice_loss: Option<String>,
    /// DICE: weight of the interest loss.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lambda_int: Option<f64>,
    /// DICE: weight of the conformity loss.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lambda_pop: Option<f64>,
    /// ExpoMF: probability of exposure to every item that training begins with.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    exposure: Option<f64>,
    /// ExpoMF: constant of the exposures' density, exact or repo (the reference code's, pi times that).
    #[arg(long, value_parser = Names::new(ExposureConstant::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    exposure_constant: Option<String>,
    /// ExpoMF: first parameter of the Beta prior of an item's exposure.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    a0: Option<f64>,
    /// ExpoMF: second parameter of that prior.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    b0: Option<f64>,
    /// ExpoMF: precision of the users' embeddings.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lambda_theta: Option<f64>,
    /// ExpoMF: precision of the items' embeddings.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lambda_beta: Option<f64>,
    /// ExpoMF: precision of the observations.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lambda_y: Option<f64>,
    /// ExpoMF: standard deviation of the initial embeddings.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    init_std: Option<f64>,
    /// Counterfactual reference score, or several to choose from.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<Vec<f64>>,
    /// Strength of the popularity adjustment, or several to choose from.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    tau: Option<Vec<f64>>,
    /// Positives: an item of each of several users (the paper's), or a pass over the interactions.
    #[arg(long, value_parser = Names::new(SamplerKind::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    sampler: Option<String>,
    /// Negatives: uniform (the paper's), popularity:A, or margin:M:N (DICE's).
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    negatives: Option<String>,
    /// Embedding size.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    dim: Option<usize>,
    /// Form in which embeddings are kept, in memory and in the model.
    #[arg(long, value_name = "FORM", value_parser = Names::new(Storage::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<String>,
    /// Rows of a batch.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<u32>,
    /// Adam's learning rate.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    learning_rate: Option<f64>,
    /// Adam's decay of the first moment.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    adam_beta1: Option<f64>,
    /// Adam's decay of the second moment.
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    adam_beta2: Option<f64>,
    /// L2 coefficient.
    #[arg(long, allow_negative_numbers = true)]
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
    /// log(sigma + 1e-10) as in the reference code (1e-9 without MACR, as there); no effect on BPR, DICE and ExpoMF.
    #[arg(long, action = ArgAction::SetTrue)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    eps_compat: bool,
    /// How Adam keeps up untouched rows; replay is bitwise dense.
    #[arg(long, value_parser = Names::new(CatchUp::NAMES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    catch_up: Option<String>,
}

impl Settings {
    fn changes(&self) -> Result<toml::Table> {
        toml::Table::try_from(self)
            .map_err(|e| Error::config("config", e, "a value cannot be used", "see `macr train --help`"))
    }
}

/// What is trained on.
struct Prepared {
    data: Interactions,
    /// Where its validation split came from, if it was made here.
    carved: Option<Carved>,
    /// Size of the data before that, else 0.
    original_bytes: u64,
}

impl Prepared {
    /// Data with the split that `config` selects on, which is taken from train where `valid` is asked for and missing.
    fn new(original: Interactions, config: &Config, output: &Output) -> Result<Self> {
        let select = config.select;
        if original.count(select) > 0 {
            return Ok(Prepared { data: original, carved: None, original_bytes: 0 });
        }
        if select != Split::Valid || original.count(Split::Train) < 10 {
            return Err(Error::data(
                format!("the data has no {select} split to choose the epoch on"),
                "make one with `macr split`, or choose another with --select",
            ));
        }
        let data = carve_valid(&original, None, config.seed)?;
        let carved =
            Carved { from: original.checksum(), interactions: data.count(Split::Valid), seed: config.seed };
        output.remark(format_args!(
            "the data has no valid split, so one is taken from train: {}, item-uniformly (seed {}); --select test \
             chooses on the test split, as the paper does",
            counted(carved.interactions, "interaction"),
            carved.seed
        ));
        Ok(Prepared { data, carved: Some(carved), original_bytes: original.file_bytes() })
    }
}

/// Defaults, then the recipe, then the file, then the flags; and whether the file or a flag says the batch size.
fn resolve(args: &Args, data: &Interactions, output: &Output) -> Result<(Config, bool)> {
    let (mut config, changes) = (Config::default(), args.settings.changes()?);
    let mut has_batch = changes.contains_key(BATCH_SIZE);
    if let Some(name) = &args.recipe {
        let recipe = recipes::find(name, data.users(), data.items())?;
        let why = if recipe.guessed { ": the data has the size of none of the paper's datasets" } else { "" };
        output.remark(format_args!("recipe {}{why}", recipe.name));
        config = config.with(recipe.settings)?;
    }
    if let Some(path) = &args.config {
        let wrong = |problem: String| Error::File {
            path: path.clone(),
            problem,
            remedy: "its keys are those of the config.toml that every run folder has".into(),
        };
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let text = str::from_utf8(&bytes).map_err(|_| wrong("the file is not UTF-8 text".into()))?;
        let table = text.parse::<toml::Table>().map_err(|e| wrong(e.to_string().trim().to_owned()))?;
        has_batch |= table.contains_key(BATCH_SIZE);
        config = config.with(table).map_err(|e| wrong(e.to_string()))?;
    }
    Ok((config.with(changes)?, has_batch))
}

const BATCH_SIZE: &str = "batch_size";

/// Lowers a batch size that nobody asked for to what can be drawn from `data`.
fn fit_batch(config: &mut Config, data: &Interactions, output: &Output) {
    let most = most_rows(data, config.sampler, config.negatives);
    // Of no rows at all the sampler says why.
    if config.objective == EXPOMF || !(1..config.batch_size).contains(&most) {
        return;
    }
    output.remark(format_args!(
        "batches of {most} rows instead of {}: the {} sampler draws distinct users, and the data has no more; \
         --sampler {} has no such limit",
        config.batch_size,
        config.sampler,
        SamplerKind::Interaction
    ));
    config.batch_size = most;
}

/// Refuses lists longer than there are items.
fn check_k(config: &Config, data: &Interactions) -> Result<()> {
    if config.k > data.items() as usize {
        return Err(Error::config(
            "k",
            config.k,
            format!("the data has only {}", counted(data.items(), "item")),
            format!("choose a --k from 1 to {}", data.items()),
        ));
    }
    Ok(())
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever stands in the way of a finished run; [`Error::Interrupted`] after Ctrl-C, with a checkpoint saved.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let resumed = args.resume.clone().map(Resumed::open).transpose()?;
    let path = match (&args.data, &resumed) {
        (Some(path), _) => path,
        (None, Some(resumed)) => &resumed.notes.data,
        (None, None) => {
            return Err(Error::data("there is nothing to train on", "name the data, or a run to --resume"));
        }
    };
    let data = super::open_data(path, output)?;
    let (mut config, has_batch) = match &resumed {
        Some(resumed) => (resumed.config(args.settings.changes()?)?, true),
        None => resolve(&args, &data, output)?,
    };
    check_k(&config, &data)?;
    let folder = match &resumed {
        Some(resumed) => resumed.folder.clone(),
        None => {
            args.out.clone().unwrap_or_else(|| format!("runs/{}-{}", config.system(), config.seed).into())
        }
    };
    if !args.dry_run && resumed.is_none() {
        RunWriter::check(&folder, args.force)?;
    }
    let Prepared { data, carved, original_bytes } = Prepared::new(data, &config, output)?;
    if !has_batch {
        fit_batch(&mut config, &data, output);
    }
    let device = match &resumed {
        Some(resumed) => resumed.device(args.device)?,
        None => args.device.unwrap_or_default(),
    };
    let plan = Plan::new(&data, original_bytes, &config, &folder, device)?;
    if args.dry_run {
        return plan.print(args.json, output);
    }
    plan.admit(resumed.as_ref().map_or(0, |resumed| resumed.checkpoint.memory()))?;
    plan.remark(output);
    if resumed.is_none() {
        effects::remark(&config, &args.settings.changes()?, &data, output);
    }
    let mut notes = Notes::new(path, plan.device(), resumed.as_ref().map(|r| &r.notes), args.cadence)?;
    notes.warm_start = args.warm_start.as_deref().map(paths::shown).or(notes.warm_start);
    let mut trainer = Trainer::on(plan.device(), &data, config)?.carved(carved);
    if let Some(run) = &args.warm_start {
        trainer = warm_start::start(trainer, run, &data, output)?;
    }
    let config = trainer.config().clone();
    let progress = resumed.as_ref().map(|resumed| resumed.checkpoint.progress.clone());
    let clock = Clock::new(&notes, progress.as_ref());
    let writer = match resumed {
        None => RunWriter::create(&folder, notes.keep, &notes.settings(&config)?, &data)?,
        Some(resumed) => {
            resumed.remark(plan.device(), output);
            let Resumed { lock, checkpoint, .. } = resumed;
            trainer = trainer.resume(&checkpoint)?;
            let settings = notes.settings(&config)?;
            RunWriter::resume(&folder, lock, notes.keep, &settings, &checkpoint, notes.metrics)?
        }
    };
    let mut run = Run::new(writer, notes, clock, &config, output);
    let result = trainer.fit(&mut run);
    run.bar.finish_and_clear();
    match result {
        Ok((_, summary)) => {
            run.writer.finish()?;
            // Lets go of the folder: nobody may read the result to its end.
            drop(run);
            report(&summary, &config, &folder, args.json, output);
            Ok(())
        }
        Err(Error::Interrupted { epochs, steps, .. }) => {
            run.writer.finish_saving()?;
            Err(Error::Interrupted { epochs, steps, saved: Some(folder) })
        }
        Err(error) => Err(error),
    }
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
        "trained {} in {:.1} s ({:.2} M samples/s), evaluated in {:.1} s; written to {}",
        counted(summary.samples, "sample"),
        summary.train_seconds,
        summary.samples_per_second / 1e6,
        summary.eval_seconds,
        folder.display(),
    ));
}
