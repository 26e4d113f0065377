//! Importing: every format, every error with its place, filters, numbering and the cache.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use macr::{
    Edges, Error, Interactions, InteractionsBuilder, Split,
    data::{
        filter,
        import::{ImportOptions, ImportReport, import},
        source,
    },
    error::Kind,
};
use proptest::prelude::*;
use tempfile::TempDir;

/// A folder with files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn run(path: &Path, options: &ImportOptions) -> macr::Result<(Interactions, ImportReport)> {
    import(&[path], options, &|_| ())
}

/// Imports one file with this name and text.
fn text(name: &str, text: &str, options: &ImportOptions) -> macr::Result<(Interactions, ImportReport)> {
    let folder = folder(&[(name, text.as_bytes())]);
    run(&folder.path().join(name), options)
}

fn options(set: impl FnOnce(&mut ImportOptions)) -> ImportOptions {
    let mut options = ImportOptions::default();
    set(&mut options);
    options
}

type Row = (String, String, Option<f32>, Option<i64>);

/// The interactions of a split by external ids, in the order of the file.
fn rows(data: &Interactions, split: Split) -> Vec<Row> {
    let (csr, users, items) = (data.by_user(split), data.user_ids(), data.item_ids());
    (0..data.users())
        .flat_map(|user| csr.range(user).map(move |k| (user, k)))
        .map(|(user, k)| {
            (
                users.get(user).into_owned(),
                items.get(csr.indices[k]).into_owned(),
                data.weights(split).map(|w| w[k]),
                data.timestamps(split).map(|t| t[k]),
            )
        })
        .collect()
}

fn row(user: &str, item: &str, rating: Option<f32>, time: Option<i64>) -> Row {
    (user.into(), item.into(), rating, time)
}

fn three() -> Vec<Row> {
    vec![
        row("7", "10", Some(5.0), Some(100)),
        row("7", "30", Some(3.5), Some(300)),
        row("2", "10", Some(1.0), Some(200)),
    ]
}

#[test]
fn every_format_with_columns_gives_the_same_data() {
    let cases = [
        ("r.csv", "userId,movieId,rating,timestamp\n7,10,5,100\n2,10,1,200\n7,30,3.5,300\n", "csv"),
        ("r.csv", "rating;item;time;user\n5;10;100;7\n1;10;200;2\n3.5;30;300;7", "csv"),
        (
            "r.tsv",
            "user\titem\trating\ttimestamp\r\n7\t10\t5\t100\r\n2\t10\t1\t200\r\n\r\n7\t30\t3.5\t300\r\n",
            "csv",
        ),
        ("ratings.dat", "7::10::5::100\n2::10::1::200\n7::30::3.5::300\n", "movielens-dat"),
        ("u.data", "7\t10\t5\t100\n2\t10\t1\t200\n7\t30\t3.5\t300\n", "movielens-data"),
        (
            "x.inter",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t10\t5\t100.0\n2\t10\t1.0\t200.5\n7\t30\t3.5\t3e2\n",
            "recbole",
        ),
        ("bom.csv", "\u{feff}user,item,rating,timestamp\n7,10,5,100\n2,10,1,200\n7,30,3.5,300", "csv"),
    ];
    for (name, content, format) in cases {
        let (data, report) = text(name, content, &ImportOptions::default()).unwrap();
        assert_eq!(rows(&data, Split::Train), three(), "{content:?}");
        assert_eq!((report.format, report.detected), (format, true), "{content:?}");
        assert_eq!(report.interactions, [3, 0, 0]);
        let (again, report) = text(name, content, &options(|o| o.format = Some(format.into()))).unwrap();
        assert_eq!((again.checksum(), report.detected), (data.checksum(), false));
    }
}

