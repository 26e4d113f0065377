//! Damaged, foreign and missing files, full disks and places that cannot be written: an exit code, a remedy, and
//! nothing lost, half-written or left behind.

mod command;

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use command::{Place, QUICK, SMALL};

/// Little-endian number of `n` bytes.
fn word(bytes: &[u8], at: usize, n: usize) -> usize {
    bytes[at..at + n].iter().rev().fold(0, |w, &b| w << 8 | usize::from(b))
}

/// Start and end of every section, by place in the file.
fn sections(bytes: &[u8]) -> Vec<(usize, usize)> {
    let entries = (0..word(bytes, 12, 4)).map(|k| 64 + 32 * k);
    let mut sections: Vec<_> = entries
        .map(|at| (word(bytes, at + 8, 8), word(bytes, at + 8, 8) + word(bytes, at + 16, 8)))
        .collect();
    sections.sort_unstable();
    sections
}

/// `data.macr` with every kind of section: ids, ratings, times, three splits.
fn full() -> Place {
    let place = Place::empty();
    let line = |k: usize| format!("u{},i{},{},{}\n", k % 17, (k * k + 3 * k) % 23, 1 + k % 5, 1000 + k);
    let lines: String = (0..200).map(line).collect();
    place.write("all.csv", format!("user,item,rating,timestamp\n{lines}"));
    place.works(&["import", "all.csv", "-o", "whole.macr"], &["-q"]);
    place.works(&["split", "whole.macr", "-o", "data.macr", "--kind", "random"], &["-q"]);
    place
}

#[test]
fn every_damage_of_an_interaction_file_is_found() {
    let place = full();
    let whole = place.read("data.macr");
    let sections = sections(&whole);
    let table = 64 + 32 * sections.len();
    assert!(sections.len() > 17, "{} sections", sections.len());
    let refuses = |bytes: &[u8], words: &[&str], what: &str| {
        place.write("data.macr", bytes);
        println!("{what}");
        place.fails(&["inspect", "data.macr"], 3, words);
    };

    // One byte of each class: header fields, table entries, begin, middle and end of sections, paddings.
    let fields = [0, 7, 8, 12, 16, 24, 32, 40, 48, 63];
    let entries = (64..table).step_by(8);
    let inner =
        sections.iter().filter(|s| s.1 > s.0).flat_map(|&(start, end)| [start, (start + end) / 2, end - 1]);
    let ends = std::iter::once(table).chain(sections.iter().map(|s| s.1));
    let gaps: Vec<usize> = ends
        .zip(sections.iter().map(|s| s.0))
        .filter(|(end, start)| end < start)
        .flat_map(|(end, start)| [end, start - 1])
        .collect();
    assert!(gaps.len() > 10, "{} bytes of padding", gaps.len());
    for at in fields.into_iter().chain(entries).chain(inner).chain(gaps) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        refuses(&bytes, &["data.macr: "], &format!("byte {at} of {} flipped", whole.len()));
    }
    let boundaries = sections.iter().flat_map(|&(start, end)| [start, end]);
    for length in [0, 1, 63, 64, table].into_iter().chain(boundaries).filter(|&n| n < whole.len()) {
        refuses(&whole[..length], &["damaged or truncated", "import it again"], &format!("cut to {length}"));
    }
    refuses(&[&whole[..], b"\0"].concat(), &["damaged or truncated"], "a byte more");

    let mut foreign = whole.clone();
    foreign[..8].copy_from_slice(b"PAR1PAR1");
    refuses(&foreign, &["not an interaction file", "macr import"], "foreign magic");
    let mut newer = whole.clone();
    newer[8] = 2;
    refuses(&newer, &["layout version 2", "reads version 1", "import the source again"], "newer version");

    // The same through every other subcommand that takes data.
    let mut flipped = whole.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    place.write("data.macr", &flipped);
    for arguments in [
        &["split", "data.macr", "-o", "x.macr"][..],
        &["train", "data.macr", "--out", "new"],
        &["import", "all.csv", "-o", "data.macr"],
    ] {
        place.fails(arguments, 3, &["data.macr"]);
    }
}

