//! The queues: what adapters hand in, and what each system is sent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::{Notify, watch};

use super::codec::{canonical, signed, unsigned};
use super::error::{failed, unreadable};
use super::writer::Session;
use crate::domain::ids::{CanonicalId, EntityType, SystemName};
use crate::domain::link::SendOp;
use crate::domain::time::Timestamp;
use crate::ports::broker::{Delivery, Leased, OutboundMessage};
use crate::ports::error::{PortError, PortErrorKind};

pub(super) const ENQUEUE: &str = "enqueue";
pub(super) const PUBLISH: &str = "publish";
const RECEIVE: &str = "receive";
const SETTLE: &str = "settle";
const LEASE: &str = "lease";
const RELEASE: &str = "release";
const DEPTH: &str = "measure the queues";

/// What is known about the queues in memory only.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Rings when messages came in.
    pub came: Notify,
    /// Grows when something may have become free to lease.
    pub news: watch::Sender<u64>,
    /// The last message handed out for processing.
    received: Mutex<i64>,
    /// Whether anything was handed out since the start.
    begun: AtomicBool,
    leases: Mutex<Leases>,
}

/// Who holds which message until when. A restart forgets it, and the messages are given again.
#[derive(Debug, Default)]
struct Leases {
    held: HashMap<SystemName, HashMap<CanonicalId, (u64, Timestamp)>>,
    last: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// At start: what had been handed out and was not settled counts as delivered once.
pub(super) fn recover(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "UPDATE inbound SET deliveries = deliveries + 1 WHERE tag <= (SELECT value FROM meta WHERE name = 'received');
         UPDATE meta SET value = 0 WHERE name = 'received';",
    )
}

/// Takes messages in, all or none.
pub(super) fn enqueue(
    session: &mut Session<'_>,
    messages: &[(Option<String>, Vec<u8>)],
    now: Timestamp,
    bound: u64,
) -> Result<(), PortError> {
    let depth = session.state.inbound + messages.len() as u64;
    if depth > bound {
        let message = format!("{} messages wait, {bound} is the limit; slow down", session.state.inbound);
        return Err(PortError::new(PortErrorKind::Full, ENQUEUE, message));
    }
    for (message_id, body) in messages {
        session.state.tag += 1;
        session.sql.inbound_add.execute(params![session.state.tag, message_id, now.as_micros(), body]).map_err(failed(ENQUEUE))?;
    }
    session.state.inbound = depth;
    Ok(())
}

/// Lets go of messages.
pub(super) fn settle(session: &mut Session<'_>, tags: &[u64]) -> Result<(), PortError> {
    for tag in tags {
        let gone = session.sql.inbound_drop.execute([signed(*tag)]).map_err(failed(SETTLE))?;
        session.state.inbound = session.state.inbound.saturating_sub(gone as u64);
    }
    Ok(())
}

/// Notes that messages up to this tag were handed out: a crash counts as a delivery.
pub(super) fn note_received(session: &mut Session<'_>, tag: u64) -> Result<(), PortError> {
    session.set_meta("received", tag).map_err(failed(RECEIVE))
}

/// Keeps messages for their systems; of one record only the newest.
pub(super) fn publish(session: &mut Session<'_>, messages: &[OutboundMessage]) -> Result<(), PortError> {
    let error = failed(PUBLISH);
    for message in messages {
        let OutboundMessage { id, system, record, entity_type, op, rev, body, trace: _ } = message;
        let (system, record, rev) = (system.as_str(), record.as_bytes(), signed(*rev));
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let stored = session.sql.outbound_rev.query_row((system, record), read).optional().map_err(error)?;
        match stored {
            // The same id always carries the same bytes, and an older one is of no use.
            Some((_, stored)) if stored >= rev => {}
            Some((n, _)) => {
                let columns = params![n, rev, id, entity_type.as_str(), op_name(*op), body];
                session.sql.outbound_set.execute(columns).map_err(error)?;
            }
            None => {
                let columns = params![system, record, rev, id, entity_type.as_str(), op_name(*op), body];
                session.sql.outbound_add.execute(columns).map_err(error)?;
            }
        }
    }
    Ok(())
}

const fn op_name(op: SendOp) -> &'static str {
    match op {
        SendOp::Create => "create",
        SendOp::Update => "update",
        SendOp::Delete => "delete",
    }
}

fn op(name: &str) -> Option<SendOp> {
    match name {
        "create" => Some(SendOp::Create),
        "update" => Some(SendOp::Update),
        "delete" => Some(SendOp::Delete),
        _ => None,
    }
}

/// Forgets messages up to a rev.
pub(super) fn release(session: &mut Session<'_>, system: &SystemName, applied: &[(CanonicalId, u64)]) -> Result<(), PortError> {
    for (record, rev) in applied {
        let columns = (system.as_str(), record.as_bytes(), signed(*rev));
        session.sql.outbound_drop.execute(columns).map_err(failed(RELEASE))?;
    }
    Ok(())
}

