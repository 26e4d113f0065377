//! What trained models do on one dataset: every table and figure, and the page, of `macr report`.

use std::path::{Path, PathBuf};

use super::{
    behaviour::{Behaviour, Grouping, group_means, list_length},
    figure::Figure,
    figures::{self, Shown, Side},
    files,
    page::Page,
    paper::Paper,
    table::{Cell, Column, Table},
    tables::{self, Entry, METRICS, Pair, Results, lengths},
    truth::{self, System},
};
use crate::{
    data::{Interactions, Split, synth::Truth},
    device::Resolved,
    error::{Error, Result},
    eval::{Evaluator, Mask},
    model::{Metadata, Model},
    numerals::counted,
};

/// How models are looked at.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// What is left out of the lists.
    pub mask: Mask,
    /// Where to rank; lists are the same.
    pub device: &'a Resolved,
    /// The groups of items and users; [`Grouping::quantiles`] unless given. `macr report` gives [`Grouping::adressa`]
    /// for Adressa.
    pub grouping: Option<Grouping>,
    /// The truth that generated data was drawn from: adds a table of how near the rankings are to it.
    pub truth: Option<&'a Truth>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { mask: Mask::Train, device: &Resolved::Cpu, grouping: None, truth: None }
    }
}

/// Models to be reported on. Each is measured when it is added and need not be kept.
///
/// ```
/// use macr::{Config, Trainer, data::synth, report::{Models, Options}};
/// let small = synth::Spec { users: 200, items: 50, interactions: 2000, valid_per_item: 2, ..Default::default() };
/// let (data, truth) = synth::generate(&small)?;
/// let options = Options { truth: Some(&truth), ..Options::default() };
/// let mut models = Models::new("a small world", &data, options);
/// for objective in ["bce", "macr"] {
///     let config = Config { objective: objective.into(), epochs: 2, batch_size: 64, ..Config::default() };
///     let (model, _) = Trainer::new(&data, config)?.fit(&mut ())?;
///     models.add(objective, &model)?;
/// }
/// let report = models.report()?;
/// assert_eq!(report.tables[1].rows.len(), 2);
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// let files = report.write(folder)?;
/// assert!(files.contains(&folder.join("index.html")));
/// # Ok::<(), macr::Error>(())
/// ```
#[derive(Debug)]
pub struct Models<'a> {
    name: String,
    data: &'a Interactions,
    grouping: Grouping,
    options: Options<'a>,
    measured: Vec<Measured>,
}

/// A model's name, and what was measured of it.
#[derive(Debug)]
struct Measured {
    name: String,
    metadata: Metadata,
    results: Results,
    behaviours: [Behaviour; 1],
    correlations: Option<Vec<Option<f64>>>,
}

/// What [`Models::report`] makes.
#[derive(Debug, Clone)]
pub struct Report {
    /// Of the data, how good and how popular the lists are, the groups of items, differences from the first model, and
    /// the truth.
    pub tables: Vec<Table>,
    /// Metrics over the length of the lists, recommendation frequency and item recall by popularity, and gates.
    pub figures: Vec<Figure>,
    /// All of these on one page.
    pub page: Page,
}

impl Report {
    /// Writes tables, figures and page into `folder` ([`files::write`]); returns the files.
    ///
    /// # Errors
    /// As [`files::write`].
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        files::write(self.tables.iter(), self.figures.iter(), &self.page, folder)
    }
}

impl<'a> Models<'a> {
    /// No models yet, on `data`, which has a test split and is called `name`.
    pub fn new(name: &str, data: &'a Interactions, options: Options<'a>) -> Self {
        let grouping = options.grouping.clone().unwrap_or_else(|| Grouping::quantiles(data));
        Models { name: name.into(), data, grouping, options, measured: Vec::new() }
    }

    /// Measures `model`, ranking in its own way. The first that is added is what the others are compared with. A name
    /// that another model has gets a star.
    ///
    /// # Errors
    /// [`Error::Data`] if the data has no test split, or model, data and truth differ in their users or items; if the
    /// device fails.
    pub fn add(&mut self, name: &str, model: &Model) -> Result<()> {
        let (data, Options { mask, device, truth, .. }) = (self.data, &self.options);
        let evaluator = Evaluator::new(data, Split::Test).ks(&lengths(data.items())).mask(*mask);
        let evaluation = evaluator.device(device).evaluate(model)?;
        let behaviour = Behaviour::of(model, data, &evaluation, *mask, device)?;
        let correlations = truth.map(|truth| truth::correlations(model, data, truth)).transpose()?;
        let mut name = name.to_owned();
        while self.measured.iter().any(|other| other.name == name) {
            name.push('*');
        }
        let metadata = model.metadata.clone();
        let results =
            Results { seeds: vec![metadata.seed], evaluations: vec![evaluation], epochs: Vec::new() };
        self.measured.push(Measured { name, metadata, results, behaviours: [behaviour], correlations });
        Ok(())
    }

    /// Everything about the models.
    ///
    /// # Errors
    /// [`Error::Data`] if there are none; [`Error::Io`] if a figure cannot be drawn.
    pub fn report(&self) -> Result<Report> {
        if self.measured.is_empty() {
            return Err(Error::data("a report needs a model", "add one first"));
        }
        let (tables, figures) = (self.tables()?, self.figures());
        let page = self.page(&tables, &figures)?;
        Ok(Report { tables, figures, page })
    }

