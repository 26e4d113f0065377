//! Draws from p(k) proportional to base(k) exp(x . v_k / temperature) without looking at every k.
//!
//! The vectors v_k lie around a few centres. A proposal first draws a centre s from its mass under an upper bound of
//! the weights, base(s) exp((x . c_s + |x| r_s) / temperature) with r_s the distance of the farthest member, then a
//! member from the base weights (an alias table), and accepts it with exp((x . (v_k - c_s) - |x| r_s) / temperature):
//! the result follows the law exactly, up to the rounding of the dot products and alias tables, which are f32.
//! The work is O(centres) for each x and O(log centres) for each proposal.

use crate::sampling::philox::Rng;

/// Proposals for each wanted draw before all members are looked at instead.
const PATIENCE: usize = 64;

/// Members, each with a vector near a centre and a base weight `(1 - mix) + mix * weight`.
pub(crate) struct Tilted<'a> {
    dim: usize,
    inverse_temperature: f64,
    /// `[S, D]`.
    centers: &'a [f32],
    /// `[n, D]`.
    vectors: &'a [f32],
    /// `[n]`, or none where all weights are 1.
    weights: Option<&'a [f32]>,
    /// `[S + 1]`: where each centre's members begin.
    offsets: Vec<usize>,
    /// `[n]`: members by centre.
    members: Vec<u32>,
    /// `[S]`: distance of the farthest member.
    radius: Vec<f64>,
    /// `[S]`: sum of the members' weights.
    mass: Vec<f64>,
    /// `[n]`, in the order of `members`: alias tables over the weights, one for each centre.
    alias: Vec<(f32, u32)>,
}

/// What the draws for one x need.
pub(crate) struct Aim<'a> {
    x: &'a [f32],
    norm: f64,
    mix: f64,
    /// `[S]`: x . c_s.
    dots: Vec<f64>,
    /// `[S]`: running sum of the centres' masses under the bound.
    cumulative: Vec<f64>,
}

impl<'a> Tilted<'a> {
    /// Members with these `vectors`, each near the centre that `of` names.
    pub(crate) fn new(
        dim: usize,
        temperature: f64,
        centers: &'a [f32],
        vectors: &'a [f32],
        of: &[u32],
        weights: Option<&'a [f32]>,
    ) -> Self {
        let groups = centers.len() / dim;
        let mut offsets = vec![0; groups + 1];
        of.iter().for_each(|&s| offsets[s as usize + 1] += 1);
        (0..groups).for_each(|s| offsets[s + 1] += offsets[s]);
        let (mut next, mut members) = (offsets.clone(), vec![0; of.len()]);
        let mut radius = vec![0f64; groups];
        for (k, &s) in (0u32..).zip(of) {
            let s = s as usize;
            members[next[s]] = k;
            next[s] += 1;
            let far: f64 = (row(vectors, dim, k as usize).iter().zip(row(centers, dim, s)))
                .map(|(&v, &c)| (f64::from(v) - f64::from(c)).powi(2))
                .sum();
            radius[s] = radius[s].max(far.sqrt());
        }
        let (mut mass, mut alias) = (vec![0.0; groups], Vec::new());
        for s in 0..groups {
            let members = &members[offsets[s]..offsets[s + 1]];
            mass[s] = match weights {
                None => members.len() as f64,
                Some(weights) => {
                    let weights: Vec<f64> = members.iter().map(|&k| f64::from(weights[k as usize])).collect();
                    alias.extend(alias_table(&weights));
                    weights.iter().sum()
                }
            };
        }
        let inverse_temperature = 1.0 / temperature;
        Tilted { dim, inverse_temperature, centers, vectors, weights, offsets, members, radius, mass, alias }
    }

