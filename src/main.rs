//! The `syncline` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    syncline::app::main()
}
