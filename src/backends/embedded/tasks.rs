//! Who refers to whom, and work that is still to be done.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::codec::{Entry, canonical, signed};
use super::error::{failed, unreadable};
use super::writer::Session;
use crate::domain::ids::{CanonicalId, EntityType};
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::store::RecordWrite;
use crate::ports::task::{Task, TaskChange};

const CHILDREN: &str = "look for children";
const TASKS: &str = "read tasks";
const DELETED: &str = "look for deleted records";
const DELETED_BEFORE: &str = "SELECT deleted_at, id FROM records WHERE deleted_at IS NOT NULL AND deleted_at < ?1
    AND (deleted_at, id) > (?2, ?3) ORDER BY deleted_at, id LIMIT ?4";
const OF_PARENT: &str = "SELECT child FROM children WHERE parent = ?1 AND type = (SELECT id FROM names WHERE name = ?2) AND child > ?3
    ORDER BY child LIMIT ?4";

/// What changes about the records one refers to.
pub(super) struct EncodedRefers {
    added: Vec<Entry>,
    removed: Vec<Entry>,
}

pub(super) fn encode_refers(write: &RecordWrite) -> EncodedRefers {
    let entries = |a: &BTreeSet<CanonicalId>, b: &BTreeSet<CanonicalId>| a.difference(b).map(|id| *id.as_bytes()).collect();
    EncodedRefers { added: entries(&write.refers_to, &write.referred_to), removed: entries(&write.referred_to, &write.refers_to) }
}

pub(super) fn refer(session: &mut Session<'_>, child: &Entry, entity_type: &EntityType, refers: &EncodedRefers) -> rusqlite::Result<()> {
    if refers.added.is_empty() && refers.removed.is_empty() {
        return Ok(());
    }
    let entity_type = session.name(entity_type.as_str())?;
    for parent in &refers.removed {
        session.sql.child_drop.execute(params![parent, entity_type, child])?;
    }
    for parent in &refers.added {
        session.sql.child_add.execute(params![parent, entity_type, child])?;
    }
    Ok(())
}

/// A task that begins or ends: its id, and what it is if it begins.
pub(super) type EncodedTask = (String, Option<String>);

pub(super) fn encode_task(change: &TaskChange) -> Result<EncodedTask, serde_json::Error> {
    match change {
        TaskChange::Begin(task) => Ok((task.to_string(), Some(serde_json::to_string(task)?))),
        TaskChange::End(task) => Ok((task.to_string(), None)),
    }
}

pub(super) fn change(session: &mut Session<'_>, (id, body): &EncodedTask) -> rusqlite::Result<()> {
    match body {
        Some(body) => session.sql.task_put.execute((id, body)).map(|_| ()),
        None => session.sql.task_drop.execute([id]).map(|_| ()),
    }
}

/// The records of a type that refer to one of these, by id.
pub(super) fn children(
    conn: &Connection,
    parents: &[CanonicalId],
    entity_type: &EntityType,
    after: Option<CanonicalId>,
    limit: usize,
) -> Result<Vec<CanonicalId>, PortError> {
    let error = failed(CHILDREN);
    let mut statement = conn.prepare_cached(OF_PARENT).map_err(error)?;
    let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
    let mut found = BTreeSet::new();
    for parent in parents {
        let asked = params![parent.as_bytes(), entity_type.as_str(), after, signed(limit as u64)];
        for child in statement.query_map(asked, |row| row.get(0).map(canonical)).map_err(error)? {
            found.insert(child.map_err(error)?);
        }
    }
    Ok(found.into_iter().take(limit).collect())
}

/// Records deleted before a time, the oldest delete first.
pub(super) fn deleted(
    conn: &Connection,
    before: Timestamp,
    after: Option<(Timestamp, CanonicalId)>,
    limit: usize,
) -> Result<Vec<(Timestamp, CanonicalId)>, PortError> {
    let error = failed(DELETED);
    let mut statement = conn.prepare_cached(DELETED_BEFORE).map_err(error)?;
    let (from, id) = after.map_or((i64::MIN, Vec::new()), |(at, id)| (at.as_micros(), id.as_bytes().to_vec()));
    let read = |row: &rusqlite::Row<'_>| Ok((Timestamp::from_micros(row.get(0)?), row.get(1).map(canonical)?));
    let rows = statement.query_map(params![before.as_micros(), from, id, signed(limit as u64)], read).map_err(error)?;
    rows.collect::<Result<_, _>>().map_err(error)
}

/// Work that is still to be done.
pub(super) fn tasks(conn: &Connection, limit: usize) -> Result<Vec<Task>, PortError> {
    let error = failed(TASKS);
    let mut statement = conn.prepare_cached("SELECT body FROM tasks ORDER BY id LIMIT ?1").map_err(error)?;
    let bodies = statement.query_map([signed(limit as u64)], |row| row.get::<_, String>(0)).map_err(error)?;
    let parse = |body: String| serde_json::from_str(&body).map_err(|error| unreadable(TASKS, "task", error));
    bodies.map(|body| body.map_err(error).and_then(parse)).collect()
}
