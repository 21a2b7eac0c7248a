//! What keeps records and decisions, as the configuration says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::StartError;
use crate::backends::embedded::{self, Embedded};
use crate::backends::mongodb::{MongoStore, Options};
use crate::config::{self, BrokerKind, Config, Secret, StoreKind};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::decision::Decision;
use crate::domain::ids::{CanonicalId, EntityType, SystemName, UpdateId};
use crate::domain::time::Timestamp;
use crate::domain::waiting::Waiting;
use crate::ports::audit::Audit;
use crate::ports::broker::LocalQueues;
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::hold::HoldRow;
use crate::ports::presence::Presence;
use crate::ports::store::{
    Batch, Cursor, DeadLetter, DecisionFilter, Expired, Found, Lookup, Owed, Page, Published, Store, SystemFacts, Versioned,
};
use crate::ports::tally::Tally;
use crate::ports::task::Task;

/// Messages looked at in one go when the queues are compared with the store.
const COMPARED: usize = 1_000;

/// The folder on this machine that keeps what is embedded: store, queues, or both in one file. Opened when first needed.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    embedded: Option<Embedded>,
}

impl Folder {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), embedded: None }
    }

    pub fn open(&mut self) -> Result<Embedded, PortError> {
        let embedded = match self.embedded.take() {
            Some(embedded) => embedded,
            None => Embedded::open(&self.path, &embedded::Options::default())?,
        };
        Ok(self.embedded.insert(embedded).clone())
    }
}

/// Opens the store.
pub(super) async fn open(config: &Config, folder: &mut Folder) -> Result<Arc<dyn Store>, StartError> {
    match (config.store.kind, config.broker.kind) {
        (StoreKind::Embedded, _) => Ok(folder.open()?.store),
        (StoreKind::Mongodb, BrokerKind::Rabbitmq) => mongodb(&config.store, true).await,
        (StoreKind::Mongodb, BrokerKind::Embedded) => Ok(Beside::queues(mongodb(&config.store, true).await?, &folder.open()?).await?),
    }
}

/// Connects to the MongoDB the configuration names. `create`: makes a store there if there is none.
pub(super) async fn mongodb(store: &config::Store, create: bool) -> Result<Arc<dyn Store>, StartError> {
    let url = url(store).map_err(StartError::Store)?;
    let opened = MongoStore::open(url.reveal(), &store.database, Options { create, ..Options::default() }).await;
    Ok(Arc::new(opened.map_err(StartError::Store)?))
}

fn url(store: &config::Store) -> Result<Secret, PortError> {
    store.address().map_err(|wrong| PortError::new(PortErrorKind::Invalid, "read the address of MongoDB", wrong))
}

/// A store beside queues that are not in it: what a system has answered leaves its queue once that is committed.
#[derive(Debug)]
pub(super) struct Beside {
    store: Arc<dyn Store>,
    queues: Arc<dyn LocalQueues>,
}

impl Beside {
    /// Puts them together. What was answered just before a crash is let go now.
    pub async fn queues(store: Arc<dyn Store>, embedded: &Embedded) -> Result<Arc<dyn Store>, PortError> {
        let queues = embedded.broker.clone();
        for waiting in embedded.outbound().await?.chunks(COMPARED) {
            let ids: Vec<CanonicalId> = waiting.iter().map(|(_, record, _)| *record).collect();
            let records = store.records(&ids).await?;
            for (system, id, rev) in waiting {
                let record = records.iter().find(|versioned| versioned.record.id == *id);
                if record.is_some_and(|versioned| is_answered(&versioned.record, system, *rev)) {
                    queues.release(system, &[(*id, *rev)]).await?;
                }
            }
        }
        Ok(Arc::new(Self { store, queues }))
    }
}

/// Whether a message is no longer among those a system has to answer for.
fn is_answered(record: &CanonicalRecord, system: &SystemName, rev: u64) -> bool {
    let link = record.link_with(system).map(|at| &record.links[at]);
    link.is_some_and(|link| link.shadow.sends.iter().all(|sent| sent.rev != rev))
}