    /// Prepares draws for `x`, with the part `mix` of the base weights taken from the weights and the rest uniform.
    pub(crate) fn aim<'x>(&self, x: &'x [f32], mix: f64) -> Aim<'x> {
        let norm = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        let groups = self.radius.len();
        let dots: Vec<f64> = (0..groups).map(|s| dot(x, row(self.centers, self.dim, s))).collect();
        let bound = |s: usize| (dots[s] + norm * self.radius[s]) * self.inverse_temperature;
        let highest = (0..groups).map(bound).fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        let cumulative = (0..groups)
            .map(|s| {
                sum += self.base(s, mix) * libm::exp(bound(s) - highest);
                sum
            })
            .collect();
        Aim { x, norm, mix, dots, cumulative }
    }

    /// Base mass of a centre.
    fn base(&self, s: usize, mix: f64) -> f64 {
        (1.0 - mix) * (self.offsets[s + 1] - self.offsets[s]) as f64 + mix * self.mass[s]
    }

    /// One proposal: a member if it is accepted.
    fn propose(&self, aim: &Aim, rng: &mut Rng) -> Option<u32> {
        let total = aim.cumulative[aim.cumulative.len() - 1];
        let drawn = rng.unit_f64() * total;
        // Rounding may carry the product up to the total.
        let s = aim.cumulative.partition_point(|&c| c <= drawn).min(aim.cumulative.len() - 1);
        let (start, end) = (self.offsets[s], self.offsets[s + 1]);
        if start == end {
            return None;
        }
        let mut at = start + rng.below((end - start) as u64) as usize;
        if aim.mix > 0.0 && rng.unit_f64() * self.base(s, aim.mix) < aim.mix * self.mass[s] {
            let (keep, other) = self.alias[at];
            if rng.unit_f64() >= f64::from(keep) {
                at = start + other as usize;
            }
        }
        let member = self.members[at];
        let excess = dot(aim.x, row(self.vectors, self.dim, member as usize))
            - aim.dots[s]
            - aim.norm * self.radius[s];
        (rng.unit_f64() < libm::exp(excess * self.inverse_temperature)).then_some(member)
    }

    /// Fills `out` with distinct draws, one after the other without replacement; returns how many there were to draw.
    ///
    /// `claim` says whether a member is still free, and takes it.
    pub(crate) fn draw_distinct(
        &self,
        aim: &Aim,
        rng: &mut Rng,
        mut claim: impl FnMut(u32) -> bool,
        out: &mut [u32],
    ) -> usize {
        let mut filled = 0;
        for _ in 0..PATIENCE * out.len() {
            if filled == out.len() {
                return filled;
            }
            if let Some(member) = self.propose(aim, rng)
                && claim(member)
            {
                out[filled] = member;
                filled += 1;
            }
        }
        // Most of the mass is taken: the same law by an exponential race between all members that are left.
        let mut race: Vec<(f64, u32)> = (0..self.members.len() as u32)
            .filter(|&member| claim(member))
            .map(|member| (self.arrival(aim, member, rng), member))
            .collect();
        let missing = race.len().min(out.len() - filled);
        race.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (place, (_, member)) in out[filled..].iter_mut().zip(&race[..missing]) {
            *place = *member;
        }
        filled + missing
    }

    /// Logarithm of an exponential time whose rate is the member's weight; the first to arrive is drawn first.
    fn arrival(&self, aim: &Aim, member: u32, rng: &mut Rng) -> f64 {
        let weight = self.weights.map_or(1.0, |w| f64::from(w[member as usize]));
        let base = (1.0 - aim.mix) + aim.mix * weight;
        let tilt = dot(aim.x, row(self.vectors, self.dim, member as usize)) * self.inverse_temperature;
        libm::log(-libm::log(1.0 - rng.unit_f64())) - libm::log(base) - tilt
    }
}

