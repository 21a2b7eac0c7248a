//! The MongoDB backend: a store in one database of a replica set, for any number of orchestrators.
//!
//! Records and decisions are documents a person can query by hand. Every batch is one transaction, durable on a majority
//! of the nodes before anything is acknowledged. What `docs/mongodb.md` says to users is what these files do.

mod audits;
mod codec;
mod commit;
mod error;
mod forget;
mod fresh;
mod holds;
mod keys;
mod letters;
mod lookup;
mod outbox;
mod parked;
mod presence;
mod queries;
mod recall;
mod schema;
mod shared;
mod spans;
mod staging;
mod tasks;
mod together;
mod upgrade;
mod values;
mod writers;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::ReturnDocument;

use self::codec::number;
use self::error::{failed, unreadable};
use self::shared::Shared;
use crate::domain::decision::Decision;
use crate::domain::ids::{CanonicalId, EntityType, SystemName, UpdateId};
use crate::domain::time::Timestamp;
use crate::domain::waiting::Waiting;
use crate::ports::audit::Audit;
use crate::ports::error::PortError;
use crate::ports::hold::HoldRow;
use crate::ports::presence::Presence;
use crate::ports::store::{
    Batch, Cursor, DeadLetter, DecisionFilter, Expired, Found, Lookup, Owed, Page, Published, Store, SystemFacts, Versioned,
};
use crate::ports::tally::{Tally, owed_by_reading};
use crate::ports::task::Task;

/// How the database is used.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long the first answer of a server may take. Default: 10 s.
    pub connect: Duration,
    /// How long an operation may take; after that it counts as failed, and whether it happened is not known. Default: 20 s.
    pub deadline: Duration,
    /// Whether a store is made where there is none. Default: true.
    pub create: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), deadline: Duration::from_secs(20), create: true }
    }
}

/// A [`Store`] in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoStore(Arc<Shared>);

impl MongoStore {
    /// Connects to a replica set and makes the store's collections and indexes in a database, if need be.
    ///
    /// Fails with [`Unavailable`](crate::ports::error::PortErrorKind::Unavailable) if no server answers in time, and with
    /// [`Invalid`](crate::ports::error::PortErrorKind::Invalid) if the connection string can't be used, the server is a
    /// standalone one, or the database was written by a newer version. No error shows the connection string's password.
    pub async fn open(url: &str, database: &str, options: Options) -> Result<Self, PortError> {
        let (url, database) = (url.to_owned(), database.to_owned());
        let task = tokio::spawn(async move { schema::open(&url, &database, options).await });
        let opened = task.await.map_err(|error| PortError::new(crate::ports::error::PortErrorKind::Unavailable, schema::OPEN, error))?;
        Ok(Self(Arc::new(opened?)))
    }

    /// Drops the whole database. For tests.
    #[cfg(feature = "testkit")]
    pub async fn drop_database(&self) -> Result<(), PortError> {
        self.0.db.drop().await.map_err(failed("drop the database"))
    }
}

#[async_trait]
impl Store for MongoStore {
    async fn look_up(&self, lookup: &Lookup) -> Result<Found, PortError> {
        if lookup.is_empty() {
            return Ok(Found::default());
        }
        let lookup = lookup.clone();
        self.0.run("look up", |shared| async move { lookup::look_up(&shared, &lookup).await }).await
    }

    async fn records(&self, ids: &[CanonicalId]) -> Result<Vec<Versioned>, PortError> {
        let ids = ids.to_vec();
        self.0.run("load records", |shared| async move { lookup::records(&shared, &ids).await }).await
    }

    async fn commit(&self, batch: &Batch) -> Result<(), PortError> {
        let batch = batch.clone();
        self.0.run(commit::COMMIT, |shared| async move { commit::commit(&shared, &batch).await }).await
    }

