//! The `macr` command.

mod last_words;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: last_words::Allocator = last_words::Allocator;

fn main() -> ExitCode {
    last_words::watch_mapped_files();
    ExitCode::from(macr::cli::main())
}
