//! `macr reproduce`: the paper's tables and figures.

pub mod cache;
pub mod notes;
pub mod outputs;
pub mod plan;
pub mod pool;
pub mod targets;

use std::{fs, path::PathBuf};

use clap::ArgAction;
use serde_json::{Value, json};

use self::{
    cache::Found,
    outputs::Reporter,
    plan::{Dataset, Plan, Protocol, Request, Training},
    pool::Sharing,
    targets::Target,
};
use super::output::{Output, counted, table};
use crate::{
    device::DeviceChoice,
    error::{Error, Result},
    report::{Cell, Column, Table, files},
};

/// Make the paper's tables and figures, training what they need.
///
/// Finished runs are kept in the folder and used again; a command that was interrupted goes on where it was.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to make.
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Data: a dataset, or a folder with one in each of its folders; may be given several times.
    #[arg(long, value_name = "DIR|FILE", action = ArgAction::Append, default_value = "data")]
    data: Vec<PathBuf>,
    /// Number of seeds, from 0.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// How the epoch, c and tau are chosen.
    #[arg(long, value_enum, default_value_t = Protocol::Paper)]
    protocol: Protocol,
    /// Settings over those of the recipes, from a TOML file; captions name them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to compute: auto (the first GPU if it can, else the CPU), cpu, cuda or cuda:N.
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// Folder for runs, tables, figures and the page.
    #[arg(long, short, value_name = "DIR", default_value = "runs/reproduce")]
    out: PathBuf,
    /// Say what would be trained and how long it would take, and stop.
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// What stands in the way of the whole; the first error of a training, after everything else was made;
/// [`Error::Stopped`] after Ctrl-C, with what is finished kept.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let overrides = match &args.config {
        None => toml::Table::new(),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
            text.parse().map_err(|e: toml::de::Error| Error::File {
                path: path.clone(),
                problem: e.to_string().trim().to_owned(),
                remedy: "its keys are those of the config.toml that every run folder has".into(),
            })?
        }
    };
    crate::Config::default().with(overrides.clone())?;
    let datasets = Dataset::open_all(&args.data, output)?;
    // Open until the end: a GPU that nobody has open is started anew for each training.
    let (device, _) = args.device.resolve()?;
    let runs = args.out.join("runs");
    let request = Request {
        targets: &args.targets,
        protocol: args.protocol,
        seeds: args.seeds,
        overrides,
        device: args.device,
        runs: &runs,
    };
    let mut plan = Plan::new(request, datasets)?;
    for training in &plan.trainings {
        if let Found::Damaged(how) = &training.found {
            let (name, folder) = (training.name(&plan.datasets), training.folder.display());
            output.remark(format_args!("{name} is damaged and will be done again ({folder}: {how})"));
        }
    }
    plan.admit()?;
    // Each kind is timed with the threads that a run will have.
    let sharing = Sharing::of(&plan, &plan.needed(), &device)?;
    pool::with_threads(sharing.threads)?.install(|| plan.rehearse(output))?;
    if args.dry_run {
        print_plan(&plan, sharing, args.json, output);
        return Ok(());
    }
    fs::create_dir_all(&runs).map_err(Error::io("create", &runs))?;
    let failed = pool::train(&mut plan, &args.out, &device, output)?;

    output.remark("measuring the models, drawing the figures");
    let outputs = Reporter::new(&plan, &device)?.outputs()?;
    let costs = costs(&plan);
    let made = outputs.tables.iter().map(|(_, table)| table).chain([&costs]);
    let figures = outputs.figures.iter().map(|(_, figure)| figure);
    let page = Reporter::page(&plan, &outputs, &costs)?;
    let files = files::write(made, figures, &page, &args.out)?;
    if args.json {
        output.json(&json!({
            "folder": args.out.display().to_string(),
            "trainings": trainings(&plan),
            "missing": plan.missing,
            "tables": outputs.tables.iter().map(|(_, table)| table.json()).collect::<Vec<_>>(),
            "figures": outputs.figures.iter().map(|(_, figure)| figure.json()).collect::<Vec<_>>(),
            "files": files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
        }));
    } else {
        for (_, table) in &outputs.tables {
            output.result(table.markdown());
        }
        output.result(format_args!(
            "{}; begin with {}",
            counted(files.len() as u64, "file"),
            args.out.join("index.html").display()
        ));
    }
    failed.into_iter().next().map_or(Ok(()), Err)
}