    async fn children(
        &self,
        parents: &[CanonicalId],
        entity_type: &EntityType,
        after: Option<CanonicalId>,
        limit: usize,
    ) -> Result<Vec<CanonicalId>, PortError> {
        let (parents, entity_type) = (parents.to_vec(), entity_type.clone());
        let look = move |shared: Arc<Shared>| async move { tasks::children(&shared, &parents, &entity_type, after, limit).await };
        self.0.run(tasks::CHILDREN, look).await
    }

    async fn deleted(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, CanonicalId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, CanonicalId)>, PortError> {
        self.0.run(tasks::DELETED, move |shared| async move { tasks::deleted(&shared, before, after, limit).await }).await
    }

    async fn tasks(&self, limit: usize) -> Result<Vec<Task>, PortError> {
        self.0.run(tasks::READ, move |shared| async move { tasks::tasks(&shared, limit).await }).await
    }

    async fn owed(&self, after: u64, limit: usize) -> Result<Vec<(u64, Owed)>, PortError> {
        self.0.run("read the outbox", move |shared| async move { outbox::after(&shared, after, limit).await }).await
    }

    async fn owed_of(&self, pairs: &[(CanonicalId, SystemName)]) -> Result<Vec<Owed>, PortError> {
        let pairs = pairs.to_vec();
        self.0.run("read the outbox", |shared| async move { outbox::of(&shared, &pairs).await }).await
    }

    async fn published(&self, messages: &[Published]) -> Result<(), PortError> {
        if messages.is_empty() {
            return Ok(());
        }
        let messages = messages.to_vec();
        self.0.run(outbox::NOTE, |shared| async move { outbox::published(&shared, &messages).await }).await
    }

    async fn facts(&self) -> Result<Vec<SystemFacts>, PortError> {
        self.0.run("read facts", |shared| async move { queries::facts(&shared).await }).await
    }

