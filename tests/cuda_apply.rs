//! `apply` on the device against sums and Adam in f64: touched rows, branches, totals; all else as it was.

mod batches;
mod emulator;

use batches::{Case, Ids, Random, TEST, World, cases, guard, near, near_stored};
use macr::{
    backend::cuda::{
        Device,
        adam::{Optimiser, StepRules},
        apply::{self, Apply},
        branch::Branch,
        gather::{self, Gather, Gathered},
        step::Step,
    },
    objective::ObjectiveConfig,
    optim::{Adam, CatchUp},
    storage::Storage,
};

const L2: f32 = 0.03;

/// p, m and v after one step from p, m and v.
fn adam_step(adam: &Adam, step: u64, [p, m, v]: [f64; 3], g: f64) -> [f64; 3] {
    let (b1, b2) = (f64::from(adam.beta1), f64::from(adam.beta2));
    let (m, v) = (b1 * m + (1.0 - b1) * g, b2 * v + (1.0 - b2) * g * g);
    let t = step as f64;
    let rate = f64::from(adam.learning_rate) * (1.0 - b2.powf(t)).sqrt() / (1.0 - b1.powf(t));
    [p - rate * m / (v.sqrt() + f64::from(adam.epsilon)), m, v]
}

/// Compares p, m and v after a step, where `size` bounds the terms of the gradient and p is rounded by a word.
fn check_state(
    (storage, word): (Storage, u32),
    got: [f32; 3],
    expected: [f64; 3],
    before: [f64; 3],
    size: f64,
    what: std::fmt::Arguments<'_>,
) {
    // f32 sums in any order, by 2^-24 a term of at most a few hundred.
    let of_gradient = 4e-6 * size;
    let [p, m, v] = expected;
    near(got[1], m, 0.1 * of_gradient + 4e-7 * m.abs().max(before[1].abs()), format_args!("{what}, m"));
    near(got[2], v, 1e-3 * 2.0 * of_gradient * size + 1e-6 * v, format_args!("{what}, v"));
    // What m is off, v moves by at least as much; a step is below 1e-3 times m / sqrt(v).
    let moved = 1e-3 * (0.1 * of_gradient + 4e-7 * before[1].abs()) / (v.sqrt() + 1e-8)
        + 2e-6 * (p - before[0]).abs();
    near_stored(storage, word, got[0], p, moved + 1.2e-7 * p.abs(), format_args!("{what}, p"));
}

