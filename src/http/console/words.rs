//! How things are said: kinds of decisions, states, times, values.

use serde_json::Value;

use super::model::{Cell, Kind, Moment};
use crate::domain::change::Op;
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::ids::UpdateId;
use crate::domain::provenance::{ByKind, DecidedBy};
use crate::domain::time::Timestamp;
use crate::domain::value::FieldPath;

/// Longest value a table shows, in characters; the record's JSON has all of it.
const VALUE_MAX: usize = 1_000;

const fn kind(code: &'static str, word: &'static str, tone: &'static str, icon: &'static str) -> Kind {
    Kind { code, word, tone, icon }
}

pub const IN_SYNC: Kind = kind("in_sync", "in sync", "ok", "ok");
pub const CATCHING_UP: Kind = kind("catching_up", "catching up", "part", "part");
pub const FAILING: Kind = kind("failing", "failing", "dead", "warn");
pub const TIMED_OUT: Kind = kind("timed_out", "no answer", "dead", "warn");
pub const REFUSED: Kind = kind("refused", "refused", "dead", "dead");
pub const DIFFERS: Kind = kind("differs", "differs", "wait", "warn");
pub const PAUSED: Kind = kind("paused", "paused", "wait", "pause");
pub const BRAKE: Kind = kind("brake", "brake", "wait", "pause");
pub const OBSERVED: Kind = kind("observed", "observed", "calm", "overview");
pub const LET_GO: Kind = kind("let_go", "let go", "calm", "over");
pub const DELETED: Kind = kind("deleted", "deleted", "calm", "gone");
pub const MERGED: Kind = kind("merged", "part of another", "calm", "link");
pub const REVIEW: Kind = kind("review", "for a person", "wait", "person");

/// What became of an update, as it is shown everywhere.
pub const fn of(decision: DecisionKind) -> Kind {
    match decision {
        DecisionKind::Accepted => kind("accepted", "accepted", "ok", "ok"),
        DecisionKind::PartiallyAccepted => kind("partially_accepted", "partially accepted", "part", "part"),
        DecisionKind::Dropped => kind("dropped", "dropped", "drop", "drop"),
        DecisionKind::Unchanged => kind("unchanged", "unchanged", "calm", "same"),
        DecisionKind::Echo => kind("echo", "echo", "calm", "echo"),
        DecisionKind::Superseded => kind("superseded", "superseded", "calm", "over"),
        DecisionKind::Deferred => kind("deferred", "deferred", "wait", "wait"),
        DecisionKind::Parked => kind("parked", "parked", "wait", "waiting"),
    }
}

/// A point in time.
pub fn moment(at: Timestamp, now: Timestamp) -> Moment {
    let iso = at.to_string();
    let (day, time) = iso.split_once('T').unwrap_or((&iso, ""));
    let time = time.trim_end_matches('Z');
    let full = format!("{day} {} UTC", &time[..time.len().min(12)]);
    Moment { full, ago: age(at, now), iso }
}

/// `3 min ago`, `in 20 s`: as the script beside it says it too.
fn age(at: Timestamp, now: Timestamp) -> String {
    let (length, future) = if at > now { (at.since(now), true) } else { (now.since(at), false) };
    match length.as_secs() {
        0 => "now".to_owned(),
        _ if future => format!("in {}", span(length.as_secs())),
        _ => format!("{} ago", span(length.as_secs())),
    }
}

/// `3 min`
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        86_400..172_800 => "1 day".to_owned(),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A length of time in microseconds: number and unit.
pub fn short_time(micros: u64) -> (String, &'static str) {
    let tenths = |value: u64, unit: u64| format!("{}.{}", value / unit, value % unit * 10 / unit);
    match micros {
        0..1_000 => (micros.to_string(), "µs"),
        1_000..10_000 => (tenths(micros, 1_000), "ms"),
        10_000..1_000_000 => ((micros / 1_000).to_string(), "ms"),
        1_000_000..60_000_000 => (tenths(micros, 1_000_000), "s"),
        _ => ((micros / 60_000_000).to_string(), "min"),
    }
}

/// `1,204`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 record`, `3 records`
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// A value as text: what is text without quotation marks, all else as JSON.
pub fn text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() > VALUE_MAX { format!("{}…", text.chars().take(VALUE_MAX).collect::<String>()) } else { text }
}

