//! `completions`: what a shell needs to complete commands.

use clap::CommandFactory;

use crate::cli::args::{Cli, CompletionsArgs};
use crate::cli::{Failure, output};

/// Runs `completions`.
pub fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "syncline", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}
