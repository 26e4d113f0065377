//! `macr evaluate`: the metrics of a trained model.

use std::path::PathBuf;

use clap::{
    ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use comfy_table::Table;

use super::{
    memory,
    output::{Output, counted, grouped, table},
    run_folder::Run,
    system::Memory,
};
use crate::{
    data::Split,
    device::Resolved,
    error::{Error, Result},
    eval::{
        Evaluation, Evaluator, GroupBy, GroupOutcome, Mask, Outcome,
        metric::{LIST_METRICS, USER_METRICS},
    },
    model::Ranking,
};

/// Evaluate a trained model by full ranking over all items.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder, or its model.safetensors.
    run: PathBuf,
    /// Interaction file with training items and the split to evaluate on.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Split to evaluate on.
    #[arg(long, value_parser = split(), default_value = "test")]
    split: Split,
    /// Cut-offs K, comma-separated.
    #[arg(long, short, value_name = "K,..", value_delimiter = ',', default_value = "20")]
    k: Vec<usize>,
    #[command(flatten)]
    rankings: Rankings,
    /// Also show how well items are found by their popularity: by counts of interactions, or by deciles.
    #[arg(long, value_enum, value_name = "BY", num_args = 0..=1, default_missing_value = "counts")]
    groups: Option<GroupBy>,
    /// When testing, leave validation items out of the lists too.
    #[arg(long)]
    mask_valid: bool,
    #[command(flatten)]
    placement: super::Placement,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
}

/// The splits that can be evaluated on.
fn split() -> impl TypedValueParser<Value = Split> {
    PossibleValuesParser::new(["valid", "test"]).try_map(|name| Split::from_str(&name, false))
}

#[derive(Debug, clap::Args)]
struct Rankings {
    /// Counterfactual reference scores to rank with [default: the model's own].
    #[arg(long, value_name = "C,..", value_delimiter = ',', allow_negative_numbers = true)]
    c: Vec<f32>,
    /// Popularity adjustments to rank with [default: the model's own].
    #[arg(long, value_name = "TAU,..", value_delimiter = ',', allow_negative_numbers = true)]
    tau: Vec<f32>,
}

impl Rankings {
    /// Every c with every tau.
    fn all(&self, own: Ranking) -> Vec<Ranking> {
        let or = |values: &[f32], own: f32| if values.is_empty() { vec![own] } else { values.to_vec() };
        let taus = or(&self.tau, own.tau);
        let with_c = |c: f32| taus.iter().map(move |&tau| Ranking { c, tau }).collect::<Vec<_>>();
        or(&self.c, own.c).into_iter().flat_map(with_c).collect()
    }
}

/// Runs the subcommand.
///
/// # Errors
/// If model or data cannot be read, do not fit, or cannot be evaluated as asked.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let run = Run::open(&args.run)?;
    let data = super::open_data(&args.data, output)?;
    run.check(&data, &args.data, output)?;
    if data.count(args.split) == 0 {
        return Err(Error::data(
            format!("the data has no {} interactions", args.split),
            "hold some out with `macr split`, or choose another --split (a validation split that a training took for \
             itself is not in the file)",
        ));
    }
    let (model, device) = (&run.model, args.placement.device(output)?);
    let rankings = args.rankings.all(model.metadata.ranking);
    if matches!(device, Resolved::Cpu) {
        let threads = rayon::current_num_threads() as u64;
        let need = memory::evaluating(&data, args.split, model.dim, &rankings, &args.k, threads);
        Memory::now().admit(
            "the evaluation",
            need,
            "give shorter lists, fewer rankings or fewer --threads",
        )?;
    }
    let mut evaluator = Evaluator::new(&data, args.split)
        .device(&device)
        .ks(&args.k)
        .rankings(&rankings)
        .mask(if args.mask_valid { Mask::TrainAndValid } else { Mask::Train });
    if let Some(by) = args.groups {
        evaluator = evaluator.groups(by);
    }
    let evaluation = evaluator.evaluate(model)?;
    if args.json {
        output.json(&evaluation);
    } else {
        output.result(metric_table(&evaluation, &USER_METRICS.map(|metric| metric.name)));
        let exposure = LIST_METRICS.map(|metric| metric.name);
        output.result(format_args!("\n{}", metric_table(&evaluation, &exposure)));
        if args.groups.is_some() {
            output.result(format_args!("\n{}", group_table(&evaluation)));
        }
        let best =
            if evaluation.results.len() > args.k.len() { "; * marks the best ranking at each k" } else { "" };
        output.remark(format_args!("{}{best}", counted(evaluation.users, "user")));
        if model.item_branch.is_none() && rankings.iter().any(|ranking| ranking.c != 0.0) {
            output.remark("c has no effect: the model has no item branch");
        }
    }
    Ok(())
}

/// Columns that say which ranking is measured, and at which k.
const CASE: [&str; 3] = ["c", "tau", "k"];

/// The metrics of these names, under every ranking and at every k.
fn metric_table(evaluation: &Evaluation, names: &[&str]) -> Table {
    let header: Vec<&str> = CASE.iter().chain(names).copied().collect();
    let row = |outcome: &Outcome| -> Vec<String> {
        let value = |name: &&str| {
            let value = outcome.metrics.get(name).unwrap_or(f64::NAN);
            format!("{value:.4}{}", mark(evaluation, name, outcome.k, value))
        };
        case(outcome).into_iter().chain(names.iter().map(value)).collect()
    };
    table(header, evaluation.results.iter().map(row))
}

fn case(outcome: &Outcome) -> [String; 3] {
    [outcome.c.to_string(), outcome.tau.to_string(), outcome.k.to_string()]
}

/// What stands behind a metric of accuracy, of several rankings at `k`: an asterisk where it is highest.
fn mark(evaluation: &Evaluation, name: &str, k: usize, value: f64) -> &'static str {
    let rivals = || evaluation.results.iter().filter(|result| result.k == k);
    if rivals().count() < 2 || !USER_METRICS.iter().any(|metric| metric.name == name) {
        return "";
    }
    let is_best = rivals().all(|result| result.metrics.get(name).is_some_and(|other| other <= value));
    if is_best { "*" } else { " " }
}

fn group_table(evaluation: &Evaluation) -> Table {
    let header = CASE.into_iter().chain(["popularity", "items", "relevant", "recall", "lists per item"]);
    let rows = |outcome: &Outcome| -> Vec<Vec<String>> {
        let row = |group: &GroupOutcome| {
            let cells = [
                group.group.clone(),
                grouped(group.items),
                grouped(group.interactions),
                group.recall.map_or("-".into(), |recall| format!("{recall:.4}")),
                format!("{:.2}", group.frequency),
            ];
            case(outcome).into_iter().chain(cells).collect()
        };
        outcome.groups.iter().flatten().map(row).collect()
    };
    table(header.collect::<Vec<_>>(), evaluation.results.iter().flat_map(rows))
}