#[test]
fn compressed_files_are_recognised_by_their_bytes() {
    let plain = b"user,item,rating,timestamp\n7,10,5,100\n2,10,1,200\n7,30,3.5,300\n";
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    gz.write_all(plain).unwrap();
    let gz = gz.finish().unwrap();
    let zst = zstd::encode_all(&plain[..], 1).unwrap();
    let folder = folder(&[
        ("a.csv.gz", &gz),
        ("a.csv.zst", &zst),
        ("cut.csv.gz", &gz[..gz.len() - 9]),
        ("cut.zst", &zst[..20]),
    ]);
    for name in ["a.csv.gz", "a.csv.zst"] {
        let (data, _) = run(&folder.path().join(name), &ImportOptions::default()).unwrap();
        assert_eq!(rows(&data, Split::Train), three());
    }
    for name in ["cut.csv.gz", "cut.zst"] {
        let error = run(&folder.path().join(name), &ImportOptions::default()).unwrap_err();
        assert!(matches!(&error, Error::File { .. }), "{error}");
    }
}

#[test]
fn lists_keep_their_numbers() {
    let folder =
        folder(&[("train.txt", b"0 1 2\n3 0 2 \n\n1\n"), ("test.txt", b"0 5\n4 1\n"), ("README.md", b"x")]);
    let (data, report) = run(folder.path(), &ImportOptions::default()).unwrap();
    assert_eq!((data.users(), data.items(), report.format), (5, 6, "lightgcn"));
    assert_eq!(data.by_user(Split::Train).row(3), [0, 2]);
    assert!(data.by_user(Split::Train).row(1).is_empty());
    assert_eq!(data.by_item(Split::Test).row(5), [0]);
    assert_eq!(data.user_ids(), macr::Ids::Dense(5));
    assert_eq!(report.remarks, ["1 user of test not seen in train", "1 item of test not seen in train"]);
}

#[test]
fn sparse_lists_become_names() {
    let (data, _) =
        text("l.txt", "99999999999999999999 7 4000000000\n5 007\n", &ImportOptions::default()).unwrap();
    let named = |user: &str, item: &str| row(user, item, None, None);
    assert_eq!(
        rows(&data, Split::Train),
        [named("99999999999999999999", "7"), named("99999999999999999999", "4000000000"), named("5", "7")]
    );
}

