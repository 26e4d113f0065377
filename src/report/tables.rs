//! The tables of reports.

use super::{
    behaviour::{Grouping, LIST_LENGTH, list_length},
    paper::Paper,
    table::{Cell, Column, Table},
};
use crate::{
    data::{
        Interactions,
        popularity::{item_counts, user_counts},
        profile::Profile,
    },
    error::Result,
    eval::{
        Evaluation,
        significance::{deviation, mean, paired_t, randomisation},
    },
    model::Ranking,
};

/// Metrics of the paper's tables, with their short names.
pub const METRICS: [(&str, &str); 3] = [("hit_rate", "HR"), ("recall", "Recall"), ("ndcg", "NDCG")];

/// Lengths of lists at which models are evaluated, as far as there are so many items; the last is the tables'.
pub fn lengths(items: u32) -> Vec<usize> {
    let longest = list_length(items);
    [1, 5, 10, 15, LIST_LENGTH].into_iter().filter(|&k| k < longest).chain([longest]).collect()
}

/// A system's evaluations, one for each seed, each with one ranking.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// The seeds of the trainings.
    pub seeds: Vec<u64>,
    /// In the order of the seeds.
    pub evaluations: Vec<Evaluation>,
    /// The epochs that were chosen, where known.
    pub epochs: Vec<u64>,
}

impl Results {
    /// `metric` at `k` for every seed.
    pub fn metric(&self, metric: &str, k: usize) -> Vec<f64> {
        let value = |evaluation: &Evaluation| {
            evaluation.results.iter().find(|outcome| outcome.k == k)?.metrics.get(metric)
        };
        self.evaluations.iter().filter_map(value).collect()
    }

    /// The longest length of lists.
    pub fn longest(&self) -> usize {
        let lengths = self.evaluations.iter().flat_map(|e| e.results.iter().map(|outcome| outcome.k));
        lengths.max().unwrap_or(LIST_LENGTH)
    }

    /// Mean and spread of `metric` at `k` over the seeds.
    pub fn cell(&self, metric: &str, k: usize) -> Cell {
        let values = self.metric(metric, k);
        match mean(&values) {
            Some(value) => Cell::Number { value, spread: deviation(&values), best: false },
            None => Cell::Missing,
        }
    }

    /// A metric of accuracy for each user, mean over seeds.
    fn per_user(&self, metric: &str) -> Result<Vec<f64>> {
        let mut means: Vec<f64> = Vec::new();
        for evaluation in &self.evaluations {
            let values = evaluation.per_user(metric, 0, self.longest())?;
            means.resize(values.len(), 0.0);
            means.iter_mut().zip(values).for_each(|(mean, value)| *mean += value);
        }
        let count = self.evaluations.len() as f64;
        Ok(means.into_iter().map(|sum| sum / count).collect())
    }

    fn rankings(&self, of: impl Fn(Ranking) -> f32) -> String {
        let first = |e: &Evaluation| e.results.first().map(|o| of(Ranking { c: o.c, tau: o.tau }));
        per_seed(&self.evaluations.iter().filter_map(first).collect::<Vec<_>>())
    }
}

