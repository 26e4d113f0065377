//! `macr evaluate`: the metrics of a trained model.

use std::path::PathBuf;

use clap::{
    ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::{
    memory,
    output::{Output, counted},
    run_folder::Run,
    system::Memory,
};
use crate::{
    data::Split,
    device::Resolved,
    error::Result,
    eval::{Evaluation, Evaluator, GroupBy, Mask, metric::USER_METRICS},
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
    /// Lengths of the lists.
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
        output.result(table(&evaluation));
        if args.groups.is_some() {
            output.result(group_table(&evaluation));
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

fn table(evaluation: &Evaluation) -> Table {
    let mut table = empty_table();
    let names = evaluation.results.iter().flat_map(|result| result.metrics.iter().map(|(name, _)| name));
    let columns = evaluation.results.first().map_or(0, |result| result.metrics.iter().count());
    table.set_header(["c", "tau", "k"].into_iter().chain(names.take(columns)));
    for result in &evaluation.results {
        let value = |(name, value): (&str, f64)| {
            let best = is_best(evaluation, name, result.k, value);
            format!("{value:.4}{}", if best { "*" } else { " " })
        };
        let ranking = [result.c.to_string(), result.tau.to_string(), result.k.to_string()];
        table.add_row(ranking.into_iter().chain(result.metrics.iter().map(value)));
    }
    right_align(&mut table);
    table
}

/// Whether a metric of accuracy is highest under this ranking, of several, at `k`.
fn is_best(evaluation: &Evaluation, name: &str, k: usize, value: f64) -> bool {
    let rivals = || evaluation.results.iter().filter(|result| result.k == k);
    USER_METRICS.iter().any(|metric| metric.name == name)
        && rivals().count() > 1
        && rivals().all(|result| result.metrics.get(name).is_some_and(|other| other <= value))
}

fn group_table(evaluation: &Evaluation) -> Table {
    let mut table = empty_table();
    table.set_header([
        "c",
        "tau",
        "k",
        "training interactions",
        "items",
        "relevant",
        "recall",
        "lists per item",
    ]);
    for result in &evaluation.results {
        for group in result.groups.iter().flatten() {
            table.add_row([
                result.c.to_string(),
                result.tau.to_string(),
                result.k.to_string(),
                group.group.clone(),
                group.items.to_string(),
                group.interactions.to_string(),
                group.recall.map_or("-".into(), |recall| format!("{recall:.4}")),
                format!("{:.2}", group.frequency),
            ]);
        }
    }
    right_align(&mut table);
    table
}

fn empty_table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table
}

fn right_align(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
