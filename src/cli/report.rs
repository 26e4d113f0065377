//! `macr report`: what trained models do, as tables, figures and one page.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    memory,
    output::{Output, counted},
    reproduce::{plan::grouping, write},
    run_folder::Run,
    system::Memory,
};
use crate::{
    atomic_file::write_atomic,
    data::{Interactions, Split, synth::Truth},
    device::Resolved,
    error::{Error, Result},
    eval::{Evaluator, Mask},
    report::{
        Behaviour, Cell, Column, Figure, Grouping, Page, Table,
        figures::{self, Shown, Side},
        paper::Paper,
        tables::{self, Entry, METRICS, Pair, Results, lengths},
        truth,
    },
};

/// Report what trained models recommend: how good, how popular, to whom; as tables, figures and one page.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folders, or their model.safetensors; the first is what the others are compared with.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Interaction file with training items and a test split.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Truth of generated data, as `macr synth --truth` writes it: also report how near the rankings are to it.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Leave validation items out of the lists too.
    #[arg(long)]
    mask_valid: bool,
    #[command(flatten)]
    placement: super::Placement,
    /// Folder for tables, figures and the page.
    #[arg(long, short, value_name = "DIR", default_value = "runs/report")]
    out: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// A model and what was measured of it.
struct Subject {
    name: String,
    run: Run,
    results: Results,
    behaviours: [Behaviour; 1],
}

/// Runs the subcommand.
///
/// # Errors
/// If models or data cannot be read or do not fit, or the report cannot be written.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let data = super::open_data(&args.data, output)?;
    let device = args.placement.device(output)?;
    let truth = args.truth.as_deref().map(Truth::load).transpose()?;
    let mask = if args.mask_valid { Mask::TrainAndValid } else { Mask::Train };
    let mut subjects: Vec<Subject> = Vec::new();
    for path in &args.runs {
        let run = Run::open(path)?;
        run.check(&data, &args.data, output)?;
        let ks = lengths(data.items());
        if matches!(device, Resolved::Cpu) {
            let (ranking, threads) = (run.model.metadata.ranking, rayon::current_num_threads() as u64);
            let need = memory::evaluating(&data, Split::Test, run.model.dim, &[ranking], &ks, threads);
            Memory::now().admit("the report", need, "give fewer runs or fewer --threads")?;
        }
        let evaluator = Evaluator::new(&data, Split::Test).ks(&ks).mask(mask);
        let evaluation = evaluator.device(&device).evaluate(&run.model)?;
        let behaviour = Behaviour::of(&run.model, &data, &evaluation, mask, &device)?;
        let mut name = run_name(path);
        while subjects.iter().any(|other| other.name == name) {
            name.push('*');
        }
        let seeds = vec![run.model.metadata.seed];
        let results = Results { seeds, evaluations: vec![evaluation], epochs: Vec::new() };
        subjects.push(Subject { name, run, results, behaviours: [behaviour] });
    }
    let (tables, figures) = contents(&subjects, (&args.data, &data), truth.as_ref())?;
    fs::create_dir_all(&args.out).map_err(Error::io("create", &args.out))?;
    let page = page(&args, &subjects, &data, &tables, &figures)?;
    let mut files = write(tables.iter(), figures.iter(), &args.out)?;
    let path = args.out.join("index.html");
    write_atomic(&path, |w| w.write_all(page.html().as_bytes()))?;
    files.push(path);
    if args.json {
        output.json(&json!({
            "folder": args.out.display().to_string(),
            "tables": tables.iter().map(Table::json).collect::<Vec<_>>(),
            "figures": figures.iter().map(Figure::json).collect::<Vec<_>>(),
            "files": files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
        }));
    } else {
        for table in &tables {
            output.result(table.markdown());
        }
        output.result(format_args!(
            "{}; begin with {}",
            counted(files.len() as u64, "file"),
            args.out.join("index.html").display()
        ));
    }
    Ok(())
}

/// The folder's name, also where the model in it is named.
fn run_name(path: &Path) -> String {
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let name = folder.and_then(Path::file_name).or(path.file_name());
    name.map_or("model".into(), |name| name.to_string_lossy().into_owned())
}

/// The data's file or folder, without the file's ending.
fn data_name(path: &Path) -> String {
    path.file_stem().map_or("data".into(), |name| name.to_string_lossy().into_owned())
}

