//! Finished runs: what is kept of them, and how they are recognised.

use std::{fs, io::Write, path::Path};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    atomic_file::write_atomic,
    cli::lock::Lock,
    error::{Error, Result},
    model::MODEL_FILE,
    train::checkpoint::CHECKPOINTS,
};

/// The part of the version within which a training gives the same result.
pub const ENGINE: &str = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
const RECORD_FILE: &str = "result.json";

/// What is known of a finished run beside its model. It is written last: a run without it is not finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Everything that decides the result, as a key.
    pub identity: String,
    /// XXH3-128 of the model's file.
    pub model: String,
    /// The epoch that was chosen.
    pub best_epoch: u64,
    /// Epochs trained.
    pub epochs: u64,
    /// Milliseconds in training steps.
    pub train_ms: u64,
    /// Milliseconds in evaluations.
    pub eval_ms: u64,
    /// Threads that it had.
    pub threads: usize,
    /// What it ran on.
    pub device: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    checksum: String,
    record: Record,
}

/// What is in the place of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A finished run, as it was written.
    Finished(Record),
    /// No run, or one that did not come to its end.
    Nothing,
    /// A run that is not as it was written, and how.
    Damaged(String),
}

fn checksum(record: &Record) -> Result<String> {
    let text = serde_json::to_vec(record).map_err(|e| Error::io("write", RECORD_FILE)(e.into()))?;
    Ok(format!("{:032x}", xxh3_128(&text)))
}

fn model_checksum(folder: &Path) -> Result<String> {
    let path = folder.join(MODEL_FILE);
    Ok(format!("{:032x}", xxh3_128(&fs::read(&path).map_err(Error::io("read", &path))?)))
}

/// Looks for the run of `identity` in `folder`.
pub fn look(folder: &Path, identity: &str) -> Found {
    let Ok(text) = fs::read(folder.join(RECORD_FILE)) else { return Found::Nothing };
    let file: File = match serde_json::from_slice(&text) {
        Ok(file) => file,
        Err(error) => return Found::Damaged(format!("{RECORD_FILE}: {error}")),
    };
    if checksum(&file.record).ok().as_ref() != Some(&file.checksum) || file.record.identity != identity {
        return Found::Damaged(format!("{RECORD_FILE} is not as it was written"));
    }
    match model_checksum(folder) {
        Ok(model) if model == file.record.model => {
            // Left by a process that was killed before it let go: taken, and let go.
            if Lock::path_in(folder).exists()
                && let Ok(_lock) = Lock::take(folder)
            {
                let _ = fs::remove_dir_all(folder.join(CHECKPOINTS));
            }
            Found::Finished(file.record)
        }
        Ok(_) => Found::Damaged(format!("{MODEL_FILE} is not as it was written")),
        Err(error) => Found::Damaged(error.to_string()),
    }
}

/// Removes the mark of a finished run, so that what is written over it does not count as finished.
///
/// # Errors
/// [`Error::Io`] if it cannot be removed.
pub fn reopen(folder: &Path) -> Result<()> {
    let path = folder.join(RECORD_FILE);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Marks the run in `folder` as finished; its model's checksum is filled in.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn finish(folder: &Path, record: Record) -> Result<Record> {
    let record = Record { model: model_checksum(folder)?, ..record };
    let file = File { checksum: checksum(&record)?, record };
    let path = folder.join(RECORD_FILE);
    let text = serde_json::to_vec_pretty(&file).map_err(|e| Error::io("write", &path)(e.into()))?;
    write_atomic(&path, |w| w.write_all(&text))?;
    Ok(file.record)
}
