//! `check`: every problem of a configuration at once.

use serde_json::{Value, json};

use crate::cli::args::Options;
use crate::cli::error::CONFIGURATION;
use crate::cli::{Failure, output, stores};
use crate::config::Problem;

/// Runs `check`.
pub fn run(options: &Options) -> Result<(), Failure> {
    let Some(path) = &options.config else {
        return Err(Failure::usage("which configuration? name it with --config FILE"));
    };
    let (problems, warnings) = match stores::read(options) {
        Ok(config) => (Vec::new(), config.warnings),
        Err(errors) => (errors.problems, errors.warnings),
    };
    if options.json {
        let rows = |problems: &[Problem]| problems.iter().map(row).collect::<Vec<_>>();
        output::json(&json!({ "ok": problems.is_empty(), "problems": rows(&problems), "warnings": rows(&warnings) }))?;
    } else {
        for problem in &problems {
            output::line(format!("error: {problem}"))?;
        }
        for warning in &warnings {
            output::line(format!("warning: {warning}"))?;
        }
        if problems.is_empty() {
            output::line(format!("ok: {}", path.display()))?;
        }
    }
    // Everything is said already.
    if problems.is_empty() { Ok(()) } else { Err(Failure::new(CONFIGURATION, "")) }
}

fn row(problem: &Problem) -> Value {
    json!({ "origin": problem.origin, "line": problem.line, "path": problem.path, "message": problem.message })
}
