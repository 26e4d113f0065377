//! Every objective of the registry: the first step of both engines against finite differences of the f64 oracle.
#![cfg(feature = "cuda")]

mod emulator;
mod oracle;

use macr::{
    Branch, Config, Edges, Interactions, InteractionsBuilder, Split,
    backbone::{self, LightGcn},
    backend::{
        Backend, Losses, Settings,
        cpu::{
            Cpu,
            table::{Record, Table},
        },
        cuda::{Cuda, Device},
    },
    objective::{self, BranchInput, BranchKind, DiceLoss, IpwScope, IpwVariant, Pairing, RegForm, RegNorm},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    train::sequence::{minibatch, propagated_minibatch},
};
use oracle::{Batch, Facts, Params};

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

/// Backbone and branches of a case.
#[derive(Debug, Clone, Copy)]
struct Form {
    lightgcn: Option<LightGcn>,
    branch: BranchKind,
    input: BranchInput,
}

const MF: Form = Form { lightgcn: None, branch: BranchKind::Linear, input: BranchInput::Propagated };

/// All settings under which an objective is tested.
fn configs(name: &str) -> Vec<Config> {
    let base = Config {
        objective: name.into(),
        alpha: 0.3,
        beta: 0.2,
        mu: 0.2,
        nu: 0.4,
        lambda_int: 0.5,
        lambda_pop: 0.3,
        ..Config::default()
    };
    let mut all = Vec::new();
    let forms: &[(Pairing, bool)] = match name {
        "macr" => &[
            (Pairing::Rows, false),
            (Pairing::Rows, true),
            (Pairing::AllPairs, false),
            (Pairing::AllPairs, true),
        ],
        _ => &[(Pairing::Rows, false), (Pairing::Rows, true)],
    };
    for &(pairing, eps_compat) in forms {
        let base = Config { pairing, eps_compat, ..base.clone() };
        all.push(base.clone());
        match name {
            "macr" => all.extend([
                Config { user_branch: false, ..base.clone() },
                Config { item_branch: false, ..base.clone() },
                Config { alpha: 0.0, ..base.clone() },
                Config { beta: 0.0, ..base.clone() },
            ]),
            "ipw" => all.extend([
                Config { ipw_variant: IpwVariant::Ips, ipw_scope: IpwScope::Own, eta: 0.5, ..base.clone() },
                Config { ipw_variant: IpwVariant::C, ipw_rescale: false, ..base.clone() },
                Config {
                    ipw_variant: IpwVariant::Cnsr,
                    ipw_scope: IpwScope::Positive,
                    smoothing: 0.3,
                    ..base.clone()
                },
            ]),
            "reg" => all.extend([
                Config { reg_norm: RegNorm::Sum, ..base.clone() },
                Config { reg_form: RegForm::Same, ..base.clone() },
                Config { reg_form: RegForm::Same, reg_norm: RegNorm::Sum, ..base.clone() },
                Config { reg_form: RegForm::Decay, ..base.clone() },
            ]),
            "cause" => all.extend([
                Config { nu: 0.0, ..base.clone() },
                Config { treatment_cap: 1.0, ..base.clone() },
                Config { treatment_cap: 0.2, ..base.clone() },
            ]),
            "dice" => all.extend([
                Config { nu: 0.0, lambda_int: 0.0, ..base.clone() },
                Config { lambda_pop: 0.0, ..base.clone() },
                Config { dice_loss: DiceLoss::Bce, ..base.clone() },
            ]),
            _ => {}
        }
    }
    all
}

#[test]
fn the_first_step_follows_the_gradient() {
    let (data, device) = (world(), emulator::device());
    for (name, ..) in objective::REGISTRY {
        for config in configs(name) {
            for (kind, batch, dim) in [
                (SamplerKind::UserUniform, 20, 7),
                (SamplerKind::Interaction, 1, 5),
                (SamplerKind::Interaction, 41, 16),
                (SamplerKind::Interaction, 19, 65),
            ] {
                check(&data, name, &config, MF, kind, batch, dim, device.as_ref());
            }
        }
    }
}

