//! Splitting interactions into train, valid and test.
//!
//! Every random choice is a function of the seed and of what is chosen from (an item, a user), so that a split is the
//! same at any number of threads and on any machine.

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    builder::{Edges, InteractionsBuilder},
    interactions::{Interactions, Split},
    popularity::degrees,
};
use crate::{
    error::{Error, Result},
    sampling::philox::Rng,
};

/// How many interactions an item-uniform split takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// This many from each item that has them to give.
    PerItem(u32),
    /// This many in all, spread evenly over the items.
    Total(u64),
    /// This part of all that is split, spread evenly over the items.
    Fraction(f64),
}

/// Which interactions are held out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// The paper's debiased protocol: every item is held out equally often, so that a popular item counts in the
    /// test no more than a rare one.
    ///
    /// One interaction of each item always stays in train; an item that has too few gives what it can. Amounts over
    /// all items are spread by level: each item gives as many as every other unless it runs out, and what is left
    /// over comes from a random choice of items, one each.
    UniformItem {
        /// For the test split.
        test: Amount,
        /// For the validation split.
        valid: Amount,
    },
    /// A uniformly random part of the interactions; popular items dominate the test as they do the training.
    Random {
        /// Part held out for test.
        test: f64,
        /// Part held out for validation.
        valid: f64,
    },
    /// Each user's last interaction for test and the one before for validation: by time where times are known
    /// (equal times in random order), else random ones. One interaction of each user stays in train.
    LeaveOneOut {
        /// Whether the test split is taken.
        test: bool,
        /// Whether the validation split is taken.
        valid: bool,
    },
    /// The latest interactions of all for test, the latest before them for validation. Interactions at the very
    /// time of a cut stay on its earlier side.
    Temporal {
        /// Part held out for test, at most.
        test: f64,
        /// Part held out for validation, at most.
        valid: f64,
    },
}

impl Kind {
    fn takes(&self) -> [(Split, bool); 2] {
        let any = |amount: Amount| match amount {
            Amount::PerItem(k) => k > 0,
            Amount::Total(n) => n > 0,
            Amount::Fraction(f) => f > 0.0,
        };
        let (test, valid) = match *self {
            Kind::UniformItem { test, valid } => (any(test), any(valid)),
            Kind::Random { test, valid } | Kind::Temporal { test, valid } => (test > 0.0, valid > 0.0),
            Kind::LeaveOneOut { test, valid } => (test, valid),
        };
        [(Split::Test, test), (Split::Valid, valid)]
    }
}

/// Which of the input's interactions are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// All of them: the input's own splits are dissolved.
    All,
    /// Those in train; the input's other splits stay as they are.
    Train,
}

/// A split to make.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Plan {
    /// Which interactions are held out.
    #[serde(flatten)]
    pub kind: Kind,
    /// What they are taken from.
    pub from: Source,
    /// Seed of the random choices.
    pub seed: u64,
}

/// What a split came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Training interactions.
    pub train: u64,
    /// Validation interactions.
    pub valid: u64,
    /// Test interactions.
    pub test: u64,
    /// Items that have interactions but gave fewer to the test split than asked (item-uniform splits).
    pub items_short_in_test: u32,
    /// The same for the validation split.
    pub items_short_in_valid: u32,
    /// Users left without training interactions.
    pub users_without_train: u32,
    /// Items left without training interactions.
    pub items_without_train: u32,
    /// Identity of the result, [`Interactions::checksum`].
    pub checksum: String,
}

/// Purpose of a random stream; two purposes never share one.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Purpose {
    Item = 1,
    ItemOfTrain = 2,
    Leftover = 3,
    Random = 4,
    User = 5,
}

fn stream(seed: u64, purpose: Purpose, index: u64) -> Rng {
    Rng::new(seed, (purpose as u64) << 56 | index)
}

