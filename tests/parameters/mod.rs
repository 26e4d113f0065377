//! Parameters of a training as one list, and how lists differ.
#![allow(dead_code)]

use macr::{Branch, backend::Parameters, model::Kept, storage::Storage};

/// Every parameter, the branches last.
pub fn flat(parameters: &Parameters) -> Vec<f32> {
    let Parameters { users, items, user_branch, item_branch, ego, kept } = parameters;
    let Kept { item_bias, second_user_embedding, second_item_embedding } = kept;
    let kept = [item_bias, second_user_embedding, second_item_embedding].into_iter().flatten();
    let tables = [users, items].into_iter().chain(ego.iter().flatten()).chain(kept);
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

/// Distance of two neighbours of the largest number.
pub fn one_unit(storage: Storage, values: &[f32]) -> f32 {
    let largest = values.iter().fold(0f32, |a, x| a.max(x.abs()));
    match storage {
        Storage::F32 => 0.0,
        Storage::F16 => largest * 2f32.powi(-10),
        Storage::Bf16 => largest * 2f32.powi(-7),
    }
}

/// Fails unless two lists are as near as `tolerance`. In 16 bits, sums that differ by the last bits of f32 are now and
/// then rounded to different neighbours, and training goes on from there: few numbers are further off, by units.
pub fn close(storage: Storage, a: &[f32], b: &[f32], tolerance: f32, what: &str) {
    let far = distance(a, b);
    if storage == Storage::F32 {
        return assert!(far < tolerance, "{what}: {far}");
    }
    let off = a.iter().zip(b).filter(|(a, b)| (*a - *b).abs() >= tolerance).count();
    let allowed = 3.0 * one_unit(storage, a);
    assert!(far < allowed, "{what}: {far} where {allowed} is allowed");
    assert!(off * 50 < a.len(), "{what}: {off} of {} numbers are off", a.len());
}
