//! What waits: by what it waits for, and one update with what a person can do about it.

use axum::extract::{Path, State};
use serde_json::Value;

use super::model::{Brake, Cell, Kind, Link, MergeRow, WaitingGroup, WaitingLine, WaitingPage, Waits};
use super::{Answer, Visit, frame, framed, hidden, record, shown, words};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::explain;
use crate::domain::ids::{NativeKey, UpdateId};
use crate::domain::shadow::FieldChange;
use crate::domain::time::Timestamp;
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::http::query::Query;
use crate::http::routes::Shared;
use crate::http::{Api, Problem};
use crate::ports::hold::Hold;
use crate::ports::store::Lookup;
use crate::views::holds::{self, Kept};

/// Updates of one page.
const PAGE: usize = 200;

/// What is said about one kind of waiting: title, meaning, whether only a person ends it, and what to do.
struct Said {
    title: &'static str,
    meaning: &'static str,
    person: bool,
    advice: &'static str,
}

fn said(waiting_for: &WaitingFor) -> Said {
    let said = |title, meaning, person, advice| Said { title, meaning, person, advice };
    match waiting_for {
        WaitingFor::Review => said(
            "For a person to decide",
            "A handler or a rule wants somebody to look. Approve it as it is or edited, or reject it; everything else goes on meanwhile.",
            true,
            "",
        ),
        WaitingFor::MatchCollision { .. } => said(
            "Two records claim it",
            "Its key values belong to different records. Neither is changed until a key is corrected in a system, or the two are made one.",
            true,
            "Correct the key in the system that has it wrong; the next report of the record is decided anew. Looking at it again helps once the other record has changed.",
        ),
        WaitingFor::DuplicateInSystem { .. } => said(
            "A duplicate in its own system",
            "Its key leads to a record this system already has under another id. One of the two is a duplicate there.",
            true,
            "Delete or correct one of the two in the system itself; then look at this one again.",
        ),
        WaitingFor::NoIdentity => said(
            "Nothing to know it by",
            "None of the key fields its type requires has a value.",
            true,
            "Fill in a key field in the system; its next report overtakes this one.",
        ),
        WaitingFor::Brake { .. } => said(
            "Held by a brake",
            "More deletes of a type came from one system than is usual. They go on when somebody lets the brake go, above.",
            true,
            "Let the brake go if the deletes are meant. If not, send the records again, whole: the deletes are overtaken then.",
        ),
        WaitingFor::MissingReference { .. } => said(
            "For a record it refers to",
            "It came before what it belongs to, and is decided by itself as soon as that is known.",
            false,
            "The record it refers to has to come first. If it never will, correct the reference in the system.",
        ),
        WaitingFor::NoBase => said(
            "For a whole record",
            "Only some fields of a record nobody knows yet. It goes on when the whole record comes.",
            false,
            "The system has to send the whole record once.",
        ),
        WaitingFor::OpenCreate { .. } => said(
            "For an answer to a create",
            "It may be a record of ours that its system was just told to make. It waits for that answer, for a short while.",
            false,
            "It goes on when the answer comes, or when its time is over.",
        ),
        WaitingFor::Time => said(
            "For its time",
            "A handler put it off, or failed and is tried again.",
            false,
            "It is looked at again by itself at its time.",
        ),
    }
}

/// `GET /waiting?cursor`
pub async fn list(State(api): Shared, visit: Visit, mut query: Query) -> Answer {
    let cursor = query.take("cursor");
    query.finish("cursor")?;
    let after = match cursor {
        Some(text) => Some(text.parse::<u64>().map_err(|_| Problem::question("This is no cursor of this list.").at("cursor"))?),
        None => None,
    };
    let rows = api.store.list_waiting(after, PAGE).await?;
    let next = rows.last().filter(|_| rows.len() == PAGE).map(|row| format!("/waiting?cursor={}", row.arrival));
    let tally = api.store.tally().await?;
    let now = api.clock.now();
    let brakes = holds::kept(api.store.as_ref()).await?;
    let mut groups: Vec<WaitingGroup> = Vec::new();
    for row in &rows {
        let code = row.waiting_for.code();
        let line = line(&api, row, now).await?;
        if let Some(group) = groups.iter_mut().find(|group| group.code == code) {
            group.rows.push(line);
            continue;
        }
        let Said { title, meaning, person, .. } = said(&row.waiting_for);
        let count = tally.waiting.get(code).copied().unwrap_or(1);
        groups.push(WaitingGroup { code, title, meaning, person, count, rows: vec![line] });
    }
    // What only people end comes first.
    groups.sort_by_key(|group| (!group.person, group.code != "review"));
    Ok(shown(&WaitingPage {
        frame: framed(&api, &visit, ("Waiting", "waiting"), &tally),
        brakes: brakes.iter().map(|kept| brake(kept, now)).collect(),
        groups,
        next,
    }))
}