/// Splits `data` as planned. Ids, times and weights are kept; the provenance tells the plan and nests the old one.
///
/// # Errors
/// [`Error::Config`] for amounts that make no sense; [`Error::Data`] if the data cannot give what is asked: too few
/// interactions, no times, or a split that is kept already exists.
pub fn split(data: &Interactions, plan: &Plan) -> Result<(Interactions, Report)> {
    check(data, plan)?;
    let merged;
    let pool = match plan.from {
        Source::All if data.count(Split::Valid) + data.count(Split::Test) > 0 => {
            merged = merge(data)?;
            &merged
        }
        _ => data,
    };
    let mut short = [0; 2];
    let part = match plan.kind {
        Kind::UniformItem { test, valid } => {
            let [test, valid] = quotas(pool, [test, valid], plan.seed, &mut short)?;
            uniform_item(pool, &test, &valid, plan)
        }
        Kind::Random { test, valid } => random(pool, test, valid, plan.seed),
        Kind::LeaveOneOut { test, valid } => leave_one_out(pool, test, valid, plan.seed),
        Kind::Temporal { test, valid } => temporal(pool, test, valid)?,
    };

    let mut builder = InteractionsBuilder::new(data.users(), data.items())
        .ids(data.user_ids().into_owned(), data.item_ids().into_owned())
        .provenance(provenance(data, plan));
    builder = builder.split(Split::Train, taken(pool, &part, Split::Train));
    for (split, takes) in plan.kind.takes() {
        if takes {
            builder = builder.split(split, taken(pool, &part, split));
        } else if plan.from == Source::Train && data.count(split) > 0 {
            builder = builder.split(split, edges(data, split, |_| true));
        }
    }
    let result = builder.build()?;
    let without = |csr: super::Csr<'_>| degrees(csr).iter().filter(|&&n| n == 0).count() as u32;
    let report = Report {
        train: result.count(Split::Train),
        valid: result.count(Split::Valid),
        test: result.count(Split::Test),
        items_short_in_test: short[0],
        items_short_in_valid: short[1],
        users_without_train: without(result.by_user(Split::Train)),
        items_without_train: without(result.by_item(Split::Train)),
        checksum: result.checksum(),
    };
    Ok((result, report))
}

/// Adds a validation split to data that has none, taken item-uniformly from train; the test split stays.
///
/// Without an `amount` as many interactions as the test split has are taken, but at most a tenth of train (and a
/// tenth of train if there is no test split): the validation split then has the test split's mean number of
/// interactions per item.
///
/// # Errors
/// [`Error::Data`] if there is a validation split already, or train cannot give that many.
pub fn carve_valid(data: &Interactions, amount: Option<Amount>, seed: u64) -> Result<Interactions> {
    let amount = amount.unwrap_or_else(|| {
        let tenth = data.count(Split::Train) / 10;
        Amount::Total(match data.count(Split::Test) {
            0 => tenth,
            test => test.min(tenth),
        })
    });
    let kind = Kind::UniformItem { test: Amount::PerItem(0), valid: amount };
    Ok(split(data, &Plan { kind, from: Source::Train, seed })?.0)
}

fn check(data: &Interactions, plan: &Plan) -> Result<()> {
    let fraction = |amount| match amount {
        Amount::Fraction(f) => f,
        _ => 0.0,
    };
    let fractions = match plan.kind {
        Kind::UniformItem { test, valid } => [fraction(test), fraction(valid)],
        Kind::Random { test, valid } | Kind::Temporal { test, valid } => [test, valid],
        Kind::LeaveOneOut { .. } => [0.0; 2],
    };
    for (key, f) in ["test", "valid"].into_iter().zip(fractions) {
        if !(0.0..1.0).contains(&f) {
            return Err(Error::config(
                key,
                f,
                "not a fraction",
                "give a number from 0 to below 1, such as 0.1",
            ));
        }
    }
    let [test, valid] = fractions;
    if test + valid >= 1.0 {
        return Err(Error::config(
            "test",
            format!("{test} and valid = {valid}"),
            "nothing would be left for train",
            "lower --test or --valid",
        ));
    }
    let takes = plan.kind.takes();
    if !takes.iter().any(|(_, takes)| *takes) {
        return Err(Error::data("this split holds nothing out", "ask for test or validation interactions"));
    }
    for (split, takes) in takes {
        if takes && plan.from == Source::Train && data.count(split) > 0 {
            return Err(Error::data(
                format!("the data has a {split} split already, and only train is to be split"),
                format!("ask for no {split} interactions, or split everything anew with --from all"),
            ));
        }
    }
    Ok(())
}

