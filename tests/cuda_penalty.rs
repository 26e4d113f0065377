//! `penalty` on the device against sums over samples and pairs in f64: the value, and what rows are pulled to.
#![cfg(feature = "cuda")]

mod batches;
mod emulator;

use batches::{Case, Ids, Random, TEST, World, cases, columns, near};
use macr::{
    backend::cuda::{Device, gather::Gathered, penalty::Penalty, table},
    objective::{self, Layout},
};

/// Items' constants: of 0 and 1, or of any size.
fn constants(penalty: objective::Penalty, ids: Ids) -> Vec<f32> {
    match penalty {
        objective::Penalty::Decay(_) => (0..60).map(|i| i as f32 / 20.0).collect(),
        // Of one kind alone, where all samples are of one item or the last ones.
        _ if ids == Ids::Last => vec![1.0; 60],
        _ => (0..60).map(|i| f32::from(u8::from(i % 3 == 0))).collect(),
    }
}

fn check(device: &Device, case: Case, penalty: objective::Penalty, layout: Layout, propagated: bool) {
    let what = format!("{case:?}, {penalty:?}, {layout:?}, {propagated}");
    let dim = if layout.is_divided() { case.dim.next_multiple_of(2).min(512) } else { case.dim };
    let parts = table::parts(layout, dim, propagated);
    let world = World::divided(case, parts);
    let (uploaded, slots) = (world.upload(device), world.slots());
    let mut random = Random::new(9);
    let rows = [0, 1].map(|k| {
        let mut rows = vec![0f32; slots[k] * parts[k].stride()];
        for row in rows.chunks_exact_mut(parts[k].stride()) {
            // Not around zero, so that means matter.
            columns(parts[k]).for_each(|c| row[c] = 0.2 + 0.4 * random.signed());
        }
        rows
    });
    let gathered = [0, 1].map(|k| {
        let mut gathered = Gathered::new(device, slots[k], parts[k].stride()).unwrap();
        gathered.rows.write(&rows[k]).unwrap();
        gathered
    });
    let constants = constants(penalty, case.ids);
    let of_items = device.upload(TEST, &constants).unwrap();
    let mut losses = device.upload(TEST, &[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    let mut launcher = Penalty::new(device, penalty, parts, slots).unwrap();
    // Twice: what it counts with is left as it was.
    for _ in 0..2 {
        launcher.launch(uploaded.batch(), gathered.each_ref(), Some(&of_items), &mut losses).unwrap();
    }

    let row = |k: usize, slot: usize| -> Vec<f64> {
        rows[k][slot * parts[k].stride()..][..parts[k].stride()].iter().map(|&x| f64::from(x)).collect()
    };
    let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
    let mut value = 0.0;
    for k in 0..2 {
        let pull = launcher.sides[k].pull.read().unwrap();
        let distinct = world.sides[k].rows.len();
        match penalty {
            objective::Penalty::Halves(strength) => {
                if parts[k].count < 2 {
                    continue;
                }
                let terms = (distinct * parts[k].width) as f64;
                for slot in 0..distinct {
                    let row = row(k, slot);
                    let (first, second) = row.split_at(parts[k].stride);
                    let difference: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
                    value += f64::from(strength) * square(&difference) / terms;
                }
                let expected = 2.0 * f64::from(strength) / terms;
                near(pull[0], expected, 1e-7 * expected.abs(), format_args!("{what}, pull of {k}"));
            }
            _ if k == 0 => {}
            objective::Penalty::Decay(strength) => {
                let scale = f64::from(strength) / case.rows as f64;
                for (&id, &slot) in world.sides[1].ids.iter().zip(&world.sides[1].slot) {
                    value += scale * f64::from(constants[id as usize]) * square(&row(1, slot as usize));
                }
                near(pull[0], 2.0 * scale, 2e-7 * scale, format_args!("{what}, pull"));
            }
            objective::Penalty::Across(_) | objective::Penalty::Within(_) => {
                let mut samples = [Vec::new(), Vec::new()];
                for (&id, &slot) in world.sides[1].ids.iter().zip(&world.sides[1].slot) {
                    samples[usize::from(constants[id as usize] > 0.5)].push(row(1, slot as usize));
                }
                let stride = parts[1].stride();
                let means = samples.each_ref().map(|samples| -> Vec<f64> {
                    let sum = |c: usize| samples.iter().map(|row| row[c]).sum::<f64>();
                    (0..stride).map(|c| sum(c) / samples.len().max(1) as f64).collect()
                });
                // Over pairs, by the mean squared distance from any point.
                let points = launcher.sides[1].points.read().unwrap();
                let both = samples.iter().all(|samples| !samples.is_empty());
                for kind in 0..2 {
                    let n = samples[kind].len().max(1) as f64;
                    let (strength, target) = match penalty {
                        objective::Penalty::Across(s) => (if both { s } else { 0.0 }, &means[1 - kind]),
                        objective::Penalty::Within(s) => (s[kind], &means[kind]),
                        other => panic!("{other:?}"),
                    };
                    let strength = f64::from(strength);
                    let spread: f64 = samples[kind]
                        .iter()
                        .map(|x| x.iter().zip(&means[kind]).map(|(x, m)| (x - m).powi(2)).sum::<f64>())
                        .sum();
                    value += strength * spread / n;
                    let expected = 2.0 * strength / n;
                    let what = format!("{what}, kind {kind}");
                    near(pull[kind], expected, 1e-7 * expected, format_args!("{what}, pull"));
                    for (c, &target) in target.iter().enumerate() {
                        // Sums of f32 of up to a few hundred rows a block.
                        near(points[kind * stride + c], target, 1e-6, format_args!("{what}, column {c}"));
                    }
                }
                if let (objective::Penalty::Across(strength), true) = (penalty, both) {
                    let apart = means[0].iter().zip(&means[1]).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
                    value += f64::from(strength) * apart;
                }
            }
        }
    }
    let got = losses.read().unwrap();
    assert_eq!([got[0], got[1], got[2], got[4]], [1.0, 2.0, 3.0, 5.0], "{what}");
    // Within kinds, a difference of squares of the size of the rows'.
    let size = f64::from(u32::try_from(parts[1].stride()).unwrap()) * 0.4;
    let error = ((got[3] - 4.0) / 2.0 - value).abs();
    assert!(error <= 1e-6 * (value.abs() + size), "{what}: {} for {value}", (got[3] - 4.0) / 2.0);
}

#[test]
fn values_and_pulls_follow_their_definitions() {
    let Some(device) = emulator::device() else { return };
    for (k, case) in cases().into_iter().enumerate() {
        check(&device, case, objective::Penalty::Halves(0.7), Layout::Halves, false);
        check(&device, case, objective::Penalty::Halves(-0.3), Layout::Twins, k % 2 == 0);
        check(&device, case, objective::Penalty::Decay(0.4), Layout::Whole, false);
        check(&device, case, objective::Penalty::Across(0.8), Layout::Whole, false);
        check(&device, case, objective::Penalty::Within([0.5, 0.9]), Layout::Whole, false);
    }
}
