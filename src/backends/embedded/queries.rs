//! Lists: decisions, records, waiting updates, dead letters, facts.

use std::collections::BTreeSet;

use rusqlite::types::Value as Column;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::codec::{self, Key, is_rare, kind_number, marker_row, signed, unsigned};
use super::error::{failed, unreadable};
use super::keys::{Kind, find};
use super::lookup::{in_one_view, parse_waiting, versioned};
use super::recent::Recent;
use crate::domain::decision::Decision;
use crate::domain::ids::{CanonicalId, EntityType};
use crate::domain::time::Timestamp;
use crate::domain::waiting::Waiting;
use crate::ports::audit::Audit;
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::hold::HoldRow;
use crate::ports::store::{Cursor, DeadLetter, DecisionFilter, Page, PageBytes, SystemFacts, Versioned, words_of};

const DECISION: &str = "read a decision";
const DECISIONS: &str = "list decisions";
const RECORDS: &str = "list records";
const WAITING: &str = "list waiting updates";
const DEAD: &str = "list dead letters";
const FACTS: &str = "read facts";
const AUDITS: &str = "list what was done";
/// Rows a list of decisions looks through at most, where not every one fits: some ten milliseconds.
const LOOKED_THROUGH: usize = 20_000;
const ROW: &str = "SELECT id, late, uid, body, previous, record FROM decisions WHERE id = ?1";

fn position(after: Option<&Cursor>, operation: &'static str) -> Result<Option<i64>, PortError> {
    let invalid = |_| PortError::new(PortErrorKind::Invalid, operation, "the cursor is not one of this list");
    after.map(|cursor| cursor.0.parse().map_err(invalid)).transpose()
}

/// A page from rows read one too far.
fn page<T>(mut rows: Vec<(i64, T)>, limit: usize) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(position, _)| Cursor(position.to_string()));
    Page { items: rows.into_iter().map(|(_, row)| row).collect(), next }
}

/// Rows that fit, one more than wanted if there are; and, if it was not looked through all of them, the last one looked at.
#[derive(Default)]
struct Looked {
    fits: Vec<(i64, Decision)>,
    stopped_at: Option<i64>,
}

impl Looked {
    fn page(self, limit: usize) -> Page<Decision> {
        let page = page(self.fits, limit);
        let next = page.next.or_else(|| self.stopped_at.map(|id| Cursor(id.to_string())));
        Page { next, ..page }
    }
}

/// The row of one update.
pub(super) fn decision(conn: &Connection, key: Key, recent: &Recent) -> Result<Option<Decision>, PortError> {
    let error = failed(DECISION);
    let mut seen = 0;
    loop {
        let known = recent.find(Kind::Marker, &[key]);
        let marker = find(conn, Kind::Marker, &[key], &known).map_err(error)?;
        let id = marker.first().map_or(0, |(_, entry)| marker_row(*entry).abs());
        let mut statement = conn.prepare_cached(ROW).map_err(error)?;
        let mut rows = statement.query([id]).map_err(error)?;
        let Some(row) = rows.next().map_err(error)? else { return Ok(None) };
        let decision = read_decision(DECISION, row)?;
        // Only its place is left: it was replaced just now, between the two queries.
        if decision.is_some() || id == seen {
            return Ok(decision);
        }
        seen = id;
    }
}

/// Reads a row of (id, late, uid, body); `None` if only its place is left.
fn read_decision(operation: &'static str, row: &Row<'_>) -> Result<Option<Decision>, PortError> {
    let error = failed(operation);
    let Some(late) = row.get::<_, Option<i64>>(1).map_err(error)? else { return Ok(None) };
    let at = row.get::<_, i64>(0).map_err(error)? - late;
    let text = |column| row.get_ref(column).map_err(error)?.as_str().map_err(|error| unreadable(operation, "decision", error));
    codec::decision(operation, text(2)?, at, text(3)?).map(Some)
}

