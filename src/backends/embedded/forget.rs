//! Decision rows that are old enough to go, and what is left of them.
//!
//! A row goes in two steps. First only its place is left, so that the history of its record still leads on to older rows;
//! the place goes once there is no older row it could lead to. Its marker stays by itself: the place of an update whose
//! marker may expire keeps the update's id.

use std::ops::Range;

use rusqlite::params;

use super::codec::{Hasher, decision_body, kind_number, marker_row, signed};
use super::error::{failed, unreadable};
use super::keys::Kind;
use super::writer::Session;
use crate::domain::decision::{Decision, DecisionKind, Keeping};
use crate::domain::ids::UpdateId;
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::store::Expired;

pub(super) const FORGET: &str = "forget old decisions";
pub(super) const REWRITE: &str = "write decisions again";

/// How far each sweep has come since the start: `unchanged`, `echo`, the others, markers.
pub(super) type Places = [i64; 4];

/// A row as far as it matters here.
struct Old {
    id: i64,
    kind: Option<i64>,
    rare: Option<i64>,
    previous: Option<i64>,
    uid: Option<String>,
}

impl Old {
    /// For how long it is kept: as [`Decision::keeping`], from the columns.
    fn keeping(&self) -> Keeping {
        let [unchanged, echo, deferred, parked] =
            [DecisionKind::Unchanged, DecisionKind::Echo, DecisionKind::Deferred, DecisionKind::Parked].map(kind_number);
        match self.kind {
            Some(kind) if kind == deferred || kind == parked => Keeping::Waiting,
            Some(kind) if kind == unchanged && self.rare.is_none() => Keeping::Unchanged,
            Some(kind) if kind == echo && self.rare.is_none() => Keeping::Echo,
            Some(_) | None => Keeping::Decided,
        }
    }
}

/// What was decided before this may go, if it is kept so.
type Sweep = (Option<Timestamp>, Keeping);

/// Looks at the next rows of each sweep; returns whether there may be more, and how far they have come.
pub(super) fn forget(
    session: &mut Session<'_>,
    hasher: &Hasher,
    mut places: Places,
    expired: &Expired,
    limit: usize,
) -> Result<(bool, Places), PortError> {
    let error = failed(FORGET);
    let markers_stay = expired.markers.is_none();
    let mut more = false;
    let sweeps: [Sweep; 3] = [(expired.unchanged, Keeping::Unchanged), (expired.echo, Keeping::Echo), (expired.others, Keeping::Decided)];
    for (place, (before, wanted)) in places.iter_mut().zip(sweeps) {
        let Some(before) = before else { continue };
        let rows = next(session, *place..before.as_micros(), limit).map_err(error)?;
        more |= rows.len() == limit;
        for row in rows {
            *place = row.id;
            if row.kind.is_none() || row.keeping() == wanted {
                spend(session, &row, markers_stay).map_err(error)?;
            }
        }
    }
    if let Some(before) = expired.markers {
        // Never ahead of the rows: a marker is passed by only once.
        let rows_done = places[..3].iter().min().map_or(0, |place| place + 1);
        let rows = next(session, places[3]..before.as_micros().min(rows_done), limit).map_err(error)?;
        more |= rows.len() == limit;
        for row in rows {
            places[3] = row.id;
            drop_marker(session, hasher, &row).map_err(error)?;
        }
    }
    Ok((more, places))
}

fn next(session: &mut Session<'_>, ids: Range<i64>, limit: usize) -> rusqlite::Result<Vec<Old>> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Old { id: row.get(0)?, kind: row.get(1)?, rare: row.get(2)?, previous: row.get(3)?, uid: row.get(4)? })
    };
    session.sql.decision_old.query_map([ids.start, ids.end, signed(limit as u64)], read)?.collect()
}

/// Leaves only the place of a row, or not even that.
fn spend(session: &mut Session<'_>, row: &Old, markers_stay: bool) -> rusqlite::Result<()> {
    let expires = row.uid.is_some() && !markers_stay;
    if !expires && !leads_on(session, row)? {
        session.sql.decision_drop.execute([row.id])?;
    } else if row.kind.is_some() && !expires {
        session.sql.decision_blank.execute([row.id])?;
    } else if row.kind.is_some() {
        session.sql.decision_spend.execute([row.id])?;
    }
    Ok(())
}

/// Whether the history of its record leads over this row to an older one.
fn leads_on(session: &mut Session<'_>, row: &Old) -> rusqlite::Result<bool> {
    row.previous.map_or(Ok(false), |previous| session.sql.decision_there.exists([previous]))
}

/// Takes the marker of a row away that is not kept any more.
fn drop_marker(session: &mut Session<'_>, hasher: &Hasher, row: &Old) -> rusqlite::Result<()> {
    let (None, Some(uid)) = (row.kind, &row.uid) else { return Ok(()) };
    if let Ok(update) = UpdateId::try_from(uid.clone()) {
        let key = hasher.update(&update);
        if session.keys.get(Kind::Marker, key)?.is_some_and(|entry| marker_row(entry) == row.id) {
            session.keys.change(Kind::Marker, key, None);
        }
    }
    if leads_on(session, row)? {
        session.sql.decision_blank.execute([row.id])?;
    } else {
        session.sql.decision_drop.execute([row.id])?;
    }
    Ok(())
}

/// Writes rows again in their places.
pub(super) fn rewrite(session: &mut Session<'_>, hasher: &Hasher, rows: &[Decision]) -> Result<(), PortError> {
    for row in rows {
        let Some(entry) = session.keys.get(Kind::Marker, hasher.update(&row.update)).map_err(failed(REWRITE))? else { continue };
        let body = decision_body(row).map_err(|error| unreadable(REWRITE, "decision", error))?;
        let place = marker_row(entry);
        session.sql.decision_rewrite.execute(params![place, row.update.to_string(), body]).map_err(failed(REWRITE))?;
    }
    Ok(())
}
