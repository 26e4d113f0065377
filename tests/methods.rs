//! The baselines as a whole: where they coincide with each other, what their special parts do, and that they learn.

use macr::{
    Config, Edges, Interactions, InteractionsBuilder, Split, Trainer,
    backbone::Backbone,
    model::Model,
    objective::{self, DiceLoss, NEGATIVE, POSITIVE, RegForm, TILE, Tile},
    sampling::{Negatives, Sampler, SamplerKind},
    train::{Epoch, Observer},
};

const USERS: u32 = 120;
const ITEMS: u32 = 60;

/// A checkerboard: users and items of one parity belong together, a third of which is held out. Low item numbers are
/// the popular ones.
fn checkerboard() -> Interactions {
    let likes = |u: u32, i: u32| (u + i).is_multiple_of(2) && (u * 31 + i * 17) % (3 + i / 4) < 3;
    let pairs = (0..USERS).flat_map(|u| (0..ITEMS).filter(move |&i| likes(u, i)).map(move |i| (u, i)));
    let (test, train): (Vec<_>, Vec<_>) = pairs.partition(|(u, i)| (u * 7 + i * 5) % 3 == 0);
    InteractionsBuilder::new(USERS, ITEMS)
        .split(Split::Train, Edges::from_pairs(train))
        .split(Split::Test, Edges::from_pairs(test))
        .build()
        .unwrap()
}

fn config(objective: &str) -> Config {
    Config {
        objective: objective.into(),
        dim: 32,
        batch_size: 60,
        learning_rate: 0.01,
        epochs: 30,
        eval_every: 30,
        k: 5,
        select: Split::Test,
        ..Config::default()
    }
}

fn train(data: &Interactions, config: Config) -> Model {
    Trainer::new(data, config).unwrap().fit(&mut ()).unwrap().0
}

/// Share of the items of the users' own parity among the five unseen items that score highest.
fn share_of_own(data: &Interactions, model: &Model) -> f64 {
    let own = |u: u32| {
        let seen = data.by_user(Split::Train).row(u);
        let p = &model.user_embedding[u as usize * model.dim..][..model.dim];
        let score = |i: u32| {
            let q = &model.item_embedding[i as usize * model.dim..][..model.dim];
            p.iter().zip(q).map(|(p, q)| p * q).sum::<f32>()
        };
        let mut unseen: Vec<u32> = (0..ITEMS).filter(|i| !seen.contains(i)).collect();
        unseen.sort_by(|&i, &j| score(j).total_cmp(&score(i)));
        unseen[..5].iter().filter(|&i| (u + i).is_multiple_of(2)).count()
    };
    (0..USERS).map(own).sum::<usize>() as f64 / f64::from(5 * USERS)
}

/// Losses by epoch.
#[derive(Default)]
struct Losses(Vec<Epoch>);

impl Observer for Losses {
    fn epoch(&mut self, epoch: &Epoch) -> macr::Result<()> {
        self.0.push(epoch.clone());
        Ok(())
    }
}

#[test]
fn every_objective_learns_the_checkerboard_on_every_backbone() {
    let data = checkerboard();
    for (name, ..) in objective::REGISTRY {
        for backbone in [Backbone::Mf, Backbone::LightGcn] {
            let mut losses = Losses::default();
            let config = Config { backbone, ..config(name) };
            let what = config.system();
            let (model, _) = Trainer::new(&data, config).unwrap().fit(&mut losses).unwrap();
            // Of a user who knows nothing it would be a half.
            let share = share_of_own(&data, &model);
            assert!(share > 0.9, "{what}: {share}");
            assert_eq!((model.dim, model.users(), model.items()), (32, USERS, ITEMS), "{what}");
            let (first, last) = (losses.0.first().unwrap(), losses.0.last().unwrap());
            assert!(last.loss < first.loss, "{what}: {} to {}", first.loss, last.loss);
            let sum: f64 = last.parts.iter().map(|(_, part)| part).sum();
            assert!((sum / last.loss - 1.0).abs() < 1e-9, "{what}: {:?} of {}", last.parts, last.loss);
        }
    }
}

