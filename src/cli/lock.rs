//! One process at a time writes a run folder.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process,
};

use sysinfo::System;

use crate::{
    atomic_file::is_at,
    error::{Error, Result},
};

/// Holds a folder. The operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// The file that is locked.
    pub fn path_in(folder: &Path) -> PathBuf {
        folder.join(".macr-lock")
    }

    /// Takes `folder`.
    ///
    /// # Errors
    /// [`Error::Data`] naming the process that holds it, [`Error::Io`] if the lock cannot be written.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = Lock::path_in(folder);
        loop {
            let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = open.map_err(Error::io("write", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(folder, &mut file)),
                // A file system without locks has no other process's lock either.
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
            }
            // Whoever held it before may have removed it after it was opened here.
            if !is_at(&file, &path) {
                continue;
            }
            let mut lock = Lock { path, file };
            let (host, id) = (System::host_name().unwrap_or_else(|| "this host".into()), process::id());
            let named = lock.file.set_len(0).and_then(|()| write!(lock.file, "process {id} on {host}"));
            return named.map_err(Error::io("write", &lock.path)).map(|()| lock);
        }
    }

    /// Refuses a folder that another process holds.
    ///
    /// # Errors
    /// As [`Lock::take`].
    pub fn check(folder: &Path) -> Result<()> {
        // Some file systems lock only what is open for writing.
        match File::options().read(true).write(true).open(Lock::path_in(folder)) {
            Ok(mut file) if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) => {
                Err(held(folder, &mut file))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn held(folder: &Path, file: &mut File) -> Error {
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
    let holder = if holder.is_empty() { "another process" } else { &holder };
    Error::data(
        format!("{} is being written by {holder}", folder.display()),
        "wait until it is done or stop it, or choose another folder",
    )
}
