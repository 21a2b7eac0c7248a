//! A batch, in one multi-document transaction.
//!
//! Every write says what must be stored for it to hold: an insert that its `_id` is free, a waiting row that it still waits.
//! The revisions of records that are replaced are asked for together, within the transaction. Only if something does not hold
//! is the batch judged against what is stored, which names the plans in the way.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::{Error, UNKNOWN_TRANSACTION_COMMIT_RESULT};

use super::codec::{self, signed};
use super::error::{failed, unreadable};
use super::schema::{CANONICAL, CLAIMS, CREATES, DEAD_LETTERS, DECISIONS, LETTER_PARTS, LINKS, META, OWED, SYSTEMS, WRITERS};
use super::shared::Shared;
use super::staging::{Before, Owners, Row, Staged, stage};
use super::together::Together;
use super::writers::{self, Revisions, Stamps, Turn};
use super::writes::{Content, Transaction, Trouble, Update};
use super::{letters, lookup, outbox, parked, presence, tasks};
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::store::{Batch, LetterEnd, SettledLetter, SystemFacts};

pub(super) const COMMIT: &str = "commit";
/// Tries of one batch that meets others who write the same.
const TRIES: u32 = 8;
/// Tries to learn whether a transaction was committed.
const COMMIT_TRIES: u32 = 5;
/// Plans of a batch whose statements go in one command.
const TOGETHER: usize = 64;
const FIRST_WAIT: Duration = Duration::from_millis(4);
/// For this part of the deadline a commit waits for one that was given up and has not ended.
const PATIENCE: u32 = 4;

/// Applies every plan or none.
pub(super) async fn commit(shared: &Shared, batch: &Batch) -> Result<(), PortError> {
    let mut stored = None;
    let mut tries = 0;
    loop {
        let trouble = match stage(batch, stored.as_ref()) {
            Ok(staged) => match attempt(shared, batch, &staged, tries > 0).await {
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            },
            Err(_) if stored.is_none() => Trouble::Race,
            Err(conflicts) => return Err(conflict(conflicts, batch)),
        };
        match trouble {
            // Half of it may go: the other half is decided again, and comes with the next batch.
            Trouble::TooLarge(_) if batch.plans.len() > 1 => {
                let half = (batch.plans.len() / 2..batch.plans.len()).collect();
                return Err(PortError::new(PortErrorKind::Conflict(half), COMMIT, "too much for one transaction; half of it goes first"));
            }
            Trouble::TooLarge(error) | Trouble::Fatal(error) => return Err(error),
            Trouble::Again(error) | Trouble::OneByOne(error) if tries == TRIES => return Err(error),
            Trouble::Again(_) => {}
            Trouble::OneByOne(error) => {
                tracing::warn!(error = %error, "statements go to MongoDB one by one from now on, which takes a little longer");
                shared.together.store(false, Ordering::Relaxed);
            }
            // Others write the same again and again: it is to be decided anew, half of it first, so that what does not come through
            // holds up little else.
            Trouble::Race if tries == TRIES => {
                tracing::warn!(plans = batch.plans.len(), tries, "a batch meets others that write the same again and again; deciding anew");
                return Err(conflict((batch.plans.len() / 2..batch.plans.len()).collect(), batch));
            }
            Trouble::Race => stored = Some(lookup::stored(shared, batch).await?),
        }
        if tries > 0 {
            tokio::time::sleep(wait(tries)).await;
        }
        tries += 1;
    }
}

/// Longer with every try, and never the same for two who wait for each other.
pub(super) fn wait(tries: u32) -> Duration {
    let longest = FIRST_WAIT * 2_u32.pow(tries);
    let chance = uuid::Uuid::now_v7().as_u64_pair().1 & 0xff;
    longest / 2 + longest.mul_f64(chance as f64 / 512.0)
}

fn conflict(plans: Vec<usize>, batch: &Batch) -> PortError {
    let message = format!("{} of {} plans met data that others had changed", plans.len(), batch.plans.len());
    PortError::new(PortErrorKind::Conflict(plans), COMMIT, message)
}

