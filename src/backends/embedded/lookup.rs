//! Readers beside the writer, and what a batch asks before it is decided. Look-ups by key are answered where they are
//! asked: they take microseconds, a change of threads takes longer.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::{Connection, OptionalExtension};

use super::codec::{Hasher, Key, canonical, marker};
use super::error::{failed, unreadable};
use super::keys::{Kind, find};
use super::recent::Recent;
use super::schema;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::ids::{CanonicalId, EntityType, NativeKey, SystemName};
use crate::domain::waiting::Waiting;
use crate::ports::error::PortError;
use crate::ports::store::{Found, Lookup, Versioned, WAITING_ON_MAX};

const LOOK_UP: &str = "look up";
const LOAD: &str = "load records";
const RECORD: &str = "SELECT revision, body FROM records WHERE id = ?1 AND body IS NOT NULL";
const ANY_WAITING: &str = "SELECT 1 FROM waiting LIMIT 1";
const WAITING_OF: &str = "SELECT n FROM waiting WHERE h = ?1 AND c = ?2 LIMIT ?3";
const WAITING_ON: &str = "SELECT n FROM waits_on WHERE h = ?1 AND c = ?2 ORDER BY n LIMIT ?3";
const OPEN_CREATE: &str = "SELECT 1 FROM creates WHERE system = ?1 AND type = ?2 LIMIT 1";
const WAITING: &str = "SELECT body FROM waiting WHERE n = ?1";

/// Connections that only read.
#[derive(Debug)]
pub(super) struct Readers {
    quick: Vec<Mutex<Connection>>,
    slow: Mutex<Connection>,
}

fn locked(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readers {
    pub fn open(file: &Path, count: usize, cache_kib: u32) -> Result<Self, PortError> {
        let quick = (0..count.max(1)).map(|_| schema::open_reader(file, cache_kib).map(Mutex::new));
        Ok(Self { quick: quick.collect::<Result<_, _>>()?, slow: Mutex::new(schema::open_reader(file, 512)?) })
    }

    /// A connection for look-ups by key.
    pub fn quick(&self) -> MutexGuard<'_, Connection> {
        let free = self.quick.iter().find_map(|connection| match connection.try_lock() {
            Ok(connection) => Some(connection),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| locked(&self.quick[0]))
    }

    /// The connection for lists, which may take long.
    pub fn slow(&self) -> MutexGuard<'_, Connection> {
        locked(&self.slow)
    }
}

/// Reads everything in one view of the store, which is also faster than a view for each query.
pub(super) fn in_one_view<T>(
    conn: &Connection,
    operation: &'static str,
    read: impl FnOnce(&Connection) -> Result<T, PortError>,
) -> Result<T, PortError> {
    let view = conn.unchecked_transaction().map_err(failed(operation))?;
    let found = read(&view)?;
    view.commit().map_err(failed(operation))?;
    Ok(found)
}

/// Answers everything a batch wants to know.
pub(super) fn look_up(conn: &Connection, hasher: &Hasher, recent: &Recent, lookup: &Lookup) -> Result<Found, PortError> {
    let asked: Vec<&_> = lookup.updates.iter().chain(&lookup.fresh).collect();
    let updates: Vec<Key> = asked.iter().map(|update| hasher.update(update)).collect();
    let links: Vec<Key> = lookup.links.iter().map(|key| hasher.native(key)).collect();
    let claims: Vec<Key> = lookup.claims.iter().map(|claim| hasher.typed_claim(claim)).collect();
    let recent_updates = recent.find(Kind::Marker, &updates);
    let recent_links = recent.find(Kind::Link, &links);
    let recent_claims = recent.find(Kind::Claim, &claims);
    in_one_view(conn, LOOK_UP, |conn| {
        let error = failed(LOOK_UP);
        let markers = find(conn, Kind::Marker, &updates, &recent_updates).map_err(error)?;
        let links = find(conn, Kind::Link, &links, &recent_links).map_err(error)?;
        let claims = find(conn, Kind::Claim, &claims, &recent_claims).map_err(error)?;
        Ok(Found {
            markers: markers.into_iter().map(|(index, entry)| (asked[index].clone(), marker(entry))).collect(),
            links: links.into_iter().map(|(index, entry)| (lookup.links[index].clone(), canonical(entry))).collect(),
            claims: claims.into_iter().map(|(index, entry)| (lookup.claims[index].clone(), canonical(entry))).collect(),
            waiting: waiting(conn, hasher, lookup)?,
            open_creates: open_creates(conn, &lookup.open_creates).map_err(error)?,
        })
    })
}

