//! Data wherever a command takes it: an interaction file, or anything that can be imported with default options.
//!
//! What was imported once is kept in a cache folder under the checksum of its source, so that it is read once only;
//! but not what came through a pipe.

use std::{
    env,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    Interactions,
    import::{self, ImportOptions, Observer, Opened},
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
    let opened = import::open(&import::find(&[path])?)?;
    // What comes through a pipe is not meant to stay.
    let cached =
        opened.iter().all(Opened::is_file).then(|| cache.join(format!("{}.macr", checksum(&opened))));
    // A missing or damaged entry is made anew.
    if let Some(Ok(data)) = cached.as_ref().map(Interactions::open) {
        return Ok(data);
    }
    let (data, _) = import::import_opened(opened, &ImportOptions::default(), observer)?;
    // A cache that cannot be written only costs time.
    if let Some(cached) = cached
        && fs::create_dir_all(cache).is_ok()
    {
        let _ = data.save(cached);
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
///
/// # Errors
/// [`Error::Io`] if there is nothing at `path`.
pub fn is_interaction_file(path: &Path) -> Result<bool> {
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
fn checksum(sources: &[Opened]) -> String {
    let mut identity = format!("importer {}", import::VERSION);
    for opened in sources {
        // The name enters because formats may go by it and because it stands in the data's provenance.
        let (split, name) = (opened.source.split, opened.source.name());
        identity += &format!("\n{split} {name:?} {:032x}", opened.checksum());
    }
    format!("{:032x}", xxh3_128(identity.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_imported_is_what_the_checksum_is_of() -> Result<()> {
        let folder = tempfile::tempdir().map_err(Error::io("create", "a folder"))?;
        let (path, other) = (folder.path().join("train.csv"), folder.path().join("other.csv"));
        let write = |path: &Path, text| fs::write(path, text).map_err(Error::io("write", path));
        let open = || import::open(&import::find(&[&path])?);
        write(&path, "user,item\na,x\n")?;
        write(&other, "user,item\na,x\nb,y\n")?;
        let opened = open()?;
        let before = checksum(&opened);
        // Another file takes its place before it is read.
        fs::rename(&other, &path).map_err(Error::io("rename", &path))?;
        assert_eq!(checksum(&opened), before);
        let (data, _) = import::import_opened(opened, &ImportOptions::default(), &|_| ())?;
        assert_eq!(data.users(), 1);
        assert_ne!(checksum(&open()?), before);
        Ok(())
    }
}
