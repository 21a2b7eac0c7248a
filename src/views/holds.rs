//! What is kept back until a person lets it go, and what letting go would send.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ViewError;
use crate::domain::ids::SystemName;
use crate::domain::link::{Link, SendOp};
use crate::domain::time::Timestamp;
use crate::ports::hold::{Hold, HoldRow};
use crate::ports::store::{Owed, Store};

/// Outbox rows read at once.
const PAGE: usize = 1_000;

/// What is kept back.
#[derive(Debug, Serialize)]
pub struct Kept {
    id: String,
    #[serde(flatten)]
    hold: Hold,
    since: Timestamp,
    /// What letting go would send.
    waiting: Counts,
}

/// Messages by what they would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// New records.
    pub creates: u64,
    /// Changes of records the system has.
    pub updates: u64,
    /// Those of the updates that replace a value of the system by another one.
    pub conflicts: u64,
}

/// Everything that is kept back now.
pub async fn kept(store: &dyn Store) -> Result<Vec<Kept>, ViewError> {
    let rows: Vec<HoldRow> = store.holds().await?.into_iter().filter(|row| row.holds).collect();
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        let waiting = counts(store, &row.hold).await?;
        kept.push(Kept { id: row.hold.to_string(), hold: row.hold, since: row.since, waiting });
    }
    Ok(kept)
}

/// What letting go would send.
pub async fn counts(store: &dyn Store, hold: &Hold) -> Result<Counts, ViewError> {
    let mut counts = Counts::default();
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
                (_, None) | (Hold::PauseIn { .. }, Some(_)) | (Hold::CreateBrake { .. }, Some(SendOp::Update)) => {}
                (Hold::CreateBrake { entity_type, .. }, Some(SendOp::Create)) => {
                    counts.creates += u64::from(record.entity_type == *entity_type);
                }
                (Hold::PauseOut { .. }, Some(SendOp::Create)) => counts.creates += 1,
                (Hold::PauseOut { .. }, Some(SendOp::Update)) => {
                    counts.updates += 1;
                    counts.conflicts += u64::from(replaces(link));
                }
            }
        }
    }
    Ok(counts)
}

fn replaces(link: &Link) -> bool {
    link.shadow.held.differences().any(|(_, held)| held.is_some_and(|held| !held.is_null()))
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.creates += other.creates;
        self.updates += other.updates;
        self.conflicts += other.conflicts;
    }
}

/// The system a hold is about.
#[must_use]
pub const fn system(hold: &Hold) -> &SystemName {
    match hold {
        Hold::PauseIn { system } | Hold::PauseOut { system } | Hold::CreateBrake { system, .. } => system,
    }
}

/// Begins a hold.
pub async fn begin(store: &dyn Store, hold: Hold, now: Timestamp) -> Result<(), ViewError> {
    let rows = store.holds().await?;
    let earlier = rows.iter().find(|row| row.hold == hold);
    Ok(store.put_hold(&HoldRow::begin(hold.clone(), earlier, now)).await?)
}

/// Lets go of what is kept back under an id; says what that is.
pub async fn release(store: &dyn Store, id: &str, now: Timestamp) -> Result<Counts, ViewError> {
    let rows = store.holds().await?;
    let Some(row) = rows.into_iter().find(|row| row.holds && row.hold.to_string() == id) else {
        return Err(ViewError::Absent(format!("nothing is kept back as {id}")));
    };
    let counts = counts(store, &row.hold).await?;
    store.put_hold(&row.released(now)).await?;
    Ok(counts)
}
