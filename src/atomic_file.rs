//! Files that appear under their final name only when they are complete.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

use crate::error::{Error, Result};

/// Writes `path` through a temporary file in the same folder: `fill`, flush, fsync, rename.
///
/// A reader sees the old file or the new one, never a part. On an error the temporary file is removed and an
/// existing `path` stays as it was. A link is followed, and stays. What is there and is no file (a pipe, a device) is
/// written to as it is: it cannot be replaced.
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
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let temporary = tempfile::Builder::new().prefix(".macr-").suffix(".tmp").tempfile_in(folder)?;
        let mut writer = BufWriter::with_capacity(1 << 20, temporary.as_file());
        fill(&mut writer)?;
        writer.flush()?;
        drop(writer);
        set_default_mode(temporary.as_file())?;
        temporary.as_file().sync_all()?;
        temporary.persist(&target).map_err(|e| e.error)?;
        // The rename itself must survive a power cut.
        #[cfg(unix)]
        File::open(folder)?.sync_all()?;
        Ok(())
    };
    write().map_err(Error::io("write", path))
}

/// Temporary files are private (0600); a finished file has the mode that any other new file gets.
#[cfg(unix)]
fn set_default_mode(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_default_mode(_: &File) -> io::Result<()> {
    Ok(())
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
