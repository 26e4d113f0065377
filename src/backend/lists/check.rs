//! What every device refuses, in the same words.

use rayon::prelude::*;

use crate::{
    data::Csr,
    error::{Error, Result},
    model::Ranking,
};

/// Refuses rows of `what` items whose offsets lead beyond them.
pub(in crate::backend) fn offsets(what: &str, csr: Csr<'_>) -> Result<()> {
    let end = csr.offsets.last().copied().unwrap_or(0);
    if csr.offsets.is_sorted() && end <= csr.indices.len() as u64 {
        return Ok(());
    }
    Err(Error::data(
        format!("{} offsets do not fit {} {what} items", csr.offsets.len(), csr.indices.len()),
        "give offsets that ascend to the number of items",
    ))
}

/// Refuses lists of `k` of so many items, or rankings, that make no sense.
pub(in crate::backend) fn request(items: usize, rankings: &[Ranking], k: usize) -> Result<()> {
    if k == 0 || k > items {
        return Err(Error::config(
            "k",
            k,
            format!("a list takes 1 to {items} of the {items} items"),
            format!("choose a k from 1 to {items}"),
        ));
    }
    if rankings.is_empty() {
        return Err(Error::data("there is no ranking to rank by", "give at least one value of c or tau"));
    }
    for ranking in rankings {
        for (key, value) in [("c", ranking.c), ("tau", ranking.tau)] {
            if !value.is_finite() {
                return Err(Error::config(key, value, "this is not a finite number", "give a finite number"));
            }
        }
    }
    Ok(())
}

/// Refuses users beyond the last of `count`, and seen items that are not for `count` users and this many `items`.
pub(in crate::backend) fn users(users: &[u32], seen: &[Csr<'_>], count: usize, items: usize) -> Result<()> {
    if let Some(user) = users.iter().find(|&&user| user as usize >= count) {
        return Err(Error::data(
            format!("user {user} is asked for, the model has {count} users"),
            format!("ask for users 0 to {}", count.saturating_sub(1)),
        ));
    }
    for csr in seen {
        let beyond = |&user: &u32| csr.row(user).last().is_some_and(|&item| item as usize >= items);
        if csr.rows() != count || users.iter().any(beyond) {
            return Err(Error::data(
                format!(
                    "seen items are given for {} users, or beyond the last item; the model has {count} users and \
                     {items} items",
                    csr.rows(),
                ),
                "use the data that the model was trained on",
            ));
        }
    }
    Ok(())
}

/// Refuses embeddings of size `dim` with components up to these magnitudes if a sum could overflow: no score is then
/// infinite or NaN, and every comparison of scores has a meaning.
pub(in crate::backend) fn range(user: f64, item: f64, offset: f64, dim: usize) -> Result<()> {
    let bound = user * item * dim as f64 + offset;
    if bound <= f64::from(f32::MAX) / 2.0 {
        return Ok(());
    }
    Err(Error::data(
        format!("the embeddings are so large that scores leave the range of f32 (up to {bound:.1e})"),
        "train with a lower --learning-rate or a higher --l2",
    ))
}

/// The largest magnitude in a table of rows of `width`; an error if some number is not finite.
pub(in crate::backend) fn largest(what: &str, values: &[f32], width: usize) -> Result<f64> {
    const CHUNK: usize = 1 << 16;
    let largest = values
        .par_chunks(CHUNK)
        // Magnitudes order like their bits, and every infinity or NaN is above every number.
        .map(|chunk| chunk.iter().map(|value| value.to_bits() & 0x7fff_ffff).max().unwrap_or(0))
        .max()
        .unwrap_or(0);
    let largest = f32::from_bits(largest);
    if largest.is_finite() {
        return Ok(f64::from(largest));
    }
    let place = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
    Err(Error::data(
        format!(
            "the {what} has the value {} in row {}, column {}",
            values[place],
            place / width,
            place % width
        ),
        "train the model again with a lower --learning-rate; scores of such a model mean nothing",
    ))
}
