//! What a generated world lets one check: whether debiasing brings a ranking nearer to the true matching; and a report on
//! it, made by the library alone.

use macr::{
    Config, Error, Interactions, Model, Split, Trainer,
    backbone::Backbone,
    data::synth::{self, Preset, Spec, Truth},
    eval::significance::{mean, randomisation},
    objective::{Pairing, names},
    report::{
        Cell, Models, Options,
        truth::{self, System, correlations},
    },
};

/// Objectives of which it is not asked that they are nearer to the truth than their backbone, on which of the backbones
/// (without one: on none), and why: what docs/truth.md says of them.
const EXCEPTIONS: [(&str, Option<Backbone>, &str); 8] = [
    ("bce", None, "what the backbones are trained with"),
    ("bpr", None, "no debiasing method"),
    ("bs", Some(Backbone::Mf), "further in two of three worlds: taste suffers more than popularity loses"),
    (
        "ipw",
        Some(Backbone::Mf),
        "further: its weights make it learn the few interactions of rare items by heart",
    ),
    ("reg", None, "nearer in two of three worlds: its weight of 1e-4 hardly does anything"),
    ("cause", None, "further on mf: half of what rare items have trains vectors that ranking does not use"),
    ("dice", None, "on mf neither nearer nor further, on lightgcn nearer in two of three worlds"),
    ("expomf", None, "further on mf, and there is no other backbone"),
];

fn excepted(method: &str, backbone: Backbone) -> bool {
    EXCEPTIONS.iter().any(|&(name, on, _)| name == method && on.is_none_or(|on| on == backbone))
}

/// Small, and as skewed as Adressa; the held-out splits are debiased.
fn world(seed: u64) -> (Interactions, Truth) {
    let (users, items, interactions) = (1500, 150, 16_200);
    let skewed = Spec { test_per_item: 4, valid_per_item: 4, ..Preset::AdressaLike.spec() };
    synth::generate(&Spec { users, items, interactions, seed, ..skewed }).unwrap()
}

/// Epoch and c are chosen on the validation split; the truth is looked at afterwards.
fn nearness(data: &Interactions, truth: &Truth, backbone: Backbone, objective: &str) -> Vec<f64> {
    let mut config = Config {
        backbone,
        objective: objective.into(),
        epochs: 80,
        patience: 3,
        batch_size: 512,
        dim: 32,
        learning_rate: 3e-3,
        ..Config::default()
    };
    if objective == "macr" {
        config.pairing = Pairing::AllPairs;
        config.c = vec![0.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0];
    }
    let (model, _) = Trainer::new(data, config).unwrap().fit(&mut ()).unwrap();
    correlations(&model, data, truth).unwrap().into_iter().map(Option::unwrap).collect()
}

fn debiasing_is_nearer_than(backbone: Backbone) {
    for seed in [0, 1] {
        let (data, truth) = world(seed);
        let plain = nearness(&data, &truth, backbone, "bce");
        for method in names().filter(|name| !excepted(name, backbone)) {
            let debiased = nearness(&data, &truth, backbone, method);
            let test = randomisation(&debiased, &plain).unwrap();
            let means = [mean(&plain), mean(&debiased)].map(Option::unwrap);
            let told = format!("world {seed}, {method} on {backbone}: {means:?}, {test:?}");
            assert!(test.difference > 0.0 && test.p < 0.01, "{told}");
            // Both have learnt taste, and neither knows it.
            assert!(means.iter().all(|mean| (0.3..0.9).contains(mean)), "{told}");
        }
    }
}

#[test]
fn debiasing_is_nearer_to_the_truth_than_matrix_factorisation() {
    debiasing_is_nearer_than(Backbone::Mf);
}

#[test]
fn debiasing_is_nearer_to_the_truth_than_lightgcn() {
    debiasing_is_nearer_than(Backbone::LightGcn);
}

#[test]
fn every_exception_is_an_objective() {
    assert!(EXCEPTIONS.iter().all(|(excepted, ..)| names().any(|name| name == *excepted)));
}

