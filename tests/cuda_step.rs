//! `step` on the device against the formulas in f64, from rows that lie in any slots.
#![cfg(feature = "cuda")]

mod batches;
mod emulator;

use batches::{Random, World, cases, columns, guard, near, untouched};
use macr::{
    Config,
    backend::{
        cpu::table::Parts,
        cuda::{
            Device,
            bias::Bias,
            gather::Gathered,
            sample::Groups,
            step::{Inputs, Scalars, Step},
            table,
        },
    },
    objective::{self, DiceLoss, IpwScope, IpwVariant, ItemHead, Layout, Pairing},
};

/// Steps of an epoch.
const EPOCH: u64 = 1000;

/// Gathered rows and logits on host and device. The logits are any numbers: step takes them as they are.
struct Rows {
    rows: Vec<f32>,
    logit: Vec<f32>,
    parts: Parts,
    device: Gathered,
}

impl Rows {
    fn new(device: &Device, world: &World, side: usize, parts: Parts) -> Self {
        let mut random = Random::new(7 + side as u64);
        let (slots, stride) = (world.slots()[side], parts.stride());
        let mut rows = vec![0f32; slots * stride];
        for row in rows.chunks_exact_mut(stride) {
            columns(parts).for_each(|c| row[c] = 2.0 * random.signed() / (parts.width as f32).sqrt());
        }
        let logit: Vec<f32> = (0..slots).map(|_| 3.0 * random.signed()).collect();
        let mut gathered = Gathered::new(device, slots, stride).unwrap();
        gathered.rows.write(&rows).unwrap();
        gathered.logit.write(&logit).unwrap();
        Rows { rows, logit, parts, device: gathered }
    }

    fn row(&self, slot: u32) -> Vec<f64> {
        let stride = self.parts.stride();
        self.rows[slot as usize * stride..][..stride].iter().map(|&x| f64::from(x)).collect()
    }

    /// The vector of a row that is in the `part`-th scores.
    fn vector(&self, slot: u32, part: usize) -> Vec<f64> {
        self.row(slot)[self.parts.start(part)..][..self.parts.stride].to_vec()
    }
}

