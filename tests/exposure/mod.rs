//! Scalar f64 reference of ExpoMF, as close to the formulas as code can be, and data to try it on; one thread, nothing
//! shared with the library but the types of its settings.

use macr::{
    Edges, Interactions, InteractionsBuilder, Split,
    backend::expomf::{Em, ExposureConstant, Settings, State},
    storage::Storage,
};

/// Users and items of [`world`].
pub const SIZE: (u32, u32) = (301, 147);

/// Interactions of all sizes of users and items, of which the first of each has none.
pub fn world() -> Interactions {
    let (users, items) = SIZE;
    let pairs = (1..users).flat_map(move |u| {
        (0..1 + u * u % 13)
            .map(move |k| (u, 1 + (u * 7 + k * k * (k + 3)) % if k % 2 == 0 { items - 1 } else { 9 }))
    });
    InteractionsBuilder::new(users, items).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
}

pub fn settings(dim: usize) -> Settings {
    Settings {
        dim,
        lambda_theta: 0.02,
        lambda_beta: 0.01,
        lambda_y: 1.5,
        a0: 1.25,
        b0: 2.5,
        exposure: 0.05,
        init_std: 0.1,
        constant: ExposureConstant::Exact,
        storage: Storage::F32,
        seed: 5,
    }
}

/// Where iterations begin: a mu of its own for every item.
pub fn begin(settings: &Settings) -> State {
    let mut state = State::new(SIZE.0 as usize, SIZE.1 as usize, settings);
    (0..).zip(&mut state.mu).for_each(|(i, mu)| *mu = 0.02 + (i * 37 % 100) as f32 * 0.005);
    state
}

/// Holds the first iterations of an engine to those of the reference, from [`begin`].
pub fn check(
    dim: usize,
    constant: ExposureConstant,
    iterations: u64,
    engine: impl for<'a> Fn(&'a Interactions, Settings, State) -> Box<dyn Em + 'a>,
) {
    let data = world();
    // Large enough for the density to come near what the reference code adds to it.
    let settings = Settings { constant, init_std: if dim == 7 { 1.6 } else { 0.1 }, ..settings(dim) };
    let mut oracle = Oracle::new(&data, settings, &begin(&settings));
    let mut engine = engine(&data, settings, begin(&settings));
    for iteration in 1..=iterations {
        let (found, expected) = (engine.iterate().unwrap(), oracle.iterate());
        let state = engine.state().unwrap();
        let mu: Vec<Vec<f64>> = oracle.mu.iter().map(|&mu| vec![mu]).collect();
        // f32 sums, and a condition of the normal equations of up to 1e3 here, which iterations pass on.
        for (what, error, bound) in [
            ("theta", distance(&state.theta, &oracle.theta), 1e-4),
            ("beta", distance(&state.beta, &oracle.beta), 1e-4),
            ("mu", distance(&state.mu, &mu), 1e-5),
            ("log posterior", (found / expected - 1.0).abs(), 1e-6),
        ] {
            println!("{constant}, D {dim}, iteration {iteration}: {what} {error:.1e}");
            assert!(error < bound, "{constant}, D {dim}, iteration {iteration}: {what} is off by {error}");
        }
        assert_eq!(state.iteration, iteration);
    }
}

/// Everything in f64, rows as vectors.
pub struct Oracle {
    pub settings: Settings,
    pub theta: Vec<Vec<f64>>,
    pub beta: Vec<Vec<f64>>,
    pub mu: Vec<f64>,
    /// y, `[U][I]`.
    observed: Vec<Vec<bool>>,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The solution of a linear system, by elimination with pivots.
fn solved(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for column in 0..n {
        let pivot =
            (column..n).max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs())).unwrap();
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        for row in column + 1..n {
            let factor = matrix[row][column] / matrix[column][column];
            for k in column..n {
                matrix[row][k] -= factor * matrix[column][k];
            }
            right[row] -= factor * right[column];
        }
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|k| matrix[row][k] * right[k]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}

impl Oracle {
    pub fn new(data: &Interactions, settings: Settings, state: &State) -> Self {
        let rows = |table: &[f32]| -> Vec<Vec<f64>> {
            table.chunks(settings.dim).map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect()
        };
        let items = data.items() as usize;
        let mut observed = vec![vec![false; items]; data.users() as usize];
        for (u, row) in (0..).zip(&mut observed) {
            for &i in data.by_user(Split::Train).row(u) {
                row[i as usize] = true;
            }
        }
        Oracle {
            settings,
            theta: rows(&state.theta),
            beta: rows(&state.beta),
            mu: state.mu.iter().map(|&mu| f64::from(mu)).collect(),
            observed,
        }
    }

