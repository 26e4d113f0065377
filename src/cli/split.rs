//! `macr split`: hold interactions out for validation and test.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{
    memory,
    output::{Output, counted, grouped},
    paths,
    system::Memory,
    target::Target,
};
use crate::{
    data::{
        Split,
        split::{self, Amount, Kind, Plan, Source},
    },
    error::{Error, Result},
};

/// Hold interactions out for validation and test.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Interaction file to split.
    data: PathBuf,
    /// Where to write the result.
    #[arg(long, short, value_name = "OUT.macr")]
    out: PathBuf,
    /// What is held out.
    #[arg(long, value_enum, default_value = "uniform-item")]
    kind: KindName,
    /// Which of the interactions are split.
    #[arg(long, value_enum, default_value = "all")]
    from: Source,
    /// Part of the interactions to hold out for test [default: 0.1, or 0 with --from train].
    #[arg(long, value_name = "PART", conflicts_with = "test_per_item")]
    test: Option<f64>,
    /// Part of the interactions to hold out for validation [default: 0.1].
    #[arg(long, value_name = "PART", conflicts_with = "valid_per_item")]
    valid: Option<f64>,
    /// Interactions of each item to hold out for test (uniform-item).
    #[arg(long, value_name = "K")]
    test_per_item: Option<u32>,
    /// Interactions of each item to hold out for validation (uniform-item).
    #[arg(long, value_name = "K")]
    valid_per_item: Option<u32>,
    /// Seed of the random choices.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Overwrite OUT.macr if it holds other data.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum KindName {
    /// Equally many of each item (the paper's debiased protocol).
    UniformItem,
    /// A uniformly random part.
    Random,
    /// The last interaction of each user for test, the one before for validation; any two where the data has no times.
    LeaveOneOut,
    /// The latest interactions of all.
    Temporal,
}

impl Args {
    fn plan(&self) -> Result<Plan> {
        let per_item = self.test_per_item.is_some() || self.valid_per_item.is_some();
        if per_item && self.kind != KindName::UniformItem {
            return Err(Error::config(
                "kind",
                self.kind.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()),
                "only uniform-item takes a number for each item",
                "give --test and --valid as parts, or leave --kind out",
            ));
        }
        if (self.test.is_some() || self.valid.is_some()) && self.kind == KindName::LeaveOneOut {
            return Err(Error::config(
                "kind",
                "leave-one-out",
                "it holds out one interaction of each user, not a part",
                "leave --test and --valid out",
            ));
        }
        let keeps_test = self.from == Source::Train;
        let test = self.test.unwrap_or(if keeps_test { 0.0 } else { 0.1 });
        let valid = self.valid.unwrap_or(0.1);
        // A number for one split leaves the other empty unless it is asked for.
        let amount = |k: Option<u32>, asked: Option<f64>, part| match (k, asked) {
            (Some(k), _) => Amount::PerItem(k),
            (None, None) if per_item => Amount::PerItem(0),
            _ => Amount::Fraction(part),
        };
        let kind = match self.kind {
            KindName::UniformItem => Kind::UniformItem {
                test: amount(self.test_per_item, self.test, test),
                valid: amount(self.valid_per_item, self.valid, valid),
            },
            KindName::Random => Kind::Random { test, valid },
            KindName::LeaveOneOut => Kind::LeaveOneOut { test: !keeps_test, valid: true },
            KindName::Temporal => Kind::Temporal { test, valid },
        };
        Ok(Plan { kind, from: self.from, seed: self.seed })
    }
}

/// Runs `macr split`.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let plan = args.plan()?;
    let target = Target::new(&args.out, args.force)?;
    let data = super::open_data(&args.data, output)?;
    Memory::now().admit("the split", memory::splitting(&data), "stop what else runs on it")?;
    if matches!(plan.kind, Kind::LeaveOneOut { .. }) && data.timestamps(Split::Train).is_none() {
        output.remark(format_args!(
            "the data has no times: which interaction of a user is held out is drawn at random (seed {})",
            plan.seed
        ));
    }
    let (result, report) = split::split(&data, &plan)?;
    target.save(&result)?;
    if args.json {
        output.json(&serde_json::json!({ "file": paths::shown(&args.out), "plan": plan, "report": report }));
        return Ok(());
    }
    output.result(format_args!(
        "{}: {} train, {} valid, {} test",
        args.out.display(),
        grouped(report.train),
        grouped(report.valid),
        grouped(report.test)
    ));
    output.result(format_args!("checksum {}", report.checksum));
    for (n, thing, what) in [
        (report.items_short_in_test, "item", "with fewer interactions to give to test than asked"),
        (report.items_short_in_valid, "item", "with fewer interactions to give to valid than asked"),
        (report.users_without_train, "user", "without training interactions"),
        (report.items_without_train, "item", "without training interactions"),
    ] {
        if n > 0 {
            output.remark(format_args!("{} {what}", counted(n, thing)));
        }
    }
    Ok(())
}
