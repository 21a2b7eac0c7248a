//! Waiting updates: kept, woken, and counted down to the moment nothing is missing any more.

use rusqlite::{OptionalExtension, params};

use super::codec::{Hasher, Key, signed};
use super::keys::Kind;
use super::writer::Session;
use crate::domain::waiting::{Waiting, WaitingFor};

/// A waiting update as it is stored.
pub(super) struct EncodedWaiting {
    uid: String,
    arrival: i64,
    native: Key,
    retry_at: Option<i64>,
    behind: Option<String>,
    /// What it waits for: native records that are missing, or records in its way; `None`: for neither.
    refs: Option<Vec<Key>>,
    body: String,
}

pub(super) fn encode(hasher: &Hasher, waiting: &Waiting) -> Result<EncodedWaiting, serde_json::Error> {
    let (refs, behind) = match &waiting.waiting_for {
        WaitingFor::MissingReference { references, behind } => {
            (Some(references.iter().map(|missing| hasher.native(&missing.key)).collect()), behind.as_ref().map(ToString::to_string))
        }
        other => {
            let records = other.in_its_way();
            ((!records.is_empty()).then(|| records.iter().map(|id| hasher.record(*id)).collect()), None)
        }
    };
    Ok(EncodedWaiting {
        uid: waiting.update.to_string(),
        arrival: signed(waiting.arrival),
        native: hasher.native(&waiting.key),
        retry_at: waiting.retry_at.map(crate::domain::time::Timestamp::as_micros),
        behind,
        refs,
        body: serde_json::to_string(waiting)?,
    })
}

/// Plan by plan, takes away who waits no more, then keeps who does. Runs after all links of the batch are written.
pub(super) fn apply<'a>(
    session: &mut Session<'_>,
    plans: impl Iterator<Item = (&'a [String], &'a [EncodedWaiting])>,
) -> rusqlite::Result<()> {
    let mut moved = Vec::new();
    let mut unjudged = Vec::new();
    for (awake, waiting) in plans {
        for uid in awake {
            if drop_row(session, uid)? {
                moved.push(uid);
            }
        }
        for row in waiting {
            if !drop_row(session, &row.uid)? {
                moved.push(&row.uid);
            }
            unjudged.extend(keep(session, row)?);
        }
    }
    // Whoever queues behind one that went, or came.
    for uid in moved {
        let behind = session.sql.waiting_behind.query_map([uid], |row| row.get(0))?;
        unjudged.extend(behind.collect::<Result<Vec<i64>, _>>()?);
    }
    unjudged.into_iter().try_for_each(|n| judge(session, n))
}

fn drop_row(session: &mut Session<'_>, uid: &str) -> rusqlite::Result<bool> {
    if !session.state.waits {
        return Ok(false);
    }
    let row = session.sql.waiting_find.query_row([uid], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<Vec<u8>>>(1)?)));
    let Some((n, refs)) = row.optional()? else { return Ok(false) };
    for key in unpack(&refs.unwrap_or_default()) {
        session.sql.waits_on_drop.execute([key.h, key.c, n])?;
    }
    session.sql.waiting_drop.execute([n])?;
    Ok(true)
}

/// Keeps a row; gives its number if it waits for records.
fn keep(session: &mut Session<'_>, row: &EncodedWaiting) -> rusqlite::Result<Option<i64>> {
    session.state.waits = true;
    let refs = row.refs.as_ref().map(|refs| pack(refs));
    let Key { h, c } = row.native;
    let columns = params![row.uid, row.arrival, h, c, row.retry_at, row.behind, refs, row.body];
    let n = session.sql.waiting_add.insert(columns)?;
    for key in row.refs.iter().flatten() {
        session.sql.waits_on_add.execute([key.h, key.c, n])?;
    }
    Ok(row.refs.is_some().then_some(n))
}

/// A native record became known, or unknown: whoever waits for it is judged anew.
pub(super) fn link_changed(session: &mut Session<'_>, key: Key) -> rusqlite::Result<()> {
    if !session.state.waits {
        return Ok(());
    }
    let rows: Vec<i64> = session.sql.waits_on.query_map([key.h, key.c], |row| row.get(0))?.collect::<Result<_, _>>()?;
    rows.into_iter().try_for_each(|n| judge(session, n))
}

/// A record has made way: in whose way it was may go on. Runs after all waiting updates of the batch are kept.
pub(super) fn freed(session: &mut Session<'_>, record: Key) -> rusqlite::Result<()> {
    if !session.state.waits {
        return Ok(());
    }
    let rows: Vec<i64> = session.sql.waits_on.query_map([record.h, record.c], |row| row.get(0))?.collect::<Result<_, _>>()?;
    rows.into_iter().try_for_each(|n| session.sql.waiting_open.execute([n, 0]).map(|_| ()))
}

/// Counts what a waiting update still misses. No record in its way is ever known as a native one: it is let go otherwise.
fn judge(session: &mut Session<'_>, n: i64) -> rusqlite::Result<()> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, Option<String>>(1)?));
    // Kept and taken away by the same batch: nothing to judge.
    let Some((refs, behind)) = session.sql.waiting_judge.query_row([n], read).optional()? else { return Ok(()) };
    let mut open = 0;
    for key in unpack(&refs.unwrap_or_default()) {
        open += i64::from(session.keys.get(Kind::Link, key)?.is_none());
    }
    if let Some(uid) = behind {
        open += i64::from(session.sql.waiting_find.exists([uid])?);
    }
    session.sql.waiting_open.execute([n, open]).map(|_| ())
}

fn pack(keys: &[Key]) -> Vec<u8> {
    keys.iter().flat_map(|key| [key.h.to_be_bytes(), key.c.to_be_bytes()]).flatten().collect()
}

fn unpack(bytes: &[u8]) -> Vec<Key> {
    let (numbers, _) = bytes.as_chunks::<8>();
    let (pairs, _) = numbers.as_chunks::<2>();
    pairs.iter().map(|[h, c]| Key { h: i64::from_be_bytes(*h), c: i64::from_be_bytes(*c) }).collect()
}
