//! Every importer: the first two bytes say with which options, and byte 30 stands between the files of three splits.

use macr::{
    Interactions, Split,
    data::import::{FORMATS, ImportOptions, Source, import_sources},
};

use super::{file, interactions::look_at};

pub fn run(input: &[u8]) {
    let [format, flags, text @ ..] = input else { return };
    let flag = |k: u8| flags >> k & 1 == 1;
    let options = ImportOptions {
        format: FORMATS.get(usize::from(*format)).map(|format| format.name().to_owned()),
        separator: flag(0).then(|| ";".into()),
        header: (flag(1) || flag(2)).then(|| flag(1)),
        user: flag(3).then(|| "2".into()),
        min_rating: flag(4).then_some(2.0),
        k_core: flag(5).then_some(2),
        skip_bad_lines: flag(6),
        ..ImportOptions::default()
    };
    let sources: Vec<Source> = text
        .split(|&b| b == 30)
        .zip(Split::ALL)
        .map(|(part, split)| Source { path: file(split.name(), part), split })
        .collect();
    let Ok((data, report)) = import_sources(&sources, &options, &|_| ()) else { return };
    let counts = Split::ALL.map(|split| data.count(split));
    assert_eq!(report.interactions, counts);
    look_at(&data);
    // What was imported is a whole file.
    if flag(7) {
        let path = file("imported.macr", b"");
        data.save(&path).expect("a file in memory");
        assert_eq!(Interactions::open(path).expect("what was written").checksum(), data.checksum());
    }
}
