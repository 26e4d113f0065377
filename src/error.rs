//! The one error type of the crate.
//!
//! Every variant carries what a person needs to act: where, what was found, what to do. Each error belongs to a
//! [`Kind`], and the command line maps the kind to its exit code.

use std::{io, path::PathBuf};

use crate::{numerals::counted, storage::Storage};

/// What went wrong, in one enum; see [`Error::kind`] for the coarse classes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a path.
    #[error("cannot {operation} {}: {source}{}", path.display(), io_remedy(source))]
    Io {
        /// Verb that completes "cannot ...": `open`, `write`, `create`.
        operation: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The operating system's own error.
        source: io::Error,
    },
    /// A line of a text file does not have the form that its format asks for.
    #[error(
        "{}:{line}:{column}: expected {expected}, found {found}; correct the line, or pass --skip-bad-lines to leave such lines out",
        path.display()
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column (bytes), from 1.
        column: u64,
        /// What the format asks for at this place.
        expected: String,
        /// What stands there, shortened.
        found: String,
    },
    /// A binary file of this project is damaged, truncated, foreign or from another version.
    #[error("{}: {problem}; {remedy}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// The data is well formed but cannot be used for what was asked.
    #[error("{problem}; {remedy}")]
    Data {
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A setting has a value that cannot be used.
    #[error("{key} = {value}: {problem}; {remedy}")]
    Config {
        /// Name of the setting, as on the command line and in `config.toml`.
        key: &'static str,
        /// The offending value.
        value: String,
        /// Why it cannot be used.
        problem: String,
        /// What to use instead.
        remedy: String,
    },
    /// A name (recipe key, objective, metric, ...) that does not exist.
    #[error("unknown {what} `{name}`{}{}", nearest_hint(nearest), known_hint(known))]
    Unknown {
        /// What kind of name it is.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The closest name that exists, when one is close.
        nearest: Option<String>,
        /// All names that exist (may be empty when there are too many).
        known: Vec<String>,
    },
    /// The loss or a parameter became NaN or infinite.
    #[error(
        "{what} in epoch {epoch}{}{}: lower --learning-rate (now {learning_rate}) or raise --l2 (now {l2}); what was \
         saved before is kept",
        place_hint(place),
        range_hint(*storage)
    )]
    Diverged {
        /// What became what.
        what: String,
        /// Epoch (from 1) in which it was seen.
        epoch: u64,
        /// The first row of parameters that is not finite, if any.
        place: Option<String>,
        /// Learning rate in use.
        learning_rate: f32,
        /// L2 coefficient in use.
        l2: f32,
        /// The form of the parameters.
        storage: Storage,
    },
    /// The device asked for is not there, or failed.
    #[error("cannot {operation}: {message}; {remedy}")]
    Device {
        /// Verb that completes "cannot ...".
        operation: String,
        /// What is wrong, in the driver's words where it has some.
        message: String,
        /// What to do about it.
        remedy: String,
    },
    /// The device has too little memory.
    #[error(
        "the GPU has too little memory for {what}: {} are needed, {} are free; lower {lower}, or use --device cpu",
        mebibytes(*asked),
        mebibytes(*free)
    )]
    DeviceMemory {
        /// What the memory is for.
        what: &'static str,
        /// Bytes asked for.
        asked: u64,
        /// Bytes free.
        free: u64,
        /// The setting that lowers the need.
        lower: &'static str,
    },
    /// The machine has too little memory for what was asked.
    #[error(
        "{what} needs about {} of memory, and {} can be had{}; {remedy}, or use a machine with more",
        mebibytes(*asked),
        mebibytes(*available),
        limit_hint(*limit)
    )]
    Memory {
        /// What the memory is for.
        what: &'static str,
        /// Bytes that it needs.
        asked: u64,
        /// Bytes that can be had.
        available: u64,
        /// What sets the limit, if it is not what the machine has.
        limit: Option<&'static str>,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The user asked to stop a command of many trainings; the finished ones are kept, the others were put down.
    #[error("interrupted; what was finished is in {}, and the same command goes on from there", saved.display())]
    Stopped {
        /// The command's folder.
        saved: PathBuf,
    },
    /// The user asked to stop.
    #[error(
        "interrupted after {} and {}{}",
        counted(*epochs, "epoch"),
        counted(*steps, "step"),
        resume_hint(saved)
    )]
    Interrupted {
        /// Epochs done.
        epochs: u64,
        /// Steps done of the epoch after them.
        steps: u64,
        /// The run folder in which the training was saved.
        saved: Option<PathBuf>,
    },
}

