//! `macr recommend`: top-N lists with external ids.

use std::{fmt::Write as _, fs, io::Write as _, path::PathBuf};

use serde_json::json;

use super::output::Output;
use crate::{
    atomic_file::write_atomic,
    data::{Ids, Interactions},
    error::{Error, Result},
    model::{IDS_FILE, Model, Ranking},
    recommend::Recommender,
};

/// Recommend the best items for users of RUN, by external ids, without what they have seen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder.
    run: PathBuf,
    /// Length of the lists.
    #[arg(long, short, default_value_t = 20)]
    k: usize,
    /// Users: ids separated by commas, or a file with one id a line [default: all].
    #[arg(long, value_name = "FILE|ID,ID")]
    users: Option<String>,
    /// Interactions whose items are left out of the lists.
    #[arg(long, value_name = "DATA", required_unless_present = "include_seen")]
    data: Option<PathBuf>,
    /// Recommend also what users have seen; needs no data.
    #[arg(long, conflicts_with = "data")]
    include_seen: bool,
    /// Pass over users that the run does not know.
    #[arg(long)]
    skip_unknown: bool,
    /// Counterfactual reference score [default: the run's].
    #[arg(long, allow_negative_numbers = true)]
    c: Option<f32>,
    /// Strength of the popularity adjustment [default: the run's].
    #[arg(long, allow_negative_numbers = true)]
    tau: Option<f32>,
    /// File to write [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// JSON instead of tab-separated values.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// If the run, the data or the users cannot be read or do not fit together.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let model = Model::load(&args.run)?;
    let ids = Interactions::open(args.run.join(IDS_FILE))?;
    let data = args.data.as_deref().map(|path| super::open_data(path, output)).transpose()?;
    let (user_ids, item_ids) = (ids.user_ids(), ids.item_ids());
    let users = wanted(&args, &user_ids, output)?;
    let own = model.metadata.ranking;
    let ranking = Ranking { c: args.c.unwrap_or(own.c), tau: args.tau.unwrap_or(own.tau) };
    for (key, value) in [("c", ranking.c), ("tau", ranking.tau)] {
        if !value.is_finite() {
            return Err(Error::config(key, value, "it is not a finite number", "use for example 30"));
        }
    }
    let mut recommender = Recommender::new(&model).ranking(ranking);
    if let Some(data) = &data {
        recommender = recommender.exclude_seen(data);
    }
    let lists = recommender.recommend(&users, args.k)?;

    let text = if args.json {
        let entries: Vec<_> = users
            .iter()
            .zip(&lists)
            .map(|(&user, list)| {
                let items: Vec<_> =
                    list.iter().map(|r| json!({"item": item_ids.get(r.item), "score": r.score})).collect();
                json!({"user": user_ids.get(user), "items": items})
            })
            .collect();
        format!("{:#}\n", json!({"c": ranking.c, "tau": ranking.tau, "users": entries}))
    } else {
        let mut text = String::from("user\trank\titem\tscore\n");
        for (&user, list) in users.iter().zip(&lists) {
            for (r, rank) in list.iter().zip(1u32..) {
                // Writing to a string cannot fail.
                let _ =
                    writeln!(text, "{}\t{rank}\t{}\t{}", user_ids.get(user), item_ids.get(r.item), r.score);
            }
        }
        text
    };
    match &args.out {
        Some(path) => {
            write_atomic(path, |w| w.write_all(text.as_bytes()))?;
            output.remark(format_args!("{} lists in {}", users.len(), path.display()));
        }
        None => output.result(text.trim_end()),
    }
    Ok(())
}

/// The users asked for, as internal ids.
fn wanted(args: &Args, ids: &Ids<'_>, output: &Output) -> Result<Vec<u32>> {
    let Some(text) = &args.users else { return Ok((0..ids.len()).collect()) };
    let from_file = fs::metadata(text).is_ok_and(|m| m.is_file());
    let names: Vec<String> = if from_file {
        let lines = fs::read_to_string(text).map_err(Error::io("read", text))?;
        lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    } else {
        text.split(',').map(|id| id.trim().to_owned()).collect()
    };
    let index = ids.index();
    let mut users = Vec::with_capacity(names.len());
    for name in &names {
        match index.get(name) {
            Some(user) => users.push(user),
            None if args.skip_unknown => {
                output.remark(format_args!("remark: user {name} is unknown to the run"))
            }
            None => {
                return Err(Error::data(
                    format!("the run knows no user `{name}`"),
                    "give ids as they were imported (or a file that exists), or pass --skip-unknown",
                ));
            }
        }
    }
    Ok(users)
}