/// One transaction from beginning to end; `careful`: one before came to nothing.
async fn attempt(shared: &Shared, batch: &Batch, staged: &Staged<'_>, careful: bool) -> Result<(), Trouble> {
    let tasks = batch.plans.iter().any(|plan| !plan.tasks.is_empty());
    if staged.is_empty() && batch.facts.is_empty() && !tasks {
        return Ok(());
    }
    let trouble = |error| Trouble::of(COMMIT, error);
    letters::put_parts(shared, COMMIT, &staged.dead_letters).await.map_err(Trouble::Fatal)?;
    let places = outbox::Places::reserve(shared, batch).await.map_err(Trouble::Fatal)?;
    let turn = shared.writers.turn(shared.deadline / PATIENCE).await;
    let mut session = presence::session(shared).await.map_err(trouble)?;
    session.start_transaction().with_options(shared.transaction()).await.map_err(trouble)?;
    let tx = Transaction::new(COMMIT, &shared.db, &mut session);
    let mut writer = Writer { shared, turn: &turn, batch, staged, careful, late: 0, seen: None, owed: outbox::Written::new(), tx };
    let written = writer.write(places).await.inspect_err(|_| writer.learn());
    let (late, seen, owed) = (writer.late, writer.seen, writer.owed);
    match written {
        Ok(proof) => {
            end(shared, &mut session, &proof).await.inspect_err(|_| shared.writers.lost(&turn))?;
            shared.writers.committed(&turn, seen, staged.revisions_after());
            shared.late.fetch_max(late, Ordering::Relaxed);
            shared.recall.wrote(owed);
            Ok(())
        }
        Err(trouble) => {
            // The server has done it already, or will.
            let _ = session.abort_transaction().await;
            Err(trouble)
        }
    }
}

