//! Finished runs as the paper's tables and figures, and the page.

use std::collections::HashMap;

use super::{
    notes,
    plan::{Plan, Protocol, Training, grouping},
    targets::{SYSTEMS, Target, Variant},
};
use crate::{
    config::Config,
    data::{Interactions, Split},
    device::Resolved,
    error::Result,
    eval::{Evaluator, Mask},
    model::{Model, Ranking},
    report::{
        Behaviour, Figure, Page, Table,
        behaviour::list_length,
        figure::Series,
        figures::{self, Shown, Side},
        paper::Paper,
        tables::{self, Entry, METRICS, Pair, Results, lengths},
    },
};

/// Values of c in Figure 7.
const SWEEP: std::ops::RangeInclusive<u8> = 0..=30;
const SWEEP_STEP: f32 = 2.0;

/// What is made.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Tables, each with the target that it belongs to.
    pub tables: Vec<(Target, Table)>,
    /// Figures.
    pub figures: Vec<(Target, Figure)>,
}

/// What was measured of one recipe and variant.
#[derive(Debug, Default)]
struct Measured {
    results: Results,
    behaviours: Vec<Behaviour>,
    /// For every seed, hit rate under each c.
    over_c: Vec<Vec<f64>>,
    /// Whether c and τ were, for some seed, the largest of several that there were to choose from.
    at_end: [bool; 2],
}

/// A row of a table with what is said of it in notes.
struct Line<'a> {
    /// Its name in notes, where blocks have rows of the same label.
    name: String,
    measured: Option<&'a Measured>,
    entry: Entry<'a>,
}

impl<'a> Line<'a> {
    fn new(name: String, label: &str, measured: Option<&'a Measured>, published: [Option<f64>; 3]) -> Self {
        let results = measured.map(|m| &m.results);
        Line { name, measured, entry: Entry { heading: None, label: label.into(), results, published } }
    }
}

/// Measures finished runs, each once.
pub struct Reporter<'a> {
    plan: &'a Plan,
    device: &'a Resolved,
    paper: Paper,
    measured: HashMap<(usize, &'static str, String), Measured>,
}

impl<'a> Reporter<'a> {
    /// For the finished runs of `plan`, ranking on `device`.
    ///
    /// # Errors
    /// If the published numbers cannot be read.
    pub fn new(plan: &'a Plan, device: &'a Resolved) -> Result<Self> {
        Ok(Reporter { plan, device, paper: Paper::load()?, measured: HashMap::new() })
    }

    /// Every table and figure that the plan asks for.
    ///
    /// # Errors
    /// If a model cannot be read or evaluated.
    pub fn outputs(mut self) -> Result<Outputs> {
        for target in self.plan.targets.clone() {
            let on = if target == Target::Table2 {
                0..self.plan.datasets.len()
            } else {
                self.plan.main..self.plan.main + 1
            };
            for dataset in on {
                for (recipe, variant) in target.needs() {
                    self.measure(dataset, recipe, &variant, target)?;
                }
            }
        }
        let mut outputs = Outputs::default();
        for &target in &self.plan.targets {
            match target {
                Target::Table1 => outputs.tables.push((target, self.table1())),
                Target::Table2 => {
                    for dataset in 0..self.plan.datasets.len() {
                        for table in self.table2(dataset)? {
                            outputs.tables.push((target, table));
                        }
                    }
                }
                Target::Table3 | Target::Table4 | Target::Table5 => {
                    outputs.tables.push((target, self.variants(target)))
                }
                _ => outputs.figures.extend(self.figure(target)?.map(|figure| (target, figure))),
            }
        }
        Ok(outputs)
    }

