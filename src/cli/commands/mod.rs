//! One file per command.

pub mod asyncapi;
pub mod audit;
pub mod brakes;
pub mod check;
pub mod compare;
pub mod completions;
pub mod dead_letters;
pub mod decision;
pub mod decisions;
pub mod demo;
pub mod entity;
pub mod history;
pub mod identity;
pub mod parked;
pub mod pause;
pub mod receive;
pub mod recover;
pub mod resync;
pub mod run;
pub mod schema;
pub mod send;
pub mod snapshot;
pub mod status;
pub mod systems;
pub mod token;
pub mod topology;
pub mod verify;
pub mod whatif;
pub mod why;

use serde_json::Value;

use super::{Failure, output};

/// Says below a list that it goes on.
fn and_more(more: bool) -> Result<(), Failure> {
    if more { output::line("… and more: see --limit") } else { Ok(()) }
}

/// What became of an update a person acted on, in a sentence.
fn outcome(id: &str, answer: &Value, would_be: bool) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").replace('_', " ");
    let verb = if would_be { "would be" } else { "is" };
    if let Some(letter) = answer.get("dead_letter") {
        return format!("{id} {verb} a dead letter ({}): {}", text(&letter["reason"]), letter["detail"].as_str().unwrap_or("?"));
    }
    match answer.get("decision").filter(|row| row.is_object()) {
        Some(row) => format!("{id} {verb} {}: {}", text(&row["decision"]), row["reason"].as_str().unwrap_or("?")),
        None => format!("{id} had been decided before, with the same content"),
    }
}
