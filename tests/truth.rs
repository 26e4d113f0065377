//! What a generated world lets one check: whether debiasing brings a ranking nearer to the true matching.

use macr::{
    Config, Trainer,
    data::synth::{self, Spec, Truth},
    eval::significance::{mean, randomisation},
    report::truth::correlations,
};

fn world(seed: u64) -> (macr::Interactions, Truth) {
    let spec = Spec {
        users: 3000,
        items: 500,
        interactions: 60_000,
        test_per_item: 5,
        valid_per_item: 5,
        seed,
        ..Spec::default()
    };
    synth::generate(&spec).unwrap()
}

fn nearness(data: &macr::Interactions, truth: &Truth, changes: toml::Table) -> Vec<f64> {
    let base = Config { epochs: 100, patience: 5, batch_size: 1024, dim: 32, ..Config::default() };
    let config = base.with(changes).unwrap();
    let (model, summary) = Trainer::new(data, config).unwrap().fit(&mut ()).unwrap();
    let nearness = correlations(&model, data, truth).unwrap();
    println!(
        "{:?} epoch {} hit rate {:.4}: {:.4}",
        summary.best.ranking,
        summary.best_epoch,
        summary.best.hit_rate,
        mean(&nearness).unwrap()
    );
    nearness
}

#[test]
fn macr_is_nearer_to_the_truth_than_its_backbone() {
    for seed in [0, 1] {
        let (data, truth) = world(seed);
        let mf = nearness(&data, &truth, toml::Table::new());
        let adjusted =
            nearness(&data, &truth, toml::toml! { tau = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0] });
        let rows = nearness(
            &data,
            &truth,
            toml::toml! { objective = "macr" c = [0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0] },
        );
        let all = nearness(
            &data,
            &truth,
            toml::toml! { objective = "macr" pairing = "all_pairs" c = [0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0] },
        );
        for other in [&adjusted, &rows, &all] {
            println!("  against mf {:?}", randomisation(other, &mf));
        }
    }
}
