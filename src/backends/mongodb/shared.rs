//! What everything uses: the connection, the numbers that give lists their order, and reading.

use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mongodb::bson::{DateTime, Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::{FindOptions, ReadConcern, ReturnDocument, SelectionCriteria, TransactionOptions, WriteConcern};
use mongodb::{Client, Database};

use super::codec::integer;
use super::error::{failed, late, unreadable};
use super::spans::{Length, Lengths};
use crate::domain::time::Timestamp;
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::tally::RoughCount;

/// Documents asked for at a time.
const PAGE: u32 = 2_000;

/// The connection and what is remembered beside it.
pub(super) struct Shared {
    pub client: Client,
    pub db: Database,
    /// How long an operation may take.
    pub deadline: Duration,
    pub numbers: Numbers,
    /// Places in the outbox that are ours to give out.
    pub places: Mutex<Range<i64>>,
    /// Whether any update may wait.
    pub waits: AtomicBool,
    /// Whether the server takes the statements of a small transaction in one command.
    pub together: AtomicBool,
    /// Where the sweep over waiting updates goes on.
    pub swept: AtomicI64,
    /// When the store was made: nearly everything in it is younger.
    pub began: Timestamp,
    /// How much later than its time a place is at most, as far as is stored.
    pub late: AtomicI64,
    /// Where the rows of long lists were lately.
    pub pages: Pages,
    /// What is known of the outbox.
    pub recall: super::recall::Recall,
    /// Whether updates are expected to be new.
    pub fresh: super::fresh::Fresh,
    /// What is known of others who write records.
    pub writers: super::writers::Writers,
    /// What is known of what is kept back.
    pub holds: super::holds::Holds,
    /// Who else is at work.
    pub attendance: super::presence::Attendance,
}

/// Where the rows of long lists were lately.
pub(super) struct Pages {
    /// How much of the decisions held a page: microseconds.
    pub decisions: Length,
    /// How much of the records, by type: milliseconds.
    pub records: Lengths,
    /// The first place anything was owed at.
    pub owed_from: AtomicI64,
    /// How many records there were.
    pub counted: RoughCount,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            decisions: Length::new(1_000_000),
            records: Lengths::new(1_000),
            owed_from: AtomicI64::new(0),
            counted: RoughCount::default(),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client knows the password.
        f.debug_struct("MongoStore").field("database", &self.db.name()).finish_non_exhaustive()
    }
}

/// Numbers that order rows: a time in microseconds, moved on where it is taken. Of two orchestrators the one that reads what
/// the other wrote goes on after it, so the history of a record is in order even if their clocks are not.
#[derive(Debug)]
pub(super) struct Numbers(AtomicI64);

impl Numbers {
    pub fn after(last: i64) -> Self {
        Self(AtomicI64::new(last))
    }

    /// The next one, not before a time.
    pub fn next(&self, at: i64) -> i64 {
        let next = |last: i64| at.max(last.saturating_add(1));
        next(self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last))).unwrap_or(at))
    }

    /// The last one that is known to be taken, or the time of day if that is later: where a list is expected to begin.
    pub fn latest(&self) -> i64 {
        self.0.load(Ordering::Relaxed).max(DateTime::now().timestamp_millis().saturating_mul(1_000))
    }

    /// Another one is known to be taken.
    pub fn saw(&self, number: i64) {
        self.0.fetch_max(number, Ordering::Relaxed);
    }
}

