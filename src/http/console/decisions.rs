//! The log of decisions, and one of them as base, ours, theirs and outcome.

use axum::extract::{Path, State};
use serde_json::Value;

use super::model::{Asked, Cell, DecisionLine, DecisionPage, Decisions, Link, MergeRow};
use super::{Answer, ROWS, Visit, frame, hidden, record, shown, systems, words};
use crate::domain::decision::{Conflict, ConflictBase, Decision, DecisionKind, Winner};
use crate::domain::explain;
use crate::domain::ids::UpdateId;
use crate::domain::masks;
use crate::domain::redact::redact_row;
use crate::domain::rules::TypeRules;
use crate::domain::time::Timestamp;
use crate::domain::value::{FieldPath, Leaves, same};
use crate::http::query::Query;
use crate::http::routes::Shared;
use crate::http::{Api, Problem};
use crate::ports::store::{Cursor, DecisionFilter};
use crate::views::ViewError;
use crate::views::find::{self, Wanted};

/// Earlier rows looked at to find what was canonical before.
const LOOKED_BACK: usize = 200;

/// A row of a list.
pub fn line(row: &Decision, now: Timestamp) -> DecisionLine {
    let native = row.native_id.as_ref().map_or("?", |id| id.as_str());
    let mut what = vec![row.entity_type.to_string(), row.op.as_str().to_owned()];
    if !row.changed.is_empty() {
        what.push(words::fields(&row.changed));
    }
    DecisionLine {
        update: row.update.to_string(),
        href: words::decision_href(&row.update),
        kind: words::of(row.decision),
        from: format!("{}:{native}", row.source_system),
        what: what.join(" · "),
        reason: row.reason.clone(),
        by: words::by(&row.decided_by),
        at: words::moment(row.timestamp, now),
    }
}

/// `GET /decisions?decision&system&type&reason&entity&cursor`
pub async fn list(State(api): Shared, visit: Visit, mut query: Query) -> Answer {
    let names = ["decision", "system", "type", "reason", "entity", "cursor"];
    let [decision, system, entity_type, reason, entity, cursor] = names.map(|name| query.take(name).unwrap_or_default());
    query.finish("decision, system, type, reason, entity and cursor")?;
    let given = [("decision", &decision), ("system", &system), ("type", &entity_type), ("reason", &reason), ("entity", &entity)];
    let pairs: Vec<String> =
        given.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}={}", words::encoded(value))).collect();
    let first = format!("/decisions?{}", pairs.join("&"));
    let (rows, problem, next) = match page(&api, &given.map(|(_, value)| value.as_str()), &cursor).await {
        Ok((rows, next)) => (rows, None, next),
        // What was typed into the filter is answered where it was typed.
        Err(ViewError::Question(text) | ViewError::Absent(text)) => (Vec::new(), Some(text), None),
        Err(error @ ViewError::Port(_)) => return Err(error.into()),
    };
    let now = api.clock.now();
    let mark = if pairs.is_empty() { "" } else { "&" };
    Ok(shown(&Decisions {
        frame: frame(&api, &visit, "Decisions", "decisions").await?,
        kinds: DecisionKind::ALL.into_iter().map(words::of).collect(),
        systems: systems::names(&api).await?,
        types: systems::types(&api).await?.iter().map(ToString::to_string).collect(),
        asked: Asked { any: !pairs.is_empty(), paged: !cursor.is_empty(), decision, system, entity_type, reason, entity },
        problem,
        rows: rows.iter().map(|row| line(row, now)).collect(),
        next: next.map(|Cursor(next)| format!("{first}{mark}cursor={}", words::encoded(&next))),
        first,
    }))
}

async fn page(api: &Api, given: &[&str; 5], cursor: &str) -> Result<(Vec<Decision>, Option<Cursor>), ViewError> {
    let [decision, system, entity_type, reason, entity] = given.map(|text| (!text.is_empty()).then_some(text));
    let wanted = Wanted { decision, system, entity_type, reason, entity, since: None, until: None };
    let filter = find::filter(api.store.as_ref(), &wanted).await?;
    let cursor = (!cursor.is_empty()).then(|| Cursor(cursor.to_owned()));
    let page = api.store.decisions(&filter, cursor.as_ref(), ROWS).await?;
    Ok((page.items, page.next))
}

