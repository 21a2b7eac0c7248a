//! What this orchestrator remembers of the outbox, so as not to ask for what it knows.
//!
//! It is never believed: an insert fails where something is stored, and what is deleted must be stored just as it was read.
//! What fails is done again with everything asked for.

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
    /// Those of them that were written here, and not asked for since.
    fresh: HashSet<CanonicalId>,
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

    /// Rows of these records are written, or about to be.
    pub fn writes(&self, records: impl IntoIterator<Item = CanonicalId>) {
        let mut remembered = self.remembered();
        for record in records {
            remembered.read.remove(&record);
            remembered.fresh.remove(&record);
            remembered.written.insert(record);
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
            remembered.read.remove(&record);
            remembered.fresh.remove(&record);
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

    /// Something is stored now, as it was written here.
    pub fn wrote(&self, documents: Vec<(CanonicalId, Document)>) {
        let records: Vec<CanonicalId> = documents.iter().map(|(record, _)| *record).collect();
        self.saw(documents);
        let mut remembered = self.remembered();
        if remembered.fresh.len() >= READ {
            remembered.fresh.clear();
        }
        remembered.fresh.extend(records);
    }

    /// What was written here of these records just now. It is told once: whoever asks again may want to know what others have
    /// made of it.
    pub fn fresh(&self, records: &BTreeSet<CanonicalId>) -> HashMap<CanonicalId, Vec<Row>> {
        let mut remembered = self.remembered();
        let fresh: Vec<CanonicalId> = records.iter().filter(|record| remembered.fresh.remove(*record)).copied().collect();
        fresh.into_iter().filter_map(|record| Some((record, remembered.read.get(&record)?.rows.clone()))).collect()
    }

    /// Something was read.
    pub fn saw(&self, documents: impl IntoIterator<Item = (CanonicalId, Document)>) {
        let mut remembered = self.remembered();
        for (record, document) in documents {
            if remembered.read.len() >= READ {
                remembered.read.clear();
            }
            remembered.read.insert(record, document);
        }
    }

    /// What was read of these records last; it is forgotten.
    pub fn take(&self, records: impl IntoIterator<Item = CanonicalId>) -> HashMap<CanonicalId, Document> {
        let mut remembered = self.remembered();
        records.into_iter().filter_map(|record| remembered.read.remove_entry(&record)).collect()
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
        recall.writes(ids([2]));
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
        recall.writes(ids(0..=WRITTEN as u128));
        assert_eq!(recall.may_have_rows(ids([1])), ids([1]));
    }

    #[test]
    fn what_was_written_is_told_once() {
        let recall = Recall::default();
        let document = || Document { stamp: 7, rows: Vec::new() };
        recall.wrote(ids([1, 2]).into_iter().map(|id| (id, document())).collect());
        recall.writes(ids([2]));
        assert_eq!(recall.fresh(&ids([1, 2, 3])).into_keys().collect::<BTreeSet<_>>(), ids([1]));
        assert!(recall.fresh(&ids([1, 2, 3])).is_empty());
        assert_eq!(recall.take(ids([1, 2])).into_keys().collect::<BTreeSet<_>>(), ids([1]));
    }

    #[test]
    fn what_is_written_is_not_as_it_was_read() {
        let recall = Recall::default();
        recall.saw(ids([1, 2]).into_iter().map(|id| (id, Document { stamp: 7, rows: Vec::new() })));
        recall.writes(ids([1]));
        assert_eq!(recall.take(ids([1, 2])).into_keys().collect::<BTreeSet<_>>(), ids([2]));
        assert!(recall.take(ids([2])).is_empty());
    }
}