impl Shared {
    pub fn places(&self) -> MutexGuard<'_, Range<i64>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an operation on a task of its own, as the driver's futures must never be dropped half-way, and waits for it as
    /// long as may be.
    pub async fn run<T, F>(self: &Arc<Self>, operation: &'static str, work: impl FnOnce(Arc<Self>) -> F) -> Result<T, PortError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, PortError>> + Send + 'static,
    {
        let task = tokio::spawn(work(Arc::clone(self)));
        match tokio::time::timeout(self.deadline, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(PortError::new(PortErrorKind::Unavailable, operation, "the task that did it failed").because(error)),
            Err(_) => Err(late(operation, self.deadline)),
        }
    }

    /// How transactions read and write.
    pub fn transaction(&self) -> TransactionOptions {
        TransactionOptions::builder().read_concern(ReadConcern::snapshot()).write_concern(durable()).selection_criteria(primary()).build()
    }

    /// Asks for documents.
    pub fn find(&self, operation: &'static str, collection: &'static str, filter: Document) -> Find<'_> {
        Find { shared: self, operation, collection, filter, options: FindOptions::builder().batch_size(PAGE).build() }
    }

    /// Asks for the documents of some ids; without any, nothing is asked.
    pub fn find_ids(&self, operation: &'static str, collection: &'static str, ids: Vec<String>) -> Find<'_> {
        let none = ids.is_empty();
        let found = self.find(operation, collection, of_ids(ids)).sort(in_order());
        if none { found.limit(0) } else { found }
    }

    /// Adds to a counter and returns its new value.
    pub async fn add(&self, operation: &'static str, collection: &str, name: &str, count: i64) -> Result<i64, PortError> {
        let counters = self.db.collection::<RawDocumentBuf>(collection);
        let add = counters.find_one_and_update(doc! {"_id": name}, doc! {"$inc": {"value": count}});
        let counter = add.upsert(true).return_document(ReturnDocument::After).await.map_err(failed(operation))?;
        let value = counter.as_ref().map(|counter| integer(counter, "value")).transpose();
        value.map_err(|error| unreadable(operation, "counter", error)).map(Option::unwrap_or_default)
    }
}

/// The documents of these ids…
pub(super) fn of_ids(ids: Vec<String>) -> Document {
    doc! {"_id": {"$in": ids}}
}

/// …in the order in which a server comes by them. One that is not told so may think long about the order it would find them in.
pub(super) fn in_order() -> Document {
    doc! {"_id": 1}
}

/// Written on a majority of the nodes, and on their disks.
pub(super) fn durable() -> WriteConcern {
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    concern
}

/// What a secondary says may be old, and what is decided by it would be in vain.
pub(super) fn primary() -> SelectionCriteria {
    SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary)
}

/// A question.
pub(super) struct Find<'s> {
    shared: &'s Shared,
    operation: &'static str,
    collection: &'static str,
    filter: Document,
    options: FindOptions,
}

impl Find<'_> {
    pub fn project(mut self, projection: Document) -> Self {
        self.options.projection = Some(projection);
        self
    }

    pub fn sort(mut self, sort: Document) -> Self {
        self.options.sort = Some(sort);
        self
    }

    /// Asks for so many at a time.
    pub fn batch(mut self, count: usize) -> Self {
        self.options.batch_size = u32::try_from(count).ok().map(|count| count.clamp(1, PAGE));
        self
    }

    pub fn limit(mut self, limit: usize) -> Self {
        self.options.limit = i64::try_from(limit).ok();
        self
    }

    /// Every answer.
    pub async fn all(self) -> Result<Vec<RawDocumentBuf>, PortError> {
        let mut documents = Vec::new();
        self.each(|document| {
            documents.push(document.to_owned());
            Ok(true)
        })
        .await?;
        Ok(documents)
    }

    /// Answer after answer, until told to stop; whether it was not.
    pub async fn each(self, mut take: impl FnMut(&RawDocument) -> Result<bool, PortError>) -> Result<bool, PortError> {
        if self.options.limit == Some(0) {
            return Ok(true);
        }
        let error = failed(self.operation);
        let collection = self.shared.db.collection::<RawDocumentBuf>(self.collection);
        let mut cursor = collection.find(self.filter).with_options(self.options).await.map_err(error)?;
        while cursor.advance().await.map_err(error)? {
            if !take(cursor.current())? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