/// Rows, newest first.
pub(super) fn decisions(
    conn: &Connection,
    filter: &DecisionFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<Decision>, PortError> {
    let before = position(after, DECISIONS)?;
    // One view, so that a row that is replaced meanwhile is seen once.
    let found = in_one_view(conn, DECISIONS, |conn| match filter.record {
        Some(record) => history(conn, record, filter, before, limit),
        None => scan(conn, filter, before, limit),
    });
    found.map(|looked| looked.page(limit))
}

/// The history of one record: each row knows the one before it.
fn history(
    conn: &Connection,
    record: CanonicalId,
    filter: &DecisionFilter,
    before: Option<i64>,
    limit: usize,
) -> Result<Looked, PortError> {
    let error = failed(DECISIONS);
    let head = "SELECT n, head FROM records WHERE id = ?1";
    let head = conn.query_row(head, [record.as_bytes()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)));
    let Some((n, mut next)) = head.optional().map_err(error)? else { return Ok(Looked::default()) };
    let mut statement = conn.prepare_cached(ROW).map_err(error)?;
    if let Some(before) = before {
        let read = |row: &Row<'_>| Ok((row.get::<_, Option<i64>>(4)?, row.get::<_, Option<i64>>(5)?));
        match statement.query_row([before], read).optional().map_err(error)? {
            // The usual case: go on where the last page ended.
            Some((previous, Some(record))) if record == n => next = previous,
            _ => {}
        }
    }
    let wanted = filter.words();
    let (mut found, mut looked) = (Looked::default(), 0);
    while let Some(id) = next
        && found.fits.len() <= limit
    {
        if looked == LOOKED_THROUGH {
            break;
        }
        let mut rows = statement.query([id]).map_err(error)?;
        let Some(row) = rows.next().map_err(error)? else { break };
        // What earlier pages had is passed by, however much it is: a page never goes back.
        let after_cursor = before.is_none_or(|before| id < before);
        looked += usize::from(after_cursor);
        if after_cursor
            && let Some(decision) = read_decision(DECISIONS, row)?
            && admits(filter, &wanted, &decision)
        {
            found.fits.push((id, decision));
        }
        next = row.get(4).map_err(error)?;
        found.stopped_at = next.filter(|_| looked == LOOKED_THROUGH).map(|_| id);
    }
    Ok(found)
}

fn scan(conn: &Connection, filter: &DecisionFilter, before: Option<i64>, limit: usize) -> Result<Looked, PortError> {
    let error = failed(DECISIONS);
    let (sql, values) = scan_query(conn, filter, before)?;
    let wanted = filter.words();
    let mut statement = conn.prepare(&sql).map_err(error)?;
    let mut rows = statement.query(params_from_iter(values)).map_err(error)?;
    let (mut found, mut looked) = (Looked::default(), 0);
    while found.fits.len() <= limit {
        let Some(row) = rows.next().map_err(error)? else {
            found.stopped_at = None;
            break;
        };
        if looked == LOOKED_THROUGH {
            break;
        }
        looked += 1;
        let id = row.get(0).map_err(error)?;
        found.stopped_at = Some(id);
        if may_say(row, &wanted).map_err(error)?
            && let Some(decision) = read_decision(DECISIONS, row)?
            && admits(filter, &wanted, &decision)
        {
            found.fits.push((id, decision));
        }
    }
    Ok(found)
}

/// Whether the text of a row may have these words: told without reading it as what it is.
fn may_say(row: &Row<'_>, wanted: &BTreeSet<String>) -> rusqlite::Result<bool> {
    let Some(body) = row.get_ref(3)?.as_str_or_null().ok().flatten().filter(|body| !wanted.is_empty() && body.is_ascii()) else {
        return Ok(true);
    };
    let body = body.to_ascii_lowercase();
    Ok(wanted.iter().all(|word| body.contains(word.as_str())))
}

