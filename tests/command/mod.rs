//! The command as a process, in a folder of its own whose every file is watched.
#![allow(dead_code)] // each test uses its part

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A folder to run the command in.
pub struct Place {
    folder: tempfile::TempDir,
    cache: tempfile::TempDir,
}

/// How a command ended.
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    /// An empty folder.
    pub fn empty() -> Self {
        Place { folder: tempfile::tempdir().unwrap(), cache: tempfile::tempdir().unwrap() }
    }

    /// A folder with `data.macr` (300 users, 80 items, all splits) and `run`, trained on it.
    pub fn with_run() -> Self {
        let place = Place::empty();
        place.works(&["synth", "-o", "data.macr", "--seed", "3", "--valid-per-item", "3"], SMALL);
        place.works(&["train", "data.macr", "--out", "run", "--objective", "macr"], QUICK);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The command, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_macr"));
        command.args(arguments).current_dir(self.folder.path()).env("MACR_CACHE", self.cache.path());
        command.env_remove("RAYON_NUM_THREADS").stdin(Stdio::null());
        command
    }

    /// The command with so many KiB of addresses (`ulimit -v`), not yet run.
    #[cfg(unix)]
    pub fn limited(&self, kibibytes: u64, arguments: &[&str]) -> Command {
        let plain = self.command(arguments);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -v {kibibytes}; exec \"$0\" \"$@\"")]);
        command.arg(plain.get_program()).args(arguments).current_dir(self.folder.path());
        command.env("MACR_CACHE", self.cache.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let output = assert_cmd::Command::from_std(self.command(arguments)).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs what must succeed; returns standard output.
    pub fn works(&self, arguments: &[&str], more: &[&str]) -> String {
        let all = [arguments, more].concat();
        let Outcome { code, out, err } = self.run(&all);
        assert_eq!(code, Some(0), "{all:?}: {err}");
        out
    }

    /// Runs what must fail: with `code`, every one of `words` on standard error, nothing on standard output, and
    /// every file as it was.
    pub fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let before = self.files();
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, Some(code), "{arguments:?}: {}", outcome.err);
        for word in words {
            assert!(outcome.err.contains(word), "{arguments:?} does not say `{word}`: {}", outcome.err);
        }
        assert_eq!(outcome.out, "", "{arguments:?} printed a result");
        assert!(!outcome.err.contains("panicked"), "{arguments:?}: {}", outcome.err);
        self.unchanged(&before, arguments);
    }

    pub fn unchanged(&self, before: &BTreeMap<PathBuf, Vec<u8>>, what: &[&str]) {
        let after = self.files();
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(before), "{what:?} left files behind, or took some away");
        assert!(after == *before, "{what:?} changed a file");
    }

    /// Every file with its bytes, every link with its end, and every folder.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(folder).unwrap() {
                let (path, kind) = (entry.as_ref().unwrap().path(), entry.unwrap().file_type().unwrap());
                // A link may lead to a device that gives bytes without end.
                let bytes = match &path {
                    path if kind.is_symlink() => {
                        fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
                    }
                    path if kind.is_dir() => {
                        walk(path, files);
                        Vec::new()
                    }
                    path => fs::read(path).unwrap(),
                };
                files.insert(path, bytes);
            }
        }
        let mut files = BTreeMap::new();
        walk(self.folder.path(), &mut files);
        files
    }
}

/// Sizes of the generated data.
pub const SMALL: &[&str] = &["--users", "300", "--items", "80", "--interactions", "4000", "-q"];
/// Settings of a training that takes no time.
pub const QUICK: &[&str] = &["--epochs", "2", "--eval-every", "1", "--dim", "8", "--batch-size", "64", "-q"];
