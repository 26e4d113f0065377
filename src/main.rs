//! The `macr` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(macr::cli::main())
}
