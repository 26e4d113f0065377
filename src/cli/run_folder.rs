//! A run folder as it is read by whoever uses its model.

use std::{fs, path::Path};

use super::{
    output::{Output, counted, grouped},
    run_writer,
    system::Memory,
};
use crate::{
    data::Interactions,
    error::{Error, Result},
    model::{MODEL_FILE, Model, load_ids},
};

/// A trained model with its external ids.
#[derive(Debug)]
pub struct Run {
    /// The model.
    pub model: Model,
    /// Its ids, where there are any beside it; an interaction file without interactions.
    pub ids: Option<Interactions>,
}

impl Run {
    /// Opens a run folder, or the model file in it.
    ///
    /// # Errors
    /// As [`Model::load`] and [`load_ids`]; [`Error::Data`] if the two do not belong together.
    pub fn open(path: &Path) -> Result<Self> {
        run_writer::look(path)?;
        // The file, and at least as much again for its numbers.
        let file = if path.is_dir() { path.join(MODEL_FILE) } else { path.into() };
        let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
        Memory::now().admit("the model", 2 * bytes, "stop what else runs on it")?;
        let (model, ids) = (Model::load(path)?, load_ids(path)?);
        if let Some(ids) = &ids {
            fits(&model, ids, "ids.macr of the run")?;
        }
        Ok(Run { model, ids })
    }

    /// Makes sure that `data` speaks of the model's users and items, and says so where it is not what the model was
    /// trained on.
    ///
    /// # Errors
    /// [`Error::Data`] if it has other users or items.
    pub fn check(&self, data: &Interactions, path: &Path, output: &Output) -> Result<()> {
        fits(&self.model, data, "data")?;
        let ids = self.ids.as_ref();
        if ids.is_none() {
            output.remark(
                "there is no ids.macr beside the model: its users and items are taken for the data's",
            );
        }
        let sides = ids.map(|own| {
            [("user", own.user_ids(), data.user_ids()), ("item", own.item_ids(), data.item_ids())]
        });
        for (side, own, other) in sides.into_iter().flatten().filter(|(_, own, other)| own != other) {
            if let Some(k) = (0..own.len()).find(|&k| own.get(k) != other.get(k)) {
                return Err(Error::data(
                    format!(
                        "{side} {k} is `{}` to the model and `{}` in {}",
                        own.get(k),
                        other.get(k),
                        path.display()
                    ),
                    "use data whose users and items are those that the model was trained on, in the same order",
                ));
            }
        }
        let metadata = &self.model.metadata;
        match &metadata.carved {
            _ if metadata.data == data.checksum() => {}
            Some(carved) if carved.from == data.checksum() => output.remark(format_args!(
                "{} is what the model was trained on, before {} of its training interactions were taken for \
                 validation (seed {}); they count as training interactions here",
                path.display(),
                carved.interactions,
                carved.seed
            )),
            _ => output.remark(format_args!(
                "{} is not the file that the model was trained on; its ids must mean the same users and items",
                path.display()
            )),
        }
        Ok(())
    }
}

fn fits(model: &Model, other: &Interactions, what: &str) -> Result<()> {
    if (other.users(), other.items()) == (model.users(), model.items()) {
        return Ok(());
    }
    Err(Error::data(
        format!(
            "the model has {} and {}, the {what} has {} and {}",
            counted(model.users(), "user"),
            counted(model.items(), "item"),
            grouped(other.users()),
            grouped(other.items())
        ),
        "use the data that the model was trained on",
    ))
}