fn contents(
    subjects: &[Subject],
    (path, data): (&Path, &Interactions),
    truth: Option<&Truth>,
) -> Result<(Vec<Table>, Vec<Figure>)> {
    let k = lengths(data.items()).into_iter().max().unwrap_or(1);
    let shown: Vec<Shown<'_>> = subjects
        .iter()
        .enumerate()
        .map(|(style, s)| Shown { name: &s.name, style, results: &s.results, behaviours: &s.behaviours })
        .collect();
    let entries: Vec<Entry<'_>> = subjects
        .iter()
        .map(|subject| Entry {
            heading: None,
            label: subject.name.clone(),
            results: Some(&subject.results),
            published: [None; 3],
        })
        .collect();
    let grouping = grouping(data)?;
    let mut made = vec![
        tables::datasets(&[(data_name(path), None, data)], &Paper::load()?),
        tables::comparison("accuracy", &format!("How good the lists are @{k}"), "run", &entries),
        tables::exposure("exposure", "What is recommended", &entries),
        by_group(&grouping, subjects),
        tables::groups(data, &grouping),
    ];
    (made[0].name, made[0].title) = ("data".into(), "The data".into());
    if let [first, others @ ..] = subjects {
        let pairs: Vec<Pair<'_>> = others
            .iter()
            .map(|other| Pair {
                heading: None,
                a: (other.name.clone(), &other.results),
                b: (first.name.clone(), &first.results),
            })
            .collect();
        if !pairs.is_empty() {
            let title = "Differences from the first run, and their p-values";
            made.push(tables::significance("significance", title, &pairs)?);
        }
    }
    if let Some(truth) = truth {
        let systems: Vec<_> = subjects
            .iter()
            .map(|subject| {
                let (model, name) = (&subject.run.model, subject.name.clone());
                Ok((name, model.metadata.backbone.clone(), truth::correlations(model, data, truth)?))
            })
            .collect::<Result<_>>()?;
        made.push(truth::table(&systems));
    }
    let all = [(None, &shown[..])];
    let mut drawn = vec![
        figures::over_k("metrics", "Metrics over the length of the lists", &shown),
        figures::frequency("frequency", "How often items are recommended", data, &grouping, &all),
        figures::item_recall("item-recall", "How well items are found", &grouping, &all),
    ];
    for (name, title, side) in
        [("user-gates", "User gates", Side::Users), ("item-gates", "Item gates", Side::Items)]
    {
        let figure = figures::gates(name, title, &grouping, side, &shown);
        drawn.extend((!figure.panels[0].series.is_empty()).then_some(figure));
    }
    Ok((made, drawn))
}

/// Item recall and recommendation frequency of each group of items.
fn by_group(grouping: &Grouping, subjects: &[Subject]) -> Table {
    use crate::report::behaviour::group_means;
    let columns = [("run", 0), ("items", 0), ("item recall @20", 4), ("lists that have an item", 1)];
    let columns = columns.map(|(name, decimals)| Column::new(name, decimals)).to_vec();
    let mut table = Table::new("popularity", "By the items' popularity", columns);
    let groups = &grouping.items;
    for Subject { name, behaviours: [behaviour], .. } in subjects {
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
    table.notes.push(format!("Means over the items of a group; lists of all users. {}", grouping.note));
    table
}

fn page(
    args: &Args,
    subjects: &[Subject],
    data: &Interactions,
    tables: &[Table],
    figures: &[Figure],
) -> Result<Page> {
    let mut page = Page::new("What the models recommend");
    page.paragraph(&format!(
        "Made by macr {} of {} run{} on data {} (checksum {}). All items are ranked; users without test interactions are \
         left out of the means; training items {}are left out of the lists.",
        env!("CARGO_PKG_VERSION"),
        subjects.len(),
        if subjects.len() == 1 { "" } else { "s" },
        args.data.display(),
        data.checksum(),
        if args.mask_valid { "and validation items " } else { "" },
    ));
    page.section("models", "The models");
    let describe = |Subject { name, run, .. }: &Subject| {
        let m = &run.model.metadata;
        let pairing = m.pairing.as_ref().map_or(String::new(), |pairing| format!(", pairing {pairing}"));
        format!(
            "{name}: {} on {}{pairing}, seed {}, ranked with c = {}, τ = {}",
            m.objective, m.backbone, m.seed, m.ranking.c, m.ranking.tau
        )
    };
    page.list(&subjects.iter().map(describe).collect::<Vec<_>>());
    let metrics: Vec<&str> = METRICS.iter().map(|(_, short)| *short).collect();
    page.section("tables", &format!("Tables: {} and what is behind them", metrics.join(", ")));
    tables.iter().for_each(|table| page.table(table));
    page.section("figures", "Figures");
    figures.iter().try_for_each(|figure| page.figure(figure))?;
    Ok(page)
}
