//! `macr demo`: what debiasing buys, on a world whose causes are known.

use std::{fs, path::PathBuf};

use serde_json::json;

use super::output::{Output, counted, table};
use crate::{
    config::Config,
    data::{
        Interactions, InteractionsBuilder, Split,
        split::{self, Kind, Plan, Source},
        synth::{self, Spec},
    },
    error::{Error, Result},
    eval::{Evaluator, Outcome},
    model::{MODEL_FILE, Model, save_ids},
    objective::Pairing,
    train::{Epoch, Observer, Trainer},
};

/// Generate a small world with known causes, train MF and MACR on it, and show what debiasing buys.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the data and the models.
    #[arg(long, short, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// Seed of the world and of the trainings.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the table as JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// If the files cannot be written.
pub fn run(args: Args, output: &Output) -> Result<()> {
    fs::create_dir_all(&args.out).map_err(Error::io("create", &args.out))?;
    let spec = Spec { valid_per_item: 5, test_per_item: 5, seed: args.seed, ..Spec::default() };
    let (world, _) = synth::generate(&spec)?;
    let (debiased, plain) = worlds(&world, args.seed)?;
    debiased.save(args.out.join("debiased.macr"))?;
    plain.save(args.out.join("plain.macr"))?;
    output.remark(format_args!(
        "A generated world: {}, {}, {}. People choose by taste, and also by what is \
         popular.\nThe plain test holds out training interactions at random, so it rewards popularity. The debiased \
         test is drawn\nfrom taste alone, every item alike: what a recommender should be good at.",
        counted(debiased.users(), "user"),
        counted(debiased.items(), "item"),
        counted(debiased.count(Split::Train), "training interaction")
    ));

    let base = Config { epochs: 150, patience: 5, batch_size: 2048, seed: args.seed, ..Config::default() };
    let macr = Config {
        objective: "macr".into(),
        pairing: Pairing::Rows,
        c: (0..=12).map(|k| 5.0 * k as f32).collect(),
        ..base.clone()
    };
    let adjusted = Config { tau: (0..=8).map(|k| 0.5 * k as f32).collect(), ..base.clone() };
    let mut rows = Vec::new();
    for (folder, name, config) in [
        ("mf", "mf", base),
        ("mf_adjusted", "mf, tau chosen", adjusted),
        ("macr_mf", "macr_mf, c chosen", macr),
    ] {
        let bar = output.progress(config.epochs, name);
        let (model, _) = Trainer::new(&debiased, config)?.fit(&mut Bar(&bar))?;
        bar.finish_and_clear();
        let folder = args.out.join(folder);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        model.save(folder.join(MODEL_FILE))?;
        save_ids(&debiased, &folder)?;
        for (test, data) in [("plain", &plain), ("debiased", &debiased)] {
            rows.push((name, test, measure(&model, data)?));
        }
    }
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, test, outcome)| json!({"system": name, "test": test, "outcome": outcome}))
            .collect();
        output.json(&json!({"folder": args.out.display().to_string(), "results": rows}));
        return Ok(());
    }
    let header =
        ["system", "test", "hit rate @20", "recall", "ndcg", "coverage", "popularity of what is shown"];
    let cells = rows.iter().map(|(name, test, outcome)| {
        let value = |metric: &str| outcome.metrics.get(metric).unwrap_or(f64::NAN);
        let metric = |name: &str| format!("{:.4}", value(name));
        let popularity = format!("{:.0}", value("arp"));
        [
            (*name).to_owned(),
            (*test).to_owned(),
            metric("hit_rate"),
            metric("recall"),
            metric("ndcg"),
            metric("coverage"),
            popularity,
        ]
    });
    output.result(table(header, cells));
    let hit_rate = |system: &str| {
        let row = rows.iter().find(|(name, test, _)| *name == system && *test == "debiased");
        row.and_then(|(.., outcome)| outcome.metrics.get("hit_rate")).unwrap_or(f64::NAN)
    };
    output.result(format_args!(
        "On the debiased test the hit rate of MF is {:.3}; with a correction by popularity (tau) it is {:.3}, and that of \
         MACR is {:.3}.",
        hit_rate("mf"),
        hit_rate("mf, tau chosen"),
        hit_rate("macr_mf, c chosen"),
    ));
    output.result(format_args!(
        "Epoch, c and tau were chosen on a debiased validation split. Data and models: {}",
        args.out.display()
    ));
    Ok(())
}

/// The same training interactions with the world's own (debiased) validation and test splits, and with a plain test
/// split: a tenth of the world's training interactions, at random.
fn worlds(world: &Interactions, seed: u64) -> Result<(Interactions, Interactions)> {
    let builder = || InteractionsBuilder::new(world.users(), world.items());
    let train = builder().split(Split::Train, split::edges(world, Split::Train, |_| true)).build()?;
    let plan = Plan { kind: Kind::Random { test: 0.1, valid: 0.0 }, from: Source::Train, seed };
    let (plain, _) = split::split(&train, &plan)?;
    let debiased = builder()
        .split(Split::Train, split::edges(&plain, Split::Train, |_| true))
        .split(Split::Valid, split::edges(world, Split::Valid, |_| true))
        .split(Split::Test, split::edges(world, Split::Test, |_| true))
        .build()?;
    Ok((debiased, plain))
}

fn measure(model: &Model, data: &Interactions) -> Result<Outcome> {
    let evaluation = Evaluator::new(data, Split::Test).rankings(&[model.metadata.ranking]).evaluate(model)?;
    evaluation
        .results
        .into_iter()
        .next()
        .ok_or_else(|| Error::data("the evaluation is empty", "evaluate at least one ranking"))
}

struct Bar<'a>(&'a indicatif::ProgressBar);

impl Observer for Bar<'_> {
    fn epoch(&mut self, epoch: &Epoch) -> Result<()> {
        self.0.set_position(epoch.epoch);
        Ok(())
    }
}
