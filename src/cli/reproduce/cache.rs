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

/// The revision of the numerics, a part of every run's identity. To be raised whenever a training gives other bits than
/// before with the same settings, seed and data: runs from before are then done again. The test below fails until then.
pub const NUMERICS: u32 = 1;
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

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use xxhash_rust::xxh3::Xxh3;

    use super::*;
    use crate::{
        Config, Edges, InteractionsBuilder, Split, Trainer,
        backbone::Backbone,
        objective::{self, EXPOMF, Pairing},
        sampling::Negatives,
        storage::Storage,
    };

    /// The revision, and a checksum over what it gives.
    const KNOWN: (u32, &str) = (1, "f05db0916ccfcb07df6dc9250b3a4a52");

    #[test]
    fn other_bits_are_another_revision() {
        let pairs = (0..90u32).flat_map(|u| (0..3 + u % 7).map(move |k| (u, (u * 7 + k * k * (k + 3)) % 31)));
        let data = InteractionsBuilder::new(90, 31)
            .split(Split::Train, Edges::from_pairs(pairs))
            .split(Split::Test, Edges::from_pairs((0..90).map(|u| (u, u % 31))))
            .build()
            .unwrap();
        let small = Config { dim: 8, batch_size: 32, epochs: 2, eval_every: 2, k: 5, ..Config::default() };
        let small = Config { select: Split::Test, ..small };
        let mut configs = Vec::new();
        for backbone in [Backbone::Mf, Backbone::LightGcn] {
            for objective in objective::names().filter(|&o| o != EXPOMF || backbone == Backbone::Mf) {
                let negatives = match objective {
                    "dice" => Negatives::Margin { margin: 2, per_positive: 4 },
                    _ => Negatives::Uniform,
                };
                configs.push(Config { backbone, objective: objective.into(), negatives, ..small.clone() });
            }
        }
        let pairing = Pairing::AllPairs;
        configs.push(Config { objective: "macr".into(), pairing, ..small.clone() });
        configs.push(Config { negatives: Negatives::Popularity(0.5), ..small.clone() });
        configs.push(Config { storage: Storage::Bf16, ..small });
        let mut checksum = Xxh3::new();
        for config in configs {
            let (model, _) = Trainer::new(&data, config).unwrap().fit(&mut ()).unwrap();
            for x in model.user_embedding.iter().chain(&model.item_embedding) {
                checksum.update(&x.to_le_bytes());
            }
        }
        let checksum = format!("{:032x}", checksum.digest128());
        assert_eq!(
            (NUMERICS, checksum.as_str()),
            KNOWN,
            "trainings give other bits: raise NUMERICS, and KNOWN with it"
        );
    }
}
