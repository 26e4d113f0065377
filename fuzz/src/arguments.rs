//! The command line, its words on a line each. Nothing is run.

use std::hint::black_box;

use clap::Parser;
use macr::cli::Cli;

pub fn run(input: &[u8]) {
    let words = String::from_utf8_lossy(input);
    match Cli::try_parse_from(["macr"].into_iter().chain(words.lines())) {
        Ok(cli) => drop(black_box(cli)),
        // The message is made only when it is shown.
        Err(error) => drop(black_box(error.to_string())),
    }
}