/// The seeds' values in order; where there are several and all are one, that one and `(all)`.
fn per_seed<T: PartialEq + ToString>(values: &[T]) -> String {
    match values {
        [first, others @ ..] if !others.is_empty() && others.iter().all(|other| other == first) => {
            format!("{} (all)", first.to_string())
        }
        _ => values.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// A row of a comparison.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Heading of the block that begins here.
    pub heading: Option<String>,
    /// What the row is called.
    pub label: String,
    /// What was measured; none where the row is missing.
    pub results: Option<&'a Results>,
    /// What is published for it, in the order of [`METRICS`].
    pub published: [Option<f64>; 3],
}

/// Every entry's metrics beside what is published, with the difference; the best of each block is marked.
pub fn comparison(name: &str, title: &str, first: &str, entries: &[Entry<'_>]) -> Table {
    let published = entries.iter().any(|entry| entry.published.iter().any(Option::is_some));
    let mut columns = vec![Column::new(first, 0)];
    for (_, metric) in METRICS {
        columns.push(Column::new(metric, 4));
        if published {
            columns.push(Column::new(format!("{metric} paper"), 3));
            columns.push(Column::difference(format!("{metric} difference"), 4));
        }
    }
    let epochs = entries.iter().any(|entry| entry.results.is_some_and(|r| !r.epochs.is_empty()));
    columns.extend(["c", "τ"].into_iter().chain(epochs.then_some("epoch")).map(|name| Column::new(name, 0)));
    let mut table = Table::new(name, title, columns);
    for entry in entries {
        let mut cells = vec![Cell::text(&entry.label)];
        for ((metric, _), paper) in METRICS.iter().zip(entry.published) {
            let ours = entry.results.map_or(Cell::Missing, |r| r.cell(metric, r.longest()));
            let difference = ours.value().zip(paper).map(|(ours, paper)| ours - paper);
            cells.push(ours);
            if published {
                cells.extend([Cell::number(paper), Cell::number(difference)]);
            }
        }
        let told =
            |of: &dyn Fn(&Results) -> String| entry.results.map_or(Cell::Missing, |r| Cell::Text(of(r)));
        cells.extend([told(&|r| r.rankings(|r| r.c)), told(&|r| r.rankings(|r| r.tau))]);
        cells.extend(epochs.then(|| told(&|r| per_seed(&r.epochs))));
        table.push(entry.heading.clone(), cells);
    }
    let starts: Vec<usize> = (0..entries.len()).filter(|&k| k == 0 || entries[k].heading.is_some()).collect();
    let step = if published { 3 } else { 1 };
    for (k, &start) in starts.iter().enumerate() {
        let end = starts.get(k + 1).copied().unwrap_or(entries.len());
        (0..METRICS.len()).for_each(|metric| table.mark_best(1 + step * metric, start..end));
    }
    let mut columns = String::from(
        "c and τ: the counterfactual reference score and the strength of the popularity adjustment that lists are ranked \
         with.",
    );
    if epochs {
        columns += " epoch: the one whose model is shown.";
    }
    if entries.iter().any(|entry| entry.results.is_some_and(|r| r.evaluations.len() > 1)) {
        columns +=
            " Of several seeds each has its value, in their order; (all) stands after one that all have.";
    }
    table.notes.push(columns);
    table
}

/// Says which of the named `rows` are above everything in `published`, in all metrics of which anything is known there.
/// Nothing where no row is, or nothing is known.
pub fn above_published(rows: &[(&str, &Results)], published: &[[Option<f64>; 3]]) -> Option<String> {
    let highest = |metric: usize| published.iter().filter_map(|row| row[metric]).reduce(f64::max);
    let known: Vec<_> = METRICS
        .iter()
        .enumerate()
        .filter_map(|(position, (metric, short))| Some((metric, short, highest(position)?)))
        .collect();
    let is_above = |results: &Results| {
        known.iter().all(|(metric, _, highest)| {
            mean(&results.metric(metric, results.longest())).is_some_and(|ours| ours > *highest)
        })
    };
    let above: Vec<&str> = rows.iter().filter(|(_, r)| is_above(r)).map(|(name, _)| *name).collect();
    if known.is_empty() || above.is_empty() {
        return None;
    }
    let metrics: Vec<String> =
        known.iter().map(|(_, short, highest)| format!("{short} {highest:.3}")).collect();
    Some(format!(
        "Above every number of the paper's table that is known here (at most {}): {}.",
        metrics.join(", "),
        above.join("; ")
    ))
}

/// A pair of systems to be compared.
#[derive(Debug, Clone)]
pub struct Pair<'a> {
    /// Heading of the block that begins here.
    pub heading: Option<String>,
    /// One system and its name.
    pub a: (String, &'a Results),
    /// The other.
    pub b: (String, &'a Results),
}

/// What one system's metrics are above another's, and how likely as much is by chance: over users, and over seeds.
///
/// # Errors
/// If the metrics cannot be had of every user.
pub fn significance(name: &str, title: &str, pairs: &[Pair<'_>]) -> Result<Table> {
    let columns = ["system", "against", "metric"].map(|name| Column::new(name, 0));
    let numbers =
        [Column::difference("difference", 4), Column::new("p over users", 5), Column::new("p over seeds", 5)];
    let mut table = Table::new(name, title, columns.into_iter().chain(numbers).collect());
    for pair in pairs {
        let ((a_name, a), (b_name, b)) = (&pair.a, &pair.b);
        for (position, (metric, short)) in METRICS.into_iter().enumerate() {
            let users = randomisation(&a.per_user(metric)?, &b.per_user(metric)?);
            let (a_seeds, b_seeds) = (a.metric(metric, a.longest()), b.metric(metric, b.longest()));
            let seeds = if a.seeds == b.seeds { paired_t(&a_seeds, &b_seeds) } else { None };
            table.push(
                pair.heading.clone().filter(|_| position == 0),
                vec![
                    Cell::text(a_name),
                    Cell::text(b_name),
                    Cell::text(short),
                    Cell::number(users.map(|test| test.difference)),
                    Cell::number(users.map(|test| test.p)),
                    Cell::number(seeds.map(|test| test.p)),
                ],
            );
        }
    }
    table.notes.push(
        "p over users: two-sided randomisation test of the users' values (means over seeds), which are far from normal; \
         the least value it can give is 0.00001. p over seeds: paired t-test, since few seeds have too few swaps; \
         missing with one seed, or where the two have different ones. p-values are not corrected for the number of \
         comparisons."
            .into(),
    );
    Ok(table)
}

/// What the lists of the evaluated users are made of.
pub fn exposure(name: &str, title: &str, entries: &[Entry<'_>]) -> Table {
    let metrics = [
        ("arp", "popularity of what is shown", 1),
        ("aplt", "share of the long tail", 4),
        ("coverage", "coverage", 4),
        ("gini", "Gini", 4),
    ];
    let columns = metrics.iter().map(|&(_, name, decimals)| Column::new(name, decimals));
    let mut table =
        Table::new(name, title, std::iter::once(Column::new("system", 0)).chain(columns).collect());
    for Entry { heading, label, results, .. } in entries {
        let cell = |metric| results.map_or(Cell::Missing, |r| r.cell(metric, r.longest()));
        let cells = metrics.iter().map(|&(metric, ..)| cell(metric));
        table.push(heading.clone(), std::iter::once(Cell::text(label)).chain(cells).collect());
    }
    table.notes.push(
        "Over the lists of users with test interactions. Popularity: mean number of training interactions of a listed \
         item (ARP). Long tail: places of items less popular than the least popular of the fewest that have 80 % of the \
         training interactions (APLT). \
         Coverage: share of the items that are in some list. Gini: 0 where all items are listed equally often."
            .into(),
    );
    table
}

/// Sizes of datasets beside the paper's Table 1. `data` gives name, name in the paper's numbers if it is one of the
/// paper's datasets, and data.
pub fn datasets(data: &[(String, Option<&str>, &Interactions)], paper: &Paper) -> Table {
    let of_paper = data.iter().any(|(_, key, _)| key.is_some());
    let mut columns = vec![Column::new("dataset", 0)];
    for name in ["users", "items", "interactions"] {
        columns.push(Column::new(name, 0));
        columns.extend(of_paper.then(|| Column::new(format!("{name} paper"), 0)));
    }
    columns.extend([Column::new("density %", 3), Column::new("train", 0), Column::new("valid", 0)]);
    columns.extend([Column::new("test", 0), Column::new("Gini of popularity", 3)]);
    let mut table = Table::new("table1", "Table 1: the datasets", columns);
    for (name, key, data) in data {
        let profile = Profile::of(data);
        let count = |split| Cell::number(Some(data.count(split) as f64));
        let published = |size: &str| Cell::number(key.and_then(|key| paper.size(key, size)));
        let sizes = [
            ("users", f64::from(profile.users)),
            ("items", f64::from(profile.items)),
            ("interactions", profile.interactions as f64),
        ];
        let mut cells = vec![Cell::text(name)];
        for (size, ours) in sizes {
            cells.push(Cell::number(Some(ours)));
            cells.extend(of_paper.then(|| published(size)));
        }
        cells.push(Cell::number(Some(100.0 * profile.density)));
        cells.extend(crate::data::Split::ALL.map(count));
        cells.push(Cell::number(Some(profile.popularity_gini)));
        table.push(None, cells);
    }
    table
        .notes
        .push("Interactions are of all splits together. Density: interactions / (users x items).".into());
    if of_paper {
        table.notes.push("The paper calls the density sparsity.".into());
    }
    table
}

/// Size of each group of items and of users.
pub fn groups(data: &Interactions, grouping: &Grouping) -> Table {
    let columns = [("group", 0), ("members", 0), ("training interactions", 0)];
    let columns = columns.map(|(name, decimals)| Column::new(name, decimals)).to_vec();
    let mut table = Table::new("groups", "The groups of items and users", columns);
    let sides =
        [("items", &grouping.items, item_counts(data)), ("users", &grouping.users, user_counts(data))];
    for (side, groups, counts) in sides {
        let (sizes, totals) = (groups.sizes(), groups.totals(&counts));
        for (k, name) in groups.names.iter().enumerate() {
            table.push(
                (k == 0).then(|| side.to_owned()),
                vec![
                    Cell::text(name),
                    Cell::number(Some(f64::from(sizes[k]))),
                    Cell::number(Some(totals[k] as f64)),
                ],
            );
        }
    }
    table.notes.push(grouping.note.clone());
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Edges, Evaluator, InteractionsBuilder, Split, Tables};

    /// Two users of three items; one finds his item at first, the other at second place.
    fn results(seeds: u64) -> Results {
        let data = InteractionsBuilder::new(2, 3)
            .split(Split::Test, Edges::from_pairs([(0, 0), (1, 1)]))
            .build()
            .unwrap();
        let tables = Tables::new(1, &[1.0, 1.0], &[3.0, 2.0, 1.0], None, &[0; 3]).unwrap();
        let evaluation = Evaluator::new(&data, Split::Test).ks(&[1]).evaluate_tables(&tables).unwrap();
        let evaluations = (0..seeds).map(|_| evaluation.clone()).collect();
        Results { seeds: (0..seeds).collect(), evaluations, epochs: (0..seeds).map(|s| 10 + s / 2).collect() }
    }

    #[test]
    fn every_seed_has_its_value() {
        assert_eq!((per_seed(&[250]).as_str(), per_seed(&[250, 250]).as_str()), ("250", "250 (all)"));
        // As many as there are seeds: 250 twice is not 250 alone.
        assert_eq!(per_seed(&[250, 390, 250]), "250, 390, 250");
        let results = results(3);
        let entry = |results| Entry { heading: None, label: "a".into(), results, published: [None; 3] };
        let table = comparison("name", "Title", "system", &[entry(Some(&results))]);
        assert!(table.markdown().contains("| 0 (all) | 0 (all) | 10, 10, 11 |"), "{}", table.markdown());
        assert!(table.notes[0].contains("c and τ: ") && table.notes[0].contains("epoch: "));
        assert!(table.notes[0].contains("(all)"));
    }

    #[test]
    fn what_is_above_everything_published_is_named() {
        // One of two hits: 0.5 in every metric.
        let ours = results(1);
        let rows = [("MF, τ chosen", &ours)];
        let at = |hit_rate, ndcg| [Some(hit_rate), None, ndcg];
        let note = above_published(&rows, &[at(0.4, None), at(0.3, Some(0.49))]).unwrap();
        assert!(note.ends_with("(at most HR 0.400, NDCG 0.490): MF, τ chosen."), "{note}");
        // Not above in one of the metrics, not above the highest, nothing known.
        assert_eq!(above_published(&rows, &[at(0.4, Some(0.5))]), None);
        assert_eq!(above_published(&rows, &[at(0.4, None), at(0.6, None)]), None);
        assert_eq!(above_published(&rows, &[[None; 3]]), None);
    }
}
