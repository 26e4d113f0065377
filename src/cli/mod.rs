//! The command line: one file per subcommand, each using only the public library.

mod cgroup;
pub mod demo;
pub mod doctor;
pub mod effects;
pub mod evaluate;
pub mod help;
pub mod import;
pub mod inspect;
pub mod interrupt;
pub mod lock;
pub mod memory;
pub mod output;
pub mod paths;
pub mod plan;
pub mod recipes;
pub mod recommend;
pub mod report;
pub mod reproduce;
pub mod resume;
pub mod run_folder;
pub mod run_writer;
pub mod split;
pub mod synth;
pub mod system;
pub mod target;
pub mod train;
pub mod warm_start;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use std::{io::ErrorKind, path::Path};

use crate::{
    config::Config,
    data::{self, Interactions, import::ImportOptions, source, synth::Spec},
    device::{DeviceChoice, Resolved},
    error::{Error, Kind, Result},
    model::Model,
};
use output::Output;

/// Recommendation without popularity bias: train, evaluate and serve MACR, its backbones and its baselines.
#[derive(Debug, Parser)]
#[command(name = "macr", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every subcommand takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Say nothing on standard error but errors.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Threads to use, up to 1024 [default: RAYON_NUM_THREADS, else all cores].
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// The device of the commands that rank.
#[derive(Debug, clap::Args)]
struct Placement {
    /// Where to rank: auto (the first GPU, if there is one to use), cpu, cuda or cuda:N. Lists are the same.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: DeviceChoice,
}

impl Placement {
    fn device(&self, output: &Output) -> Result<Resolved> {
        let (device, line) = self.device.resolve()?;
        if !matches!(device, Resolved::Cpu) {
            output.remark(format_args!("ranking on {line}"));
        }
        Ok(device)
    }
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // parsed once
enum Command {
    Demo(demo::Args),
    Train(train::Args),
    Evaluate(evaluate::Args),
    Recommend(recommend::Args),
    Report(report::Args),
    Reproduce(reproduce::Args),
    Import(import::Args),
    Split(split::Args),
    Synth(synth::Args),
    Inspect(inspect::Args),
    Doctor(doctor::Args),
}

/// The command line; its help tells the defaults of settings that several places may give.
fn command() -> clap::Command {
    Cli::command()
        .mut_subcommand("train", |train| help::with_defaults(train, &Config::default()))
        .mut_subcommand("synth", |synth| help::with_defaults(synth, &Spec::default()))
}

/// Parses the arguments, runs the subcommand and returns the exit code of the process:
/// 0 ok, 1 failed, 2 usage, 3 bad data or configuration, 4 device, 130 interrupted.
pub fn main() -> u8 {
    let parsed = command().try_get_matches();
    let cli = match parsed.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) => cli,
        Err(error) => {
            return match (error.print(), error.use_stderr()) {
                (_, true) => 2,
                // A closed pipe is no reason to fail.
                (Err(e), _) if e.kind() != ErrorKind::BrokenPipe => 1,
                _ => 0,
            };
        }
    };
    let output = Output::new(cli.global.quiet);
    match run(cli, &output) {
        Ok(()) => 0,
        Err(error) => {
            output.error(&error);
            match error.kind() {
                Kind::Failed => 1,
                Kind::Input => 3,
                Kind::Device => 4,
                Kind::Interrupted => 130,
            }
        }
    }
}

fn run(cli: Cli, output: &Output) -> Result<()> {
    // 0 leaves the number to rayon. Started here: where they cannot be, rayon by itself would panic.
    let threads = cli.global.threads.unwrap_or(0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into());
    let asked = if threads == 0 { "all cores".into() } else { threads.to_string() };
    pool.spawn_handler(system::start_thread).build_global().map_err(system::not_started(asked))?;
    match cli.command {
        Command::Demo(args) => demo::run(args, output),
        Command::Train(args) => train::run(args, output),
        Command::Evaluate(args) => evaluate::run(args, output),
        Command::Recommend(args) => recommend::run(args, output),
        Command::Report(args) => report::run(args, output),
        Command::Reproduce(args) => reproduce::run(args, output),
        Command::Import(args) => import::run(args, output),
        Command::Split(args) => split::run(args, output),
        Command::Synth(args) => synth::run(args, output),
        Command::Inspect(args) => inspect::run(args, output),
        Command::Doctor(args) => doctor::run(args, output),
    }
}

/// Opens DATA for a subcommand: an interaction file, or anything importable, which is remarked upon as by `macr import`.
fn open_data(path: &Path, output: &Output) -> Result<Interactions> {
    if Model::is_at(path) {
        return Err(Error::File {
            path: path.into(),
            problem: "this is a model, not interaction data".into(),
            remedy: "name a .macr file, or anything that `macr import` reads".into(),
        });
    }
    let bar = output.progress(1, "reading");
    let opened = source::open(path, &|_| bar.tick());
    bar.finish_and_clear();
    let found = opened?;
    if !source::is_interaction_file(path)? {
        import::note(&data::import::remarks(&found, &ImportOptions::default()), output);
    }
    Ok(found)
}
