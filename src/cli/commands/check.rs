//! `check`: every problem of a configuration at once.

use serde_json::{Value, json};

use crate::cli::args::Options;
use crate::cli::error::CONFIGURATION;
use crate::cli::{Failure, output, stores};
use crate::config::{BrokerKind, Config, ConfigErrors, Problem, StoreKind};
use crate::http::tls;

/// Runs `check`.
pub fn run(options: &Options) -> Result<(), Failure> {
    let Some(path) = &options.config else {
        return Err(Failure::usage("which configuration? name it with --config FILE"));
    };
    let (problems, warnings) = match stores::read(options) {
        Ok(config) => files(config, &path.display().to_string()),
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

/// What is wrong with the files a sound configuration names.
fn files(config: Config, origin: &str) -> (Vec<Problem>, Vec<Problem>) {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut wrong = |errors: ConfigErrors| {
        problems.extend(errors.problems);
        errors.warnings
    };
    let of_tokens = config.tokens().map_or_else(&mut wrong, |tokens| tokens.unwrap_or_default().warnings);
    let of_tls = config.http.tls.as_ref().map(|tls| tls::server(tls).map_or_else(&mut wrong, |(_, warnings)| warnings));
    let broker = (config.broker.kind == BrokerKind::Rabbitmq).then(|| config.broker.address());
    let store = (config.store.kind == StoreKind::Mongodb).then(|| config.store.address());
    for wrong in [broker, store].into_iter().flatten().filter_map(Result::err) {
        problems.push(Problem { origin: origin.to_owned(), line: None, path: String::new(), message: wrong });
    }
    warnings.extend(config.warnings);
    warnings.extend(of_tokens);
    warnings.extend(of_tls.unwrap_or_default());
    (problems, warnings)
}

fn row(problem: &Problem) -> Value {
    json!({ "origin": problem.origin, "line": problem.line, "path": problem.path, "message": problem.message })
}
