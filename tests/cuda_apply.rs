//! `apply` on the device against sums and Adam in f64: touched rows, branches, totals; all else as it was.
#![cfg(feature = "cuda")]

mod batches;
mod emulator;

use batches::{Case, Ids, Random, TEST, World, cases, columns, guard, near, near_stored};
use macr::{
    Config,
    backend::{
        cpu::table::Parts,
        cuda::{
            Device,
            adam::{Optimiser, StepRules},
            apply::{self, Apply, Before},
            bias::Bias,
            branch::Branch,
            gather::{self, Gather, Gathered},
            penalty::Penalty,
            step::Step,
            table,
        },
    },
    objective::{self, ItemHead, RegForm},
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

/// What is applied, besides the batch.
#[derive(Debug, Clone, Copy)]
struct Form {
    objective: &'static str,
    reg_form: RegForm,
    distinct_users: bool,
    catch_up: CatchUp,
    /// Gradients are written, and no row moves.
    propagated: bool,
}

const PLAIN: Form = Form {
    objective: "bce",
    reg_form: RegForm::Cross,
    distinct_users: false,
    catch_up: CatchUp::Quadrature,
    propagated: false,
};

/// What the rows of a side are pulled to, by any penalty: coefficients and points of two kinds.
struct Pull {
    coefficient: [f32; 2],
    points: Vec<f32>,
}

/// Coefficient and target of a row that is pulled.
fn pulled(
    penalty: objective::Penalty,
    pull: &Pull,
    own: &[f32],
    parts: Parts,
    samples: usize,
    constant: f32,
) -> (f64, Vec<f32>) {
    let kind = usize::from(constant > 0.5);
    let each = samples as f64;
    match penalty {
        objective::Penalty::Halves(_) => {
            let (first, second) = own.split_at(parts.stride);
            (f64::from(pull.coefficient[0]), [second, first].concat())
        }
        objective::Penalty::Decay(_) => {
            (each * f64::from(pull.coefficient[0]) * f64::from(constant), vec![0.0; own.len()])
        }
        objective::Penalty::Across(_) | objective::Penalty::Within(_) => {
            (each * f64::from(pull.coefficient[kind]), pull.points[kind * own.len()..][..own.len()].to_vec())
        }
    }
}

fn check(device: &Device, case: Case, form: Form) {
    let adam = Adam::default();
    let Form { catch_up, distinct_users, propagated, .. } = form;
    let what = format!("{case:?}, {form:?}");
    let branched = form.objective == "macr";
    let config = Config {
        objective: form.objective.into(),
        alpha: 0.0,
        beta: 0.0,
        user_branch: branched,
        item_branch: branched,
        reg_form: form.reg_form,
        ..Config::default()
    };
    let objective = batches::objective(&config);
    let layout = objective.layout();
    let dim = if layout.is_divided() { case.dim.next_multiple_of(2).min(512) } else { case.dim };
    let case = Case { dim, ..case };
    let parts = table::parts(layout, dim, propagated);
    let world = &World::divided(case, parts);
    let (n, b) = (case.rows, case.size);
    let mut uploaded = world.upload(device);
    let optimiser = Optimiser::new(device, adam, catch_up).unwrap();
    let mut rules = StepRules::new(device, 2).unwrap();
    optimiser.rules(&device.upload(TEST, &[1, case.now]).unwrap(), 2, &mut rules).unwrap();
    let slots = world.slots();
    let mut branches = world.branches.clone().map(|weight| Branch::new(device, &weight).unwrap());
    let mut gathered = [0, 1].map(|k| Gathered::new(device, slots[k], parts[k].stride()).unwrap());
    let mut gather = Gather::new(device, parts.map(Parts::stride), case.storage, slots).unwrap();
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
    let step = Step::new(device, objective.as_ref(), b, parts, 1).unwrap();
    let mut scalars = step.scalars().unwrap();
    let (score_gradient, item_gradient, user_gradient) = (array(2 * b), array(2 * b), array(b));
    let second_gradient = array(2 * b);
    let mut branch_partial = array(scalars.branch_partial.len());
    for row in branch_partial.chunks_exact_mut(parts[1].stride()) {
        (0..row.len()).filter(|&c| columns(parts[1]).all(|x| x != c)).for_each(|c| row[c] = 0.0);
    }
    let loss_partial: Vec<f64> = array(scalars.loss_partial.len()).into_iter().map(f64::from).collect();
    scalars.score_gradient.write(&score_gradient).unwrap();
    if let Some(second) = &mut scalars.second_gradient {
        second.write(&second_gradient).unwrap();
    }
    scalars.item_gradient.write(&item_gradient).unwrap();
    scalars.user_gradient.write(&user_gradient).unwrap();
    scalars.branch_partial.write(&branch_partial).unwrap();
    scalars.loss_partial.write(&loss_partial).unwrap();

    let mut penalty = objective.penalty().map(|of| Penalty::new(device, of, parts, slots).unwrap());
    let pulls = parts.map(|parts| {
        let mut points = vec![0f32; 2 * parts.stride()];
        for row in points.chunks_exact_mut(parts.stride()) {
            columns(parts).for_each(|c| row[c] = array(1)[0]);
        }
        Pull { coefficient: [0.3 * array(1)[0], 0.3 * array(1)[0]], points }
    });
    if let Some(penalty) = &mut penalty {
        for (side, pull) in penalty.sides.iter_mut().zip(&pulls) {
            side.pull.write(&pull.coefficient).unwrap();
            if !side.points.is_empty() {
                side.points.write(&pull.points).unwrap();
            }
        }
    }
    let start: [Vec<f32>; 3] = [array(60), array(60), array(60).into_iter().map(f32::abs).collect()];
    let mut bias = (objective.item_head() == ItemHead::Bias).then(|| {
        let mut bias = Bias::new(device, 60).unwrap();
        for (buffer, values) in [&mut bias.values, &mut bias.m, &mut bias.v].into_iter().zip(&start) {
            buffer.write(values).unwrap();
        }
        bias
    });

    let mut apply =
        Apply::new(device, objective.as_ref(), parts, case.storage, b, slots, distinct_users).unwrap();
    if propagated {
        apply = apply.propagated().unwrap();
    }
    apply.losses.write(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    for branch in &mut branches {
        let stride = branch.values.len() / 2;
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
            apply::Side {
                table: user_table,
                branch: branched.then_some(user_branch),
                dx: None,
                bias: None,
                own: &gathered[0],
            },
            apply::Side {
                table: item_table,
                branch: branched.then_some(item_branch),
                dx: None,
                bias: bias.as_mut(),
                own: &gathered[1],
            },
        ];
        let before = Before { gather: &gather, step: &step, scalars: &scalars, penalty: penalty.as_ref() };
        apply.launch(batch, &optimiser, L2, before, sides).unwrap();
    }

    let place = |sample: u32| {
        let sample = sample as usize;
        if sample < n { sample } else { b + sample - n }
    };
    for k in 0..2 {
        let stride = parts[k].stride();
        let gradients = apply.gradients.as_ref().map(|gradients| gradients[k].read().unwrap());
        let (table, side, partners) = (&world.tables[k], &world.sides[k], &world.sides[1 - k]);
        let p = uploaded.tables[k].p.read().unwrap();
        let [m, v] = [&uploaded.tables[k].m, &uploaded.tables[k].v].map(|x| x.read().unwrap());
        let last = uploaded.tables[k].last.read().unwrap();
        let share = if k == 0 { 0.5 } else { 1.0 };
        for row in 0..table.rows {
            let at = row * stride..(row + 1) * stride;
            let touched = side.rows.binary_search(&(row as u32));
            if touched.is_err() || propagated {
                assert!(
                    p[at.clone()] == table.p[at.clone()]
                        && m[at.clone()] == table.m[at.clone()]
                        && v[at.clone()] == table.v[at]
                        && last[row] == table.last[row],
                    "{what}, row {row} of side {k} was not touched"
                );
            }
            let Ok(slot) = touched else { continue };
            assert!(propagated || last[row] == case.now + 1, "{what}, row {row} of side {k}");
            let mine = &own[k][slot * stride..][..stride];
            let samples = side.samples(slot);
            let (mut gradient, mut size, mut upstream) = (vec![0.0; stride], 0.0, 0.0);
            for &sample in samples {
                let place = place(sample);
                let partner = partners.slot[sample as usize] as usize * parts[1 - k].stride();
                for part in 0..if layout.is_divided() { 2 } else { 1 } {
                    let coefficient = f64::from([&score_gradient, &second_gradient][part][place]);
                    let partner = &own[1 - k][partner + parts[1 - k].start(part)..][..parts[k].stride];
                    for (g, &x) in gradient[parts[k].start(part)..].iter_mut().zip(partner) {
                        *g += coefficient * f64::from(x);
                    }
                    size += coefficient.abs() * 0.25;
                }
                if branched {
                    upstream += match k {
                        0 if (sample as usize) < n => f64::from(user_gradient[sample as usize]),
                        0 => 0.0,
                        _ => f64::from(item_gradient[place]),
                    };
                }
            }
            let l2 = f64::from(L2) * share / n as f64 * samples.len() as f64;
            let l2 = if propagated { 0.0 } else { l2 };
            size += l2 + 0.3 * samples.len() as f64 / n as f64 * f64::from(u8::from(branched));
            let of_side = if layout.is_divided() { parts[k].count > 1 } else { k == 1 };
            if let Some(penalty) = objective.penalty().filter(|_| of_side) {
                let constant = objective.item_constants().filter(|_| k == 1).map_or(0.0, |c| c[row]);
                let (coefficient, target) =
                    pulled(penalty, &pulls[k], mine, parts[k], samples.len(), constant);
                for ((g, &x), &y) in gradient.iter_mut().zip(mine).zip(&target) {
                    *g += coefficient * (f64::from(x) - f64::from(y));
                }
                size += coefficient.abs();
            }
            let idle = if table.last[row] == 0 { 0 } else { case.now - table.last[row] };
            let decay = [adam.beta1, adam.beta2].map(|beta| f64::from(beta).powf(idle as f64));
            for c in 0..stride {
                let x = f64::from(mine[c]);
                let mut g = gradient[c] + l2 * x;
                if branched && c < dim {
                    g += upstream * f64::from(world.branches[k][c]);
                }
                if let Some(gradients) = &gradients {
                    let what = format_args!("{what}, side {k}, row {row}, gradient {c}");
                    near(gradients[slot * stride + c], g, 4e-6 * size, what);
                    continue;
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
        let (first, second) = values.split_at(values.len() / 2);
        let (present, next) = if case.now.is_multiple_of(2) { (first, second) } else { (second, first) };
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

    if let Some(bias) = &bias {
        let [values, m, v] = [&bias.values, &bias.m, &bias.v].map(|x| x.read().unwrap());
        for item in 0..60 {
            let samples = (0..2 * n as u32).filter(|&s| world.sides[1].ids[s as usize] == item as u32);
            let terms: Vec<f64> = samples.map(|s| f64::from(item_gradient[place(s)])).collect();
            let size: f64 = terms.iter().map(|g| g.abs()).sum();
            let before = start.each_ref().map(|x| f64::from(x[item]));
            let expected = adam_step(&adam, case.now + 1, before, terms.iter().sum());
            let what = format_args!("{what}, bias of item {item}");
            let got = [values[item], m[item], v[item]];
            check_state((Storage::F32, 0), got, expected, before, size, what);
        }
    }

    let losses = apply.losses.read().unwrap();
    let l2: f64 = gather.l2_loss.read().unwrap().iter().sum();
    for part in 0..5 {
        let sum = match part {
            0..3 => loss_partial.iter().skip(part).step_by(3).sum(),
            // The penalty is added before.
            3 => 0.0,
            _ => l2,
        };
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
        let distinct_users = World::new(case).sides[0].rows.len() == case.rows && k % 2 == 0;
        let objective = if k % 3 == 1 { "bce" } else { "macr" };
        check(&device, case, Form { objective, distinct_users, ..PLAIN });
    }
}

#[test]
fn divided_rows_penalties_and_biases_follow_their_gradient() {
    let Some(device) = emulator::device() else { return };
    let forms = [
        ("bs", RegForm::Cross),
        ("reg", RegForm::Cross),
        ("reg", RegForm::Same),
        ("reg", RegForm::Decay),
        ("cause", RegForm::Cross),
        ("dice", RegForm::Cross),
    ];
    for (k, case) in cases().into_iter().enumerate() {
        for (j, (objective, reg_form)) in forms.into_iter().enumerate() {
            // The wide ones in turn.
            if case.dim > 128 && (k + j) % 3 > 0 {
                continue;
            }
            check(&device, case, Form { objective, reg_form, propagated: (k + j) % 2 == 1, ..PLAIN });
        }
    }
}

#[test]
fn replayed_rows_follow_their_gradient() {
    let Some(device) = emulator::device() else { return };
    for (ids, now, storage) in
        [(Ids::Zipf, 5101, Storage::F32), (Ids::OneItem, 1000, Storage::F32), (Ids::Zipf, 5101, Storage::F16)]
    {
        let case = Case { rows: 70, size: 75, dim: 6, storage, ids, now };
        for objective in ["macr", "dice"] {
            check(&device, case, Form { objective, catch_up: CatchUp::Replay, ..PLAIN });
        }
    }
}
