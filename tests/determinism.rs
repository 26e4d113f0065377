//! The same bits at any thread count; the two ways of keeping up Adam agree; all pairs by interpolation and term by
//! term.

use macr::{
    Config, Edges, Interactions, InteractionsBuilder, Split,
    backbone::{Form, LightGcn},
    backend::{
        Backend, Parameters, Settings,
        cpu::{Cpu, all_pairs, team::Team},
    },
    objective::{self, BranchInput, BranchKind, DiceLoss, Pairing},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    storage::Storage,
    train::sequence::{minibatch, propagated_minibatch},
};

fn world() -> Interactions {
    let pairs = (0..700u32).flat_map(|u| (0..2 + u % 9).map(move |k| (u, (u * 7 + k * k * (k + 3)) % 211)));
    InteractionsBuilder::new(700, 211).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
}

fn train(name: &str, pairing: Pairing, kind: SamplerKind, catch_up: CatchUp) -> Parameters {
    train_with(Storage::F32, None, BranchKind::Linear, name, pairing, kind, catch_up)
}

fn train_with(
    storage: Storage,
    lightgcn: Option<LightGcn>,
    branch: BranchKind,
    name: &str,
    pairing: Pairing,
    kind: SamplerKind,
    catch_up: CatchUp,
) -> Parameters {
    let data = world();
    let negatives = match name {
        "dice" => Negatives::Margin { margin: 4, per_positive: 2 },
        _ => Negatives::Popularity(0.5),
    };
    let sampler = Sampler::new(&data, kind, negatives, 130, 3).unwrap();
    // No objective looks at both.
    let dice_loss = if pairing == Pairing::Rows { DiceLoss::Bpr } else { DiceLoss::Bce };
    let config =
        Config { objective: name.into(), alpha: 1e-2, beta: 1e-3, pairing, dice_loss, ..Config::default() };
    // Where there is a hidden layer and propagation, the branches score the parameters.
    let branch_input = if branch == BranchKind::Linear { BranchInput::Propagated } else { BranchInput::Ego };
    let (dim, adam, l2, seed) = (24, Adam::default(), 1e-4, 3);
    let settings = Settings { dim, storage, lightgcn, adam, catch_up, branch, branch_input, l2, seed };
    let objective = objective::build(&config, &sampler).unwrap();
    let mut engine = Cpu::new((700, 211), sampler, objective, settings).unwrap();
    // An evaluation in between must not change what follows.
    let sequence = if lightgcn.is_some() { propagated_minibatch } else { minibatch };
    engine.repeat(33, &sequence).unwrap();
    engine.parameters().unwrap();
    engine.repeat(67, &sequence).unwrap();
    engine.parameters().unwrap()
}

fn on_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

#[test]
fn any_thread_count_gives_the_same_bits() {
    for (name, ..) in objective::REGISTRY {
        for pairing in [Pairing::Rows, Pairing::AllPairs] {
            for kind in [SamplerKind::UserUniform, SamplerKind::Interaction] {
                let run = |threads| on_threads(threads, || train(name, pairing, kind, CatchUp::Quadrature));
                let one = run(1);
                for threads in [2, 5] {
                    assert_eq!(one, run(threads), "{name} {pairing} {kind}, {threads} threads");
                }
            }
        }
    }
}

#[test]
fn every_objective_gives_the_same_bits_with_the_propagation() {
    for (name, ..) in objective::REGISTRY {
        for storage in [Storage::F32, Storage::F16] {
            let run = |threads| {
                let lightgcn = Some(LightGcn { layers: 2, form: Form::Layers });
                let (pairing, kind, catch_up) =
                    (Pairing::Rows, SamplerKind::Interaction, CatchUp::Quadrature);
                let branch = BranchKind::Linear;
                on_threads(threads, || train_with(storage, lightgcn, branch, name, pairing, kind, catch_up))
            };
            assert_eq!(run(1), run(3), "{name}, {storage}");
        }
    }
}

