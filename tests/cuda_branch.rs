//! `branch` on the device against sums in f64.
#![cfg(feature = "cuda")]

mod batches;
mod emulator;

use batches::{Case, Ids, Random, World, cases, guard, near, untouched};
use macr::{
    Branch, Config,
    backend::cuda::{
        Device,
        adam::Optimiser,
        branch::Mlps,
        gather::Gathered,
        step::{Scalars, Step},
        table,
    },
    optim::{Adam, CatchUp},
    storage::Storage,
};

/// A branch of `hidden` units for rows of `dim`; a linear one without any.
fn branch(dim: usize, hidden: usize, random: &mut Random) -> Branch {
    let mut array = |n: usize| -> Vec<f32> { (0..n).map(|_| random.signed()).collect() };
    if hidden == 0 {
        return Branch::Linear { weight: array(dim) };
    }
    let (w1, b1, w2) = (array(hidden * dim), array(hidden), array(hidden));
    Branch::Mlp { w1, b1, w2, b2: 0.25 }
}

/// Parameters, one after the other.
fn flat(branch: &Branch) -> Vec<f32> {
    let Branch::Mlp { w1, b1, w2, b2 } = branch else {
        let Branch::Linear { weight } = branch else { unreachable!() };
        return weight.clone();
    };
    [w1, b1, w2].into_iter().flatten().chain([b2]).copied().collect()
}

/// What follows from one row: its logit, dy/dx, and dy by parameter.
fn of_row(branch: &Branch, x: &[f32]) -> (f64, Vec<f64>, Vec<f64>) {
    let Branch::Mlp { w1, b1, w2, b2 } = branch else {
        let weight: Vec<f64> = flat(branch).into_iter().map(f64::from).collect();
        let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
        return (weight.iter().zip(&x).map(|(w, x)| w * x).sum(), weight, x);
    };
    let (dim, hidden) = (x.len(), b1.len());
    let (mut y, mut dx) = (f64::from(*b2), vec![0.0; dim]);
    let mut gradient = vec![0.0; hidden * (dim + 2) + 1];
    gradient[hidden * (dim + 2)] = 1.0;
    for (k, w) in w1.chunks_exact(dim).enumerate() {
        let products = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
        let h = products.sum::<f64>() + f64::from(b1[k]);
        assert!(h.abs() > 1e-7, "the test's numbers leave it to rounding on which side of zero a unit is");
        if h > 0.0 {
            y += f64::from(w2[k]) * h;
            for d in 0..dim {
                dx[d] += f64::from(w2[k]) * f64::from(w[d]);
                gradient[k * dim + d] = f64::from(w2[k]) * f64::from(x[d]);
            }
            gradient[hidden * dim + k] = f64::from(w2[k]);
            gradient[hidden * (dim + 1) + k] = h;
        }
    }
    (y, dx, gradient)
}

fn scalars(device: &Device, case: Case) -> Scalars {
    let config = Config { objective: "macr".into(), ..Config::default() };
    let objective = batches::objective(&config);
    let parts = table::parts(objective.layout(), case.dim, false);
    Step::new(device, objective.as_ref(), case.size, parts, 1).unwrap().scalars().unwrap()
}

