//! Checkpoints: a training put down in files, to be taken up again.
//!
//! A checkpoint is a manifest, `step-N.json`, and the files that it names with their sizes and checksums: the state
//! and, once there is one, the best model. The manifest is written last, and what has no manifest is no checkpoint.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::Progress;
use crate::{
    atomic_file::write_atomic,
    backend::{
        State,
        state::{Tensor, Values},
    },
    config::Config,
    error::{Error, Result},
    model::{Carved, Model},
    tensor_file::{Entry, header, in_order, words},
};

/// Name of the folder of checkpoints in a run folder.
pub const CHECKPOINTS: &str = "checkpoints";
/// Version of the format.
const FORMAT: u32 = 1;

/// All that the rest of a training depends on.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// How far it has come.
    pub progress: Progress,
    /// Its settings, as resolved.
    pub config: Config,
    /// Checksum of the data that it trains on, splits included.
    pub data: String,
    /// Where that data came from, if its validation split was taken from the train split for this training.
    pub carved: Option<Carved>,
    /// What computed it: the same device goes on with the same bits.
    pub device: String,
    /// What whoever runs the training wants to remember with it.
    pub notes: Value,
    /// The best model so far.
    pub best: Option<Arc<Model>>,
    /// Parameters and optimiser.
    pub state: State,
}

/// What a manifest holds.
#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    version: String,
    step: u64,
    progress: Progress,
    config: Config,
    data: String,
    carved: Option<Carved>,
    device: String,
    notes: Value,
    state: Listed,
    best: Option<Listed>,
}

/// A file as a manifest names it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Listed {
    name: String,
    bytes: u64,
    checksum: String,
}

impl Listed {
    fn new(name: String, bytes: &[u8]) -> Self {
        Listed { name, bytes: bytes.len() as u64, checksum: checksum(bytes) }
    }

    /// The file at `path`, which may be larger than memory is free.
    fn written(name: String, path: &Path) -> Result<Self> {
        let read = || -> io::Result<(u64, Xxh3Default)> {
            let (mut file, mut hash, mut bytes) = (File::open(path)?, Xxh3Default::new(), 0);
            let mut buffer = vec![0; 1 << 20];
            loop {
                let n = file.read(&mut buffer)?;
                if n == 0 {
                    return Ok((bytes, hash));
                }
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
        };
        let (bytes, hash) = read().map_err(Error::io("read", path))?;
        Ok(Listed { name, bytes, checksum: digits(hash.digest128()) })
    }

    fn read(&self, folder: &Path) -> Result<Vec<u8>> {
        let path = folder.join(&self.name);
        let bytes = fs::read(&path).map_err(Error::io("open", &path))?;
        if Listed::new(self.name.clone(), &bytes) == *self {
            return Ok(bytes);
        }
        Err(damaged(&path, "damaged: it is not the file that its manifest names"))
    }
}

fn checksum(bytes: &[u8]) -> String {
    digits(xxh3_128(bytes))
}

fn digits(hash: u128) -> String {
    format!("{hash:032x}")
}

fn damaged(path: &Path, problem: impl Into<String>) -> Error {
    Error::File {
        path: path.into(),
        problem: problem.into(),
        remedy: "delete the newest step-*.json to continue from the checkpoint before it, if there is one"
            .into(),
    }
}

/// How a manifest begins and ends; between are its checksum and what the checksum is of.
const BEGIN: &str = "{\"checksum\":\"";
const MIDDLE: &str = "\",\n\"checkpoint\": ";
const END: &str = "}\n";

fn manifest_name(step: u64) -> String {
    format!("step-{step:012}.json")
}

impl Checkpoint {
    /// Writes the checkpoint into `folder`. It exists when this returns, and not before.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let step = self.state.step;
        let name = format!("step-{step:012}.safetensors");
        let state = save_state(&self.state, &folder.join(&name))?;
        let state = Listed { name, ..state };
        let best = match (&self.best, &self.progress.best) {
            (Some(model), Some(evaluated)) => {
                // Several checkpoints have the same best model.
                let name = format!("best-{:06}.safetensors", evaluated.epoch);
                let path = folder.join(&name);
                if !path.exists() {
                    model.save(&path)?;
                }
                Some(Listed::written(name, &path)?)
            }
            _ => None,
        };
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            step,
            progress: self.progress.clone(),
            config: self.config.clone(),
            data: self.data.clone(),
            carved: self.carved.clone(),
            device: self.device.clone(),
            notes: self.notes.clone(),
            state,
            best,
        };
        let path = folder.join(manifest_name(step));
        let body =
            serde_json::to_string_pretty(&manifest).map_err(|e| Error::io("write", &path)(e.into()))?;
        let text = [BEGIN, &checksum(body.as_bytes()), MIDDLE, &body, END].concat();
        write_atomic(&path, |file| file.write_all(text.as_bytes()))
    }

    /// The last checkpoint in `folder`; `None` without one.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::File`] if it is damaged or of another version of the format.
    pub fn newest(folder: &Path) -> Result<Option<Self>> {
        let Some(path) = manifests(folder)?.pop() else { return Ok(None) };
        let Manifest { step, progress, config, data, carved, device, notes, state, best, .. } =
            manifest(&path)?;
        let state = load_state(step, &state.read(folder)?)
            .map_err(|problem| damaged(&folder.join(&state.name), problem))?;
        let best = match best {
            None => None,
            Some(listed) => {
                listed.read(folder)?;
                Some(Arc::new(Model::load(folder.join(&listed.name))?))
            }
        };
        Ok(Some(Checkpoint { progress, config, data, carved, device, notes, best, state }))
    }

    /// Refuses `config` where it would have changed what is already done: all but `epochs` and `patience` has to be as
    /// it was, and these must not be less than what was done.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting, its old and its new value.
    pub fn admits(&self, config: &Config) -> Result<()> {
        let table = |config| {
            toml::Table::try_from(config)
                .map_err(|e| Error::config("config", e, "it has no TOML form", "use ordinary values"))
        };
        let (old, new) = (table(&self.config)?, table(config)?);
        let Progress { epochs, steps, stopping, .. } = &self.progress;
        let begun = epochs + u64::from(*steps > 0);
        for (key, was) in &old {
            let Some(asked) = new.get(key).filter(|asked| *asked != was) else { continue };
            let problem = match key.as_str() {
                "epochs" if config.epochs >= begun => continue,
                "epochs" => format!("{begun} epochs are done or begun"),
                "patience" if config.patience == 0 || config.patience > stopping.longest() => continue,
                "patience" => format!("it has waited for {} evaluations", stopping.longest()),
                _ => "that is part of what is done".into(),
            };
            return Err(Error::data(
                format!("{key} = {}: the run was trained with {}, and {problem}", shown(asked), shown(was)),
                "leave this setting out, or train a new run",
            ));
        }
        Ok(())
    }
}

