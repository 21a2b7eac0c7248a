//! Sends a system what it lacks, without anybody having changed anything: after the rules changed, after a time of being
//! only observed or paused, after its database was restored.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::activity::Activity;
use super::directory::Directory;
use super::input::{InputKind, Resend};
use super::settings::Settings;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::ids::{CanonicalId, EntityType, SystemName};
use crate::domain::rules::Side;
use crate::domain::sending::{Insist, SendContext, SendCounts, Target, plan_sends, replaces};
use crate::ports::clock::Clock;
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::store::{Store, Versioned};

/// Records looked at at once.
const PAGE: usize = 200;
/// How long the engine may take for a page.
const PAGE_WITHIN: Duration = Duration::from_secs(30);
/// How often is looked whether it is done.
const LOOK: Duration = Duration::from_millis(5);

/// What is to be sent again.
#[derive(Clone, Debug)]
pub struct Scope {
    /// To whom.
    pub system: SystemName,
    /// Only records of this type.
    pub entity_type: Option<EntityType>,
    /// Every model, also those the system is believed to hold: after its database was restored, or fields were renamed.
    pub everything: bool,
}

/// Looks through the records and has the engine decide about sends again.
#[derive(Clone, Debug)]
pub struct Resync {
    store: Arc<dyn Store>,
    settings: Arc<Settings>,
    directory: Arc<Directory>,
    clock: Arc<dyn Clock>,
    activity: Arc<Activity>,
    again: mpsc::Sender<InputKind>,
}

impl Resync {
    /// One that feeds the engine by way of `again`.
    pub const fn new(
        store: Arc<dyn Store>,
        settings: Arc<Settings>,
        directory: Arc<Directory>,
        clock: Arc<dyn Clock>,
        activity: Arc<Activity>,
        again: mpsc::Sender<InputKind>,
    ) -> Self {
        Self { store, settings, directory, clock, activity, again }
    }

    /// What [`run`](Self::run) would send. A system that is only observed is counted as if it were not.
    pub async fn preview(&self, scope: &Scope) -> Result<SendCounts, PortError> {
        let (mut counts, mut after) = (SendCounts::default(), None);
        while let Some(page) = self.page(scope, after).await? {
            after = page.last().map(|versioned| versioned.record.id);
            page.iter().filter_map(|versioned| self.would_send(&versioned.record, scope, true)).for_each(|one| counts += one);
        }
        Ok(counts)
    }

    /// Records the sends, a page at a time; returns once they are durable, with what they are. Changes that come meanwhile
    /// are sent as always. If it ends early, what was recorded is sent, and another run does the rest.
    pub async fn run(&self, scope: &Scope) -> Result<SendCounts, PortError> {
        let (mut counts, mut after) = (SendCounts::default(), None);
        while let Some(page) = self.page(scope, after).await? {
            after = page.last().map(|versioned| versioned.record.id);
            let mut open: Vec<(CanonicalId, u64)> = Vec::new();
            for versioned in page {
                let record = &versioned.record;
                let Some(one) = self.would_send(record, scope, false) else { continue };
                counts += one;
                open.push((record.id, rev(record, &scope.system)));
                let what = Resend::To { system: scope.system.clone(), everything: scope.everything };
                self.activity.begin();
                let sent = self.again.send(InputKind::Resend { record: record.id, what }).await;
                sent.map_err(|_| {
                    PortError::new(PortErrorKind::Unavailable, "resync", "the engine is stopping; run it again after its start")
                })?;
            }
            self.recorded(open, scope).await?;
        }
        Ok(counts)
    }

    async fn page(&self, scope: &Scope, after: Option<CanonicalId>) -> Result<Option<Vec<Versioned>>, PortError> {
        let page = self.store.list_records(scope.entity_type.as_ref(), after, PAGE).await?;
        Ok(Some(page).filter(|page| !page.is_empty()))
    }

    /// Waits until the engine has committed these sends, or has found that there is nothing to send any more.
    async fn recorded(&self, mut open: Vec<(CanonicalId, u64)>, scope: &Scope) -> Result<(), PortError> {
        let deadline = Instant::now() + PAGE_WITHIN;
        while !open.is_empty() {
            let ids: Vec<CanonicalId> = open.iter().map(|(id, _)| *id).collect();
            let records = self.store.records(&ids).await?;
            open.retain(|(id, before)| {
                let record = records.iter().map(|versioned| &versioned.record).find(|record| record.id == *id);
                record.is_some_and(|record| rev(record, &scope.system) == *before && self.would_send(record, scope, false).is_some())
            });
            if open.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let message = format!("{} sends are not recorded after {PAGE_WITHIN:?}; the engine is busy, try again", open.len());
                return Err(PortError::new(PortErrorKind::Unavailable, "resync", message));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// `as_if_in_sync`: also if the system is only observed.
    fn would_send(&self, record: &CanonicalRecord, scope: &Scope, as_if_in_sync: bool) -> Option<SendCounts> {
        let target = self.directory.target(&scope.system, &record.entity_type);
        let takes_part = record.link_with(&scope.system).is_some()
            || self.directory.targets(&record.entity_type).iter().any(|known| known.system == scope.system);
        if !takes_part {
            return None;
        }
        let side = Arc::new(Side { observed: target.side.observed && !as_if_in_sync, ..(*target.side).clone() });
        let types = self.settings.rules.of_type(&record.entity_type);
        let context = SendContext {
            rules: &self.settings.rules,
            types: &types,
            targets: &[Target { side, ..target }],
            now: self.clock.now(),
            insist: scope.everything.then_some((&scope.system, Insist::Everything)),
        };
        let due = plan_sends(&mut record.clone(), &context, None);
        let mut counts = SendCounts::default();
        for one in &due {
            let replaced = record.link_with(&scope.system).is_some_and(|index| replaces(&record.links[index]));
            counts.add(one.op, replaced);
        }
        (!due.is_empty()).then_some(counts)
    }
}

fn rev(record: &CanonicalRecord, system: &SystemName) -> u64 {
    record.link_with(system).map_or(0, |index| record.links[index].rev)
}
