//! `macr inspect`: what a dataset looks like.

use std::path::PathBuf;

use comfy_table::Table;
use serde::Serialize;

use super::{
    memory,
    output::{Output, counted, grouped, table},
    system::Memory,
};
use crate::{
    data::profile::{Grouping, Profile, Quantiles, groupings},
    error::Result,
};

/// Show what a dataset looks like: sizes, density, popularity, and what may be wrong with it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Interaction file to look at.
    data: PathBuf,
    /// Also show popularity and activity groups.
    #[arg(long)]
    groups: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    profile: Profile,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Grouping>>,
}

/// Runs `macr inspect`.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let data = super::open_data(&args.data, output)?;
    if args.groups {
        Memory::now().admit("the grouping", memory::grouping(&data), "leave --groups out")?;
    }
    let profile = Profile::of(&data);
    let groups = args.groups.then(|| groupings(&data));
    if args.json {
        output.json(&Document { profile, groups });
        return Ok(());
    }
    output.result(splits(&profile));
    output.result(format_args!("\n{}", counts(&profile)));
    output.result(format_args!("\n{}", concentration(&profile)));
    for grouping in groups.iter().flatten() {
        output.result(format_args!("\n{}", group_table(grouping)));
    }
    output.result(format_args!("\nchecksum    {}", profile.checksum));
    output.result(format_args!("size        {}", counted(profile.file_bytes, "byte")));
    output.result(format_args!("provenance  {}", data.provenance()));
    for (n, splits) in [
        (profile.duplicates.train_test, "train and test"),
        (profile.duplicates.train_valid, "train and valid"),
        (profile.duplicates.valid_test, "valid and test"),
    ] {
        if n > 0 {
            output.remark(format_args!("warning: {} both in {splits}", counted(n, "pair")));
        }
    }
    Ok(())
}

fn percent(part: f64) -> String {
    format!("{:.3} %", 100.0 * part)
}

fn splits(profile: &Profile) -> Table {
    let header = ["split", "users", "items", "interactions", "density", "least per item", "most per item"];
    let per_split = profile.splits.iter().map(|s| {
        [
            s.split.to_string(),
            grouped(s.users),
            grouped(s.items),
            grouped(s.interactions),
            percent(s.density),
            grouped(s.least_per_item),
            grouped(s.most_per_item),
        ]
    });
    let all = [
        "all".to_owned(),
        grouped(profile.users),
        grouped(profile.items),
        grouped(profile.interactions),
        percent(profile.density),
        String::new(),
        String::new(),
    ];
    table(header, per_split.chain([all]))
}

fn counts(profile: &Profile) -> Table {
    let row = |name: &str, q: &Quantiles| {
        let [a, b, c, d, e, f, g] = [q.min, q.p25, q.p50, q.p75, q.p90, q.p99, q.max].map(grouped);
        [name.to_owned(), a, b, c, d, e, f, g]
    };
    table(
        ["training interactions", "min", "25 %", "50 %", "75 %", "90 %", "99 %", "max"],
        [row("of an item", &profile.popularity), row("of a user", &profile.activity)],
    )
}

fn concentration(profile: &Profile) -> Table {
    let rows = [
        ("Gini coefficient of popularity", format!("{:.3}", profile.popularity_gini)),
        ("share of the most popular fifth of the items", percent(profile.share_of_top_fifth)),
        ("items that cover 80 % of the interactions", grouped(profile.items_covering_80_percent as u64)),
        ("users without training interactions", grouped(profile.users_without_train)),
        ("items without training interactions", grouped(profile.items_without_train)),
        ("users only in valid or test", grouped(profile.users_only_held_out)),
        ("items only in valid or test", grouped(profile.items_only_held_out)),
        ("pairs both in train and test", grouped(profile.duplicates.train_test)),
        ("pairs both in train and valid", grouped(profile.duplicates.train_valid)),
        ("pairs both in valid and test", grouped(profile.duplicates.valid_test)),
    ];
    table(["train", "value"], rows.map(|(name, value)| [name.to_owned(), value]))
}

fn group_table(grouping: &Grouping) -> Table {
    let rows = grouping
        .groups
        .iter()
        .map(|g| [g.name.clone(), grouped(g.members), grouped(g.train), grouped(g.valid), grouped(g.test)]);
    table([grouping.by, "members", "train", "valid", "test"], rows)
}
