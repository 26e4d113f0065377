//! Which files an import reads, and which split each is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    data::Split,
    error::{Error, Result},
};

/// A file to import and the split that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Its split.
    pub split: Split,
}

impl Source {
    /// File name, without folders.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Endings that a folder's split files may have, besides those of compression.
const ENDINGS: [&str; 7] = ["txt", "csv", "tsv", "inter", "dat", "data", ""];
/// Files that are a dataset of their own in a folder without splits.
const WHOLE: [&str; 7] = [
    "ratings.dat",
    "u.data",
    "ratings.csv",
    "interactions.csv",
    "interactions.tsv",
    "interactions.txt",
    ".inter",
];

/// The files behind the paths that a person gives: a folder with split files, a file, or several files.
///
/// A file is the split that its name says (`train.csv`, `name.test.inter`) when several are given, and train when it is
/// the only one.
///
/// # Errors
/// [`Error::Io`] if a path cannot be read; [`Error::Data`] if a folder holds no split files, or two for one split.
pub fn find(paths: &[impl AsRef<Path>]) -> Result<Vec<Source>> {
    let mut sources = match paths {
        [] => return Err(Error::data("nothing to import", "name a file or a folder")),
        [path] if path.as_ref().is_dir() => in_folder(path.as_ref())?,
        [path] => vec![Source { path: path.as_ref().into(), split: Split::Train }],
        paths => paths
            .iter()
            .map(|path| {
                let path = path.as_ref();
                if path.is_dir() {
                    return Err(Error::data(
                        format!("{} is a folder among several paths", path.display()),
                        "give one folder, or several files",
                    ));
                }
                let split = split_of(&plain_name(path)).unwrap_or(Split::Train);
                Ok(Source { path: path.into(), split })
            })
            .collect::<Result<_>>()?,
    };
    for source in &sources {
        fs::metadata(&source.path).map_err(Error::io("open", &source.path))?;
    }
    sources.sort_by_key(|source| source.split as usize);
    Ok(sources)
}

/// File name in lower case, without the ending of a compressed file.
pub(super) fn plain_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    match name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")) {
        Some(plain) => plain.to_owned(),
        None => name,
    }
}

fn split_of(plain_name: &str) -> Option<Split> {
    let (stem, ending) = plain_name.rsplit_once('.').unwrap_or((plain_name, ""));
    let part = stem.rsplit_once('.').map_or(stem, |(_, part)| part);
    match part {
        _ if !ENDINGS.contains(&ending) => None,
        "train" | "training" => Some(Split::Train),
        "valid" | "validation" | "val" | "dev" => Some(Split::Valid),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

fn in_folder(folder: &Path) -> Result<Vec<Source>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.is_file() {
            names.push((plain_name(&path), path));
        }
    }
    // The order of a folder is not defined.
    names.sort();
    let mut sources: Vec<Source> = Vec::new();
    for (name, path) in &names {
        let Some(split) = split_of(name) else { continue };
        if let Some(other) = sources.iter().find(|source| source.split == split) {
            return Err(Error::data(
                format!(
                    "{} could be either {} or {} of {}",
                    split,
                    other.path.display(),
                    path.display(),
                    folder.display()
                ),
                "remove one, or name the files to import one by one",
            ));
        }
        sources.push(Source { path: path.clone(), split });
    }
    if sources.iter().any(|source| source.split == Split::Train) {
        return Ok(sources);
    }
    let whole: Vec<_> = names
        .iter()
        .filter(|(name, _)| WHOLE.iter().any(|w| name == w || (w.starts_with('.') && name.ends_with(w))))
        .collect();
    if let ([(_, path)], true) = (&whole[..], sources.is_empty()) {
        return Ok(vec![Source { path: path.clone(), split: Split::Train }]);
    }
    let found: Vec<_> = names.iter().take(8).map(|(name, _)| name.as_str()).collect();
    Err(Error::data(
        format!(
            "{} has no training file: looked for train.txt, train.csv, train.tsv, NAME.train.inter (also .gz and .zst), \
             or else one of {}; it holds {}",
            folder.display(),
            WHOLE.map(|w| if w.starts_with('.') { format!("NAME{w}") } else { w.to_owned() }).join(", "),
            if found.is_empty() { "no files".to_owned() } else { found.join(", ") },
        ),
        "name the file to import",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_their_split() {
        for (name, split) in [
            ("train.txt", Some(Split::Train)),
            ("ml-1m.valid.inter", Some(Split::Valid)),
            ("test", Some(Split::Test)),
            ("val.csv", Some(Split::Valid)),
            ("train.pdf", None),
            ("user_list.txt", None),
        ] {
            assert_eq!(split_of(name), split, "{name}");
        }
        assert_eq!(plain_name(Path::new("a/Train.CSV.gz")), "train.csv");
    }
}
