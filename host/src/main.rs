//! The `karuta` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    karuta::cli::main()
}
