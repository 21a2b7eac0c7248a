//! What commits have just made due, so that whoever sends it needs not read it back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pipeline::Committed;
use super::relay::Pair;
use crate::ports::store::Owed;

/// Rows remembered; what is beyond is read.
const REMEMBERED: usize = 4_000;

/// Outbox rows that were made where there was none, until they are sent or something changes them: nothing of theirs can be on
/// its way. Another orchestrator may send one meanwhile; then it is sent twice, under the same id and rev, as when a
/// confirmation is lost.
///
/// A running engine notes nothing here yet: a scan may find and send a row between its commit and the note of it, and what is
/// noted then is sent once more.
#[derive(Debug, Default)]
pub struct Fresh(Mutex<HashMap<Pair, Owed>>);

impl Fresh {
    fn rows(&self) -> MutexGuard<'_, HashMap<Pair, Owed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a commit made, and forgets what it changed. Called in the order of the commits.
    pub fn note(&self, committed: &Committed) {
        let mut rows = self.rows();
        if !rows.is_empty() {
            for pair in &committed.touched {
                rows.remove(pair);
            }
        }
        let room = REMEMBERED.saturating_sub(rows.len());
        rows.extend(committed.made.iter().take(room).map(|row| ((row.record, row.system.clone()), row.clone())));
    }

    /// Forgets rows: whoever sends them reads them.
    pub fn forget(&self, pairs: impl Iterator<Item = Pair>) {
        let mut rows = self.rows();
        if !rows.is_empty() {
            pairs.for_each(|pair| drop(rows.remove(&pair)));
        }
    }

    /// Takes the rows of some pairs; returns the pairs that have to be read, too.
    pub(super) fn take(&self, pairs: &[Pair]) -> (Vec<Owed>, Vec<Pair>) {
        let mut rows = self.rows();
        let (mut taken, mut unknown) = (Vec::new(), Vec::new());
        for pair in pairs {
            match rows.remove(pair) {
                Some(row) => taken.push(row),
                None => unknown.push(pair.clone()),
            }
        }
        (taken, unknown)
    }
}
