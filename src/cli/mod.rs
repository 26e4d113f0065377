//! The command line: one file per subcommand, each using only the public library.

pub mod evaluate;
pub mod output;
pub mod recommend;

use clap::{Parser, Subcommand};

use crate::error::{Kind, Result};
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
pub struct Global {
    /// Say nothing on standard error but errors.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Threads to use [default: RAYON_NUM_THREADS, else all cores].
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Evaluate(evaluate::Args),
    Recommend(recommend::Args),
}

/// Parses the arguments, runs the subcommand and returns the exit code of the process:
/// 0 ok, 1 failed, 2 usage, 3 bad data or configuration, 4 device, 130 interrupted.
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // A closed pipe is no reason to fail.
            let _ = error.print();
            return code;
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
    if let Some(threads) = cli.global.threads {
        // Fails only if a pool exists already, which is not so this early.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
    match cli.command {
        Command::Evaluate(args) => evaluate::run(args, output),
        Command::Recommend(args) => recommend::run(args, output),
    }
}
