//! Rankings that are looked for together.

use std::collections::BTreeMap;

use crate::model::Ranking;

/// Rankings that share `tau` and differ in `c`, or the other way round.
///
/// Along a line the score of an item is a linear function. Two kinds of lines use this differently:
///
/// - with a `pivot`, only the two ends are compared with: let K items score at least `a` at one end and `b` at the
///   other. At every ranking between they score at least what lies between a and b, and an item below a and below b
///   scores less than that: it is in no list of the line. The K best items at the pivot, in the middle, give a and b.
///   One comparison at each end then serves any number of rankings, if their lists are much alike;
/// - without, each ranking is compared with its own K-th best score so far. Nothing is wasted where lists differ.
#[derive(Debug)]
pub(super) struct Line {
    /// Positions of the rankings among all, in ascending order of what they differ in.
    pub(super) rankings: Vec<usize>,
    /// Those that items are compared with: the ends of a line with a pivot, else all.
    pub(super) nodes: Vec<Node>,
    /// Place in `rankings`.
    pub(super) pivot: Option<usize>,
}

/// A ranking that items are compared with, and its position among all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) variant: usize,
    pub(super) ranking: Ranking,
}

impl Line {
    /// At most this many rankings are compared with in one line: the items that may enter some list are kept
    /// together, and each ranking looks at all of them.
    const NODES: usize = 16;

    /// Rankings of a line with a pivot that are narrowed down to together, on the way from the pivot to the ends.
    pub(super) const STEP: usize = 3;

    /// The fewest lines through all `rankings`; `sloped` ones have pivots.
    pub(super) fn cover(rankings: &[Ranking], sloped: bool) -> Vec<Line> {
        type Key = fn(&Ranking) -> f32;
        let (c, tau): (Key, Key) = (|r| r.c, |r| r.tau);
        let lines = |shared: Key, other: Key| {
            let mut lines: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
            for (position, ranking) in rankings.iter().enumerate() {
                lines.entry((shared(ranking) + 0.0).to_bits()).or_default().push(position);
            }
            for line in lines.values_mut() {
                line.sort_by(|&a, &b| other(&rankings[a]).total_cmp(&other(&rankings[b])));
            }
            lines.into_values().collect::<Vec<_>>()
        };
        let (by_tau, by_c) = (lines(tau, c), lines(c, tau));
        let fewest = if by_c.len() < by_tau.len() { by_c } else { by_tau };
        let node = |&variant: &usize| Node { variant, ranking: rankings[variant] };
        if !sloped {
            let parts = fewest.iter().flat_map(|line| line.chunks(Self::NODES));
            return parts
                .map(|part| Line {
                    rankings: part.to_vec(),
                    nodes: part.iter().map(node).collect(),
                    pivot: None,
                })
                .collect();
        }
        let with_pivot = |line: Vec<usize>| {
            // Two rankings are their own ends.
            let pivot = (line.len() > 2).then_some(line.len() / 2);
            let ends = if line.len() == 1 { vec![line[0]] } else { vec![line[0], line[line.len() - 1]] };
            Line { rankings: line, nodes: ends.iter().map(node).collect(), pivot }
        };
        fewest.into_iter().map(with_pivot).collect()
    }
}
