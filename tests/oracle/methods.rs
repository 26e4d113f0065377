//! What the baselines derive from the training interactions, and their penalties.

use macr::{
    Config,
    objective::{IpwVariant, RegForm, RegNorm},
    sampling::philox::philox,
};

use super::{Batch, Facts};

/// IPW: the items' weights.
pub fn weights(c: &Config, facts: &Facts) -> Vec<f64> {
    let n: Vec<f64> = facts.counts.iter().map(|&n| f64::from(n.max(1))).collect();
    let most = n.iter().copied().fold(0.0, f64::max);
    let mut w: Vec<f64> = n.iter().map(|n| (most / n).powf(f64::from(c.eta))).collect();
    let mut sorted = w.clone();
    sorted.sort_by(f64::total_cmp);
    let k = sorted.len();
    let median = (sorted[(k - 1) / 2] + sorted[k / 2]) / 2.0;
    let divide = |w: &mut Vec<f64>| {
        let largest = w.iter().copied().fold(0.0, f64::max);
        w.iter_mut().for_each(|w| *w /= largest);
    };
    let steps = [IpwVariant::Ips, IpwVariant::C, IpwVariant::Cn, IpwVariant::Cnsr];
    let step = steps.iter().position(|&v| v == c.ipw_variant).unwrap();
    if step >= 1 {
        w.iter_mut().for_each(|w| *w = w.min(median));
    }
    if step >= 2 {
        divide(&mut w);
    }
    if step >= 3 {
        w.iter_mut().for_each(|w| *w = w.powf(f64::from(c.smoothing)));
        divide(&mut w);
    }
    if c.ipw_rescale {
        let total: f64 = facts.drawn.iter().sum();
        let mean: f64 = w.iter().zip(&facts.drawn).map(|(w, drawn)| w * drawn / total).sum();
        w.iter_mut().for_each(|w| *w /= mean);
    }
    w
}

/// CausE: whether the interaction is in the debiased set, in which a tenth of all interactions is expected to be.
pub fn is_treatment(c: &Config, facts: &Facts, user: u32, item: u32) -> bool {
    let n: Vec<f64> = facts.counts.iter().map(|&n| f64::from(n)).collect();
    let wanted = 0.1 * n.iter().sum::<f64>();
    let cap = f64::from(c.treatment_cap);
    // By bisection: the expected number grows with kappa.
    let (mut low, mut high) = (0.0, n.iter().copied().fold(0.0, f64::max));
    for _ in 0..200 {
        let kappa = (low + high) / 2.0;
        let expected: f64 = n.iter().map(|n| (cap * n).min(kappa)).sum();
        if expected < wanted { low = kappa } else { high = kappa }
    }
    let word = philox([user, item, 0, 0x5452_5400], [facts.seed as u32, (facts.seed >> 32) as u32])[0];
    f64::from(word) / 4_294_967_296.0 < cap.min(low / n[item as usize])
}

/// Reg: the most popular items that cover 80% of the interactions.
fn head(counts: &[u32]) -> Vec<bool> {
    let mut left = 0.8 * counts.iter().map(|&n| f64::from(n)).sum::<f64>();
    let mut head = vec![false; counts.len()];
    while left > 0.0 {
        let rest = (0..counts.len()).filter(|&i| !head[i]);
        let next = rest.max_by_key(|&i| (counts[i], std::cmp::Reverse(i))).unwrap();
        head[next] = true;
        left -= f64::from(counts[next]);
    }
    head
}

/// The penalty on a batch's final embeddings, term by term.
pub fn penalty(
    objective: &str,
    c: &Config,
    facts: &Facts,
    [user_dim, item_dim]: [usize; 2],
    [users, items]: [&[f64]; 2],
    [us, is, js]: &Batch,
) -> f64 {
    let user = |u: u32| &users[u as usize * user_dim..][..user_dim];
    let item = |i: u32| &items[i as usize * item_dim..][..item_dim];
    let samples: Vec<u32> = is.iter().chain(js).copied().collect();
    let square = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    let distinct = |ids: &[u32]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let between_halves = |ids: &[u32], row: &dyn Fn(u32) -> Vec<f64>| {
        let ids = distinct(ids);
        let of_row = |&id: &u32| {
            let row = row(id);
            let (a, b) = row.split_at(row.len() / 2);
            square(a, b) / a.len() as f64
        };
        ids.iter().map(of_row).sum::<f64>() / ids.len() as f64
    };
    let (of_users, of_items) = (|u: u32| user(u).to_vec(), |i: u32| item(i).to_vec());
    match objective {
        "dice" => -f64::from(c.nu) * (between_halves(us, &of_users) + between_halves(&samples, &of_items)),
        "cause" => {
            // Where users have one vector for both sets, nothing ties it.
            let users = if user_dim == item_dim { between_halves(us, &of_users) } else { 0.0 };
            f64::from(c.nu) * (users + between_halves(&samples, &of_items))
        }
        "reg" => {
            let mu = f64::from(c.mu);
            let head = head(&facts.counts);
            let side = |popular: bool| -> Vec<u32> {
                samples.iter().copied().filter(|&i| head[i as usize] == popular).collect()
            };
            let size = |popular: bool| head.iter().filter(|&&h| h == popular).count() as f64;
            // Of all ordered pairs of two sides, an item with itself too, which adds nothing.
            let mean = |a: bool, b: bool| {
                let (a, b) = (side(a), side(b));
                let mut sum = 0.0;
                for &i in &a {
                    for &j in &b {
                        sum += square(item(i), item(j));
                    }
                }
                sum / (a.len() * b.len()).max(1) as f64
            };
            let scale = |a: bool, b: bool| match c.reg_norm {
                RegNorm::PairMean => 1.0,
                RegNorm::Sum => size(a) * size(b),
            };
            match c.reg_form {
                RegForm::Cross => mu * scale(true, false) * mean(true, false),
                RegForm::Same => {
                    let of = |popular| scale(popular, popular) * mean(popular, popular) / 2.0;
                    mu * (of(true) + of(false))
                }
                RegForm::Decay => {
                    let total: f64 = facts.counts.iter().map(|&n| f64::from(n)).sum();
                    let mean = total / facts.counts.len() as f64;
                    let zero = vec![0.0; item_dim];
                    let of = |i: &u32| f64::from(facts.counts[*i as usize]) / mean * square(item(*i), &zero);
                    mu * samples.iter().map(of).sum::<f64>() / us.len() as f64
                }
            }
        }
        _ => 0.0,
    }
}