    async fn waiting_due(&self, now: Timestamp, limit: usize) -> Result<Vec<Waiting>, PortError> {
        self.0.run("list waiting updates", move |shared| async move { queries::waiting_due(&shared, now, limit).await }).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, PortError> {
        self.0.run("list waiting updates", |shared| async move { queries::next_due(&shared).await }).await
    }

    async fn forget(&self, expired: &Expired, limit: usize) -> Result<bool, PortError> {
        let expired = *expired;
        self.0.run(forget::FORGET, move |shared| async move { forget::forget(&shared, &expired, limit).await }).await
    }

    async fn rewrite(&self, rows: &[Decision]) -> Result<(), PortError> {
        let rows = rows.to_vec();
        self.0.run(forget::REWRITE, move |shared| async move { forget::rewrite(&shared, &rows).await }).await
    }

    async fn decision(&self, update: &UpdateId) -> Result<Option<Decision>, PortError> {
        let update = update.clone();
        self.0.run("read a decision", |shared| async move { queries::decision(&shared, &update).await }).await
    }

    async fn decisions(&self, filter: &DecisionFilter, after: Option<&Cursor>, limit: usize) -> Result<Page<Decision>, PortError> {
        let (filter, after) = (filter.clone(), after.cloned());
        let list = move |shared: Arc<Shared>| async move { queries::decisions(&shared, &filter, after.as_ref(), limit).await };
        self.0.run("list decisions", list).await
    }

    async fn list_records(
        &self,
        entity_type: Option<&EntityType>,
        after: Option<CanonicalId>,
        limit: usize,
    ) -> Result<Vec<Versioned>, PortError> {
        let entity_type = entity_type.cloned();
        let list = move |shared: Arc<Shared>| async move { queries::records(&shared, entity_type.as_ref(), after, limit).await };
        self.0.run("list records", list).await
    }

    async fn count_records(&self) -> Result<u64, PortError> {
        self.0.run("count records", |shared| async move { queries::count_records(&shared).await }).await
    }

    async fn list_waiting(&self, after: Option<u64>, limit: usize) -> Result<Vec<Waiting>, PortError> {
        self.0.run("list waiting updates", move |shared| async move { queries::waiting(&shared, after, limit).await }).await
    }

    async fn dead_letters(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<DeadLetter>, PortError> {
        let after = after.cloned();
        self.0.run("list dead letters", move |shared| async move { queries::dead_letters(&shared, after.as_ref(), limit).await }).await
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, PortError> {
        let id = id.to_owned();
        self.0.run("read a dead letter", move |shared| async move { queries::dead_letter(&shared, &id).await }).await
    }

    async fn tally(&self) -> Result<Tally, PortError> {
        let owed = owed_by_reading(self).await?;
        let count = |shared: Arc<Shared>| async move { queries::count_what_waits(&shared).await };
        let (waiting, dead_letters) = self.0.run("count what waits", count).await?;
        Ok(Tally { owed, waiting, dead_letters })
    }

    async fn count_up(&self, name: &str) -> Result<u64, PortError> {
        let name = format!("count:{name}");
        let count = self.0.run("count up", |shared| async move { shared.add("count up", schema::COUNTERS, &name, 1).await }).await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn forget_counts(&self, names: &[String]) -> Result<(), PortError> {
        let names: Vec<String> = names.iter().map(|name| format!("count:{name}")).collect();
        let forget = async move |shared: Arc<Shared>| {
            let counters = shared.db.collection::<Document>(schema::COUNTERS);
            counters.delete_many(doc! {"_id": {"$in": names}}).await.map(|_| ()).map_err(failed("forget a count"))
        };
        self.0.run("forget a count", forget).await
    }

    async fn audit(&self, entry: &Audit) -> Result<(), PortError> {
        let entry = entry.clone();
        self.0.run(audits::KEEP, |shared| async move { audits::add(&shared, &entry).await }).await
    }

    async fn audits(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<Audit>, PortError> {
        let after = after.cloned();
        self.0.run(audits::LIST, move |shared| async move { audits::list(&shared, after.as_ref(), limit).await }).await
    }

    async fn holds(&self) -> Result<Vec<HoldRow>, PortError> {
        self.0.run("read holds", |shared| async move { holds::all(&shared).await }).await
    }

    async fn put_hold(&self, row: &HoldRow) -> Result<(), PortError> {
        let row = row.clone();
        self.0.run("keep a hold", |shared| async move { holds::put(&shared, &row).await }).await
    }

    async fn attend(&self, presence: &Presence) -> Result<Vec<Presence>, PortError> {
        let presence = presence.clone();
        self.0.run(presence::ATTEND, |shared| async move { presence::attend(&shared, &presence).await }).await
    }

    async fn leave(&self, presence: &Presence) -> Result<(), PortError> {
        let presence = presence.clone();
        self.0.run(presence::ATTEND, |shared| async move { presence::leave(&shared, &presence).await }).await
    }

    async fn epoch(&self) -> Result<u64, PortError> {
        let operation = "read the epoch";
        let read = async move |shared: Arc<Shared>| {
            let meta = shared.db.collection::<RawDocumentBuf>(schema::META);
            let meta = meta.find_one(doc! {"_id": "store"}).await.map_err(failed(operation))?.unwrap_or_default();
            number(&meta, "epoch").map_err(|error| unreadable(operation, "epoch", error))
        };
        self.0.run(operation, read).await
    }

    async fn raise_epoch(&self) -> Result<u64, PortError> {
        let operation = "raise the epoch";
        let raise = async move |shared: Arc<Shared>| {
            let meta = shared.db.collection::<RawDocumentBuf>(schema::META);
            let raised = meta.find_one_and_update(doc! {"_id": "store"}, doc! {"$inc": {"epoch": 1}});
            let store = raised.return_document(ReturnDocument::After).await.map_err(failed(operation))?.unwrap_or_default();
            number(&store, "epoch").map_err(|error| unreadable(operation, "epoch", error))
        };
        self.0.run(operation, raise).await
    }
}