/// A program without the command line gets the same page.
#[test]
fn the_library_makes_the_report() {
    let spec = Spec { users: 100, items: 40, interactions: 1200, test_per_item: 3, ..Spec::default() };
    let (data, truth) = synth::generate(&spec).unwrap();
    let options = Options { truth: Some(&truth), ..Options::default() };
    let mut models = Models::new("small", &data, options);
    assert!(matches!(models.report(), Err(Error::Data { .. })), "a report of nothing");
    let trained = |objective: &str| -> Model {
        let quick = Config { epochs: 2, eval_every: 1, dim: 8, batch_size: 32, ..Config::default() };
        let config = Config { objective: objective.into(), select: Split::Test, ..quick };
        Trainer::new(&data, config).unwrap().fit(&mut ()).unwrap().0
    };
    for (name, objective) in [("plain", "bce"), ("debiased", "macr"), ("plain", "bpr")] {
        models.add(name, &trained(objective)).unwrap();
    }
    let report = models.report().unwrap();
    let tables: Vec<&str> = report.tables.iter().map(|table| table.name.as_str()).collect();
    let all = ["data", "accuracy", "exposure", "popularity", "groups", "significance", "truth"];
    assert_eq!(tables, all);
    let names: Vec<&Cell> = report.tables[1].rows.iter().map(|row| &row.cells[0]).collect();
    assert_eq!(names, [&Cell::text("plain"), &Cell::text("debiased"), &Cell::text("plain*")]);
    let verdicts = &report.tables[6].notes[1];
    assert!(verdicts.contains("debiased (p = ") && verdicts.contains("plain* (p = "), "{verdicts}");

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("page");
    let files = report.write(&folder).unwrap();
    assert_eq!(files.len(), 4 * report.tables.len() + 3 * report.figures.len() + 1);
    assert!(files.iter().all(|file| file.starts_with(&folder) && file.is_file()));
    let page = std::fs::read_to_string(folder.join("index.html")).unwrap();
    assert!(page.contains(&data.checksum()) && page.contains("Nearness to the known truth"));
    assert_eq!(page.matches("<svg").count(), report.figures.len());

    // Of another world.
    let (_, other) = world(0);
    let options = Options { truth: Some(&other), ..Options::default() };
    let refused = Models::new("small", &data, options).add("plain", &trained("bce"));
    assert!(matches!(refused, Err(Error::Data { .. })));
}

#[test]
fn the_note_says_who_is_nearer_and_who_is_not() {
    let system = |name: &str, backbone: &str, correlations: Vec<f64>| System {
        name: name.into(),
        backbone: backbone.into(),
        correlations: correlations.into_iter().map(Some).collect(),
    };
    // Of 2^8 swaps two are as large as eight equal differences.
    let systems = [
        system("plain", "mf", vec![0.5; 8]),
        system("better", "mf", vec![0.6; 8]),
        system("worse", "mf", vec![0.4; 8]),
        system("same", "mf", vec![0.5; 8]),
        system("lucky", "mf", [vec![0.5; 7], vec![0.9]].concat()),
        system("alone", "lightgcn", vec![0.1; 8]),
    ];
    let table = truth::table(&systems);
    let note = "Nearer to the truth than plain: better (p = 0.00781). \
                Not nearer to the truth than plain: worse (p = 0.00781), same (p = 1.00000). \
                Above plain by no more than chance gives (p of 0.05 or more): lucky (p = 1.00000).";
    assert_eq!(table.notes[1..], [note]);
    // Nothing to be compared with.
    assert_eq!(table.rows[5].cells[2..], [Cell::Missing, Cell::Missing, Cell::Missing]);
}

#[test]
fn the_truth_of_a_world_is_read_as_it_was_written() {
    let (_, truth) = world(2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("truth.safetensors");
    truth.save(&path).unwrap();
    assert_eq!(Truth::load(&path).unwrap(), truth);
    std::fs::write(&path, b"no truth").unwrap();
    assert!(Truth::load(&path).unwrap_err().to_string().contains("macr synth --truth"));
    assert!(Truth::load(folder.path().join("none")).is_err());
}
