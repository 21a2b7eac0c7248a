//! What this orchestrator remembers of the outbox, so as not to ask for what it knows.
//!
//! Nothing is written on its word: an insert fails where something is stored, and what is deleted must be stored just as it was
//! read. What fails is done again with everything asked for. What was committed here just before is told once without asking, to
//! be sent: if somebody has answered it meanwhile, it is sent twice, which does no harm.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::outbox::Row;
use crate::domain::ids::CanonicalId;

/// Records whose rows this orchestrator wrote, remembered at most; 24 bytes each.
const WRITTEN: usize = 100_000;
/// Documents remembered as they were read, at most: some rounds of sending.
const READ: usize = 4_000;

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Recall(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// Nobody else is known to have written rows that are still there.
    alone: bool,
    /// Records of which there may be rows, written here.
    written: HashSet<CanonicalId>,
    read: HashMap<CanonicalId, Document>,
    /// Documents as they were committed here, not asked for since.
    unasked: HashMap<CanonicalId, Document>,
    /// The stamps of documents that are being written here.
    writing: HashMap<CanonicalId, i64>,
}

/// What was owed of a record when it was read.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// No other state of it has this stamp.
    pub stamp: i64,
    pub rows: Vec<Row>,
}

impl Recall {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of these records of which there may be rows.
    pub fn may_have_rows(&self, records: BTreeSet<CanonicalId>) -> BTreeSet<CanonicalId> {
        let remembered = self.remembered();
        if !remembered.alone {
            return records;
        }
        records.into_iter().filter(|record| remembered.written.contains(record)).collect()
    }

    /// Rows of these records are written with this stamp, or about to be.
    pub fn writes(&self, records: impl IntoIterator<Item = CanonicalId>, stamp: i64) {
        let mut remembered = self.remembered();
        if remembered.writing.len() > READ {
            remembered.writing.clear();
        }
        for record in records {
            remembered.forget(record);
            remembered.written.insert(record);
            remembered.writing.insert(record, stamp);
        }
        if remembered.written.len() > WRITTEN {
            remembered.written = HashSet::new();
            remembered.alone = false;
        }
    }

    /// Nothing is owed of these records any more.
    pub fn gone(&self, records: impl IntoIterator<Item = CanonicalId>) {
        let mut remembered = self.remembered();
        for record in records {
            remembered.forget(record);
            remembered.written.remove(&record);
        }
    }

    /// There was something where nothing was expected.
    pub fn was_wrong(&self) {
        self.remembered().alone = false;
    }

    /// There was nothing at all in the outbox: what others write from now on is met by chance only.
    pub fn saw_nothing(&self) {
        self.remembered().alone = true;
    }

    /// This is committed, unless something else was written since.
    pub fn wrote(&self, documents: Vec<(CanonicalId, Document)>) {
        let mut remembered = self.remembered();
        if remembered.unasked.len() >= READ {
            remembered.unasked.clear();
        }
        for (record, document) in documents {
            if remembered.writing.get(&record) == Some(&document.stamp) {
                remembered.writing.remove(&record);
                remembered.unasked.insert(record, document);
            }
        }
    }

    /// What was committed here of these records just now. It is told once: whoever asks again may want to know what others have
    /// made of it.
    pub fn unasked(&self, records: &BTreeSet<CanonicalId>) -> HashMap<CanonicalId, Vec<Row>> {
        let mut remembered = self.remembered();
        let unasked: Vec<_> = records.iter().filter_map(|record| remembered.unasked.remove_entry(record)).collect();
        remembered.saw(unasked.iter().cloned());
        unasked.into_iter().map(|(record, document)| (record, document.rows)).collect()
    }

    /// Something was read.
    pub fn saw(&self, documents: impl IntoIterator<Item = (CanonicalId, Document)>) {
        self.remembered().saw(documents);
    }

    /// What was read of these records last; it is forgotten.
    pub fn take(&self, records: impl IntoIterator<Item = CanonicalId>) -> HashMap<CanonicalId, Document> {
        let mut remembered = self.remembered();
        records.into_iter().filter_map(|record| remembered.read.remove_entry(&record)).collect()
    }
}

impl Remembered {
    fn saw(&mut self, documents: impl IntoIterator<Item = (CanonicalId, Document)>) {
        for (record, document) in documents {
            if self.read.len() >= READ {
                self.read.clear();
            }
            self.read.insert(record, document);
        }
    }

    /// What is known of a record is not so any more.
    fn forget(&mut self, record: CanonicalId) {
        self.read.remove(&record);
        self.unasked.remove(&record);
        self.writing.remove(&record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: impl IntoIterator<Item = u128>) -> BTreeSet<CanonicalId> {
        let id = |n: u128| CanonicalId::parse(&uuid::Uuid::from_u128((0x7 << 76) | (0x8 << 60) | n).to_string()).unwrap();
        numbers.into_iter().map(id).collect()
    }

    #[test]
    fn everything_is_asked_for_until_nothing_was_seen() {
        let recall = Recall::default();
        assert_eq!(recall.may_have_rows(ids([1, 2])), ids([1, 2]));
        recall.writes(ids([2]), 7);
        recall.saw_nothing();
        assert_eq!(recall.may_have_rows(ids([1, 2])), ids([2]));
        recall.gone(ids([2]));
        assert_eq!(recall.may_have_rows(ids([1, 2])), ids([]));
        recall.was_wrong();
        assert_eq!(recall.may_have_rows(ids([1, 2])), ids([1, 2]));
    }

    #[test]
    fn too_much_to_remember_is_asked_for() {
        let recall = Recall::default();
        recall.saw_nothing();
        recall.writes(ids(0..=WRITTEN as u128), 7);
        assert_eq!(recall.may_have_rows(ids([1])), ids([1]));
    }

    #[test]
    fn what_was_committed_is_told_once() {
        let recall = Recall::default();
        let documents = |numbers: &[u128]| ids(numbers.iter().copied()).into_iter().map(|id| (id, Document { stamp: 7, rows: Vec::new() }));
        recall.writes(ids([1, 2, 3]), 7);
        // Before it is known to be committed, something else is written, or it is taken away.
        recall.writes(ids([2]), 8);
        recall.gone(ids([3]));
        recall.wrote(documents(&[1, 2, 3]).collect());
        assert_eq!(recall.unasked(&ids([1, 2, 3])).into_keys().collect::<BTreeSet<_>>(), ids([1]));
        assert!(recall.unasked(&ids([1, 2, 3])).is_empty());
        assert_eq!(recall.take(ids([1, 2])).into_keys().collect::<BTreeSet<_>>(), ids([1]));
    }

    #[test]
    fn what_is_written_is_not_as_it_was_read() {
        let recall = Recall::default();
        recall.saw(ids([1, 2]).into_iter().map(|id| (id, Document { stamp: 7, rows: Vec::new() })));
        recall.writes(ids([1]), 8);
        assert_eq!(recall.take(ids([1, 2])).into_keys().collect::<BTreeSet<_>>(), ids([2]));
        assert!(recall.take(ids([2])).is_empty());
    }
}
