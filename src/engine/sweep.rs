//! What is over and old enough goes: decision rows, what makes redeliveries of theirs harmless, records that were deleted.
//! A page at a time.

use std::time::Duration;

use super::decide::Decider;
use super::input::{InputKind, Step};
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::ids::{CanonicalId, SystemName};
use crate::domain::link::Link;
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::store::{Expired, Lookup, Store};

/// Rows looked at at once.
const ROWS: usize = 500;
/// Deleted records looked at at once.
const RECORDS: usize = 200;
/// How often is looked.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How long things are kept; `None`: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// `unchanged` rows.
    pub unchanged: Option<Duration>,
    /// `echo` rows.
    pub echo: Option<Duration>,
    /// All other final rows.
    pub others: Option<Duration>,
    /// What makes a redelivery harmless whose row is gone.
    pub markers: Option<Duration>,
    /// Deleted records.
    pub deleted: Option<Duration>,
}

/// Sweeps now and then.
#[derive(Debug, Default)]
pub struct Sweep {
    /// When to look next.
    due: Option<Timestamp>,
    /// The last deleted record that was looked at in this sweep.
    after: Option<(Timestamp, CanonicalId)>,
}

impl Sweep {
    /// Sweeps one page, if it is time to. Gives out the deleted records to be looked at, and says whether there may be more.
    pub async fn next(&mut self, store: &dyn Store, keep: &Keep, now: Timestamp) -> Result<(Vec<InputKind>, bool), PortError> {
        if self.due.is_some_and(|due| now < due) {
            return Ok((Vec::new(), false));
        }
        let before = |kept: Option<Duration>| kept.map(|kept| now.minus(kept));
        let expired = Expired {
            unchanged: before(keep.unchanged),
            echo: before(keep.echo),
            others: before(keep.others),
            markers: before(keep.markers),
        };
        let more = store.forget(&expired, ROWS).await?;
        let records = match before(keep.deleted) {
            Some(before) => store.deleted(before, self.after, RECORDS).await?,
            None => Vec::new(),
        };
        if !more && records.is_empty() {
            (self.due, self.after) = (Some(now.plus(SWEEP_EVERY)), None);
            return Ok((Vec::new(), false));
        }
        self.after = records.last().copied().or(self.after);
        Ok((records.into_iter().map(|(_, id)| InputKind::Step(Step::Forget(id))).collect(), true))
    }
}

impl Decider {
    /// Forgets a record that was deleted long ago, with all that led to it, unless something about it is still open.
    pub(super) async fn forget_deleted(&mut self, unit: &mut Unit, position: usize, id: CanonicalId) -> Result<(), PortError> {
        let Some(record) = unit.record(id).cloned() else { return Ok(()) };
        let (Some(tombstone), Some(keep)) = (&record.tombstone, self.settings.keep.deleted) else { return Ok(()) };
        if tombstone.at > self.clock.now().minus(keep) || self.is_open(&record).await? {
            return Ok(());
        }
        let absorbed: Vec<CanonicalId> = record.absorbed.iter().copied().collect();
        self.load_ids(unit, absorbed.iter().copied()).await?;
        for id in [id].into_iter().chain(absorbed) {
            let Some(draft) = unit.draft_of(id) else { continue };
            unit.drafts[draft].inputs.insert(position);
            if let Some(work) = unit.drafts[draft].work.as_mut() {
                work.removed = true;
                work.links_removed = work.record.native_keys().collect();
                work.record.claims.clear();
            }
        }
        tracing::debug!(record = %id, "a record deleted long ago is forgotten");
        Ok(())
    }

    /// Whether somebody has still to be told of a record's delete, or to answer; whether an update of it waits, or a live
    /// record refers to it.
    async fn is_open(&self, record: &CanonicalRecord) -> Result<bool, PortError> {
        if record.links.iter().any(Link::is_open_create) {
            return Ok(true);
        }
        let pairs: Vec<(CanonicalId, SystemName)> = record.links.iter().map(|link| (record.id, link.system.clone())).collect();
        let lookup = Lookup { waiting_of: record.native_keys().collect(), ..Lookup::default() };
        if !self.store.owed_of(&pairs).await?.is_empty() || !self.store.look_up(&lookup).await?.waiting.is_empty() {
            return Ok(true);
        }
        let ids: Vec<CanonicalId> = record.absorbed.iter().copied().chain([record.id]).collect();
        for children in self.settings.rules.children_of(&record.entity_type).keys() {
            if !self.store.children(&ids, children, None, 1).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