fn sigma(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// -log sigma(z) for label 1, -log sigma(-z) for label 0, with `e` added inside; and the derivative.
fn cross_entropy(z: f64, label: usize, e: f64) -> (f64, f64) {
    let sign = if label == 1 { 1.0 } else { -1.0 };
    let s = sigma(sign * z);
    (-(s + e).ln(), -sign * s * (1.0 - s) / (s + e))
}

/// What the stage of a row sees.
struct Row {
    /// By part and sample; of undivided rows, the same twice.
    score: [[f64; 2]; 2],
    item_logit: [f64; 2],
    user_logit: f64,
    constant: [f64; 2],
    second_group: bool,
    group_weight: f64,
    epoch: u64,
}

/// Per row of the batch: loss parts, dL/da, dL/dy_i, dL/dy_u, and scores and gates.
#[derive(Default)]
struct Expected {
    loss: [f64; 3],
    score_gradient: [f64; 2],
    second_gradient: [f64; 2],
    item_gradient: [f64; 2],
    user_gradient: f64,
    score: [f64; 2],
    gate: [f64; 2],
}

fn expected(name: &str, c: &Config, n: usize, row: &Row, sums: Option<[f64; 4]>) -> Expected {
    let Row { score: [a, second], item_logit: y_i, user_logit: y_u, constant, .. } = *row;
    let (w, mut out) = (1.0 / n as f64, Expected { score: a, ..Expected::default() });
    let e = |e: f64| if c.eps_compat { e } else { 0.0 };
    match name {
        "bce" | "reg" => {
            for k in 0..2 {
                let (loss, slope) = cross_entropy(a[k], 1 - k, e(1e-9));
                out.loss[0] += loss * w;
                out.score_gradient[k] = slope * w;
            }
        }
        "bs" => {
            for k in 0..2 {
                let (loss, slope) = cross_entropy(a[k] + y_i[k], 1 - k, e(1e-9));
                out.loss[0] += loss * w;
                out.score_gradient[k] = slope * w;
                out.item_gradient[k] = slope * w;
            }
        }
        "ipw" => {
            let negative = match c.ipw_scope {
                IpwScope::Pair => constant[0],
                IpwScope::Positive => 1.0,
                IpwScope::Own => constant[1],
            };
            for (k, weight) in [constant[0], negative].into_iter().enumerate() {
                let (loss, slope) = cross_entropy(a[k], 1 - k, e(1e-9));
                out.loss[0] += weight * loss * w;
                out.score_gradient[k] = weight * slope * w;
            }
        }
        "cause" => {
            let part = usize::from(row.second_group);
            for k in 0..2 {
                let (loss, slope) = cross_entropy(row.score[part][k], 1 - k, e(1e-9));
                out.loss[part] += loss * row.group_weight;
                [&mut out.score_gradient, &mut out.second_gradient][part][k] = slope * row.group_weight;
            }
        }
        "dice" => {
            let decay = 0.9f64.powf(row.epoch as f64);
            let (interest, conformity) = (f64::from(c.lambda_int) * decay, f64::from(c.lambda_pop) * decay);
            let m = constant[1] > constant[0];
            let (x, y) = (a[0] - a[1], second[0] - second[1]);
            let (main, d_main) = match c.dice_loss {
                DiceLoss::Bpr => {
                    let (loss, slope) = cross_entropy(x + y, 1, 0.0);
                    (loss, [slope, -slope])
                }
                DiceLoss::Bce => {
                    let [positive, negative] = [0, 1].map(|k| cross_entropy(a[k] + second[k], 1 - k, 0.0));
                    (positive.0 + negative.0, [positive.1, negative.1])
                }
            };
            let of_interest = cross_entropy(x, 1, 0.0);
            let of_conformity = cross_entropy(y, usize::from(!m), 0.0);
            let interest = if m { interest } else { 0.0 };
            out.loss = [main * w, interest * of_interest.0 * w, conformity * of_conformity.0 * w];
            for (k, sign) in [1.0, -1.0].into_iter().enumerate() {
                out.score_gradient[k] = (d_main[k] + sign * interest * of_interest.1) * w;
                out.second_gradient[k] = (d_main[k] + sign * conformity * of_conformity.1) * w;
            }
        }
        "bpr" => {
            let (loss, slope) = cross_entropy(a[0] - a[1], 1, 0.0);
            out.loss[0] = loss * w;
            out.score_gradient = [slope * w, -slope * w];
        }
        "macr" => {
            let s_u = if c.user_branch { sigma(y_u) } else { 1.0 };
            for k in 0..2 {
                let s_i = if c.item_branch { sigma(y_i[k]) } else { 1.0 };
                let g = s_u * s_i;
                out.gate[k] = g;
                let of_gate = if let Some(sums) = sums {
                    out.loss[0] += sums[k];
                    sums[2 + k]
                } else {
                    let (loss, slope) = cross_entropy(a[k] * g, 1 - k, e(1e-10));
                    out.loss[0] += loss * w;
                    out.score_gradient[k] = slope * g * w;
                    slope * a[k] * w
                };
                if c.item_branch {
                    let (loss, slope) = cross_entropy(y_i[k], 1 - k, e(1e-10));
                    out.loss[1] += f64::from(c.alpha) * loss * w;
                    out.item_gradient[k] = of_gate * g * (1.0 - s_i) + f64::from(c.alpha) * slope * w;
                }
                if c.user_branch {
                    let (loss, slope) = cross_entropy(y_u, 1 - k, e(1e-10));
                    out.loss[2] += f64::from(c.beta) * loss * w;
                    out.user_gradient += of_gate * g * (1.0 - s_u) + f64::from(c.beta) * slope * w;
                }
            }
        }
        other => panic!("no formulas for {other}: add them"),
    }
    out
}

fn guarded(step: &Step) -> Scalars {
    let mut scalars = step.scalars().unwrap();
    for buffer in [
        &mut scalars.score_gradient,
        &mut scalars.item_gradient,
        &mut scalars.user_gradient,
        &mut scalars.branch_partial,
    ] {
        guard(buffer);
    }
    if let Some(second) = &mut scalars.second_gradient {
        guard(second);
    }
    if let Some(pairs) = &mut scalars.pairs {
        guard(&mut pairs.score);
        guard(&mut pairs.gate);
    }
    scalars
}

fn check(device: &Device, world: &World, config: &Config, propagated: bool) {
    let name = config.objective.as_str();
    let (case, what) = (world.case, format!("{:?}, {config:?}, {propagated}", world.case));
    let (n, b) = (case.rows, case.size);
    let objective = batches::objective(config);
    let layout = objective.layout();
    let dim = if layout.is_divided() { case.dim.next_multiple_of(2).min(512) } else { case.dim };
    let parts = table::parts(layout, dim, propagated);
    let [users, items] = [0, 1].map(|side| Rows::new(device, world, side, parts[side]));
    let uploaded = world.upload(device);
    let step = Step::new(device, objective.as_ref(), b, parts, EPOCH).unwrap();
    let mut scalars = guarded(&step);
    let mut random = Random::new(5);
    // Any biases and groups.
    let biases: Vec<f32> = (0..world.tables[1].rows).map(|_| 2.0 * random.signed()).collect();
    let bias = (objective.item_head() == ItemHead::Bias).then(|| {
        let mut bias = Bias::new(device, biases.len()).unwrap();
        bias.values.write(&biases).unwrap();
        bias
    });
    let second: Vec<bool> = (0..b).map(|_| random.uniform() < 0.3).collect();
    let group_weight = [0.7 / n as f32, 1.9 / n as f32];
    let groups = objective.grouped().then(|| {
        let mut groups = Groups::new(device, objective.as_ref(), 2, b as u32).unwrap();
        let bits = |rows: &[bool]| rows.iter().zip(0..).fold(0u32, |word, (&x, k)| word | u32::from(x) << k);
        let words: Vec<u32> = second.chunks(32).map(bits).collect();
        groups.second.write(&[vec![0x5555_5555; words.len()], words].concat()).unwrap();
        groups.weight.write(&[f32::NAN, f32::NAN, group_weight[0], group_weight[1]]).unwrap();
        groups
    });
    let inputs = Inputs {
        gathered: [&users.device, &items.device],
        items: uploaded.items.each_ref(),
        bias: bias.as_ref(),
        groups: groups.as_ref(),
    };
    step.launch(uploaded.batch(), inputs, &mut scalars).unwrap();
    // All pairs: any numbers for the sums, which come from elsewhere.
    let mut random = Random::new(3);
    let mut sums = vec![[0f32; 4]; b];
    if let Some(pairs) = &mut scalars.pairs {
        sums.iter_mut().flatten().for_each(|x| *x = random.signed() / n as f32);
        let array = |first: usize| -> Vec<f32> { (0..2 * b).map(|s| sums[s % b][first + s / b]).collect() };
        pairs.loss.write(&array(0)).unwrap();
        pairs.gate_gradient.write(&array(2)).unwrap();
        step.stage(uploaded.batch(), inputs, &mut scalars).unwrap();
    }

    let read = |buffer: &macr::backend::cuda::Buffer<f32>| buffer.read().unwrap();
    let (score_gradient, item_gradient, user_gradient) =
        (read(&scalars.score_gradient), read(&scalars.item_gradient), read(&scalars.user_gradient));
    let pairs = scalars.pairs.as_ref().map(|pairs| (read(&pairs.score), read(&pairs.gate)));
    let second_gradient = scalars.second_gradient.as_ref().map(read);
    let (mut loss, mut size) = ([0.0; 3], [0.0; 3]);
    let stride = users.parts.stride();
    let mut of_branch = [vec![0.0; stride], vec![0.0; stride]];
    let mut branch_size = [0f64; 2];
    // Scalars are sums of D products and a few operations; 1/n is the largest that a derivative is, but for weights.
    let small = 2e-6 * (1.0 + case.dim as f64 / 300.0);
    let constants = objective.item_constants();
    let largest = match name {
        "ipw" => constants.unwrap().iter().fold(1f64, |a, &w| a.max(f64::from(w))),
        "cause" | "dice" => 2.0,
        _ => 1.0,
    };
    let tolerance = largest * small / n as f64;
    for r in 0..n {
        let user = world.sides[0].slot[r];
        let item = [world.sides[1].slot[r], world.sides[1].slot[n + r]];
        let (p, q) = (users.row(user), item.map(|slot| items.row(slot)));
        let score = [0, 1].map(|part| {
            item.map(|slot| {
                let (p, q) = (users.vector(user, part), items.vector(slot, part));
                p.iter().zip(&q).map(|(p, q)| p * q).sum()
            })
        });
        let ids = [world.sides[1].ids[r], world.sides[1].ids[n + r]].map(|id| id as usize);
        let row = Row {
            score,
            item_logit: if bias.is_some() {
                ids.map(|id| f64::from(biases[id]))
            } else {
                item.map(|slot| f64::from(items.logit[slot as usize]))
            },
            user_logit: f64::from(users.logit[user as usize]),
            constant: ids.map(|id| constants.map_or(0.0, |constants| f64::from(constants[id]))),
            second_group: second[r],
            group_weight: f64::from(group_weight[usize::from(second[r])]),
            epoch: case.now / EPOCH,
        };
        let given = pairs.is_some().then(|| sums[r].map(f64::from));
        let e = expected(name, config, n, &row, given);
        for k in 0..2 {
            let at = k * b + r;
            match &pairs {
                Some((score, gate)) => {
                    near(score[at], e.score[k], small * 4.0, format_args!("{what}, score {k} of row {r}"));
                    near(gate[at], e.gate[k], 4e-7, format_args!("{what}, gate {k} of row {r}"));
                }
                None => near(
                    score_gradient[at],
                    e.score_gradient[k],
                    tolerance,
                    format_args!("{what}, dL/da {k} of row {r}"),
                ),
            }
            if let Some(second) = &second_gradient {
                let what = format_args!("{what}, dL/da {k} of row {r}, second score");
                near(second[at], e.second_gradient[k], tolerance, what);
            }
            if bias.is_some() || (config.item_branch && name == "macr") {
                near(
                    item_gradient[at],
                    e.item_gradient[k],
                    4.0 * tolerance,
                    format_args!("{what}, dL/dy_i {k} of row {r}"),
                );
            }
            for (sum, q) in of_branch[1].iter_mut().zip(&q[k]) {
                *sum += e.item_gradient[k] * q;
            }
            branch_size[1] += e.item_gradient[k].abs();
        }
        if config.user_branch && name == "macr" {
            near(
                user_gradient[r],
                e.user_gradient,
                8.0 * tolerance,
                format_args!("{what}, dL/dy_u of row {r}"),
            );
        }
        for (sum, p) in of_branch[0].iter_mut().zip(&p) {
            *sum += e.user_gradient * p;
        }
        branch_size[0] += e.user_gradient.abs();
        for part in 0..3 {
            loss[part] += e.loss[part];
            size[part] += e.loss[part].abs();
        }
    }
    // Nothing beyond the rows of this batch is written, in either half.
    for k in 0..2 {
        assert!(
            untouched(&score_gradient[..(k + 1) * b], k * b + n)
                && untouched(&item_gradient[..(k + 1) * b], k * b + n),
            "{what}"
        );
        if let Some(second) = &second_gradient {
            assert!(untouched(&second[..(k + 1) * b], k * b + n), "{what}");
        }
        if let Some((score, gate)) = &pairs {
            assert!(
                untouched(&score[..(k + 1) * b], k * b + n) && untouched(&gate[..(k + 1) * b], k * b + n),
                "{what}"
            );
        }
    }
    assert!(untouched(&user_gradient, n) && (pairs.is_none() || untouched(&score_gradient, 0)), "{what}");

    let partial = scalars.loss_partial.read().unwrap();
    for part in 0..3 {
        let got: f64 = partial.iter().skip(part).step_by(3).sum();
        assert!(
            (got - loss[part]).abs() <= 1e-6 * size[part],
            "{what}: part {part} of the loss {got} for {}",
            loss[part]
        );
    }
    let partial = read(&scalars.branch_partial);
    if name != "macr" {
        assert!(untouched(&partial, 0), "{what}");
        return;
    }
    for side in 0..2 {
        for c in 0..stride {
            let got: f32 = partial.iter().skip(side * stride + c).step_by(2 * stride).sum();
            // As exact as its terms, whose factors of rows are below 2.
            let tolerance = 2.0 * (8.0 * tolerance * n as f64 + 2e-7 * branch_size[side]);
            near(got, of_branch[side][c], tolerance, format_args!("{what}, branch {side}, column {c}"));
        }
    }
}

#[test]
fn scalars_follow_the_formulas() {
    let Some(device) = emulator::device() else { return };
    for (k, case) in cases().into_iter().enumerate() {
        let world = World::new(case);
        for (j, (name, ..)) in objective::REGISTRY.iter().enumerate() {
            for pairing in [Pairing::Rows, Pairing::AllPairs] {
                // Each setting meets several shapes.
                let ablation = k + j;
                let config = Config {
                    objective: (*name).into(),
                    alpha: 0.3,
                    beta: 0.2,
                    ipw_variant: [IpwVariant::Ips, IpwVariant::Cn][ablation % 2],
                    ipw_scope: [IpwScope::Pair, IpwScope::Positive, IpwScope::Own][k % 3],
                    dice_loss: [DiceLoss::Bpr, DiceLoss::Bce][k % 2],
                    lambda_int: 0.9,
                    lambda_pop: 0.6,
                    pairing,
                    user_branch: ablation % 4 != 1,
                    item_branch: ablation % 5 != 1,
                    eps_compat: ablation % 3 == 1,
                    ..Config::default()
                };
                if pairing == Pairing::AllPairs && *name != "macr" {
                    continue;
                }
                check(&device, &world, &config, false);
                if batches::objective(&config).layout() == Layout::Twins {
                    check(&device, &world, &config, true);
                }
            }
        }
    }
}
