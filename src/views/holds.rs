//! What is kept back until a person lets it go, and what letting go would send.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ViewError;
use crate::domain::ids::SystemName;
use crate::domain::link::SendOp;
use crate::domain::sending::{SendCounts, replaces};
use crate::domain::time::Timestamp;
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::hold::{Hold, HoldRow};
use crate::ports::store::{Owed, Store};

/// Outbox rows read at once.
const PAGE: usize = 1_000;

/// What is kept back.
#[derive(Debug, Serialize)]
pub struct Kept {
    /// As it is named where it is let go.
    pub id: String,
    /// What is kept back.
    #[serde(flatten)]
    pub hold: Hold,
    /// Since when.
    pub since: Timestamp,
    /// What letting go would send.
    pub waiting: SendCounts,
    /// Names this very state of it, for whoever lets it go.
    #[serde(skip)]
    pub tag: String,
}

/// Everything that is kept back now.
pub async fn kept(store: &dyn Store) -> Result<Vec<Kept>, ViewError> {
    let rows: Vec<HoldRow> = store.holds().await?.into_iter().filter(|row| row.holds).collect();
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        let waiting = counts(store, &row.hold).await?;
        kept.push(Kept { id: row.hold.to_string(), tag: row.tag(), hold: row.hold, since: row.since, waiting });
    }
    Ok(kept)
}

/// How many messages are kept back, each counted once.
pub async fn kept_back(store: &dyn Store) -> Result<u64, ViewError> {
    let holds: Vec<Hold> = store.holds().await?.into_iter().filter(|row| row.holds).map(|row| row.hold).collect();
    let paused = |hold: &Hold| holds.contains(&Hold::PauseOut { system: system(hold).clone() });
    let mut messages = 0;
    for hold in &holds {
        // Deletes that wait are counted among what is parked.
        if matches!(hold, Hold::CreateBrake { .. }) && paused(hold) || matches!(hold, Hold::DeleteBrake { .. }) {
            continue;
        }
        let counts = counts(store, hold).await?;
        messages += counts.creates + counts.updates;
    }
    Ok(messages)
}

/// What letting go would send.
pub async fn counts(store: &dyn Store, hold: &Hold) -> Result<SendCounts, ViewError> {
    let mut counts = SendCounts::default();
    if matches!(hold, Hold::DeleteBrake { .. }) {
        return Ok(SendCounts { deletes: waiting_on(store, &hold.to_string()).await?, ..counts });
    }
    let mut after = Some(0);
    while let Some(position) = after {
        let page = store.owed(position, PAGE).await?;
        after = if page.len() < PAGE { None } else { page.last().map(|(position, _)| *position) };
        let owed: BTreeMap<_, Owed> =
            page.into_iter().map(|(_, owed)| owed).filter(|owed| owed.system == *system(hold)).map(|owed| (owed.record, owed)).collect();
        let ids: Vec<_> = owed.values().filter(|owed| owed.published < owed.rev).map(|owed| owed.record).collect();
        for versioned in if ids.is_empty() { Vec::new() } else { store.records(&ids).await? } {
            let record = versioned.record;
            let Some(link) = record.link_with(system(hold)).map(|index| &record.links[index]) else { continue };
            match (hold, link.newest().map(|sent| sent.op)) {
                (_, None)
                | (Hold::PauseIn { .. } | Hold::DeleteBrake { .. }, Some(_))
                | (Hold::CreateBrake { .. }, Some(SendOp::Update | SendOp::Delete)) => {}
                (Hold::CreateBrake { entity_type, .. }, Some(SendOp::Create)) => {
                    counts.creates += u64::from(record.entity_type == *entity_type);
                }
                (Hold::PauseOut { .. }, Some(op)) => counts.add(op, replaces(link)),
            }
        }
    }
    Ok(counts)
}

/// How many deletes wait for a brake.
async fn waiting_on(store: &dyn Store, brake: &str) -> Result<u64, ViewError> {
    let (mut deletes, mut after) = (0, None);
    loop {
        let page = store.list_waiting(after, PAGE).await?;
        let waits = |waiting: &&Waiting| matches!(&waiting.waiting_for, WaitingFor::Brake { id } if id == brake);
        deletes += page.iter().filter(waits).count() as u64;
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.arrival),
            Some(_) | None => return Ok(deletes),
        }
    }
}

/// The system a hold is about.
#[must_use]
pub const fn system(hold: &Hold) -> &SystemName {
    match hold {
        Hold::PauseIn { system } | Hold::PauseOut { system } | Hold::CreateBrake { system, .. } | Hold::DeleteBrake { system, .. } => {
            system
        }
    }
}

/// Begins a hold.
pub async fn begin(store: &dyn Store, hold: Hold, now: Timestamp) -> Result<(), ViewError> {
    let rows = store.holds().await?;
    let earlier = rows.iter().find(|row| row.hold == hold);
    Ok(store.put_hold(&HoldRow::begin(hold.clone(), earlier, now)).await?)
}

/// The hold of an id, if it holds now.
pub async fn held(store: &dyn Store, id: &str) -> Result<HoldRow, ViewError> {
    let row = store.holds().await?.into_iter().find(|row| row.holds && row.hold.to_string() == id);
    row.ok_or_else(|| ViewError::Absent(format!("nothing is kept back as {id}")))
}

/// Lets go of what is kept back under an id; says what that is.
pub async fn release(store: &dyn Store, id: &str, now: Timestamp) -> Result<SendCounts, ViewError> {
    let row = held(store, id).await?;
    let counts = counts(store, &row.hold).await?;
    store.put_hold(&row.released(now)).await?;
    Ok(counts)
}
