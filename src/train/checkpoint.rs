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
    model_file,
    tensor_file::{Contents, Entry, in_order, words},
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

    fn of(name: String, contents: &Contents<'_>) -> Self {
        Listed { name, bytes: contents.bytes(), checksum: digits(contents.checksum()) }
    }

    /// True if it is the file in `folder`, which may be larger than memory is free.
    fn is_in(&self, folder: &Path) -> bool {
        let read = || -> io::Result<(u64, Xxh3Default)> {
            let (mut file, mut hash, mut bytes) =
                (File::open(folder.join(&self.name))?, Xxh3Default::new(), 0);
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
        read().is_ok_and(|(bytes, hash)| bytes == self.bytes && digits(hash.digest128()) == self.checksum)
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
        let contents = state_file(&self.state);
        let state = Listed::of(format!("step-{step:012}.safetensors"), &contents);
        contents.write(&folder.join(&state.name))?;
        let best = match (&self.best, &self.progress.best) {
            (Some(model), Some(evaluated)) => {
                let contents = model_file::contents(model)?;
                let best = Listed::of(format!("best-{:06}.safetensors", evaluated.epoch), &contents);
                // Several checkpoints have the same best model. What a killed training left is another if it went on
                // from here on another device.
                if !best.is_in(folder) {
                    contents.write(&folder.join(&best.name))?;
                }
                Some(best)
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

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> u64 {
        let state: usize = self.state.tensors.iter().map(|tensor| tensor.values.raw().1.len()).sum();
        state as u64 + self.best.as_ref().map_or(0, |best| best.memory())
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
        let begun = epochs.saturating_add(u64::from(*steps > 0));
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

/// Removes all checkpoints but the last `keep`, and the one that was taken at the best epoch. Damaged ones that are to
/// go are no better than none; where one of the last cannot be read, all stays.
///
/// # Errors
/// [`Error::Io`] if files cannot be removed.
pub fn prune(folder: &Path, keep: usize) -> Result<()> {
    let paths = manifests(folder)?;
    let old = paths.len().saturating_sub(keep);
    let Ok(kept) = paths[old..].iter().map(|path| manifest(path)).collect::<Result<Vec<_>>>() else {
        return Ok(());
    };
    let best = kept.last().and_then(|last| last.progress.best.as_ref()).map(|best| best.epoch);
    let names =
        |Manifest { state, best, .. }: Manifest| [state.name].into_iter().chain(best.map(|model| model.name));
    let mut named: Vec<String> = kept.into_iter().flat_map(names).collect();
    for path in &paths[..old] {
        match manifest(path) {
            Ok(manifest) if manifest.progress.steps == 0 && Some(manifest.progress.epochs) == best => {
                named.extend(names(manifest));
            }
            Ok(_) | Err(Error::File { .. }) => fs::remove_file(path).map_err(Error::io("remove", path))?,
            Err(_) => return Ok(()),
        }
    }
    for path in files(folder, &["step-", "best-"], ".safetensors")? {
        if !named.iter().any(|name| path.ends_with(name)) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Manifests in the order of their steps.
fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    files(folder, &["step-"], ".json")
}

/// Files of a folder by the beginnings and the end of their names, in order.
fn files(folder: &Path, begin: &[&str], end: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("read", folder))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io("read", folder))?.file_name();
        let ours = |name: &str| name.ends_with(end) && begin.iter().any(|begin| name.starts_with(begin));
        if name.to_str().is_some_and(ours) {
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

fn state_file(state: &State) -> Contents<'_> {
    let entries = state
        .tensors
        .iter()
        .map(|Tensor { name, shape, values }| {
            let (dtype, bytes) = values.raw();
            Entry { name: name.clone(), dtype, shape: shape.clone(), bytes: bytes.into() }
        })
        .collect();
    Contents::new(Map::from_iter([("step".into(), state.step.to_string().into())]), entries)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Metadata, train::Evaluated};

    /// The checkpoint after `step` epochs of a step each, of which the first was the best.
    fn checkpoint(step: u64) -> Checkpoint {
        let best = Model {
            dim: 1,
            user_embedding: vec![0.5],
            item_embedding: vec![2.0],
            user_branch: None,
            item_branch: None,
            ego: None,
            kept: crate::model::Kept::default(),
            item_popularity: vec![1],
            metadata: Metadata {
                backbone: "mf".into(),
                objective: "bce".into(),
                pairing: None,
                branch_input: Default::default(),
                ranking: Default::default(),
                data: String::new(),
                carved: None,
                storage: Default::default(),
                seed: 0,
                version: String::new(),
            },
        };
        let evaluated = Evaluated {
            epoch: 1,
            ranking: crate::Ranking::default(),
            hit_rate: 1.0,
            recall: 1.0,
            ndcg: 1.0,
            best: true,
            seconds: 0.0,
        };
        Checkpoint {
            progress: Progress { epochs: step, best: Some(evaluated), ..Progress::default() },
            config: Config::default(),
            data: String::new(),
            carved: None,
            device: "cpu".into(),
            notes: Value::Null,
            best: Some(Arc::new(best)),
            state: State { step, tensors: Vec::new() },
        }
    }

    fn steps(folder: &Path) -> Vec<u64> {
        manifests(folder).unwrap().iter().filter_map(|path| Some(manifest(path).ok()?.step)).collect()
    }

    #[test]
    fn a_best_model_that_was_damaged_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        checkpoint(1).save(folder.path()).unwrap();
        let best = folder.path().join("best-000001.safetensors");
        let whole = fs::read(&best).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&best, changed).unwrap();
        assert!(Checkpoint::newest(folder.path()).is_err());
        checkpoint(2).save(folder.path()).unwrap();
        assert!(Checkpoint::newest(folder.path()).unwrap().is_some());
        assert_eq!(fs::read(best).unwrap(), whole);
    }

    #[test]
    fn the_last_ones_and_the_best_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        // What is no checkpoint is left alone.
        fs::write(folder.join("zz.json"), "{}").unwrap();
        fs::write(folder.join("notes.safetensors"), "").unwrap();
        (1..=5).for_each(|step| checkpoint(step).save(folder).unwrap());
        prune(folder, 2).unwrap();
        assert_eq!(steps(folder), [1, 4, 5]);
        assert_eq!(fs::read_dir(folder).unwrap().count(), 2 + 3 * 2 + 1);
        // One that is to go and cannot be read is no reason to end a training; one that is to stay is no reason to
        // remove what may be needed in its place.
        let damage = |step| fs::write(folder.join(manifest_name(step)), "damaged").unwrap();
        damage(4);
        prune(folder, 2).unwrap();
        assert_eq!(manifests(folder).unwrap().len(), 3);
        prune(folder, 1).unwrap();
        assert_eq!(steps(folder), [1, 5]);
        damage(1);
        prune(folder, 1).unwrap();
        assert_eq!(steps(folder), [5]);
        assert_eq!(fs::read_dir(folder).unwrap().count(), 2 + 2 + 1);
        assert_eq!(Checkpoint::newest(folder).unwrap().unwrap().state.step, 5);
    }
}
