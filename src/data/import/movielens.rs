//! The files of MovieLens: `ratings.dat` (1M, 10M) and `u.data` (100K). Newer ones are plain CSV.

use super::{Format, Grammar, Head, ImportOptions, columns::Columns};
use crate::error::Result;

/// `user::item::rating::time`.
pub(super) struct RatingsDat;

/// `user<tab>item<tab>rating<tab>time`.
pub(super) struct UData;

impl Format for RatingsDat {
    fn name(&self) -> &'static str {
        "movielens-dat"
    }

    fn description(&self) -> &'static str {
        "MovieLens ratings.dat: user::item::rating::time"
    }

    fn recognizes(&self, head: &Head<'_>) -> bool {
        has_four_fields(head, "::")
    }

    fn grammar(&self, _: &Head<'_>, options: &ImportOptions) -> Result<Grammar> {
        four_columns(b"::", options)
    }
}

impl Format for UData {
    fn name(&self) -> &'static str {
        "movielens-data"
    }

    fn description(&self) -> &'static str {
        "MovieLens u.data: user, item, rating, time, separated by tabs"
    }

    fn recognizes(&self, head: &Head<'_>) -> bool {
        has_four_fields(head, "\t")
    }

    fn grammar(&self, _: &Head<'_>, options: &ImportOptions) -> Result<Grammar> {
        four_columns(b"\t", options)
    }
}

/// True if the first line is `integer SEP integer SEP number SEP integer`.
fn has_four_fields(head: &Head<'_>, separator: &str) -> bool {
    let fields: Vec<&str> = head.first().1.split(separator).collect();
    let integer = |k: usize| fields[k].parse::<u64>().is_ok();
    fields.len() == 4 && integer(0) && integer(1) && fields[2].parse::<f32>().is_ok() && integer(3)
}

fn four_columns(separator: &[u8], options: &ImportOptions) -> Result<Grammar> {
    let names = ["user", "item", "rating", "timestamp"].map(String::from);
    let chosen = Columns { names: Some(&names), width: 4 }.choose(options, &[])?;
    Ok(Grammar::Rows(chosen.rows(separator, 4)))
}
