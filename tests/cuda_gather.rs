//! `gather` on the device against step-by-step sums in f64.
#![cfg(feature = "cuda")]

mod batches;
mod emulator;

use batches::{HostTable, World, cases, guard, near, untouched};
use macr::{
    backend::{
        cpu::adam::adam_step,
        cuda::{
            Device,
            adam::{Optimiser, StepRules},
            branch::Branch,
            gather::{Gather, Gathered, Side},
            table,
        },
    },
    objective::Layout,
    optim::{Adam, CatchUp},
    storage::Storage,
};

const L2: f32 = 0.01;

/// What the replay must give, to the bit: dense Adam in f32.
fn dense(table: &HostTable, adam: &Adam, row: usize, now: u64) -> Vec<f32> {
    let state = table.row(&table.p, row).iter().zip(table.row(&table.m, row)).zip(table.row(&table.v, row));
    state
        .map(|((&p, &m), &v)| {
            let (mut p, mut m, mut v) = (p, m, v);
            let last = table.last[row];
            for t in if last == 0 { now } else { last } + 1..=now {
                (p, m, v) = adam_step(p, m, v, 0.0, adam.rate(t) as f32, adam);
            }
            p
        })
        .collect()
}

fn check(device: &Device, world: &World, catch_up: CatchUp, branched: bool) {
    let (case, adam) = (world.case, Adam::default());
    let what = format!("{case:?}, {catch_up}, branches {branched}");
    let uploaded = world.upload(device);
    let optimiser = Optimiser::new(device, adam, catch_up).unwrap();
    let mut rules = StepRules::new(device, 2).unwrap();
    // Step 0 of the chunk is any other one.
    let steps = device.upload(batches::TEST, &[case.now + 1, case.now]).unwrap();
    optimiser.rules(&steps, 2, &mut rules).unwrap();
    let slots = world.slots();
    let mut gathered = [0, 1].map(|k| Gathered::new(device, slots[k], world.tables[k].stride()).unwrap());
    for side in &mut gathered {
        guard(&mut side.rows);
        guard(&mut side.logit);
    }
    let branches = [0, 1].map(|k| {
        let mut branch = Branch::new(device, &world.branches[k]).unwrap();
        if case.now % 2 == 1 {
            // The present half is the second.
            let values = branch.values.read().unwrap();
            let (first, second) = values.split_at(values.len() / 2);
            branch.values.write(&[second, first].concat()).unwrap();
        }
        branch
    });
    let strides = [0, 1].map(|k| world.tables[k].stride());
    let mut gather = Gather::new(device, strides, case.storage, slots).unwrap();
    {
        let [users, items] = &mut gathered;
        let side = |k: usize, out| Side {
            table: &uploaded.tables[k],
            branch: branched.then_some(&branches[k]),
            out,
        };
        gather.launch(uploaded.batch(), &optimiser, &rules, L2, [side(0, users), side(1, items)]).unwrap();
    }

    let mut l2_loss = 0.0;
    for k in 0..2 {
        let (table, side) = (&world.tables[k], &world.sides[k]);
        let (rows, logits) = (gathered[k].rows.read().unwrap(), gathered[k].logit.read().unwrap());
        let stride = table.stride();
        for (slot, &row) in side.rows.iter().enumerate() {
            let got = &rows[slot * stride..][..stride];
            match catch_up {
                CatchUp::Quadrature => table.check_row(&adam, row as usize, case.now, got, &what),
                // It rounds at every step, as dense Adam does.
                CatchUp::Replay => {
                    assert_eq!(got, dense(table, &adam, row as usize, case.now), "{what}, row {row}");
                }
            }
            let products = got.iter().zip(&world.branches[k]).map(|(&x, &w)| f64::from(x) * f64::from(w));
            if branched {
                let size: f64 = products.clone().map(f64::abs).sum();
                // A tree of depth below 20.
                near(logits[slot], products.sum(), 20.0 * 6e-8 * size, format_args!("{what}, logit {slot}"));
            }
            let squares: f64 = got.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            let share = if k == 0 { 0.5 } else { 1.0 };
            l2_loss +=
                0.5 * share * f64::from(L2) / case.rows as f64 * squares * side.samples(slot).len() as f64;
        }
        assert!(untouched(&rows, side.rows.len() * stride), "{what}: rows beyond the last slot");
        assert!(untouched(&logits, if branched { side.rows.len() } else { 0 }), "{what}: logits");
        // The tables are only read.
        assert_eq!(uploaded.tables[k].p.read().unwrap(), table.p, "{what}");
        assert_eq!(uploaded.tables[k].last.read().unwrap(), table.last, "{what}");
    }
    let got: f64 = gather.l2_loss.read().unwrap().iter().sum();
    assert!((got - l2_loss).abs() <= 1e-6 * l2_loss, "{what}: L2 {got} for {l2_loss}");
}

