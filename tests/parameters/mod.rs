//! Parameters of a training as one list, and how lists differ.
#![allow(dead_code)]

use macr::{Branch, backend::Parameters};

/// Every parameter, the branches last.
pub fn flat(parameters: &Parameters) -> Vec<f32> {
    let Parameters { users, items, user_branch, item_branch, ego, .. } = parameters;
    let tables = [users, items].into_iter().chain(ego.iter().flatten());
    let mut all: Vec<f32> = tables.flatten().copied().collect();
    for branch in [user_branch, item_branch].into_iter().flatten() {
        match branch {
            Branch::Linear { weight } => all.extend(weight),
            Branch::Mlp { w1, b1, w2, b2 } => all.extend([w1, b1, w2].into_iter().flatten().chain([b2])),
        }
    }
    all
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Largest distance of two lists; NaN counts as far.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() })
        .fold(0.0, f32::max)
}