/// All interactions as one train split.
fn merge(data: &Interactions) -> Result<Interactions> {
    let mut all = Edges::default();
    let held = || Split::ALL.into_iter().filter(|&s| data.count(s) > 0);
    // A column that one split lacks cannot be told for the whole.
    let timed = held().all(|s| data.timestamps(s).is_some());
    let weighted = held().all(|s| data.weights(s).is_some());
    (all.timestamps, all.weights) = (timed.then(Vec::new), weighted.then(Vec::new));
    for split in held() {
        let more = edges(data, split, |_| true);
        all.users.extend(more.users);
        all.items.extend(more.items);
        if let (Some(all), Some(more)) = (&mut all.timestamps, more.timestamps) {
            all.extend(more);
        }
        if let (Some(all), Some(more)) = (&mut all.weights, more.weights) {
            all.extend(more);
        }
    }
    InteractionsBuilder::new(data.users(), data.items()).split(Split::Train, all).build()
}

/// The interactions of `split` at the positions that `keep` wants.
pub(crate) fn edges(data: &Interactions, split: Split, keep: impl Fn(usize) -> bool) -> Edges {
    let rows = data.by_user(split);
    let kept = || (0..rows.indices.len()).filter(|&at| keep(at));
    let users = (0..data.users())
        .flat_map(|user| rows.range(user).map(move |at| (at, user)))
        .filter_map(|(at, user)| keep(at).then_some(user))
        .collect();
    Edges {
        users,
        items: kept().map(|at| rows.indices[at]).collect(),
        timestamps: data.timestamps(split).map(|t| kept().map(|at| t[at]).collect()),
        weights: data.weights(split).map(|w| kept().map(|at| w[at]).collect()),
    }
}

fn taken(pool: &Interactions, part: &[Split], split: Split) -> Edges {
    edges(pool, Split::Train, |at| part[at] == split)
}

/// `[I]` each: how many interactions every item gives to test and to valid.
fn quotas(
    pool: &Interactions,
    amounts: [Amount; 2],
    seed: u64,
    short: &mut [u32; 2],
) -> Result<[Vec<u32>; 2]> {
    let counts = degrees(pool.by_item(Split::Train));
    let mut spare: Vec<u32> = counts.iter().map(|n| n.saturating_sub(1)).collect();
    let mut quotas = [Vec::new(), Vec::new()];
    for (which, amount) in amounts.into_iter().enumerate() {
        let total = match amount {
            Amount::PerItem(k) => {
                quotas[which] = spare.iter().map(|&s| s.min(k)).collect();
                None
            }
            Amount::Total(total) => Some(total),
            Amount::Fraction(f) => Some((f * pool.count(Split::Train) as f64).round() as u64),
        };
        let mut level = match amount {
            Amount::PerItem(k) => k,
            _ => 0,
        };
        if let Some(total) = total {
            let mut rng = stream(seed, Purpose::Leftover, which as u64);
            (quotas[which], level) = spread(&spare, total, &mut rng)?;
        }
        let gave_less = |(&n, &quota): (&u32, &u32)| n > 0 && quota < level;
        short[which] = counts.iter().zip(&quotas[which]).filter(|pair| gave_less(*pair)).count() as u32;
        spare.iter_mut().zip(&quotas[which]).for_each(|(s, q)| *s -= q);
    }
    Ok(quotas)
}

/// Spreads `total` evenly over items that can give `spare` each; also returns the level that every item reaches
/// unless it runs out.
fn spread(spare: &[u32], total: u64, rng: &mut Rng) -> Result<(Vec<u32>, u32)> {
    let at_level = |level: u32| spare.iter().map(|&s| u64::from(s.min(level))).sum::<u64>();
    let most = spare.iter().copied().max().unwrap_or(0);
    if at_level(most) < total {
        return Err(Error::data(
            format!("{total} interactions are asked for, but the items can give only {}", at_level(most)),
            "ask for fewer: one interaction of each item stays in train",
        ));
    }
    // The highest level that does not exceed the total.
    let (mut level, mut above) = (0, most + 1);
    while above - level > 1 {
        let middle = level + (above - level) / 2;
        if at_level(middle) <= total { level = middle } else { above = middle }
    }
    let mut quotas: Vec<u32> = spare.iter().map(|&s| s.min(level)).collect();
    let mut rich: Vec<usize> = (0..spare.len()).filter(|&item| spare[item] > level).collect();
    let left = (total - at_level(level)) as usize;
    rng.choose(&mut rich, left);
    rich[..left].iter().for_each(|&item| quotas[item] += 1);
    Ok((quotas, level))
}

