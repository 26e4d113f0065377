//! How near a ranking is to the truth, where the truth is known: data from [`crate::data::synth`].

use rayon::prelude::*;

use super::table::{Cell, Column, Table};
use crate::{
    data::{Interactions, Split, synth::Truth},
    error::{Error, Result},
    eval::significance::{Paired, mean, randomisation},
    model::Model,
};

/// Most users that are looked at, evenly spaced over all.
const USERS: u32 = 2000;
/// A difference that chance gives this often says nothing.
const CHANCE: f64 = 0.05;

/// For evenly spaced users, Spearman's rank correlation between the model's scores of the items that the user has not
/// in train and the true matching m_ui; `None` where all are equal, or there is none.
///
/// # Errors
/// [`Error::Data`] if model, data and truth have other users or items.
pub fn correlations(model: &Model, data: &Interactions, truth: &Truth) -> Result<Vec<Option<f64>>> {
    let of = |users: u32, items: u32| format!("{users} users and {items} items");
    let spec = &truth.spec;
    let sizes = [(model.users(), model.items()), (data.users(), data.items()), (spec.users, spec.items)];
    if sizes.iter().any(|&size| size != sizes[0]) {
        let [model, data, truth] = sizes.map(|(users, items)| of(users, items));
        return Err(Error::data(
            format!("the model has {model}, the data {data}, the truth {truth}"),
            "name the data that the model was trained on and the truth that was written with it",
        ));
    }
    let gates = model.item_gates();
    let (c, tau) = (f64::from(model.metadata.ranking.c), f64::from(model.metadata.ranking.tau));
    let (train, dim) = (data.by_user(Split::Train), model.dim);
    let step = data.users().div_ceil(USERS).max(1);
    let users: Vec<u32> = (0..data.users()).step_by(step as usize).collect();
    let of_user = |&user: &u32| {
        let seen = train.row(user);
        let row = &model.user_embedding[user as usize * dim..][..dim];
        let (mut scores, mut matching) = (Vec::new(), Vec::new());
        for item in (0..data.items()).filter(|item| seen.binary_search(item).is_err()) {
            let at = item as usize;
            let column = &model.item_embedding[at * dim..][..dim];
            let dot: f64 = row.iter().zip(column).map(|(&p, &q)| f64::from(p) * f64::from(q)).sum();
            let gate = gates.as_ref().map_or(1.0, |gates| f64::from(gates[at]));
            let popularity = f64::from(model.item_popularity[at]);
            scores.push(gate * (dot - c) - tau * libm::log(popularity + 1.0));
            matching.push(truth.matching(user, item));
        }
        spearman(&scores, &matching)
    };
    Ok(users.par_iter().map(of_user).collect())
}

/// Spearman's rank correlation; equal values share the mean of their ranks. `None` where one side has one value only.
fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let middle = (a.len() as f64 - 1.0) / 2.0;
    let sum =
        |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum() };
    let spread = sum(&a, &a) * sum(&b, &b);
    (spread > 0.0).then(|| sum(&a, &b) / spread.sqrt())
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&x, &y| values[x].total_cmp(&values[y]));
    let mut ranks = vec![0.0; values.len()];
    let mut place = 0;
    for equal in order.chunk_by(|&x, &y| values[x] == values[y]) {
        let rank = place as f64 + (equal.len() as f64 - 1.0) / 2.0;
        equal.iter().for_each(|&k| ranks[k] = rank);
        place += equal.len();
    }
    ranks
}

/// A model, and how near its rankings are to the truth.
#[derive(Debug, Clone, PartialEq)]
pub struct System {
    /// Its name, unlike the others'.
    pub name: String,
    /// Its backbone.
    pub backbone: String,
    /// Of the same users as the others' ([`correlations`]).
    pub correlations: Vec<Option<f64>>,
}

/// Every system's mean correlation, and its difference from the first of the same backbone; a note says which are
/// nearer to the truth than that one, and which are not.
pub fn table(systems: &[System]) -> Table {
    let mut columns = vec![Column::new("system", 0), Column::new("rank correlation", 4)];
    columns.extend([Column::new("against", 0), Column::difference("difference", 4), Column::new("p", 5)]);
    let mut table = Table::new("truth", "Nearness to the known truth", columns);
    let mut verdicts: Vec<Verdict<'_>> = Vec::new();
    for system in systems {
        let first = systems.iter().find(|other| other.backbone == system.backbone);
        let first = first.filter(|first| first.name != system.name);
        let test = first.and_then(|first| compared(&system.correlations, &first.correlations));
        table.push(
            None,
            vec![
                Cell::text(&system.name),
                Cell::number(mean(&system.correlations.iter().flatten().copied().collect::<Vec<_>>())),
                first.map_or(Cell::Missing, |first| Cell::text(&first.name)),
                Cell::number(test.map(|test| test.difference)),
                Cell::number(test.map(|test| test.p)),
            ],
        );
        if let Some((first, test)) = first.zip(test) {
            let known = verdicts.iter().position(|verdict| verdict.first == first.name);
            let at = known.unwrap_or_else(|| {
                verdicts.push(Verdict { first: &first.name, of: Default::default() });
                verdicts.len() - 1
            });
            verdicts[at].add(&system.name, test);
        }
    }
    table.notes.push(format!(
        "The data are generated, so the true matching of every user and item is known. Shown is Spearman's rank correlation \
         between a system's ranking of the items that a user has not seen and this matching, mean over up to {USERS} evenly \
         spaced users, and the difference from the first system with the same backbone (two-sided randomisation test over \
         users). 1 is a perfect ranking; popularity, which the training data also reward, counts as error here."
    ));
    table.notes.extend(verdicts.iter().map(Verdict::note));
    table
}

/// What became of the systems that were compared with `first`: names with p-values, nearer, not
/// nearer, and nearer by no more than chance.
struct Verdict<'a> {
    first: &'a str,
    of: [Vec<String>; 3],
}

impl Verdict<'_> {
    fn add(&mut self, name: &str, test: Paired) {
        let kind = if test.difference <= 0.0 { 1 } else { usize::from(test.p >= CHANCE) * 2 };
        self.of[kind].push(format!("{name} (p = {:.5})", test.p));
    }

    fn note(&self) -> String {
        let kinds = [
            format!("Nearer to the truth than {}", self.first),
            format!("Not nearer to the truth than {}", self.first),
            format!("Above {} by no more than chance gives (p of {CHANCE} or more)", self.first),
        ];
        let told = kinds.iter().zip(&self.of).filter(|(_, names)| !names.is_empty());
        told.map(|(kind, names)| format!("{kind}: {}.", names.join(", "))).collect::<Vec<_>>().join(" ")
    }
}

/// Over the users who have a correlation in both.
fn compared(a: &[Option<f64>], b: &[Option<f64>]) -> Option<Paired> {
    let (a, b): (Vec<f64>, Vec<f64>) = a.iter().zip(b).filter_map(|(&a, &b)| a.zip(b)).unzip();
    randomisation(&a, &b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlations_by_hand() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 40.0]), Some(1.0));
        assert_eq!(spearman(&[3.0, 2.0, 1.0], &[1.0, 2.0, 3.0]), Some(-1.0));
        // Ranks 0, 1.5, 1.5, 3 and 0, 1, 2, 3: 4.5 / sqrt(4.5 * 5).
        let tied = spearman(&[0.0, 5.0, 5.0, 9.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((tied - (4.5_f64 / 5.0).sqrt()).abs() < 1e-12);
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
    }
}
