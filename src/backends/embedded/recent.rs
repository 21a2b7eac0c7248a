//! The newest keys, in memory. They come in random order; written one by one, each would cost a page of its own. So they
//! are first noted in a journal, a row for each transaction, and go into their tables later, many of a page at once, as a
//! hand goes round over them in order.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::Connection;

use super::codec::{Entry, Key};
use super::keys::Kind;

/// Where an entry is: its table and its hash.
pub(super) type Slot = (Kind, Key);
/// Entries by place; `None`: it was taken away.
pub(super) type Entries = BTreeMap<Slot, Option<Entry>>;

/// Bytes of one entry in the journal: table, hash, whether it is there, value.
const ENTRY: usize = 34;

/// What is committed and not in its table yet, or not known to be.
#[derive(Debug, Default)]
pub(super) struct Recent(RwLock<Entries>);

impl Recent {
    /// Reads the journal; returns the number of its last row, too.
    pub fn load(conn: &Connection) -> rusqlite::Result<(Self, i64)> {
        let mut entries = Entries::new();
        let mut last = 0;
        let mut statement = conn.prepare("SELECT n, entries FROM recent ORDER BY n")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            entries.extend(row.get_ref(1)?.as_blob()?.as_chunks::<ENTRY>().0.iter().map(unpack));
        }
        Ok((Self(RwLock::new(entries)), last))
    }

    pub fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of some keys. A reader asks this before it opens its view of the file: what left here since then is
    /// in that view.
    pub fn find(&self, kind: Kind, keys: &[Key]) -> Vec<Option<Option<Entry>>> {
        let entries = self.read();
        keys.iter().map(|key| entries.get(&(kind, *key)).copied()).collect()
    }
}

/// Writes entries down for the journal.
pub(super) fn pack(entries: &Entries) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * ENTRY);
    for ((kind, key), entry) in entries {
        out.push(kind.byte());
        out.extend_from_slice(&key.h.to_be_bytes());
        out.extend_from_slice(&key.c.to_be_bytes());
        out.push(u8::from(entry.is_some()));
        out.extend_from_slice(&entry.unwrap_or_default());
    }
    out
}

fn unpack(bytes: &[u8; ENTRY]) -> (Slot, Option<Entry>) {
    let part = |from: usize| std::array::from_fn(|i| bytes[from + i]);
    let key = Key { h: i64::from_be_bytes(part(1)), c: i64::from_be_bytes(part(9)) };
    let entry = (bytes[17] == 1).then(|| std::array::from_fn(|i| bytes[18 + i]));
    ((Kind::from_byte(bytes[0]), key), entry)
}
