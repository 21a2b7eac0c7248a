//! Decisions in sentences a non-programmer understands. Everything is said from what is stored.

use super::canonical::CanonicalRecord;
use super::change::Op;
use super::decision::{Conflict, Decision, DecisionKind, Winner};
use super::handler::shown;
use super::ids::SystemName;
use super::link::LinkState;
use super::rules::TypeRules;
use super::shadow::StaleField;
use super::value::{FieldPath, Leaves};
use super::waiting::WaitingFor;

/// "name, phone and status"
#[must_use]
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, head)) => format!("{} and {last}", head.join(", ")),
    }
}

/// The systems that have a record, for sure: an open create is not one of them.
#[must_use]
pub fn holders(record: &CanonicalRecord) -> String {
    list(record.links.iter().filter(|link| link.native_id.is_some() && link.state != LinkState::Detached).map(|link| &link.system))
}

/// That a system joins a record. Who reads a row later knows it by this.
#[must_use]
pub fn joins(system: &SystemName) -> String {
    format!("{system} joins it")
}

/// [`list`], cut off after a few.
#[must_use]
pub fn fields(paths: &[FieldPath]) -> String {
    const SHOWN: usize = 6;
    if paths.len() <= SHOWN + 1 {
        return list(paths);
    }
    format!("{} and {} more fields", paths[..SHOWN].iter().map(ToString::to_string).collect::<Vec<_>>().join(", "), paths.len() - SHOWN)
}

/// Adds what the source merely repeated: the answer to "why was my edit ignored?".
#[must_use]
pub fn with_stale(head: &str, stale: &[StaleField], record: &CanonicalRecord, types: &TypeRules) -> String {
    if stale.is_empty() {
        return head.to_owned();
    }
    let item = |field: &StaleField| {
        let unseen = field.unseen_rev.map_or_else(
            || {
                let since = record.provenance.of(&field.path).map(|source| format!(", changed by {} since", source.system));
                format!(
                    " ({} {}{})",
                    "nothing new from it; here it is",
                    types.shown(&field.path, record.data.get(&field.path).unwrap_or(&serde_json::Value::Null)),
                    since.unwrap_or_default()
                )
            },
            |rev| format!(", had not seen rev {rev}"),
        );
        format!("{} {}{unseen}", field.path, types.shown(&field.path, &field.value))
    };
    let tail = format!("not applied: {}", list(stale.iter().map(item)));
    if head.is_empty() { tail } else { format!("{head}; {tail}") }
}

/// Why some of what a source said did not become canonical, and what did instead.
#[must_use]
pub fn refused(
    modified: &[FieldPath],
    before: &CanonicalRecord,
    after: &Leaves,
    rules: &dyn Fn(&FieldPath) -> Option<String>,
    types: &TypeRules,
) -> String {
    let item = |path: &FieldPath| {
        let rule = rules(path).map(|rule| format!(" ({rule})")).unwrap_or_default();
        let (had, has) = (before.data.get(path), after.get(path));
        if had != has {
            return format!("{path} becomes {}{rule}", types.shown(path, has.unwrap_or(&serde_json::Value::Null)));
        }
        if had.is_none() && before.data.has_inside(path) {
            return format!("{path} stays as it is{rule}");
        }
        let Some(kept) = had else { return format!("{path} is left out{rule}") };
        let from = before.provenance.of(path).map(|source| format!(" from {}", source.system)).unwrap_or_default();
        format!("{path} stays {}{from}{rule}", types.shown(path, kept))
    };
    list(modified.iter().map(item))
}

/// One conflict in a sentence.
#[must_use]
pub fn conflict(conflict: &Conflict, source: &SystemName) -> String {
    let ours_from = conflict.ours_from.as_ref().map_or_else(|| "the canonical record".to_owned(), ToString::to_string);
    let (winner, loser) = match conflict.winner {
        Winner::Theirs => (format!("{source}'s {} won", shown(&conflict.theirs)), format!("{ours_from} had {}", shown(&conflict.ours))),
        Winner::Ours => (format!("{ours_from}'s {} stayed", shown(&conflict.ours)), format!("{source} said {}", shown(&conflict.theirs))),
        Winner::Handler => (
            "a value of its own was set".to_owned(),
            format!("{ours_from} had {}, {source} said {}", shown(&conflict.ours), shown(&conflict.theirs)),
        ),
    };
    format!("{}: {winner}, {loser} ({})", conflict.field, conflict.rule)
}

