//! Tables, figures and their page as files.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use super::{figure::Figure, page::Page, table::Table};
use crate::{
    atomic_file::write_atomic,
    error::{Error, Result},
};

/// Writes every table as Markdown, CSV, LaTeX and JSON, every figure as SVG, PNG and JSON (the numbers in it), each
/// under its name, and last the page as `index.html`, into `folder`, which is made if it is not there. Each file appears
/// whole or not at all, and replaces what has its name. Returns the files, in this order.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be made, a figure not be drawn, or a file not be written.
pub fn write<'a>(
    tables: impl Iterator<Item = &'a Table>,
    figures: impl Iterator<Item = &'a Figure>,
    page: &Page,
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut files = Vec::new();
    let mut save = |name: &str, ending: &str, bytes: &[u8]| {
        let path = folder.join(format!("{name}.{ending}"));
        write_atomic(&path, |w| w.write_all(bytes))?;
        files.push(path);
        Ok::<_, Error>(())
    };
    for table in tables {
        let name = &table.name;
        save(name, "md", table.markdown().as_bytes())?;
        save(name, "csv", table.csv().as_bytes())?;
        save(name, "tex", table.latex().as_bytes())?;
        save(name, "json", format!("{:#}\n", table.json()).as_bytes())?;
    }
    for figure in figures {
        let name = &figure.name;
        save(name, "svg", figure.svg()?.as_bytes())?;
        save(name, "png", &figure.png()?)?;
        save(name, "json", format!("{:#}\n", figure.json()).as_bytes())?;
    }
    save("index", "html", page.html().as_bytes())?;
    Ok(files)
}
