//! Batches of (user, positive, negative): the paper's user-uniform sampler and a true pass over the interactions.

use serde::{Deserialize, Serialize};

use super::{
    negatives::{NegativeSampler, Negatives, below},
    permutation::Permutation,
    philox::philox_lanes,
};
use crate::{
    data::{Csr, Interactions, Split},
    error::{Error, Result},
    names::named,
    numerals::counted,
    simd::{prefetch, vectorised},
};

/// How the positives of a batch are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SamplerKind {
    /// B distinct users uniformly, then one of each user's items: the reference code's sampler. An epoch is
    /// floor(nnz / B) + 1 steps and not a pass over the data.
    #[default]
    UserUniform,
    /// Every interaction once per epoch, in a new random order each time; the last batch may be smaller.
    Interaction,
}

named!(SamplerKind, "sampler", UserUniform = "user-uniform", Interaction = "interaction");

/// Draws the samples of any step; see [`Sampler::draw`].
#[derive(Debug)]
pub struct Sampler<'a> {
    data: &'a Interactions,
    kind: SamplerKind,
    negatives: NegativeSampler,
    batch: u32,
    /// Rows that share a positive, one after the other.
    per_positive: u32,
    seed: u64,
    /// User-uniform: users that have both a positive and a negative to draw.
    eligible: Vec<u32>,
    /// Interaction sampler only.
    positions: Positions,
}

/// The data behind a [`Sampler`]'s draws; the fields are those of the sampler.
#[cfg(feature = "cuda")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct SamplerTables<'a> {
    pub kind: SamplerKind,
    pub seed: u64,
    pub items: u32,
    pub train: Csr<'a>,
    pub eligible: &'a [u32],
    pub before: &'a [u64],
    pub block_user: &'a [u32],
    pub interactions: u64,
    pub negatives: &'a NegativeSampler,
    pub per_positive: u32,
}

/// The interactions of the eligible users, numbered one after the other: what an epoch passes over.
#[derive(Debug, Default)]
struct Positions {
    /// `[eligible + 1]`: interactions before each eligible user.
    before: Vec<u64>,
    /// The eligible user of every [`BLOCK`]-th interaction, where the search for an interaction's user begins.
    block_user: Vec<u32>,
}

/// Interactions per entry of [`Positions::block_user`].
const BLOCK: u64 = 64;

impl Positions {
    fn new(eligible: &[u32], train: Csr<'_>) -> Result<Self> {
        let count: u64 = eligible.iter().map(|&user| u64::from(train.degree(user))).sum();
        if count > u64::from(u32::MAX) {
            return Err(Error::config(
                "sampler",
                SamplerKind::Interaction,
                format!("the interaction sampler orders fewer than 2^32 interactions, and these are {count}"),
                "use --sampler user-uniform",
            ));
        }
        let mut before = Vec::with_capacity(eligible.len() + 1);
        let (mut total, mut block_user) = (0, Vec::new());
        for (k, &user) in eligible.iter().enumerate() {
            before.push(total);
            total += u64::from(train.degree(user));
            while block_user.len() as u64 * BLOCK < total {
                block_user.push(k as u32);
            }
        }
        before.push(total);
        Ok(Positions { before, block_user })
    }

    fn count(&self) -> u64 {
        self.before.last().copied().unwrap_or(0)
    }

    /// The eligible user of interaction `e`, and the place of `e` in that user's row.
    fn find(&self, e: u64) -> (usize, usize) {
        let mut k = self.block_user[(e / BLOCK) as usize] as usize;
        while self.before[k + 1] <= e {
            k += 1;
        }
        (k, (e - self.before[k]) as usize)
    }
}

/// Users that have both a positive and a negative to draw.
fn eligible(data: &Interactions) -> impl Iterator<Item = u32> {
    let train = data.by_user(Split::Train);
    (0..data.users()).filter(move |&user| (1..data.items()).contains(&train.degree(user)))
}

/// The largest batch that can be drawn from `data`: distinct users are no more than there are.
pub fn most_rows(data: &Interactions, kind: SamplerKind, negatives: Negatives) -> u32 {
    match kind {
        SamplerKind::UserUniform => (eligible(data).count() as u32).saturating_mul(negatives.per_positive()),
        SamplerKind::Interaction => u32::MAX,
    }
}