#[test]
fn the_first_step_follows_the_gradient_through_mlp_branches() {
    let (data, device) = (world(), emulator::device());
    for config in configs("macr") {
        for (hidden, kind, batch, dim) in [
            (1, SamplerKind::UserUniform, 20, 7),
            (5, SamplerKind::Interaction, 41, 16),
            (19, SamplerKind::Interaction, 1, 5),
        ] {
            check(
                &data,
                "macr",
                &config,
                Form { branch: BranchKind::Mlp(hidden), ..MF },
                kind,
                batch,
                dim,
                device.as_ref(),
            );
        }
    }
}

#[test]
fn the_first_step_follows_the_gradient_through_the_propagation() {
    let (data, device) = (world(), emulator::device());
    for (name, ..) in objective::REGISTRY {
        for config in configs(name) {
            for (layers, form, kind, batch, dim) in [
                (1, backbone::Form::Layers, SamplerKind::UserUniform, 20, 7),
                (2, backbone::Form::Layers, SamplerKind::Interaction, 41, 5),
                (2, backbone::Form::Gram, SamplerKind::UserUniform, 11, 5),
                (3, backbone::Form::Layers, SamplerKind::Interaction, 1, 3),
            ] {
                let lightgcn = Some(LightGcn { layers, form });
                check(&data, name, &config, Form { lightgcn, ..MF }, kind, batch, dim, device.as_ref());
            }
        }
    }
    let lightgcn = Some(LightGcn { layers: 2, form: backbone::Form::Gram });
    let form = Form { lightgcn, branch: BranchKind::Mlp(3), ..MF };
    check(&data, "macr", &configs("macr")[0], form, SamplerKind::UserUniform, 20, 7, device.as_ref());
}

#[test]
fn the_first_step_follows_the_gradient_of_branches_on_the_parameters() {
    let (data, device) = (world(), emulator::device());
    for config in configs("macr") {
        for (layers, form, branch, kind, batch, dim) in [
            (1, backbone::Form::Layers, BranchKind::Linear, SamplerKind::UserUniform, 20, 7),
            (2, backbone::Form::Layers, BranchKind::Linear, SamplerKind::Interaction, 41, 5),
            (2, backbone::Form::Gram, BranchKind::Linear, SamplerKind::UserUniform, 11, 18),
            (2, backbone::Form::Gram, BranchKind::Mlp(3), SamplerKind::Interaction, 20, 6),
            (3, backbone::Form::Layers, BranchKind::Mlp(4), SamplerKind::UserUniform, 20, 3),
        ] {
            let lightgcn = Some(LightGcn { layers, form });
            let form = Form { lightgcn, branch, input: BranchInput::Ego };
            check(&data, "macr", &config, form, kind, batch, dim, device.as_ref());
        }
    }
    // Nothing is propagated: it makes no difference.
    let form = Form { input: BranchInput::Ego, ..MF };
    check(&data, "macr", &configs("macr")[0], form, SamplerKind::UserUniform, 20, 7, device.as_ref());
}

