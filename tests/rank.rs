//! The `rank` operation against scalar f64 code.

mod tables;

use macr::{
    Csr, Ranking, Tables,
    backend::{
        cpu::rank::Ranker,
        lists::{Candidate, Ranks, TopK},
    },
};
use proptest::prelude::*;
use tables::{Case, Random};

impl Case {
    fn rank(&self, rankings: &[Ranking], k: usize) -> TopK {
        let users: Vec<u32> = (0..self.user_count()).collect();
        let tables = self.tables();
        Ranker::new(&tables, rankings, k).unwrap().top_k(&users, &[self.seen()]).unwrap()
    }

    fn user_count(&self) -> u32 {
        (self.users.len() / self.dim) as u32
    }

    /// (s_i (p_u . q_i - c) - tau ln(n_i + 1), a bound of the f32 error), term by term as in the paper.
    fn score(&self, user: u32, item: usize, ranking: Ranking) -> (f64, f64) {
        let p = &self.users[user as usize * self.dim..][..self.dim];
        let q = &self.items[item * self.dim..][..self.dim];
        let terms = p.iter().zip(q).map(|(&p, &q)| f64::from(p) * f64::from(q));
        let (dot, size) = terms.fold((0.0, 0.0), |(dot, size): (f64, f64), t| (dot + t, size + t.abs()));
        let adjustment = f64::from(ranking.tau) * (f64::from(self.popularity[item]) + 1.0).ln();
        let (gate, c) = match &self.gates {
            Some(gates) => (f64::from(gates[item]), f64::from(ranking.c)),
            None => (1.0, 0.0),
        };
        let magnitude = gate * (size + c.abs()) + adjustment.abs();
        (gate * (dot - c) - adjustment, magnitude * (self.dim as f64 + 8.0) * f64::from(f32::EPSILON))
    }

    /// All unseen items with their scores, best first, as the documentation of the module defines them to the bit.
    fn exact(&self, user: u32, ranking: Ranking) -> Vec<(u32, f32)> {
        let p = &self.users[user as usize * self.dim..][..self.dim];
        let score = |item: usize| {
            let gate = self.gates.as_ref().map(|gates| gates[item]);
            let q = self.items[item * self.dim..][..self.dim].iter().map(|q| gate.unwrap_or(1.0) * q);
            let x = p.iter().zip(q).fold(0.0f32, |x, (p, q)| p.mul_add(q, x));
            let popularity = libm::log1p(f64::from(self.popularity[item])) as f32;
            x - ranking.tau.mul_add(popularity, ranking.c * gate.unwrap_or(0.0))
        };
        let seen = self.seen().row(user);
        let unseen = (0..self.popularity.len() as u32).filter(|item| !seen.contains(item));
        let mut all: Vec<(u32, f32)> = unseen.map(|item| (item, score(item as usize))).collect();
        all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
        all
    }

    /// Compares every list with [`Case::exact`], bit by bit but for the sign of zero.
    fn check_bits(&self, rankings: &[Ranking], k: usize) {
        let top = self.rank(rankings, k);
        for user in 0..self.user_count() {
            for (variant, &ranking) in rankings.iter().enumerate() {
                let list: Vec<(u32, f32)> =
                    top.list(user as usize, variant).iter().map(|c| (c.item(), c.score())).collect();
                let mut exact = self.exact(user, ranking);
                exact.truncate(k);
                assert_eq!(list, exact, "user {user}, {ranking:?}, k {k}");
            }
        }
    }

