//! The recipes under `datasets/`: complete, and in step with the generator's presets.

use std::{collections::BTreeSet, fs, path::Path};

use macr::{
    Config,
    backbone::Backbone,
    data::synth::Preset,
    objective::{self, EXPOMF},
};

const KEYS: [&str; 11] = [
    "backbone",
    "objective",
    "dim",
    "batch_size",
    "learning_rate",
    "l2",
    "epochs",
    "eval_every",
    "patience",
    "select",
    "sampler",
];
/// What an objective's recipes have besides.
const OWN_KEYS: [(&str, &[&str]); 5] = [
    ("macr", &["pairing", "alpha", "beta", "c"]),
    ("ipw", &["ipw_variant", "ipw_scope", "eta"]),
    ("reg", &["reg_form", "reg_norm", "mu"]),
    ("cause", &["treatment_cap", "nu"]),
    ("dice", &["lambda_int", "lambda_pop", "nu", "adam_beta1", "adam_beta2", "negatives"]),
];
/// Of expectation maximisation, which has no batches.
const EXPOMF_KEYS: [&str; 15] = [
    "backbone",
    "objective",
    "exposure",
    "exposure_constant",
    "a0",
    "b0",
    "lambda_theta",
    "lambda_beta",
    "lambda_y",
    "init_std",
    "dim",
    "epochs",
    "eval_every",
    "patience",
    "select",
];

/// Every system that the engine trains: each objective on each backbone, ExpoMF on matrix factorisation alone.
fn systems() -> impl Iterator<Item = String> {
    let each = |backbone: Backbone| objective::names().map(move |objective| (objective, backbone));
    let all = [Backbone::Mf, Backbone::LightGcn].into_iter().flat_map(each);
    all.filter(|&(objective, backbone)| objective != EXPOMF || backbone == Backbone::Mf).map(
        |(objective, backbone)| {
            Config { objective: objective.into(), backbone, ..Config::default() }.system()
        },
    )
}

#[test]
fn every_dataset_has_its_sizes_and_recipes() {
    for (name, preset) in [
        ("adressa", Preset::AdressaLike),
        ("globo", Preset::GloboLike),
        ("ml10m", Preset::Ml10mLike),
        ("yelp2018", Preset::YelpLike),
        ("gowalla", Preset::GowallaLike),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets").join(name).with_extension("toml");
        let dataset: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
        for key in ["name", "description", "source", "licence"] {
            assert!(dataset[key].is_str(), "{name}: {key}");
        }
        let (sizes, spec) = (&dataset["sizes"], preset.spec());
        let size = |key: &str| sizes[key].as_integer().unwrap() as u64;
        assert_eq!(
            [size("users"), size("items"), size("interactions")],
            [u64::from(spec.users), u64::from(spec.items), spec.interactions],
            "{name}"
        );
        let recipes = dataset["recipes"].as_table().unwrap();
        let found: BTreeSet<String> = recipes.keys().cloned().collect();
        assert_eq!(found, systems().collect(), "{name}");
        for (recipe, settings) in recipes {
            let config = Config::default().with(settings.as_table().unwrap().clone()).unwrap();
            assert_eq!(config.system(), *recipe, "{name}");
            let found: BTreeSet<&str> = settings.as_table().unwrap().keys().map(String::as_str).collect();
            if recipe == "expomf_mf" {
                assert_eq!(found, EXPOMF_KEYS.into_iter().collect(), "{name}: {recipe}");
                continue;
            }
            let objective = recipe.split_once('_').map_or("", |(objective, _)| objective);
            let own = OWN_KEYS.iter().find(|(of, _)| *of == objective).map_or(&[][..], |(_, keys)| keys);
            let layers = recipe.ends_with("lightgcn").then_some("layers");
            let expected = KEYS.into_iter().chain(own.iter().copied()).chain(layers);
            assert_eq!(found, expected.collect(), "{name}: {recipe}");
        }
    }
}