fn check(device: &Device, case: Case, hidden: usize, wanted: [bool; 2]) {
    let what = format!("{case:?}, {hidden} units, {wanted:?}");
    let (world, adam) = (World::new(case), Adam::default());
    let (n, b, dim) = (case.rows, case.size, case.dim);
    let (slots, stride) = (world.slots(), world.tables[0].stride());
    let uploaded = world.upload(device);
    let optimiser = Optimiser::new(device, adam, CatchUp::Quadrature).unwrap();
    let mut random = Random::new(17 + hidden as u64);
    let branches = [0, 1].map(|_| branch(dim, hidden, &mut random));
    let given = [0, 1].map(|k| wanted[k].then_some(&branches[k]));
    let mut mlps = Mlps::new(device, given, dim, slots).unwrap();

    // Rows beyond those of the batch hold what they like.
    let mut gathered = slots.map(|n| Gathered::new(device, n, dim).unwrap());
    let rows = [0, 1].map(|k| {
        let mut rows = vec![f32::NAN; world.sides[k].rows.len() * stride];
        for row in rows.chunks_exact_mut(stride) {
            row[..dim].iter_mut().for_each(|x| *x = random.signed());
            row[dim..].fill(0.0);
        }
        gathered[k].rows.write(&rows).unwrap();
        guard(&mut gathered[k].logit);
        rows
    });
    for mlp in mlps.sides.iter_mut().flatten() {
        guard(&mut mlp.dx);
    }
    let mut scalars = scalars(device, case);
    let mut array = |len: usize| -> Vec<f32> { (0..len).map(|_| random.signed() / n as f32).collect() };
    let (user_gradient, item_gradient) = (array(b), array(2 * b));
    scalars.user_gradient.write(&user_gradient).unwrap();
    scalars.item_gradient.write(&item_gradient).unwrap();
    let [users, items] = &mut gathered;
    mlps.forward(uploaded.batch(), &optimiser, [users, items], &scalars).unwrap();
    let logits = [0, 1].map(|k| gathered[k].logit.read().unwrap());
    let [users, items] = &mut gathered;
    mlps.backward(uploaded.batch(), &optimiser, [users, items], &scalars).unwrap();

    for k in 0..2 {
        let (side, count) = (&world.sides[k], world.sides[k].rows.len());
        let Some(mlp) = &mlps.sides[k] else {
            assert!(untouched(&logits[k], 0), "{what}");
            continue;
        };
        let dx = mlp.dx.read().unwrap();
        assert!(untouched(&logits[k], count) && untouched(&dx, count * stride), "{what}");
        let size = if hidden == 0 { dim } else { hidden * (dim + 2) + 1 };
        let (mut gradient, mut magnitude) = (vec![0.0; size], vec![0.0; size]);
        for slot in 0..count {
            let x = &rows[k][slot * stride..][..dim];
            let (y, along_x, by_parameter) = of_row(&branches[k], x);
            // f32 sums of H sums of D products up to 1.
            let rounding = 1e-7 * (hidden.max(1) * dim) as f64;
            near(logits[k][slot], y, rounding + 1e-6, format_args!("{what}: logit {slot} of side {k}"));
            let of_samples = (side.samples(slot).iter()).map(|&sample| match (k, sample as usize) {
                (0, s) if s >= n => 0.0,
                (0, s) => f64::from(user_gradient[s]),
                (_, s) if s >= n => f64::from(item_gradient[b + s - n]),
                (_, s) => f64::from(item_gradient[s]),
            });
            // Their f32 sum rounds by what is summed, not by what comes out.
            let (upstream, summed) = of_samples.fold((0.0, 0.0), |(sum, size), g| (sum + g, size + g.abs()));
            for d in 0..stride {
                let expected = if d < dim { upstream * along_x[d] } else { 0.0 };
                let tolerance = 1e-6 * (1.0 + hidden as f64) * summed + 1e-9;
                near(dx[slot * stride + d], expected, tolerance, format_args!("{what}: dx {slot}, {d}"));
            }
            for ((sum, size), by) in gradient.iter_mut().zip(&mut magnitude).zip(by_parameter) {
                *sum += upstream * by;
                *size += (summed * by).abs();
            }
        }
        // From zero, m = (1 - beta1) g, and the parameters move against it.
        let (m, values) = (flat(&mlp.first_moments().unwrap()), flat(&mlp.read().unwrap()));
        let start = flat(&branches[k]);
        for (j, &expected) in gradient.iter().enumerate() {
            let tolerance = 4e-6 * (magnitude[j] + dim as f64 * 1e-3) * f64::from(1.0 - adam.beta1) + 1e-10;
            let g = expected * f64::from(1.0 - adam.beta1);
            near(m[j], g, tolerance, format_args!("{what}: gradient {j} of side {k}"));
            let moved = values[j] - start[j];
            assert!(
                expected.abs() < 1e-5 || moved * expected as f32 <= 0.0,
                "{what}: parameter {j} moved {moved}"
            );
        }
    }
}

#[test]
fn branches_follow_f64() {
    let Some(device) = emulator::device() else { return };
    // Every other case, for the emulator's sake; each width is among them.
    for (k, case) in
        cases().into_iter().step_by(2).filter(|case| case.rows <= 64 || case.dim <= 32).enumerate()
    {
        let hidden = [1, 5, 0, 33][(k + k / 4) % 4];
        check(&device, case, hidden, [[true, true], [true, false], [false, true]][k % 3]);
    }
    for dim in [128, 300, 1024] {
        let (ids, storage) = (Ids::Zipf, Storage::F32);
        for hidden in [0, 70] {
            check(&device, Case { rows: 5, size: 7, dim, storage, ids, now: 40_000 }, hidden, [true, true]);
        }
    }
    // More tiles of slots than blocks.
    let case = Case { rows: 1100, size: 1100, dim: 130, storage: Storage::F32, ids: Ids::OneItem, now: 10 };
    check(&device, case, 2, [true, false]);
    check(&device, case, 0, [false, true]);
}