impl Queues {
    /// Tells everyone who waits for something to lease to look again.
    pub fn ring(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    /// All that is not settled is given out again.
    pub fn give_again(&self) {
        *locked(&self.received) = 0;
        self.came.notify_waiters();
    }

    /// The next messages nobody was given yet.
    pub fn receive(&self, conn: &Connection, max: usize) -> Result<Vec<Delivery>, PortError> {
        let error = failed(RECEIVE);
        let mut received = locked(&self.received);
        let sql = "SELECT tag, message_id, received_at, deliveries, body FROM inbound WHERE tag > ?1 ORDER BY tag LIMIT ?2";
        let mut statement = conn.prepare_cached(sql).map_err(error)?;
        let read = |row: &Row<'_>| {
            Ok(Delivery {
                tag: row.get(0).map(unsigned)?,
                message_id: row.get(1)?,
                received_at: row.get(2).map(Timestamp::from_micros)?,
                deliveries: row.get::<_, u32>(3)?.saturating_add(1),
                body: row.get(4)?,
                origin: None,
                given_up: None,
                trace: None,
            })
        };
        let rows = statement.query_map([*received, signed(max as u64)], read).map_err(error)?;
        let deliveries = rows.collect::<Result<Vec<_>, _>>().map_err(error)?;
        if let Some(last) = deliveries.last() {
            *received = signed(last.tag);
        }
        Ok(deliveries)
    }

    /// The next messages of a system whose records have none out, oldest first.
    pub fn lease(&self, conn: &Connection, system: &SystemName, max: usize, lease: Duration, now: Timestamp) -> Result<Leased, PortError> {
        let error = failed(LEASE);
        let mut leases = locked(&self.leases);
        leases.last += 1;
        let id = leases.last;
        let held = leases.held.entry(system.clone()).or_default();
        held.retain(|_, (_, until)| *until > now);
        let sql = "SELECT record, rev, id, type, op, body FROM outbound WHERE system = ?1 ORDER BY n";
        let mut statement = conn.prepare_cached(sql).map_err(error)?;
        let mut rows = statement.query([system.as_str()]).map_err(error)?;
        let mut messages = Vec::new();
        while messages.len() < max
            && let Some(row) = rows.next().map_err(error)?
        {
            let record = canonical(row.get(0).map_err(error)?);
            if !held.contains_key(&record) {
                messages.push(message(system, record, row)?);
            }
        }
        held.extend(messages.iter().map(|message| (message.record, (message.rev, now.plus(lease)))));
        Ok(Leased { id, messages })
    }

    /// Whether anything was handed out since the start; what comes first may be what ended the process before.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// What was handed out first is noted durably.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Messages up to a rev are not out any more.
    pub fn forget(&self, system: &SystemName, applied: &[(CanonicalId, u64)]) {
        let mut leases = locked(&self.leases);
        let Some(held) = leases.held.get_mut(system) else { return };
        for (record, rev) in applied {
            if held.get(record).is_some_and(|(leased, _)| leased <= rev) {
                held.remove(record);
            }
        }
        drop(leases);
        // A newer message about one of these records may have waited for it.
        self.ring();
    }
}

fn message(system: &SystemName, record: CanonicalId, row: &Row<'_>) -> Result<OutboundMessage, PortError> {
    let error = failed(LEASE);
    let entity_type = row.get::<_, String>(3).map_err(error)?;
    let op = row.get::<_, String>(4).map(|name| op(&name)).map_err(error)?;
    Ok(OutboundMessage {
        id: row.get(2).map_err(error)?,
        system: system.clone(),
        record,
        entity_type: EntityType::new(entity_type).map_err(|error| unreadable(LEASE, "message", error))?,
        op: op.ok_or_else(|| PortError::new(PortErrorKind::Invalid, LEASE, "a stored message has an unknown operation"))?,
        rev: row.get(1).map(unsigned).map_err(error)?,
        body: row.get(5).map_err(error)?,
        // It stands in the body.
        trace: None,
    })
}

/// Every message that waits for a system.
pub(super) fn outbound(conn: &Connection) -> Result<Vec<(SystemName, CanonicalId, u64)>, PortError> {
    const LIST: &str = "list outbound messages";
    let error = failed(LIST);
    let mut statement = conn.prepare_cached("SELECT system, record, rev FROM outbound ORDER BY n").map_err(error)?;
    let mut rows = statement.query([]).map_err(error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(error)? {
        let system = SystemName::new(row.get::<_, String>(0).map_err(error)?).map_err(|error| unreadable(LIST, "system name", error))?;
        found.push((system, canonical(row.get(1).map_err(error)?), row.get(2).map(unsigned).map_err(error)?));
    }
    Ok(found)
}

/// How many messages wait.
pub(super) fn depth(conn: &Connection) -> Result<(u64, Vec<(SystemName, u64)>), PortError> {
    let error = failed(DEPTH);
    let inbound = conn.query_row("SELECT count(*) FROM inbound", [], |row| row.get(0)).map(unsigned).map_err(error)?;
    let mut statement = conn.prepare_cached("SELECT system, count(*) FROM outbound GROUP BY system").map_err(error)?;
    let mut rows = statement.query([]).map_err(error)?;
    let mut outbound = Vec::new();
    while let Some(row) = rows.next().map_err(error)? {
        let system: String = row.get(0).map_err(error)?;
        let system = SystemName::new(system).map_err(|error| unreadable(DEPTH, "system name", error))?;
        outbound.push((system, row.get(1).map(unsigned).map_err(error)?));
    }
    Ok((inbound, outbound))
}