    /// Compares every list with all scores sorted.
    fn check(&self, rankings: &[Ranking], k: usize) {
        let top = self.rank(rankings, k);
        assert_eq!(top.len(), self.user_count() as usize);
        for user in 0..self.user_count() {
            for (variant, &ranking) in rankings.iter().enumerate() {
                let list = top.list(user as usize, variant);
                let place = || format!("user {user}, {ranking:?}, k {k}, D {}: {list:?}", self.dim);
                let seen = self.seen().row(user);
                let mut oracle: Vec<(f64, f64, usize)> = (0..self.popularity.len())
                    .filter(|&item| !seen.contains(&(item as u32)))
                    .map(|item| (self.score(user, item, ranking).0, self.score(user, item, ranking).1, item))
                    .collect();
                oracle.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
                assert_eq!(list.len(), k.min(oracle.len()), "{}", place());
                for (candidate, &(score, error, item)) in list.iter().zip(&oracle) {
                    assert!((f64::from(candidate.score()) - score).abs() <= error, "{}", place());
                    // Another item is right only where the oracle ties within the error.
                    let (own, own_error) = self.score(user, candidate.item() as usize, ranking);
                    let tie = (own - score).abs() <= error + own_error;
                    assert!(candidate.item() as usize == item || tie, "item {item}; {}", place());
                    assert!((f64::from(candidate.score()) - own).abs() <= own_error, "{}", place());
                }
                assert!(list.windows(2).all(|w| better(w[0], w[1])), "order: {}", place());
                let mut ids: Vec<u32> = list.iter().map(|c| c.item()).collect();
                assert!(ids.iter().all(|id| !seen.contains(id)), "seen: {}", place());
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), list.len(), "twice: {}", place());
            }
        }
    }
}

/// Higher score, or same score and lower id.
fn better(a: Candidate, b: Candidate) -> bool {
    a.score() > b.score() || a.score() == b.score() && a.item() < b.item()
}

fn sweep() -> Vec<Ranking> {
    let grid =
        [(0.0, 0.0), (0.5, 0.0), (2.0, 0.0), (40.0, 0.0), (-3.0, 0.0), (0.0, 0.3), (0.0, 2.0), (5.0, 1.0)];
    let more = [(0.0, -1.0), (1e3, 0.0), (0.01, 0.01)];
    grid.into_iter().chain(more).map(|(c, tau)| Ranking { c, tau }).collect()
}

#[test]
fn agrees_with_the_oracle() {
    for dim in [1, 7, 32, 64, 65, 128, 300] {
        for (users, items) in [(2, 1), (7, 16), (13, 50), (101, 333)] {
            let case = Case::random(dim as u64, users, items, dim, dim % 2 == 0);
            for k in [1, items.min(20), items] {
                case.check(&[Ranking::default()], k);
                case.check(&[Ranking { c: 3.0, tau: 0.5 }], k);
            }
            case.check(&sweep(), items.min(20));
        }
    }
}

#[test]
fn agrees_with_the_oracle_over_many_item_blocks() {
    let case = Case::random(5, 8, 5003, 16, true);
    case.check(&sweep(), 20);
    case.check(&sweep()[..2], 5003);
}

#[test]
fn all_scores_negative() {
    let case = Case::random(3, 10, 100, 8, true);
    let rankings = [Ranking { c: 1e4, tau: 0.0 }];
    case.check(&rankings, 20);
    assert!(case.rank(&rankings, 20).list(0, 0).iter().all(|c| c.score() < 0.0));
}

#[test]
fn seen_items_never_come_back() {
    let case = Case::random(9, 4, 40, 4, true);
    let top = case.rank(&[Ranking { c: 40.0, tau: 0.0 }], 40);
    assert_eq!(top.list(0, 0).len(), 40);
    assert_eq!(top.list(1, 0), []);
}

#[test]
fn several_masks_add_up() {
    let case = Case::random(9, 3, 40, 4, true);
    let (offsets, indices) = ([0, 2, 2, 3], [0, 39, 7]);
    let more = Csr { offsets: &offsets, indices: &indices };
    let tables = case.tables();
    let top = Ranker::new(&tables, &sweep(), 40).unwrap().top_k(&[0, 1, 2], &[case.seen(), more]).unwrap();
    assert_eq!(top.list(0, 0).len(), 38);
    assert!(top.list(0, 3).iter().all(|c| c.item() != 0 && c.item() != 39));
    assert!(top.list(2, 3).iter().all(|c| c.item() != 7));
}

#[test]
fn ties_go_to_the_lower_id() {
    let mut case = Case::random(1, 3, 97, 3, false);
    case.items = case.items[..3].repeat(97);
    case.seen_offsets = vec![0; 4];
    case.seen.clear();
    case.popularity = (0..97).map(|n| n % 5).collect();
    for user in 0..3 {
        let top = case.rank(&[Ranking::default(), Ranking { c: 7.0, tau: 0.0 }], 30);
        for variant in 0..2 {
            let ids: Vec<u32> = top.list(user, variant).iter().map(|c| c.item()).collect();
            assert_eq!(ids, (0..30).collect::<Vec<u32>>());
        }
    }
    // Plus and minus zero are equal too.
    case.users.fill(0.0);
    case.users[..3].fill(-0.0);
    let ids: Vec<u32> = case.rank(&[Ranking::default()], 97).list(0, 0).iter().map(|c| c.item()).collect();
    assert_eq!(ids, (0..97).collect::<Vec<u32>>());
}