#[test]
fn rows_of_integers_are_not_taken_for_lists() {
    let default = ImportOptions::default;
    let rated =
        [row("1", "10", Some(5.0), None), row("1", "11", Some(4.0), None), row("2", "11", Some(3.0), None)];
    // A user on two lines has no list.
    let triples = "1 10 5\n2 11 3\n1 11 4\n";
    let (data, report) = text("r.txt", triples, &default()).unwrap();
    assert_eq!((rows(&data, Split::Train), report.format), (rated.to_vec(), "csv"));
    let (data, _) = text("r.txt", "0 5 3 881250949\n0 6 1 881250950\n", &default()).unwrap();
    assert_eq!(rows(&data, Split::Train)[0], row("0", "5", Some(3.0), Some(881_250_949)));

    // Where each stands on one line, only a person can tell.
    for either in ["0 5 3 881250949\n", "1 10 5\n2 11 3\n"] {
        let error = text("r.txt", either, &default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        let said = error.to_string();
        assert!(said.contains("--format lightgcn") && said.contains("--format csv"), "{said}");
        let items =
            |given: ImportOptions| text("r.txt", either, &given).unwrap().0.by_user(Split::Train).nnz();
        let lines = either.lines().count() as u64;
        assert!(items(options(|o| o.format = Some("lightgcn".into()))) > lines);
        assert_eq!(items(options(|o| o.format = Some("csv".into()))), lines);
        assert_eq!(items(options(|o| o.rating = Some("3".into()))), lines);
    }
}

#[test]
fn lists_of_equal_length_are_lists() {
    // Of one item: the same as pairs; of more than rows have columns.
    for (content, interactions) in [("0 5\n1 6\n0 7\n", 3), ("0 1 2 3 4\n1 2 3 4 5\n", 8)] {
        let (data, report) = text("train.txt", content, &ImportOptions::default()).unwrap();
        assert_eq!((data.count(Split::Train), report.format), (interactions, "lightgcn"), "{content:?}");
    }
}

#[test]
fn folders_may_hold_splits_of_any_format() {
    for (names, header, line) in [
        (["train.csv", "valid.csv", "test.csv"], "user,item\n", "a,x\n"),
        (["d.train.inter", "d.valid.inter", "d.test.inter"], "user_id:token\titem_id:token\n", "a\tx\n"),
    ] {
        let content = format!("{header}{line}");
        let folder = folder(&names.map(|name| (name, content.as_bytes())));
        let (data, report) = run(folder.path(), &ImportOptions::default()).unwrap();
        for split in Split::ALL {
            assert_eq!(rows(&data, split), [row("a", "x", None, None)]);
        }
        assert_eq!(report.files.len(), 3);
        assert!(report.remarks.contains(&"1 interaction of test found in train as well".into()));
    }
}

#[test]
fn a_whole_dataset_in_a_folder_is_found() {
    let folder = folder(&[("movies.dat", b"1::x"), ("ratings.dat", b"7::10::5::100\n")]);
    assert_eq!(run(folder.path(), &ImportOptions::default()).unwrap().1.format, "movielens-dat");
}

#[test]
fn columns_and_separator_can_be_chosen() {
    let given = options(|o| {
        o.separator = Some("||".into());
        o.header = Some(false);
        o.user = Some("3".into());
        o.item = Some("1".into());
        o.rating = Some("none".into());
    });
    let (data, _) = text("odd", "tea||4||ann\nmilk||5||bob\n", &given).unwrap();
    assert_eq!(rows(&data, Split::Train), [row("ann", "tea", None, None), row("bob", "milk", None, None)]);

    let by_name = options(|o| {
        o.user = Some("who".into());
        o.item = Some("what".into());
        o.rating = Some("how".into());
    });
    let (data, _) = text("x.csv", "what,who,how\ntea,ann,4\n", &by_name).unwrap();
    assert_eq!(rows(&data, Split::Train), [row("ann", "tea", Some(4.0), None)]);

    // Without a header, a third column of numbers is a rating and one of large numbers a time.
    let (data, report) =
        text("x.csv", "a,x,4,1600000000\nb,y,5,1600000001\n", &ImportOptions::default()).unwrap();
    assert_eq!(rows(&data, Split::Train)[0], row("a", "x", Some(4.0), Some(1_600_000_000)));
    assert!(report.files[0].columns.contains("without header"));
    let (data, _) = text("x.csv", "a,x,1600000000\n", &ImportOptions::default()).unwrap();
    assert_eq!(rows(&data, Split::Train), [row("a", "x", None, Some(1_600_000_000))]);
}

#[test]
fn dates_are_times() {
    let content =
        "user,item,timestamp\na,x,2023-01-05\na,y,2023-01-05 12:00:00\nb,x,2023-01-05T12:00:00.5+01:00\n";
    let seconds = [Some(1_672_876_800), Some(1_672_920_000), Some(1_672_916_400)];
    let times = |content: &str| {
        let (data, _) = text("d.csv", content, &ImportOptions::default()).unwrap();
        rows(&data, Split::Train).into_iter().map(|(.., time)| time).collect::<Vec<_>>()
    };
    assert_eq!(times(content), seconds);
    // Also where no name says that they are.
    assert_eq!(times(content.split_once('\n').unwrap().1), seconds);
}

#[test]
fn quoted_fields_hold_separators_quotes_and_line_ends() {
    let content =
        "user,item,title\n\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\"\nc,\"x\",plain\r\n\"ü\",y,\"\"\n";
    let (data, _) = text("q.csv", content, &ImportOptions::default()).unwrap();
    let named = |user: &str, item: &str| row(user, item, None, None);
    assert_eq!(rows(&data, Split::Train), [named("a,b", "say \"hi\""), named("c", "x"), named("ü", "y")]);
}

#[test]
fn large_quoted_files_are_cut_at_line_ends() {
    // Several chunks, with line ends inside quotes everywhere.
    let (mut content, filler) = (String::from("user,item,text\n"), "\"a \"\"b\"\"\n,c\n\"".to_owned());
    let n = 400_000;
    for k in 0..n {
        content += &format!("u{},i{},{filler}\n", k % 1000, k / 1000);
    }
    let (data, report) = text("q.csv", &content, &ImportOptions::default()).unwrap();
    assert_eq!((data.users(), data.items(), report.interactions[0]), (1000, n / 1000, u64::from(n)));
}

#[test]
fn duplicates_are_kept_once_with_latest_time_and_largest_rating() {
    let content = "user,item,rating,timestamp\na,x,5,1\na,x,2,9\nb,x,1,1\na,x,3,4\n";
    let (data, report) = text("d.csv", content, &ImportOptions::default()).unwrap();
    assert_eq!(rows(&data, Split::Train)[0], row("a", "x", Some(5.0), Some(9)));
    assert_eq!((report.duplicates, report.interactions[0]), (2, 2));
}

/// Line and column of the error, what was expected and what was found.
fn place(error: Error) -> (u64, u64, String, String) {
    assert_eq!(error.kind(), Kind::Input);
    match error {
        Error::Parse { line, column, expected, found, .. } => (line, column, expected, found),
        other => panic!("{other}"),
    }
}

#[test]
fn ratings_that_count_alike_are_remarked() {
    let content = "user,item,rating\na,x,5\na,y,0.5\nb,x,4\n";
    let remarks = |content: &str, given: &ImportOptions| text("r.csv", content, given).unwrap().1.remarks;
    let said = remarks(content, &ImportOptions::default());
    assert!(said.len() == 1 && said[0].contains("ratings from 0.5 to 5:"), "{said:?}");
    assert!(said[0].contains("--min-rating"), "{said:?}");
    assert!(remarks(content, &options(|o| o.min_rating = Some(1.0))).is_empty());
    assert!(remarks(content, &options(|o| o.rating = Some("none".into()))).is_empty());
    // All ones are no opinions.
    assert!(remarks("user,item,rating\na,x,1\nb,y,1\n", &ImportOptions::default()).is_empty());
}

#[test]
fn bad_lines_are_named_with_their_place() {
    let head = "user,item,rating,timestamp\na,x,5,100\n";
    let time = "a time (seconds or 2023-01-05T12:00:00Z; --timestamp none imports without times)";
    for (line, column, expected, found) in [
        ("b,y,much,100", 5, "a rating (a number)", "`much`"),
        ("b,y,inf,100", 5, "a rating (a number)", "`inf`"),
        ("b,y,,100", 5, "a rating (a number)", "nothing"),
        ("b,y,4,noon", 7, time, "`noon`"),
        ("b,y,4,05/01/2023", 7, time, "`05/01/2023`"),
        (",y,4,100", 1, "a user id", "nothing"),
        ("b,,4,100", 3, "an item id", "nothing"),
        ("b,y,4", 6, "4 fields", "3"),
        ("b,y,4,100,z", 11, "4 fields", "5"),
        ("b,\"y,4,100", 3, "a quoted field that is closed", "`\"y,4,100`"),
        ("b,\"y\"z,4,1", 6, "a separator or the end of the line after a quoted field", "`z,4,1`"),
    ] {
        let error = text("b.csv", &format!("{head}\n{line}\n"), &ImportOptions::default()).unwrap_err();
        assert_eq!(place(error), (4, column, expected.into(), found.into()), "{line}");
    }
    let error = text("l.txt", &format!("{}0 1 2x 3\n", "0 1\n".repeat(20_000)), &ImportOptions::default());
    assert_eq!(place(error.unwrap_err()), (20_001, 5, "an integer".into(), "`2x`".into()));
    let error = text("x.inter", "user\titem\n", &options(|o| o.format = Some("recbole".into())));
    assert_eq!(place(error.unwrap_err()).0, 1);
}

#[test]
fn bad_utf8_is_a_bad_line() {
    let folder = folder(&[("b.csv", b"user,item\na,x\nb,\xff\xfe\n")]);
    let error = run(&folder.path().join("b.csv"), &ImportOptions::default()).unwrap_err();
    let (line, column, expected, _) = place(error);
    assert_eq!((line, column, &*expected), (3, 3, "an item id in UTF-8"));
}

#[test]
fn the_first_bad_line_is_reported_whatever_the_chunks() {
    let mut content = String::from("user,item,rating\n");
    for k in 0..1_000_000 {
        let rating = if k % 250_000 == 249_999 { "bad" } else { "5" };
        content += &format!("u{k},i,{rating}\n");
    }
    let error = text("b.csv", &content, &ImportOptions::default()).unwrap_err();
    assert_eq!(place(error).0, 250_001);
    let (data, report) = text("b.csv", &content, &options(|o| o.skip_bad_lines = true)).unwrap();
    assert_eq!((data.users(), report.skipped_lines), (999_996, 4));
    let lines: Vec<u64> = report.bad_lines.iter().map(|bad| bad.line).collect();
    assert_eq!(lines, [250_001, 500_001, 750_001, 1_000_001]);
}

#[test]
fn what_is_no_text_is_refused_at_once() {
    for (bytes, says) in [
        (&b""[..], "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"\x7fELF\x02\x01\0\0\0\0", "not a text file"),
        (b"PK\x03\x04 zip", "zip"),
        (b"\xff\xfeu\0s\0", "UTF-16"),
        (
            b"{\"user\": 1, \"item\": 10}\n{\"user\": 2, \"item\": 10}\n",
            "JSON, which is not read; export it to CSV",
        ),
        (b"[\n  {\"user\": \"a\", \"item\": \"x\"}\n]\n", "JSON"),
        (b"[1, 10, 5]\n[2, 10, 3]\n", "JSON"),
        (b"PAR1\x15\0\x15\x04PAR1", "Parquet, which is not read; export it to CSV"),
        (b"MACRDATA....", "interaction file already"),
        (b"hello\n", "not recognised"),
    ] {
        let folder = folder(&[("x", bytes)]);
        let error = run(&folder.path().join("x"), &options(|o| o.skip_bad_lines = true)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.kind(), Kind::Input);
    }
}

#[test]
fn names_in_brackets_are_not_json() {
    for (content, user) in [("{1a-2b},x\n{3c-4d},y\n", "{1a-2b}"), ("[a],[x]\n[b],[y]\n", "[a]")] {
        let (data, _) = text("x.csv", content, &ImportOptions::default()).unwrap();
        assert_eq!(data.user_ids().get(0), user);
    }
}

#[test]
fn other_errors_say_what_to_do() {
    let default = ImportOptions::default;
    let csv = "user,item\na,x\n";
    let says = |result: macr::Result<(Interactions, ImportReport)>, parts: &[&str]| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::Input, "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{error}");
        }
    };
    says(run(Path::new("no/such/file"), &default()), &["cannot open", "check the path"]);
    says(run(folder(&[]).path(), &default()), &["train.txt", "no files"]);
    says(run(folder(&[("test.txt", b"0 1\n")]).path(), &default()), &["train.txt", "it holds test.txt"]);
    let two = folder(&[("train.txt", b"0 1\n"), ("train.csv", b"a,b\n")]);
    says(run(two.path(), &default()), &["could be either"]);
    says(text("x.csv", csv, &options(|o| o.min_rating = Some(3.0))), &["min-rating", "no ratings"]);
    says(text("x.csv", csv, &options(|o| o.k_core = Some(2))), &["leave no interactions"]);
    says(text("x.csv", csv, &options(|o| o.format = Some("cvs".into()))), &["`csv`"]);
    says(text("x.csv", csv, &options(|o| o.user = Some("usr".into()))), &["did you mean `user`"]);
    says(text("x.csv", csv, &options(|o| o.user = Some("3".into()))), &["the file has 2 columns"]);
    says(
        text("x.csv", csv, &options(|o| (o.user, o.item) = (Some("1".into()), Some("1".into())))),
        &["item"],
    );
    says(text("x.csv", "user,item\n", &default()), &["no interactions"]);
    says(text("l.txt", "0\n1\n", &options(|o| o.format = Some("lightgcn".into()))), &["no interactions"]);
}