/// Vose's alias table: position `k` is kept with its probability, else its alias is taken.
fn alias_table(weights: &[f64]) -> Vec<(f32, u32)> {
    let scale = weights.len() as f64 / weights.iter().sum::<f64>();
    let mut level: Vec<f64> = weights.iter().map(|w| w * scale).collect();
    let mut table: Vec<(f32, u32)> = (0..weights.len() as u32).map(|k| (1.0, k)).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..level.len()).partition(|&k| level[k] < 1.0);
    while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
        table[poor] = (level[poor] as f32, rich as u32);
        level[rich] -= 1.0 - level[poor];
        if level[rich] < 1.0 {
            large.pop();
            small.push(rich);
        }
    }
    table
}

/// Row `k` of a table of vectors.
pub(crate) fn row(table: &[f32], dim: usize, k: usize) -> &[f32] {
    &table[k * dim..(k + 1) * dim]
}

/// Inner product in four fixed lanes: fast, and the same bits everywhere.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0f32; 4];
    let (a, b) = (a.chunks_exact(4), b.chunks_exact(4));
    let tail: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for lane in 0..4 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    f64::from((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]) + tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIM: usize = 3;
    const CENTERS: [f32; 6] = [1.0, 0.0, 0.0, 0.0, 0.6, 0.8];
    const VECTORS: [f32; 15] = [0.9, 0.1, 0.0, 1.0, -0.3, 0.2, 0.0, 0.5, 0.9, 0.1, 0.7, 0.7, 0.0, 0.6, 0.8];
    const OF: [u32; 5] = [0, 0, 1, 1, 1];
    const WEIGHTS: [f32; 5] = [0.2, 3.0, 1.0, 0.5, 0.3];
    const X: [f32; 3] = [0.3, 0.9, -0.2];
    const TEMPERATURE: f64 = 0.4;

    fn law(mix: f64) -> Vec<f64> {
        let weight = |k: usize| {
            (1.0 - mix + mix * f64::from(WEIGHTS[k])) * (dot(&X, row(&VECTORS, DIM, k)) / TEMPERATURE).exp()
        };
        let total: f64 = (0..5).map(weight).sum();
        (0..5).map(|k| weight(k) / total).collect()
    }

    fn check(drawn: [u32; 5], expected: &[f64]) {
        let n = f64::from(drawn.iter().sum::<u32>());
        for (k, p) in expected.iter().enumerate() {
            let sigma = (p * (1.0 - p) / n).sqrt();
            assert!((f64::from(drawn[k]) / n - p).abs() < 5.0 * sigma, "{drawn:?} against {expected:?}");
        }
    }

    #[test]
    fn proposals_and_races_follow_the_stated_law() {
        let tilted = Tilted::new(DIM, TEMPERATURE, &CENTERS, &VECTORS, &OF, Some(&WEIGHTS));
        for mix in [0.0, 0.4, 1.0] {
            let aim = tilted.aim(&X, mix);
            let (mut accepted, mut raced) = ([0; 5], [0; 5]);
            let mut rng = Rng::new(1, 0);
            for _ in 0..100_000 {
                if let Some(k) = tilted.propose(&aim, &mut rng) {
                    accepted[k as usize] += 1;
                }
                let arrive = |k: u32, rng: &mut Rng| (tilted.arrival(&aim, k, rng), k);
                let first = (0..5).map(|k| arrive(k, &mut rng)).min_by(|a, b| a.0.total_cmp(&b.0));
                raced[first.map_or(0, |(_, k)| k as usize)] += 1;
            }
            check(accepted, &law(mix));
            check(raced, &law(mix));
        }
    }

    #[test]
    fn distinct_draws_take_everything_there_is() {
        let tilted = Tilted::new(DIM, 0.01, &CENTERS, &VECTORS, &OF, None);
        let aim = tilted.aim(&X, 0.0);
        let (mut taken, mut out) = ([true, false, false, false, false], [9; 5]);
        let claim = |k: u32| !std::mem::replace(&mut taken[k as usize], true);
        assert_eq!(tilted.draw_distinct(&aim, &mut Rng::new(2, 0), claim, &mut out), 4);
        let mut drawn = out[..4].to_vec();
        drawn.sort_unstable();
        assert_eq!(drawn, [1, 2, 3, 4]);
    }
}