#[test]
fn many_rankings_give_the_lists_of_each_alone() {
    let case = Case::random(11, 50, 700, 20, true);
    let together = case.rank(&sweep(), 20);
    for (variant, &ranking) in sweep().iter().enumerate() {
        let alone = case.rank(&[ranking], 20);
        for user in 0..50 {
            assert_eq!(together.list(user, variant), alone.list(user, 0), "user {user}, {ranking:?}");
        }
    }
}

/// Numbers of items: fewer than a list, one block of the ranker, its limit, and several blocks.
const CATALOGUES: [usize; 5] = [13, 744, 1024, 1025, 3000];

fn rankings(grid: impl IntoIterator<Item = (f32, f32)>) -> Vec<Ranking> {
    grid.into_iter().map(|(c, tau)| Ranking { c, tau }).collect()
}

#[test]
fn grids_are_exact() {
    let line = |count: usize, from: f32, step: f32| (0..count).map(move |v| from + step * v as f32);
    let grids = [
        rankings(line(11, -5.0, 1.0).map(|c| (c, 0.0))),
        rankings(line(40, 0.0, 0.05).map(|c| (c, 0.25))),
        rankings(line(9, -1.0, 0.25).map(|tau| (2.0, tau))),
        rankings(line(5, 0.0, 2.0).flat_map(|c| line(4, -0.5, 0.5).map(move |tau| (c, tau)))),
        // Out of order, equal, both zeros, and far apart.
        rankings([3.0, -7.0, 3.0, 0.0, -0.0, 3.0, 1e6, -1e6, 1e-6].map(|c| (c, 0.0))),
        rankings([(1.0, 0.5); 7]),
    ];
    for (seed, items) in CATALOGUES.into_iter().enumerate() {
        let case = Case::random(31 + seed as u64, 5, items, 6, true);
        for grid in &grids {
            for k in [1, 20, 70] {
                case.check_bits(grid, k.min(items));
            }
        }
    }
}

#[test]
fn equal_scores_everywhere_are_exact() {
    for items in [744, 3000, 40_000] {
        let mut case = Case::random(37, 3, items, 2, true);
        case.gates = Some(vec![0.5; items]);
        case.items = [0.25, -1.0].repeat(items);
        case.popularity.fill(3);
        // A user without a history may well be all zeros.
        case.users[4..].fill(0.0);
        let grid = rankings((0..11).map(|v| (v as f32, 0.1)));
        if items <= 3000 {
            case.check_bits(&grid, 20);
        }
        let top = case.rank(&grid, 20);
        let ids: Vec<u32> = top.list(0, 10).iter().map(|c| c.item()).collect();
        assert_eq!(ids, (0..20).collect::<Vec<u32>>());
    }
}

#[test]
fn scores_that_differ_by_roundings_are_exact() {
    // Every item scores next to nothing at c = `pole`: around it the order of all items turns over, and rounding
    // decides.
    for pole in [1.0f32, 3.7, 1000.1, -250.3] {
        for items in [744, 3000] {
            let mut case = Case::random(41, 4, items, 1, true);
            let mut random = Random(0x1234_5677);
            case.users = vec![1.0, 1.0, 0.999_999_9, 1.000_000_1];
            for item in &mut case.items {
                *item = f32::from_bits((pole.to_bits() as i32 + (random.signed() * 4.0) as i32) as u32);
            }
            let around = |step: f32| rankings((-5..6).map(|v| (pole + step * v as f32, 0.0)));
            for step in [f32::EPSILON * pole.abs(), 1e-4 * pole.abs(), 1.0] {
                for k in [1, 20] {
                    case.check_bits(&around(step), k);
                }
            }
            // So much is subtracted that scores round to few values.
            case.check_bits(&rankings((0..11).map(|v| (3e7 + 2.0 * v as f32, 0.0))), 20);
        }
    }
}

