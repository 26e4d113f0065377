//! `macr reproduce` and `macr report` as commands: whole, from the cache, interrupted, damaged, dry.

mod command;

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use command::{Place, SMALL};
use serde_json::Value;

const QUICK_SETTINGS: &str = "dim = 8\nbatch_size = 64\nepochs = 2\neval_every = 1\n";
const WHOLE: &[&str] =
    &["reproduce", "all", "--data", "world.macr", "--config", "quick.toml", "-o", "paper", "--device", "cpu"];

fn place() -> Place {
    let place = Place::empty();
    place.works(&["synth", "-o", "world.macr", "--seed", "3", "--truth"], SMALL);
    place.write("quick.toml", QUICK_SETTINGS);
    place
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn read(place: &Place, name: &str) -> String {
    String::from_utf8(place.read(name)).unwrap()
}

fn states(document: &Value) -> Vec<String> {
    let trainings = document["trainings"].as_array().unwrap();
    trainings.iter().map(|t| t["state"].as_str().unwrap().to_owned()).collect()
}

/// Width and height of a PNG that decodes to its end, and how many of its pixels are not white.
fn decoded(bytes: &[u8]) -> (u32, u32, usize) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let inked = pixels.chunks(3).filter(|pixel| pixel.iter().any(|&part| part != 255)).count();
    (info.width, info.height, inked)
}

