//! Data wherever a command takes it: an interaction file, or anything that can be imported with default options.
//!
//! What was imported once is kept in a cache folder under the checksum of its source, so that it is read once only.

use std::{
    env,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    Interactions, Split,
    import::{self, ImportOptions, Observer, Source},
    layout,
};
use crate::error::{Error, Result};

/// Opens an interaction file, or imports the file or folder at `path` with default options, through the cache.
///
/// # Errors
/// As [`Interactions::open`] and [`import::import`]; never because of the cache.
pub fn open(path: impl AsRef<Path>, observer: Observer<'_>) -> Result<Interactions> {
    open_in(&cache_folder(), path, observer)
}

/// As [`open`], with the cache in `cache`; the folder need not exist.
///
/// # Errors
/// As [`open`].
pub fn open_in(cache: &Path, path: impl AsRef<Path>, observer: Observer<'_>) -> Result<Interactions> {
    let path = path.as_ref();
    if is_interaction_file(path)? {
        return Interactions::open(path);
    }
    let sources = import::find(&[path])?;
    let cached = cache.join(format!("{}.macr", checksum(&sources)?));
    // A missing or damaged entry is made anew.
    if let Ok(data) = Interactions::open(&cached) {
        return Ok(data);
    }
    let (data, _) = import::import_sources(&sources, &ImportOptions::default(), observer)?;
    // A cache that cannot be written only costs time.
    if fs::create_dir_all(cache).is_ok() {
        let _ = data.save(&cached);
    }
    Ok(data)
}

/// The cache folder: `$MACR_CACHE`, else `$XDG_CACHE_HOME/macr`, else `~/.cache/macr`, else one for temporary files.
pub fn cache_folder() -> PathBuf {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("MACR_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("macr")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache").join("macr")))
        .unwrap_or_else(|| env::temp_dir().join("macr-cache"))
}

/// True for a file that begins as an interaction file, and for one that is called so: then its damage is reported.
fn is_interaction_file(path: &Path) -> Result<bool> {
    let metadata = fs::metadata(path).map_err(Error::io("open", path))?;
    // Reading from a pipe would take the bytes away.
    if !metadata.is_file() {
        return Ok(false);
    }
    let mut magic = [0; layout::MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    Ok(read.is_ok() && magic == layout::MAGIC || path.extension().is_some_and(|e| e == "macr"))
}

/// Identity of an import: its bytes, and what else decides its result.
fn checksum(sources: &[Source]) -> Result<String> {
    let mut identity = format!("importer {}", import::VERSION);
    for source in sources {
        // The name enters because formats may go by it and because it stands in the data's provenance.
        let name = source.path.file_name().unwrap_or_default().to_string_lossy();
        let split: Split = source.split;
        identity += &format!("\n{split} {name:?} {:032x}", import::checksum(&source.path)?);
    }
    Ok(format!("{:032x}", xxh3_128(identity.as_bytes())))
}