fn state(training: &Training) -> &'static str {
    match (&training.found, training.cost) {
        (Found::Finished(_), None) => "kept",
        (Found::Finished(_), Some(_)) => "trained",
        (_, None) => "not possible",
        (Found::Damaged(_), Some(_)) => "damaged",
        (Found::Nothing, Some(_)) => "to do",
    }
}

fn trainings(plan: &Plan) -> Value {
    let entry = |training: &Training| {
        let [expected, most] = training.seconds();
        json!({
            "name": training.name(&plan.datasets),
            "run": training.folder.display().to_string(),
            "state": state(training),
            "expected_seconds": expected,
            "most_seconds": most,
            "result": training.record(),
        })
    };
    plan.trainings.iter().map(entry).collect()
}

fn print_plan(plan: &Plan, sharing: Sharing, as_json: bool, output: &Output) {
    let todo = plan.todo();
    let sum = |part: usize| -> f64 { todo.iter().map(|&k| plan.trainings[k].seconds()[part]).sum() };
    let (expected, most) = (sum(0), sum(1));
    let [expected_wall, most_wall] = sharing.wall_seconds(plan, &todo);
    let Sharing { jobs, threads, .. } = sharing;
    if as_json {
        output.json(&json!({
            "trainings": trainings(plan),
            "missing": plan.missing,
            "expected_seconds": expected,
            "most_seconds": most,
            "jobs": jobs,
            "threads": threads,
            "expected_wall_seconds": expected_wall,
            "most_wall_seconds": most_wall,
        }));
        return;
    }
    let time = |seconds: f64| match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    };
    let row = |training: &Training| {
        let [expected, most] = training.seconds();
        [training.name(&plan.datasets), state(training).to_owned(), time(expected), time(most)]
    };
    output.result(table(["training", "state", "expected", "at most"], plan.trainings.iter().map(row)));
    for missing in &plan.missing {
        let plan::Missing { dataset, system, reason } = missing;
        output.result(format_args!("not possible  {dataset}, {system}: {reason}"));
    }
    output.result(format_args!(
        "\n{} of {} to do, {jobs} at a time with {} each: about {}, at most {}; one after the other {}, at most {}\n\
         Expected: {} evaluations each. Each kind was timed alone; side by side runs slow each other down.",
        todo.len(),
        counted(plan.trainings.len() as u64, "training"),
        counted(threads as u64, "thread"),
        time(expected_wall),
        time(most_wall),
        time(expected),
        time(most),
        plan::TYPICAL_EVALUATIONS,
    ));
}

/// What each finished training took.
fn costs(plan: &Plan) -> Table {
    let columns = [
        ("training", 0),
        ("best epoch", 0),
        ("epochs", 0),
        ("seconds", 1),
        ("of it evaluating", 1),
        ("threads", 0),
    ];
    let mut columns: Vec<Column> = columns.into_iter().map(|(name, n)| Column::new(name, n)).collect();
    columns.push(Column::new("device", 0));
    let mut table = Table::new("trainings", "The trainings and what they cost", columns);
    let mut total = 0.0;
    for training in &plan.trainings {
        let Some(record) = training.record() else { continue };
        let seconds = |ms: u64| ms as f64 / 1000.0;
        total += seconds(record.train_ms + record.eval_ms);
        let numbers = [
            record.best_epoch as f64,
            record.epochs as f64,
            seconds(record.train_ms + record.eval_ms),
            seconds(record.eval_ms),
            record.threads as f64,
        ];
        let mut cells = vec![Cell::text(training.name(&plan.datasets))];
        cells.extend(numbers.map(|number| Cell::number(Some(number))));
        cells.push(Cell::text(&record.device));
        table.push(None, cells);
    }
    table.notes.push(format!(
        "Together {total:.0} s of training and evaluation, as the runs measured them; runs that go side by side share a \
         machine."
    ));
    table
}