/// What a waiting update waits for.
#[must_use]
pub fn waiting(waiting_for: &WaitingFor) -> String {
    match waiting_for {
        WaitingFor::MissingReference { behind: Some(update), .. } => {
            format!("queued behind {update}, which waits itself")
        }
        WaitingFor::MissingReference { references, .. } => {
            let item = |missing: &super::waiting::MissingReference| {
                let key = &missing.key;
                format!("{}'s {} {} ({})", key.system, key.entity_type, key.native_id, missing.field)
            };
            format!("waiting for {}, not known yet", list(references.iter().map(item)))
        }
        WaitingFor::MatchCollision { records, keys } => {
            format!("its key values belong to different records ({}): {}; merge them or correct a key", list(keys), list(records))
        }
        WaitingFor::DuplicateInSystem { record, native_id } => {
            format!("its key leads to record {record}, which this system already knows as {native_id}; one of the two is a duplicate there")
        }
        WaitingFor::NoIdentity => "it has none of the key fields that are required to know what it is".to_owned(),
        WaitingFor::NoBase => "only a part of a record nobody knows yet; waiting for a whole one".to_owned(),
        WaitingFor::OpenCreate { until } => {
            format!(
                "it may be a record of ours that this system was sent to create and has not answered yet; it waits for the answer, until {until} at most"
            )
        }
        WaitingFor::Review => "waiting for a person".to_owned(),
        WaitingFor::Brake { id } => format!("too many deletes at once: a person looks whether they are meant, and lets go of {id}"),
        WaitingFor::Time => "waiting for its time".to_owned(),
    }
}

/// A whole decision, for a person.
#[must_use]
pub fn decision(decision: &Decision) -> String {
    let native = decision.native_id.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
    let who = match decision.op {
        Op::Merge => format!("Another {} became part of this one", decision.entity_type),
        Op::Split => format!("This {} and another one are two things again", decision.entity_type),
        Op::Clear => format!("A record that this {} referred to is deleted", decision.entity_type),
        Op::Erase => format!("The values of this {} are erased", decision.entity_type),
        Op::Freeze => format!("Two systems would never agree about a field of this {}", decision.entity_type),
        Op::Compensate => format!("A change of this {} was taken back", decision.entity_type),
        Op::Upsert | Op::Patch | Op::Delete | Op::Rekey | Op::Receipt => {
            format!("{} sent {} {} ({})", decision.source_system, decision.entity_type, native, decision.op.as_str())
        }
    };
    let what = match decision.decision {
        DecisionKind::Accepted if matches!(decision.op, Op::Merge | Op::Split | Op::Compensate | Op::Clear | Op::Erase) => {
            match decision.changed.as_slice() {
                [] => "No field changed by it.".to_owned(),
                changed => format!("It changed {}.", fields(changed)),
            }
        }
        DecisionKind::Accepted if decision.op == Op::Delete => "The record is deleted.".to_owned(),
        DecisionKind::Dropped if decision.op == Op::Delete => "The delete was not followed.".to_owned(),
        DecisionKind::Accepted => format!("All of it became canonical: {}.", fields(&decision.changed)),
        DecisionKind::PartiallyAccepted => {
            let taken: Vec<FieldPath> = decision.changed.iter().filter(|path| !decision.modified_fields.contains(path)).cloned().collect();
            let taken = if taken.is_empty() {
                "None of its own values was taken as it came".to_owned()
            } else {
                format!("{} became canonical", fields(&taken))
            };
            format!("{taken}; {} did not go through as sent.", fields(&decision.modified_fields))
        }
        DecisionKind::Dropped => format!("It changed {}, and none of it became canonical.", fields(&decision.changed)),
        DecisionKind::Unchanged => "The canonical record stayed as it was.".to_owned(),
        DecisionKind::Echo => "It only repeats what we sent to that system; nothing to do.".to_owned(),
        DecisionKind::Superseded => "A newer update of the same record came while it waited.".to_owned(),
        DecisionKind::Deferred | DecisionKind::Parked => "It waits.".to_owned(),
    };
    let mut lines = vec![format!("{who}."), what, format!("Why: {}.", decision.reason)];
    lines.extend(decision.conflicts.iter().map(|c| format!("Conflict on {}.", conflict(c, &decision.source_system))));
    if !decision.notified.is_empty() {
        lines.push(format!("Sent on to {}.", list(&decision.notified)));
    }
    if decision.version_after != decision.version_before {
        lines.push(format!("Version {} → {}.", decision.version_before, decision.version_after));
    }
    lines.join("\n")
}
