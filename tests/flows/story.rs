//! What happened, in lines a person can check.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use serde_json::Value;
use syncline::domain::decision::{Assumed, Conflict, ConflictBase, Decision};
use syncline::domain::ids::CanonicalId;
use syncline::domain::link::LinkState;
use syncline::domain::provenance::ByKind;
use syncline::ports::store::{DecisionFilter, Store};

/// The lines so far, and what was known when they were written.
#[derive(Default)]
pub struct Story {
    lines: Vec<String>,
    decisions: HashMap<String, String>,
    dead: HashMap<String, String>,
    records: HashMap<CanonicalId, String>,
    /// The name each canonical id has in the story.
    names: BTreeMap<CanonicalId, String>,
    counts: BTreeMap<String, u32>,
}

impl Story {
    pub fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    pub fn forget(&mut self) {
        self.lines.clear();
    }

    pub fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        for (id, name) in &self.names {
            text = text.replace(&id.to_string(), name);
        }
        text
    }

    /// A message comes in.
    pub fn message(&mut self, body: &Value) {
        let mut rest = body.as_object().unwrap().clone();
        let mut take = |name: &str| rest.remove(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let head = ["id", "system", "op", "type", "native_id"].into_iter().filter_map(&mut take).collect::<Vec<_>>().join(" ");
        let entity = take("entity").or_else(|| take("updates")).map(|entity| format!(" {entity}")).unwrap_or_default();
        let mut line = format!("{head}{entity}");
        for (name, value) in &rest {
            let _ = write!(line, " {name}={}", plain(value));
        }
        self.line(line);
    }

    /// Bytes come in.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let text: String = String::from_utf8_lossy(bytes).chars().take(100).collect();
        self.line(if bytes.len() > 100 { format!("{text}… ({} bytes)", bytes.len()) } else { text });
    }

    /// A message goes out.
    pub fn sent(&mut self, system: &str, body: &Value) {
        let changed: Vec<&str> = body["changed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let whom = body["native_id"].as_str().unwrap_or("-");
        self.line(format!(
            "  → {system}: {} {} {whom} rev {} {} changed: {}",
            plain(&body["op"]),
            plain(&body["type"]),
            body["rev"],
            body["entity"],
            changed.join(", ")
        ));
    }

    /// Tells what is new in the store.
    pub async fn look(&mut self, store: &dyn Store, duplicates: u64) {
        if duplicates > 0 {
            self.line(format!("  decided before: {duplicates}"));
        }
        let waiting = store.list_waiting(None, 10_000).await.unwrap();
        let waits: HashMap<String, &str> = waiting.iter().map(|row| (row.update.to_string(), row.waiting_for.code())).collect();
        let records = store.list_records(None, None, 10_000).await.unwrap();
        for record in &records {
            let record = &record.record;
            let counts = &mut self.counts;
            self.names.entry(record.id).or_insert_with(|| {
                let count = counts.entry(record.entity_type.to_string()).or_default();
                *count += 1;
                format!("<{} {count}>", record.entity_type)
            });
        }
        let rows = store.decisions(&DecisionFilter::default(), None, 10_000).await.unwrap();
        for row in rows.items.iter().rev() {
            let line = row_line(row, waits.get(&row.update.to_string()).copied());
            if self.decisions.insert(row.update.to_string(), line.clone()).as_ref() != Some(&line) {
                self.line(line);
            }
        }
        let known: BTreeSet<String> = rows.items.iter().map(|row| row.update.to_string()).collect();
        self.decisions.retain(|update, _| known.contains(update));
        let letters = store.dead_letters(None, 10_000).await.unwrap().items;
        self.dead.retain(|id, _| letters.iter().any(|letter| letter.id == *id));
        for dead in letters {
            let line = format!("  dead letter {} {}: {}", dead.id, plain(&serde_json::to_value(dead.reason).unwrap()), dead.detail);
            if self.dead.insert(dead.id, line.clone()).as_ref() != Some(&line) {
                self.line(line);
            }
        }
        for record in &records {
            let record = &record.record;
            let links = record.links.iter().map(|link| {
                let kept_out = link.state == LinkState::Detached;
                match &link.native_id {
                    Some(native) if link.spare => format!("{} {native} (beside)", link.system),
                    Some(native) if kept_out => format!("{} {native} (gone)", link.system),
                    Some(native) => format!("{} {native}", link.system),
                    None if kept_out => format!("{} (not made there)", link.system),
                    None => format!("{} (open create)", link.system),
                }
            });
            let links: Vec<String> = links.collect();
            let data = Value::Object(record.data.close());
            let deleted = if record.tombstone.is_some() { "deleted " } else { "" };
            let line = format!("  = {} v{} {deleted}{data} [{}]", record.id, record.version, links.join(", "));
            if self.records.insert(record.id, line.clone()).as_ref() != Some(&line) {
                self.line(line);
            }
        }
    }
}

fn row_line(row: &Decision, waits: Option<&str>) -> String {
    let update = row.update.to_string();
    // Rows of Syncline's own end in a UUID.
    let update =
        update.strip_prefix("syncline:").and_then(|own| own.split_once(':')).map_or(update.clone(), |(kind, _)| format!("syncline:{kind}"));
    let mut line = format!("  {update} {}", row.decision.as_str());
    if let Some(code) = waits {
        let _ = write!(line, " ({code})");
    }
    let _ = write!(line, ": {}", row.reason);
    if !matches!(row.decided_by.kind, ByKind::Default | ByKind::System) {
        let _ = write!(line, " | by {:?} {}", row.decided_by.kind, row.decided_by.name.as_deref().unwrap_or_default());
    }
    if !row.modified_fields.is_empty() {
        let fields: Vec<&str> = row.modified_fields.iter().map(syncline::domain::value::FieldPath::as_str).collect();
        let _ = write!(line, " | modified_fields: {}", fields.join(", "));
    }
    if row.attempts > 1 {
        let _ = write!(line, " | attempt {}", row.attempts);
    }
    for conflict in &row.conflicts {
        let _ = write!(line, "\n    conflict {}", conflict_text(conflict));
    }
    line
}

fn conflict_text(conflict: &Conflict) -> String {
    let base = match &conflict.base {
        None => "none".to_owned(),
        Some(ConflictBase::Assumed(Assumed::Assumed)) => "assumed".to_owned(),
        Some(ConflictBase::Value(value)) => value.to_string(),
    };
    let from = conflict.ours_from.as_ref().map(|from| format!(" ({from})")).unwrap_or_default();
    let winner = serde_json::to_value(conflict.winner).unwrap();
    format!(
        "{}: base {base}, ours {}{from}, theirs {} → {} ({})",
        conflict.field,
        conflict.ours,
        conflict.theirs,
        plain(&winner),
        conflict.rule
    )
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