fn open_creates(conn: &Connection, asked: &[(SystemName, EntityType)]) -> rusqlite::Result<HashSet<(SystemName, EntityType)>> {
    let mut open = HashSet::new();
    for (system, entity_type) in asked {
        let row = conn.prepare_cached(OPEN_CREATE)?.query_row((system.as_str(), entity_type.as_str()), |_| Ok(())).optional()?;
        open.extend(row.map(|()| (system.clone(), entity_type.clone())));
    }
    Ok(open)
}

fn waiting(conn: &Connection, hasher: &Hasher, lookup: &Lookup) -> Result<Vec<Waiting>, PortError> {
    let error = failed(LOOK_UP);
    if lookup.waiting_of.is_empty() && lookup.waiting_on.is_empty() {
        return Ok(Vec::new());
    }
    if conn.prepare_cached(ANY_WAITING).map_err(error)?.query_row([], |_| Ok(())).optional().map_err(error)?.is_none() {
        return Ok(Vec::new());
    }
    let mut rows = BTreeSet::new();
    waiting_rows(conn, hasher, &lookup.waiting_on, WAITING_ON, WAITING_ON_MAX, &mut rows).map_err(error)?;
    waiting_rows(conn, hasher, &lookup.waiting_of, WAITING_OF, usize::MAX, &mut rows).map_err(error)?;
    let mut statement = conn.prepare_cached(WAITING).map_err(error)?;
    let mut found = Vec::with_capacity(rows.len());
    for n in rows {
        let body: String = statement.query_row([n], |row| row.get(0)).map_err(error)?;
        found.push(parse_waiting(LOOK_UP, &body)?);
    }
    found.sort_by(|a, b| (a.arrival, &a.update).cmp(&(b.arrival, &b.update)));
    Ok(found)
}

/// Adds the numbers of waiting rows, until there are `most`.
fn waiting_rows(
    conn: &Connection,
    hasher: &Hasher,
    keys: &[NativeKey],
    sql: &str,
    most: usize,
    rows: &mut BTreeSet<i64>,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(sql)?;
    for key in keys.iter().map(|key| hasher.native(key)) {
        let room = i64::try_from(most.saturating_sub(rows.len())).unwrap_or(i64::MAX);
        for n in statement.query_map([key.h, key.c, room], |row| row.get(0))? {
            rows.insert(n?);
        }
    }
    Ok(())
}

pub(super) fn parse_waiting(operation: &'static str, body: &str) -> Result<Waiting, PortError> {
    serde_json::from_str(body).map_err(|error| unreadable(operation, "waiting update", error))
}

/// Loads records by id.
pub(super) fn records(conn: &Connection, ids: &[CanonicalId]) -> Result<Vec<Versioned>, PortError> {
    in_one_view(conn, LOAD, |conn| {
        let error = failed(LOAD);
        let mut statement = conn.prepare_cached(RECORD).map_err(error)?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let mut rows = statement.query([id.as_bytes()]).map_err(error)?;
            if let Some(row) = rows.next().map_err(error)? {
                found.push(versioned(LOAD, row)?);
            }
        }
        Ok(found)
    })
}

/// Reads a record from a row of (revision, body).
pub(super) fn versioned(operation: &'static str, row: &rusqlite::Row<'_>) -> Result<Versioned, PortError> {
    let error = failed(operation);
    let revision = row.get(0).map(super::codec::unsigned).map_err(error)?;
    let body = row.get_ref(1).map_err(error)?.as_str().map_err(|error| unreadable(operation, "record", error))?;
    let mut record: CanonicalRecord = serde_json::from_str(body).map_err(|error| unreadable(operation, "record", error))?;
    record.compact();
    Ok(Versioned { record: std::sync::Arc::new(record), revision })
}
