//! Whole trainings, evaluations and lists on data so small that an interpreter gets through them: `scripts/sanitize`
//! runs these under Miri, which checks every access of `unsafe` code, and under two sanitizers.

mod trainings;

use macr::{
    Config, Evaluator, Model, Recommender, Split, Trainer,
    objective::{self, EXPOMF},
    sampling::Negatives,
    storage::Storage,
};

fn on_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// Trains, evaluates and recommends.
fn all_of_it(config: &Config) -> (Model, Vec<u32>) {
    let data = trainings::split(12, 9, 4);
    let (model, _) = Trainer::new(&data, config.clone()).unwrap().fit(&mut ()).unwrap();
    let test = Evaluator::new(&data, Split::Test).ks(&[2, 9]).evaluate(&model).unwrap();
    assert!(test.results.iter().all(|outcome| outcome.metrics.get("hit_rate").is_some()));
    let users: Vec<u32> = (0..12).collect();
    let lists = Recommender::new(&model).unwrap().seen(&data).recommend(&users, 4).unwrap();
    let items = users.iter().flat_map(|&user| lists.list(user as usize, 0)).map(|candidate| candidate.item());
    (model, items.collect())
}

#[test]
fn every_system_does_the_same_on_one_thread_and_on_several() {
    let quick = Config {
        dim: 3,
        batch_size: 8,
        epochs: if cfg!(miri) { 1 } else { 2 },
        eval_every: 1,
        k: 2,
        select: Split::Test,
        tau: vec![0.0, 0.5],
        ..Config::default()
    };
    let mut configs = vec![Config { objective: EXPOMF.into(), ..quick.clone() }];
    for (name, ..) in objective::REGISTRY {
        for (backbone, storage) in [("mf", Storage::F32), ("lightgcn", Storage::F32), ("mf", Storage::F16)] {
            let weights = trainings::weights(name);
            let Config { alpha, beta, mu, nu, lambda_int, lambda_pop, .. } = weights;
            configs.push(Config {
                objective: (*name).into(),
                backbone: backbone.parse().unwrap(),
                storage,
                dim: 4,
                negatives: match *name {
                    "dice" => Negatives::Margin { margin: 1, per_positive: 2 },
                    // An exponent of a half is a square root in assembly, which an interpreter has not.
                    _ => Negatives::Popularity(0.75),
                },
                alpha,
                beta,
                mu,
                nu,
                lambda_int,
                lambda_pop,
                ..quick.clone()
            });
        }
    }
    for config in configs {
        // So that an interpreter shows how far it is.
        println!("{} in {}", config.system(), config.storage);
        let one = on_threads(1, || all_of_it(&config));
        // An interpreter is there for what several threads do, and takes minutes for it.
        assert_eq!(
            one,
            on_threads(if cfg!(miri) { 2 } else { 3 }, || all_of_it(&config)),
            "{} in {}",
            config.system(),
            config.storage
        );
        assert!(!one.1.is_empty());
    }
}
