//! Who writes records, so as not to ask for revisions that nobody else can have changed.
//!
//! Every transaction that replaces records leaves a new stamp under the name of its store. One that finds the stamps of all other
//! stores as they were when one of ours last looked knows that none of them has replaced a record in between, as a stamp and what
//! it stands for are seen together or not at all. A record that was read or written here since that look is then stored with the
//! revision that is known. Who commits after this transaction has begun is not seen by it, and need not be: of two that write one
//! document only one commits. Why each step is as it is: ADR 43.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mongodb::Database;
use mongodb::bson::{Document, doc};
use mongodb::options::FindOptions;
use tokio::sync::OwnedMutexGuard;

use super::codec::integer;
use super::error::failed;
use super::outbox::new_stamp;
use super::schema::{OPEN, WRITERS};
use super::shared::{durable, in_order};
use super::writes::{Transaction, Trouble, Update};
use crate::domain::ids::CanonicalId;
use crate::ports::error::PortError;

/// Fewer revisions are asked for: that takes no longer than to look who else writes.
const WORTH_LOOKING: usize = 4;
/// Records whose revision is remembered, in each of two generations; 32 bytes each. Just what a table of 16,384 places takes.
const REMEMBERED: usize = 14_000;
/// Stamps that are read with every look, at most, before those of closed stores are taken away.
const KEPT: u64 = 32;
/// Under which a sweep leaves its stamp.
const SWEPT: &str = "swept";

/// The stamp of each other store.
pub(super) type Stamps = BTreeMap<String, i64>;

/// Revisions as records are expected to be stored.
pub(super) type Revisions = HashMap<CanonicalId, u64>;

/// What this store knows of all that write records.
#[derive(Debug)]
pub(super) struct Writers {
    known: Mutex<Known>,
}

/// That of the one commit that is under way: what it finds out and what it writes is noted before the next one begins.
#[derive(Debug)]
pub(super) struct Turn {
    _held: OwnedMutexGuard<()>,
    /// The name its stamp stands under. Once the store has another one, nothing it notes counts any more.
    own: String,
}

#[derive(Debug)]
struct Known {
    /// Whose turn it is.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The name our stamps stand under.
    own: String,
    /// The stamps of the others at the last look; `None`: since then something went wrong, or there was none.
    others: Option<Stamps>,
    /// Counts what happens here.
    now: u64,
    /// What was read before this moment may be older than what was seen of the others, or than what was written here.
    since: u64,
    young: HashMap<CanonicalId, Entry>,
    old: HashMap<CanonicalId, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// 0: it is being written.
    revision: u64,
    /// When it was: what was read earlier than that is not newer.
    at: u64,
}

/// When a reading of records began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading(u64);

impl Default for Writers {
    fn default() -> Self {
        let (young, old) = (HashMap::new(), HashMap::new());
        let known = Known { turn: Arc::default(), own: name(), others: None, now: 0, since: 0, young, old };
        Self { known: Mutex::new(known) }
    }
}