#[allow(clippy::too_many_arguments)]
fn check(
    data: &Interactions,
    name: &str,
    config: &Config,
    form: Form,
    kind: SamplerKind,
    batch: u32,
    dim: usize,
    device: Option<&Device>,
) {
    let l2 = 0.05;
    // Two halves have one size.
    let dim = if name == "dice" { dim.next_multiple_of(2) } else { dim };
    let sampler = Sampler::new(data, kind, Negatives::Uniform, batch, 5).unwrap();
    let mut drawn = Batch::default();
    let [users, positives, negatives] = &mut drawn;
    sampler.draw(0, users, positives, negatives);
    let settings = Settings {
        dim,
        storage: Default::default(),
        lightgcn: form.lightgcn,
        adam: Adam::default(),
        catch_up: CatchUp::Quadrature,
        branch: form.branch,
        branch_input: form.input,
        l2: l2 as f32,
        seed: 5,
    };
    let objective = objective::build(config, &sampler).unwrap();
    let mut engine = Cpu::new((USERS, ITEMS), sampler, objective, settings).unwrap();
    let start = engine.parameters().unwrap();
    let [p, q] = engine.tables().map(|table| rows(table, 0));
    let train = data.by_user(Split::Train);
    let degree = |u: u32| f64::from(train.degree(u));
    let facts = Facts {
        counts: (0..ITEMS).map(|i| data.by_item(Split::Train).degree(i)).collect(),
        drawn: (0..ITEMS)
            .map(|i| {
                let users = data.by_item(Split::Train).row(i).iter();
                users.map(|&u| if kind == SamplerKind::UserUniform { 1.0 / degree(u) } else { 1.0 }).sum()
            })
            .collect(),
        seed: 5,
    };
    let params = Params {
        dim: p.len() / USERS as usize,
        item_dim: q.len() / ITEMS as usize,
        hidden: form.branch.hidden(),
        graph: form.lightgcn.map(|LightGcn { layers, .. }| oracle::Graph {
            edges: (0..USERS).flat_map(|u| train.row(u).iter().map(move |&i| (u, i))).collect(),
            layers,
        }),
        ego: form.input == BranchInput::Ego,
        p: wide(&p),
        q: wide(&q),
        v: wide(&flat(start.user_branch)),
        w: wide(&flat(start.item_branch)),
        b: wide(&start.kept.item_bias.unwrap_or_default()),
    };
    let what = format!("{name}, {form:?}, {config:?}, {kind}, B {batch}, D {dim}");
    let expected = Expected {
        loss: oracle::loss(name, config, l2, &facts, &params, &drawn),
        gradient: oracle::gradient(name, config, l2, &facts, &params, &drawn),
    };

    let sequence = if form.lightgcn.is_some() { propagated_minibatch } else { minibatch };
    let losses = engine.repeat(1, &sequence).unwrap();
    let mut moments = engine.tables().map(|table| rows(table, 1)).concat();
    for of_branch in engine.branch_moments() {
        moments.extend(flat(of_branch));
    }
    moments.extend(engine.bias_moments().unwrap_or_default());
    expected.compare(&losses, &moments, &what);

    let Some(device) = device else { return };
    let sampler = Sampler::new(data, kind, Negatives::Uniform, batch, 5).unwrap();
    let objective = objective::build(config, &sampler).unwrap();
    let mut engine = Cuda::new(device, (USERS, ITEMS), sampler, objective.as_ref(), settings).unwrap();
    let losses = engine.repeat(1, &sequence).unwrap();
    let mut moments = Vec::new();
    for table in engine.tables() {
        let mut row = vec![0f32; table.parts().columns()];
        for padded in table.m.read().unwrap().chunks_exact(table.stride()) {
            table.parts().unpad(padded, &mut row);
            moments.extend_from_slice(&row);
        }
    }
    for of_branch in engine.branch_moments().unwrap() {
        moments.extend(flat(of_branch));
    }
    if let Some(bias) = engine.item_bias() {
        moments.extend(bias.m.read().unwrap());
    }
    expected.compare(&losses, &moments, &format!("on the GPU: {what}"));
}

/// Parameters (0) or first moments (1) of a table, without padding.
fn rows(table: &Table, which: usize) -> Vec<f32> {
    let columns = table.parts().columns();
    let mut all = vec![0f32; table.rows() * columns];
    for (row, out) in (0..).zip(all.chunks_exact_mut(columns)) {
        let Record { p, m, v } = table.record::<f32>(row);
        table.parts().unpad([p, m, v][which], out);
    }
    all
}

/// What the oracle says of a first step.
struct Expected {
    loss: f64,
    gradient: Vec<f64>,
}

impl Expected {
    /// After one step from zero, m = (1 - beta1) g.
    fn compare(&self, losses: &Losses, moments: &[f32], what: &str) {
        let got: f64 = losses.iter().sum();
        assert!((got / self.loss - 1.0).abs() < 2e-6, "{what}: loss {got}, oracle {}", self.loss);
        assert_eq!(moments.len(), self.gradient.len());
        // f32 sums of up to 2B terms of the size of the largest gradient.
        let largest = self.gradient.iter().fold(0f64, |a, g| a.max(g.abs()));
        for (k, (m, expected)) in moments.iter().zip(&self.gradient).enumerate() {
            let g = f64::from(*m) / f64::from(1.0 - 0.9f32);
            assert!((g - expected).abs() < 4e-6 * largest, "{what}: gradient {k} is {g}, oracle {expected}");
        }
    }
}