#[test]
fn the_whole_paper_and_then_from_the_cache() {
    let place = place();
    let first = json(&place.works(WHOLE, &["--json", "-q"]));
    assert!(states(&first).iter().all(|state| state == "trained"), "{:?}", states(&first));

    let table: Value = json(&read(&place, "paper/table2-world.json"));
    let rows = table["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["HR"]["value"].is_f64()), "{table}");
    let names = |rows: &[Value]| rows.iter().map(|row| row["system"].to_string()).collect::<Vec<_>>();
    let systems = names(&rows[..15]);
    assert_eq!((systems[0].as_str(), systems[8].as_str(), systems.len()), ("\"MF\"", "\"LightGCN\"", 15));
    assert_eq!(names(&rows[15..30]), systems, "with tau chosen");
    // Negatives of their own are part of DICE, and ExpoMF draws none.
    let drawing = |name: &&String| !name.contains("ExpoMF") && !name.contains("DICE");
    let drawing: Vec<String> = systems.iter().filter(drawing).cloned().collect();
    assert_eq!((names(&rows[30..42]), drawing.len()), (drawing, 12), "with negatives by popularity");
    assert_eq!(names(&rows[42..]), [systems[0].as_str(), systems[8].as_str()], "with both");
    let block = |row: usize| rows[row]["block"].as_str().unwrap();
    assert_eq!((block(7), block(29)), ("MF, as trained", "LightGCN, τ chosen"));
    assert_eq!(
        (block(41), block(42)),
        ("LightGCN, negatives by popularity", "MF, τ chosen and negatives by popularity")
    );
    let missing = first["missing"].as_array().unwrap();
    let missing: Vec<&str> = missing.iter().map(|m| m["system"].as_str().unwrap()).collect();
    assert_eq!(missing, ["expomf_mf, negatives", "dice_mf, negatives", "dice_lightgcn, negatives"]);
    // Notes are of the settings that these trainings have, and name no file that is not there.
    let notes = table["notes"].to_string();
    for said in ["dim = 8", "with halves of 4", "at most 2 iterations", "drawn in proportion to n^0.5"] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
    assert!(notes.contains("τ from 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4 (ExpoMF: from 0, 0.01, "), "{notes}");
    let settings = |name: &str| -> toml::Table {
        let trainings = first["trainings"].as_array().unwrap();
        let training = trainings.iter().find(|t| t["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        read(&place, &format!("{}/config.toml", training["run"].as_str().unwrap())).parse().unwrap()
    };
    let both = settings("world lightgcn, both, seed 0");
    assert_eq!(both["negatives"].as_str(), Some("popularity:0.5"));
    assert_eq!(both["tau"].as_array().unwrap().last().unwrap().as_float(), Some(4.0));
    let of_expomf = settings("world expomf_mf, adjusted, seed 0")["tau"].as_array().unwrap().clone();
    assert!(of_expomf.len() > 5 && of_expomf.last().unwrap().as_float() < Some(1.0), "{of_expomf:?}");
    for (name, rows) in [("table1", 1), ("table3", 5), ("table4", 4), ("table5", 4)] {
        let table = json(&read(&place, &format!("paper/{name}.json")));
        assert_eq!(table["rows"].as_array().unwrap().len(), rows, "{name}");
        assert_eq!(read(&place, &format!("paper/{name}.csv")).lines().count(), rows + 1, "{name}");
        assert!(read(&place, &format!("paper/{name}.md")).starts_with("### "), "{name}");
        assert!(read(&place, &format!("paper/{name}.tex")).contains("\\bottomrule"), "{name}");
    }
    for number in [1, 7, 8, 9, 10, 11, 12] {
        let svg = read(&place, &format!("paper/figure{number}.svg"));
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "figure {number}");
        let (width, height, inked) = decoded(&place.read(&format!("paper/figure{number}.png")));
        assert!(width >= 1000 && height >= 900 && inked > 5000, "figure {number}: {width} {height} {inked}");
    }
    let page = read(&place, "paper/index.html");
    assert_eq!(page.matches("<svg").count(), 7);
    assert!(page.contains("MACR_LightGCN") && page.contains("id=\"table5\""));
    assert!(
        !page.contains("docs/") && !page.contains("datasets/"),
        "the page is read without the repository"
    );
    // Nothing is fetched: no scripts, links, images or imported styles; addresses stand in the text only.
    for outside in ["<script", "<link", "<img", "src=", "@import", "url(", "href=\"http", "xlink:href"] {
        assert!(!page.contains(outside), "the page has {outside}");
    }

    // Again: nothing is trained, and every file has the same bytes but for what says so.
    let before = place.files();
    let again = json(&place.works(WHOLE, &["--json", "-q"]));
    assert!(states(&again).iter().all(|state| state == "kept"), "{:?}", states(&again));
    place.unchanged(&before, WHOLE);
    assert_eq!(again["tables"], first["tables"]);

    // A dry run says the same and writes nothing.
    let dry = json(&place.works(WHOLE, &["--dry-run", "--json", "-q"]));
    assert_eq!((states(&dry), &dry["expected_seconds"]), (states(&again), &Value::from(0.0)));
    place.unchanged(&before, WHOLE);

    // Damage is seen, said and repaired; the rest stays.
    let damaged = first["trainings"][0]["run"].as_str().unwrap();
    let model = format!("{damaged}/model.safetensors");
    let mut bytes = place.read(&model);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    place.write(&model, &bytes);
    let record = format!("{}/result.json", first["trainings"][1]["run"].as_str().unwrap());
    let text = read(&place, &record).replacen("\"epochs\": 2", "\"epochs\": 3", 1);
    place.write(&record, text);
    let repaired = place.run(&[WHOLE, &["--json"]].concat());
    assert_eq!(repaired.code, Some(0), "{}", repaired.err);
    assert_eq!(repaired.err.matches("is damaged and will be done again").count(), 2, "{}", repaired.err);
    let repaired = json(&repaired.out);
    assert_eq!(states(&repaired)[..2], ["trained", "trained"]);
    assert!(states(&repaired)[2..].iter().all(|state| state == "kept"));
    assert_eq!(repaired["tables"], first["tables"]);
}

#[test]
fn a_dry_run_plans_and_writes_nothing() {
    let place = place();
    let before = place.files();
    let plan = [
        "reproduce",
        "table2",
        "--data",
        "world.macr",
        "--config",
        "quick.toml",
        "--seeds",
        "2",
        "--threads",
        "2",
        "--dry-run",
        "-q",
    ];
    let document = json(&place.works(&plan, &["--json"]));
    let trainings = document["trainings"].as_array().unwrap();
    assert_eq!(trainings.len(), 2 * (15 + 15 + 12 + 2));
    for training in trainings {
        let seconds = |key: &str| training[key].as_f64().unwrap();
        assert!(0.0 < seconds("expected_seconds") && seconds("expected_seconds") <= seconds("most_seconds"));
    }
    for times in ["expected", "most"] {
        let seconds = |key: &str| document[format!("{times}_{key}")].as_f64().unwrap();
        let (sum, wall) = (seconds("seconds"), seconds("wall_seconds"));
        let (jobs, threads) = (document["jobs"].as_u64().unwrap(), document["threads"].as_u64().unwrap());
        assert_eq!((jobs, threads), (2, 1));
        // Sums in another order may differ in their last bits.
        assert!(0.499_999 * sum <= wall && wall < sum, "{times}: {wall} of {sum}");
    }
    let text = place.works(&plan, &[]);
    assert!(
        text.contains("macr_lightgcn, adjusted, seed 1") && text.contains("88 of 88 trainings to do"),
        "{text}"
    );
    assert!(text.contains("2 at a time with 1 thread each"), "{text}");
    place.unchanged(&before, &plan);
    place.fails(&["reproduce", "table9"], 2, &["table9"]);
    place.fails(&["reproduce", "table1", "--data", "nowhere"], 3, &["nowhere", "--data"]);
    place.write("wrong.toml", "dims = 3\n");
    place.fails(&["reproduce", "table1", "--data", "world.macr", "--config", "wrong.toml"], 3, &["`dim`"]);
}

#[test]
fn the_clean_protocol_and_seeds() {
    let place = place();
    let clean =
        ["reproduce", "table3", "--data", "world.macr", "--config", "quick.toml", "-o", "clean", "-q"];
    let options = ["--protocol", "clean", "--seeds", "2", "--json"];
    let document = json(&place.works(&clean, &options));
    let table = &document["tables"][0];
    assert_eq!(table["rows"].as_array().unwrap().len(), 5);
    assert!(table["rows"][0]["HR"]["spread"].is_f64());
    let notes = table["notes"].to_string();
    assert!(
        notes.contains("validation split") && notes.contains("Seeds 0 to 1") && notes.contains("dim = 8")
    );
    // Two seeds are two values, or one that both have.
    for row in table["rows"].as_array().unwrap() {
        let epochs = row["epoch"].as_str().unwrap();
        assert!(epochs.contains(", ") || epochs.ends_with(" (all)"), "{epochs}");
    }
    let run = document["trainings"][0]["run"].as_str().unwrap();
    assert!(read(&place, &format!("{run}/config.toml")).contains("select = \"valid\""));
}

#[test]
fn the_end_of_a_grid_is_said_of_tables_3_to_5() {
    let place = place();
    // Without the item branch every c ranks alike, and of equals the first is taken: the largest of these.
    place.write("quick.toml", format!("{QUICK_SETTINGS}c = [10.0, 0.0]\n"));
    let command = [
        "reproduce",
        "table3",
        "--data",
        "world.macr",
        "--config",
        "quick.toml",
        "-o",
        "ends",
        "-q",
        "--json",
    ];
    let document = json(&place.works(&command, &[]));
    let notes = document["tables"][0]["notes"].to_string();
    let rows = document["tables"][0]["rows"].as_array().unwrap();
    let at_end = rows.iter().filter(|row| row["c"] == "10").map(|row| row["variant"].as_str().unwrap());
    let at_end: Vec<&str> = at_end.collect();
    assert!(at_end.contains(&"without the item branch"), "{at_end:?}");
    assert!(notes.contains(&format!("c is at the end of its grid ({})", at_end.join("; "))), "{notes}");
    assert!(!notes.contains("τ is at the end"), "{notes}");
}

#[test]
fn only_the_papers_protocol_is_compared_with_the_paper() {
    let place = Place::empty();
    // Of the paper's size, and so taken for it.
    place.works(&["synth", "--preset", "adressa-like", "-o", "world.macr", "-q"], &[]);
    place.write("quick.toml", "dim = 4\nbatch_size = 8192\nepochs = 1\neval_every = 1\n");
    for (protocol, compared) in [("paper", true), ("clean", false)] {
        let command =
            ["reproduce", "table3", "--data", "world.macr", "--config", "quick.toml", "-q", "--json"];
        let document = json(&place.works(&command, &["--protocol", protocol, "-o", protocol]));
        let table = &document["tables"][0];
        assert_eq!(table["rows"][0]["HR paper"]["value"] == 0.14, compared, "{protocol}: {table}");
        assert_eq!(table["rows"][0].get("HR difference").is_some(), compared, "{protocol}");
        let said = table["notes"].to_string().contains("The paper's numbers are not shown");
        assert_eq!(said, !compared, "{protocol}");
    }
}

#[test]
fn figures_of_few_items_and_of_the_clean_protocol() {
    let place = Place::empty();
    let few = ["--users", "60", "--items", "12", "--interactions", "300", "--test-per-item", "2"];
    place.works(&["synth", "-o", "world.macr", "-q"], &few);
    place.write("quick.toml", format!("{QUICK_SETTINGS}k = 5\n"));
    let command =
        ["reproduce", "figure7", "figure8", "figure9", "--data", "world.macr", "--config", "quick.toml"];
    let document = json(&place.works(&command, &["--protocol", "clean", "-o", "clean", "-q", "--json"]));
    let captions: Vec<&str> =
        document["figures"].as_array().unwrap().iter().map(|f| f["caption"].as_str().unwrap()).collect();
    for (caption, said) in captions.iter().zip(["HR @12 on the test split", "top-12 lists", "the first 12"]) {
        assert!(caption.contains(said) && caption.contains("by HR @5"), "{said}: {caption}");
        assert!(!caption.contains("20") && !caption.contains("looked at once"), "{caption}");
        assert!(caption.contains("nothing is chosen on the test split"), "{caption}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_command_goes_on_where_it_was() {
    let place = place();
    place.write("long.toml", "dim = 8\nbatch_size = 64\nepochs = 60\neval_every = 1\npatience = 0\n");
    let command = [
        "reproduce",
        "table4",
        "--data",
        "world.macr",
        "--config",
        "long.toml",
        "-o",
        "paper",
        "--threads",
        "1",
    ];
    let child = place.command(&command).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (start, runs) = (Instant::now(), place.path("paper/runs"));
    let finished = || {
        let folders = fs::read_dir(&runs).into_iter().flatten().flatten();
        folders.filter(|folder| folder.path().join("result.json").exists()).count()
    };
    while finished() == 0 {
        assert!(start.elapsed() < Duration::from_secs(120), "no run was finished");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("interrupted; what was finished is in paper"), "{message}");
    let kept = finished();
    assert!((1..4).contains(&kept), "{kept} of 4 runs were finished");
    // As a command leaves a run that was killed between marking it as finished and removing its checkpoints.
    let mut folders = fs::read_dir(&runs).unwrap().flatten().map(|folder| folder.path());
    let done = folders.find(|folder| folder.join("result.json").exists()).unwrap();
    fs::create_dir(done.join("checkpoints")).unwrap();
    fs::write(done.join(".macr-lock"), "").unwrap();
    let document = json(&place.works(&command, &["--json", "-q"]));
    let states = states(&document);
    assert_eq!(states.iter().filter(|state| *state == "kept").count(), kept, "{states:?}");
    assert_eq!(states.iter().filter(|state| *state == "trained").count(), 4 - kept, "{states:?}");
    // A run that was put down goes on with the same bits: the tables are those of a command that was left alone.
    let mut whole = command;
    whole[7] = "whole";
    assert_eq!(json(&place.works(&whole, &["--json", "-q"]))["tables"], document["tables"]);
    let checkpoints = place.files().into_keys().filter(|path| path.ends_with("checkpoints"));
    assert_eq!(checkpoints.count(), 0, "finished runs keep no checkpoints");
}

#[test]
fn a_report_of_own_runs() {
    let place = place();
    let quick =
        ["--epochs", "2", "--eval-every", "1", "--dim", "8", "--batch-size", "64", "-q", "--select", "test"];
    place.works(&["train", "world.macr", "--out", "plain"], &quick);
    place.works(&["train", "world.macr", "--out", "macr", "--objective", "macr", "--c", "10"], &quick);
    let report = ["report", "plain", "macr", "--data", "world.macr", "-o", "page", "-q"];
    let truth = ["--truth", "world.truth.safetensors"];
    let document = json(&place.works(&[&report[..], &truth].concat(), &["--json"]));
    let table = |name: &str| {
        let tables = document["tables"].as_array().unwrap();
        tables.iter().find(|table| table["name"] == name).unwrap_or_else(|| panic!("no table {name}")).clone()
    };
    assert_eq!(table("accuracy")["rows"][1]["run"], "macr");
    assert_eq!(table("accuracy")["rows"][1]["c"], "10");
    assert_eq!(table("significance")["rows"].as_array().unwrap().len(), 3);
    assert_eq!(table("popularity")["rows"].as_array().unwrap().len(), 12);
    for key in ["popularity of what is shown", "share of the long tail", "coverage", "Gini"] {
        assert!(table("exposure")["rows"][0][key]["value"].is_f64(), "{key}");
    }
    assert!(table("truth")["rows"][1]["difference"]["value"].is_f64());
    // The same numbers as `macr evaluate`.
    let evaluated = json(&place.works(&["evaluate", "macr", "--data", "world.macr", "--json"], &[]));
    assert_eq!(table("accuracy")["rows"][1]["NDCG"]["value"], evaluated["results"][0]["ndcg"]);
    assert_eq!(
        table("exposure")["rows"][1]["share of the long tail"]["value"],
        evaluated["results"][0]["aplt"]
    );
    let figures: Vec<&str> =
        document["figures"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(figures, ["metrics", "frequency", "item-recall", "user-gates", "item-gates"]);
    assert_eq!(read(&place, "page/index.html").matches("<svg").count(), 5);
    place.fails(&[&report[..], &["--truth", "world.macr"]].concat(), 3, &["world.macr", "truth"]);
}