/// What can be read afterwards only if the transaction was committed.
struct Proof(Option<(&'static str, Document)>);

async fn end(shared: &Shared, session: &mut ClientSession, proof: &Proof) -> Result<(), Trouble> {
    let mut tries = 0;
    loop {
        let Err(error) = session.commit_transaction().await else { return Ok(()) };
        let unknown = error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT);
        tries += 1;
        if unknown && tries < COMMIT_TRIES {
            tokio::time::sleep(wait(tries)).await;
            continue;
        }
        return match look(shared, proof).await {
            Ok(true) => Ok(()),
            // It may still come to be: whoever tries the batch again is told by what it meets.
            Ok(false) | Err(_) if unknown => Err(Trouble::Fatal(unsettled(error))),
            Ok(false) | Err(_) => Err(Trouble::of(COMMIT, error)),
        };
    }
}

fn unsettled(error: Error) -> PortError {
    let failed = failed(COMMIT)(error);
    PortError { kind: PortErrorKind::Unavailable, message: format!("whether it was done is not known: {}", failed.message), ..failed }
}

async fn look(shared: &Shared, proof: &Proof) -> Result<bool, PortError> {
    let Some((collection, filter)) = &proof.0 else { return Ok(false) };
    let found = shared.find(COMMIT, collection, filter.clone()).limit(1).project(doc! {"_id": 1}).all().await?;
    Ok(!found.is_empty())
}

/// Decision rows and marks in the form in which they are stored.
#[derive(Default)]
struct Rows {
    new: Vec<Content>,
    changed: Vec<Update>,
}

/// Records in that form.
#[derive(Default)]
struct Records {
    new: Vec<RawDocumentBuf>,
    changed: Vec<Update>,
    gone: Vec<Document>,
}

impl Records {
    /// The records, and the proof of one of them.
    fn of(shared: &Shared, staged: &Staged<'_>) -> Result<(Self, Proof), Trouble> {
        // After the places of the rows, so that whoever reads a record knows its rows' places to be taken.
        let stamp = shared.numbers.next(0);
        let written = staged.records.iter().find(|(_, written)| !written.write.removes);
        let proof = written.map(|(id, _)| (CANONICAL, doc! {"_id": id.to_string(), "stamp": stamp}));
        Ok((Self::with(staged, stamp)?, Proof(proof)))
    }

    fn with(staged: &Staged<'_>, stamp: i64) -> Result<Self, Trouble> {
        let mut records = Self::default();
        for (id, written) in &staged.records {
            if let Some(before) = written.before.filter(|_| written.write.removes) {
                records.gone.push(doc! {"_id": id.to_string(), "revision": signed(before)});
                continue;
            }
            let document = codec::record(written.write, written.revision, stamp).map_err(unwritable)?;
            match written.before {
                None => records.new.push(document),
                Some(_) => records.changed.push(Update::of_id(&id.to_string(), document)),
            }
        }
        for id in staged.checks.keys() {
            // Written, not only read: two transactions that rely on what the other one changes must meet.
            records.changed.push(Update::of_id(&id.to_string(), doc! {"$set": {"checked": stamp}}));
        }
        Ok(records)
    }
}

impl Rows {
    /// The rows, how much later than its time a place is, and the proof of one of them.
    fn of(shared: &Shared, staged: &Staged<'_>) -> Result<(Self, i64, Proof), Trouble> {
        let (mut rows, mut late, mut proof) = (Self::default(), 0, None);
        for (update, before, row) in &staged.rows {
            let document: Content = match row {
                Row::Decided(row) => {
                    let place = shared.numbers.next(row.decision.timestamp.as_micros());
                    proof = Some((DECISIONS, doc! {"_id": update.to_string(), "place": place}));
                    late = late.max(place.saturating_sub(row.decision.timestamp.as_micros()));
                    codec::decision(row, place).map_err(unwritable)?.into()
                }
                Row::Unlogged(row) => {
                    let place = shared.numbers.next(row.decision.timestamp.as_micros());
                    proof = Some((DECISIONS, doc! {"_id": update.to_string(), "decided": place}));
                    codec::spent(&update.to_string(), row.content_hash.cast_signed(), place).into()
                }
                Row::Marked(content_hash) => codec::mark(update, *content_hash).into(),
            };
            let waits = || doc! {"_id": update.to_string(), "waiting": true};
            match before {
                Before::Nothing => rows.new.push(document),
                Before::Waits => rows.changed.push(Update::replace(waits(), document)),
            }
        }
        Ok((rows, late, Proof(proof)))
    }
}

/// Whether records are stored with these revisions. Whoever changes one before this transaction writes it is met then: it
/// sees what was stored when it began, and only one of two may write. To ask for all of them at once and to write by `_id`
/// alone is several times faster than to have every write look for itself.
async fn expect(tx: &mut Transaction<'_>, revisions: Revisions) -> Result<(), Trouble> {
    if revisions.is_empty() {
        return Ok(());
    }
    let revisions: HashMap<String, i64> = revisions.into_iter().map(|(id, revision)| (id.to_string(), signed(revision))).collect();
    let found = tx.find_ids(CANONICAL, revisions.keys().cloned().collect(), doc! {"revision": 1}).await?;
    let as_expected = |row: &RawDocumentBuf| {
        let id = row.get_str("_id").ok();
        id.and_then(|id| revisions.get(id)).is_some_and(|revision| codec::integer(row, "revision").is_ok_and(|stored| stored == *revision))
    };
    if found.len() == revisions.len() && found.iter().all(as_expected) { Ok(()) } else { Err(Trouble::Race) }
}

/// Writes what a batch comes to.
struct Writer<'a> {
    shared: &'a Shared,
    turn: &'a Turn,
    batch: &'a Batch,
    staged: &'a Staged<'a>,
    careful: bool,
    /// How much later than its time a place is, if that is more than is stored.
    late: i64,
    /// Who else writes records, if it was looked at.
    seen: Option<Stamps>,
    /// What is owed of its records once it is committed.
    owed: outbox::Written,
    tx: Transaction<'a>,
}

