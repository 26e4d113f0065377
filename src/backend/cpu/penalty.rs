//! The penalty of an objective on the touched rows: its value, and what `apply` adds to their gradients.
//!
//! Every form's gradient is a coefficient times (row - target); the target is zero, a mean of the batch, or the row's
//! own other vector. One pass over the gathered rows gives the sums that these need, task by task in a fixed order.

use super::{
    gather::{Gathered, SLOTS},
    sample::Touched,
    table::Parts,
    team::Team,
};
use crate::{
    objective::Penalty,
    simd::{dot, vectorised},
};

/// The touched rows of one side.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// How they are divided.
    pub parts: Parts,
    /// Which they are.
    pub touched: &'a Touched,
    /// Their final embeddings.
    pub gathered: &'a Gathered,
    /// `[rows of the table]`: constants of the items; of the users none.
    pub constants: &'a [f32],
}

/// A penalty's gradient on one side.
#[derive(Debug)]
pub enum Pull {
    /// Towards the other vector of the row.
    Other(f32),
    /// Of rows whose constant is 0 and 1: towards a point `[stride]`, for each sample.
    Point([(f32, Vec<f32>); 2]),
    /// Towards zero, for each sample, times the row's constant.
    Zero(f32),
}

/// Where a row is pulled to.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// To zero.
    Zero,
    /// To this row.
    Point(&'a [f32]),
    /// To its other vector.
    Other,
}

impl Pull {
    /// Coefficient and target of a row with this many samples and this constant.
    #[inline(always)]
    pub fn of(&self, samples: usize, constant: Option<f32>) -> (f32, Target<'_>) {
        let (samples, constant) = (samples as f32, constant.unwrap_or(0.0));
        match self {
            Pull::Other(coefficient) => (*coefficient, Target::Other),
            Pull::Point(points) => {
                let (coefficient, point) = &points[kind(constant)];
                (samples * coefficient, Target::Point(point))
            }
            Pull::Zero(coefficient) => (samples * coefficient * constant, Target::Zero),
        }
    }
}

/// Which of the two kinds of rows has this constant.
#[inline(always)]
fn kind(constant: f32) -> usize {
    usize::from(constant > 0.5)
}

/// What a task sums over its rows, for each of the two kinds of rows.
#[derive(Debug, Clone, Default)]
struct Sums {
    /// Samples.
    count: [u64; 2],
    /// Of the samples' squared norms, or of the rows' squared differences, or of constant times squared norm.
    squares: [f64; 2],
    /// `[stride]`, of the samples' rows.
    rows: [Vec<f64>; 2],
}

impl Penalty {
    /// The penalty's value on one side of a batch of `batch` rows, and its gradient; `None` if it has none there.
    pub fn pull(self, team: &Team, rows: Rows<'_>, batch: usize) -> Option<(f64, Pull)> {
        match self {
            Penalty::Halves(_) if rows.parts.count < 2 => return None,
            Penalty::Across(_) | Penalty::Within(_) | Penalty::Decay(_) if rows.constants.is_empty() => {
                return None;
            }
            _ => {}
        }
        let sums = self.sums(team, rows);
        let squares = sums.squares;
        Some(match self {
            Penalty::Halves(strength) => {
                let terms = (rows.touched.rows.len() * rows.parts.width) as f64;
                let scale = f64::from(strength) / terms;
                (scale * squares[0], Pull::Other((2.0 * scale) as f32))
            }
            Penalty::Decay(strength) => {
                let scale = f64::from(strength) / batch as f64;
                (scale * squares[0], Pull::Zero((2.0 * scale) as f32))
            }
            Penalty::Across(strength) => {
                let [(square0, mean0), (square1, mean1)] = sums.means();
                let both = sums.count.iter().all(|&n| n > 0);
                let strength = if both { f64::from(strength) } else { 0.0 };
                let inner: f64 = mean0.iter().zip(&mean1).map(|(a, b)| a * b).sum();
                let value = strength * (square0 + square1 - 2.0 * inner);
                (value, Pull::Point(sums.points([strength; 2], [mean1, mean0])))
            }
            Penalty::Within(strengths) => {
                let strengths = strengths.map(f64::from);
                let [(square0, mean0), (square1, mean1)] = sums.means();
                let norm = |mean: &[f64]| mean.iter().map(|x| x * x).sum::<f64>();
                let value = strengths[0] * (square0 - norm(&mean0)) + strengths[1] * (square1 - norm(&mean1));
                (value, Pull::Point(sums.points(strengths, [mean0, mean1])))
            }
        })
    }

