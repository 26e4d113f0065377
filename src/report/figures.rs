//! The figures of reports.

use super::{
    behaviour::{Behaviour, Grouping, group_means, list_length},
    figure::{Bars, Figure, Horizontal, Panel, Series},
    tables::{METRICS, Results},
};
use crate::{
    data::{
        Interactions, Split,
        popularity::{Groups, degrees},
    },
    eval::significance::mean,
};

/// A system as figures show it: means over its seeds.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Name in the legend.
    pub name: &'a str,
    /// Colour and marker.
    pub style: usize,
    /// How good its lists are.
    pub results: &'a Results,
    /// What it does, one for each seed.
    pub behaviours: &'a [Behaviour],
}

/// For every system the mean over seeds of the groups' means of `values`.
fn by_group<V>(groups: &Groups, shown: &[Shown<'_>], values: impl Fn(&Behaviour) -> V) -> Vec<Series>
where
    V: IntoIterator<Item = Option<f64>>,
{
    let series = |shown: &Shown<'_>| {
        let seeds: Vec<Vec<Option<f64>>> =
            shown.behaviours.iter().map(|behaviour| group_means(groups, values(behaviour))).collect();
        let point = |group: usize| {
            let values: Vec<f64> = seeds.iter().filter_map(|means| means[group]).collect();
            (group as f64, mean(&values))
        };
        let points = (0..groups.names.len()).map(point).collect();
        Series { name: shown.name.into(), style: Some(shown.style), points }
    };
    let drawn = |series: &Series| series.points.iter().any(|point| point.1.is_some());
    shown.iter().map(series).filter(drawn).collect()
}

fn items_axis(grouping: &Grouping) -> Horizontal {
    let label = "item group: training interactions of an item".into();
    Horizontal::Groups { label, names: grouping.items.names.clone() }
}

/// The groups' sizes as bars, unless all are of one size.
fn shares(groups: &Groups, label: &str) -> Option<Bars> {
    let sizes = groups.sizes();
    if sizes.iter().max()? - sizes.iter().min()? <= 1 {
        return None;
    }
    let total: u32 = sizes.iter().sum();
    let share = |&size: &u32| 100.0 * f64::from(size) / f64::from(total.max(1));
    Some(Bars { label: label.into(), values: sizes.iter().map(share).collect() })
}

/// How often items of each group are recommended, beside the test split; a panel for each list of systems, with its
/// title.
pub fn frequency(
    name: &str,
    title: &str,
    data: &Interactions,
    grouping: &Grouping,
    panels: &[(Option<&str>, &[Shown<'_>])],
) -> Figure {
    let test = degrees(data.by_item(Split::Test));
    let panel = |(title, shown): &(Option<&str>, &[Shown<'_>])| {
        let frequency =
            |b: &Behaviour| b.frequency.iter().map(|&f| Some(f64::from(f))).collect::<Vec<Option<f64>>>();
        let mut series = by_group(&grouping.items, shown, frequency);
        // As many places as the lists have, shared out as the test split's interactions are.
        let places = shown.iter().flat_map(|shown| shown.behaviours).next();
        let places: u64 = places.into_iter().flat_map(|b| &b.frequency).map(|&f| u64::from(f)).sum();
        let interactions: u64 = test.iter().map(|&n| u64::from(n)).sum();
        let share = places as f64 / interactions.max(1) as f64;
        let means = group_means(&grouping.items, test.iter().map(|&n| Some(share * f64::from(n))));
        let points = means.into_iter().enumerate().map(|(group, mean)| (group as f64, mean)).collect();
        series.push(Series { name: "as in the test split".into(), style: None, points });
        Panel {
            title: title.map(str::to_owned),
            x: items_axis(grouping),
            y: "lists that have an item (mean)".into(),
            series,
            bars: shares(&grouping.items, "share of the items (%)"),
        }
    };
    Figure {
        name: name.into(),
        title: title.into(),
        caption: format!(
            "Mean number of top-{} lists, of all users, that have an item of the group; dashed: what it would be if the \
             lists' places were shared out as the interactions of the test split are; bars: sizes of the groups, where these differ. {}",
            list_length(data.items()),
            grouping.note
        ),
        panels: panels.iter().map(panel).collect(),
    }
}

/// How well items of each group are found.
pub fn item_recall(
    name: &str,
    title: &str,
    grouping: &Grouping,
    panels: &[(Option<&str>, &[Shown<'_>])],
) -> Figure {
    let length = list_length(grouping.items.of.len() as u32);
    let panel = |(title, shown): &(Option<&str>, &[Shown<'_>])| Panel {
        title: title.map(str::to_owned),
        x: items_axis(grouping),
        y: format!("item recall @{length}"),
        series: by_group(&grouping.items, shown, |b| b.item_recall.clone()),
        bars: shares(&grouping.items, "share of the items (%)"),
    };
    Figure {
        name: name.into(),
        title: title.into(),
        caption: format!(
            "Item recall: the share of an item's test interactions whose user has it among the first {length}; mean over the \
             group's items that have any. Bars: sizes of the groups, where these differ. {}",
            grouping.note
        ),
        panels: panels.iter().map(panel).collect(),
    }
}

/// Which of the gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Side {
    Users,
    Items,
}

/// Mean gate of each group of users or items, with those of LightGCN's parameters before propagation beside.
pub fn gates(name: &str, title: &str, grouping: &Grouping, side: Side, shown: &[Shown<'_>]) -> Figure {
    let (groups, letter, label, share) = match side {
        Side::Users => (&grouping.users, "user", "user group: training interactions of a user", "users"),
        Side::Items => (&grouping.items, "item", "item group: training interactions of an item", "items"),
    };
    let optional = |values: &Option<Vec<f64>>| -> Vec<Option<f64>> {
        values.iter().flatten().map(|&value| Some(value)).collect()
    };
    let mut series = by_group(groups, shown, |b| match side {
        Side::Users => optional(&b.gates.users),
        Side::Items => optional(&b.gates.items),
    });
    let mut ego = by_group(groups, shown, |b| match side {
        Side::Users => optional(&b.gates.ego_users),
        Side::Items => optional(&b.gates.ego_items),
    });
    for series in &mut ego {
        series.name += ", before propagation";
        series.style = series.style.map(|style| style + shown.len());
    }
    series.append(&mut ego);
    Figure {
        name: name.into(),
        title: title.into(),
        caption: format!(
            "Mean over the group's {share} of the {letter} gate, the sigmoid of the {letter} branch. Branches of LightGCN are trained on the \
             propagated embeddings, unless `branch_input` is `ego`; the authors' program draws the gates of the parameters before propagation, so both \
             are shown. Bars: sizes of the groups, where these differ. {}",
            grouping.note
        ),
        panels: vec![Panel {
            title: None,
            x: Horizontal::Groups { label: label.into(), names: groups.names.clone() },
            y: format!("mean {letter} gate"),
            series,
            bars: shares(groups, &format!("share of the {share} (%)")),
        }],
    }
}

/// The three metrics over the length of the lists, a panel each.
pub fn over_k(name: &str, title: &str, shown: &[Shown<'_>]) -> Figure {
    let panel = |(metric, short): (&str, &str)| Panel {
        title: Some(short.into()),
        x: Horizontal::Numbers { label: "length of the lists, K".into() },
        y: format!("{short} @K"),
        series: shown
            .iter()
            .map(|shown| {
                let outcomes = shown.results.evaluations.first().into_iter().flat_map(|e| &e.results);
                let point = |k| (k as f64, mean(&shown.results.metric(metric, k)));
                let points = outcomes.map(|outcome| point(outcome.k)).collect();
                Series { name: shown.name.into(), style: Some(shown.style), points }
            })
            .collect(),
        bars: None,
    };
    Figure {
        name: name.into(),
        title: title.into(),
        caption: "Mean over the users with test interactions, and over seeds.".into(),
        panels: METRICS.into_iter().map(panel).collect(),
    }
}

/// The hit rate in lists of `length` over the counterfactual reference score, a line for each system.
pub fn over_c(name: &str, title: &str, length: usize, series: Vec<Series>) -> Figure {
    Figure {
        name: name.into(),
        title: title.into(),
        caption: format!(
            "HR @{length} on the test split of one model under each c, from one scoring pass; mean over seeds. The curve \
             chooses nothing: the model is the one of Table 2, whose epoch was chosen for that table's c, not anew for \
             each c."
        ),
        panels: vec![Panel {
            title: None,
            x: Horizontal::Numbers { label: "counterfactual reference score c".into() },
            y: format!("HR @{length}"),
            series,
            bars: None,
        }],
    }
}