    fn measure(
        &mut self,
        dataset: usize,
        recipe: &'static str,
        variant: &Variant,
        target: Target,
    ) -> Result<()> {
        let key = (dataset, recipe, variant.name.clone());
        let mut measured = self.measured.remove(&key).unwrap_or_default();
        let plan = self.plan;
        let trainings = (0..plan.seeds).filter_map(|seed| plan.find(dataset, recipe, variant, seed));
        for (position, training) in trainings.filter(|training| training.record().is_some()).enumerate() {
            let has_behaviour = measured.behaviours.len() > position || !target.looks_at_behaviour();
            let has_sweep = measured.over_c.len() > position || target != Target::Figure7;
            if measured.results.evaluations.len() > position && has_behaviour && has_sweep {
                continue;
            }
            let of_plan = &plan.datasets[dataset];
            let carved = of_plan.carved(&training.config)?;
            let data = carved.as_ref().map_or(&of_plan.data, |(data, _)| data);
            self.look(training, data, position, &mut measured, has_behaviour, has_sweep)?;
        }
        if !measured.results.evaluations.is_empty() {
            self.measured.insert(key, measured);
        }
        Ok(())
    }

    fn look(
        &self,
        training: &Training,
        data: &Interactions,
        position: usize,
        measured: &mut Measured,
        has_behaviour: bool,
        has_sweep: bool,
    ) -> Result<()> {
        let model = Model::load(&training.folder)?;
        let mask = self.mask();
        let evaluator =
            || Evaluator::new(data, Split::Test).ks(&lengths(data.items())).mask(mask).device(self.device);
        if measured.results.evaluations.len() <= position {
            let Config { c, tau, seed, .. } = &training.config;
            let Ranking { c: chosen_c, tau: chosen_tau } = model.metadata.ranking;
            for (at_end, (grid, chosen)) in measured.at_end.iter_mut().zip([(c, chosen_c), (tau, chosen_tau)])
            {
                *at_end |= grid.len() > 1 && grid.iter().all(|&value| value <= chosen);
            }
            measured.results.seeds.push(*seed);
            measured.results.evaluations.push(evaluator().evaluate(&model)?);
            measured.results.epochs.extend(training.record().map(|record| record.best_epoch));
        }
        if !has_behaviour {
            let evaluation = &measured.results.evaluations[position];
            measured.behaviours.push(Behaviour::of(&model, data, evaluation, mask, self.device)?);
        }
        if !has_sweep {
            let tau = model.metadata.ranking.tau;
            let rankings: Vec<Ranking> =
                SWEEP.map(|step| Ranking { c: SWEEP_STEP * f32::from(step), tau }).collect();
            let evaluation =
                evaluator().ks(&[list_length(data.items())]).rankings(&rankings).evaluate(&model)?;
            let rates = evaluation.results.iter().filter_map(|outcome| outcome.metrics.get("hit_rate"));
            measured.over_c.push(rates.collect());
        }
        Ok(())
    }

    fn mask(&self) -> Mask {
        match self.plan.protocol {
            Protocol::Paper => Mask::Train,
            Protocol::Clean => Mask::TrainAndValid,
        }
    }

    fn of(&self, dataset: usize, recipe: &'static str, variant: &Variant) -> Option<&Measured> {
        self.measured.get(&(dataset, recipe, variant.name.clone()))
    }

    /// What is published for a row, where it compares with the numbers beside it: it was chosen on the test split.
    fn published(&self, table: &str, dataset: usize, row: &str) -> [Option<f64>; 3] {
        let known = &self.plan.datasets[dataset];
        let comparable = known.of_paper && self.plan.protocol == Protocol::Paper;
        let value = |metric| self.paper.value(table, known.recipes, row, metric);
        METRICS.map(|(metric, _)| value(metric).filter(|_| comparable))
    }

    fn table1(&self) -> Table {
        let key = |of_paper: bool, recipes| of_paper.then_some(recipes);
        let datasets = self.plan.datasets.iter();
        let rows: Vec<_> = datasets.map(|d| (d.name.clone(), key(d.of_paper, d.recipes), &d.data)).collect();
        tables::datasets(&rows, &self.paper)
    }

