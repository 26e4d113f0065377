//! A run folder as a training writes it.
//!
//! A new run stands in a temporary folder within the run folder until it has a model or a checkpoint, and then appears
//! as a whole: a training that fails before leaves nothing, and a run that is being replaced stays whole until it is.
//! From then on each file is replaced by renaming. Checkpoints are written beside the training.

use std::{
    fs::{self, File},
    io::{ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::Serialize;
use tempfile::TempDir;

use super::lock::Lock;
use crate::{
    atomic_file::{folder_of, is_temporary, sync_folder, write_atomic},
    data::Interactions,
    error::{Error, Result},
    model::{IDS_FILE, MODEL_FILE, Model, save_ids},
    train::{
        Checkpoint,
        checkpoint::{CHECKPOINTS, prune},
    },
};

/// Name of the file with the resolved settings.
pub const CONFIG_FILE: &str = "config.toml";
const METRICS_FILE: &str = "metrics.jsonl";
/// A new run whose files are all complete, on their way into the run folder.
const READY: &str = ".macr-ready";

/// The files of a training as it goes on.
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    /// Folders that were made for the run, the outermost first.
    created: Vec<PathBuf>,
    stage: Option<TempDir>,
    metrics: File,
    /// Bytes of `metrics` that are whole lines.
    logged: u64,
    /// Checkpoints to keep.
    keep: usize,
    /// The checkpoint that is being written.
    saving: Option<JoinHandle<Result<()>>>,
    /// Nanoseconds that the last checkpoint took to be written.
    writing: Arc<AtomicU64>,
    /// Let go of last.
    lock: Option<Lock>,
}

impl RunWriter {
    /// Refuses a folder that cannot become this run's.
    ///
    /// # Errors
    /// [`Error::Config`] if a run is there and `force` is not given, or the path is no folder; [`Error::Data`] if
    /// another process writes it.
    pub fn check(folder: &Path, force: bool) -> Result<()> {
        let refused =
            |problem: &str, remedy: &str| Err(Error::config("out", folder.display(), problem, remedy));
        if folder.exists() && !folder.is_dir() {
            return refused("this is a file", "name a folder for the run with --out");
        }
        Lock::check(folder)?;
        let parts = [CONFIG_FILE, MODEL_FILE, CHECKPOINTS, READY];
        if !force && parts.iter().any(|part| folder.join(part).exists()) {
            return refused(
                "a run is there already",
                "choose another folder with --out, continue the run with --resume, or pass --force to replace it",
            );
        }
        Ok(())
    }

    /// Makes the folder, and in it what is known before the training; `config` is the text of its `config.toml`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; [`Error::Data`] if another process writes it.
    pub fn create(folder: &Path, keep: usize, config: &str, data: &Interactions) -> Result<Self> {
        let missing = folder.ancestors().take_while(|a| !a.as_os_str().is_empty() && !a.exists());
        let mut created: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        created.reverse();
        let begin = || -> Result<(Lock, TempDir, File)> {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
            for made in &created {
                sync(folder_of(made))?;
            }
            let lock = Lock::take(folder)?;
            settle(folder)?;
            sweep(folder)?;
            let stage = tempfile::Builder::new()
                .prefix(".macr-")
                .suffix(".tmp")
                .tempdir_in(folder)
                .map_err(Error::io("write", folder))?;
            write_config(stage.path(), config)?;
            save_ids(data, stage.path())?;
            let checkpoints = stage.path().join(CHECKPOINTS);
            fs::create_dir(&checkpoints).map_err(Error::io("create", checkpoints))?;
            let path = stage.path().join(METRICS_FILE);
            let metrics = File::create(&path).map_err(Error::io("create", &path))?;
            Ok((lock, stage, metrics))
        };
        match begin() {
            Ok((lock, stage, metrics)) => Ok(RunWriter {
                folder: folder.into(),
                created,
                stage: Some(stage),
                metrics,
                logged: 0,
                keep,
                saving: None,
                writing: Arc::default(),
                lock: Some(lock),
            }),
            Err(error) => {
                remove_empty(&created);
                Err(error)
            }
        }
    }

    /// Takes `folder` for a training that is to be continued.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; [`Error::Data`] if another process writes it.
    pub fn take(folder: &Path) -> Result<Lock> {
        if !folder.is_dir() {
            return Err(Error::data(
                format!("{} is not a run folder", folder.display()),
                "name the folder that `macr train --out` made",
            ));
        }
        let lock = Lock::take(folder)?;
        settle(folder)?;
        sweep(folder)?;
        sweep(&folder.join(CHECKPOINTS))?;
        Ok(lock)
    }

    /// Brings the folder to the state of the checkpoint `from`, when `logged` bytes of metrics were written, to go on
    /// from there with `config`, the text of its `config.toml`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; [`Error::File`] if metrics are missing.
    pub fn resume(
        folder: &Path,
        lock: Lock,
        keep: usize,
        config: &str,
        from: &Checkpoint,
        logged: u64,
    ) -> Result<Self> {
        let path = folder.join(METRICS_FILE);
        let mut metrics = File::options().write(true).open(&path).map_err(Error::io("open", &path))?;
        let length = metrics.metadata().map_err(Error::io("read", &path))?.len();
        if length < logged {
            return Err(Error::File {
                path,
                problem: format!("it has {length} bytes, and the checkpoint was taken after {logged}"),
                remedy: "put the file back as the training wrote it".into(),
            });
        }
        // What is after the checkpoint comes again.
        let cut = metrics.set_len(logged).and_then(|()| metrics.seek(SeekFrom::End(0)));
        cut.map_err(Error::io("write", &path))?;
        let model = folder.join(MODEL_FILE);
        match &from.best {
            Some(best) => best.save(&model)?,
            None => remove_if_there(&model, |path| fs::remove_file(path))?,
        }
        write_config(folder, config)?;
        Ok(RunWriter {
            folder: folder.into(),
            created: Vec::new(),
            stage: None,
            metrics,
            logged,
            keep,
            saving: None,
            writing: Arc::default(),
            lock: Some(lock),
        })
    }

    /// Bytes of whole lines in the metrics.
    pub fn logged(&self) -> u64 {
        self.logged
    }

    /// Adds a line to the metrics.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; the lines before stay whole.
    pub fn log(&mut self, line: &impl Serialize) -> Result<()> {
        let path = || self.folder.join(METRICS_FILE);
        let mut text = serde_json::to_vec(line).map_err(|e| Error::io("write", path())(e.into()))?;
        text.push(b'\n');
        if let Err(error) = self.metrics.write_all(&text) {
            let _ = self.metrics.set_len(self.logged);
            let _ = self.metrics.seek(SeekFrom::End(0));
            return Err(Error::io("write", path())(error));
        }
        self.logged += text.len() as u64;
        Ok(())
    }

    /// Saves the best model so far.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; the model before, if there is one, then stays.
    pub fn save(&mut self, model: &Model) -> Result<()> {
        let folder = self.stage.as_ref().map_or(self.folder.as_path(), TempDir::path);
        model.save(folder.join(MODEL_FILE))?;
        self.appear()
    }

    /// Begins to save a checkpoint, after the one before is saved.
    ///
    /// # Errors
    /// [`Error::Io`] if the one before, or the first one, cannot be written; checkpoints that were there stay.
    pub fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<()> {
        self.finish_saving()?;
        let path = self.folder.join(METRICS_FILE);
        let metrics = self.metrics.try_clone().map_err(Error::io("write", &path))?;
        let (keep, writing) = (self.keep.max(1), Arc::clone(&self.writing));
        let save = move |folder: &Path| {
            let start = Instant::now();
            // The checkpoint says how long the metrics are.
            metrics.sync_data().map_err(Error::io("write", &path))?;
            checkpoint.save(folder)?;
            prune(folder, keep)?;
            writing.store(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
            Ok(())
        };
        if let Some(stage) = &self.stage {
            save(&stage.path().join(CHECKPOINTS))?;
            return self.appear();
        }
        let folder = self.folder.join(CHECKPOINTS);
        let path = folder.clone();
        let saving = thread::Builder::new().spawn(move || {
            fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
            save(&folder)
        });
        self.saving = Some(saving.map_err(Error::io("start a thread to write", path))?);
        Ok(())
    }

    /// What the last checkpoint took to be written; `None` while that is going on.
    pub fn writing(&self) -> Option<Duration> {
        let done = self.saving.as_ref().is_none_or(JoinHandle::is_finished);
        done.then(|| Duration::from_nanos(self.writing.load(Ordering::Relaxed)))
    }

    /// Waits for the checkpoint that is being written.
    ///
    /// # Errors
    /// [`Error::Io`] if it could not be.
    pub fn finish_saving(&mut self) -> Result<()> {
        match self.saving.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }

    /// Ends the writing of a run that is complete.
    ///
    /// # Errors
    /// [`Error::Io`] if its last checkpoint could not be written, or checkpoints not be removed.
    pub fn finish(&mut self) -> Result<()> {
        self.finish_saving()?;
        if self.keep == 0 {
            remove_if_there(&self.folder.join(CHECKPOINTS), |path| fs::remove_dir_all(path))?;
        }
        Ok(())
    }

    /// Moves the files of a new run to where they belong, if they are not there.
    fn appear(&mut self) -> Result<()> {
        let Some(stage) = self.stage.take() else { return Ok(()) };
        let path = stage.path().join(METRICS_FILE);
        self.metrics.sync_all().map_err(Error::io("write", path))?;
        let model = stage.path().join(MODEL_FILE);
        if !model.exists() {
            // Stands for a model of the run before, which is to go.
            File::create(&model).map_err(Error::io("write", model))?;
        }
        let ready = self.folder.join(READY);
        sync(stage.path())?;
        fs::rename(stage.path(), &ready).map_err(Error::io("write", &ready))?;
        let _ = stage.keep();
        sync(&self.folder)?;
        self.created.clear();
        settle(&self.folder)
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        let _ = self.finish_saving();
        self.stage = None;
        self.lock = None;
        remove_empty(&self.created);
    }
}

/// Makes sure that a run folder can be read: completes a run that was about to appear, and says what is missing where
/// there is no model yet.
///
/// # Errors
/// [`Error::Data`] for a run without a model; [`Error::Io`] if files cannot be moved.
pub fn look(folder: &Path) -> Result<()> {
    if folder.join(READY).is_dir()
        && let Ok(_lock) = Lock::take(folder)
    {
        settle(folder)?;
    }
    if folder.is_dir() && !folder.join(MODEL_FILE).exists() {
        if !folder.join(CONFIG_FILE).is_file() {
            return Err(Error::data(
                format!("{} is not a run folder: it has no {MODEL_FILE}", folder.display()),
                "name the folder that `macr train --out` made, or the model file in it",
            ));
        }
        let (run, model) = (folder.display(), folder.join(MODEL_FILE));
        return Err(Error::data(
            format!(
                "there is no {} yet: the run was stopped before its first evaluation, or the file was removed",
                model.display()
            ),
            format!("continue the run with `macr train --resume {run}`"),
        ));
    }
    Ok(())
}

/// Moves the files of a run that is complete to where they belong. It can be stopped and begun again at any point.
fn settle(folder: &Path) -> Result<()> {
    let ready = folder.join(READY);
    if !ready.is_dir() {
        return Ok(());
    }
    let begin = ready.join(CHECKPOINTS);
    if begin.exists() {
        let there = folder.join(CHECKPOINTS);
        remove_if_there(&there, |path| fs::remove_dir_all(path))?;
        fs::rename(begin, &there).map_err(Error::io("write", there))?;
    }
    for name in [MODEL_FILE, IDS_FILE, METRICS_FILE, CONFIG_FILE] {
        let (from, to) = (ready.join(name), folder.join(name));
        match fs::metadata(&from) {
            Ok(there) if there.len() == 0 && name == MODEL_FILE => {
                remove_if_there(&to, |path| fs::remove_file(path))?;
                fs::remove_file(&from).map_err(Error::io("remove", from))?;
            }
            Ok(_) => fs::rename(&from, &to).map_err(Error::io("write", to))?,
            Err(_) => {}
        }
    }
    fs::remove_dir(&ready).map_err(Error::io("remove", ready))?;
    sync(folder)
}

fn sync(folder: &Path) -> Result<()> {
    sync_folder(folder).map_err(Error::io("write", folder))
}

/// Removes what a process that was killed has left unfinished. The folder is held, so nobody is at it.
fn sweep(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = entry.path();
        if !is_temporary(&entry.file_name()) {
            continue;
        }
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::io("remove", path))?;
    }
    Ok(())
}

fn write_config(folder: &Path, text: &str) -> Result<()> {
    write_atomic(&folder.join(CONFIG_FILE), |w| w.write_all(text.as_bytes()))
}

fn remove_if_there(path: &Path, remove: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    match remove(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Removes folders, the innermost first, as far as nothing is in them.
fn remove_empty(folders: &[PathBuf]) {
    for folder in folders.iter().rev() {
        let _ = fs::remove_dir(folder);
    }
}