/// Rows are numbered by their time, give or take what they were late: a range of numbers holds a range of times. One part is
/// asked of an index; of a row that doesn't fit the others only the number comes.
fn scan_query(conn: &Connection, filter: &DecisionFilter, before: Option<i64>) -> Result<(String, Vec<Column>), PortError> {
    let error = failed(DECISIONS);
    let name = |name: &str| {
        let id = conn.query_row("SELECT id FROM names WHERE name = ?1", [name], |row| row.get(0)).optional().map_err(error)?;
        // A name nobody has used yet has no rows.
        Ok::<i64, PortError>(id.unwrap_or(-1))
    };
    let mut equals = Vec::new();
    equals.extend(filter.decision.filter(|kind| is_rare(*kind)).map(|kind| ("rare", kind_number(kind))));
    if let Some(system) = &filter.system {
        equals.push(("system", name(system.as_str())?));
    }
    let indexed = equals.len().min(1);
    equals.extend(filter.decision.filter(|kind| !is_rare(*kind)).map(|kind| ("kind", kind_number(kind))));
    if let Some(entity_type) = &filter.entity_type {
        equals.push(("type", name(entity_type.as_str())?));
    }
    let (asked, others) = equals.split_at(indexed);
    let others: Vec<String> = others.iter().map(|(column, value)| format!("{column} = {value}")).collect();
    let fits = if others.is_empty() { "1".to_owned() } else { others.join(" AND ") };
    let mut sql =
        format!("SELECT id, CASE WHEN {fits} THEN late END, uid, CASE WHEN {fits} THEN body END FROM decisions WHERE kind IS NOT NULL");
    let mut values = Vec::new();
    let mut and = |part: &str, value: i64| {
        sql.push_str(" AND ");
        sql.push_str(part);
        values.push(Column::Integer(value));
    };
    for (column, value) in asked {
        and(&format!("{column} = ?"), *value);
    }
    if let Some(before) = before {
        and("id < ?", before);
    }
    if let Some(since) = filter.since {
        and("id >= ?", since.as_micros());
    }
    if let Some(until) = filter.until {
        let late: i64 = super::schema::meta(conn, "late")?;
        and("id < ?", until.as_micros().saturating_add(late));
    }
    sql.push_str(" ORDER BY id DESC");
    Ok((sql, values))
}

fn admits(filter: &DecisionFilter, wanted: &BTreeSet<String>, row: &Decision) -> bool {
    filter.system.as_ref().is_none_or(|system| row.source_system == *system)
        && filter.entity_type.as_ref().is_none_or(|entity_type| row.entity_type == *entity_type)
        && filter.decision.is_none_or(|kind| row.decision == kind)
        && filter.since.is_none_or(|since| row.timestamp >= since)
        && filter.until.is_none_or(|until| row.timestamp < until)
        && (wanted.is_empty() || words_of(&row.reason).is_superset(wanted))
}

/// Records by id.
pub(super) fn records(
    conn: &Connection,
    entity_type: Option<&EntityType>,
    after: Option<CanonicalId>,
    limit: usize,
) -> Result<Vec<Versioned>, PortError> {
    let error = failed(RECORDS);
    let wanted = if entity_type.is_some() { "type = (SELECT id FROM names WHERE name = ?2)" } else { "type IS NOT ?2" };
    let sql = format!("SELECT revision, body FROM records WHERE id > ?1 AND {wanted} ORDER BY id LIMIT ?3");
    let mut statement = conn.prepare_cached(&sql).map_err(error)?;
    let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
    let mut rows = statement.query(params![after, entity_type.map(EntityType::as_str), signed(limit as u64)]).map_err(error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(error)? {
        found.push(versioned(RECORDS, row)?);
    }
    Ok(found)
}

/// How many records there are.
pub(super) fn count_records(conn: &Connection) -> Result<u64, PortError> {
    let error = failed("count records");
    // Within the index of ids, which has the type, too.
    let mut statement = conn.prepare_cached("SELECT count(*) FROM records WHERE type IS NOT NULL").map_err(error)?;
    statement.query_row((), |row| row.get(0)).map(unsigned).map_err(error)
}

fn waiting_rows(conn: &Connection, sql: &str, from: i64, limit: usize) -> Result<Vec<Waiting>, PortError> {
    let error = failed(WAITING);
    let mut statement = conn.prepare_cached(sql).map_err(error)?;
    let bodies = statement.query_map([from, signed(limit as u64)], |row| row.get::<_, String>(0)).map_err(error)?;
    bodies.map(|body| parse_waiting(WAITING, &body.map_err(error)?)).collect()
}

/// Waiting updates in arrival order.
pub(super) fn waiting(conn: &Connection, after: Option<u64>, limit: usize) -> Result<Vec<Waiting>, PortError> {
    let sql = "SELECT body FROM waiting WHERE arrival > ?1 ORDER BY arrival, uid LIMIT ?2";
    waiting_rows(conn, sql, after.map_or(-1, signed), limit)
}

/// Waiting updates whose time has come, or that miss nothing any more.
pub(super) fn waiting_due(conn: &Connection, now: Timestamp, limit: usize) -> Result<Vec<Waiting>, PortError> {
    // Thousands may miss nothing any more: only those that are wanted are read. The plus keeps SQLite from walking
    // through all of them in order.
    let sql = "SELECT body FROM waiting WHERE n IN (
            SELECT n FROM (
                SELECT n, arrival, uid FROM waiting WHERE retry_at <= ?1
                UNION
                SELECT * FROM (SELECT n, arrival, uid FROM waiting WHERE open = 0 ORDER BY arrival, uid LIMIT ?2))
            ORDER BY arrival, uid LIMIT ?2)
        ORDER BY +arrival, uid";
    waiting_rows(conn, sql, now.as_micros(), limit)
}