    fn tables(&self) -> Result<Vec<Table>> {
        let entries: Vec<Entry<'_>> = self
            .measured
            .iter()
            .map(|measured| Entry {
                heading: None,
                label: measured.name.clone(),
                results: Some(&measured.results),
                published: [None; 3],
            })
            .collect();
        let k = list_length(self.data.items());
        let mut sizes = tables::datasets(&[(self.name.clone(), None, self.data)], &Paper::load()?);
        (sizes.name, sizes.title) = ("data".into(), "The data".into());
        let mut made = vec![
            sizes,
            tables::comparison("accuracy", &format!("How good the lists are @{k}"), "run", &entries),
            tables::exposure("exposure", "What is recommended", &entries),
            self.by_group(),
            tables::groups(self.data, &self.grouping),
        ];
        if let [first, others @ ..] = &self.measured[..]
            && !others.is_empty()
        {
            let pairs: Vec<Pair<'_>> = others
                .iter()
                .map(|other| Pair {
                    heading: None,
                    a: (other.name.clone(), &other.results),
                    b: (first.name.clone(), &first.results),
                })
                .collect();
            let title = "Differences from the first run, and their p-values";
            made.push(tables::significance("significance", title, &pairs)?);
        }
        if self.options.truth.is_some() {
            let system = |measured: &Measured| System {
                name: measured.name.clone(),
                backbone: measured.metadata.backbone.clone(),
                correlations: measured.correlations.clone().unwrap_or_default(),
            };
            made.push(truth::table(&self.measured.iter().map(system).collect::<Vec<_>>()));
        }
        Ok(made)
    }

    /// Item recall and recommendation frequency of each group of items.
    fn by_group(&self) -> Table {
        let recall = format!("item recall @{}", list_length(self.data.items()));
        let columns = [("run", 0), ("items", 0), (recall.as_str(), 4), ("lists that have an item", 1)];
        let columns = columns.map(|(name, decimals)| Column::new(name, decimals)).to_vec();
        let mut table = Table::new("popularity", "By the items' popularity", columns);
        let groups = &self.grouping.items;
        for Measured { name, behaviours: [behaviour], .. } in &self.measured {
            let recall = group_means(groups, behaviour.item_recall.iter().copied());
            let frequency = group_means(groups, behaviour.frequency.iter().map(|&f| Some(f64::from(f))));
            for (group, label) in groups.names.iter().enumerate() {
                let cells = vec![
                    Cell::text(name),
                    Cell::text(label),
                    Cell::number(recall[group]),
                    Cell::number(frequency[group]),
                ];
                table.push((group == 0).then(|| name.clone()), cells);
            }
        }
        table
            .notes
            .push(format!("Means over the items of a group; lists of all users. {}", self.grouping.note));
        table
    }

    fn figures(&self) -> Vec<Figure> {
        let shown: Vec<Shown<'_>> = self
            .measured
            .iter()
            .enumerate()
            .map(|(style, m)| Shown { name: &m.name, style, results: &m.results, behaviours: &m.behaviours })
            .collect();
        let (grouping, all) = (&self.grouping, [(None, &shown[..])]);
        let mut drawn = vec![
            figures::over_k("metrics", "Metrics over the length of the lists", &shown),
            figures::frequency("frequency", "How often items are recommended", self.data, grouping, &all),
            figures::item_recall("item-recall", "How well items are found", grouping, &all),
        ];
        for (name, title, side) in
            [("user-gates", "User gates", Side::Users), ("item-gates", "Item gates", Side::Items)]
        {
            let figure = figures::gates(name, title, grouping, side, &shown);
            drawn.extend((!figure.panels[0].series.is_empty()).then_some(figure));
        }
        drawn
    }

    fn page(&self, tables: &[Table], figures: &[Figure]) -> Result<Page> {
        let mut page = Page::new("What the models recommend");
        page.paragraph(&format!(
            "Made by macr {} of {} on data {} (checksum {}). All items are ranked; users without test \
             interactions are left out of the means; training items {}are left out of the lists.",
            env!("CARGO_PKG_VERSION"),
            counted(self.measured.len() as u64, "run"),
            self.name,
            self.data.checksum(),
            match self.options.mask {
                Mask::Train => "",
                Mask::TrainAndValid => "and validation items ",
            },
        ));
        page.section("models", "The models");
        let describe = |Measured { name, metadata: m, .. }: &Measured| {
            let pairing = m.pairing.as_ref().map_or(String::new(), |pairing| format!(", pairing {pairing}"));
            format!(
                "{name}: {} on {}{pairing}, seed {}, ranked with c = {}, τ = {}",
                m.objective, m.backbone, m.seed, m.ranking.c, m.ranking.tau
            )
        };
        page.list(&self.measured.iter().map(describe).collect::<Vec<_>>());
        let metrics: Vec<&str> = METRICS.iter().map(|(_, short)| *short).collect();
        page.section("tables", &format!("Tables: {} and what is behind them", metrics.join(", ")));
        tables.iter().for_each(|table| page.table(table));
        page.section("figures", "Figures");
        figures.iter().try_for_each(|figure| page.figure(figure))?;
        Ok(page)
    }
}