/// Coarse class of an [`Error`]; decides the exit code of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The operation failed for a reason outside data and settings (exit code 1).
    Failed,
    /// Bad data or bad settings (exit code 3).
    Input,
    /// No device, or the device failed (exit code 4).
    Device,
    /// Stopped on request (exit code 130).
    Interrupted,
}

/// Result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Coarse class of this error.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Io { source, operation, .. } => match source.kind() {
                // A path that the user named and that is not there, or is no file or no text, is bad input.
                io::ErrorKind::NotFound
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::InvalidData
                    if matches!(*operation, "open" | "read") =>
                {
                    Kind::Input
                }
                _ => Kind::Failed,
            },
            Error::Parse { .. }
            | Error::File { .. }
            | Error::Data { .. }
            | Error::Config { .. }
            | Error::Unknown { .. } => Kind::Input,
            Error::Diverged { .. } | Error::Memory { .. } => Kind::Failed,
            Error::Device { .. } | Error::DeviceMemory { .. } => Kind::Device,
            Error::Interrupted { .. } | Error::Stopped { .. } => Kind::Interrupted,
        }
    }

    /// For `map_err`: wraps an I/O error with what was attempted on which path.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { operation, path, source }
    }

    /// A data error: what is wrong, and what to do about it.
    pub fn data(problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Data { problem: problem.into(), remedy: remedy.into() }
    }

    /// A setting's error: its name, its value, what is wrong, what to use instead.
    pub fn config(
        key: &'static str,
        value: impl ToString,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Error {
        Error::Config { key, value: value.to_string(), problem: problem.into(), remedy: remedy.into() }
    }

    /// An unknown name, with the nearest known one found by edit distance.
    pub fn unknown(
        what: &'static str,
        name: &str,
        known: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Error {
        let known: Vec<String> = known.into_iter().map(|k| k.as_ref().to_owned()).collect();
        let nearest = nearest(name, &known).cloned();
        Error::Unknown { what, name: name.to_owned(), nearest, known }
    }
}

/// The name in `known` that is closest to `name`, if one is close.
pub(crate) fn nearest<K: AsRef<str>>(name: &str, known: impl IntoIterator<Item = K>) -> Option<K> {
    let distance = |k: K| (strsim::damerau_levenshtein(k.as_ref(), name), k);
    let (distance, nearest) = known.into_iter().map(distance).min_by_key(|(distance, _)| *distance)?;
    (distance <= nearest.as_ref().len().max(name.len()).div_ceil(2)).then_some(nearest)
}

fn place_hint(place: &Option<String>) -> String {
    place.as_ref().map(|place| format!(", and {place} is not finite")).unwrap_or_default()
}

fn range_hint(storage: Storage) -> &'static str {
    match storage {
        Storage::F16 => " (f16 ends at 65504: --storage bf16 has the range of f32)",
        Storage::F32 | Storage::Bf16 => "",
    }
}

fn limit_hint(limit: Option<&'static str>) -> String {
    limit.map(|limit| format!(" ({limit})")).unwrap_or_default()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

fn io_remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; choose a place that you may read and write"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space or choose another disk (nothing that was complete is lost)"
        }
        io::ErrorKind::OutOfMemory => "; give it more memory, or less to do (--dim, --batch-size, --threads)",
        io::ErrorKind::NotADirectory => "; a part of the path is a file: check the path",
        _ => "",
    }
}

fn resume_hint(saved: &Option<PathBuf>) -> String {
    let hint = |run: &PathBuf| format!("; continue with `macr train --resume {}`", run.display());
    saved.as_ref().map(hint).unwrap_or_default()
}

fn nearest_hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default()
}

fn known_hint(known: &[String]) -> String {
    if known.is_empty() || known.len() > 40 {
        String::new()
    } else {
        format!(" (known: {})", known.join(", "))
    }
}
