//! The embedded backend: store and queues in one SQLite file, for one process.
//!
//! One thread writes, in transactions that many batches share; look-ups read beside it. Writing down a batch (hashes,
//! JSON) happens on the caller's thread, so the writer only hands rows to SQLite.

mod codec;
mod commit;
mod error;
mod forget;
mod keys;
mod lookup;
mod outbox;
mod parked;
mod queries;
mod queues;
mod recent;
mod schema;
mod statements;
mod tally;
mod tasks;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::watch;

use self::codec::{Hasher, unsigned};
use self::error::{again, failed};
use self::lookup::Readers;
use self::queues::Queues;
use self::recent::Recent;
use self::writer::Writer;
use crate::domain::decision::Decision;
use crate::domain::ids::{CanonicalId, EntityType, SystemName, UpdateId};
use crate::domain::time::Timestamp;
use crate::domain::waiting::Waiting;
use crate::ports::audit::Audit;
use crate::ports::broker::{Broker, Delivery, HandedIn, Inbox, Leased, LocalQueues, OutboundMessage};
use crate::ports::error::PortError;
use crate::ports::hold::HoldRow;
use crate::ports::store::{
    Batch, Cursor, DeadLetter, DecisionFilter, Expired, Found, Lookup, Owed, Page, Published, Store, SystemFacts, Versioned,
};
use crate::ports::tally::{RoughCount, Tally};
use crate::ports::task::Task;

/// How the file is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// Inbound messages kept at most; more are refused as [`Full`](crate::ports::error::PortErrorKind::Full). Default: 100,000.
    pub inbound_max: u64,
    /// Jobs that wait for the writer at most; more make their callers wait. Default: 256.
    pub jobs_max: usize,
    /// Memory for the writer's pages, in KiB. Default: 4,096.
    pub writer_cache_kib: u32,
    /// Memory for the pages of each reader, in KiB. Default: 768.
    pub reader_cache_kib: u32,
    /// Readers for look-ups by key. Default: 2.
    pub readers: usize,
    /// Newest keys (three for a new record) kept in memory, about 60 bytes each, until they are written in order.
    /// Default: 60,000.
    pub recent_keys: usize,
    /// Which bits of a key's hash number its row. Tests leave out most, so that keys share rows.
    #[doc(hidden)]
    pub key_mask: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            inbound_max: 100_000,
            jobs_max: 256,
            writer_cache_kib: 4_096,
            reader_cache_kib: 768,
            readers: 2,
            recent_keys: 60_000,
            key_mask: u64::MAX,
        }
    }
}

/// The store and the queues of one folder. Closed when the last of its handles is dropped.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// The store.
    pub store: Arc<EmbeddedStore>,
    /// The queues.
    pub broker: Arc<EmbeddedBroker>,
}

/// What both sides share. Fields close in this order: the lock goes last.
#[derive(Debug)]
struct Shared {
    writer: Writer,
    readers: Readers,
    hasher: Hasher,
    recent: Arc<Recent>,
    queues: Queues,
    swept: tokio::sync::Mutex<forget::Places>,
    counted: RoughCount,
    inbound_max: u64,
    epoch: AtomicU64,
    _lock: File,
}

/// A [`Store`] in an SQLite file.
#[derive(Clone, Debug)]
pub struct EmbeddedStore(Arc<Shared>);

/// A [`Broker`] in an SQLite file, with [`LocalQueues`] for the adapters.
#[derive(Clone, Debug)]
pub struct EmbeddedBroker(Arc<Shared>);