impl<'a> Sampler<'a> {
    /// The sampler of a training on the train split of `data` with batches of `batch` rows.
    ///
    /// Users without training items, or with all items, have no sample and are passed over.
    ///
    /// # Errors
    /// [`Error::Data`] without any usable training interaction; [`Error::Config`] if a batch of distinct users is
    /// larger than the number of users there are, or than an epoch, or no multiple of the negatives of a positive, and
    /// if there are more interactions than the sampler of interactions can order.
    pub fn new(
        data: &'a Interactions,
        kind: SamplerKind,
        negatives: Negatives,
        batch: u32,
        seed: u64,
    ) -> Result<Self> {
        let train = data.by_user(Split::Train);
        let eligible: Vec<u32> = eligible(data).collect();
        if eligible.is_empty() {
            return Err(Error::data(
                "there is nothing to train on: no user has both an item in the train split and an item outside it",
                "import data with a train split of more than one item",
            ));
        }
        if batch == 0 {
            return Err(Error::config("batch-size", batch, "a batch needs a row", "use at least 1"));
        }
        let per_positive = negatives.per_positive();
        if !batch.is_multiple_of(per_positive) {
            return Err(Error::config(
                "batch-size",
                batch,
                format!("a positive has {per_positive} rows, one for each of its negatives"),
                format!("use a multiple of {per_positive}"),
            ));
        }
        let sampler = Sampler {
            per_positive,
            negatives: NegativeSampler::new(negatives, data.by_item(Split::Train)),
            positions: match kind {
                SamplerKind::UserUniform => Positions::default(),
                SamplerKind::Interaction => Positions::new(&eligible, train)?,
            },
            data,
            kind,
            batch,
            seed,
            eligible,
        };
        if kind == SamplerKind::UserUniform && sampler.positives() as usize > sampler.eligible.len() {
            let users = counted(sampler.eligible.len() as u64, "user");
            return Err(Error::config(
                "batch-size",
                batch,
                format!(
                    "the user-uniform sampler draws distinct users, and there are only {users} to draw from"
                ),
                format!(
                    "use --batch-size {} or less, or --sampler interaction",
                    most_rows(data, kind, negatives)
                ),
            ));
        }
        Ok(sampler)
    }