#[test]
fn what_ranking_does_not_use_is_kept() {
    let data = checkerboard();
    let folder = tempfile::tempdir().unwrap();
    for (name, ..) in objective::REGISTRY {
        for backbone in [Backbone::Mf, Backbone::LightGcn] {
            let config = Config { backbone, epochs: 1, eval_every: 1, ..config(name) };
            let model = train(&data, config);
            let length = |values: &Option<Vec<f32>>| values.as_ref().map_or(0, Vec::len);
            let kept = &model.kept;
            let (twins, propagated) = (*name == "cause", backbone == Backbone::LightGcn);
            let (u, i) = (USERS as usize, ITEMS as usize);
            assert_eq!(length(&kept.item_bias), if *name == "bs" { i } else { 0 });
            assert_eq!(length(&kept.second_item_embedding), if twins { 32 * i } else { 0 });
            assert_eq!(length(&kept.second_user_embedding), if twins && propagated { 32 * u } else { 0 });
            let path = folder.path().join("model.safetensors");
            model.save(&path).unwrap();
            assert_eq!(Model::load(&path).unwrap(), model, "{name} on {backbone}");
        }
    }
}

fn bits(model: &Model) -> Vec<u32> {
    model.user_embedding.iter().chain(&model.item_embedding).map(|x| x.to_bits()).collect()
}

#[test]
fn without_what_is_special_they_are_the_backbones() {
    let data = checkerboard();
    for backbone in [Backbone::Mf, Backbone::LightGcn] {
        let plain = bits(&train(&data, Config { backbone, ..config("bce") }));
        let ipw = Config { backbone, eta: 0.0, ..config("ipw") };
        assert_eq!(bits(&train(&data, ipw)), plain, "IPW with weights of 1, {backbone}");
        for reg_form in [RegForm::Cross, RegForm::Same, RegForm::Decay] {
            let reg = Config { backbone, mu: 0.0, reg_form, ..config("reg") };
            assert_eq!(bits(&train(&data, reg)), plain, "Reg with mu = 0, {reg_form:?}, {backbone}");
        }
        // Sums in another order, magnified by Adam where gradients are tiny; a step is 0.01.
        for (dice_loss, name) in DiceLoss::ALL.into_iter().zip(["bpr", "bce"]) {
            let plain = train(&data, Config { backbone, epochs: 5, eval_every: 5, ..config(name) });
            let changes = Config { dice_loss, nu: 0.0, lambda_int: 0.0, lambda_pop: 0.0, ..config("dice") };
            let dice = train(&data, Config { backbone, epochs: 5, eval_every: 5, ..changes });
            for (a, b) in plain.item_embedding.iter().zip(&dice.item_embedding) {
                assert!((a - b).abs() < 2e-4, "{name} {a}, DICE {b}, {backbone}");
            }
        }
    }
}

/// A tile of any numbers, as the engine would fill it.
fn tile() -> Tile {
    let mut tile = Tile { weight: 1.0 / TILE as f32, ..Tile::default() };
    for r in 0..TILE {
        let x = |k: usize| ((r * 37 + k * 101) % 64) as f32 / 16.0 - 2.0;
        for sample in [POSITIVE, NEGATIVE] {
            tile.score[sample][r] = x(sample);
            tile.second_score[sample][r] = x(2 + sample);
            tile.item_constant[sample][r] = ((r * (5 + sample)) % 11) as f32;
        }
    }
    tile
}

#[test]
fn bs_without_bias_is_the_backbone() {
    let data = checkerboard();
    let sampler = Sampler::new(&data, SamplerKind::UserUniform, Negatives::Uniform, 8, 1).unwrap();
    let build = |name: &str| {
        objective::build(&Config { objective: name.into(), ..Config::default() }, &sampler).unwrap()
    };
    let [mut bce, mut bs] = ["bce", "bs"].map(|name| {
        let mut tile = tile();
        build(name).stage(&mut tile);
        tile
    });
    assert_eq!(bce.score_gradient, bs.score_gradient);
    assert_eq!(bce.loss, bs.loss);
    // A bias moves the logit.
    bs.item_logit = [[0.5; TILE]; 2];
    bce.score = bce.score.map(|lanes| lanes.map(|a| a + 0.5));
    for (name, tile) in [("bce", &mut bce), ("bs", &mut bs)] {
        build(name).stage(tile);
    }
    assert_eq!(bce.score_gradient, bs.item_gradient);
}