fn check(device: &Device, world: &World, branched: bool, distinct_users: bool, catch_up: CatchUp) {
    let (case, adam) = (world.case, Adam::default());
    let what = format!("{case:?}, branches {branched}, {catch_up}");
    let (n, b, dim) = (case.rows, case.size, case.dim);
    let config = ObjectiveConfig {
        alpha: 0.0,
        beta: 0.0,
        user_branch: branched,
        item_branch: branched,
        ..ObjectiveConfig::default()
    };
    let objective = batches::objective(if branched { "macr" } else { "bce" }, &config);
    let mut uploaded = world.upload(device);
    let optimiser = Optimiser::new(device, adam, catch_up).unwrap();
    let mut rules = StepRules::new(device, 2).unwrap();
    optimiser.rules(&device.upload(TEST, &[1, case.now]).unwrap(), 2, &mut rules).unwrap();
    let slots = world.slots();
    let mut branches = world.branches.clone().map(|weight| Branch::new(device, &weight).unwrap());
    let mut gathered = slots.map(|slots| Gathered::new(device, slots, dim).unwrap());
    let mut gather = Gather::new(device, dim, case.storage, slots).unwrap();
    {
        let [users, items] = &mut gathered;
        let side = |k: usize, out| gather::Side {
            table: &uploaded.tables[k],
            branch: branched.then_some(&branches[k]),
            out,
        };
        gather.launch(uploaded.batch(), &optimiser, &rules, L2, [side(0, users), side(1, items)]).unwrap();
    }
    let own = [0, 1].map(|k| gathered[k].rows.read().unwrap());

    // Any gradients will do.
    let mut random = Random::new(11);
    let mut array = |len: usize| -> Vec<f32> { (0..len).map(|_| random.signed() / n as f32).collect() };
    let step = Step::new(device, objective.as_ref(), &config, b, dim).unwrap();
    let mut scalars = step.scalars().unwrap();
    let (score_gradient, item_gradient, user_gradient) = (array(2 * b), array(2 * b), array(b));
    let stride = world.tables[0].stride();
    let mut branch_partial = array(scalars.branch_partial.len());
    for row in branch_partial.chunks_exact_mut(stride) {
        row[dim..].fill(0.0);
    }
    let loss_partial: Vec<f64> = array(scalars.loss_partial.len()).into_iter().map(f64::from).collect();
    scalars.score_gradient.write(&score_gradient).unwrap();
    scalars.item_gradient.write(&item_gradient).unwrap();
    scalars.user_gradient.write(&user_gradient).unwrap();
    scalars.branch_partial.write(&branch_partial).unwrap();
    scalars.loss_partial.write(&loss_partial).unwrap();

    let mut apply = Apply::new(device, dim, case.storage, b, slots, distinct_users).unwrap();
    apply.losses.write(&[1.0, 2.0, 3.0, 4.0]).unwrap();
    for branch in &mut branches {
        let half = branch.values.read().unwrap()[..stride].to_vec();
        guard(&mut branch.values);
        branch.values.write(&half).unwrap();
        if case.now % 2 == 1 {
            branch.values.write(&[half.clone(), half].concat()).unwrap();
        }
    }
    {
        let [user_table, item_table] = &mut uploaded.tables;
        let [users, items] = &uploaded.touched;
        let batch = macr::backend::cuda::batch::Batch {
            step: &uploaded.step,
            rows: &uploaded.rows,
            users,
            items,
            k: 1,
            size: b,
        };
        let [user_branch, item_branch] = &mut branches;
        let sides = [
            apply::Side { table: user_table, branch: branched.then_some(user_branch), own: &gathered[0] },
            apply::Side { table: item_table, branch: branched.then_some(item_branch), own: &gathered[1] },
        ];
        apply.launch(batch, &optimiser, L2, (&gather, &step, &scalars), sides).unwrap();
    }

    for k in 0..2 {
        let (table, side, partners) = (&world.tables[k], &world.sides[k], &world.sides[1 - k]);
        let p = uploaded.tables[k].p.read().unwrap();
        let [m, v] = [&uploaded.tables[k].m, &uploaded.tables[k].v].map(|x| x.read().unwrap());
        let last = uploaded.tables[k].last.read().unwrap();
        let share = if k == 0 { 0.5 } else { 1.0 };
        for row in 0..table.rows {
            let at = row * stride..(row + 1) * stride;
            let Ok(slot) = side.rows.binary_search(&(row as u32)) else {
                assert!(
                    p[at.clone()] == table.p[at.clone()]
                        && m[at.clone()] == table.m[at.clone()]
                        && v[at.clone()] == table.v[at]
                        && last[row] == table.last[row],
                    "{what}, row {row} of side {k} was not touched"
                );
                continue;
            };
            assert_eq!(last[row], case.now + 1, "{what}, row {row} of side {k}");
            let mine = &own[k][slot * stride..][..stride];
            let samples = side.samples(slot);
            let (mut gradient, mut size, mut upstream) = (vec![0.0; stride], 0.0, 0.0);
            for &sample in samples {
                let sample = sample as usize;
                let place = if sample < n { sample } else { b + sample - n };
                let coefficient = f64::from(score_gradient[place]);
                let partner = partners.slot[sample] as usize;
                let partner = &own[1 - k][partner * stride..][..stride];
                for (g, &x) in gradient.iter_mut().zip(partner) {
                    *g += coefficient * f64::from(x);
                }
                size += coefficient.abs() * 0.25;
                if branched {
                    upstream += match k {
                        0 if sample < n => f64::from(user_gradient[sample]),
                        0 => 0.0,
                        _ => f64::from(item_gradient[place]),
                    };
                }
            }
            let l2 = f64::from(L2) * share / n as f64 * samples.len() as f64;
            size += l2 + 0.3 * samples.len() as f64 / n as f64 * f64::from(u8::from(branched));
            let idle = if table.last[row] == 0 { 0 } else { case.now - table.last[row] };
            let decay = [adam.beta1, adam.beta2].map(|beta| f64::from(beta).powf(idle as f64));
            for c in 0..stride {
                let x = f64::from(mine[c]);
                let mut g = gradient[c] + l2 * x;
                if c < dim {
                    g += upstream * f64::from(world.branches[k][c]);
                }
                let at = row * stride + c;
                let before = [x, f64::from(table.m[at]) * decay[0], f64::from(table.v[at]) * decay[1]];
                let expected = adam_step(&adam, case.now + 1, before, g);
                check_state(
                    (case.storage, table.noise(case.now + 1, row).word(c)),
                    [p[at], m[at], v[at]],
                    expected,
                    before,
                    size,
                    format_args!("{what}, side {k}, row {row}, column {c}"),
                );
            }
        }
        let values = branches[k].values.read().unwrap();
        let (first, second) = values.split_at(stride);
        let (present, next) = if case.now % 2 == 0 { (first, second) } else { (second, first) };
        assert_eq!(&present[..dim], world.branches[k], "{what}: the half that others read");
        if !branched {
            continue;
        }
        let (m, v) = (branches[k].m.read().unwrap(), branches[k].v.read().unwrap());
        for c in 0..dim {
            let parts = branch_partial.iter().skip(k * stride + c).step_by(2 * stride).map(|&x| f64::from(x));
            let size: f64 = parts.clone().map(f64::abs).sum();
            let before = [f64::from(world.branches[k][c]), 0.0, 0.0];
            let expected = adam_step(&adam, case.now + 1, before, parts.sum());
            check_state(
                (Storage::F32, 0),
                [next[c], m[c], v[c]],
                expected,
                before,
                size,
                format_args!("{what}, branch {k}, column {c}"),
            );
        }
    }

    let losses = apply.losses.read().unwrap();
    let l2: f64 = gather.l2_loss.read().unwrap().iter().sum();
    for part in 0..4 {
        let sum = if part < 3 { loss_partial.iter().skip(part).step_by(3).sum() } else { l2 };
        let expected = (part + 1) as f64 + sum;
        assert!(
            (losses[part] - expected).abs() < 1e-12,
            "{what}: part {part}: {} for {expected}",
            losses[part]
        );
    }
}

#[test]
fn rows_follow_their_gradient() {
    let Some(device) = emulator::device() else { return };
    for (k, case) in cases().into_iter().enumerate() {
        let world = World::new(case);
        let distinct = world.sides[0].rows.len() == case.rows;
        check(&device, &world, k % 3 != 1, distinct && k % 2 == 0, CatchUp::Quadrature);
    }
}

#[test]
fn replayed_rows_follow_their_gradient() {
    let Some(device) = emulator::device() else { return };
    for (ids, now, storage) in
        [(Ids::Zipf, 5101, Storage::F32), (Ids::OneItem, 1000, Storage::F32), (Ids::Zipf, 5101, Storage::F16)]
    {
        let case = Case { rows: 70, size: 75, dim: 6, storage, ids, now };
        check(&device, &World::new(case), true, false, CatchUp::Replay);
    }
}