    /// What a device needs to draw the same samples.
    #[cfg(feature = "cuda")]
    pub(crate) fn tables(&self) -> SamplerTables<'_> {
        SamplerTables {
            kind: self.kind,
            seed: self.seed,
            items: self.data.items(),
            train: self.data.by_user(Split::Train),
            eligible: &self.eligible,
            before: &self.positions.before,
            block_user: &self.positions.block_user,
            interactions: self.positions.count(),
            negatives: &self.negatives,
            per_positive: self.per_positive,
        }
    }

    /// Seed of the samples.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Positives of a whole batch.
    fn positives(&self) -> u32 {
        self.batch / self.per_positive
    }

    /// `[I]`: probability that a drawn positive is this item.
    pub fn positive_shares(&self) -> Vec<f64> {
        let train = self.data.by_user(Split::Train);
        let mut shares = vec![0f64; self.data.items() as usize];
        let users = self.eligible.len() as f64;
        let interactions: f64 = self.eligible.iter().map(|&user| f64::from(train.degree(user))).sum();
        for &user in &self.eligible {
            let row = train.row(user);
            let share = match self.kind {
                SamplerKind::UserUniform => 1.0 / (users * row.len() as f64),
                SamplerKind::Interaction => 1.0 / interactions,
            };
            row.iter().for_each(|&item| shares[item as usize] += share);
        }
        shares
    }

    /// The data that is sampled.
    pub fn data(&self) -> &'a Interactions {
        self.data
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        match self.kind {
            SamplerKind::UserUniform => self.data.count(Split::Train) / u64::from(self.positives()) + 1,
            SamplerKind::Interaction => self.positions.count().div_ceil(u64::from(self.positives())),
        }
    }

    /// Rows of the batch of step `step` (counted from 0 over the whole training).
    pub fn rows(&self, step: u64) -> u32 {
        match self.kind {
            SamplerKind::UserUniform => self.batch,
            SamplerKind::Interaction => {
                let first = step % self.steps_per_epoch() * u64::from(self.positives());
                (self.positions.count() - first).min(u64::from(self.positives())) as u32 * self.per_positive
            }
        }
    }

    /// Largest number of rows that a step can have.
    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// True if no user occurs twice in a batch.
    pub fn users_are_distinct(&self) -> bool {
        self.kind == SamplerKind::UserUniform && self.per_positive == 1
    }

    /// Draws the batch of `step` into `users`, `positives` and `negatives` (cleared first; `[rows(step)]` each).
    pub fn draw(&self, step: u64, users: &mut Vec<u32>, positives: &mut Vec<u32>, negatives: &mut Vec<u32>) {
        let rows = self.rows(step);
        let train = self.data.by_user(Split::Train);
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let steps = self.steps_per_epoch();
        // User-uniform: a permutation of the users for each step. Interaction: one of the interactions for each epoch.
        let (permutation, first) = match self.kind {
            SamplerKind::UserUniform => (Permutation::new(self.eligible.len() as u32, self.seed, step), 0),
            SamplerKind::Interaction => (
                Permutation::new(self.positions.count() as u32, self.seed, step / steps),
                (step % steps) as u32 * self.positives(),
            ),
        };
        let margin = self.negatives.margin(step / steps);
        for out in [&mut *users, positives, negatives] {
            out.clear();
            out.reserve(rows as usize);
        }
        for row in (0..rows).step_by(DRAWN) {
            let n = DRAWN.min((rows - row) as usize);
            let (words, index) = random(&permutation, first, self.per_positive, row, rows, step, key);
            // One loop for each hop through memory, so that the misses of a loop overlap.
            let mut place = [None; DRAWN];
            match self.kind {
                SamplerKind::UserUniform => {
                    users.extend(index[..n].iter().map(|&i| self.eligible[i as usize]))
                }
                SamplerKind::Interaction => {
                    for k in 0..n {
                        let (user, at) = self.positions.find(u64::from(index[k]));
                        users.push(self.eligible[user]);
                        place[k] = Some(at);
                    }
                }
            }
            let mut seen: [&[u32]; DRAWN] = [&[]; DRAWN];
            for (seen, &user) in seen.iter_mut().zip(&users[row as usize..]) {
                *seen = train.row(user);
                prefetch(seen.as_ptr(), seen.len().min(64));
            }
            for k in 0..n {
                if !(row + k as u32).is_multiple_of(self.per_positive) {
                    positives.push(positives[positives.len() - 1]);
                    continue;
                }
                let at = place[k].unwrap_or_else(|| below(words[0][k], seen[k].len() as u32) as usize);
                positives.push(seen[k][at]);
            }
            for k in 0..n {
                let counter = [row + k as u32, step as u32, (step >> 32) as u32, 0];
                let (words, positive) = ([0, 1, 2, 3].map(|w| words[w][k]), positives[row as usize + k]);
                negatives.push(self.negatives.draw(seen[k], (positive, margin), words, counter, key));
            }
        }
    }
}

/// Rows whose random numbers are computed side by side.
const DRAWN: usize = 64;

