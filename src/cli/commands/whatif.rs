//! `whatif`: recorded updates decided again by other rules.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::decisions;
use crate::cli::args::{DecisionsArgs, Options, WhatifArgs};
use crate::cli::source::Source;
use crate::cli::{Failure, Host, output, stores};
use crate::config;
use crate::domain::change::Op;
use crate::domain::decide::Situation;
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::handler::shown;
use crate::domain::ids::{CanonicalId, EntityType, UpdateId};
use crate::domain::replay::{Otherwise, Replay};
use crate::domain::rules::Rules;
use crate::domain::sending::Target;
use crate::domain::time::Timestamp;
use crate::domain::value::FieldPath;
use crate::engine::settings::Settings;

/// One decision that would be another one.
#[derive(Debug, Serialize)]
struct Differing {
    update: UpdateId,
    entity_type: EntityType,
    canonical_id: CanonicalId,
    /// What it was.
    decision: DecisionKind,
    /// What it would be; `None`: the update would not be taken.
    would_be: Option<DecisionKind>,
    /// Why it would be that.
    reason: String,
    fields: Vec<Field>,
}

#[derive(Debug, Serialize)]
struct Field {
    field: FieldPath,
    was: Option<Value>,
    would_be: Option<Value>,
}

/// What came of it all.
#[derive(Debug, Default, Serialize)]
struct Told {
    /// Records with a decision since then.
    records: u64,
    /// Updates that were decided again.
    updates: u64,
    /// Decisions of handlers, people and deletes, and those that don't say enough (redacted values, merged records, a beginning that
    /// is not stored any more): they stay as they were.
    kept: u64,
    /// Fields of records that would have another value now.
    fields: u64,
    /// How many decisions would be others.
    differing: usize,
    /// Some of them, oldest first for each record.
    decisions: Vec<Differing>,
}

/// Runs `whatif`.
pub async fn run(args: &WhatifArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    if options.config.is_none() {
        return Err(Failure::usage("name the configuration to try with --config"));
    }
    let since = since(&args.since, host.clock.now())?;
    let rules = Settings::compile(&stores::config(options)?).rules;
    let source = Source::of(options, host).await?;
    let all = DecisionsArgs { limit: usize::MAX, ..DecisionsArgs::default() };
    let lately = DecisionsArgs { since: Some(since.to_string()), entity_type: args.entity_type.clone(), ..all };
    let mut records = BTreeSet::new();
    let note = |row: Decision| records.extend(row.canonical_id.map(|id| (row.entity_type, id)));
    decisions::each(&lately, &source, note).await?;
    let mut told = Told::default();
    for (entity_type, id) in records {
        let all = DecisionsArgs { limit: usize::MAX, entity: Some(id.to_string()), ..DecisionsArgs::default() };
        let mut history = decisions::rows(&all, &source).await?;
        history.retain(|row| row.canonical_id == Some(id));
        history.reverse();
        told.again(id, &entity_type, &history, &rules, since);
        told.decisions.truncate(args.limit);
    }
    if options.json { output::json(&told.shown(since)) } else { told.print(since) }
}

fn since(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let ago = config::duration(text).map(|ago| now.minus(ago));
    let wrong = |_| Failure::usage(format!("--since {text:?} is neither a time (2026-01-31T09:30:00Z) nor so long ago (7d, 12h, 30m)"));
    ago.map_or_else(|| Timestamp::parse(text).map_err(wrong), Ok)
}

fn said(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), shown)
}

impl Told {
    /// Tells the history of one record, and from `since` on a second time.
    fn again(&mut self, id: CanonicalId, entity_type: &EntityType, history: &[Decision], rules: &Rules, since: Timestamp) {
        let Some(first) = history.first() else { return };
        self.records += 1;
        let (types, whole) = (rules.of_type(entity_type), first.version_before == 0);
        let mut replay = Replay::new(id, entity_type.clone(), first.timestamp);
        for row in history {
            if row.timestamp < since {
                replay.follow(row);
                continue;
            }
            if !whole || !replay.can_ask(row, &types) {
                self.kept += u64::from(row.op == Op::Delete || !row.changed.is_empty());
                replay.follow(row);
                continue;
            }
            self.updates += 1;
            let side = rules.side(&row.source_system, entity_type);
            let taken = rules.knows(&row.source_system) && side.inbound;
            let source = Target { system: row.source_system.clone(), side, receipts: false, says_base: true };
            let situation = Situation { rules, types: &types, source: &source, now: row.timestamp };
            let (would_be, reason, fields) = if taken {
                let Some(difference) = replay.ask(row, &situation) else { continue };
                (Some(difference.decision), difference.reason, difference.fields)
            } else {
                let reason = format!("updates of {} about a {entity_type} would not be taken", row.source_system);
                (None, reason, replay.leave_out(row))
            };
            let fields = fields.into_iter().map(|Otherwise { field, was, would_be }| Field { field, was, would_be }).collect();
            let (update, entity_type) = (row.update.clone(), entity_type.clone());
            self.differing += 1;
            self.decisions.push(Differing { update, entity_type, canonical_id: id, decision: row.decision, would_be, reason, fields });
        }
        let (was, would_be) = replay.outcome();
        self.fields += was.differing(would_be).len() as u64;
    }

    fn shown(&self, since: Timestamp) -> Value {
        json!({
            "since": since, "records": self.records, "updates": self.updates, "kept": self.kept, "fields": self.fields,
            "differing": self.differing, "decisions": self.decisions,
        })
    }

    fn print(&self, since: Timestamp) -> Result<(), Failure> {
        for differing in &self.decisions {
            let words = |kind: &DecisionKind| kind.as_str().replace('_', " ");
            let would_be = differing.would_be.as_ref().map_or("not taken".to_owned(), words);
            let Differing { update, entity_type, canonical_id, decision, reason, fields, .. } = differing;
            output::line(format!("{update}  {entity_type} {canonical_id}"))?;
            output::line(format!("  was {}, would be {would_be}: {reason}", words(decision)))?;
            for Field { field, was, would_be } in fields {
                let (was, would_be) = (said(was.as_ref()), said(would_be.as_ref()));
                output::line(format!("  {field}: {was} would be {would_be}"))?;
            }
        }
        if self.differing > self.decisions.len() {
            output::line(format!("… and {} more (--limit)", self.differing - self.decisions.len()))?;
        }
        let Self { records, updates, kept, fields, differing, .. } = self;
        output::line(format!(
            "since {since}: {updates} updates of {records} records decided again, {differing} would be decided otherwise; {fields} fields would be \
             others now; {kept} decisions were taken as they are"
        ))
    }
}