fn unwritable(error: serde_json::Error) -> Trouble {
    Trouble::Fatal(unreadable(COMMIT, "row", error))
}

impl Writer<'_> {
    async fn write(&mut self, places: outbox::Places<'_>) -> Result<Proof, Trouble> {
        self.settle().await?;
        let (shared, staged, batch) = (self.shared, self.staged, self.batch);
        // The server is at work on one thing while the next one is put into its form.
        let (met, rows) = tokio::join!(self.meet(), async { Rows::of(shared, staged) });
        met?;
        let (rows, late, of_rows) = rows?;
        self.late = late;
        let (written, records) = tokio::join!(self.rows(rows), async { Records::of(shared, staged) });
        written?;
        let (records, of_records) = records?;
        let owed = outbox::read(&mut self.tx, shared, batch, self.careful).await?;
        let (written, owed) = tokio::join!(self.records(records), outbox::change(owed, batch, places));
        written?;
        self.owners(LINKS, &staged.links).await?;
        self.owners(CLAIMS, &staged.claims).await?;
        self.owed = outbox::write(&mut self.tx, shared, owed?).await?;
        self.creates().await?;
        parked::apply(&mut self.tx, self.shared, self.staged).await?;
        self.bury().await?;
        self.facts().await?;
        tasks::change(&mut self.tx, self.batch).await?;
        self.tx.flush().await?;
        Ok(Proof(of_rows.0.or(of_records.0)))
    }

    /// Makes sure that records are stored as they are expected to be, and that others learn of their change.
    async fn meet(&mut self) -> Result<(), Trouble> {
        let expected = self.staged.revisions_before();
        if expected.is_empty() {
            return Ok(());
        }
        let (seen, asked) = self.shared.writers.look(self.turn, &mut self.tx, expected).await?;
        self.seen = seen;
        expect(&mut self.tx, asked).await?;
        // Something was asked: what follows may go in one command, which must not be the first.
        if self.batch.plans.len() <= TOGETHER && self.shared.together.load(Ordering::Relaxed) {
            self.tx.together = Some(Together::default());
        }
        self.tx.update(WRITERS, vec![writers::stamp(self.turn)]).await
    }

    /// What was taken for granted and was not so.
    fn learn(&self) {
        match self.tx.raced_in.as_deref() {
            Some(DECISIONS) => self.shared.fresh.met_one(),
            Some(OWED) => self.shared.recall.was_wrong(),
            Some(_) | None => {}
        }
    }

    async fn records(&mut self, records: Records) -> Result<(), Trouble> {
        let leaving = records.gone.len() as i64;
        if self.tx.delete(CANONICAL, records.gone).await? != leaving {
            return Err(Trouble::Race);
        }
        self.tx.update(CANONICAL, records.changed).await?;
        self.tx.insert(CANONICAL, records.new).await
    }

    async fn owners(&mut self, collection: &str, owners: &Owners) -> Result<(), Trouble> {
        let released = owners.released.iter();
        let released = released.map(|(id, keys)| doc! {"_id": {"$in": keys}, "record": id.to_string()});
        self.tx.delete(collection, released.collect()).await?;
        let added = owners.added.iter().map(|(key, id)| doc! {"_id": key, "record": id.to_string()});
        self.tx.insert(collection, added.collect()).await
    }

    /// Writes decision rows and marks.
    async fn rows(&mut self, rows: Rows) -> Result<(), Trouble> {
        self.tx.insert(DECISIONS, rows.new).await?;
        self.tx.update(DECISIONS, rows.changed).await?;
        self.note_late().await
    }

    /// Whoever looks for a time looks so much further. Noted twice as long as it is, it is noted seldom.
    async fn note_late(&mut self) -> Result<(), Trouble> {
        if self.late <= self.shared.late.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.late = self.late.saturating_mul(2);
        let store = doc! {"_id": "store", "late": {"$exists": true}};
        self.tx.update_any(META, vec![Update::replace(store, doc! {"$max": {"late": self.late}})]).await
    }

    async fn creates(&mut self) -> Result<(), Trouble> {
        let (mut opened, mut closed) = (Vec::new(), Vec::new());
        for ((of, record), open) in &self.staged.creates {
            let id = format!("{of}:{record}");
            if *open {
                let create = doc! {"_id": &id, "of": of, "record": record.to_string()};
                opened.push(Update::put(doc! {"_id": id}, create));
            } else {
                closed.push(id);
            }
        }
        self.tx.update(CREATES, opened).await?;
        if closed.is_empty() {
            return Ok(());
        }
        self.tx.delete(CREATES, vec![doc! {"_id": {"$in": closed}}]).await.map(|_| ())
    }

    /// Takes dead letters away, each only if it is stored as it was read. A mark goes with it, or is left.
    async fn settle(&mut self) -> Result<(), Trouble> {
        let (mut gone, mut parts, mut freed, mut marked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for SettledLetter { letter, end } in &self.staged.settled {
            let fields = letters::fields(letter).map_err(unwritable)?;
            let lacking = letters::OPTIONAL.iter().filter(|name| !fields.contains_key(**name));
            let mut filter = doc! {"_id": &letter.id};
            filter.extend(lacking.map(|name| ((*name).to_owned(), Bson::from(doc! {"$exists": false}))));
            filter.extend(fields.into_iter().map(|(name, value)| (name, Bson::from(doc! {"$eq": value}))));
            gone.push(filter);
            parts.extend(letters::part_ids(letter));
            match end {
                LetterEnd::Requeued(Some(update)) => {
                    let unread = doc! {"$exists": false};
                    freed.push(doc! {"_id": update.to_string(), "decision": &unread, "decided": &unread});
                }
                LetterEnd::Discarded(Some((update, content_hash))) => {
                    let mut mark = codec::mark(update, *content_hash);
                    mark.remove("_id");
                    marked.push(Update::put(doc! {"_id": update.to_string()}, doc! {"$setOnInsert": mark}));
                }
                LetterEnd::Requeued(None) | LetterEnd::Discarded(None) => {}
            }
        }
        let expected = gone.len() as i64;
        if expected > 0 && self.tx.delete(DEAD_LETTERS, gone).await? != expected {
            return Err(Trouble::Race);
        }
        if !parts.is_empty() {
            self.tx.delete(LETTER_PARTS, vec![doc! {"_id": {"$in": parts}}]).await?;
        }
        self.tx.delete(DECISIONS, freed).await?;
        self.tx.update(DECISIONS, marked).await
    }

    /// Keeps dead letters, each in the place of one with its id.
    async fn bury(&mut self) -> Result<(), Trouble> {
        let mut kept = Vec::new();
        for letter in &self.staged.dead_letters {
            let fields = letters::fields(letter).map_err(unwritable)?;
            let place = self.shared.numbers.next(letter.received_at.as_micros());
            let lacking = letters::OPTIONAL.iter().filter(|name| !fields.contains_key(**name));
            let unset: Document = lacking.map(|name| ((*name).to_owned(), Bson::from(""))).collect();
            let mut change = doc! {"$set": fields, "$setOnInsert": {"place": place}};
            if !unset.is_empty() {
                change.insert("$unset", unset);
            }
            kept.push(Update::put(doc! {"_id": &letter.id}, change));
        }
        self.tx.update(DEAD_LETTERS, kept).await
    }

    /// Adds what became known about systems to what was.
    async fn facts(&mut self) -> Result<(), Trouble> {
        let add = |facts: &SystemFacts| {
            let types: Vec<&str> = facts.types.iter().map(|entity_type| entity_type.as_str()).collect();
            let change = doc! {
                "$addToSet": {"types": {"$each": types}},
                "$max": {"receipts_seen": facts.receipts_seen, "base_seen": facts.base_seen},
            };
            Update::put(doc! {"_id": facts.system.as_str()}, change)
        };
        self.tx.update(SYSTEMS, self.batch.facts.iter().map(add).collect()).await
    }
}
