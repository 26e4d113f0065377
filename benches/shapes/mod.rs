//! Recommenders of the sizes of well-known datasets, with random parameters: what they recommend is nonsense, how
//! long it takes is not.

use macr::{Branch, Edges, Interactions, InteractionsBuilder, Metadata, Model, Ranking, Split};

/// Size of a dataset.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub users: u32,
    pub items: u32,
    /// Mean number of training interactions of a user.
    pub seen: u32,
}

impl Shape {
    pub const ADRESSA: Shape = Shape { name: "adressa", users: 13_485, items: 744, seen: 8 };
    pub const GOWALLA: Shape = Shape { name: "gowalla", users: 29_858, items: 40_981, seen: 27 };
    pub const ALL: [Shape; 2] = [Shape::ADRESSA, Shape::GOWALLA];
    pub const DIM: usize = 64;

    /// A model with item gates that grow with popularity, training data with Zipf popularity and a uniform test split.
    pub fn generate(&self) -> (Model, Interactions) {
        let mut random = Random(20_210_814);
        let (mut edges, mut test) = (Vec::new(), Vec::new());
        for user in 0..self.users {
            for _ in 0..1 + random.below(2 * self.seen) {
                // Density 1/x over the items: Zipf with exponent 1.
                let item = f64::from(self.items).powf(random.uniform()) as u32;
                // A prime factor scatters popularity over the ids.
                edges.push((user, (u64::from(item) * 7919 % u64::from(self.items)) as u32));
            }
        }
        for user in (0..self.users).step_by(3) {
            for _ in 0..1 + random.below(4) {
                test.push((user, random.below(self.items)));
            }
        }
        let data = InteractionsBuilder::new(self.users, self.items)
            .split(Split::Train, Edges::from_pairs(edges))
            .split(Split::Test, Edges::from_pairs(test))
            .build()
            .expect("valid edges");
        let item_popularity: Vec<u32> =
            (0..self.items).map(|item| data.by_item(Split::Train).degree(item)).collect();
        let user_embedding = (0..self.users as usize * Self::DIM).map(|_| random.normal()).collect();
        let mut item_embedding: Vec<f32> =
            (0..self.items as usize * Self::DIM).map(|_| random.normal()).collect();
        // The first component carries popularity, and the branch reads it off.
        for (row, &count) in item_embedding.chunks_exact_mut(Self::DIM).zip(&item_popularity) {
            row[0] = (f64::from(count) + 1.0).ln() as f32 - 3.0 + 0.1 * row[0];
        }
        let mut weight = vec![0.0; Self::DIM];
        weight[0] = 1.0;
        let model = Model {
            dim: Self::DIM,
            user_embedding,
            item_embedding,
            user_branch: None,
            ego: None,
            kept: macr::model::Kept::default(),
            item_branch: Some(Branch::Linear { weight }),
            item_popularity,
            metadata: Metadata {
                backbone: "mf".into(),
                objective: "macr".into(),
                pairing: None,
                branch_input: Default::default(),
                ranking: Ranking { c: 40.0, tau: 0.0 },
                data: data.checksum(),
                carved: None,
                storage: Default::default(),
                seed: 0,
                version: env!("CARGO_PKG_VERSION").into(),
            },
        };
        (model, data)
    }
}

/// xorshift64*: enough for a benchmark, the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: u32) -> u32 {
        (self.uniform() * f64::from(n)) as u32
    }

    /// Twelve uniforms make a normal, near enough.
    fn normal(&mut self) -> f32 {
        ((0..12).map(|_| self.uniform()).sum::<f64>() - 6.0) as f32
    }
}
