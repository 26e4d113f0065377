//! An import from beginning to end.

use std::path::Path;

use rayon::prelude::*;
use serde_json::json;

use super::{
    FORMATS, Format, Grammar, Rows,
    files::{Source, find},
    lightgcn,
    options::{ImportOptions, Observer, Progress},
    read::{Job, Outcome, read},
    report::{FileReport, ImportReport, Removed},
    text::{Head, Opened, Text, open},
};
use crate::{
    data::{Interactions, InteractionsBuilder, Split, filter},
    error::{Error, Result},
    numerals::counted,
};

/// Version of the importer: goes up when the same text gives other data, so that cached data is made anew.
pub const VERSION: u32 = 2;

/// Imports a file, a folder with split files, or several files; see [`find`] for which file becomes which split.
///
/// Users and items are numbered by first appearance (train before valid before test), whatever the number of threads;
/// lists of dense integers keep their numbers.
///
/// ```
/// use macr::{Split, data::import::{ImportOptions, import}};
/// let folder = tempfile::tempdir().unwrap();
/// let file = folder.path().join("ratings.csv");
/// std::fs::write(&file, "user,item,rating\nann,tea,5\nbob,tea,3\nann,milk,4\n").unwrap();
/// let (data, report) = import(&[file], &ImportOptions::default(), &|_| ())?;
/// assert_eq!((data.users(), data.items(), data.count(Split::Train)), (2, 2, 3));
/// assert_eq!((report.format, &*data.item_ids().get(1)), ("csv", "milk"));
/// # Ok::<(), macr::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if a file cannot be read; [`Error::File`] if one is no text; [`Error::Parse`] at the first line that
/// does not have the form of the format; [`Error::Data`] if nothing is left; [`Error::Config`] or [`Error::Unknown`] if
/// an option does not fit the data.
pub fn import(
    paths: &[impl AsRef<Path>],
    options: &ImportOptions,
    observer: Observer<'_>,
) -> Result<(Interactions, ImportReport)> {
    import_sources(&find(paths)?, options, observer)
}

/// Imports files whose splits are known; see [`import`].
///
/// # Errors
/// As [`import`].
pub fn import_sources(
    sources: &[Source],
    options: &ImportOptions,
    observer: Observer<'_>,
) -> Result<(Interactions, ImportReport)> {
    import_opened(open(sources)?, options, observer)
}

/// Imports files that are open; see [`import`].
pub(crate) fn import_opened(
    opened: Vec<Opened>,
    options: &ImportOptions,
    observer: Observer<'_>,
) -> Result<(Interactions, ImportReport)> {
    let texts: Vec<Text> = opened.into_par_iter().map(Text::new).collect::<Result<_>>()?;
    let Some(first) = texts.first() else {
        return Err(Error::data("nothing to import", "name a file or a folder"));
    };
    let format = match &options.format {
        Some(name) => FORMATS
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| Error::unknown("format", name, FORMATS.map(Format::name)))?,
        None => detect(first.head(), options)?,
    };
    let jobs: Vec<Job> = texts
        .into_iter()
        .map(|text| {
            let grammar = format.grammar(&text.head(), options)?;
            Ok(Job { text, grammar })
        })
        .collect::<Result<_>>()?;
    if let Some(least) = options.min_rating
        && jobs.iter().any(|job| !matches!(&job.grammar, Grammar::Rows(Rows { rating: Some(_), .. })))
    {
        return Err(Error::config(
            "min-rating",
            least,
            "the data has no ratings",
            "leave the option out, or name the column with --rating",
        ));
    }

    let numbers = jobs.iter().all(|job| job.grammar == Grammar::Lists);
    let Outcome { parts, users, items, skipped, bad_lines } =
        read(&jobs, options.skip_bad_lines, numbers, observer)?;
    let files: Vec<FileReport> = jobs
        .iter()
        .zip(&parts)
        .map(|(job, parts)| FileReport {
            name: job.text.source().name(),
            split: job.text.source().split,
            bytes: job.text.len() as u64,
            interactions: parts.iter().map(|part| part.len() as u64).sum(),
            columns: describe(&job.grammar, &job.text.head()),
        })
        .collect();
    drop(jobs);
    let given: u64 = files.iter().map(|file| file.interactions).sum();
    if given == 0 {
        return Err(Error::data(
            format!("no interactions in {}{}", files[0].name, skipped_hint(skipped)),
            "check the format and the columns (--format, --separator, --user, --item)",
        ));
    }

    observer(Progress::Sorting);
    let mut splits: [Vec<_>; 3] = Default::default();
    for (file, parts) in files.iter().zip(parts) {
        splits[file.split as usize].extend(parts);
    }
    let mut builder = InteractionsBuilder::new(users.len(), items.len()).ids(users, items);
    for (split, parts) in Split::ALL.into_iter().zip(splits) {
        if files.iter().any(|file| file.split == split) {
            builder = builder.parts(split, parts);
        }
    }
    let (builder, removed) = apply_filters(builder, options, observer)?;
    let provenance = json!({
        "importer": VERSION,
        "format": format.name(),
        "sources": files.iter().map(|file| json!({
            "file": file.name, "split": file.split, "interactions": file.interactions, "columns": file.columns,
        })).collect::<Vec<_>>(),
        "filters": { "min_rating": options.min_rating, "k_core": options.k_core },
        "removed": removed,
        "skipped_lines": skipped,
    });
    let data = builder.provenance(provenance.to_string()).build()?;

    let interactions = Split::ALL.map(|split| data.count(split));
    let report = ImportReport {
        format: format.name(),
        detected: options.format.is_none(),
        users: data.users(),
        items: data.items(),
        interactions,
        duplicates: given - removed.interactions - interactions.iter().sum::<u64>(),
        skipped_lines: skipped,
        bad_lines,
        removed,
        remarks: remarks(&data, options),
        files,
    };
    Ok((data, report))
}