    fn table2(&self, dataset: usize) -> Result<Vec<Table>> {
        let known = &self.plan.datasets[dataset];
        let mut lines = Vec::new();
        for variant in [Variant::plain()].into_iter().chain(Variant::corrections()) {
            let mut backbone = "";
            let plain = variant == Variant::plain();
            for system in &SYSTEMS {
                let measured = self.of(dataset, system.recipe, &variant);
                // Every system has its row once; under the corrections those that there are.
                if !plain && measured.is_none() {
                    continue;
                }
                let published =
                    if plain { self.published("table2", dataset, system.recipe) } else { [None; 3] };
                let mut line = Line::new(variant.of(system.name), system.name, measured, published);
                if std::mem::replace(&mut backbone, system.backbone) != system.backbone {
                    line.entry.heading = Some(format!("{}, {}", system.backbone, variant.label));
                }
                lines.push(line);
            }
        }
        let name = format!("table2-{}", known.file);
        let title = format!("Table 2: fifteen systems on {}", known.name);
        let entries: Vec<Entry<'_>> = lines.iter().map(|line| line.entry.clone()).collect();
        let mut table = tables::comparison(&name, &title, "system", &entries);
        table.notes.push(notes::protocol(self.plan, dataset));
        table.notes.push(format!(
            "The first two blocks are the paper's; the others are the same systems under simple corrections that are not in \
             the paper and that any debiasing has to be held against.{} The best of each block is marked.{}",
            notes::of_corrections(self.plan, dataset),
            if entries.iter().any(|entry| entry.published.iter().any(Option::is_some)) {
                " Published numbers that are not known to this project are missing."
            } else {
                ""
            }
        ));
        let rows = lines.iter().filter_map(|line| Some((line.name.as_str(), line.entry.results?)));
        let published: Vec<_> = entries.iter().map(|entry| entry.published).collect();
        table.notes.extend(tables::above_published(&rows.collect::<Vec<_>>(), &published));
        table.notes.extend(notes::not_compared(self.plan, dataset));
        for system in &SYSTEMS {
            if let [Some(hit_rate), Some(recall), Some(ndcg)] =
                self.published("authors", dataset, system.recipe)
            {
                table.notes.push(format!(
                    "{} in the README of the authors' repository (c = 40): HR {hit_rate:.4}, Recall {recall:.4}, NDCG \
                     {ndcg:.4}.",
                    system.name
                ));
            }
        }
        table.notes.push(notes::of_baselines(self.plan, dataset));
        table.notes.extend(at_end(&lines));
        table.notes.extend(self.short_of_seeds(&lines));
        let lacking = self.plan.lacking(dataset);
        if !lacking.is_empty() {
            table.notes.push(format!("Not trained, and so missing: {}.", lacking.join(", ")));
        }
        let mut made = vec![table];
        let pairs = self.pairs(dataset);
        if !pairs.is_empty() {
            let name = format!("table2-{}-significance", known.file);
            let title = format!("Table 2, differences on {} and their p-values", known.name);
            let mut table = tables::significance(&name, &title, &pairs)?;
            if self.plan.protocol == Protocol::Paper {
                table.notes.push(
                    "Epochs, and c and τ where there were several, were chosen on the very users that are compared here: the \
                     p-values do not account for it and favour what had more to choose from. The clean protocol has no such \
                     fault."
                        .into(),
                );
            }
            table.notes.push(notes::protocol(self.plan, dataset));
            made.push(table);
        }
        let name = format!("table2-{}-exposure", known.file);
        let title = format!("What the systems of Table 2 recommend on {}", known.name);
        // A block's heading goes to its first row that is left.
        let mut heading = None;
        lines.retain_mut(|line| {
            heading = line.entry.heading.take().or(heading.take());
            let measured = line.measured.is_some();
            if measured {
                line.entry.heading = heading.take();
            }
            measured
        });
        if !lines.is_empty() {
            let entries: Vec<Entry<'_>> = lines.iter().map(|line| line.entry.clone()).collect();
            let mut table = tables::exposure(&name, &title, &entries);
            table.notes.extend(self.short_of_seeds(&lines));
            table.notes.push(notes::protocol(self.plan, dataset));
            made.push(table);
        }
        Ok(made)
    }

