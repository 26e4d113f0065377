//! What a machine may do to a command: folders that cannot be written, files that shrink while they are read, too
//! little memory, odd environments and odd names. An exit code, a remedy, and nothing lost.
#![cfg(target_os = "linux")]

mod command;

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use command::{Place, QUICK, SMALL};

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The command as a user who may not do everything; `None`, with the reason printed, where that cannot be.
fn as_somebody(place: &Place, arguments: &[&str]) -> Option<Command> {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        return Some(place.command(arguments));
    }
    let plain = place.command(arguments);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(plain.get_program());
    let reaches = command.arg("--version").output().is_ok_and(|output| output.status.success());
    if !reaches {
        println!("SKIPPED: no setpriv, or the program is in a folder that only root may enter");
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(plain.get_program());
    command.args(arguments).current_dir(place.path("")).env("MACR_CACHE", "/nowhere").stdin(Stdio::null());
    Some(command)
}

#[test]
fn folders_and_files_that_are_not_ours() {
    let place = Place::with_run();
    place.write("pairs.csv", (0..300).map(|k| format!("u{},i{}\n", k % 40, k % 37)).collect::<String>());
    place.write("secret.macr", place.read("data.macr"));
    let mode =
        |name: &str, mode| fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    let before = place.files();
    mode("secret.macr", 0o000);
    mode("run", 0o555);
    mode("", 0o555);
    for (arguments, words) in [
        (
            &["import", "pairs.csv", "-o", "new.macr"][..],
            &["new.macr", "Permission denied", "may read and write"][..],
        ),
        (&["split", "data.macr", "-o", "new.macr", "--from", "all"], &["new.macr", "Permission denied"]),
        (&["inspect", "secret.macr"], &["secret.macr", "Permission denied"]),
        (
            &["train", "data.macr", "--out", "new", "--batch-size", "64"],
            &["new", "Permission denied", "may read and write"],
        ),
        (&["train", "--resume", "run"], &["run", "Permission denied", "may read and write"]),
        (
            &["recommend", "run", "--data", "data.macr", "-o", "lists.tsv"],
            &["lists.tsv", "Permission denied"],
        ),
    ] {
        let Some(mut command) = as_somebody(&place, arguments) else { return };
        let output = command.output().unwrap();
        assert!(matches!(output.status.code(), Some(1 | 3)), "{arguments:?}: {}", message(&output));
        for word in words {
            assert!(
                message(&output).contains(word),
                "{arguments:?} does not say `{word}`: {}",
                message(&output)
            );
        }
    }
    // What only reads works, also where the cache of imports cannot be written.
    for arguments in [&["evaluate", "run", "--data", "data.macr"][..], &["inspect", "pairs.csv"]] {
        let Some(mut command) = as_somebody(&place, arguments) else { return };
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", message(&output));
    }
    mode("", 0o755);
    mode("run", 0o755);
    mode("secret.macr", 0o644);
    place.unchanged(&before, &["reading"]);
}