/// As it was given: TOML makes every number one of double precision.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::Float(x) => (*x as f32).to_string(),
        toml::Value::Array(values) => {
            format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Removes all checkpoints but the last `keep`, and the one that was taken at the best epoch.
///
/// # Errors
/// [`Error::Io`] if files cannot be read or removed.
pub fn prune(folder: &Path, keep: usize) -> Result<()> {
    let paths = manifests(folder)?;
    let old = paths.len().saturating_sub(keep);
    let best = match paths.last() {
        Some(last) if keep > 0 => manifest(last)?.progress.best.map(|best| best.epoch),
        _ => None,
    };
    let mut named = Vec::new();
    for (k, path) in paths.iter().enumerate() {
        let Manifest { progress, state, best: model, .. } = manifest(path)?;
        let at_best = progress.steps == 0 && Some(progress.epochs) == best;
        if k < old && !at_best {
            fs::remove_file(path).map_err(Error::io("remove", path))?;
        } else {
            named.extend([state.name].into_iter().chain(model.map(|model| model.name)));
        }
    }
    for path in files(folder, ".safetensors")? {
        if !named.iter().any(|name| path.ends_with(name)) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Manifests in the order of their steps.
fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    files(folder, ".json")
}

/// Files of a folder by the end of their name, in order, without unfinished ones.
fn files(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("read", folder))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io("read", folder))?.file_name();
        if name.to_str().is_some_and(|name| name.ends_with(end) && !name.starts_with('.')) {
            paths.push(folder.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}

fn manifest(path: &Path) -> Result<Manifest> {
    let text = fs::read(path).map_err(Error::io("open", path))?;
    let whole = || {
        let rest = text.strip_prefix(BEGIN.as_bytes())?;
        let (digits, rest) = rest.split_at_checked(32)?;
        let body = rest.strip_prefix(MIDDLE.as_bytes())?.strip_suffix(END.as_bytes())?;
        (digits == checksum(body).as_bytes()).then_some(body)
    };
    let body = whole().ok_or_else(|| damaged(path, "damaged: it does not match its checksum"))?;
    /// Read first, so that another version is said to be one.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
        version: String,
    }
    let unreadable = |e: serde_json::Error| damaged(path, format!("it cannot be read ({e})"));
    let Version { format, version } = serde_json::from_slice(body).map_err(unreadable)?;
    if format != FORMAT {
        let problem =
            format!("its format is {format}, as macr {version} writes it, and this program's is {FORMAT}");
        return Err(Error::File { path: path.into(), problem, remedy: "use that version".into() });
    }
    serde_json::from_slice(body).map_err(unreadable)
}

/// Returns what a manifest says of the file, without its name.
fn save_state(state: &State, path: &Path) -> Result<Listed> {
    let entries: Vec<Entry<'_>> = state
        .tensors
        .iter()
        .map(|Tensor { name, shape, values }| {
            let (dtype, bytes) = values.raw();
            Entry { name: name.clone(), dtype, shape: shape.clone(), bytes: bytes.into() }
        })
        .collect();
    let header = header(Map::from_iter([("step".into(), state.step.to_string().into())]), &entries);
    let mut hash = Xxh3Default::new();
    let parts = || [header.as_slice()].into_iter().chain(entries.iter().map(|entry| &*entry.bytes));
    parts().for_each(|bytes| hash.update(bytes));
    write_atomic(path, |file| parts().try_for_each(|bytes| file.write_all(bytes)))?;
    let bytes = parts().map(|bytes| bytes.len() as u64).sum();
    Ok(Listed { name: String::new(), bytes, checksum: digits(hash.digest128()) })
}

fn load_state(step: u64, bytes: &[u8]) -> Result<State, String> {
    let tensors = in_order(bytes)?.into_iter().map(|(name, view)| {
        let values = match view.dtype() {
            Dtype::F32 => Values::F32(words(view.data(), f32::from_le_bytes)),
            Dtype::U64 => Values::U64(words(view.data(), u64::from_le_bytes)),
            other => return Err(format!("tensor `{name}` has elements of type {other:?}")),
        };
        Ok(Tensor { name, shape: view.shape().to_vec(), values })
    });
    Ok(State { step, tensors: tensors.collect::<Result<_, _>>()? })
}