#[test]
fn filters_leave_out_and_report() {
    let content = "user,item,rating\na,x,5\na,y,1\nb,x,4\nc,z,2\n";
    let (data, report) = text("f.csv", content, &options(|o| o.min_rating = Some(4.0))).unwrap();
    assert_eq!(rows(&data, Split::Train), [row("a", "x", Some(5.0), None), row("b", "x", Some(4.0), None)]);
    assert_eq!((report.removed.users, report.removed.items, report.removed.interactions), (1, 2, 2));
    let provenance: serde_json::Value = serde_json::from_str(&data.provenance()).unwrap();
    assert_eq!(provenance["filters"]["min_rating"], 4.0);
    assert_eq!(provenance["sources"][0]["file"], "f.csv");
}

/// Takes off users and items with fewer than `k` edges, round by round.
fn naive_core(mut edges: Vec<(u32, u32)>, k: usize) -> Vec<(u32, u32)> {
    loop {
        let degree = |side: fn(&(u32, u32)) -> u32, id| edges.iter().filter(|e| side(e) == id).count();
        let kept: Vec<_> = edges
            .iter()
            .copied()
            .filter(|e| degree(|e| e.0, e.0) >= k && degree(|e| e.1, e.1) >= k)
            .collect();
        if kept.len() == edges.len() {
            return kept;
        }
        edges = kept;
    }
}

