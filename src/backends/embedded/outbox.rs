//! What each system is owed of each record.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{canonical, signed, unsigned};
use super::error::{failed, unreadable};
use super::writer::Session;
use crate::domain::ids::{CanonicalId, SystemName};
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::outbox::{Next, changed, confirmed};
use crate::ports::store::{OutboxChange, Owed, Published};

pub(super) const NOTE: &str = "note what was published";
const READ: &str = "read the outbox";
const AFTER: &str =
    "SELECT rev, published, delivered, retry_at, attempts, answer_by, position, record, system FROM outbox WHERE position > ?1
    ORDER BY position LIMIT ?2";
const OF: &str = "SELECT rev, published, delivered, retry_at, attempts, answer_by FROM outbox WHERE record = ?1 AND system = ?2";

fn owed(row: &Row<'_>, record: CanonicalId, system: SystemName) -> rusqlite::Result<Owed> {
    Ok(Owed {
        record,
        system,
        rev: row.get(0).map(unsigned)?,
        published: row.get(1).map(unsigned)?,
        delivered: row.get(2).map(unsigned)?,
        retry_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
        attempts: row.get(4)?,
        answer_by: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
    })
}

fn stored(session: &mut Session<'_>, record: CanonicalId, system: &SystemName) -> rusqlite::Result<Option<(i64, Owed)>> {
    let read = |row: &Row<'_>| Ok((row.get(6)?, owed(row, record, system.clone())?));
    session.sql.owed_get.query_row((record.as_bytes(), system.as_str()), read).optional()
}

/// Applies one change.
pub(super) fn change(session: &mut Session<'_>, record: CanonicalId, change: &OutboxChange) -> Result<(), PortError> {
    let error = failed(super::commit::COMMIT);
    if let Some((system, rev)) = change.answered() {
        // The adapter is done with the message it leased: it leaves the queue in the same transaction.
        session.sql.outbound_drop.execute((system.as_str(), record.as_bytes(), signed(rev))).map_err(error)?;
    }
    let stored = stored(session, record, change.system()).map_err(error)?;
    let position = stored.as_ref().map(|(position, _)| *position);
    put(session, position, changed(stored.map(|(_, owed)| owed), record, change)).map_err(error)
}

/// Notes what the broker has confirmed.
pub(super) fn published(session: &mut Session<'_>, messages: &[Published]) -> Result<(), PortError> {
    let error = failed(NOTE);
    for message in messages {
        if let Some((position, owed)) = stored(session, message.record, &message.system).map_err(error)? {
            put(session, Some(position), confirmed(owed, message)).map_err(error)?;
        }
    }
    Ok(())
}

fn put(session: &mut Session<'_>, position: Option<i64>, next: Next) -> rusqlite::Result<()> {
    let Session { sql, state, .. } = session;
    match (next, position) {
        (Next::Same, _) | (Next::Gone | Next::Noted(_), None) => {}
        (Next::Gone, Some(position)) => {
            sql.owed_drop.execute([position])?;
        }
        (Next::Noted(owed), Some(position)) => {
            let answer_by = owed.answer_by.map(Timestamp::as_micros);
            sql.owed_note.execute((position, signed(owed.published), signed(owed.delivered), answer_by))?;
        }
        (Next::Due(owed), position) => {
            if let Some(position) = position {
                sql.owed_drop.execute([position])?;
            }
            let retry_at = owed.retry_at.map(Timestamp::as_micros);
            let numbers = [owed.rev, owed.published, owed.delivered].map(signed);
            let [rev, published, delivered] = numbers;
            state.position += 1;
            let (record, system, answer_by) = (owed.record, owed.system.as_str(), owed.answer_by.map(Timestamp::as_micros));
            let columns = params![state.position, record.as_bytes(), system, rev, published, delivered, retry_at, owed.attempts, answer_by];
            sql.owed_add.execute(columns)?;
        }
    }
    Ok(())
}

/// Rows after a position.
pub(super) fn after(conn: &Connection, after: u64, limit: usize) -> Result<Vec<(u64, Owed)>, PortError> {
    let error = failed(READ);
    let mut statement = conn.prepare_cached(AFTER).map_err(error)?;
    let mut rows = statement.query((signed(after), signed(limit as u64))).map_err(error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(error)? {
        let record = canonical(row.get(7).map_err(error)?);
        let system: String = row.get(8).map_err(error)?;
        let system = SystemName::new(system).map_err(|error| unreadable(READ, "system name", error))?;
        found.push((row.get(6).map(unsigned).map_err(error)?, owed(row, record, system).map_err(error)?));
    }
    Ok(found)
}

/// The rows of some pairs.
pub(super) fn of(conn: &Connection, pairs: &[(CanonicalId, SystemName)]) -> Result<Vec<Owed>, PortError> {
    let error = failed(READ);
    let mut statement = conn.prepare_cached(OF).map_err(error)?;
    let mut found = Vec::new();
    for (record, system) in pairs {
        let row = statement.query_row((record.as_bytes(), system.as_str()), |row| owed(row, *record, system.clone()));
        found.extend(row.optional().map_err(error)?);
    }
    Ok(found)
}
