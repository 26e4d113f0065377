//! `macr import`: text data to an interaction file.

use std::path::{Path, PathBuf};

use super::{
    output::{Output, counted, grouped},
    target::Target,
};
use crate::{
    data::{
        Interactions, Split,
        import::{self, FORMATS, Format, ImportOptions, ImportReport, Progress},
    },
    error::Result,
};

/// Import text data (CSV, TSV, RecBole, MovieLens, LightGCN lists; also .gz and .zst) into one file.
///
/// PATH is a file, a folder with train, test and perhaps valid files (train.txt, test.csv, NAME.train.inter), or
/// several files named so. Format, separator, header and columns are detected; options override what was detected.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File or folder to import, or several files.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// File to write.
    #[arg(long, short, alias = "out", value_name = "FILE.macr")]
    output: PathBuf,
    /// Format of the data [default: detected].
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(FORMATS.map(Format::name)))]
    format: Option<String>,
    /// What stands between the columns, such as `,` or `\t` [default: detected].
    #[arg(long, value_name = "TEXT")]
    separator: Option<String>,
    /// The first line names the columns [default: detected].
    #[arg(long, conflicts_with = "no_header")]
    header: bool,
    /// The first line is data.
    #[arg(long)]
    no_header: bool,
    /// Column of the users: a name, or a number from 1.
    #[arg(long, value_name = "COLUMN")]
    user: Option<String>,
    /// Column of the items.
    #[arg(long, value_name = "COLUMN")]
    item: Option<String>,
    /// Column of the ratings, or `none`.
    #[arg(long, value_name = "COLUMN")]
    rating: Option<String>,
    /// Column of the times (seconds since 1970, or dates such as 2023-01-05 12:00:00), or `none`.
    #[arg(long, value_name = "COLUMN")]
    timestamp: Option<String>,
    /// Leave out interactions rated below this.
    #[arg(long, value_name = "X")]
    min_rating: Option<f32>,
    /// Leave out users and items with fewer interactions, until every one left has as many.
    #[arg(long, value_name = "K")]
    k_core: Option<u32>,
    /// Leave out lines that cannot be read, and say how many.
    #[arg(long)]
    skip_bad_lines: bool,
    /// Overwrite FILE.macr if it holds other data.
    #[arg(long)]
    force: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// As [`import::import`], [`Target::new`] and [`Target::save`].
pub fn run(args: Args, output: &Output) -> Result<()> {
    let options = ImportOptions {
        format: args.format,
        separator: args.separator,
        header: match (args.header, args.no_header) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        },
        user: args.user,
        item: args.item,
        rating: args.rating,
        timestamp: args.timestamp,
        min_rating: args.min_rating,
        k_core: args.k_core,
        skip_bad_lines: args.skip_bad_lines,
    };
    let target = Target::new(&args.output, args.force)?;
    let bar = output.progress(0, "import");
    let (data, report) = import::import(&args.paths, &options, &|progress| match progress {
        Progress::Reading { done, total } => {
            bar.set_length(total);
            bar.set_position(done);
        }
        Progress::Numbering => bar.set_message("numbering"),
        Progress::Sorting => bar.set_message("sorting"),
        Progress::Filtering => bar.set_message("filtering"),
    })?;
    bar.finish_and_clear();

    target.save(&data)?;
    if args.json {
        output.json(&report);
    } else {
        print(&report, &data, &args.output, output);
    }
    Ok(())
}

/// Says what one should know of imported data.
pub fn note(remarks: &[String], output: &Output) {
    for remark in remarks {
        output.remark(format_args!("note: {remark}"));
    }
}

fn print(report: &ImportReport, data: &Interactions, path: &Path, output: &Output) {
    let how = if report.detected { "detected" } else { "as asked" };
    for file in &report.files {
        output.remark(format_args!(
            "{} ({}): {} ({how}), {}; {}",
            file.name,
            file.split,
            report.format,
            file.columns,
            counted(file.interactions, "interaction")
        ));
    }
    if report.skipped_lines > 0 {
        output.remark(format_args!(
            "left out {} that could not be read:",
            counted(report.skipped_lines, "line")
        ));
        for bad in &report.bad_lines {
            output.remark(format_args!(
                "  {}:{}:{}: expected {}, found {}",
                bad.file, bad.line, bad.column, bad.expected, bad.found
            ));
        }
    }
    if report.duplicates > 0 {
        output.remark(format_args!(
            "left out {} that had occurred before: each pair is kept once",
            counted(report.duplicates, "interaction")
        ));
    }
    let removed = &report.removed;
    if removed.interactions > 0 || removed.users > 0 || removed.items > 0 {
        output.remark(format_args!(
            "the filters left out {}, {}, {}",
            counted(removed.interactions, "interaction"),
            counted(removed.users, "user"),
            counted(removed.items, "item")
        ));
    }
    note(&report.remarks, output);
    let splits: Vec<String> = Split::ALL
        .into_iter()
        .filter(|&split| data.count(split) > 0)
        .map(|split| counted(data.count(split), &format!("{split} interaction")))
        .collect();
    output.result(format_args!(
        "{}: {}, {}, {} ({} bytes)",
        path.display(),
        counted(report.users, "user"),
        counted(report.items, "item"),
        splits.join(" + "),
        grouped(data.file_bytes())
    ));
}