#[test]
fn every_damage_of_a_run_is_found() {
    let place = Place::with_run();
    let evaluate = ["evaluate", "run", "--data", "data.macr"];
    let refuses =
        |file: &str, whole: &[u8], positions: &mut dyn Iterator<Item = usize>, arguments: &[&str]| {
            for at in positions {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 1;
                place.write(file, &bytes);
                println!("byte {at} of {file} flipped");
                place.fails(arguments, 3, &[file]);
            }
            for length in
                [0, 1, 8, 100, whole.len() / 2, whole.len() - 1].into_iter().filter(|&n| n < whole.len())
            {
                place.write(file, &whole[..length]);
                place.fails(arguments, 3, &[file]);
            }
            place.write(file, whole);
        };
    let model = place.read("run/model.safetensors");
    // The length, all of the header, and here and there in the tensors.
    let header = 8 + word(&model, 0, 8);
    let mut positions =
        (0..header).step_by(7).chain((header..model.len()).step_by(331)).chain([model.len() - 1]);
    refuses("run/model.safetensors", &model, &mut positions, &evaluate);
    let ids = place.read("run/ids.macr");
    let recommend = ["recommend", "run", "--include-seen", "-k1"];
    refuses("run/ids.macr", &ids, &mut (0..ids.len()), &recommend);
    place.works(&evaluate, &[]);

    place.write("run/model.safetensors", vec![0x5a; 5000]);
    place.fails(
        &evaluate,
        3,
        &["run/model.safetensors", "not a whole safetensors file", "train the model again"],
    );
    fs::remove_file(place.path("run/model.safetensors")).unwrap();
    place.fails(&evaluate, 3, &["run/model.safetensors", "macr train --resume run"]);
    place.fails(&["evaluate", "none", "--data", "data.macr"], 3, &["none", "check the path"]);
}

#[test]
fn what_is_no_data_is_refused() {
    let place = Place::empty();
    let mut state = 1u32;
    let garbage: Vec<u8> = (0..4000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    for name in ["garbage.bin", "garbage.macr", "garbage.csv.gz", "garbage.csv.zst"] {
        place.write(name, &garbage);
    }
    place.write("empty.csv", "");
    place.write("empty.macr", "");
    place.write("words.csv", "user,item\na,b\nc\n");
    place.write("lists.txt", "1 2 3\n2 3 4\n3 4 five\n");
    for folder in ["nothing", "nosplits"] {
        fs::create_dir(place.path(folder)).unwrap();
    }
    place.write("nosplits/some.csv", "a,b\n");
    let cases: [(&str, &[&str]); 11] = [
        ("missing.macr", &["missing.macr", "check the path"]),
        ("missing", &["missing", "check the path"]),
        ("garbage.bin", &["garbage.bin", "not a text file"]),
        ("garbage.macr", &["garbage.macr", "not an interaction file", "macr import"]),
        ("garbage.csv.gz", &["garbage.csv.gz"]),
        ("garbage.csv.zst", &["garbage.csv.zst"]),
        ("empty.csv", &["empty.csv"]),
        ("empty.macr", &["empty.macr", "the file is empty"]),
        ("words.csv", &["words.csv:3:", "--skip-bad-lines"]),
        ("nothing", &["nothing has no training file", "train.txt", "no files"]),
        ("nosplits", &["nosplits has no training file", "some.csv"]),
    ];
    for (path, words) in cases {
        place.fails(&["inspect", path], 3, words);
        place.fails(&["train", path, "--out", "new"], 3, words);
        place.fails(&["split", path, "-o", "new.macr"], 3, words);
        if !path.ends_with(".macr") {
            place.fails(&["import", path, "-o", "new.macr"], 3, words);
        }
    }
}

#[test]
fn a_bad_line_is_named() {
    let place = Place::empty();
    place.write("lists.txt", "1 2 3\n2 3 4\n3 4 five\n");
    let import = ["import", "lists.txt", "-o", "new.macr", "--format", "lightgcn"];
    place.fails(&import, 3, &["lists.txt:3:5", "`five`", "--skip-bad-lines"]);
    place.works(&import, &["--skip-bad-lines"]);
    place.works(&["inspect", "new.macr"], &[]);
}

#[test]
fn places_that_cannot_be_written() {
    let place = Place::with_run();
    place.write("file", "");
    fs::create_dir(place.path("folder")).unwrap();
    let under: &[&str] = &["its folder does not exist", "create the folder"];
    place.fails(&["synth", "-o", "file/x.macr"], 3, under);
    place.fails(&["split", "data.macr", "-o", "none/x.macr"], 3, under);
    place.fails(&["import", "data.macr", "-o", "file/x.macr"], 3, under);
    place.fails(&["synth", "-o", "folder"], 3, &["this is a folder"]);
    let train = ["train", "data.macr", "--out", "file/run"];
    place.fails(&[&train[..], QUICK].concat(), 1, &["cannot create file/run", "check the path"]);
    let lists = ["recommend", "run", "--data", "data.macr", "-o", "file/lists.tsv"];
    place.fails(&lists, 1, &["cannot write file/lists.tsv", "check the path"]);
    place.fails(&["demo", "--out", "file/demo"], 1, &["cannot create file/demo"]);
    let lists = ["recommend", "run", "--data", "data.macr", "-o", "folder"];
    place.fails(&lists, 1, &["cannot write folder"]);
}

/// A small disk in memory; unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path, size: &str) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let option = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(at).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let place = Place::with_run();
    let folder = place.path("disk");
    let Some(_disk) = SmallDisk::mount(&folder, "128k") else {
        println!("skipped: mounting a small disk takes root on Linux; /dev/full alone is tested");
        return;
    };
    let full = ["No space left", "free some space"];
    let big: &[&str] = &["--users", "2000", "--items", "500", "--interactions", "60000", "-q"];
    place.fails(&[&["synth", "-o", "disk/x.macr"], big].concat(), 1, &full);
    place.works(&["synth", "-o", "big.macr", "--valid-per-item", "1"], big);
    place.fails(&["split", "big.macr", "-o", "disk/x.macr"], 1, &full);
    let lists = ["recommend", "run", "--data", "data.macr", "-o", "disk/lists.tsv", "-k", "80"];
    place.fails(&lists, 1, &full);
    let wide = ["--dim", "256", "--epochs", "1", "--batch-size", "64"];
    place.fails(&[&["train", "data.macr", "--out", "disk/a/run"], &wide[..]].concat(), 1, &full);
    let lines: String = (0..20_000).map(|k| format!("user{k},item{}\n", k % 100)).collect();
    place.write("long.csv", format!("user,item\n{lines}"));
    place.fails(&["import", "long.csv", "-o", "disk/x.macr"], 1, &full);

    // What is there stays as it was.
    place.works(&["train", "data.macr", "--out", "disk/run"], QUICK);
    place
        .works(&["synth", "-o", "disk/x.macr", "--users", "50", "--items", "20"], &["--interactions", "300"]);
    place.fails(&[&["synth", "-o", "disk/x.macr", "--force"], big].concat(), 1, &full);
    place.fails(&[&["train", "data.macr", "--out", "disk/run", "--force"], &wide[..]].concat(), 1, &full);
    place.works(&["evaluate", "disk/run", "--data", "data.macr"], &[]);
}