    fn sums(self, team: &Team, rows: Rows<'_>) -> Sums {
        let slots = rows.touched.rows.len();
        let mut tasks: Vec<(usize, Sums)> =
            (0..slots).step_by(SLOTS).map(|first| (first, Sums::default())).collect();
        team.for_each(&mut tasks, |(first, sums)| {
            sum_rows(self, rows, *first, (*first + SLOTS).min(slots), sums);
        });
        let mut total = Sums { rows: [0, 1].map(|_| vec![0.0; rows.parts.stride()]), ..Sums::default() };
        for (_, task) in &tasks {
            for kind in 0..2 {
                total.count[kind] += task.count[kind];
                total.squares[kind] += task.squares[kind];
                total.rows[kind].iter_mut().zip(&task.rows[kind]).for_each(|(sum, x)| *sum += x);
            }
        }
        total
    }
}

impl Sums {
    /// Mean squared norm and mean row of the samples of either kind; zeros where there are none.
    fn means(&self) -> [(f64, Vec<f64>); 2] {
        [0, 1].map(|kind| {
            let n = self.count[kind].max(1) as f64;
            (self.squares[kind] / n, self.rows[kind].iter().map(|x| x / n).collect())
        })
    }

    /// Coefficient of a sample, and the point that it is pulled to, of either kind.
    fn points(&self, strengths: [f64; 2], targets: [Vec<f64>; 2]) -> [(f32, Vec<f32>); 2] {
        let point = |target: &[f64]| target.iter().map(|&x| x as f32).collect();
        [0, 1].map(|kind| {
            let coefficient = 2.0 * strengths[kind] / self.count[kind].max(1) as f64;
            (coefficient as f32, point(&targets[kind]))
        })
    }
}

vectorised! {
    fn sum_rows(penalty: Penalty, side: Rows<'_>, first: usize, end: usize, sums: &mut Sums) {
        let Rows { parts, touched, gathered, constants } = side;
        let stride = parts.stride();
        if let Penalty::Across(_) | Penalty::Within(_) = penalty {
            sums.rows = [0, 1].map(|_| vec![0.0; stride]);
        }
        let mut difference = vec![0f32; parts.stride];
        for slot in first..end {
            let row = &gathered.rows[slot * stride..][..stride];
            let samples = touched.samples(slot).len();
            let constant = constants.get(touched.rows[slot] as usize).copied().unwrap_or(0.0);
            match penalty {
                Penalty::Halves(_) => {
                    let (a, b) = row.split_at(parts.stride);
                    for k in 0..difference.len() {
                        difference[k] = a[k] - b[k];
                    }
                    sums.squares[0] += f64::from(dot(&difference, &difference));
                }
                Penalty::Decay(_) => {
                    sums.squares[0] += f64::from(constant) * samples as f64 * f64::from(dot(row, row));
                }
                Penalty::Across(_) | Penalty::Within(_) => {
                    let kind = kind(constant);
                    sums.count[kind] += samples as u64;
                    sums.squares[kind] += samples as f64 * f64::from(dot(row, row));
                    for (sum, &x) in sums.rows[kind].iter_mut().zip(row) {
                        *sum += samples as f64 * f64::from(x);
                    }
                }
            }
        }
    }
}
