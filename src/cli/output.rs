//! What the command line prints: results on standard output, progress and remarks on standard error.

use std::{
    io::{ErrorKind, IsTerminal, Write},
    process,
    time::Duration,
};

use comfy_table::{CellAlignment, Row, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::Error;

pub use crate::numerals::{counted, grouped, size};

/// Where results, remarks and progress go.
#[derive(Debug)]
pub struct Output {
    quiet: bool,
    terminal: bool,
}

impl Output {
    /// Output of this process; `quiet` silences everything on standard error but errors.
    pub fn new(quiet: bool) -> Self {
        Output { quiet, terminal: std::io::stderr().is_terminal() }
    }

    /// True when progress bars are drawn (standard error is a terminal).
    pub fn is_terminal(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// A line of the result, on standard output. Ends the process where it cannot be written.
    pub fn result(&self, line: impl std::fmt::Display) {
        match writeln!(anstream::stdout(), "{line}") {
            Ok(()) => {}
            // Whoever reads us may stop early (`| head`): that is success.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
            Err(error) => {
                self.error(&Error::io("write", "standard output")(error));
                process::exit(1);
            }
        }
    }

    /// The result as one JSON document, on standard output.
    pub fn json(&self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.result(text),
            Err(error) => eprintln!("macr: cannot print the result as JSON: {error}"),
        }
    }

    /// A remark for the person, on standard error.
    pub fn remark(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }

    /// The error that ends the command, on standard error.
    pub fn error(&self, error: &Error) {
        let _ = writeln!(anstream::stderr(), "macr: {error}");
    }

    /// A progress bar over `total` steps, drawn only on a terminal.
    pub fn progress(&self, total: u64, what: &str) -> ProgressBar {
        let target =
            if self.is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3}% {eta:>5} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        if self.is_terminal() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar
    }
}

/// A table whose first column is text and whose other columns are numbers.
pub fn table<R: Into<Row>>(header: impl Into<Row>, rows: impl IntoIterator<Item = R>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