    /// Says which rows are of fewer seeds than were asked for.
    fn short_of_seeds(&self, lines: &[Line<'_>]) -> Option<String> {
        let short: Vec<String> = lines
            .iter()
            .filter_map(|line| Some((line, line.measured?.results.seeds.len() as u64)))
            .filter(|&(_, count)| count < self.plan.seeds)
            .map(|(line, count)| format!("{} ({count} of {})", line.name, self.plan.seeds))
            .collect();
        (!short.is_empty()).then(|| format!("Not all trainings came to their end: {}.", short.join("; ")))
    }

    /// What is compared: MACR with the best of the others, and with its backbone, plain and corrected.
    fn pairs(&self, dataset: usize) -> Vec<Pair<'_>> {
        let mut pairs = Vec::new();
        let score = |results: &Results| {
            crate::eval::significance::mean(&results.metric("hit_rate", results.longest())).unwrap_or(0.0)
        };
        for backbone in ["MF", "LightGCN"] {
            let find = |recipe: &'static str, variant: Variant, name: String| {
                self.of(dataset, recipe, &variant).map(|m| (name, &m.results))
            };
            let (macr, base) =
                if backbone == "MF" { ("macr_mf", "mf") } else { ("macr_lightgcn", "lightgcn") };
            let others = SYSTEMS.iter().filter(|s| s.backbone == backbone && s.recipe != macr);
            let others = others.filter_map(|s| find(s.recipe, Variant::plain(), s.name.to_owned()));
            let best = others.max_by(|a, b| score(a.1).total_cmp(&score(b.1)));
            let macr = find(macr, Variant::plain(), format!("MACR_{backbone}"));
            if let (Some(a), Some(b)) = (&macr, best) {
                let heading = format!("{backbone}: MACR and the best of the others, by HR");
                pairs.push(Pair { heading: Some(heading), a: a.clone(), b });
            }
            for variant in [Variant::plain()].into_iter().chain(Variant::corrections()) {
                let heading = match variant.changes.is_empty() {
                    true => format!("{backbone}: MACR and its backbone"),
                    false => format!("{backbone}: MACR and its backbone, {}", variant.label),
                };
                let name = variant.of(backbone);
                if let (Some(a), Some(b)) = (&macr, find(base, variant, name)) {
                    pairs.push(Pair { heading: Some(heading), a: a.clone(), b });
                }
            }
        }
        pairs
    }

    fn variants(&self, target: Target) -> Table {
        let dataset = self.plan.main;
        let known = &self.plan.datasets[dataset];
        let (name, title, first) = match target {
            Target::Table3 => ("table3", "Table 3: MACR_MF without its parts", "variant"),
            Target::Table4 => ("table4", "Table 4: MACR_MF over α, with β = 1e-3", "α"),
            _ => ("table5", "Table 5: MACR_MF over β, with α = 1e-3", "β"),
        };
        let needs = target.needs();
        let lines: Vec<Line<'_>> = needs
            .iter()
            .map(|(recipe, variant)| {
                let (measured, label) = (self.of(dataset, recipe, variant), &variant.label);
                Line::new(label.clone(), label, measured, self.published(name, dataset, &variant.name))
            })
            .collect();
        let entries: Vec<Entry<'_>> = lines.iter().map(|line| line.entry.clone()).collect();
        let mut table = tables::comparison(name, &format!("{title} ({})", known.name), first, &entries);
        table.notes.push(notes::protocol(self.plan, dataset));
        table.notes.extend(notes::not_compared(self.plan, dataset));
        table.notes.extend(at_end(&lines));
        table.notes.extend(self.short_of_seeds(&lines));
        if target == Target::Table3 {
            table.notes.push("Without the item branch c has no effect on a ranking.".into());
        }
        table
    }

    fn figure(&self, target: Target) -> Result<Option<Figure>> {
        let (dataset, plain) = (self.plan.main, Variant::plain());
        let known = &self.plan.datasets[dataset];
        let shown = |recipe: &'static str| -> Option<Shown<'_>> {
            let (position, name) = match recipe {
                "mf" => (0, "MF"),
                "macr_mf" => (1, "MACR_MF"),
                "lightgcn" => (2, "LightGCN"),
                _ => (3, "MACR_LightGCN"),
            };
            let measured = self.of(dataset, recipe, &plain)?;
            let behaviours = &measured.behaviours;
            Some(Shown { name, style: position, results: &measured.results, behaviours })
        };
        let of = |recipes: &[&'static str]| recipes.iter().filter_map(|&r| shown(r)).collect::<Vec<_>>();
        let (mf, lightgcn) = (of(&["mf", "macr_mf"]), of(&["lightgcn", "macr_lightgcn"]));
        let both = of(&["mf", "lightgcn"]);
        let gated = of(&["macr_mf", "macr_lightgcn"]);
        let everything = of(&["mf", "macr_mf", "lightgcn", "macr_lightgcn"]);
        if everything.is_empty() {
            return Ok(None);
        }
        let mut grouping = grouping(&known.data)?;
        if self.plan.protocol == Protocol::Clean && known.data.count(Split::Valid) == 0 {
            grouping.note += " Groups count training interactions before the validation split was taken.";
        }
        let name = &known.name;
        let panels: Vec<(Option<&str>, &[Shown<'_>])> =
            [(Some("MF"), &mf[..]), (Some("LightGCN"), &lightgcn[..])]
                .into_iter()
                .filter(|p| !p.1.is_empty())
                .collect();
        let mut figure = match target {
            Target::Figure1 => {
                let title = format!("Figure 1: popularity and recommendation frequency on {name}");
                figures::frequency("figure1", &title, &known.data, &grouping, &[(None, &both)])
            }
            Target::Figure7 => {
                let curves = gated.iter().filter_map(|shown| {
                    let recipe = if shown.style == 1 { "macr_mf" } else { "macr_lightgcn" };
                    let seeds = &self.of(dataset, recipe, &plain)?.over_c;
                    let point = |step: u8| {
                        let rates: Vec<f64> = seeds.iter().map(|rates| rates[usize::from(step)]).collect();
                        let mean = crate::eval::significance::mean(&rates);
                        (f64::from(SWEEP_STEP) * f64::from(step), mean)
                    };
                    let points = SWEEP.map(point).collect();
                    Some(Series { name: shown.name.into(), style: Some(shown.style), points })
                });
                let curves: Vec<Series> = curves.collect();
                let title = format!("Figure 7: hit rate over c on {name}");
                figures::over_c("figure7", &title, list_length(known.data.items()), curves)
            }
            Target::Figure8 => {
                let title = format!("Figure 8: recommendation frequency with and without MACR on {name}");
                figures::frequency("figure8", &title, &known.data, &grouping, &panels)
            }
            Target::Figure9 => {
                let title = format!("Figure 9: item recall by popularity on {name}");
                figures::item_recall("figure9", &title, &grouping, &panels)
            }
            Target::Figure10 => {
                let title = format!("Figure 10: user gates by activity on {name}");
                figures::gates("figure10", &title, &grouping, Side::Users, &gated)
            }
            Target::Figure11 => {
                let title = format!("Figure 11: item gates by popularity on {name}");
                figures::gates("figure11", &title, &grouping, Side::Items, &gated)
            }
            _ => figures::over_k(
                "figure12",
                &format!("Figure 12: metrics over the length of the lists on {name}"),
                &everything,
            ),
        };
        figure.caption = format!("{} {}", figure.caption, notes::protocol(self.plan, dataset));
        Ok(Some(figure))
    }

    /// The page of `outputs`.
    ///
    /// # Errors
    /// If a figure cannot be drawn.
    pub fn page(plan: &Plan, outputs: &Outputs, costs: &Table) -> Result<Page> {
        let paper = Paper::load()?;
        let mut page = Page::new("MACR, reproduced");
        let protocol = match plan.protocol {
            Protocol::Paper => "the paper's protocol",
            Protocol::Clean => "the clean protocol",
        };
        let names: Vec<&str> = plan.datasets.iter().map(|d| d.name.as_str()).collect();
        page.paragraph(&format!(
            "Tables and figures of “Model-Agnostic Counterfactual Reasoning for Eliminating Popularity Bias in Recommender \
             System” (Wei et al., KDD 2021), computed by macr {} on {} under {protocol}, {} seed{}. Every number that is not \
             marked as published is a result of the command that made this page.",
            env!("CARGO_PKG_VERSION"),
            names.join(", "),
            plan.seeds,
            if plan.seeds == 1 { "" } else { "s" },
        ));
        page.section("read", "What to know before reading");
        page.list(&[
            "MACR's main loss exists in two forms. The paper prints rows (equation 7: a match score meets its own gates); \
             the authors' program computes all_pairs (every score meets every gate of the batch), with c = 40. What was \
             trained for this page, and with which c, stands under each table and figure."
                .into(),
            "Under the paper's protocol the epoch, and c and τ where there is a grid, are chosen on the test split. Such \
             numbers are for comparison with the paper; they are too high as a forecast. The clean protocol (--protocol \
             clean) chooses on a validation split."
                .into(),
            "The paper's test splits have equally many interactions of each item, as far as there are so many. Under such a \
             split, correcting a plain model's scores by popularity is a strong rival of every debiasing method: the blocks with τ and with negatives by popularity \
             stand beside the paper's for that reason."
                .into(),
            "The user's gate is one positive constant for each user, and changes no ranking. A row of a batch has one \
             positive and one negative item, so L_U, which asks the gate for the mean of their labels, draws it to 1/2 and \
             carries no signal of activity: a trend in Figure 10, rising or falling, comes through the main loss. \
             L_I does carry popularity, \
             since an item is as often a positive as it is popular."
                .into(),
            "Published numbers are from the sources named below. A number that is not known to this project is shown as \
             missing, never guessed."
                .into(),
        ]);
        for source in ["paper", "authors"] {
            if let Some((citation, address)) = paper.source(source) {
                page.paragraph(&format!("Source of published numbers: {citation}, {address}."));
            }
        }
        let mut last = None;
        for &target in &plan.targets {
            let heading = match target {
                Target::Table1 => "The datasets (Table 1)",
                Target::Table2 => "Fifteen systems (Table 2)",
                Target::Table3 => "Ablations (Table 3)",
                Target::Table4 | Target::Table5 => "The weights of the branches (Tables 4 and 5)",
                Target::Figure1 => "The bias (Figure 1)",
                Target::Figure7 => "The reference score c (Figure 7)",
                Target::Figure8 | Target::Figure9 => "What debiasing changes (Figures 8 and 9)",
                Target::Figure10 | Target::Figure11 => "The gates (Figures 10 and 11)",
                Target::Figure12 | Target::All => "The length of the lists (Figure 12)",
            };
            if last.replace(heading) != Some(heading) {
                page.section(&format!("{target:?}").to_lowercase(), heading);
            }
            for (_, table) in outputs.tables.iter().filter(|(of, _)| *of == target) {
                page.table(table);
            }
            for (_, figure) in outputs.figures.iter().filter(|(of, _)| *of == target) {
                page.figure(figure)?;
            }
        }
        if !plan.missing.is_empty() {
            page.section("missing", "What is missing");
            let reason = |m: &super::plan::Missing| format!("{}, {}: {}", m.dataset, m.system, m.reason);
            page.list(&plan.missing.iter().map(reason).collect::<Vec<_>>());
        }
        page.section("costs", "The trainings and what they cost");
        page.table(costs);
        Ok(page)
    }
}

/// Says whose c or τ is the largest of several that there were to choose from.
fn at_end(lines: &[Line<'_>]) -> Vec<String> {
    let of = |(position, name): (usize, &str)| {
        let at_end = lines.iter().filter(|line| line.measured.is_some_and(|m| m.at_end[position]));
        let names: Vec<&str> = at_end.map(|line| line.name.as_str()).collect();
        let names = (!names.is_empty()).then(|| names.join("; "))?;
        Some(format!("{name} is at the end of its grid ({names}): a larger one may be better."))
    };
    ["c", "τ"].into_iter().enumerate().filter_map(of).collect()
}