proptest! {
    #[test]
    fn the_core_is_the_fixed_point(
        edges in prop::collection::btree_set((0u32..12, 0u32..9), 0..60),
        k in 1u32..5,
    ) {
        let data = InteractionsBuilder::new(12, 9).split(Split::Train, Edges::from_pairs(edges.iter().copied())).build()?;
        let core = filter::k_core(&data, k).build()?;
        let found: Vec<_> = rows(&core, Split::Train)
            .into_iter()
            .map(|(user, item, ..)| (user.parse::<u32>().unwrap(), item.parse::<u32>().unwrap()))
            .collect();
        prop_assert_eq!(found, naive_core(edges.into_iter().collect(), k as usize));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(prop::num::u8::ANY, 0..400), skip: bool) {
        let folder = folder(&[("x", &bytes)]);
        for format in [None, Some("csv"), Some("lightgcn"), Some("recbole"), Some("movielens-dat")] {
            let options = options(|o| (o.format, o.skip_bad_lines) = (format.map(Into::into), skip));
            let _ = run(&folder.path().join("x"), &options);
        }
    }

    #[test]
    fn random_text_never_panics(content in "[0-9a\"',:;|\t\r\n .-]{0,200}", skip: bool) {
        for format in [None, Some("csv"), Some("lightgcn"), Some("movielens-data")] {
            let _ = text("x", &content, &options(|o| (o.format, o.skip_bad_lines) = (format.map(Into::into), skip)));
        }
    }
}