    /// Density of observation `y` at score `x`.
    fn density(&self, y: f64, x: f64) -> f64 {
        let l_y = f64::from(self.settings.lambda_y);
        let pi = std::f64::consts::PI;
        let c = match self.settings.constant {
            ExposureConstant::Exact => (l_y / (2.0 * pi)).sqrt(),
            ExposureConstant::Repo => (l_y * pi / 2.0).sqrt(),
        };
        c * (-l_y * (y - x).powi(2) / 2.0).exp()
    }

    /// The same of an unobserved pair, with what the reference code adds.
    fn density_of_nothing(&self, x: f64) -> f64 {
        let epsilon = match self.settings.constant {
            ExposureConstant::Exact => 0.0,
            ExposureConstant::Repo => 1e-8,
        };
        self.density(0.0, x) + epsilon
    }

    fn exposure(&self, u: usize, i: usize) -> f64 {
        if self.observed[u][i] {
            return 1.0;
        }
        let f = self.density_of_nothing(dot(&self.theta[u], &self.beta[i]));
        self.mu[i] * f / (self.mu[i] * f + 1.0 - self.mu[i])
    }

    fn log_posterior(&self) -> f64 {
        let s = &self.settings;
        let mut sum = 0.0;
        for (u, theta) in self.theta.iter().enumerate() {
            for (i, beta) in self.beta.iter().enumerate() {
                let (x, mu) = (dot(theta, beta), self.mu[i]);
                sum += match self.observed[u][i] {
                    true => (mu * self.density(1.0, x)).ln(),
                    false => (mu * self.density_of_nothing(x) + 1.0 - mu).ln(),
                };
            }
        }
        let square = |table: &[Vec<f64>]| table.iter().map(|row| dot(row, row)).sum::<f64>();
        sum -= f64::from(s.lambda_theta) / 2.0 * square(&self.theta);
        sum -= f64::from(s.lambda_beta) / 2.0 * square(&self.beta);
        for mu in &self.mu {
            sum += (f64::from(s.a0) - 1.0) * mu.ln() + (f64::from(s.b0) - 1.0) * (1.0 - mu).ln();
        }
        sum
    }

    /// The M-step of one row: (l_y sum of weight x x^T + l I)^-1 l_y sum of the observed x.
    fn row(
        &self,
        others: &[Vec<f64>],
        weight: impl Fn(usize) -> f64,
        observed: impl Fn(usize) -> bool,
        l: f32,
    ) -> Vec<f64> {
        let (d, l_y) = (self.settings.dim, f64::from(self.settings.lambda_y));
        let mut matrix = vec![vec![0.0; d]; d];
        let mut right = vec![0.0; d];
        for (k, x) in others.iter().enumerate() {
            for a in 0..d {
                for b in 0..d {
                    matrix[a][b] += l_y * weight(k) * x[a] * x[b];
                }
                if observed(k) {
                    right[a] += l_y * x[a];
                }
            }
        }
        for a in 0..d {
            matrix[a][a] += f64::from(l);
        }
        solved(matrix, right)
    }

    /// One iteration; the log posterior before mu is changed.
    pub fn iterate(&mut self) -> f64 {
        let (users, items) = (self.theta.len(), self.beta.len());
        self.theta = (0..users)
            .map(|u| {
                let weights: Vec<f64> = (0..items).map(|i| self.exposure(u, i)).collect();
                self.row(&self.beta, |i| weights[i], |i| self.observed[u][i], self.settings.lambda_theta)
            })
            .collect();
        self.beta = (0..items)
            .map(|i| {
                let weights: Vec<f64> = (0..users).map(|u| self.exposure(u, i)).collect();
                self.row(&self.theta, |u| weights[u], |u| self.observed[u][i], self.settings.lambda_beta)
            })
            .collect();
        let posterior = self.log_posterior();
        let (a0, b0) = (f64::from(self.settings.a0), f64::from(self.settings.b0));
        self.mu = (0..items)
            .map(|i| {
                let exposed: f64 = (0..users).map(|u| self.exposure(u, i)).sum();
                (a0 - 1.0 + exposed) / (a0 + b0 - 2.0 + users as f64)
            })
            .collect();
        posterior
    }
}

/// Relative distance of a table from the reference.
pub fn distance(found: &[f32], expected: &[Vec<f64>]) -> f64 {
    let expected = expected.concat();
    assert_eq!(found.len(), expected.len());
    let of = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = of(&mut found.iter().zip(&expected).map(|(&a, b)| f64::from(a) - b));
    // Not a number is as far as can be.
    let relative = difference / of(&mut expected.iter().copied());
    if relative.is_nan() { f64::INFINITY } else { relative }
}
