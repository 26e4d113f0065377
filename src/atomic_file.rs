//! Files that appear under their final name only when they are complete.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

use tempfile::TempPath;

use crate::error::{Error, Result};

/// Writes `path` through a temporary file in the same folder: `fill`, flush, fsync, rename.
///
/// A reader sees the old file or the new one, never a part. On an error the temporary file is removed and an
/// existing `path` stays as it was. A link is followed, and stays. What is there and is no file (a pipe, a device) is
/// written to as it is: it cannot be replaced. Temporary files that killed processes left in the folder are removed.
///
/// # Errors
/// [`Error::Io`] naming `path`, whatever step failed.
pub fn write_atomic(path: &Path, fill: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<()> {
    let write = || -> io::Result<()> {
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        // Asked of the path as given: what `/dev/stdout` leads to need not have a path of its own.
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            let device = File::options().write(true).open(path)?;
            let mut writer = BufWriter::with_capacity(1 << 20, &device);
            fill(&mut writer)?;
            return writer.flush();
        }
        let folder = folder_of(&target);
        if !folder.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its folder does not exist"));
        }
        sweep(folder);
        let (file, mut temporary) = create(folder)?;
        let mut writer = BufWriter::with_capacity(1 << 20, &file);
        fill(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.sync_all()?;
        fs::rename(&temporary, &target)?;
        temporary.disable_cleanup(true);
        sync_folder(folder)
    };
    write().map_err(Error::io("write", path))
}

/// The folder that `path` is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Has what was made, renamed or removed in `folder` survive a power cut.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened as a file.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// A temporary file in `folder`, locked for as long as it is open.
fn create(folder: &Path) -> io::Result<(File, TempPath)> {
    loop {
        let mut builder = tempfile::Builder::new();
        // Not private, as temporary files are by themselves: with the mode that any other new file gets.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let (file, path) = builder.prefix(PREFIX).suffix(SUFFIX).tempfile_in(folder)?.into_parts();
        // Where there are no locks, nothing is swept. Before it was locked it may have been.
        if file.lock().is_err() || is_at(&file, &path) {
            return Ok((file, path));
        }
    }
}

/// Removes the temporary files in `folder` that nobody holds: those of processes that were killed.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let left = is_temporary(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_file());
        // Some file systems lock only what is open for writing.
        let held = File::options().write(true).open(entry.path());
        if left && held.is_ok_and(|file| file.try_lock().is_ok()) {
            // If it cannot be removed, it stays.
            let _ = fs::remove_file(entry.path());
        }
    }
}

const PREFIX: &str = ".macr-";
const SUFFIX: &str = ".tmp";

/// True for names of unfinished files and folders.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

/// True if `path` leads to the open `file`.
#[cfg(unix)]
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let places = file.metadata().and_then(|a| Ok((a, fs::metadata(path)?)));
    places.is_ok_and(|(a, b)| (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// True if something is at `path`.
#[cfg(not(unix))]
pub(crate) fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_and_devices_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomic(&link, |w| w.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        // A link to the null device, so that a mistake replaces the link alone.
        let null = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &null).unwrap();
        write_atomic(&null, |w| w.write_all(b"gone")).unwrap();
        assert!(!fs::metadata(&null).unwrap().is_file());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".macr-left.tmp"), "half").unwrap();
        let (_file, used) = create(folder.path()).unwrap();
        write_atomic(&folder.path().join("file"), |w| w.write_all(b"new")).unwrap();
        assert!(used.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "old").unwrap();
        let failed = write_atomic(&file, |w| {
            w.write_all(b"half")?;
            Err(io::Error::other("planted"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