#[test]
fn the_weights_of_dice_decay_from_epoch_to_epoch() {
    let data = checkerboard();
    let sampler = Sampler::new(&data, SamplerKind::UserUniform, Negatives::Uniform, 8, 1).unwrap();
    let dice = objective::build(&Config { objective: "dice".into(), ..Config::default() }, &sampler).unwrap();
    let [first, later] = [0, 7].map(|epoch| {
        let mut tile = Tile { epoch, ..tile() };
        dice.stage(&mut tile);
        tile.loss.map(|lanes| lanes.iter().map(|&x| f64::from(x)).sum::<f64>())
    });
    let decay = 0.9f64.powi(7);
    for (part, factor) in [1.0, decay, decay].into_iter().enumerate() {
        assert!((later[part] / first[part] - factor).abs() < 1e-6, "{part}: {first:?}, {later:?}");
    }
}

/// Mean squared distance of two tables.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64
}

#[test]
fn a_strong_tie_drives_the_vectors_of_cause_together() {
    let data = checkerboard();
    for backbone in [Backbone::Mf, Backbone::LightGcn] {
        let apart = |nu: f32| {
            let model = train(&data, Config { backbone, nu, ..config("cause") });
            distance(&model.item_embedding, model.kept.second_item_embedding.as_ref().unwrap())
        };
        let (loose, tight) = (apart(0.0), apart(1e3));
        assert!(tight < 0.01 * loose, "{backbone}: {tight} for {loose}");
    }
}

#[test]
fn nu_pushes_the_halves_of_dice_apart() {
    let data = checkerboard();
    let apart = |nu: f32| {
        let model = train(&data, Config { nu, ..config("dice") });
        model.item_embedding.chunks_exact(32).map(|row| distance(&row[..16], &row[16..])).sum::<f64>()
    };
    assert!(apart(1.0) > 1.05 * apart(0.0));
}

#[test]
fn reg_draws_popular_and_unpopular_items_together() {
    let data = checkerboard();
    let apart = |mu: f32| {
        let model = train(&data, Config { mu, ..config("reg") });
        // Item numbers ascend as popularity falls.
        let (head, tail) = model.item_embedding.split_at(32 * 20);
        let mean = |rows: &[f32]| -> Vec<f32> {
            (0..32)
                .map(|k| rows.chunks_exact(32).map(|row| row[k]).sum::<f32>() * 32.0 / rows.len() as f32)
                .collect()
        };
        distance(&mean(head), &mean(tail))
    };
    let (loose, tight) = (apart(0.0), apart(1.0));
    assert!(tight < 0.5 * loose, "{tight} for {loose}");
}

#[test]
fn rows_of_one_positive_share_it() {
    let data = checkerboard();
    let negatives = Negatives::Margin { margin: 3, per_positive: 4 };
    for kind in [SamplerKind::UserUniform, SamplerKind::Interaction] {
        let sampler = Sampler::new(&data, kind, negatives, 52, 1).unwrap();
        assert!(!sampler.users_are_distinct());
        let (mut drawn, mut pairs) = ([vec![], vec![], vec![]], 0);
        for step in 0..sampler.steps_per_epoch() {
            let [users, positives, negatives] = &mut drawn;
            sampler.draw(step, users, positives, negatives);
            assert_eq!(users.len() as u32, sampler.rows(step));
            pairs += users.len() as u64 / 4;
            for (users, positives) in users.chunks(4).zip(positives.chunks(4)) {
                assert!(users.iter().all(|u| *u == users[0]) && positives.iter().all(|i| *i == positives[0]));
            }
            let train = data.by_user(Split::Train);
            for ((&u, i), j) in users.iter().zip(&*positives).zip(&*negatives) {
                assert!(train.row(u).contains(i) && !train.row(u).contains(j));
            }
            assert!(negatives.chunks(4).any(|four| four.iter().any(|j| *j != four[0])));
        }
        if kind == SamplerKind::Interaction {
            assert_eq!(pairs, data.count(Split::Train));
        }
    }
    let error = Sampler::new(&data, SamplerKind::Interaction, negatives, 50, 1).unwrap_err();
    assert!(error.to_string().contains("multiple of 4"), "{error}");
}

#[test]
fn halves_need_an_even_size() {
    let error = Trainer::new(&checkerboard(), Config { dim: 33, ..config("dice") }).unwrap_err();
    assert!(error.to_string().contains("even"), "{error}");
}