#[test]
fn a_disk_that_can_only_be_read() {
    let place = Place::with_run();
    let mount = |arguments: &[&str]| {
        let mut command = Command::new("mount");
        command.args(arguments).arg(place.path("disk")).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    fs::create_dir(place.path("disk")).unwrap();
    if !mount(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"]) {
        return println!("SKIPPED: mounting a disk takes root on Linux");
    }
    place.works(&["train", "data.macr", "--out", "disk/run"], QUICK);
    assert!(mount(&["-o", "remount,ro"]));
    let words = ["Read-only file system", "may read and write"];
    place.fails(&["train", "--resume", "disk/run", "--epochs", "3"], 1, &words);
    place.fails(&["train", "data.macr", "--out", "disk/new", "--batch-size", "64"], 1, &words);
    place.fails(&["split", "data.macr", "-o", "disk/x.macr", "--from", "all"], 1, &words);
    place.works(&["evaluate", "disk/run", "--data", "data.macr"], &[]);
    assert!(Command::new("umount").arg(place.path("disk")).status().unwrap().success());
}

#[test]
fn a_file_that_shrinks_while_it_is_used() {
    let place = Place::empty();
    place.works(&["synth", "-o", "data.macr", "--seed", "3", "--valid-per-item", "3"], SMALL);
    let whole = place.read("data.macr");
    let settings = ["--eval-every", "1", "--dim", "8", "--batch-size", "64", "--checkpoint-every", "1", "-q"];
    let endless = ["train", "data.macr", "--out", "run", "--epochs", "1000000", "--patience", "0"];
    let mut command = place.command(&[&endless[..], &settings].concat());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    let manifest =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().path().extension() == Some("json".as_ref());
    while !fs::read_dir(place.path("run/checkpoints")).is_ok_and(|mut entries| entries.any(manifest)) {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint");
        thread::sleep(Duration::from_millis(1));
    }
    File::options().write(true).open(place.path("data.macr")).unwrap().set_len(0).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{:?}: {}", output.status, message(&output));
    let said = message(&output);
    assert!(said.starts_with("macr: /") && said.contains("data.macr: the file was cut short"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    // The run is there, and goes on when the file is back.
    let outcome = place.run(&["train", "--resume", "run"]);
    assert!(outcome.code == Some(3) && outcome.err.contains("data.macr: damaged"), "{}", outcome.err);
    place.write("data.macr", whole);
    place.works(&["evaluate", "run", "--data", "data.macr"], &[]);
    let mut command = place.command(&["train", "--resume", "run", "-q"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let model = fs::metadata(place.path("run/metrics.jsonl")).unwrap().len();
    let start = Instant::now();
    while fs::metadata(place.path("run/metrics.jsonl")).unwrap().len() <= model {
        assert!(start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The command under a limit of so many KiB of addresses.
fn limited(place: &Place, kibibytes: u64, arguments: &[&str]) -> Output {
    let mut command = place.limited(kibibytes, arguments);
    command.env("MACR_CACHE", place.path("cache")).env("RAYON_NUM_THREADS", "2").output().unwrap()
}

#[test]
fn too_little_memory_is_said_before_or_when_it_runs_out() {
    let place = Place::empty();
    place.works(&["synth", "-o", "data.macr", "--seed", "3", "--valid-per-item", "3"], SMALL);
    let big = ["--users", "20000", "--items", "5000", "--interactions", "300000", "-q"];
    place.works(&["synth", "-o", "big.macr", "--valid-per-item", "3"], &big);
    place.write(
        "pairs.csv",
        (0..200_000).map(|k| format!("user{},i{}\n", k % 9000, k % 5003)).collect::<String>(),
    );
    let wide = ["train", "big.macr", "--out", "run", "--dim", "2048", "--epochs", "1", "-q"];
    place.works(&[&wide[..], &["--dry-run"]].concat(), &[]);
    let pairs = place.read("pairs.csv");
    place.write("pairs.csv.zst", zstd::encode_all(&pairs[..], 1).unwrap());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &pairs).unwrap();
    place.write("pairs.csv.gz", gzip.finish().unwrap());
    place.write("wide.toml", "dim = 2048\n");
    let [many_c, users] = [150, 200].map(|n| (0..n).map(|c| c.to_string()).collect::<Vec<_>>().join(","));
    let before = place.files();
    // Known beforehand, with numbers.
    let output = limited(&place, 300 << 10, &wide);
    let said = message(&output);
    assert_eq!(output.status.code(), Some(1), "{:?}: {said}", output.status);
    for words in
        ["macr: the training needs about ", " MiB of memory, and ", "can be had (ulimit -v)", "lower --dim"]
    {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
    place.unchanged(&before, &wide);
    let table = ["reproduce", "table2", "--data", "big.macr", "--config", "wide.toml", "-o", "new", "-q"];
    let said = message(&limited(&place, 300 << 10, &table));
    assert!(said.contains("one of the trainings needs about ") && said.contains("(ulimit -v)"), "{said}");
    place.unchanged(&before, &table);
    let many = ["synth", "-o", "many.macr", "--interactions", "4000000000000", "-q"];
    let said = message(&place.command(&many).output().unwrap());
    assert!(said.contains("the data needs about") && said.contains("lower --users"), "{said}");
    place.unchanged(&before, &many);

    // A model of a terabyte that takes no room on the disk.
    let other = Place::empty();
    fs::create_dir(other.path("run")).unwrap();
    File::create(other.path("run/model.safetensors")).unwrap().set_len(1 << 40).unwrap();
    let outcome = other.run(&["recommend", "run", "--include-seen"]);
    let words = "the model needs about 2097152.0 MiB of memory, and ";
    assert!(outcome.code == Some(1) && outcome.err.contains(words), "{:?}: {}", outcome.code, outcome.err);

    // At every limit from the least that the program starts with to one that is enough.
    place.works(&["train", "big.macr", "--out", "run", "--dim", "128", "--epochs", "1", "-q"], &[]);
    let before = place.files();
    let (mut short, mut enough) = (0, 0);
    // Of each command, what it says to need beforehand: text may be anything until it is read.
    for (known, arguments) in [
        ("", &["import", "pairs.csv", "-o", "new.macr", "-q"][..]),
        ("", &["import", "pairs.csv.gz", "-o", "new.macr", "-q"]),
        ("", &["import", "pairs.csv.zst", "-o", "new.macr", "-q"]),
        ("the split needs about ", &["split", "big.macr", "-o", "new.macr", "--from", "all", "-q"]),
        (
            "the training needs about ",
            &[
                "train",
                "data.macr",
                "--out",
                "new",
                "--dim",
                "512",
                "--epochs",
                "1",
                "--batch-size",
                "64",
                "-q",
            ],
        ),
        (
            "the data needs about ",
            &[
                "synth",
                "-o",
                "new.macr",
                "--users",
                "9000",
                "--items",
                "3000",
                "--interactions",
                "200000",
                "-q",
            ],
        ),
        (
            "the evaluation needs about ",
            &["evaluate", "run", "--data", "big.macr", "-k", "1,2,3,4,5,6,7,8,9,10", "--c", &many_c, "-q"],
        ),
        (
            "the report needs about ",
            &["report", "run", "--data", "big.macr", "-o", "new", "--threads", "16", "-q"],
        ),
        (
            "the making of lists needs about ",
            &[
                "recommend",
                "run",
                "--data",
                "big.macr",
                "-k",
                "5000",
                "--users",
                &users,
                "-o",
                "new.tsv",
                "-q",
            ],
        ),
    ] {
        let mut refused = 0;
        let least =
            (1..).map(|k| k * 1000).find(|&k| limited(&place, k, &["--version"]).status.success()).unwrap();
        for step in 0..40 {
            let limit = least + step * step * 150;
            let output = limited(&place, limit, arguments);
            let said = message(&output);
            let case = format!("{arguments:?} with {limit} KiB: {:?}: {said}", output.status);
            assert!(!said.contains("panicked"), "{case}");
            match output.status.code() {
                Some(0) => enough += 1,
                Some(1 | 3) => {
                    short += 1;
                    refused += usize::from(said.contains(known) && said.contains("(ulimit -v)"));
                    assert!(said.contains("macr: "), "{case}");
                }
                _ => panic!("{case}"),
            }
            let after = place.files();
            for (path, bytes) in &before {
                assert!(after.get(path) == Some(bytes), "{case}: {} changed", path.display());
            }
            let new = place.path("new.macr");
            assert!(!new.exists() || macr::Interactions::open(&new).is_ok(), "{case}: half a file");
            assert!(output.status.success() || !place.path("new.tsv").exists(), "{case}: half a file");
            for name in ["new.macr", "new.tsv", "new"] {
                let path = place.path(name);
                if path.is_dir() {
                    fs::remove_dir_all(path).unwrap()
                } else if path.exists() {
                    fs::remove_file(path).unwrap()
                }
            }
            if output.status.success() {
                break;
            }
        }
        assert!(known.is_empty() || refused > 0, "{arguments:?} was never refused beforehand");
    }
    println!(
        "survived: {short} of {short} limits of memory that were too small: import, split, train, synth, evaluate, report, recommend"
    );
    assert!(short > 18 && enough == 9, "{short} too small, {enough} enough");
}

#[test]
fn a_small_file_of_billions_of_rows_is_looked_at_or_refused() {
    let place = Place::empty();
    let most = macr::InteractionsBuilder::new(u32::MAX, u32::MAX).build().unwrap();
    most.save(place.path("rows.macr")).unwrap();
    assert!(place.path("rows.macr").metadata().unwrap().len() < 300);
    let before = place.files();
    let output = limited(&place, 300 << 10, &["inspect", "rows.macr", "--json"]);
    assert!(output.status.success(), "{:?}: {}", output.status, message(&output));
    let profile: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(profile["items_without_train"].as_u64(), Some(u32::MAX.into()));
    for (arguments, code, words) in [
        (
            &["inspect", "rows.macr", "--groups"][..],
            1,
            "the grouping needs about 204800.0 MiB of memory, and ",
        ),
        (&["split", "rows.macr", "-o", "new.macr"], 1, "the split needs about "),
        (&["train", "rows.macr", "--out", "new"], 3, "the data has no valid split"),
    ] {
        let output = limited(&place, 300 << 10, arguments);
        let said = message(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words) && (code == 3 || said.contains("(ulimit -v)")), "{arguments:?}: {said}");
    }
    place.unchanged(&before, &["rows"]);
}

/// A thread whose start runs out of memory half-way would end the process without a word of ours.
#[test]
fn threads_that_cannot_start_are_said() {
    let place = Place::empty();
    place.works(&["synth", "-o", "data.macr"], SMALL);
    let inspect = ["inspect", "data.macr"];
    let least =
        (1..).map(|k| k * 1000).find(|&k| limited(&place, k, &["--version"]).status.success()).unwrap();
    let mut refused = 0;
    for limit in (least..).step_by(24) {
        let output = limited(&place, limit, &inspect);
        let said = message(&output);
        let case = format!("{limit} KiB: {:?}: {said}", output.status);
        assert!(matches!(output.status.code(), Some(0 | 1 | 3)) && !said.contains("panicked"), "{case}");
        assert!(output.status.success() || said.contains("macr: "), "{case}");
        refused += usize::from(said.contains("they cannot be started (out of memory)"));
        if output.status.success() {
            break;
        }
    }
    assert!(refused > 50, "refused only at {refused} limits");
}

/// A control group with a limit of memory, which is removed at the end, and in it another without.
struct Group {
    folder: PathBuf,
}

impl Group {
    /// `None`, with the reason printed, where groups cannot be made.
    fn new(name: &str, limit: u64) -> Option<Self> {
        let name = format!("macr-{name}-{}", std::process::id());
        for (mount, file) in [("memory", "memory.limit_in_bytes"), ("", "memory.max")] {
            let group = Group { folder: Path::new("/sys/fs/cgroup").join(mount).join(&name) };
            let limited = fs::create_dir(&group.folder)
                .and_then(|()| fs::create_dir(group.inner()))
                .and_then(|()| fs::metadata(group.folder.join(file)))
                .and_then(|_| fs::write(group.folder.join(file), limit.to_string()));
            if limited.is_ok() {
                return Some(group);
            }
        }
        println!(
            "SKIPPED: limiting a control group's memory takes root, and control groups that may be written"
        );
        None
    }

    fn inner(&self) -> PathBuf {
        self.folder.join("inner")
    }

    /// The command in the inner group.
    fn run(&self, place: &Place, arguments: &[&str]) -> Output {
        let plain = place.command(arguments);
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$@\""]).arg(self.inner());
        command.arg(plain.get_program()).args(arguments).current_dir(place.path(""));
        command.env("MACR_CACHE", place.path("cache")).env("RAYON_NUM_THREADS", "2").stdin(Stdio::null());
        command.output().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that was killed may take a moment to leave.
        for _ in 0..100 {
            if fs::remove_dir(self.inner()).is_ok() | fs::remove_dir(&self.folder).is_ok() {
                let _ = fs::remove_dir(&self.folder);
            }
            if !self.folder.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn the_limit_of_a_group_around_its_own() {
    let place = Place::empty();
    let big = ["--users", "20000", "--items", "5000", "--interactions", "300000", "-q"];
    place.works(&["synth", "-o", "big.macr", "--valid-per-item", "3"], &big);
    let train = ["train", "big.macr", "--out", "run", "--dim", "256", "--epochs", "1", "-q"];
    let plan = place.works(&[&train[..], &["--dry-run", "--json", "--threads", "2"]].concat(), &[]);
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let peak = plan["memory"]["peak"].as_u64().unwrap();
    let before = place.files();

    let Some(group) = Group::new("short", peak / 2) else { return };
    let output = group.run(&place, &train);
    let said = message(&output);
    assert_eq!(output.status.code(), Some(1), "{:?}: {said}", output.status);
    for words in ["the training needs about ", "(the limit of its control group)"] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
    place.unchanged(&before, &train);
    let doctor = group.run(&place, &["doctor", "--json"]);
    let doctor: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(doctor["memory"]["total"].as_u64(), Some(peak / 2 / 4096 * 4096), "{doctor}");

    // Text that is larger than the group's memory when it is unpacked: the system ends the command, and nothing is
    // left.
    let line = b"somebody,something\n".repeat(1 << 16);
    let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
    (0..1 + peak / line.len() as u64).for_each(|_| std::io::Write::write_all(&mut packed, &line).unwrap());
    place.write("long.csv.zst", packed.finish().unwrap());
    let before = place.files();
    let import = ["import", "long.csv.zst", "-o", "big.macr", "--force", "-q"];
    let output = group.run(&place, &import);
    assert!(output.status.signal() == Some(9) || output.status.code() == Some(1), "{:?}", output.status);
    place.unchanged(&before, &import);

    // What the estimate says is enough.
    let group = Group::new("enough", peak + (4 << 20)).unwrap();
    let go_on = ["train", "--resume", "run", "--epochs", "2", "-q"];
    for command in [&train[..], &go_on] {
        let output = group.run(&place, command);
        assert!(output.status.success(), "{command:?}: {:?}: {}", output.status, message(&output));
    }
}

#[test]
fn environments_that_lack_what_is_usual() {
    let place = Place::with_run();
    place.write("pairs.csv", (0..300).map(|k| format!("u{},i{}\n", k % 40, k % 37)).collect::<String>());
    let evaluate = ["evaluate", "run", "--data", "data.macr"];
    let plain = place.works(&evaluate, &[]);
    // Nothing at all: no HOME, no PATH, no TERM, no locale.
    for arguments in [&["inspect", "pairs.csv"][..], &["doctor"], &evaluate, &["--help"]] {
        let output = place.command(arguments).env_clear().output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", message(&output));
    }
    for locale in ["tr_TR.UTF-8", "de_DE.UTF-8", "C", "no such locale"] {
        let output = place.command(&evaluate).env("LC_ALL", locale).env("LANG", locale).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), plain, "{locale}");
    }
    // Standard streams that are closed.
    for streams in ["1>&-", "2>&-", "0>&- 1>&- 2>&-"] {
        let line = format!("exec \"$0\" \"$@\" {streams}");
        let plain = place.command(&evaluate);
        let mut command = Command::new("sh");
        command.args(["-c", &line]).arg(plain.get_program()).args(evaluate).current_dir(place.path(""));
        let output = command.output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{streams}: {:?}", output.status);
        assert!(!message(&output).contains("panicked"), "{streams}: {}", message(&output));
    }
    place.works(&evaluate, &[]);
}

#[test]
fn names_of_any_bytes() {
    let place = Place::empty();
    let folder = place.path("").join(OsStr::from_bytes(b" two\nlines \xff\xfe \xc3\xa4 'quoted\" "));
    fs::create_dir(&folder).unwrap();
    let name = |name: &[u8]| folder.join(OsStr::from_bytes(name));
    let (pairs, data, run) = (name(b"pairs \xff.csv"), name(b"d\xff.macr"), name(b"-run\xff"));
    let line = |k: usize| format!("u{},i{}\n", k % 40, (k * k + k / 40) % 37);
    fs::write(&pairs, (0..400).map(line).collect::<String>()).unwrap();
    let works = |arguments: &[&dyn AsRef<OsStr>]| {
        let mut command = place.command(&[]);
        let output = command.args(arguments.iter().map(|a| a.as_ref())).output().unwrap();
        assert!(output.status.success(), "{:?}", message(&output));
        output.stdout
    };
    works(&[&"import", &pairs, &"-o", &data, &"--json"]);
    works(&[&"split", &data, &"-o", &data, &"--force", &"--kind", &"random", &"--json"]);
    let train: [&dyn AsRef<OsStr>; 5] = [&"train", &data, &"--out", &run, &"--json"];
    let settings: [&dyn AsRef<OsStr>; 6] = [&"--epochs", &"2", &"--batch-size", &"8", &"--k", &"5"];
    works(&[&train[..], &settings].concat());
    // It finds its data again.
    works(&[&"train", &"--resume", &run, &"--epochs", &"3", &"--json"]);
    let warm = name(b"warm\xff");
    works(
        &[&[&"train" as &dyn AsRef<OsStr>, &data, &"--out", &warm, &"--warm-start", &run], &settings[..]]
            .concat(),
    );
    works(&[&"train", &"--resume", &warm, &"--epochs", &"3"]);
    works(&[&"evaluate", &run, &"--data", &data, &"-k", &"5", &"--json"]);
    works(&[&"inspect", &pairs, &"--json"]);
    let lists = name(b"lists\xff");
    works(&[&"recommend", &run, &"--data", &data, &"-k3", &"-o", &lists]);
    assert!(fs::read_to_string(lists).unwrap().lines().count() > 100);
    works(&[
        &"synth",
        &"-o",
        &name(b"s\xff.macr"),
        &"--users",
        &"50",
        &"--items",
        &"20",
        &"--interactions",
        &"300",
        &"--truth",
        &"--json",
    ]);
    let mut command = place.command(&["inspect"]);
    let output = command.arg(name(b"missing\xff")).output().unwrap();
    assert!(output.status.code() == Some(3) && message(&output).contains("check the path"), "{output:?}");
}
