//! `macr evaluate`: measures a run's model by full ranking.

use std::path::PathBuf;

use super::output::{Output, table};
use crate::{
    data::Split,
    error::{Error, Result},
    eval::{Evaluator, Outcome},
    model::{Model, Ranking},
};

/// Evaluate the model of RUN by full ranking; all K, all c and all tau come from one scoring pass.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder, or a model.safetensors file.
    run: PathBuf,
    /// Interactions: a .macr file, or anything that `macr import` reads.
    #[arg(long)]
    data: PathBuf,
    /// Split to evaluate on.
    #[arg(long, default_value = "test")]
    split: Split,
    /// Cut-offs, separated by commas.
    #[arg(long, short, value_delimiter = ',', default_value = "20")]
    k: Vec<usize>,
    /// Counterfactual reference scores [default: the run's].
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    c: Option<Vec<f32>>,
    /// Strengths of the popularity adjustment [default: the run's].
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    tau: Option<Vec<f32>>,
    /// When testing, leave validation items out of the lists too.
    #[arg(long)]
    mask_valid: bool,
    /// Print the results as JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// If run and data cannot be read or do not fit together.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let model = Model::load(&args.run)?;
    let data = super::open_data(&args.data, output)?;
    if data.checksum() != model.metadata.data {
        output.remark(format_args!(
            "remark: the model was trained on data with checksum {}, this has {}",
            model.metadata.data,
            data.checksum()
        ));
    }
    let own = model.metadata.ranking;
    let (cs, taus) = (args.c.unwrap_or_else(|| vec![own.c]), args.tau.unwrap_or_else(|| vec![own.tau]));
    for (key, values) in [("c", &cs), ("tau", &taus)] {
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::config(key, value, "it is not a finite number", "use for example 0,10,20"));
        }
    }
    let rankings: Vec<Ranking> =
        cs.iter().flat_map(|&c| taus.iter().map(move |&tau| Ranking { c, tau })).collect();
    let evaluation = Evaluator::new(&data, args.split)
        .ks(&args.k)
        .rankings(&rankings)
        .mask_valid(args.mask_valid)
        .evaluate(&model)?;
    if args.json {
        output.json(&evaluation);
        return Ok(());
    }
    let best = |k: usize| {
        let of_k = evaluation.results.iter().filter(|r| r.k == k);
        of_k.map(|r| r.accuracy.hit_rate).fold(0.0, f64::max)
    };
    let rows = evaluation.results.iter().map(|r| {
        let Outcome { ranking, k, accuracy: a, exposure: e } = r;
        let best = rankings.len() > 1 && a.hit_rate == best(*k);
        let metric = |x: f64| format!("{x:.4}");
        [
            if best { "best" } else { "" }.to_owned(),
            ranking.c.to_string(),
            ranking.tau.to_string(),
            k.to_string(),
            metric(a.hit_rate),
            metric(a.recall),
            metric(a.ndcg),
            metric(a.precision),
            metric(a.mrr),
            metric(a.map),
            metric(e.coverage),
            metric(e.gini),
            format!("{:.1}", e.popularity),
        ]
    });
    let header = [
        "",
        "c",
        "tau",
        "k",
        "hit rate",
        "recall",
        "ndcg",
        "precision",
        "mrr",
        "map",
        "coverage",
        "gini",
        "popularity",
    ];
    let table = table(header, rows);
    output.result(format_args!("{} users on {}", evaluation.users, args.split));
    output.result(table);
    Ok(())
}
