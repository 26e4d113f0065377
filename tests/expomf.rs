//! ExpoMF on the CPU: the f64 reference, the log posterior, bits at any thread count, going on from a state, and the
//! training around it.

mod exposure;

use exposure::{Oracle, begin, settings, world};
use macr::{
    Config, Edges, Error, InteractionsBuilder, Observer, Result, Split, Trainer,
    backend::{
        cpu::expomf::ExpoMf,
        expomf::{Em, ExposureConstant, Settings},
    },
    objective::EXPOMF,
    train::{Checkpoint, Epoch},
};

#[test]
fn iterations_are_those_of_the_reference() {
    for constant in [ExposureConstant::Exact, ExposureConstant::Repo] {
        for dim in [1, 2, 7, 16, 33, 65] {
            exposure::check(dim, constant, 3, |data, settings, state| {
                Box::new(ExpoMf::new(data, settings, state))
            });
        }
    }
}

#[test]
fn no_iteration_lowers_the_log_posterior() {
    let data = world();
    for (dim, exposure) in [(4, 0.3), (24, 0.05), (40, 0.001)] {
        let settings = Settings { exposure, ..settings(dim) };
        let mut oracle = Oracle::new(&data, settings, &begin(&settings));
        let mut engine = ExpoMf::new(&data, settings, begin(&settings));
        let (mut last, mut last_expected) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for iteration in 1..=10 {
            let (posterior, expected) = (engine.iterate().unwrap(), oracle.iterate());
            assert!(posterior > last, "D {dim}, iteration {iteration}: {posterior} after {last}");
            assert!(expected > last_expected, "the reference, D {dim}, iteration {iteration}");
            (last, last_expected) = (posterior, expected);
        }
    }
}

#[test]
fn any_thread_count_gives_the_same_bits() {
    let data = world();
    for dim in [7, 64] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let settings = settings(dim);
                let mut engine = ExpoMf::new(&data, settings, begin(&settings));
                let posteriors: Vec<u64> = (0..3).map(|_| engine.iterate().unwrap().to_bits()).collect();
                (posteriors, engine.state().unwrap())
            })
        };
        let one = run(1);
        for threads in [2, 5] {
            assert_eq!(one, run(threads), "D {dim}, {threads} threads");
        }
    }
}

#[test]
fn a_state_is_all_that_is_needed_to_go_on() {
    let (data, settings) = (world(), settings(9));
    let mut whole = ExpoMf::new(&data, settings, begin(&settings));
    whole.iterate().unwrap();
    let mut rest = ExpoMf::new(&data, settings, whole.state().unwrap());
    for _ in 0..3 {
        assert_eq!(whole.iterate().unwrap().to_bits(), rest.iterate().unwrap().to_bits());
    }
    assert_eq!(whole.state().unwrap(), rest.state().unwrap());
}

#[test]
fn numbers_that_are_not_finite_are_said_with_the_setting_and_its_value() {
    let (data, settings) = (world(), settings(4));
    let mut broken = begin(&settings);
    broken.beta[5] = f32::NAN;
    let message = ExpoMf::new(&data, settings, broken).iterate().unwrap_err().to_string();
    assert!(message.starts_with("lambda-theta = 0.02: the normal equations of user "), "{message}");
}

/// Keeps what it is told, and stops after the third epoch.
#[derive(Default)]
struct Watch(Vec<Epoch>, Option<Checkpoint>);

impl Observer for Watch {
    fn epoch(&mut self, epoch: &Epoch) -> Result<()> {
        self.0.push(epoch.clone());
        Ok(())
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<()> {
        self.1 = Some(checkpoint);
        Ok(())
    }

    fn stop(&self) -> bool {
        self.0.len() == 3
    }
}

#[test]
fn it_trains_and_ranks_like_any_other_system() {
    // Users and items of one colour belong together.
    let pairs = || (0..60u32).flat_map(|u| (0..30u32).filter(move |i| (u + i) % 2 == 0).map(move |i| (u, i)));
    let held_out = |&(u, i): &(u32, u32)| (u * 7 + i * 3) % 5 == 0;
    let data = InteractionsBuilder::new(60, 30)
        .split(Split::Train, Edges::from_pairs(pairs().filter(|pair| !held_out(pair))))
        .split(Split::Test, Edges::from_pairs(pairs().filter(held_out)))
        .build()
        .unwrap();
    let config = Config {
        objective: EXPOMF.into(),
        dim: 2,
        epochs: 10,
        eval_every: 1,
        k: 3,
        select: Split::Test,
        ..Config::default()
    };
    assert_eq!(config.system(), "expomf_mf");
    let (model, summary) = Trainer::new(&data, config.clone()).unwrap().fit(&mut ()).unwrap();
    assert_eq!((model.users(), model.items(), model.dim), (60, 30, 2));
    assert_eq!(summary.samples, summary.epochs * 60 * 30);
    // Three of the user's own colour, of which all that are left belong to the test.
    assert!(summary.best.hit_rate > 0.99 && summary.best.ndcg > 0.9, "{summary:?}");

    let mut watch = Watch::default();
    let trainer = Trainer::new(&data, Config { patience: 0, ..config.clone() }).unwrap();
    assert_eq!(trainer.steps_per_epoch(), 1);
    let stopped = trainer.fit(&mut watch).unwrap_err();
    assert!(matches!(stopped, Error::Interrupted { epochs: 3, steps: 0, .. }), "{stopped}");
    // What it was put down as goes on with the same bits.
    let checkpoint = watch.1.unwrap();
    let resumed = Trainer::new(&data, Config { patience: 0, ..config.clone() }).unwrap();
    let (resumed, _) = resumed.resume(&checkpoint).unwrap().fit(&mut ()).unwrap();
    let whole = Trainer::new(&data, Config { patience: 0, ..config.clone() }).unwrap();
    assert_eq!(whole.fit(&mut ()).unwrap().0, resumed);
    for pair in watch.0.windows(2) {
        assert!(pair[1].loss < pair[0].loss);
        assert_eq!(pair[1].parts, [("log_posterior".to_owned(), -pair[1].loss)]);
    }

    let lightgcn = Config { backbone: macr::backbone::Backbone::LightGcn, ..config };
    let message = Trainer::new(&data, lightgcn).unwrap_err().to_string();
    assert!(message.contains("backbone = lightgcn") && message.contains("matrix factorisation"), "{message}");
}