#[test]
fn the_result_does_not_depend_on_threads() {
    let mut content = String::from("user,item,rating,timestamp\n");
    let mut state = 1u64;
    for _ in 0..600_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (user, item) = (state >> 40, state >> 33 & 0x7ff);
        content += &format!("user-{},i{},{},{}\n", user % 5000, item % 700, state % 5, state >> 50);
    }
    let folder = folder(&[("big.csv", content.as_bytes())]);
    let of = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&folder.path().join("big.csv"), &ImportOptions::default()).unwrap().0)
    };
    let one = of(1);
    assert!(content.len() > 3 * (4 << 20), "several chunks");
    let first = content.lines().nth(1).unwrap().split(',').next().unwrap();
    assert_eq!(one.user_ids().get(0), first);
    for threads in [2, 5] {
        assert_eq!(of(threads).checksum(), one.checksum());
    }
}

#[test]
fn sources_are_imported_once() {
    let folder = folder(&[("train.txt", b"0 1\n1 0\n"), ("test.txt", b"0 0\n")]);
    let cache = folder.path().join("cache");
    let open = || source::open_in(&cache, folder.path(), &|_| ()).unwrap();
    let entries = || fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path()).collect::<Vec<PathBuf>>();
    let first = open();
    assert_eq!((entries().len(), first.count(Split::Test)), (1, 1));
    assert_eq!(open().checksum(), first.checksum());
    assert_eq!(entries().len(), 1);

    // A damaged entry is made anew, and another source has another entry.
    fs::write(&entries()[0], b"MACRDATA damaged").unwrap();
    assert_eq!(open().checksum(), first.checksum());
    assert!(Interactions::open(&entries()[0]).is_ok());
    fs::write(folder.path().join("test.txt"), b"0 0\n1 1\n").unwrap();
    assert_eq!(open().count(Split::Test), 2);
    assert_eq!(entries().len(), 2);

    // A file made by import is opened as it is; its damage is reported.
    let file = folder.path().join("d.macr");
    first.save(&file).unwrap();
    assert_eq!(source::open_in(&cache, &file, &|_| ()).unwrap().checksum(), first.checksum());
    fs::write(&file, b"MACR").unwrap();
    assert!(matches!(source::open_in(&cache, &file, &|_| ()), Err(Error::File { .. })));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_once_and_not_kept() {
    let folder = folder(&[]);
    let cache = folder.path().join("cache");
    let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("macr"));
    command.env("MACR_CACHE", &cache).args(["inspect", "/dev/stdin", "--json"]);
    let output = command.write_stdin("user,item\na,x\nb,x\n").assert().success();
    let profile: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(profile["users"], 2);
    assert!(!cache.exists());
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let folder = folder(&[("x.csv", b"a,x\n"), ("occupied", b"")]);
    // A file stands where the folder should be.
    let cache = folder.path().join("occupied").join("cache");
    assert_eq!(source::open_in(&cache, folder.path().join("x.csv"), &|_| ()).unwrap().users(), 1);
}

