//! A run folder: written by a training, read by whoever uses its model.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tempfile::TempDir;

use super::output::Output;
use crate::{
    atomic_file::write_atomic,
    config::Config,
    data::Interactions,
    error::{Error, Result},
    model::{IDS_FILE, MODEL_FILE, Model, load_ids, save_ids},
};

const CONFIG_FILE: &str = "config.toml";
const METRICS_FILE: &str = "metrics.jsonl";

/// The files of a training as it goes on.
///
/// They stand in a temporary folder within the run folder until there is a model, and then appear together: a training
/// that fails before leaves nothing, and a run that is being replaced stays whole until it is.
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    /// Folders that were made for the run, the outermost first.
    created: Vec<PathBuf>,
    stage: Option<TempDir>,
    metrics: File,
    /// Bytes of `metrics` that are whole lines.
    logged: u64,
}

impl RunWriter {
    /// Refuses a folder that cannot become this run's.
    ///
    /// # Errors
    /// [`Error::Config`] if a run is there and `force` is not given, or the path is no folder.
    pub fn check(folder: &Path, force: bool) -> Result<()> {
        let refused =
            |problem: &str, remedy: &str| Err(Error::config("out", folder.display(), problem, remedy));
        if folder.exists() && !folder.is_dir() {
            return refused("this is a file", "name a folder for the run with --out");
        }
        if !force && [CONFIG_FILE, MODEL_FILE].iter().any(|file| folder.join(file).exists()) {
            return refused(
                "a run is there already",
                "choose another folder with --out, or pass --force to replace the run",
            );
        }
        Ok(())
    }

    /// Makes the folder, and in it what is known before the training.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn create(folder: &Path, config: &Config, data: &Interactions) -> Result<Self> {
        let missing = folder.ancestors().take_while(|a| !a.as_os_str().is_empty() && !a.exists());
        let mut created: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        created.reverse();
        let begin = || -> Result<(TempDir, File)> {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
            let stage = tempfile::Builder::new()
                .prefix(".macr-")
                .suffix(".tmp")
                .tempdir_in(folder)
                .map_err(Error::io("write", folder))?;
            let text = config.to_toml()?;
            write_atomic(&stage.path().join(CONFIG_FILE), |w| w.write_all(text.as_bytes()))?;
            save_ids(data, stage.path())?;
            let path = stage.path().join(METRICS_FILE);
            let metrics = File::create(&path).map_err(Error::io("create", &path))?;
            Ok((stage, metrics))
        };
        match begin() {
            Ok((stage, metrics)) => {
                Ok(RunWriter { folder: folder.into(), created, stage: Some(stage), metrics, logged: 0 })
            }
            Err(error) => {
                remove_empty(&created);
                Err(error)
            }
        }
    }

    /// Removes what is there before the first model, for whoever ends the process without dropping this.
    pub fn cleaner(&self) -> impl Fn() + Send + 'static {
        let stage = self.stage.as_ref().map(|stage| stage.path().to_owned());
        let created = self.created.clone();
        move || {
            let _ = stage.as_ref().map(fs::remove_dir_all);
            remove_empty(&created);
        }
    }

    /// Adds a line to the metrics.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; the lines before stay whole.
    pub fn log(&mut self, line: &impl Serialize) -> Result<()> {
        let path = || self.folder.join(METRICS_FILE);
        let mut text = serde_json::to_vec(line).map_err(|e| Error::io("write", path())(e.into()))?;
        text.push(b'\n');
        if let Err(error) = self.metrics.write_all(&text) {
            let _ = self.metrics.set_len(self.logged);
            return Err(Error::io("write", path())(error));
        }
        self.logged += text.len() as u64;
        Ok(())
    }

    /// Saves the best model so far; with the first one the run appears.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; the model before, if there is one, then stays.
    pub fn save(&mut self, model: &Model) -> Result<()> {
        let Some(stage) = &self.stage else {
            return model.save(self.folder.join(MODEL_FILE));
        };
        model.save(stage.path().join(MODEL_FILE))?;
        for name in [METRICS_FILE, CONFIG_FILE, IDS_FILE, MODEL_FILE] {
            let path = self.folder.join(name);
            fs::rename(stage.path().join(name), &path).map_err(Error::io("write", &path))?;
        }
        self.created.clear();
        self.stage = None;
        Ok(())
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        self.stage = None;
        remove_empty(&self.created);
    }
}

/// Removes folders, the innermost first, as far as nothing is in them.
fn remove_empty(folders: &[PathBuf]) {
    for folder in folders.iter().rev() {
        let _ = fs::remove_dir(folder);
    }
}

/// A trained model with its external ids.
#[derive(Debug)]
pub struct Run {
    /// The model.
    pub model: Model,
    /// Its ids, where the run has them; an interaction file without interactions.
    pub ids: Option<Interactions>,
}

impl Run {
    /// Opens a run folder, or a model file alone.
    ///
    /// # Errors
    /// As [`Model::load`] and [`load_ids`]; [`Error::Data`] if the two do not belong together.
    pub fn open(path: &Path) -> Result<Self> {
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
            "the model has {} users and {} items, the {what} has {} and {}",
            model.users(),
            model.items(),
            other.users(),
            other.items()
        ),
        "use the data that the model was trained on",
    ))
}
