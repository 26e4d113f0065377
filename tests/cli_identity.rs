//! One seed, one result: the same bytes from process to process and at any number of threads.

mod command;

use command::Place;

/// A world with batches of several tiles and tasks, so that threads have something to share.
fn world() -> Place {
    let place = Place::empty();
    let sizes = ["--users", "3000", "--items", "400", "--interactions", "40000", "--seed", "5"];
    place.works(&["synth", "-o", "data.macr", "--valid-per-item", "3", "-q"], &sizes);
    place
}

/// Runs `arguments` with `threads` threads of rayon's own choice.
fn run(place: &Place, threads: &str, arguments: &[&str]) -> Vec<u8> {
    let output = place.command(arguments).env("RAYON_NUM_THREADS", threads).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn files_and_lists_are_the_same_bytes() {
    let place = world();
    let systems: [&[&str]; 4] = [
        &["--objective", "bce"],
        &["--objective", "bpr", "--sampler", "interaction", "--negatives", "popularity:0.5"],
        &["--objective", "macr", "--pairing", "rows", "--c", "0,10,20"],
        &["--objective", "macr", "--pairing", "all_pairs", "--tau", "0,0.5"],
    ];
    for system in systems {
        let train = |out: &str, threads: &str, seed: &str| {
            let fixed =
                ["train", "data.macr", "--out", out, "--seed", seed, "--epochs", "4", "--eval-every", "2"];
            run(&place, threads, &[&fixed[..], system, &["--dim", "24", "--batch-size", "512"]].concat());
            place.read(&format!("{out}/model.safetensors"))
        };
        let name = system.join("").replace(['-', ','], "");
        let [one, two, again, other] =
            [("one", "1", "7"), ("two", "2", "7"), ("again", "2", "7"), ("other", "2", "8")]
                .map(|(out, threads, seed)| train(&format!("{name}-{out}"), threads, seed));
        assert!(one == two, "{name}: 1 and 2 threads differ");
        assert!(two == again, "{name}: two runs differ");
        assert!(two != other, "{name}: two seeds are the same");

        let lists = |out: &str, threads| {
            let folder = format!("{name}-{out}");
            run(&place, threads, &["recommend", &folder, "--data", "data.macr", "-k", "30", "--json"])
        };
        let one = lists("one", "1");
        assert_eq!(one.iter().filter(|&&b| b == b'{').count(), 3000 * 31);
        assert!(one == lists("one", "2") && one == lists("two", "2"), "{name}: lists differ");
        assert!(one != lists("other", "2"), "{name}: the lists of two seeds are the same");
    }
}

#[test]
fn data_is_the_same_bytes() {
    let place = world();
    let data = place.read("data.macr");
    let make = |threads, file: &str, seed| {
        let sizes = ["--users", "3000", "--items", "400", "--interactions", "40000", "--seed", seed];
        run(&place, threads, &[&["synth", "-o", file, "--valid-per-item", "3"], &sizes[..]].concat());
        place.read(file)
    };
    assert!(data == make("1", "one.macr", "5"), "1 thread makes other data");
    assert!(data != make("2", "other.macr", "6"), "two seeds are the same");
    let split = |threads, file: &str| {
        run(&place, threads, &["split", "data.macr", "-o", file, "--test-per-item", "2"]);
        place.read(file)
    };
    assert!(split("1", "a.macr") == split("2", "b.macr"), "splits differ");
}
