//! Trains and recommends inside a program: `cargo run --release --example embed`.

use macr::{
    Config, Evaluator, Recommender, Split, Trainer,
    data::synth::{self, Spec},
};

fn main() -> macr::Result<()> {
    let spec = Spec { users: 2_000, items: 400, interactions: 40_000, valid_per_item: 3, ..Spec::default() };
    let (data, _truth) = synth::generate(&spec)?;

    let config = Config { epochs: 60, patience: 3, tau: vec![0.0, 0.5, 1.0, 1.5, 2.0], ..Config::default() };
    let (model, summary) = Trainer::new(&data, config)?.fit(&mut ())?;
    println!("kept epoch {} of {}, tau {}", summary.best_epoch, summary.epochs, model.metadata.ranking.tau);

    let test = Evaluator::new(&data, Split::Test).rankings(&[model.metadata.ranking]).evaluate(&model)?;
    println!(
        "hit rate @20 on the debiased test: {:.3}",
        test.results[0].metrics.get("hit_rate").unwrap_or(f64::NAN)
    );

    let lists = Recommender::new(&model)?.seen(&data).recommend(&[0], 5)?;
    for (rank, candidate) in lists.list(0, 0).iter().enumerate() {
        println!("{}. item {} ({:.3})", rank + 1, data.item_ids().get(candidate.item()), candidate.score());
    }
    Ok(())
}