/// The earliest time any waiting update has.
pub(super) fn next_due(conn: &Connection) -> Result<Option<Timestamp>, PortError> {
    let sql = "SELECT min(retry_at) FROM waiting WHERE retry_at IS NOT NULL";
    let due = conn.prepare_cached(sql).and_then(|mut statement| statement.query_row([], |row| row.get::<_, Option<i64>>(0)));
    Ok(due.map_err(failed(WAITING))?.map(Timestamp::from_micros))
}

/// Dead letters, oldest first.
pub(super) fn dead_letters(conn: &Connection, after: Option<&Cursor>, limit: usize) -> Result<Page<DeadLetter>, PortError> {
    let error = failed(DEAD);
    let after = position(after, DEAD)?.unwrap_or(0);
    let mut statement = conn.prepare_cached("SELECT n, body FROM dead WHERE n > ?1 ORDER BY n LIMIT ?2").map_err(error)?;
    let mut rows = statement.query([after, signed(limit as u64).saturating_add(1)]).map_err(error)?;
    let (mut found, mut bytes) = (Vec::new(), PageBytes::default());
    while let Some(row) = rows.next().map_err(error)? {
        let body: String = row.get(1).map_err(error)?;
        let letter: DeadLetter = serde_json::from_str(&body).map_err(|error| unreadable(DEAD, "dead letter", error))?;
        let (room, fit) = (bytes.has_room(letter.bytes()), found.len());
        found.push((row.get(0).map_err(error)?, letter));
        if !room {
            return Ok(page(found, fit));
        }
    }
    Ok(page(found, limit))
}

/// One dead letter.
pub(super) fn dead_letter(conn: &Connection, id: &str) -> Result<Option<DeadLetter>, PortError> {
    let mut statement = conn.prepare_cached("SELECT body FROM dead WHERE id = ?1").map_err(failed(DEAD))?;
    let body: Option<String> = statement.query_row([id], |row| row.get(0)).optional().map_err(failed(DEAD))?;
    body.map(|body| serde_json::from_str(&body).map_err(|error| unreadable(DEAD, "dead letter", error))).transpose()
}

/// Everything known about systems.
pub(super) fn facts(conn: &Connection) -> Result<Vec<SystemFacts>, PortError> {
    let error = failed(FACTS);
    let mut statement = conn.prepare_cached("SELECT body FROM facts ORDER BY system").map_err(error)?;
    let bodies = statement.query_map([], |row| row.get::<_, String>(0)).map_err(error)?;
    let parse = |body: String| serde_json::from_str(&body).map_err(|error| unreadable(FACTS, "fact", error));
    bodies.map(|body| parse(body.map_err(error)?)).collect()
}

/// What is kept back, or was once.
pub(super) fn holds(conn: &Connection) -> Result<Vec<HoldRow>, PortError> {
    let error = failed("read holds");
    let mut statement = conn.prepare_cached("SELECT body FROM holds ORDER BY id").map_err(error)?;
    let bodies = statement.query_map([], |row| row.get::<_, String>(0)).map_err(error)?;
    let parse = |body: String| serde_json::from_str(&body).map_err(|error| unreadable("read holds", "hold", error));
    bodies.map(|body| body.map_err(error).and_then(parse)).collect()
}

/// What people did, newest first.
pub(super) fn audits(conn: &Connection, after: Option<&Cursor>, limit: usize) -> Result<Page<Audit>, PortError> {
    let error = failed(AUDITS);
    // No id is beyond this.
    let before = after.map(|cursor| cursor.uuid(AUDITS)).transpose()?.unwrap_or("~");
    let mut statement = conn.prepare_cached("SELECT body FROM audits WHERE id < ?1 ORDER BY id DESC LIMIT ?2").map_err(error)?;
    let wanted = signed(limit as u64).saturating_add(1);
    let bodies = statement.query_map(params![before, wanted], |row| row.get::<_, String>(0)).map_err(error)?;
    let parse = |body: String| serde_json::from_str(&body).map_err(|error| unreadable(AUDITS, "entry", error));
    let entries = bodies.map(|body| body.map_err(error).and_then(parse)).collect::<Result<Vec<Audit>, _>>()?;
    Ok(Page::of_audits(entries, limit))
}
