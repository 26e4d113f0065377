//! `model.safetensors`. The checksum is put right, so that the bytes behind it are read.

use std::hint::black_box;

use macr::{Model, Recommender};
use xxhash_rust::xxh3::xxh3_128;

use super::file;

/// Where the digits of the checksum stand.
const CHECKSUM: std::ops::Range<usize> = 37..69;

pub fn run(input: &[u8]) {
    let mut bytes = input.to_vec();
    if let Some(digits) = bytes.get_mut(CHECKSUM) {
        digits.fill(b'0');
        let checksum = format!("{:032x}", xxh3_128(&bytes));
        bytes[CHECKSUM].copy_from_slice(checksum.as_bytes());
    }
    let Ok(model) = Model::load(file("model.safetensors", &bytes)) else { return };
    let again = file("again.safetensors", b"");
    model.save(&again).expect("a model that was read can be written");
    assert!(Model::load(again).is_ok_and(|again| again.metadata == model.metadata), "written and read again");
    black_box(model.item_gates());
    let recommender = Recommender::new(&model).expect("a model that was read can recommend");
    if model.users() > 0 && model.items() > 0 {
        let _ = black_box(recommender.recommend(&[0], 1));
        let _ = black_box(recommender.similar_items(&[0], 1));
    }
}