/// `GET /decisions/{update}`
pub async fn one(State(api): Shared, visit: Visit, Path(update): Path<String>) -> Answer {
    let update = UpdateId::try_from(update).map_err(Problem::question)?;
    let mut row = api.store.decision(&update).await?.ok_or_else(|| Problem::absent(format!("There is no decision about {update}.")))?;
    let now = api.clock.now();
    let types = api.settings.rules.of_type(&row.entity_type);
    let before = before(&api, &row).await?;
    // Rows written before a field was redacted still have its values.
    redact_row(&mut row, &types);
    let names = record::names(
        &api,
        [before.as_ref(), row.proposed_snapshot.as_ref(), row.accepted_snapshot.as_ref()].into_iter().flatten(),
        &row.entity_type,
    )
    .await?;
    let rows = rows(&row, before.as_ref(), &types, &names);
    let total = row.accepted_snapshot.as_ref().or(before.as_ref()).map_or(0, Leaves::len);
    let untouched = total.saturating_sub(rows.len());
    let record = match row.canonical_id {
        Some(id) => api
            .store
            .records(&[id])
            .await?
            .first()
            .map(|found| Link { text: record::title(&api, &found.record), href: format!("/records/{}/{id}", row.entity_type) }),
        None => None,
    };
    Ok(shown(&DecisionPage {
        frame: frame(&api, &visit, &format!("Decision about {update}"), "decisions").await?,
        update_path: words::encoded(&update.to_string()),
        title: words::title(&row),
        kind: words::of(row.decision),
        waits: row.decision.is_waiting(),
        reason: row.reason.clone(),
        record,
        version_before: row.version_before,
        version_after: row.version_after,
        by: words::by(&row.decided_by),
        at: words::moment(row.timestamp, now),
        source: row.source_system.to_string(),
        merge_note: match untouched {
            0 => String::new(),
            _ => format!("{} as before", words::counted(untouched as u64, "field", "fields")),
        },
        nothing: explain::decision(&row).lines().nth(1).unwrap_or_default().to_owned(),
        rows,
        notified: row.notified.iter().map(ToString::to_string).collect(),
        facts: facts(&row, now),
        raw: serde_json::to_string_pretty(&row).unwrap_or_default(),
        update: update.to_string(),
    }))
}

fn facts(row: &Decision, now: Timestamp) -> Vec<(&'static str, String, bool)> {
    let (took, unit) = words::short_time(row.duration_us);
    let tries = if row.attempts <= 1 { "at the first try".to_owned() } else { format!("after {} tries", row.attempts) };
    let native = row.native_id.as_ref().map_or_else(|| "not known".to_owned(), ToString::to_string);
    let mut facts = vec![
        ("Update", row.update.to_string(), true),
        ("Sent by", row.source_system.to_string(), false),
        ("About", format!("{} {native}", row.entity_type), false),
        ("Says", words::op(row.op).to_owned(), false),
        ("Arrived", words::moment(row.received_at, now).full, false),
        ("Decided", format!("{took} {unit} later, {tries}"), false),
        ("Configuration", row.config.clone(), true),
    ];
    if let Some(trace) = &row.trace_id {
        facts.push(("Trace", trace.clone(), true));
    }
    facts
}

/// The canonical record as it was before a decision; `None` if that is not kept any more, or there was none.
async fn before(api: &Api, row: &Decision) -> Result<Option<Leaves>, Problem> {
    let (Some(id), true) = (row.canonical_id, row.version_before > 0) else { return Ok(None) };
    let filter = DecisionFilter { record: Some(id), until: Some(row.timestamp), ..DecisionFilter::default() };
    let earlier = api.store.decisions(&filter, None, LOOKED_BACK).await?.items;
    let made_it = |earlier: &Decision| earlier.version_after == row.version_before && earlier.version_before < earlier.version_after;
    Ok(earlier.into_iter().find(made_it).and_then(|earlier| earlier.accepted_snapshot))
}

/// Every field the decision was about.
fn rows(row: &Decision, before: Option<&Leaves>, types: &TypeRules, names: &record::Names) -> Vec<MergeRow> {
    let mut fields: Vec<&FieldPath> = Vec::new();
    for path in row.conflicts.iter().map(|conflict| &conflict.field).chain(&row.changed).chain(&row.modified_fields) {
        if !fields.contains(&path) {
            fields.push(path);
        }
    }
    fields
        .into_iter()
        .map(|path| if hides(row, path, before, types) { untold(row, path) } else { field(row, path, before, names) })
        .collect()
}