fn detect(head: Head<'_>, options: &ImportOptions) -> Result<&'static dyn Format> {
    // Who names columns or a separator means a file that has them.
    let fits = |format: &&dyn Format| format.grammar(&head, options).is_ok();
    let mut known = FORMATS.into_iter().filter(|format| format.recognizes(&head));
    let Some(first) = known.next() else {
        return match FORMATS.into_iter().find(|format| format.name() == "csv") {
            Some(csv) if options.names_columns() => Ok(csv),
            _ => Err(Error::File {
                path: head.path().into(),
                problem: "the format is not recognised".into(),
                remedy: format!(
                    "name it with --format: {}",
                    FORMATS.map(|f| format!("{} ({})", f.name(), f.description())).join("; ")
                ),
            }),
        };
    };
    let format = if fits(&first) { first } else { known.find(fits).unwrap_or(first) };
    if format.name() == lightgcn::Lists.name() && lightgcn::may_be_rows(&head) {
        return Err(Error::File {
            path: head.path().into(),
            problem: "its lines may be lists `user item item ...`, or rows of user, item, rating and time"
                .into(),
            remedy: "import it with --format lightgcn for lists, or --format csv for rows".into(),
        });
    }
    Ok(format)
}

fn apply_filters(
    mut builder: InteractionsBuilder,
    options: &ImportOptions,
    observer: Observer<'_>,
) -> Result<(InteractionsBuilder, Removed)> {
    let mut removed = Removed::default();
    let mut apply = |builder: InteractionsBuilder, filter: &dyn Fn(&Interactions) -> Result<_>| {
        observer(Progress::Filtering);
        let before = builder.build()?;
        let after: InteractionsBuilder = filter(&before)?;
        if after.given() == 0 {
            return Err(Error::data(
                "the filters leave no interactions",
                "use a lower --min-rating or --k-core",
            ));
        }
        removed.users += before.users() - after.users();
        removed.items += before.items() - after.items();
        removed.interactions +=
            Split::ALL.map(|split| before.count(split)).iter().sum::<u64>() - after.given();
        Ok(after)
    };
    if let Some(least) = options.min_rating {
        builder = apply(builder, &|data| filter::min_weight(data, least))?;
    }
    if let Some(k) = options.k_core.filter(|&k| k > 0) {
        builder = apply(builder, &|data| Ok(filter::k_core(data, k)))?;
    }
    Ok((builder, removed))
}

/// What is legal in `data`, imported with `options`, and yet surprises.
pub fn remarks(data: &Interactions, options: &ImportOptions) -> Vec<String> {
    let mut remarks = Vec::new();
    if options.min_rating.is_none()
        && let Some((least, most)) = ratings(data)
        && least < most
    {
        remarks.push(format!(
            "ratings from {least} to {most}: each counts as an interaction; `macr import --min-rating` keeps only \
             those of at least a value"
        ));
    }
    let train = (data.by_user(Split::Train), data.by_item(Split::Train));
    for split in [Split::Valid, Split::Test] {
        for (what, train, held_out) in
            [("user", train.0, data.by_user(split)), ("item", train.1, data.by_item(split))]
        {
            let new =
                (0..train.rows() as u32).filter(|&r| train.degree(r) == 0 && held_out.degree(r) > 0).count();
            if new > 0 {
                remarks.push(format!("{} of {split} not seen in train", counted(new as u64, what)));
            }
        }
        let seen: usize = (0..data.users())
            .into_par_iter()
            .map(|user| {
                let known = train.0.row(user);
                data.by_user(split).row(user).iter().filter(|item| known.binary_search(item).is_ok()).count()
            })
            .sum();
        if seen > 0 {
            remarks
                .push(format!("{} of {split} found in train as well", counted(seen as u64, "interaction")));
        }
    }
    remarks
}

/// The least and the largest rating, if there are any.
fn ratings(data: &Interactions) -> Option<(f32, f32)> {
    Split::ALL
        .into_par_iter()
        .flat_map(|split| data.weights(split).unwrap_or_default())
        .map(|&rating| (rating, rating))
        .reduce_with(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn skipped_hint(skipped: u64) -> String {
    if skipped == 0 { String::new() } else { format!(" ({} could not be read)", counted(skipped, "line")) }
}

/// How lines are understood, for people.
fn describe(grammar: &Grammar, head: &Head<'_>) -> String {
    let Grammar::Rows(rows) = grammar else { return "user item item ...".into() };
    let separator = String::from_utf8_lossy(&rows.separator);
    let names: Vec<&str> = if rows.header { head.first().1.split(&*separator).collect() } else { Vec::new() };
    let column = |what: &str, k: Option<usize>| {
        let k = k?;
        Some(match names.get(k) {
            Some(name) => format!("{what} = column {} `{}`", k + 1, name.trim().trim_matches('"')),
            None => format!("{what} = column {}", k + 1),
        })
    };
    let columns = [
        column("user", Some(rows.user)),
        column("item", Some(rows.item)),
        column("rating", rows.rating),
        column("time", rows.timestamp),
    ];
    let columns: Vec<String> = columns.into_iter().flatten().collect();
    format!(
        "separated by `{}`, {}: {}",
        separator.escape_debug(),
        if rows.header { "with header" } else { "without header" },
        columns.join(", ")
    )
}
