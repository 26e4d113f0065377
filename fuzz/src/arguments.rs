//! The command line, its words on a line each. Nothing is run.

use std::{cell::RefCell, hint::black_box};

use clap::{Command, CommandFactory, FromArgMatches};
use macr::cli::Cli;

pub fn run(input: &[u8]) {
    thread_local! {
        /// Made once: that takes longer than everything else.
        static COMMAND: RefCell<Command> = RefCell::new(Cli::command());
    }
    let words = String::from_utf8_lossy(input);
    COMMAND.with_borrow_mut(|command| {
        let matches = command.try_get_matches_from_mut(["macr"].into_iter().chain(words.lines()));
        let read = |mut matches| Cli::from_arg_matches_mut(&mut matches).map_err(|e| e.format(command));
        match matches.and_then(read) {
            Ok(cli) => drop(black_box(cli)),
            // The message is made only when it is shown.
            Err(error) => drop(black_box(error.to_string())),
        }
    });
}