#[test]
fn lists_do_not_depend_on_who_is_ranked_together() {
    let case = Case::random(13, 50, 300, 20, true);
    let (tables, all) = (case.tables(), case.rank(&sweep(), 10));
    let ranker = Ranker::new(&tables, &sweep(), 10).unwrap();
    let some = ranker.top_k(&[49, 3, 3, 17, 0, 1, 2], &[case.seen()]).unwrap();
    for (position, user) in [49, 3, 3, 17, 0, 1, 2].into_iter().enumerate() {
        assert_eq!(some.list(position, 4), all.list(user, 4));
    }
    assert!(ranker.top_k(&[], &[case.seen()]).unwrap().is_empty());
}

#[test]
fn lists_do_not_depend_on_the_number_of_threads() {
    let case = Case::random(17, 500, 1200, 12, true);
    let lists = [1, 2, 5].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.rank(&sweep(), 20))
    });
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[0], lists[2]);
}

#[test]
fn without_gates_c_changes_nothing() {
    let case = Case::random(19, 20, 200, 12, false);
    let top = case.rank(&[Ranking { c: 0.0, tau: 0.5 }, Ranking { c: 1e6, tau: 0.5 }], 50);
    for user in 0..20 {
        assert_eq!(top.list(user, 0), top.list(user, 1));
    }
}

#[test]
fn numbers_that_are_none_are_errors() {
    let case = Case::random(1, 3, 20, 4, true);
    let check = |case: &Case, ranking: Ranking, words: &str| {
        let tables = case.tables();
        let error = Ranker::new(&tables, &[ranking], 5).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let broken = |change: fn(&mut Case, f32)| {
            let mut case = case.clone();
            change(&mut case, bad);
            case
        };
        let words = |what: &str| format!("the {what} has the value {bad} in row 2");
        check(&broken(|c, v| c.users[9] = v), Ranking::default(), &words("user embedding"));
        check(&broken(|c, v| c.items[9] = v), Ranking::default(), &words("item embedding"));
        check(&broken(|c, v| c.gates.as_mut().unwrap()[2] = v), Ranking::default(), &words("item gate"));
        check(&case, Ranking { c: bad, tau: 0.0 }, "c = ");
        check(&case, Ranking { c: 0.0, tau: bad }, "tau = ");
    }
    check(&case, Ranking { c: f32::MAX, tau: f32::MAX }, "popularity correction");
    let mut large = case.clone();
    large.users.fill(1e20);
    large.items.fill(1e20);
    check(&large, Ranking::default(), "range of f32");
}

#[test]
fn impossible_requests_are_errors() {
    let case = Case::random(1, 3, 20, 4, true);
    let tables = case.tables();
    for k in [0, 21] {
        assert!(Ranker::new(&tables, &[Ranking::default()], k).unwrap_err().to_string().contains("1 to 20"));
    }
    assert!(Ranker::new(&tables, &[], 1).is_err());
    let ranker = Ranker::new(&tables, &[Ranking::default()], 1).unwrap();
    assert!(ranker.top_k(&[3], &[]).unwrap_err().to_string().contains("3 users"));
    let short = Csr { offsets: &[0], indices: &[] };
    assert!(ranker.top_k(&[0], &[short]).is_err());
    let beyond = Csr { offsets: &[0, 1, 1, 1], indices: &[20] };
    assert!(ranker.top_k(&[0], &[beyond]).is_err());
    assert!(Tables::new(3, &[0.0; 4], &[0.0; 3], None, &[1]).is_err());
    assert!(Tables::new(0, &[], &[], None, &[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_the_oracle_on_random_shapes(
        seed: u64,
        users in 1usize..40,
        items in 1usize..300,
        dim in 1usize..40,
        gated: bool,
        rankings in proptest::collection::vec((-50f32..50.0, -2f32..4.0), 1..20),
        k in 1usize..300,
    ) {
        let rankings: Vec<Ranking> = rankings.into_iter().map(|(c, tau)| Ranking { c, tau }).collect();
        Case::random(seed, users, items, dim, gated).check(&rankings, k.min(items));
    }

    #[test]
    fn lines_are_exact(
        seed: u64,
        items in 1usize..2000,
        (from, step, tau) in (-50f32..50.0, 0f32..5.0, -2f32..4.0),
        count in 1usize..24,
        k in 1usize..70,
    ) {
        let grid = rankings((0..count).map(|v| (from + step * v as f32, tau)));
        Case::random(seed, 4, items, 3, true).check_bits(&grid, k.min(items));
    }
}