/// A value for a table.
pub fn cell(value: Option<&Value>) -> Cell {
    match value {
        None => Cell::Word("not there".to_owned()),
        Some(Value::Null) => Cell::Word("nothing".to_owned()),
        Some(Value::String(text)) if text.is_empty() => Cell::Word("empty text".to_owned()),
        Some(value) => Cell::Value(text(value)),
    }
}

/// Who chose.
pub fn by(by: &DecidedBy) -> String {
    let named = |kind: &str| by.name.as_ref().map_or_else(|| kind.to_owned(), |name| format!("{kind} {name}"));
    match by.kind {
        ByKind::Default => "no rule: the later wins".to_owned(),
        ByKind::Rule => named("rule"),
        ByKind::Handler => named("handler"),
        ByKind::Person => by.name.clone().unwrap_or_else(|| "a person".to_owned()),
        ByKind::Timeout => "the time that ran out".to_owned(),
        ByKind::System => "Syncline".to_owned(),
    }
}

/// What a message says, in a few words.
pub const fn op(op: Op) -> &'static str {
    match op {
        Op::Upsert => "the whole record",
        Op::Patch => "some fields of it",
        Op::Delete => "it is deleted",
        Op::Rekey => "it has another id",
        Op::Receipt => "an answer",
        _ => op.as_str(),
    }
}

/// A decision as a title.
pub fn title(row: &Decision) -> String {
    let native = row.native_id.as_ref().map_or_else(String::new, |id| format!(" {id}"));
    let did = match row.op {
        Op::Upsert | Op::Patch if row.version_before == 0 && row.version_after > 0 => "brought",
        Op::Upsert | Op::Patch => "sent",
        Op::Delete => "deleted",
        Op::Rekey => "gave a new id to",
        Op::Receipt => "answered about",
        // What no adapter sends is named as it is.
        _ => return format!("{}: {} of {}{native}", row.source_system, row.op.as_str(), row.entity_type),
    };
    format!("{} {did} {}{native}", row.source_system, row.entity_type)
}

/// Fields, and how many more there are.
pub fn fields(paths: &[FieldPath]) -> String {
    const SHOWN: usize = 4;
    let mut text = paths.iter().take(SHOWN).map(FieldPath::as_str).collect::<Vec<_>>().join(", ");
    if paths.len() > SHOWN {
        text.push_str(&format!(" and {} more", paths.len() - SHOWN));
    }
    text
}

/// A part of a path or of a query, safe to be put there.
pub fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => safe.push(byte.into()),
            // Writing to a string does not fail.
            _ => {
                let _ = write!(safe, "%{byte:02X}");
            }
        }
    }
    // A path must not be taken for "here" or "one up".
    if matches!(safe.as_str(), "." | "..") { safe.replace('.', "%2E") } else { safe }
}

/// Where a decision is.
pub fn decision_href(update: &UpdateId) -> String {
    format!("/decisions/{}", encoded(&update.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_numbers_are_said_as_people_say_them() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let now = at(1_000_000);
        let ago = |seconds: i64| age(at(1_000_000 - seconds), now);
        let said = [ago(0), ago(59), ago(60), ago(3_599), ago(7_200), ago(86_400), ago(200_000), ago(-20)];
        assert_eq!(said, ["now", "59 s ago", "1 min ago", "59 min ago", "2 h ago", "1 day ago", "2 days ago", "in 20 s"]);
        assert_eq!([grouped(7), grouped(999), grouped(1_204), grouped(1_000_000)], ["7", "999", "1,204", "1,000,000"]);
        let short: Vec<String> = [900, 3_149, 42_000, 1_250_000, 600_000_000].map(short_time).map(|(n, unit)| format!("{n} {unit}")).into();
        assert_eq!(short, ["900 µs", "3.1 ms", "42 ms", "1.2 s", "10 min"]);
        assert_eq!(moment(Timestamp::parse("2026-11-21T12:46:48.831306Z").unwrap(), now).full, "2026-11-21 12:46:48.831 UTC");
    }

    #[test]
    fn no_id_leaves_its_place_in_a_path() {
        assert_eq!(encoded("bms:0192-a_b.c~d"), "bms:0192-a_b.c~d");
        assert_eq!(encoded("a/../b?c#d&e=f \"<ü>"), "a%2F..%2Fb%3Fc%23d%26e%3Df%20%22%3C%C3%BC%3E");
        assert_eq!([encoded("."), encoded("..")], ["%2E", "%2E%2E"]);
    }
}
