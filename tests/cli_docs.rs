//! `docs/cli.md` and `--help` say the same.

mod command;

use std::collections::BTreeSet;

use command::{Place, QUICK};
use macr::Config;

const DOCS: &str = include_str!("../docs/cli.md");

/// Every `--word` in `text`.
fn options(text: &str) -> BTreeSet<&str> {
    let part_of_word = |c: char| c != '-' && !c.is_ascii_alphanumeric();
    let named = |word: &&str| {
        word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_alphabetic()))
    };
    text.split(part_of_word).filter(named).collect()
}

/// The options that a help text lists: the first of every line that begins with one.
fn listed(help: &str) -> BTreeSet<&str> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    lines.filter_map(|line| line.split([' ', '=', '[']).find(|word| word.starts_with("--"))).collect()
}

/// Heading and text of every section.
fn sections() -> Vec<(&'static str, &'static str)> {
    DOCS.split("\n## macr ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

/// The names that a help text lists under `Commands:`.
fn subcommands(help: &str) -> BTreeSet<&str> {
    let list = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|&name| name != "help").collect()
}

#[test]
fn every_option_is_described_and_no_other() {
    let place = Place::empty();
    let help = place.works(&["--help"], &[]);
    assert_eq!(subcommands(&help), sections().iter().map(|(name, _)| *name).collect());
    let common = DOCS.split_once("\n## macr ").unwrap().0;
    let global = options(common.split_once("| option of every").unwrap().1.split_once("\n\n").unwrap().0);
    assert!(listed(&help).is_subset(&global), "{:?}", listed(&help));
    for (name, section) in sections() {
        let help = place.works(&[name, "--help"], &[]);
        let known = listed(&help);
        assert!(known.is_superset(&global), "{name}: {known:?}");
        // In the first column of a table.
        let first_column = |line: &'static str| line.strip_prefix("| ")?.split(" | ").next();
        let described: BTreeSet<&str> = section.lines().filter_map(first_column).flat_map(options).collect();
        let own: BTreeSet<&str> = known.difference(&global).copied().collect();
        assert_eq!(described, own, "{name}");
        let foreign: Vec<&str> = options(section).difference(&known).copied().collect();
        assert!(foreign.is_empty(), "{name} has no {foreign:?}");
    }
}

#[test]
fn defaults_are_those_of_the_program() {
    let (_, section) = sections().into_iter().find(|(name, _)| *name == "train").unwrap();
    let config: toml::Table = Config::default().to_toml().unwrap().parse().unwrap();
    for (key, value) in &config {
        let start = format!("| `--{}`", key.replace('_', "-"));
        let row = section.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {key}"));
        let value = value.to_string();
        let shown = value.trim_matches(['[', ']', '"']);
        let stated = row.trim_end_matches([' ', '|', '`']).rsplit('`').next().unwrap();
        let number = |text: &str| text.parse::<f64>();
        let same = match (number(stated), number(shown)) {
            (Ok(a), Ok(b)) => (a - b).abs() <= 1e-6 * b.abs(),
            _ => stated == shown,
        };
        assert!(same, "{key}: the page says {stated}, the program {shown}");
    }
}

/// The default that a help text tells of an option.
fn told(help: &str, option: &str) -> Option<String> {
    // An option's first line has its names and its value, and no words.
    let begins = |line: &&str| {
        let mut parts = line.split_whitespace().peekable();
        parts.peek().is_some() && parts.all(|part| part.starts_with(['-', '<', '[']))
    };
    let mut lines = help.lines().skip_while(|line| !(begins(line) && listed(line).contains(option)));
    lines.next()?;
    let words: Vec<&str> = lines.take_while(|line| !begins(line)).flat_map(str::split_whitespace).collect();
    let text = words.join(" ");
    Some(text.split_once("[default: ")?.1.split_once(']')?.0.to_owned())
}

#[test]
fn the_help_tells_the_same_defaults() {
    let place = Place::empty();
    for name in ["train", "synth"] {
        let (_, section) = sections().into_iter().find(|(known, _)| *known == name).unwrap();
        let help = place.works(&[name, "--help"], &[]);
        let mut compared = 0;
        for row in section.lines().filter(|line| line.starts_with("| `-")) {
            let (first_column, _) = row.split_once(" | ").unwrap();
            let option = options(first_column).into_iter().next().unwrap();
            let default =
                row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap().trim().replace('`', "");
            // A flag has nothing to be told.
            if row.ends_with("| |") || option == "--eps-compat" {
                continue;
            }
            let told = told(&help, option).unwrap_or_else(|| panic!("{name} {option} tells no default"));
            let same = match (told.parse::<f64>(), default.parse::<f64>()) {
                (Ok(a), Ok(b)) => a == b,
                _ => told == default,
            };
            assert!(same, "{name} {option}: the page says {default}, the help {told}");
            compared += 1;
        }
        assert!(compared > 13, "{name}: {compared}");
    }
}

#[test]
fn every_key_of_the_json_is_described() {
    let place = Place::with_run();
    place.write("some.csv", "user,item\na,x\na,y\n");
    let train = ["train", "data.macr", "--json", "--out", "other"];
    // But the demo's, which takes long and prints results of evaluations.
    let cases: [(&str, Vec<&str>); 12] = [
        ("train", [&train[..], QUICK].concat()),
        ("train", [&train[..], QUICK, &["--dry-run"]].concat()),
        ("evaluate", vec!["evaluate", "run", "--data", "data.macr", "--json", "--groups"]),
        ("report", vec!["report", "run", "--data", "data.macr", "--json"]),
        ("reproduce", vec!["reproduce", "table1", "--data", "data.macr", "--json"]),
        ("reproduce", vec!["reproduce", "table3", "--data", "data.macr", "--dry-run", "--json"]),
        ("recommend", vec!["recommend", "run", "--data", "data.macr", "--json"]),
        ("import", vec!["import", "some.csv", "-o", "some.macr", "--json"]),
        ("split", vec!["split", "data.macr", "-o", "new.macr", "--json"]),
        ("synth", vec!["synth", "-o", "world.macr", "--json"]),
        ("inspect", vec!["inspect", "data.macr", "--json", "--groups"]),
        ("doctor", vec!["doctor", "--json"]),
    ];
    for (name, arguments) in cases {
        let (_, section) = sections().into_iter().find(|(known, _)| *known == name).unwrap();
        let value: serde_json::Value = serde_json::from_str(&place.works(&arguments, &[])).unwrap();
        let object = value.as_array().map_or(&value, |list| &list[0]);
        for key in object.as_object().unwrap().keys() {
            assert!(section.contains(&format!("`{key}`")), "{name} prints `{key}`");
        }
    }
}