impl Embedded {
    /// Opens the store in a folder, which is made if need be. Blocks for a moment.
    ///
    /// Fails with [`Unavailable`](crate::ports::error::PortErrorKind::Unavailable) if another process uses the folder or
    /// it cannot be written, and with [`Invalid`](crate::ports::error::PortErrorKind::Invalid) if the file is damaged, not
    /// ours, or from a newer version.
    ///
    /// ```
    /// # use syncline::backends::embedded::{Embedded, Options};
    /// # use syncline::ports::store::Store;
    /// # let folder = std::env::temp_dir().join(format!("syncline-doc-{}", std::process::id()));
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let embedded = Embedded::open(&folder, &Options::default())?;
    /// assert_eq!(embedded.store.epoch().await?, 1);
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok::<(), syncline::ports::error::PortError>(()) }).unwrap();
    /// ```
    pub fn open(folder: &Path, options: &Options) -> Result<Self, PortError> {
        let lock = schema::lock(folder)?;
        let file = folder.join(schema::FILE);
        let conn = schema::open_writer(&file, options.writer_cache_kib)?;
        queues::recover(&conn).map_err(failed("open the store"))?;
        let hasher = Hasher::new(schema::meta(&conn, "secret")?, options.key_mask);
        let epoch = schema::meta(&conn, "epoch").map(unsigned).map(AtomicU64::new)?;
        let (recent, last) = Recent::load(&conn).map_err(failed("open the store"))?;
        let recent = Arc::new(recent);
        let writer = Writer::start(conn, &file, options.jobs_max, (Arc::clone(&recent), last, options.recent_keys))?;
        let readers = Readers::open(&file, options.readers, options.reader_cache_kib)?;
        let (queues, inbound_max) = (Queues::default(), options.inbound_max);
        let swept = tokio::sync::Mutex::default();
        let shared = Arc::new(Shared {
            writer,
            readers,
            hasher,
            recent,
            queues,
            swept,
            counted: RoughCount::default(),
            inbound_max,
            epoch,
            _lock: lock,
        });
        Ok(Self { store: Arc::new(EmbeddedStore(Arc::clone(&shared))), broker: Arc::new(EmbeddedBroker(shared)) })
    }
}

impl Embedded {
    /// Every message that waits for a system: system, record, rev. For whoever keeps records elsewhere, to let go of what
    /// was answered before a crash.
    pub async fn outbound(&self) -> Result<Vec<(SystemName, CanonicalId, u64)>, PortError> {
        self.broker.0.list("list outbound messages", |_, conn| queues::outbound(conn)).await
    }

    /// Lets the file grow to so many pages only: as good as a full disk. For tests.
    #[cfg(feature = "testkit")]
    pub async fn limit_pages(&self, pages: u32) -> Result<(), PortError> {
        let limit = move |session: &mut writer::Session<'_>| {
            session.conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).map_err(failed("limit the file"))
        };
        self.store.0.writer.run("limit the file", limit).await
    }
}

