//! Interaction files that a subcommand is to write: never over other data unless told so.

use std::path::Path;

use crate::{
    data::Interactions,
    error::{Error, Result},
};

/// A file to be written, as it was found.
#[derive(Debug)]
pub struct Target<'a> {
    path: &'a Path,
    /// Checksum and provenance of the data that is there.
    there: Option<(String, String)>,
    force: bool,
}

/// What to do where something is that must stay.
const OTHER: &str = "choose another name, or pass --force to overwrite it";

fn identity(data: &Interactions) -> (String, String) {
    (data.checksum(), data.provenance().into_owned())
}

impl<'a> Target<'a> {
    /// Looks at what is at `path`: what would fail at the end fails here, before the work.
    ///
    /// # Errors
    /// [`Error::File`] if the folder does not exist, or something that is no whole interaction file is there and
    /// `force` is not given.
    pub fn new(path: &'a Path, force: bool) -> Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if parent.is_some_and(|parent| !parent.is_dir()) {
            return Err(wrong(path, "its folder does not exist", "create the folder first"));
        }
        let mut target = Target { path, there: None, force };
        // Anything but a file (a pipe, a device) is not opened: that could wait for ever.
        if path.is_file() {
            match Interactions::open(path) {
                Ok(data) => target.there = Some(identity(&data)),
                Err(_) if force => {}
                Err(_) => return Err(wrong(path, "it exists and is not a whole interaction file", OTHER)),
            }
        } else if path.is_dir() {
            return Err(wrong(path, "this is a folder", "name a file in it"));
        }
        Ok(target)
    }

    /// Writes `data`, unless the same is there already.
    ///
    /// # Errors
    /// [`Error::File`] if other data is there and `force` is not given; [`Error::Io`] if it cannot be written.
    pub fn save(&self, data: &Interactions) -> Result<()> {
        match &self.there {
            Some(there) if *there == identity(data) => Ok(()),
            Some(_) if !self.force => Err(wrong(self.path, "it holds other data", OTHER)),
            _ => data.save(self.path),
        }
    }
}

fn wrong(path: &Path, problem: &str, remedy: &str) -> Error {
    Error::File { path: path.into(), problem: problem.into(), remedy: remedy.into() }
}