fn brake(kept: &Kept, now: Timestamp) -> Brake {
    let counts = &kept.waiting;
    let sends =
        format!("{} and {}", words::counted(counts.creates, "create", "creates"), words::counted(counts.updates, "update", "updates"));
    let release = format!("/v1/brakes/{}/release", words::encoded(&kept.id));
    let resume = |system: &crate::domain::ids::SystemName| format!("/v1/systems/{system}/resume");
    let (kind, what, hint, act, body, verb) = match &kept.hold {
        Hold::CreateBrake { system, entity_type } => (
            words::BRAKE,
            format!("New {entity_type} records for {system}"),
            format!("{} held back: too many at once", words::counted(counts.creates, "create is", "creates are")),
            release,
            "{}",
            "Let go",
        ),
        Hold::DeleteBrake { system, entity_type } => (
            words::BRAKE,
            format!("Deletes of {entity_type} by {system}"),
            format!("{}: too many at once", words::counted(counts.deletes, "delete waits", "deletes wait")),
            release,
            "{}",
            "Let go",
        ),
        Hold::PauseIn { system } => (
            words::PAUSED,
            format!("What {system} says"),
            "it stays in the inbound queue".to_owned(),
            resume(system),
            r#"{"direction":"in"}"#,
            "Resume",
        ),
        Hold::PauseOut { system } => {
            (words::PAUSED, format!("What {system} is to be sent"), sends, resume(system), r#"{"direction":"out"}"#, "Resume")
        }
    };
    let ask = format!("{what}: {hint}. {verb}?");
    let discard = match &kept.hold {
        Hold::CreateBrake { .. } | Hold::DeleteBrake { .. } => {
            let ask = format!("{what}: not to be done at all?");
            Some((format!("/v1/brakes/{}/discard", words::encoded(&kept.id)), ask))
        }
        Hold::PauseIn { .. } | Hold::PauseOut { .. } => None,
    };
    Brake { kind, what, hint, since: words::moment(kept.since, now), act, body: body.to_owned(), ask, verb, discard }
}

async fn line(api: &Api, row: &Waiting, now: Timestamp) -> Result<WaitingLine, Problem> {
    let NativeKey { system, entity_type, native_id } = &row.key;
    let op = row.message["op"].as_str().unwrap_or("upsert");
    let changed: Vec<_> = row.change.iter().flat_map(|change| change.fields.iter().map(|field| field.path.clone())).collect();
    let fields = if changed.is_empty() { String::new() } else { format!(" · {}", words::fields(&changed)) };
    Ok(WaitingLine {
        update: row.update.to_string(),
        href: href(&row.update),
        who: format!("{system}:{native_id}"),
        what: format!("{entity_type} · {op}{fields}"),
        waits_for: waits_for(api, row).await?,
        attempts: row.attempts,
        since: words::moment(row.since, now),
    })
}

fn href(update: &UpdateId) -> String {
    format!("/waiting/{}", words::encoded(&update.to_string()))
}

/// Who waits for whom.
async fn waits_for(api: &Api, row: &Waiting) -> Result<Vec<(String, Option<String>)>, Problem> {
    let word = |text: &str| (text.to_owned(), None);
    let types = api.settings.rules.of_type(&row.key.entity_type);
    Ok(match &row.waiting_for {
        WaitingFor::MissingReference { behind: Some(update), .. } => vec![word("behind"), (update.to_string(), Some(href(update)))],
        WaitingFor::MissingReference { references, .. } => {
            let one = |missing: &crate::domain::waiting::MissingReference| {
                let NativeKey { system, entity_type, native_id } = &missing.key;
                let native_id = if types.redacts(&missing.field) { hidden::HIDDEN } else { native_id.as_str() };
                (format!("{system}'s {entity_type} {native_id} ({})", missing.field), None)
            };
            references.iter().map(one).collect()
        }
        WaitingFor::MatchCollision { records, keys } => {
            let found = if records.is_empty() { Vec::new() } else { api.store.records(records).await? };
            let linked = found.iter().map(|found| {
                (record::title(api, &found.record), Some(format!("/records/{}/{}", found.record.entity_type, found.record.id)))
            });
            [word(&keys.join(", ")), word("belong to")].into_iter().chain(linked).collect()
        }
        WaitingFor::DuplicateInSystem { record, native_id } => {
            vec![word("already there as"), (native_id.clone(), Some(format!("/records/{}/{record}", row.key.entity_type)))]
        }
        WaitingFor::Brake { id } => vec![word("the brake"), word(id)],
        other @ (WaitingFor::NoIdentity | WaitingFor::NoBase | WaitingFor::OpenCreate { .. } | WaitingFor::Review | WaitingFor::Time) => {
            vec![(explain::waiting(other), None)]
        }
    })
}

/// `GET /waiting/{update}`
pub async fn one(State(api): Shared, visit: Visit, Path(update): Path<String>) -> Answer {
    let update = UpdateId::try_from(update).map_err(Problem::question)?;
    let decision = api.store.decision(&update).await?;
    let settled = || Problem::absent(format!("{update} does not wait. What became of it is at {}.", words::decision_href(&update)));
    let row = decision.ok_or_else(|| Problem::absent(format!("No update {update} is known.")))?;
    let native_id = row.native_id.clone().ok_or_else(settled)?;
    let key = NativeKey { system: row.source_system.clone(), entity_type: row.entity_type.clone(), native_id };
    let found = api.store.look_up(&Lookup { waiting_of: vec![key], ..Lookup::default() }).await?;
    let waiting = found.waiting.into_iter().find(|waiting| waiting.update == update).ok_or_else(settled)?;
    let known = match waiting.change.as_ref().map(|change| change.canonical_id).or(row.canonical_id) {
        Some(id) => api.store.records(&[id]).await?.into_iter().next().map(|found| found.record),
        None => None,
    };
    let rows = match &known {
        Some(record) => would(&api, record, &waiting).await?,
        None => Vec::new(),
    };
    let Said { title, advice, .. } = said(&waiting.waiting_for);
    let review = matches!(waiting.waiting_for, WaitingFor::Review);
    let now = api.clock.now();
    let source = waiting.key.system.to_string();
    let about = (Some(waiting.key.system.as_str()), Some(waiting.key.entity_type.as_str()));
    let told = hidden::told(&api.settings.rules, &waiting.message, about);
    let hides = told.as_ref().is_none_or(hidden::Told::hides);
    let message = told.map(|told| told.message);
    Ok(shown(&Waits {
        frame: frame(&api, &visit, &format!("{update} waits"), "waiting").await?,
        update_path: words::encoded(&update.to_string()),
        title: words::title(&row),
        kind: if review { words::REVIEW } else { Kind { word: title, ..words::of(row.decision) } },
        reason: row.reason.clone(),
        record: known
            .map(|record| Link { text: record::title(&api, &record), href: format!("/records/{}/{}", record.entity_type, record.id) }),
        since: words::moment(waiting.since, now),
        retry_at: waiting.retry_at.map(|at| words::moment(at, now)),
        attempts: if waiting.attempts == 1 { "once".to_owned() } else { format!("{} times", waiting.attempts) },
        rows,
        review,
        advice,
        tag: waiting.tag(),
        entity: match message.as_ref().and_then(|message| message.get("entity")) {
            Some(entity) if !entity.is_null() => pretty(entity),
            _ => String::new(),
        },
        hidden: hides,
        message: message.as_ref().map_or_else(|| hidden::UNTOLD.to_owned(), pretty),
        update: update.to_string(),
        source,
    }))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// What it would change, beside what is canonical now.
async fn would(api: &Api, record: &CanonicalRecord, waiting: &Waiting) -> Result<Vec<MergeRow>, Problem> {
    let Some(change) = &waiting.change else { return Ok(Vec::new()) };
    let names = record::names(api, std::iter::once(&record.data), &record.entity_type).await?;
    let types = api.settings.rules.of_type(&record.entity_type);
    let row = |field: &FieldChange| {
        let ours = record.data.get(&field.path);
        let from = record.provenance.of(&field.path).map(|source| format!("from {}", source.system));
        let moved = ours != field.base.as_ref() && field.base.is_some() && ours != Some(&field.value);
        let cell = |value| if types.redacts(&field.path) { hidden::cell() } else { names.cell(value) };
        MergeRow {
            field: field.path.to_string(),
            conflict: moved,
            base: if field.assumed { Cell::Word("not said".to_owned()) } else { cell(field.base.as_ref()) },
            ours: cell(ours),
            ours_from: from.unwrap_or_default(),
            theirs: cell(Some(&field.value)),
            outcome: Cell::Word("open".to_owned()),
            by: String::new(),
        }
    };
    Ok(change.fields.iter().map(row).collect())
}