/// `[nnz]`: where each interaction of the pool goes.
fn uniform_item(pool: &Interactions, test: &[u32], valid: &[u32], plan: &Plan) -> Vec<Split> {
    let (users, items) = (pool.by_user(Split::Train), pool.by_item(Split::Train));
    let purpose = if plan.from == Source::Train { Purpose::ItemOfTrain } else { Purpose::Item };
    let held: Vec<(usize, Split)> = (0..pool.items())
        .into_par_iter()
        .flat_map_iter(|item| {
            let (test, valid) = (test[item as usize] as usize, valid[item as usize] as usize);
            let mut row = if test + valid > 0 { items.row(item).to_vec() } else { Vec::new() };
            stream(plan.seed, purpose, u64::from(item)).choose(&mut row, test + valid);
            row.truncate(test + valid);
            row.into_iter().enumerate().map(move |(k, user)| {
                let at = users.offsets[user as usize] as usize
                    + users.row(user).partition_point(|&other| other < item);
                (at, if k < test { Split::Test } else { Split::Valid })
            })
        })
        .collect();
    let mut part = vec![Split::Train; users.indices.len()];
    held.into_iter().for_each(|(at, split)| part[at] = split);
    part
}

/// Selection sampling: exact numbers, every choice equally likely, one pass.
fn random(pool: &Interactions, test: f64, valid: f64, seed: u64) -> Vec<Split> {
    let n = pool.count(Split::Train);
    let mut test = (test * n as f64).round() as u64;
    let mut valid = ((valid * n as f64).round() as u64).min(n - test);
    let mut rng = stream(seed, Purpose::Random, 0);
    (0..n)
        .map(|at| {
            if test + valid == 0 {
                return Split::Train;
            }
            let drawn = rng.below(n - at);
            if drawn < test {
                test -= 1;
                Split::Test
            } else if drawn < test + valid {
                valid -= 1;
                Split::Valid
            } else {
                Split::Train
            }
        })
        .collect()
}

fn leave_one_out(pool: &Interactions, test: bool, valid: bool, seed: u64) -> Vec<Split> {
    let rows = pool.by_user(Split::Train);
    let times = pool.timestamps(Split::Train);
    let held: Vec<(usize, Split)> = (0..pool.users())
        .into_par_iter()
        .flat_map_iter(|user| {
            let mut row: Vec<usize> = rows.range(user).collect();
            stream(seed, Purpose::User, u64::from(user)).shuffle(&mut row);
            // Stable: equal times stay in random order.
            row.sort_by_key(|&at| std::cmp::Reverse(times.map_or(0, |t| t[at])));
            row.truncate(row.len().saturating_sub(1));
            let wanted = [(test, Split::Test), (valid, Split::Valid)];
            row.into_iter().zip(wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, split)| split))
        })
        .collect();
    let mut part = vec![Split::Train; rows.indices.len()];
    held.into_iter().for_each(|(at, split)| part[at] = split);
    part
}

fn temporal(pool: &Interactions, test: f64, valid: f64) -> Result<Vec<Split>> {
    let Some(times) = pool.timestamps(Split::Train).filter(|times| !times.is_empty()) else {
        return Err(Error::data(
            "a temporal split needs the times of all interactions, and the data lacks them",
            "import a source with times, or choose another kind of split",
        ));
    };
    let n = times.len();
    let mut order = times.to_vec();
    // The latest time that still lies before the last `held` interactions.
    let mut last_before = |held: usize| *order.select_nth_unstable(n - 1 - held.min(n - 1)).1;
    let held = (test * n as f64).round() as usize;
    let test_after = last_before(held);
    let valid_after = last_before(held + (valid * n as f64).round() as usize);
    let part: Vec<Split> = times
        .iter()
        .map(|&time| match time {
            t if t > test_after => Split::Test,
            t if t > valid_after => Split::Valid,
            _ => Split::Train,
        })
        .collect();
    for (split, asked) in [(Split::Test, test), (Split::Valid, valid)] {
        if asked > 0.0 && !part.contains(&split) {
            return Err(Error::data(
                format!(
                    "no interactions lie after the time cut of the {split} split: too many share one time"
                ),
                "hold out a larger part, or choose another kind of split",
            ));
        }
    }
    Ok(part)
}

fn provenance(data: &Interactions, plan: &Plan) -> String {
    let before = data.provenance();
    let before = serde_json::from_str(&before).unwrap_or_else(|_| Value::from(before.as_ref()));
    json!({ "split": plan, "of": { "checksum": data.checksum(), "provenance": before } }).to_string()
}