#[async_trait]
impl Store for Beside {
    async fn commit(&self, batch: &Batch) -> Result<(), PortError> {
        self.store.commit(batch).await?;
        for (record, (system, rev)) in batch.outbox().filter_map(|(record, change)| Some((record, change.answered()?))) {
            self.queues.release(system, &[(record, rev)]).await?;
        }
        Ok(())
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Found, PortError> {
        self.store.look_up(lookup).await
    }

    async fn records(&self, ids: &[CanonicalId]) -> Result<Vec<Versioned>, PortError> {
        self.store.records(ids).await
    }

    async fn children(
        &self,
        parents: &[CanonicalId],
        entity_type: &EntityType,
        after: Option<CanonicalId>,
        limit: usize,
    ) -> Result<Vec<CanonicalId>, PortError> {
        self.store.children(parents, entity_type, after, limit).await
    }

    async fn deleted(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, CanonicalId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, CanonicalId)>, PortError> {
        self.store.deleted(before, after, limit).await
    }

    async fn tasks(&self, limit: usize) -> Result<Vec<Task>, PortError> {
        self.store.tasks(limit).await
    }

    async fn owed(&self, after: u64, limit: usize) -> Result<Vec<(u64, Owed)>, PortError> {
        self.store.owed(after, limit).await
    }

    async fn owed_of(&self, pairs: &[(CanonicalId, SystemName)]) -> Result<Vec<Owed>, PortError> {
        self.store.owed_of(pairs).await
    }

    async fn published(&self, messages: &[Published]) -> Result<(), PortError> {
        self.store.published(messages).await
    }

    async fn facts(&self) -> Result<Vec<SystemFacts>, PortError> {
        self.store.facts().await
    }

    async fn waiting_due(&self, now: Timestamp, limit: usize) -> Result<Vec<Waiting>, PortError> {
        self.store.waiting_due(now, limit).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, PortError> {
        self.store.next_due().await
    }

    async fn forget(&self, expired: &Expired, limit: usize) -> Result<bool, PortError> {
        self.store.forget(expired, limit).await
    }

    async fn rewrite(&self, rows: &[Decision]) -> Result<(), PortError> {
        self.store.rewrite(rows).await
    }

    async fn decision(&self, update: &UpdateId) -> Result<Option<Decision>, PortError> {
        self.store.decision(update).await
    }

    async fn decisions(&self, filter: &DecisionFilter, after: Option<&Cursor>, limit: usize) -> Result<Page<Decision>, PortError> {
        self.store.decisions(filter, after, limit).await
    }

    async fn list_records(
        &self,
        entity_type: Option<&EntityType>,
        after: Option<CanonicalId>,
        limit: usize,
    ) -> Result<Vec<Versioned>, PortError> {
        self.store.list_records(entity_type, after, limit).await
    }

    async fn count_records(&self) -> Result<u64, PortError> {
        self.store.count_records().await
    }

    async fn list_waiting(&self, after: Option<u64>, limit: usize) -> Result<Vec<Waiting>, PortError> {
        self.store.list_waiting(after, limit).await
    }

    async fn dead_letters(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<DeadLetter>, PortError> {
        self.store.dead_letters(after, limit).await
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, PortError> {
        self.store.dead_letter(id).await
    }

    async fn tally(&self) -> Result<Tally, PortError> {
        self.store.tally().await
    }

    async fn count_up(&self, name: &str) -> Result<u64, PortError> {
        self.store.count_up(name).await
    }

    async fn forget_counts(&self, names: &[String]) -> Result<(), PortError> {
        self.store.forget_counts(names).await
    }

    async fn holds(&self) -> Result<Vec<HoldRow>, PortError> {
        self.store.holds().await
    }

    async fn audit(&self, entry: &Audit) -> Result<(), PortError> {
        self.store.audit(entry).await
    }

    async fn audits(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<Audit>, PortError> {
        self.store.audits(after, limit).await
    }

    async fn put_hold(&self, row: &HoldRow) -> Result<(), PortError> {
        self.store.put_hold(row).await
    }

    async fn epoch(&self) -> Result<u64, PortError> {
        self.store.epoch().await
    }

    async fn raise_epoch(&self) -> Result<u64, PortError> {
        self.store.raise_epoch().await
    }

    async fn attend(&self, presence: &Presence) -> Result<Vec<Presence>, PortError> {
        self.store.attend(presence).await
    }

    async fn leave(&self, presence: &Presence) -> Result<(), PortError> {
        self.store.leave(presence).await
    }
}
