//! Finished runs as the paper's tables and figures, and the page.

use std::collections::HashMap;

use super::{
    plan::{Plan, Protocol, Training, grouping},
    targets::{SYSTEMS, System, Target, Variant},
};
use crate::{
    data::{Interactions, Split},
    device::Resolved,
    error::Result,
    eval::{Evaluator, Mask},
    model::{Model, Ranking},
    report::{
        Behaviour, Figure, Page, Table,
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
            measured.results.seeds.push(training.config.seed);
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
            let k = lengths(data.items()).into_iter().max().unwrap_or(1);
            let evaluation = evaluator().ks(&[k]).rankings(&rankings).evaluate(&model)?;
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

    fn published(&self, table: &str, dataset: usize, row: &str) -> [Option<f64>; 3] {
        let known = &self.plan.datasets[dataset];
        let value = |metric| self.paper.value(table, known.recipes, row, metric);
        METRICS.map(|(metric, _)| value(metric).filter(|_| known.of_paper))
    }

    /// What every caption says of how the numbers came about.
    fn protocol(&self, dataset: usize) -> String {
        let Plan { protocol, seeds, overrides, datasets, .. } = self.plan;
        let choice = match protocol {
            Protocol::Paper => {
                "Protocol of the authors' program: the epoch (and c and τ, where a grid is given) is chosen on the test \
                 split by HR @20; training items are left out of the lists."
            }
            Protocol::Clean => {
                "Clean protocol: the epoch, c and τ are chosen on a validation split by HR @20, which is taken \
                 item-uniformly from train where the data has none; the test split is looked at once; training and \
                 validation items are left out of its lists."
            }
        };
        let seeds = match seeds {
            1 => "Seed 0 alone: neighbouring evaluations of one run differ by up to .007 in HR on Adressa, so small \
                  differences say nothing."
                .to_owned(),
            _ => format!("Seeds 0 to {}; ± is the standard deviation over them.", seeds - 1),
        };
        let mut text = format!("{}. {choice}{} {seeds}", datasets[dataset].name, self.of_macr(dataset));
        if !datasets[dataset].of_paper {
            text += " This is no dataset of the paper; the settings are Adressa's.";
        }
        if !overrides.is_empty() {
            text +=
                &format!(" Settings changed by hand: {}.", overrides.to_string().trim().replace('\n', ", "));
        }
        text
    }

    /// How MACR pairs, and among which c is chosen, in the trainings on `dataset`.
    fn of_macr(&self, dataset: usize) -> String {
        let mut forms: Vec<String> = Vec::new();
        let trainings = self.plan.trainings.iter().filter(|t| t.dataset == dataset);
        for config in trainings.map(|t| &t.config).filter(|config| config.objective == "macr") {
            let c: Vec<String> = config.c.iter().map(f32::to_string).collect();
            let form = format!(
                "{} with c {} {}",
                config.pairing,
                if c.len() > 1 { "of" } else { "=" },
                c.join(", ")
            );
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        if forms.is_empty() { String::new() } else { format!(" MACR pairs over {}.", forms.join(" or ")) }
    }

    fn table1(&self) -> Table {
        let key = |of_paper: bool, recipes| of_paper.then_some(recipes);
        let datasets = self.plan.datasets.iter();
        let rows: Vec<_> = datasets.map(|d| (d.name.clone(), key(d.of_paper, d.recipes), &d.data)).collect();
        tables::datasets(&rows, &self.paper)
    }

    fn table2(&self, dataset: usize) -> Result<Vec<Table>> {
        let known = &self.plan.datasets[dataset];
        let variants = [Variant::plain(), Variant::adjusted(), Variant::negatives()];
        let mut entries = Vec::new();
        for (position, variant) in variants.iter().enumerate() {
            let mut backbone = "";
            for system in &SYSTEMS {
                let measured = self.of(dataset, system.recipe, variant);
                // Every system has its row once; under the corrections those that there are.
                if position > 0 && measured.is_none() {
                    continue;
                }
                let begins = std::mem::replace(&mut backbone, system.backbone) != system.backbone;
                let none = [None; 3];
                entries.push(Entry {
                    heading: begins.then(|| format!("{}, {}", system.backbone, variant.label)),
                    label: system.name.into(),
                    results: measured.map(|m| &m.results),
                    published: if position == 0 {
                        self.published("table2", dataset, system.recipe)
                    } else {
                        none
                    },
                });
            }
        }
        let name = format!("table2-{}", known.file);
        let title = format!("Table 2: fifteen systems on {}", known.name);
        let mut table = tables::comparison(&name, &title, "system", &entries);
        table.notes.push(self.protocol(dataset));
        table.notes.push(
            "The first two blocks are the paper's; the others are the same systems under two simple corrections that are not \
             in the paper and that any debiasing has to be held against. The best of each block is marked. Published \
             numbers that are not known to this project are missing."
                .into(),
        );
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
        table.notes.push(
            "The baselines have the settings of their recipes and are not tuned. ExpoMF has the constant of its authors' \
             program, ten iterations and an initial exposure of .01, on which its accuracy hangs; with the exact constant it \
             is much better (docs/methods.md). DICE is trained with BPR, as its authors' program is, with halves of 32."
                .into(),
        );
        table.notes.extend(self.at_end(dataset, &entries, &variants[1]));
        table.notes.extend(self.short_of_seeds(&entries));
        let lacking = self.plan.lacking(dataset);
        if !lacking.is_empty() {
            table.notes.push(format!("Not in this engine, and so missing: {}.", lacking.join(", ")));
        }
        let mut made = vec![table];
        let pairs = self.pairs(dataset);
        if !pairs.is_empty() {
            let name = format!("table2-{}-significance", known.file);
            let title = format!("Table 2, differences on {} and their p-values", known.name);
            let mut table = tables::significance(&name, &title, &pairs)?;
            if self.plan.protocol == Protocol::Paper {
                table.notes.push(
                    "Epochs, and τ among nine values where MACR has one c, were chosen on the very users that are compared \
                     here: the p-values do not account for it and favour what had more to choose from. The clean protocol \
                     has no such fault."
                        .into(),
                );
            }
            table.notes.push(self.protocol(dataset));
            made.push(table);
        }
        let name = format!("table2-{}-exposure", known.file);
        let title = format!("What the systems of Table 2 recommend on {}", known.name);
        // A block's heading goes to its first row that is left.
        let mut heading = None;
        let mut measured: Vec<Entry<'_>> = Vec::new();
        for mut entry in entries {
            heading = entry.heading.take().or(heading);
            if entry.results.is_some() {
                entry.heading = heading.take();
                measured.push(entry);
            }
        }
        if !measured.is_empty() {
            let mut table = tables::exposure(&name, &title, &measured);
            table.notes.extend(self.short_of_seeds(&measured));
            table.notes.push(self.protocol(dataset));
            made.push(table);
        }
        Ok(made)
    }

    /// Says whose c or τ is the largest of several that there were to choose from.
    fn at_end(&self, dataset: usize, entries: &[Entry<'_>], adjusted: &Variant) -> Vec<String> {
        let last_tau = adjusted.changes["tau"].as_array().and_then(|grid| grid.last()?.as_float());
        let grids = self.plan.trainings.iter().filter(|t| t.dataset == dataset).map(|t| &t.config.c);
        let last_c = grids.filter(|grid| grid.len() > 1).filter_map(|grid| grid.last().copied()).next();
        let last_tau = last_tau.map(|tau| tau as f32);
        let with = |of: &dyn Fn(&crate::eval::Outcome) -> f32, last: Option<f32>| -> Vec<&str> {
            let at_end = |entry: &&Entry<'_>| {
                let results =
                    entry.results.into_iter().flat_map(|r| r.evaluations.iter().map(|e| &e.results[0]));
                results.into_iter().any(|outcome| Some(of(outcome)) == last)
            };
            let mut labels: Vec<&str> =
                entries.iter().filter(at_end).map(|entry| entry.label.as_str()).collect();
            labels.dedup();
            labels
        };
        [("τ", with(&|outcome| outcome.tau, last_tau)), ("c", with(&|outcome| outcome.c, last_c))]
            .into_iter()
            .filter(|(_, labels)| !labels.is_empty())
            .map(|(name, labels)| {
                let labels = labels.join(", ");
                format!("{name} is at the end of its grid ({labels}): a larger one may be better.")
            })
            .collect()
    }

    /// Says which rows are of fewer seeds than were asked for.
    fn short_of_seeds(&self, entries: &[Entry<'_>]) -> Option<String> {
        let short: Vec<String> = entries
            .iter()
            .filter_map(|entry| Some((entry, entry.results?.seeds.len() as u64)))
            .filter(|&(_, count)| count < self.plan.seeds)
            .map(|(entry, count)| format!("{} ({count} of {})", entry.label, self.plan.seeds))
            .collect();
        (!short.is_empty()).then(|| format!("Not all trainings came to their end: {}.", short.join(", ")))
    }

    /// What is compared: the best with the runner-up, and MACR with its backbone, plain and corrected.
    fn pairs(&self, dataset: usize) -> Vec<Pair<'_>> {
        let mut pairs = Vec::new();
        let score = |results: &Results| {
            crate::eval::significance::mean(&results.metric("hit_rate", results.longest())).unwrap_or(0.0)
        };
        for backbone in ["MF", "LightGCN"] {
            let plain = |system: &System| {
                let results = &self.of(dataset, system.recipe, &Variant::plain())?.results;
                Some((system.name.to_owned(), results))
            };
            let mut systems: Vec<_> =
                SYSTEMS.iter().filter(|s| s.backbone == backbone).filter_map(plain).collect();
            systems.sort_by(|a, b| score(b.1).total_cmp(&score(a.1)));
            if let [a, b, ..] = &systems[..] {
                let heading = format!("{backbone}: the best and the runner-up, by HR");
                pairs.push(Pair { heading: Some(heading), a: a.clone(), b: b.clone() });
            }
            let find = |recipe: &'static str, variant: Variant, name: String| {
                self.of(dataset, recipe, &variant).map(|m| (name, &m.results))
            };
            let (macr, base) =
                if backbone == "MF" { ("macr_mf", "mf") } else { ("macr_lightgcn", "lightgcn") };
            let macr = find(macr, Variant::plain(), format!("MACR_{backbone}"));
            let rivals = [
                (Variant::plain(), "MACR and its backbone", String::from(backbone)),
                (Variant::adjusted(), "MACR and its backbone with τ chosen", format!("{backbone}, τ chosen")),
                (
                    Variant::negatives(),
                    "MACR and its backbone with negatives by popularity",
                    format!("{backbone}, negatives"),
                ),
            ];
            for (variant, heading, name) in rivals {
                if let (Some(a), Some(b)) = (&macr, find(base, variant, name)) {
                    let heading = format!("{backbone}: {heading}");
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
        let entries: Vec<Entry<'_>> = needs
            .iter()
            .map(|(recipe, variant)| Entry {
                heading: None,
                label: variant.label.clone(),
                results: self.of(dataset, recipe, variant).map(|m| &m.results),
                published: self.published(name, dataset, &variant.name),
            })
            .collect();
        let mut table = tables::comparison(name, &format!("{title} ({})", known.name), first, &entries);
        table.notes.push(self.protocol(dataset));
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
                figures::over_c("figure7", &format!("Figure 7: hit rate over c on {name}"), curves)
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
        figure.caption = format!("{} {}", figure.caption, self.protocol(dataset));
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
             the authors' program computes all_pairs (every score meets every gate of the batch). The recipes use all_pairs \
             with c = 40, which gives the published numbers on Adressa; a table that uses another form says so."
                .into(),
            "Under the paper's protocol the epoch, and c and τ where there is a grid, are chosen on the test split. Such \
             numbers are for comparison with the paper; they are too high as a forecast. The option --protocol clean chooses on a \
             validation split."
                .into(),
            "The paper's test splits have equally many interactions of each item, as far as there are so many. Under such a \
             split, correcting a plain model's scores by popularity is a strong rival of every debiasing method: the blocks with τ and with negatives by popularity \
             stand beside the paper's for that reason."
                .into(),
            "The user's gate is one positive constant for each user, and changes no ranking.".into(),
            "Published numbers come from datasets/paper.toml. A number that is not known to this project is shown as \
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
