//! Settings as TOML, as in recipes and in a run's `config.toml`, up to the plan of the training.

use std::{hint::black_box, path::Path, sync::OnceLock};

use macr::{Config, DeviceChoice, Edges, Interactions, InteractionsBuilder, Split, cli::plan::Plan};

pub fn run(input: &[u8]) {
    static DATA: OnceLock<Interactions> = OnceLock::new();
    let data = DATA.get_or_init(|| {
        let pairs = (0..40u32).flat_map(|u| (0..5).map(move |k| (u, (u + k * k) % 30)));
        InteractionsBuilder::new(40, 30)
            .split(Split::Train, Edges::from_pairs(pairs))
            .split(Split::Test, Edges::from_pairs([(0, 29)]))
            .build()
            .expect("small data")
    });
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(table) = text.parse::<toml::Table>() else { return };
    let Ok(config) = Config::default().with(table) else { return };
    let written = config.to_toml().expect("a configuration has a TOML form");
    let again = Config::default().with(written.parse().expect("TOML")).expect("the same settings");
    assert_eq!(again, config);
    let _ = black_box(Plan::new(data, 0, &config, Path::new("run"), DeviceChoice::Cpu));
}