vectorised! {
    /// The words of rows `row..`, and their elements of the permutation, of which each is that of `shared` rows; lanes
    /// beyond `rows` repeat the last row.
    fn random(
        permutation: &Permutation,
        first: u32,
        shared: u32,
        row: u32,
        rows: u32,
        step: u64,
        key: [u32; 2],
    ) -> ([[u32; DRAWN]; 4], [u32; DRAWN]) {
        let mut lanes = [0; DRAWN];
        for lane in 0..DRAWN {
            lanes[lane] = (row + lane as u32).min(rows - 1);
        }
        let counter = [lanes, [step as u32; DRAWN], [(step >> 32) as u32; DRAWN], [0; DRAWN]];
        (philox_lanes(counter, key), permutation.get_lanes(lanes.map(|row| first + if shared == 1 { row } else { row / shared })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Edges, InteractionsBuilder};

    /// 40 users x 30 items; user 3 has nothing, user 5 everything.
    fn world() -> Interactions {
        let pairs = (0..40u32).flat_map(|u| {
            let degree = if u == 3 {
                0
            } else if u == 5 {
                30
            } else {
                1 + u % 7
            };
            (0..degree).map(move |k| (u, if u == 5 { k } else { (u * 11 + k * k * 3 + k) % 30 }))
        });
        InteractionsBuilder::new(40, 30).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
    }

    fn draw(sampler: &Sampler<'_>, step: u64) -> [Vec<u32>; 3] {
        let mut out = [Vec::new(), Vec::new(), Vec::new()];
        let [users, positives, negatives] = &mut out;
        sampler.draw(step, users, positives, negatives);
        out
    }

    #[test]
    fn samples_are_what_they_are_called() {
        let data = world();
        let train = data.by_user(Split::Train);
        for kind in [SamplerKind::UserUniform, SamplerKind::Interaction] {
            for negatives in [Negatives::Uniform, Negatives::Popularity(1.0)] {
                let sampler = Sampler::new(&data, kind, negatives, 16, 9).unwrap();
                for step in 0..50 {
                    let [users, positives, negatives] = draw(&sampler, step);
                    assert_eq!(users.len() as u32, sampler.rows(step));
                    for ((&u, i), j) in users.iter().zip(&positives).zip(&negatives) {
                        assert!(u != 3 && u != 5);
                        assert!(
                            train.row(u).binary_search(i).is_ok() && train.row(u).binary_search(j).is_err()
                        );
                        assert!(*j < 30);
                    }
                    if sampler.users_are_distinct() {
                        let mut distinct = users.clone();
                        distinct.sort_unstable();
                        distinct.dedup();
                        assert_eq!(distinct.len(), users.len());
                    }
                }
            }
        }
    }

    #[test]
    fn an_interaction_epoch_is_a_pass() {
        let data = world();
        let sampler = Sampler::new(&data, SamplerKind::Interaction, Negatives::Uniform, 16, 9).unwrap();
        let mut epochs = Vec::new();
        for epoch in 0..2 {
            let mut pairs = Vec::new();
            for step in 0..sampler.steps_per_epoch() {
                let [users, positives, _] = draw(&sampler, epoch * sampler.steps_per_epoch() + step);
                pairs.extend(users.into_iter().zip(positives));
            }
            epochs.push(pairs.clone());
            pairs.sort_unstable();
            let train = data.by_user(Split::Train);
            let all: Vec<_> =
                (0..40).filter(|&u| u != 5).flat_map(|u| train.row(u).iter().map(move |&i| (u, i))).collect();
            assert_eq!(pairs, all);
        }
        assert_ne!(epochs[0], epochs[1]);
    }

    #[test]
    fn samples_depend_on_seed_and_step_alone() {
        let data = world();
        let sampler =
            |seed| Sampler::new(&data, SamplerKind::UserUniform, Negatives::Uniform, 8, seed).unwrap();
        assert_eq!(draw(&sampler(1), 7), draw(&sampler(1), 7));
        assert_ne!(draw(&sampler(1), 7), draw(&sampler(1), 8));
        assert_ne!(draw(&sampler(1), 7), draw(&sampler(2), 7));
    }

    #[test]
    fn a_batch_larger_than_the_users_is_refused() {
        let data = world();
        let error = Sampler::new(&data, SamplerKind::UserUniform, Negatives::Uniform, 39, 0).unwrap_err();
        assert!(error.to_string().contains("only 38 users"), "{error}");
        assert!(Sampler::new(&data, SamplerKind::Interaction, Negatives::Uniform, 1000, 0).is_ok());
    }

    #[test]
    fn more_interactions_than_have_a_number_are_refused() {
        // Only offsets are looked at: it takes no such file.
        let most = u64::from(u32::MAX);
        let train = Csr { offsets: &[0, most - 1, most + 1], indices: &[] };
        let message = Positions::new(&[0, 1], train).unwrap_err().to_string();
        for words in ["sampler = interaction: ", "fewer than 2^32", "4294967296; use --sampler user-uniform"]
        {
            assert!(message.contains(words), "no `{words}` in: {message}");
        }
        assert_eq!(Positions::new(&[1], train).unwrap().count(), 2);
    }
}
