//! `--warm-start`: which rows of another run's model a training starts from.

use std::path::Path;

use super::{output::Output, run_folder::Run};
use crate::{
    data::{Ids, Interactions},
    error::{Error, Result},
    train::Trainer,
};

/// Starts `trainer` from the model of the run at `path`, whose users and items are found by their external ids.
///
/// # Errors
/// As [`Run::open`]; [`Error::Data`] if the run has no ids, none of `data`'s, or rows of another length.
pub fn start<'a>(
    trainer: Trainer<'a>,
    path: &Path,
    data: &Interactions,
    output: &Output,
) -> Result<Trainer<'a>> {
    let run = Run::open(path)?;
    let Some(ids) = &run.ids else {
        return Err(Error::data(
            format!("{} has no ids.macr, which says who its rows are", path.display()),
            "name a run folder, which has one",
        ));
    };
    let rows = |own: Ids<'_>, known: Ids<'_>| -> Vec<Option<u32>> {
        let index = known.index();
        (0..own.len()).map(|k| index.get(&own.get(k))).collect()
    };
    let users = rows(data.user_ids(), ids.user_ids());
    let items = rows(data.item_ids(), ids.item_ids());
    let count = |rows: &[Option<u32>]| rows.iter().flatten().count();
    if count(&users) + count(&items) == 0 {
        return Err(Error::data(
            format!("{} knows none of the users and items of the data", path.display()),
            "start from a run on data with the same ids",
        ));
    }
    output.remark(format_args!(
        "starting from {}: it knows {} of {} users and {} of {} items; the others begin as usual",
        path.display(),
        count(&users),
        users.len(),
        count(&items),
        items.len()
    ));
    trainer.warm_start(&run.model, [&users, &items])
}
