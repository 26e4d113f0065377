//! `sample`: the batch of a step, and which rows it touches, in the order in which they are summed.

use crate::{
    optim::{Adam, Rules},
    sampling::Sampler,
};

/// The distinct rows of one table that a batch touches.
///
/// A batch of B rows has 2B samples: sample s < B is row s with its positive, sample B + r is row r with its
/// negative. Every sample touches one user and one item; slots number the distinct ones by first appearance.
#[derive(Debug, Default)]
pub struct Touched {
    /// `[n]`: the table's rows.
    pub rows: Vec<u32>,
    /// `[n + 1]`: where each slot's samples begin in [`Touched::samples`].
    pub starts: Vec<u32>,
    /// `[2B]`: samples by slot, ascending within a slot.
    pub samples: Vec<u32>,
    /// `[2B]`: slot of each sample.
    pub slot: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Touched {
    /// Groups the samples, whose rows are those of the positives' samples, then those of the negatives'; `slot_of` is
    /// `[rows of the table]`, all [`NONE`], and left so.
    fn group(&mut self, ids: [&[u32]; 2], slot_of: &mut [u32]) {
        let n = ids[0].len() + ids[1].len();
        self.rows.clear();
        self.slot.resize(n, 0);
        self.starts.clear();
        self.starts.push(0);
        for (out, &id) in self.slot.iter_mut().zip(ids.into_iter().flatten()) {
            let mut slot = slot_of[id as usize];
            if slot == NONE {
                slot = self.rows.len() as u32;
                slot_of[id as usize] = slot;
                self.rows.push(id);
                self.starts.push(0);
            }
            *out = slot;
            self.starts[slot as usize + 1] += 1;
        }
        for &row in &self.rows {
            slot_of[row as usize] = NONE;
        }
        // Counting sort: first each slot's end, then its samples from the last to the first.
        for s in 1..self.starts.len() {
            self.starts[s] += self.starts[s - 1];
        }
        self.samples.resize(n, 0);
        let ends = &mut self.starts[1..];
        for (sample, &slot) in self.slot.iter().enumerate().rev() {
            let end = &mut ends[slot as usize];
            *end -= 1;
            self.samples[*end as usize] = sample as u32;
        }
        // The ends have become the starts.
        self.starts.rotate_left(1);
        let last = self.starts.len() - 1;
        self.starts[last] = n as u32;
    }

    /// The samples of `slot`.
    #[inline(always)]
    pub fn samples(&self, slot: usize) -> &[u32] {
        &self.samples[self.starts[slot] as usize..self.starts[slot + 1] as usize]
    }
}

/// Working memory of [`Plan::draw`]: slots by row, for users and items.
#[derive(Debug)]
pub struct Scratch {
    user_slot: Vec<u32>,
    item_slot: Vec<u32>,
}

impl Scratch {
    /// For tables of these sizes.
    pub fn new(users: usize, items: usize) -> Self {
        Scratch { user_slot: vec![NONE; users], item_slot: vec![NONE; items] }
    }
}

/// All that a step needs and that does not depend on parameters: drawn ahead, several steps at once.
#[derive(Debug)]
pub struct Plan {
    /// Rows of the batch, B.
    pub rows: usize,
    /// Users touched.
    pub users: Touched,
    /// Items touched.
    pub items: Touched,
    /// How rows are brought to the state before this step.
    pub rules: Rules,
    /// `[B]` each: users, positives, negatives.
    pub drawn: [Vec<u32>; 3],
}

impl Plan {
    /// An empty plan.
    pub fn new(adam: Adam) -> Self {
        Plan {
            rows: 0,
            users: Touched::default(),
            items: Touched::default(),
            rules: Rules::new(adam, 0),
            drawn: Default::default(),
        }
    }

    /// Draws step `step` (from 0).
    pub fn draw(&mut self, step: u64, sampler: &Sampler<'_>, scratch: &mut Scratch) {
        let [users, positives, negatives] = &mut self.drawn;
        sampler.draw(step, users, positives, negatives);
        self.rows = users.len();
        self.users.group([&*users, &*users], &mut scratch.user_slot);
        self.items.group([&*positives, &*negatives], &mut scratch.item_slot);
        self.rules.advance(step);
    }
}