/// Whether the values of a field are not told, or not kept.
fn hides(row: &Decision, path: &FieldPath, before: Option<&Leaves>, types: &TypeRules) -> bool {
    let mut told = [before, row.proposed_snapshot.as_ref(), row.accepted_snapshot.as_ref()].into_iter().flatten();
    types.redacts(path) || told.any(|told| masks::hides(told, path))
}

fn untold(row: &Decision, path: &FieldPath) -> MergeRow {
    let conflict = row.conflicts.iter().find(|conflict| conflict.field == *path);
    let [base, ours, theirs, outcome] = std::array::from_fn(|_| hidden::cell());
    MergeRow {
        field: path.to_string(),
        conflict: conflict.is_some(),
        base,
        ours,
        ours_from: conflict.and_then(|conflict| conflict.ours_from.as_ref()).map_or_else(String::new, |from| format!("from {from}")),
        theirs,
        outcome,
        by: conflict.map_or_else(|| words::by(&row.decided_by), |conflict| conflict.rule.clone()),
    }
}

fn field(row: &Decision, path: &FieldPath, before: Option<&Leaves>, names: &record::Names) -> MergeRow {
    let conflict = row.conflicts.iter().find(|conflict| conflict.field == *path);
    let sent = row.changed.contains(path);
    let had = before.and_then(|before| before.get(path));
    let ours = conflict.map(|conflict| &conflict.ours).or(had);
    let said = row.proposed_snapshot.as_ref().and_then(|proposed| proposed.get(path)).filter(|_| sent);
    let theirs = conflict.map(|conflict| &conflict.theirs).or(said);
    // Nothing became canonical: what was there stays.
    let after = match &row.accepted_snapshot {
        Some(after) if row.version_after != row.version_before => after.get(path),
        _ => ours,
    };
    let not_known = row.version_before > 0 && before.is_none() && conflict.is_none();
    let ours_cell = if not_known { Cell::Word("not kept any more".to_owned()) } else { names.cell(ours) };
    let base = match conflict.map(|conflict| &conflict.base) {
        Some(Some(ConflictBase::Value(value))) => names.cell(Some(value)),
        Some(Some(ConflictBase::Assumed(_))) => Cell::Word("not said".to_owned()),
        Some(None) => Cell::Word("they met here first".to_owned()),
        None => ours_cell.clone(),
    };
    let (outcome, by) = if row.decision.is_waiting() {
        (Cell::Word("not decided yet".to_owned()), "it waits".to_owned())
    } else {
        outcome(row, after, (ours, theirs), conflict, names)
    };
    MergeRow {
        field: path.to_string(),
        conflict: conflict.is_some(),
        base,
        ours: ours_cell,
        ours_from: conflict.and_then(|conflict| conflict.ours_from.as_ref()).map_or_else(String::new, |from| format!("from {from}")),
        theirs: if theirs.is_none() && !sent { Cell::Word("not said".to_owned()) } else { names.cell(theirs) },
        outcome,
        by,
    }
}

/// The value that came out, in the colour of who won, and who said so.
fn outcome(
    row: &Decision,
    after: Option<&Value>,
    (ours, theirs): (Option<&Value>, Option<&Value>),
    conflict: Option<&Conflict>,
    names: &record::Names,
) -> (Cell, String) {
    let equal = |one: Option<&Value>, other: Option<&Value>| match (one, other) {
        (Some(one), Some(other)) => same(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    let rule = conflict.map_or_else(|| words::by(&row.decided_by), |conflict| conflict.rule.clone());
    let winner = conflict.map(|conflict| conflict.winner);
    let (tone, whose) = match winner {
        Some(Winner::Theirs) => ("ok", format!("{}'s", row.source_system)),
        Some(Winner::Ours) => ("part", "stays".to_owned()),
        Some(Winner::Handler) => ("part", "set anew".to_owned()),
        None if equal(after, theirs) && theirs.is_some() => ("ok", format!("{}'s", row.source_system)),
        None if equal(after, ours) => (if row.decision == DecisionKind::Dropped { "drop" } else { "part" }, "stays".to_owned()),
        None => ("part", "set anew".to_owned()),
    };
    let value = match names.cell(after) {
        Cell::Value(text) => Cell::Won(text, tone),
        other @ (Cell::Link(..) | Cell::Won(..) | Cell::Word(_)) => other,
    };
    (value, format!("{whose} · {rule}"))
}
