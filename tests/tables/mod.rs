//! Random tables, seen items and rankings, for tests of ranking.
#![allow(dead_code)]

use macr::{Branch, Csr, Metadata, Model, Ranking, Tables, backend::lists::TopK};

/// Xorshift64*.
pub struct Random(pub u64);

impl Random {
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
    pub fn signed(&mut self) -> f32 {
        (2.0 * self.uniform() - 1.0) as f32
    }
}

/// Tables with owned parts.
#[derive(Debug, Clone)]
pub struct Case {
    pub dim: usize,
    pub users: Vec<f32>,
    pub items: Vec<f32>,
    pub gates: Option<Vec<f32>>,
    pub popularity: Vec<u32>,
    pub seen_offsets: Vec<u64>,
    pub seen: Vec<u32>,
}

impl Case {
    /// Random tables; user 0 has seen nothing, user 1 everything, user 2 all but the last item.
    pub fn random(seed: u64, users: usize, items: usize, dim: usize, gated: bool) -> Case {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (mut seen, mut seen_offsets) = (Vec::new(), vec![0]);
        for user in 0..users {
            for item in 0..items {
                let has = match user {
                    0 => false,
                    1 => true,
                    2 => item + 1 < items,
                    _ => random.uniform() < 0.2,
                };
                if has {
                    seen.push(item as u32);
                }
            }
            seen_offsets.push(seen.len() as u64);
        }
        Case {
            dim,
            users: (0..users * dim).map(|_| random.signed()).collect(),
            items: (0..items * dim).map(|_| random.signed()).collect(),
            gates: gated.then(|| (0..items).map(|_| random.uniform() as f32).collect()),
            popularity: (0..items).map(|_| (1000.0 * random.uniform().powi(4)) as u32).collect(),
            seen_offsets,
            seen,
        }
    }

    pub fn tables(&self) -> Tables<'_> {
        let gates = self.gates.as_deref().map(Into::into);
        Tables::new(self.dim, &self.users, &self.items, gates, &self.popularity).unwrap()
    }

    pub fn seen(&self) -> Csr<'_> {
        Csr { offsets: &self.seen_offsets, indices: &self.seen }
    }

    pub fn everybody(&self) -> Vec<u32> {
        (0..(self.users.len() / self.dim) as u32).collect()
    }
}

pub fn same(cuda: &TopK, cpu: &TopK, rankings: &[Ranking], case: &str) {
    assert_eq!(cuda.len(), cpu.len(), "{case}");
    for user in 0..cpu.len() {
        for (variant, ranking) in rankings.iter().enumerate() {
            let (cuda, cpu) = (cuda.list(user, variant), cpu.list(user, variant));
            assert_eq!(cuda, cpu, "{case}: user {user}, {ranking:?} of {}", rankings.len());
        }
    }
}

pub fn rankings(pairs: impl IntoIterator<Item = (f32, f32)>) -> Vec<Ranking> {
    pairs.into_iter().map(|(c, tau)| Ranking { c, tau }).collect()
}

/// A grid of c, negative ones too.
pub fn sweep() -> Vec<Ranking> {
    rankings((-3..8).map(|c| (c as f32 / 2.0, 0.0)))
}

/// A grid of c and tau.
pub fn grid(cs: i32, taus: i32) -> Vec<Ranking> {
    rankings((0..cs).flat_map(|c| (0..taus).map(move |tau| (c as f32 / 4.0 - 0.5, tau as f32 / 10.0))))
}

/// A model of a case's tables.
pub fn model(case: &Case, item_branch: Option<Branch>) -> Model {
    Model {
        dim: case.dim,
        user_embedding: case.users.clone(),
        item_embedding: case.items.clone(),
        user_branch: None,
        item_branch,
        item_popularity: case.popularity.clone(),
        ego: None,
        kept: Default::default(),
        metadata: Metadata {
            backbone: "mf".into(),
            objective: "macr".into(),
            pairing: None,
            branch_input: Default::default(),
            ranking: Ranking { c: 0.4, tau: 0.0 },
            data: String::new(),
            carved: None,
            storage: Default::default(),
            seed: 0,
            version: String::new(),
        },
    }
}