#[test]
fn halves_mlp_branches_and_propagation_give_the_same_bits_on_any_number_of_threads() {
    let layers = |layers| LightGcn { layers, form: Form::Layers };
    let gram = LightGcn { layers: 2, form: Form::Gram };
    for (storage, lightgcn, branch) in [
        (Storage::F32, None, BranchKind::Mlp(9)),
        (Storage::F32, Some(layers(1)), BranchKind::Linear),
        (Storage::F32, Some(layers(3)), BranchKind::Mlp(4)),
        (Storage::F32, Some(gram), BranchKind::Linear),
        (Storage::F16, None, BranchKind::Linear),
        (Storage::Bf16, None, BranchKind::Linear),
        (Storage::F16, Some(layers(3)), BranchKind::Linear),
        (Storage::F16, Some(gram), BranchKind::Linear),
        (Storage::Bf16, Some(layers(2)), BranchKind::Linear),
    ] {
        let run = |threads| {
            let (pairing, kind) = (Pairing::AllPairs, SamplerKind::UserUniform);
            on_threads(threads, || {
                train_with(storage, lightgcn, branch, "macr", pairing, kind, CatchUp::Quadrature)
            })
        };
        let one = run(1);
        for threads in [2, 5] {
            assert_eq!(one, run(threads), "{storage}, {lightgcn:?}, {branch}, {threads} threads");
        }
    }
}

#[test]
fn the_two_ways_to_propagate_agree_over_a_hundred_steps() {
    let run = |form| {
        let lightgcn = Some(LightGcn { layers: 2, form });
        train_with(
            Storage::F32,
            lightgcn,
            BranchKind::Linear,
            "macr",
            Pairing::Rows,
            SamplerKind::UserUniform,
            CatchUp::Quadrature,
        )
    };
    let (layers, gram) = (run(Form::Layers), run(Form::Gram));
    let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    for (a, b) in [(&layers.users, &gram.users), (&layers.items, &gram.items)] {
        let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        let relative = norm(&difference) / norm(a);
        assert!(relative < 1e-5, "relative difference {relative}");
    }
}

#[test]
fn quadrature_and_replay_agree() {
    let run = |catch_up| train("macr", Pairing::Rows, SamplerKind::UserUniform, catch_up);
    let (quadrature, replay) = (run(CatchUp::Quadrature), run(CatchUp::Replay));
    for (a, b) in
        quadrature.users.iter().chain(&quadrature.items).zip(replay.users.iter().chain(&replay.items))
    {
        // Adam divides by sqrt(v): where v is tiny, rounding grows; a step is 1e-3.
        assert!((a - b).abs() < 2e-5, "{a} and {b}");
    }
}

#[test]
fn interpolated_sums_are_the_sums() {
    let mut state = 1u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / 16_777_216.0
    };
    for (batch, low, high) in
        [(1, 0.0, 1.0), (64, -0.1, 0.1), (1024, -5.0, 20.0), (1000, -40.0, 10.0), (129, 3.0, 9.0)]
    {
        let a: Vec<f32> = (0..batch).map(|_| (low + (high - low) * uniform()) as f32).collect();
        let g: Vec<f32> = (0..batch).map(|_| (uniform() * uniform()) as f32).collect();
        for label in [0.0, 1.0] {
            let exact = Team::enter(|team| all_pairs::brute_force(team, &a, &g, label, None));
            let fast = Team::enter(|team| all_pairs::interpolated(team, &a, &g, label));
            let fast = fast.expect("few nodes are enough here");
            for (what, exact, fast) in [
                ("loss", &exact.loss, &fast.loss),
                ("score", &exact.score_gradient, &fast.score_gradient),
                ("gate", &exact.gate_gradient, &fast.gate_gradient),
            ] {
                let largest = exact.iter().fold(0f32, |a, x| a.max(x.abs()));
                for (exact, fast) in exact.iter().zip(fast) {
                    // f32 polynomials of up to 100 terms.
                    let error = (exact - fast).abs() / largest;
                    assert!(
                        error < 1e-5,
                        "{what}, B {batch}, a in {low}..{high}, label {label}: {fast} for {exact}"
                    );
                }
            }
        }
    }
}
