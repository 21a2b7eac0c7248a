//! `decision`: one decision, field by field.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cli::args::{DecisionArgs, Options};
use crate::cli::source::{Source, escaped, read};
use crate::cli::{Failure, Host, output};
use crate::domain::decision::{Assumed, Conflict, ConflictBase, Decision};
use crate::domain::explain;
use crate::domain::ids::UpdateId;
use crate::domain::value::FieldPath;

/// Runs `decision`.
pub async fn run(args: &DecisionArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let update = UpdateId::try_from(args.update.clone())?;
    let row: Decision = match Source::of(options, host).await? {
        Source::Running(client) => read(client.get(&format!("/v1/decisions/{}", escaped(&update.to_string()))).await?)?,
        Source::Store(store) => {
            let row = store.decision(&update).await?;
            row.ok_or_else(|| Failure::absent(format!("there is no decision about {update}")))?
        }
    };
    if options.json {
        return output::json(&row);
    }
    output::line(explain::decision(&row))?;
    if let Some(id) = row.canonical_id {
        output::line(format!("Record: {} {id}", row.entity_type))?;
    }
    output::line(format!("Decided: {} (update {})", row.timestamp, row.update))?;
    let table = table(&row);
    if table.len() > 1 {
        output::line("")?;
        output::line(output::aligned(&table))?;
    }
    Ok(())
}

/// Base, ours, theirs and outcome of every field the update touched.
fn table(row: &Decision) -> Vec<[String; 5]> {
    let fields: BTreeSet<&FieldPath> =
        row.changed.iter().chain(&row.modified_fields).chain(row.conflicts.iter().map(|conflict| &conflict.field)).collect();
    let mut table = vec![["field", "base", "ours", "theirs", "outcome"].map(str::to_owned)];
    for field in fields {
        let conflict = row.conflicts.iter().find(|conflict| conflict.field == *field);
        let theirs = conflict.map(|conflict| &conflict.theirs).or_else(|| row.proposed_snapshot.as_ref()?.get(field));
        let outcome = match (&row.accepted_snapshot, conflict) {
            (Some(accepted), _) => shown(accepted.get(field)),
            (None, Some(conflict)) => shown(Some(&conflict.ours)),
            (None, None) => "as before".to_owned(),
        };
        let ours = conflict.map_or_else(String::new, |conflict| shown(Some(&conflict.ours)));
        table.push([field.to_string(), conflict.map_or_else(String::new, base), ours, shown(theirs), outcome]);
    }
    table
}

fn base(conflict: &Conflict) -> String {
    match &conflict.base {
        None => "first contact".to_owned(),
        Some(ConflictBase::Assumed(Assumed::Assumed)) => "assumed".to_owned(),
        Some(ConflictBase::Value(value)) => shown(Some(value)),
    }
}

fn shown(value: Option<&Value>) -> String {
    const LONGEST: usize = 40;
    let text = value.map_or_else(|| "-".to_owned(), Value::to_string);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