#[test]
fn adressa_has_its_published_size() {
    let data = std::env::var_os("MACR_TEST_DATA").map_or("../shared/data".into(), PathBuf::from);
    if !data.join("adressa").is_dir() {
        println!("skipped: no folder {} (set MACR_TEST_DATA)", data.join("adressa").display());
        return;
    }
    let (data, report) = run(&data.join("adressa"), &ImportOptions::default()).unwrap();
    assert_eq!((data.users(), data.items()), (13_485, 744));
    assert_eq!((data.count(Split::Train), data.count(Split::Test)), (113_345, 2_976));
    assert_eq!(report.format, "lightgcn");
}

#[test]
fn the_command_writes_reports_and_refuses_to_overwrite() {
    let folder = folder(&[("a.csv", b"user,item\na,x\na,x\n"), ("b.csv", b"user,item\nb,x\n")]);
    let command = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("macr"));
        command.current_dir(folder.path()).args(arguments).assert()
    };
    let output = command(&["import", "a.csv", "-o", "d.macr", "--json"]).success();
    let report: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!((&report["duplicates"], &report["format"]), (&1.into(), &"csv".into()));
    let output = command(&["import", "a.csv", "-o", "d.macr"]).success();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (result, remarks) = (said(&output.get_output().stdout), said(&output.get_output().stderr));
    assert!(result.starts_with("d.macr: 1 user, 1 item, 1 train interaction ("), "{result}");
    assert!(remarks.contains("left out 1 interaction that had occurred before"), "{remarks}");
    command(&["import", "b.csv", "-o", "d.macr"]).code(3);
    command(&["import", "b.csv", "-o", "a.csv"]).code(3);
    command(&["import", "b.csv", "-o", "d.macr", "--force"]).success();
    assert_eq!(Interactions::open(folder.path().join("d.macr")).unwrap().user_ids().get(0), "b");
    command(&["import", "none.csv", "-o", "e.macr"]).code(3);
    command(&["import", "b.csv", "-o", "none/e.macr"]).code(3);
}