impl Shared {
    /// Reads what may take long, off the async threads.
    async fn list<T: Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        read: impl FnOnce(&Self, &Connection) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let shared = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || read(&shared, &shared.readers.slow()));
        task.await.map_err(|_| error::stopped(operation))?
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn look_up(&self, lookup: &Lookup) -> Result<Found, PortError> {
        lookup::look_up(&self.0.readers.quick(), &self.0.hasher, &self.0.recent, lookup)
    }

    async fn records(&self, ids: &[CanonicalId]) -> Result<Vec<Versioned>, PortError> {
        lookup::records(&self.0.readers.quick(), ids)
    }

    async fn commit(&self, batch: &Batch) -> Result<(), PortError> {
        let encoded = commit::encode(&self.0.hasher, batch)?;
        self.0.writer.run(commit::COMMIT, move |session| commit::apply(session, &encoded)).await?;
        for (record, (system, rev)) in batch.outbox().filter_map(|(record, change)| Some((record, change.answered()?))) {
            self.0.queues.forget(system, &[(record, rev)]);
        }
        Ok(())
    }

    async fn children(
        &self,
        parents: &[CanonicalId],
        entity_type: &EntityType,
        after: Option<CanonicalId>,
        limit: usize,
    ) -> Result<Vec<CanonicalId>, PortError> {
        tasks::children(&self.0.readers.quick(), parents, entity_type, after, limit)
    }

    async fn deleted(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, CanonicalId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, CanonicalId)>, PortError> {
        tasks::deleted(&self.0.readers.quick(), before, after, limit)
    }

    async fn tasks(&self, limit: usize) -> Result<Vec<Task>, PortError> {
        tasks::tasks(&self.0.readers.quick(), limit)
    }

    async fn owed(&self, after: u64, limit: usize) -> Result<Vec<(u64, Owed)>, PortError> {
        outbox::after(&self.0.readers.quick(), after, limit)
    }

    async fn owed_of(&self, pairs: &[(CanonicalId, SystemName)]) -> Result<Vec<Owed>, PortError> {
        outbox::of(&self.0.readers.quick(), pairs)
    }

    async fn published(&self, messages: &[Published]) -> Result<(), PortError> {
        let messages = messages.to_vec();
        self.0.writer.run(outbox::NOTE, move |session| outbox::published(session, &messages)).await
    }

    async fn facts(&self) -> Result<Vec<SystemFacts>, PortError> {
        queries::facts(&self.0.readers.quick())
    }

    async fn waiting_due(&self, now: Timestamp, limit: usize) -> Result<Vec<Waiting>, PortError> {
        queries::waiting_due(&self.0.readers.quick(), now, limit)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, PortError> {
        queries::next_due(&self.0.readers.quick())
    }

    async fn forget(&self, expired: &Expired, limit: usize) -> Result<bool, PortError> {
        let mut swept = self.0.swept.lock().await;
        let (hasher, places, expired) = (self.0.hasher.clone(), *swept, *expired);
        let forget = move |session: &mut writer::Session<'_>| forget::forget(session, &hasher, places, &expired, limit);
        let (more, places) = self.0.writer.run(forget::FORGET, forget).await?;
        *swept = places;
        Ok(more)
    }

    async fn rewrite(&self, rows: &[Decision]) -> Result<(), PortError> {
        let (hasher, rows) = (self.0.hasher.clone(), rows.to_vec());
        let rewrite = move |session: &mut writer::Session<'_>| forget::rewrite(session, &hasher, &rows);
        self.0.writer.run(forget::REWRITE, rewrite).await
    }

    async fn decision(&self, update: &UpdateId) -> Result<Option<Decision>, PortError> {
        queries::decision(&self.0.readers.quick(), self.0.hasher.update(update), &self.0.recent)
    }

    async fn decisions(&self, filter: &DecisionFilter, after: Option<&Cursor>, limit: usize) -> Result<Page<Decision>, PortError> {
        let (filter, after) = (filter.clone(), after.cloned());
        self.0.list("list decisions", move |_, conn| queries::decisions(conn, &filter, after.as_ref(), limit)).await
    }

    async fn list_records(
        &self,
        entity_type: Option<&EntityType>,
        after: Option<CanonicalId>,
        limit: usize,
    ) -> Result<Vec<Versioned>, PortError> {
        let entity_type = entity_type.cloned();
        self.0.list("list records", move |_, conn| queries::records(conn, entity_type.as_ref(), after, limit)).await
    }

    async fn count_records(&self) -> Result<u64, PortError> {
        if let Some(count) = self.0.counted.lately() {
            return Ok(count);
        }
        let count = self.0.list("count records", |_, conn| queries::count_records(conn)).await?;
        self.0.counted.note(count);
        Ok(count)
    }

    async fn list_waiting(&self, after: Option<u64>, limit: usize) -> Result<Vec<Waiting>, PortError> {
        self.0.list("list waiting updates", move |_, conn| queries::waiting(conn, after, limit)).await
    }

    async fn dead_letters(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<DeadLetter>, PortError> {
        let after = after.cloned();
        self.0.list("list dead letters", move |_, conn| queries::dead_letters(conn, after.as_ref(), limit)).await
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, PortError> {
        let id = id.to_owned();
        self.0.list("read a dead letter", move |_, conn| queries::dead_letter(conn, &id)).await
    }

    async fn tally(&self) -> Result<Tally, PortError> {
        self.0.list("count what is to be done", |_, conn| tally::count(conn)).await
    }

    async fn count_up(&self, name: &str) -> Result<u64, PortError> {
        let name = name.to_owned();
        let count = move |session: &mut writer::Session<'_>| {
            session.sql.count_up.query_row([&name], |row| row.get(0)).map(unsigned).map_err(failed("count up"))
        };
        self.0.writer.run("count up", count).await
    }

    async fn forget_counts(&self, names: &[String]) -> Result<(), PortError> {
        let names = names.to_vec();
        let forget = move |session: &mut writer::Session<'_>| {
            for name in &names {
                session.sql.count_forget.execute([name]).map_err(failed("forget a count"))?;
            }
            Ok(())
        };
        self.0.writer.run("forget a count", forget).await
    }

    async fn audit(&self, entry: &Audit) -> Result<(), PortError> {
        let (id, body) = (entry.id.clone(), serde_json::to_string(entry));
        let body = body.map_err(|error| error::unreadable("keep what was done", "entry", error))?;
        let add = move |session: &mut writer::Session<'_>| {
            session.sql.audit_add.execute((&id, &body)).map(|_| ()).map_err(failed("keep what was done"))
        };
        self.0.writer.run("keep what was done", add).await
    }

    async fn audits(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<Audit>, PortError> {
        let after = after.cloned();
        self.0.list("list what was done", move |_, conn| queries::audits(conn, after.as_ref(), limit)).await
    }

    async fn holds(&self) -> Result<Vec<HoldRow>, PortError> {
        queries::holds(&self.0.readers.quick())
    }

    async fn put_hold(&self, row: &HoldRow) -> Result<(), PortError> {
        let (id, body) = (row.hold.to_string(), serde_json::to_string(row));
        let body = body.map_err(|error| error::unreadable("keep a hold", "hold", error))?;
        let put =
            move |session: &mut writer::Session<'_>| session.sql.hold_put.execute((&id, &body)).map(|_| ()).map_err(failed("keep a hold"));
        self.0.writer.run("keep a hold", put).await
    }

    async fn epoch(&self) -> Result<u64, PortError> {
        Ok(self.0.epoch.load(Ordering::SeqCst))
    }

    async fn raise_epoch(&self) -> Result<u64, PortError> {
        let raise = |session: &mut writer::Session<'_>| {
            session.sql.epoch_raise.query_row((), |row| row.get(0)).map(unsigned).map_err(failed("raise the epoch"))
        };
        let epoch = self.0.writer.run("raise the epoch", raise).await?;
        self.0.epoch.store(epoch, Ordering::SeqCst);
        Ok(epoch)
    }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let came = self.0.queues.came.notified();
        tokio::pin!(came);
        came.as_mut().enable();
        let mut deliveries = self.0.queues.receive(&self.0.readers.quick(), max)?;
        if deliveries.is_empty() {
            // Looks again after the time is over, too: whoever handed messages in may have gone before it could ring.
            let _ = tokio::time::timeout(wait, came).await;
            deliveries = self.0.queues.receive(&self.0.readers.quick(), max)?;
        }
        if let Some(last) = deliveries.last().map(|delivery| delivery.tag) {
            let note = move |session: &mut writer::Session<'_>| queues::note_received(session, last);
            // After a start it has to be durable before anything is decided: a message that ends the process faster than it is
            // written down would never count as delivered, and never be given up.
            if self.0.queues.has_begun() {
                self.0.writer.send(note).await;
            } else if let Err(error) = self.0.writer.run("receive", note).await {
                self.0.queues.give_again();
                return Err(error);
            } else {
                self.0.queues.begin();
            }
        }
        Ok(deliveries)
    }

    async fn give_again(&self) -> Result<(), PortError> {
        self.0.queues.give_again();
        Ok(())
    }

    async fn settle(&self, tags: &[u64]) -> Result<(), PortError> {
        let tags = tags.to_vec();
        self.0.writer.run("settle", move |session| queues::settle(session, &tags)).await
    }

    async fn publish(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), PortError>> {
        let count = messages.len();
        let done = self.0.writer.run(queues::PUBLISH, move |session| queues::publish(session, &messages)).await;
        self.0.queues.ring();
        (0..count).map(|_| done.as_ref().copied().map_err(|error| again(error, queues::PUBLISH))).collect()
    }
}

