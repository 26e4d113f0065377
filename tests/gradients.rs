//! Every objective of the registry: the engine's first step against finite differences of the f64 oracle.

mod oracle;

use macr::{
    Branch, Edges, Interactions, InteractionsBuilder, Split,
    backend::{Backend, Settings, cpu::Cpu},
    objective::{self, BranchKind, ObjectiveConfig, Pairing},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    train::sequence::minibatch,
};
use oracle::{Batch, Params};

const USERS: u32 = 23;
const ITEMS: u32 = 17;

fn world() -> Interactions {
    let pairs = (0..USERS).flat_map(|u| (0..1 + u % 5).map(move |k| (u, (u * 7 + k * (k + 3)) % ITEMS)));
    InteractionsBuilder::new(USERS, ITEMS).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// A branch's parameters in one list.
fn flat(branch: Option<Branch>) -> Vec<f32> {
    match branch {
        None => Vec::new(),
        Some(Branch::Linear { weight }) => weight,
        Some(Branch::Mlp { w1, b1, w2, b2 }) => [w1, b1, w2, vec![b2]].concat(),
    }
}

/// All settings under which an objective is tested.
fn configs() -> Vec<ObjectiveConfig> {
    let base = ObjectiveConfig {
        alpha: 0.3,
        beta: 0.2,
        pairing: Pairing::Rows,
        user_branch: true,
        item_branch: true,
        eps_compat: false,
    };
    let mut all = Vec::new();
    for pairing in [Pairing::Rows, Pairing::AllPairs] {
        for eps_compat in [false, true] {
            all.push(ObjectiveConfig { pairing, eps_compat, ..base });
            all.push(ObjectiveConfig { pairing, eps_compat, user_branch: false, ..base });
            all.push(ObjectiveConfig { pairing, eps_compat, item_branch: false, ..base });
            all.push(ObjectiveConfig { pairing, eps_compat, alpha: 0.0, ..base });
            all.push(ObjectiveConfig { pairing, eps_compat, beta: 0.0, ..base });
        }
    }
    all
}

#[test]
fn the_first_step_follows_the_gradient() {
    let data = world();
    for (name, ..) in objective::REGISTRY {
        for config in configs() {
            for (kind, batch, dim) in [
                (SamplerKind::UserUniform, 20, 7),
                (SamplerKind::Interaction, 1, 5),
                (SamplerKind::Interaction, 41, 16),
                (SamplerKind::Interaction, 19, 65),
            ] {
                check(&data, name, &config, kind, batch, dim);
            }
        }
    }
}

fn check(
    data: &Interactions,
    name: &str,
    config: &ObjectiveConfig,
    kind: SamplerKind,
    batch: u32,
    dim: usize,
) {
    let l2 = 0.05;
    let sampler = Sampler::new(data, kind, Negatives::Uniform, batch, 5).unwrap();
    let mut drawn = Batch::default();
    let [users, positives, negatives] = &mut drawn;
    sampler.draw(0, users, positives, negatives);
    let settings = Settings {
        dim,
        lightgcn: None,
        adam: Adam::default(),
        catch_up: CatchUp::Quadrature,
        branch: BranchKind::Linear,
        l2: l2 as f32,
        seed: 5,
    };
    let objective = objective::build(name, config).unwrap();
    let mut engine = Cpu::new((USERS, ITEMS), sampler, objective, settings).unwrap();
    let start = engine.parameters().unwrap();
    let params = Params {
        dim,
        p: wide(&start.users),
        q: wide(&start.items),
        v: wide(&flat(start.user_branch)),
        w: wide(&flat(start.item_branch)),
    };
    let losses = engine.repeat(1, &minibatch).unwrap();
    let what = format!("{name}, {config:?}, {kind}, B {batch}, D {dim}");
    let expected = oracle::loss(name, config, l2, &params, &drawn);
    let got: f64 = losses.iter().sum();
    assert!((got / expected - 1.0).abs() < 2e-6, "{what}: loss {got}, oracle {expected}");

    // After one step from zero, m = (1 - beta1) g.
    let mut got = Vec::new();
    for table in engine.tables() {
        for row in 0..table.rows() as u32 {
            let [_, m, _] = table.record(row);
            got.extend_from_slice(&m[..dim]);
        }
    }
    for moments in engine.branch_moments() {
        got.extend(flat(moments));
    }
    let expected = oracle::gradient(name, config, l2, &params, &drawn);
    assert_eq!(got.len(), expected.len());
    // f32 sums of up to 2B terms of the size of the largest gradient.
    let largest = expected.iter().fold(0f64, |a, g| a.max(g.abs()));
    for (k, (m, expected)) in got.iter().zip(&expected).enumerate() {
        let g = f64::from(*m) / f64::from(1.0 - 0.9f32);
        assert!((g - expected).abs() < 4e-6 * largest, "{what}: gradient {k} is {g}, oracle {expected}");
    }
}
