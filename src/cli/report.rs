//! `macr report`: what trained models do, as tables, figures and one page.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    memory,
    output::{Output, counted},
    reproduce::plan::grouping,
    run_folder::Run,
    system::Memory,
};
use crate::{
    data::{Split, synth::Truth},
    device::Resolved,
    error::Result,
    eval::Mask,
    report::{Figure, Models, Options, Table, tables::lengths},
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

/// Runs the subcommand.
///
/// # Errors
/// If models or data cannot be read or do not fit, or the report cannot be written.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let data = super::open_data(&args.data, output)?;
    let device = args.placement.device(output)?;
    let truth = args.truth.as_deref().map(Truth::load).transpose()?;
    let mask = if args.mask_valid { Mask::TrainAndValid } else { Mask::Train };
    let grouping = Some(grouping(&data)?);
    let options = Options { mask, device: &device, grouping, truth: truth.as_ref() };
    let mut models = Models::new(&data_name(&args.data), &data, options);
    let ks = lengths(data.items());
    for path in &args.runs {
        let run = Run::open(path)?;
        run.check(&data, &args.data, output)?;
        if matches!(device, Resolved::Cpu) {
            let (ranking, threads) = (run.model.metadata.ranking, rayon::current_num_threads() as u64);
            let need = memory::evaluating(&data, Split::Test, run.model.dim, &[ranking], &ks, threads);
            Memory::now().admit("the report", need, "give fewer runs or fewer --threads")?;
        }
        models.add(&run_name(path), &run.model)?;
    }
    let report = models.report()?;
    let files = report.write(&args.out)?;
    if args.json {
        output.json(&json!({
            "folder": args.out.display().to_string(),
            "tables": report.tables.iter().map(Table::json).collect::<Vec<_>>(),
            "figures": report.figures.iter().map(Figure::json).collect::<Vec<_>>(),
            "files": files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
        }));
    } else {
        for table in &report.tables {
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