#[async_trait]
impl Inbox for EmbeddedBroker {
    async fn hand_in(&self, messages: Vec<HandedIn>, now: Timestamp) -> Result<(), PortError> {
        self.enqueue(messages.into_iter().map(|message| (message.message_id, message.body)).collect(), now).await
    }

    async fn depth(&self) -> Result<(u64, Vec<(SystemName, u64)>), PortError> {
        self.0.list("measure the queues", |_, conn| queues::depth(conn)).await
    }

    fn connected(&self) -> Result<(), PortError> {
        Ok(())
    }

    fn queue_of(&self, _: &SystemName) -> Option<String> {
        None
    }
}

#[async_trait]
impl LocalQueues for EmbeddedBroker {
    async fn enqueue(&self, messages: Vec<(Option<String>, Vec<u8>)>, now: Timestamp) -> Result<(), PortError> {
        let bound = self.0.inbound_max;
        self.0.writer.run(queues::ENQUEUE, move |session| queues::enqueue(session, &messages, now, bound)).await?;
        self.0.queues.came.notify_waiters();
        Ok(())
    }

    async fn lease(&self, system: &SystemName, max: usize, lease: Duration, now: Timestamp) -> Result<Leased, PortError> {
        self.0.queues.lease(&self.0.readers.quick(), system, max, lease, now)
    }

    async fn release(&self, system: &SystemName, applied: &[(CanonicalId, u64)]) -> Result<(), PortError> {
        let (name, gone) = (system.clone(), applied.to_vec());
        self.0.writer.run("release", move |session| queues::release(session, &name, &gone)).await?;
        self.0.queues.forget(system, applied);
        Ok(())
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.0.queues.news.subscribe()
    }
}