#[test]
fn results_that_cannot_be_printed() {
    let place = Place::with_run();
    let before = place.files();
    let every: [&[&str]; 5] = [
        &["inspect", "data.macr"],
        &["evaluate", "run", "--data", "data.macr"],
        &["recommend", "run", "--data", "data.macr"],
        &["doctor", "--json"],
        &["--help"],
    ];
    for arguments in every {
        if Path::new("/dev/full").exists() {
            let device = File::options().write(true).open("/dev/full").unwrap();
            let output = place.command(arguments).stdout(device).output().unwrap();
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
            let help = arguments == ["--help"];
            assert!(help || message.contains("cannot write standard output"), "{message}");
        } else {
            println!("skipped: no /dev/full");
        }
        // Whoever reads may stop early.
        let mut child =
            place.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}");
    }
    place.unchanged(&before, &["printing"]);
    // A run that nobody waits for is let go of.
    let train = [&["train", "data.macr", "--out", "unread"], QUICK].concat();
    let mut child = place.command(&train).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(place.path("unread/config.toml").exists() && !place.path("unread/.macr-lock").exists());
}

#[cfg(unix)]
#[test]
fn files_have_the_mode_that_is_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_run();
    for (umask, mode) in [("077", 0o600), ("022", 0o644)] {
        let plain = place.command(&["synth", "-o", "new.macr", "--force", "--users", "50", "--items", "20"]);
        let script = format!("umask {umask}; exec \"$0\" \"$@\" --interactions 300 --seed {umask}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(plain.get_program()).args(plain.get_args());
        assert!(command.current_dir(place.path("")).status().unwrap().success());
        let found = fs::metadata(place.path("new.macr")).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{found:o} with a umask of {umask}");
    }
}

#[cfg(unix)]
#[test]
fn devices_and_links_are_written_to() {
    let place = Place::with_run();
    // Through links: a mistake would replace a link, and not the machine's device.
    for (name, device) in [("null", "/dev/null"), ("full", "/dev/full")] {
        std::os::unix::fs::symlink(device, place.path(name)).unwrap();
    }
    let lists = |file| ["recommend", "run", "--data", "data.macr", "-k1", "-o", file];
    place.works(&lists("null"), &[]);
    if Path::new("/dev/full").exists() {
        place.fails(&lists("full"), 1, &["cannot write full", "No space left"]);
    }
    for (name, device) in [("null", "/dev/null"), ("full", "/dev/full")] {
        assert_eq!(fs::read_link(place.path(name)).unwrap(), Path::new(device));
    }
    place.works(&["synth", "-o", "null"], SMALL);
    let out = place.works(&lists("/dev/stdout"), &[]);
    assert_eq!(out.lines().count(), 301);
}

#[test]
fn text_is_remarked_upon_wherever_it_is_read() {
    let place = Place::empty();
    let rows: String = (0..40).map(|n| format!("u{},i{},{}\n", n % 8, n / 8, 1 + n % 5)).collect();
    place.write("ratings.csv", format!("user,item,rating\n{rows}"));
    // Imported, and from the cache.
    for _ in 0..2 {
        let outcome = place.run(&["inspect", "ratings.csv"]);
        assert!(outcome.err.contains("note: ratings from 1 to 5: each counts"), "{}", outcome.err);
    }
    assert_eq!(place.run(&["inspect", "ratings.csv", "-q"]).err, "");
    place.works(&["import", "ratings.csv", "-o", "ratings.macr", "-q"], &[]);
    assert_eq!(place.run(&["inspect", "ratings.macr"]).err, "");
}