fn name() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl Writers {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other commit is under way here. One that does not end in time is lost: it may be committed yet, or hang for
    /// as long as its connection does.
    pub async fn turn(&self, patience: Duration) -> Turn {
        loop {
            let turn = self.known().turn.clone();
            let held = tokio::time::timeout(patience, turn.clone().lock_owned()).await;
            let mut known = self.known();
            let same = Arc::ptr_eq(&turn, &known.turn);
            match held {
                Ok(held) if same => return Turn { _held: held, own: known.own.clone() },
                Err(_) if same => {
                    known.lose();
                    known.turn = Arc::default();
                }
                // It was lost meanwhile.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Before records are read.
    pub fn reading(&self) -> Reading {
        Reading(self.known().now)
    }

    /// Records were read.
    pub fn read(&self, reading: Reading, revisions: impl Iterator<Item = (CanonicalId, u64)>) {
        let mut known = self.known();
        for (id, revision) in revisions {
            match known.get(id) {
                // It was written while this was read.
                Some(before) if before.at > reading.0 => {}
                // A server that has just taken over may not know yet what was written before: it is asked when it matters.
                Some(before) if before.revision > revision => known.forget(id),
                Some(_) | None if reading.0 >= known.since => known.put(id, Entry { revision, at: reading.0 }),
                Some(_) | None => {}
            }
        }
    }

    /// Looks for the stamps of the others if there is enough to gain; returns what was seen, and what is still to be asked for. The
    /// transaction must leave a [`stamp`] of its own.
    pub async fn look(&self, turn: &Turn, tx: &mut Transaction<'_>, expected: Revisions) -> Result<(Option<Stamps>, Revisions), Trouble> {
        if expected.len() < WORTH_LOOKING {
            return Ok((None, self.known().begin(&turn.own, None, expected)));
        }
        let options = FindOptions::builder().sort(in_order()).build();
        let mut seen = Stamps::new();
        for row in tx.find(WRITERS, Document::new(), options).await? {
            let (Ok(id), Ok(stamp)) = (row.get_str("_id"), integer(&row, "stamp")) else { continue };
            seen.insert(id.to_owned(), stamp);
        }
        seen.remove(&turn.own);
        let asked = self.known().begin(&turn.own, Some(&seen), expected);
        Ok((Some(seen), asked))
    }

    /// The transaction is committed that has seen these stamps, if it has looked, and has left records with these revisions.
    pub fn committed(&self, turn: &Turn, seen: Option<Stamps>, written: impl Iterator<Item = (CanonicalId, u64)>) {
        let mut known = self.known();
        if turn.own != known.own {
            return;
        }
        // Only now: before, what it has seen might have been undone, and a reading might not have found it yet.
        if seen.is_some() && known.others != seen {
            known.forget_everything();
            known.others = seen;
        }
        known.now += 1;
        let at = known.now;
        written.for_each(|(id, revision)| known.put(id, Entry { revision, at }));
    }

    /// Whether a transaction was committed is not known, and it may be still. It counts as another one's.
    pub fn lost(&self, turn: &Turn) {
        let mut known = self.known();
        if turn.own == known.own {
            known.lose();
        }
    }
}

/// A new stamp under the name of a store.
pub(super) fn stamp(turn: &Turn) -> Update {
    Update::put(doc! {"_id": &turn.own}, doc! {"_id": &turn.own, "stamp": new_stamp()})
}

impl Known {
    fn get(&self, id: CanonicalId) -> Option<Entry> {
        self.young.get(&id).or_else(|| self.old.get(&id)).copied()
    }

    /// Records are about to be written: what is to be asked for. Until it is known whether they were, nothing is known of them.
    fn begin(&mut self, own: &str, seen: Option<&Stamps>, expected: Revisions) -> Revisions {
        if own != self.own {
            return expected;
        }
        self.now += 1;
        let at = self.now;
        let known: Vec<bool> =
            expected.iter().map(|(id, revision)| self.get(*id).is_some_and(|entry| entry.revision == *revision)).collect();
        if seen.is_some() && seen != self.others.as_ref() {
            self.forget_everything();
        }
        let trusted = seen.is_some() && seen == self.others.as_ref();
        expected.keys().for_each(|id| self.put(*id, Entry { revision: 0, at }));
        expected.into_iter().zip(known).filter(|(_, known)| !(trusted && *known)).map(|(expected, _)| expected).collect()
    }

    fn put(&mut self, id: CanonicalId, entry: Entry) {
        if self.others.is_none() {
            return;
        }
        if self.young.len() >= REMEMBERED && !self.young.contains_key(&id) {
            self.old = std::mem::take(&mut self.young);
            // With the others goes that they were written while something was read.
            self.now += 1;
            self.since = self.now;
        }
        self.young.insert(id, entry);
    }

    fn forget(&mut self, id: CanonicalId) {
        self.young.remove(&id);
        self.old.remove(&id);
    }

    fn lose(&mut self) {
        self.forget_everything();
        self.own = name();
    }

    fn forget_everything(&mut self) {
        (self.young, self.old, self.others) = (HashMap::new(), HashMap::new(), None);
        self.now += 1;
        self.since = self.now;
    }
}

/// Takes the stamps of stores away that are closed, as nobody says so when a process ends: those of all, since who is open leaves
/// another one with its next transaction. That they were taken away has to be seen, too.
pub(super) async fn sweep(db: &Database) -> Result<(), PortError> {
    let error = failed(OPEN);
    let writers = db.collection::<Document>(WRITERS);
    if writers.count_documents(doc! {}).await.map_err(error)? <= KEPT {
        return Ok(());
    }
    let mut session = db.client().start_session().await.map_err(error)?;
    session.start_transaction().write_concern(durable()).await.map_err(error)?;
    let swept = doc! {"_id": SWEPT, "stamp": new_stamp()};
    writers.delete_many(doc! {"_id": {"$ne": SWEPT}}).session(&mut session).await.map_err(error)?;
    writers.replace_one(doc! {"_id": SWEPT}, swept).upsert(true).session(&mut session).await.map_err(error)?;
    session.commit_transaction().await.map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> CanonicalId {
        CanonicalId(uuid::Uuid::from_u64_pair(0x0190_0000_0000_7000, (1 << 63) | n))
    }

    fn stamps(stamp: i64) -> Stamps {
        Stamps::from([("other".to_owned(), stamp)])
    }

    fn expected(revisions: &[(u64, u64)]) -> Revisions {
        revisions.iter().map(|(n, revision)| (id(*n), *revision)).collect()
    }

    /// A transaction that has seen this stamp, as far as it has come before it is committed: what it asks for.
    fn begin(writers: &Writers, stamp: i64, revisions: &[(u64, u64)]) -> Revisions {
        let mut known = writers.known();
        let own = known.own.clone();
        known.begin(&own, Some(&stamps(stamp)), expected(revisions))
    }

    fn turn(writers: &Writers) -> Turn {
        let turn = Arc::new(tokio::sync::Mutex::new(())).try_lock_owned().unwrap();
        let known = writers.known();
        Turn { _held: turn, own: known.own.clone() }
    }

    fn commit(writers: &Writers, stamp: i64, revisions: &[(u64, u64)]) {
        writers.committed(&turn(writers), Some(stamps(stamp)), revisions.iter().map(|(n, revision)| (id(*n), revision + 1)));
    }

    /// One that has looked and changed these records.
    fn after(revisions: &[(u64, u64)]) -> Writers {
        let writers = Writers::default();
        assert_eq!(begin(&writers, 1, revisions), expected(revisions), "at first nothing is known");
        commit(&writers, 1, revisions);
        writers
    }

    #[test]
    fn what_was_written_here_is_known_until_another_one_writes() {
        let writers = after(&[(1, 1), (2, 1)]);
        assert_eq!(begin(&writers, 1, &[(1, 2), (2, 1), (3, 1)]), expected(&[(2, 1), (3, 1)]), "another revision, another record");
        commit(&writers, 1, &[(1, 2), (2, 2), (3, 1)]);
        assert_eq!(begin(&writers, 2, &[(1, 3)]), expected(&[(1, 3)]));
        // It came to nothing: what it has seen does not count.
        assert_eq!(begin(&writers, 2, &[(1, 3)]), expected(&[(1, 3)]));
        commit(&writers, 2, &[(1, 3)]);
        assert_eq!(begin(&writers, 2, &[(1, 4), (2, 3)]), expected(&[(2, 3)]));
    }

    #[test]
    fn without_a_look_nothing_is_known() {
        let writers = after(&[(1, 1)]);
        let turn = turn(&writers);
        assert_eq!(writers.known().begin(&turn.own, None, expected(&[(1, 2)])), expected(&[(1, 2)]));
        writers.committed(&turn, None, [(id(1), 3)].into_iter());
        assert!(begin(&writers, 1, &[(1, 3)]).is_empty(), "but what it writes is noted");
    }

    #[test]
    fn what_is_being_written_is_not_known() {
        let writers = after(&[(1, 1)]);
        assert!(begin(&writers, 1, &[(1, 2)]).is_empty());
        // That one came to nothing, or nobody knows.
        assert_eq!(begin(&writers, 1, &[(1, 2)]), expected(&[(1, 2)]));
        let late = turn(&writers);
        writers.lost(&late);
        assert_ne!(writers.known().own, late.own, "should it come to something yet, it is another one's");
        commit(&writers, 1, &[(1, 2)]);
        assert!(begin(&writers, 1, &[(1, 3)]).is_empty());
        commit(&writers, 1, &[(1, 3)]);
        // What is heard of it now is too late.
        writers.committed(&late, Some(stamps(1)), [(id(1), 9)].into_iter());
        writers.lost(&late);
        assert_eq!(writers.known().begin(&late.own, Some(&stamps(1)), expected(&[(1, 9)])), expected(&[(1, 9)]));
        assert!(begin(&writers, 1, &[(1, 4)]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_does_not_end_holds_up_the_next_one_for_a_while_only() {
        let writers = Writers::default();
        let patience = Duration::from_secs(5);
        let hangs = writers.turn(patience).await;
        let next = writers.turn(patience).await;
        assert_ne!(hangs.own, next.own);
        drop(hangs);
        let waits = writers.turn(patience);
        tokio::pin!(waits);
        assert!(tokio::time::timeout(patience / 2, &mut waits).await.is_err(), "one after the other");
        let own = next.own.clone();
        drop(next);
        assert_eq!(waits.await.own, own);
    }

    #[test]
    fn a_reading_tells_what_was_not_written_or_seen_since() {
        let writers = after(&[(1, 1)]);
        let early = writers.reading();
        assert!(begin(&writers, 1, &[(1, 2)]).is_empty());
        let between = writers.reading();
        commit(&writers, 1, &[(1, 2)]);
        for reading in [early, between] {
            writers.read(reading, [(id(1), 2), (id(2), 7)].into_iter());
        }
        assert!(begin(&writers, 1, &[(1, 3), (2, 7)]).is_empty(), "what was written stays, what was only read is added");
        let before_the_others = writers.reading();
        begin(&writers, 2, &[]);
        commit(&writers, 2, &[]);
        writers.read(before_the_others, [(id(3), 1)].into_iter());
        assert_eq!(begin(&writers, 2, &[(3, 1)]), expected(&[(3, 1)]));
        writers.read(writers.reading(), [(id(3), 1)].into_iter());
        assert!(begin(&writers, 2, &[(3, 1)]).is_empty());
    }

    /// A server that has just taken over may not know yet what the one before has confirmed.
    #[test]
    fn a_reading_of_less_than_was_written_is_not_believed() {
        let writers = after(&[(1, 6)]);
        writers.read(writers.reading(), [(id(1), 5)].into_iter());
        assert_eq!(begin(&writers, 1, &[(1, 5)]), expected(&[(1, 5)]));
    }

    #[test]
    fn the_newest_are_remembered() {
        let writers = after(&[(1, 1)]);
        let reading = writers.reading();
        let many = |from: u64| (from..from + REMEMBERED as u64).map(|n| (id(n), 1));
        writers.read(writers.reading(), many(1_000));
        writers.read(reading, [(id(2), 1)].into_iter());
        assert_eq!(begin(&writers, 1, &[(2, 1)]), expected(&[(2, 1)]), "what was written meanwhile may be forgotten");
        writers.read(writers.reading(), many(100_000));
        writers.read(writers.reading(), many(200_000));
        assert_eq!(begin(&writers, 1, &[(1, 2), (200_000, 1)]), expected(&[(1, 2)]));
        let known = writers.known();
        assert!(known.young.len() <= REMEMBERED && known.old.len() <= REMEMBERED);
    }
}