#[test]
fn rows_are_caught_up() {
    let Some(device) = emulator::device() else { return };
    for (k, case) in cases().into_iter().enumerate() {
        let world = World::new(case);
        check(&device, &world, CatchUp::Quadrature, k % 3 != 0);
        if case.dim <= 64 && case.rows <= 200 {
            check(&device, &world, CatchUp::Replay, k % 3 == 0);
        }
    }
}

#[test]
fn divided_rows_are_caught_up() {
    let Some(device) = emulator::device() else { return };
    for (layout, propagated) in [(Layout::Halves, false), (Layout::Twins, false), (Layout::Twins, true)] {
        for case in cases().into_iter().filter(|case| case.dim % 2 == 0 && case.dim <= 300) {
            let world = World::divided(case, table::parts(layout, case.dim, propagated));
            check(&device, &world, CatchUp::Quadrature, false);
        }
    }
}

#[test]
fn an_odd_step_reads_the_other_half_of_the_branches() {
    let Some(device) = emulator::device() else { return };
    let case = batches::Case {
        rows: 20,
        size: 20,
        dim: 9,
        storage: Storage::F32,
        ids: batches::Ids::Zipf,
        now: 5101,
    };
    check(&device, &World::new(case), CatchUp::Quadrature, true);
}

/// Of tables that are up to date, beside final embeddings that are there already.
#[test]
fn parameters_that_branches_score_are_gathered_as_they_stand() {
    let Some(device) = emulator::device() else { return };
    for case in cases().into_iter().step_by(4) {
        let (world, what) = (World::new(case), format!("{case:?}"));
        let uploaded = world.upload(&device);
        let optimiser = Optimiser::new(&device, Adam::default(), CatchUp::Quadrature).unwrap();
        // Never filled: no row has missed a step.
        let rules = StepRules::new(&device, 2).unwrap();
        let slots = world.slots();
        let mut gathered = slots.map(|n| Gathered::with_ego(&device, n, case.dim).unwrap());
        for side in &mut gathered {
            guard(&mut side.rows);
            guard(side.ego.as_mut().unwrap());
        }
        let mut gather = Gather::new(&device, [case.dim; 2], case.storage, slots).unwrap().propagated();
        let [users, items] = &mut gathered;
        let side = |k: usize, out| Side { table: &uploaded.tables[k], branch: None, out };
        gather.launch(uploaded.batch(), &optimiser, &rules, L2, [side(0, users), side(1, items)]).unwrap();
        let mut l2_loss = 0.0;
        for k in 0..2 {
            let (table, side) = (&world.tables[k], &world.sides[k]);
            let (stride, ego) = (table.stride(), gathered[k].scored().read().unwrap());
            assert!(untouched(&gathered[k].rows.read().unwrap(), 0), "{what}: final embeddings");
            assert!(untouched(&ego, side.rows.len() * stride), "{what}: rows beyond the last slot");
            for (slot, &row) in side.rows.iter().enumerate() {
                let got = &ego[slot * stride..][..stride];
                assert_eq!(got, &table.p[row as usize * stride..][..stride], "{what}, row {row}");
                let squares: f64 = got.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
                let share = if k == 0 { 0.25 } else { 0.5 };
                l2_loss +=
                    share * f64::from(L2) / case.rows as f64 * squares * side.samples(slot).len() as f64;
            }
        }
        let got: f64 = gather.l2_loss.read().unwrap().iter().sum();
        assert!((got - l2_loss).abs() <= 1e-6 * l2_loss, "{what}: L2 {got} for {l2_loss}");
    }
}
