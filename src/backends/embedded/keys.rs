//! Markers, links and claims: what is found by the hash of a text.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::codec::{Entry, Key};
use super::recent::{Entries, Recent, Slot, pack};

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Marker,
    Link,
    Claim,
}

impl Kind {
    /// Its number in rows and in the arrays below.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Marker => 0,
            Self::Link => 1,
            Self::Claim => 2,
        }
    }

    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Marker,
            1 => Self::Link,
            _ => Self::Claim,
        }
    }

    const fn index(self) -> usize {
        self.byte() as usize
    }
}

const TABLES: [&str; 3] = ["markers", "links", "claims"];
const CLASH_GET: &str = "SELECT v FROM clashes WHERE kind = ?1 AND h = ?2 AND c = ?3";
const CLASH_ANY: &str = "SELECT 1 FROM clashes LIMIT 1";
const GET: [&str; 3] = [
    "SELECT c, v FROM markers WHERE h = ?1", //
    "SELECT c, v FROM links WHERE h = ?1",
    "SELECT c, v FROM claims WHERE h = ?1",
];
/// Journal rows deleted with each commit at most; one is added.
const TRIM: i64 = 4;

/// The writer's side.
pub(super) struct Keys<'c> {
    get: [Statement<'c>; 3],
    put: [Statement<'c>; 3],
    drop: [Statement<'c>; 3],
    clash_get: Statement<'c>,
    clash_put: Statement<'c>,
    clash_drop: Statement<'c>,
    note: Statement<'c>,
    trim: Statement<'c>,
    /// Whether two texts ever shared a row's number.
    clashes: bool,
    recent: Arc<Recent>,
    /// What the transaction changes, and how to undo it.
    pending: Entries,
    undo: Vec<(Slot, Option<Option<Entry>>)>,
    journal: Journal,
    /// What the transaction moved into the tables.
    moved: Vec<Slot>,
    /// Entries kept in memory.
    limit: usize,
}

/// Where the hand is.
#[derive(Clone, Copy)]
struct Journal {
    /// The last row.
    last: i64,
    /// Entries before this place were moved in this round.
    hand: Option<Slot>,
    /// The last row when this round began: at its end, everything up to there is in the tables.
    round: i64,
    /// Rows up to here are of no use any more.
    done: i64,
}

fn each<'c>(conn: &'c Connection, sql: impl Fn(&str) -> String) -> rusqlite::Result<[Statement<'c>; 3]> {
    let [marker, link, claim] = TABLES.map(|table| conn.prepare(&sql(table)));
    Ok([marker?, link?, claim?])
}

impl<'c> Keys<'c> {
    pub fn prepare(conn: &'c Connection, recent: Arc<Recent>, last: i64, limit: usize) -> rusqlite::Result<Self> {
        let put = "VALUES(?1, ?2, ?3) ON CONFLICT DO UPDATE SET v = excluded.v WHERE c = excluded.c";
        Ok(Self {
            get: each(conn, |table| format!("SELECT c, v FROM {table} WHERE h = ?1"))?,
            put: each(conn, |table| format!("INSERT INTO {table} {put}"))?,
            drop: each(conn, |table| format!("DELETE FROM {table} WHERE h = ?1 AND c = ?2"))?,
            clash_get: conn.prepare(CLASH_GET)?,
            clash_put: conn.prepare("INSERT OR REPLACE INTO clashes VALUES(?1, ?2, ?3, ?4)")?,
            clash_drop: conn.prepare("DELETE FROM clashes WHERE kind = ?1 AND h = ?2 AND c = ?3")?,
            note: conn.prepare("INSERT INTO recent VALUES(?1, ?2)")?,
            trim: conn.prepare("DELETE FROM recent WHERE n IN (SELECT n FROM recent WHERE n <= ?1 ORDER BY n LIMIT ?2)")?,
            clashes: has_clashes(conn)?,
            recent,
            pending: BTreeMap::new(),
            undo: Vec::new(),
            journal: Journal { last, hand: None, round: last, done: 0 },
            moved: Vec::new(),
            limit,
        })
    }

    pub fn get(&mut self, kind: Kind, key: Key) -> rusqlite::Result<Option<Entry>> {
        if let Some(entry) = self.pending.get(&(kind, key)) {
            return Ok(*entry);
        }
        if let Some(entry) = self.recent.read().get(&(kind, key)) {
            return Ok(*entry);
        }
        match self.get[kind.index()].query_row([key.h], entry).optional()? {
            Some((c, entry)) if c == key.c => Ok(Some(entry)),
            _ => self.get_clash(kind, key),
        }
    }

    fn get_clash(&mut self, kind: Kind, key: Key) -> rusqlite::Result<Option<Entry>> {
        if !self.clashes {
            return Ok(None);
        }
        self.clash_get.query_row(params![kind.byte(), key.h, key.c], |row| row.get(0)).optional()
    }

    /// Stores an entry unless there is one; then says which.
    pub fn add(&mut self, kind: Kind, key: Key, entry: &Entry) -> rusqlite::Result<Option<Entry>> {
        let stored = self.get(kind, key)?;
        if stored.is_none() {
            self.change(kind, key, Some(*entry));
        }
        Ok(stored)
    }

    /// Changes an entry, or takes it away.
    pub fn change(&mut self, kind: Kind, key: Key, entry: Option<Entry>) {
        let slot = (kind, key);
        self.undo.push((slot, self.pending.insert(slot, entry)));
    }

    /// How much the transaction has changed so far.
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Undoes what came after a [`mark`](Self::mark).
    pub fn undo_to(&mut self, mark: usize) {
        while self.undo.len() > mark
            && let Some((slot, before)) = self.undo.pop()
        {
            match before {
                Some(entry) => self.pending.insert(slot, entry),
                None => self.pending.remove(&slot),
            };
        }
    }

    /// Ends a transaction with `commit`: notes what it changes, moves older entries into their tables.
    pub fn commit(&mut self, commit: impl FnOnce() -> rusqlite::Result<usize>) -> rusqlite::Result<()> {
        let before = self.journal;
        let done = self.note().and_then(|()| commit());
        if done.is_ok() {
            self.publish();
        } else {
            self.journal = before;
        }
        self.moved.clear();
        done.map(|_| ())
    }

    fn note(&mut self) -> rusqlite::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.make_room()?;
        self.journal.last += 1;
        self.note.execute(params![self.journal.last, pack(&self.pending)])?;
        if self.journal.done > 0 && self.trim.execute([self.journal.done, TRIM])? == 0 {
            self.journal.done = 0;
        }
        Ok(())
    }

    fn make_room(&mut self) -> rusqlite::Result<()> {
        let recent = Arc::clone(&self.recent);
        let entries = recent.read();
        let surplus = (entries.len() + self.pending.len()).saturating_sub(self.limit).min(entries.len());
        // After a start there may be more than usual; that goes over several commits.
        let mut surplus = surplus.min(2 * self.pending.len() + 500);
        while surplus > 0 {
            let from = self.journal.hand.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let next: Vec<(Slot, Option<Entry>)> =
                entries.range((from, std::ops::Bound::Unbounded)).take(surplus).map(|(slot, entry)| (*slot, *entry)).collect();
            for (slot, entry) in &next {
                self.put_away(*slot, *entry)?;
            }
            surplus -= next.len();
            self.journal.hand = next.last().map(|(slot, _)| *slot);
            if surplus > 0 {
                // Once round: all that was noted before this round began is in the tables by now.
                self.journal.hand = None;
                self.journal.done = self.journal.round;
                self.journal.round = self.journal.last;
            }
        }
        Ok(())
    }

    fn put_away(&mut self, (kind, key): Slot, entry: Option<Entry>) -> rusqlite::Result<()> {
        self.moved.push((kind, key));
        let Some(entry) = entry else {
            if self.drop[kind.index()].execute([key.h, key.c])? == 0 && self.clashes {
                self.clash_drop.execute(params![kind.byte(), key.h, key.c])?;
            }
            return Ok(());
        };
        let clashed = self.get_clash(kind, key)?.is_some();
        if clashed || self.put[kind.index()].execute(params![key.h, key.c, entry])? == 0 {
            self.clash_put.execute(params![kind.byte(), key.h, key.c, entry])?;
            self.clashes = true;
        }
        Ok(())
    }

    /// Lets readers see what was committed.
    fn publish(&mut self) {
        let mut entries = self.recent.write();
        for slot in &self.moved {
            entries.remove(slot);
        }
        entries.extend(std::mem::take(&mut self.pending));
        self.undo.clear();
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<(i64, Entry)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn has_clashes(conn: &Connection) -> rusqlite::Result<bool> {
    Ok(conn.prepare_cached(CLASH_ANY)?.query_row([], |_| Ok(())).optional()?.is_some())
}

/// A reader's side: looks up keys of one kind, and tells which are there (by their place) with what. `recent` is what was
/// known of them before the view of this connection was opened.
pub(super) fn find(conn: &Connection, kind: Kind, keys: &[Key], recent: &[Option<Option<Entry>>]) -> rusqlite::Result<Vec<(usize, Entry)>> {
    let mut found = Vec::new();
    let clashes = has_clashes(conn)?;
    let mut get = conn.prepare_cached(GET[kind.index()])?;
    for (index, (key, recent)) in keys.iter().zip(recent).enumerate() {
        let mut stored = *recent;
        if stored.is_none() {
            stored = get.query_row([key.h], entry).optional()?.filter(|(c, _)| *c == key.c).map(|(_, entry)| Some(entry));
        }
        if stored.is_none() && clashes {
            let mut get = conn.prepare_cached(CLASH_GET)?;
            stored = get.query_row(params![kind.byte(), key.h, key.c], |row| row.get(0).map(Some)).optional()?;
        }
        found.extend(stored.flatten().map(|entry| (index, entry)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {

    use super::super::schema;
    use super::*;

    /// Numbers that look random.
    fn next(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 33
    }

    fn pick(seed: &mut u64, sides: u64) -> usize {
        usize::try_from(next(seed) % sides).unwrap()
    }

    /// What all of it comes to: what is in memory, else what is in the tables.
    fn all(conn: &Connection, recent: &Recent, keys: &[Key]) -> BTreeMap<(Kind, Key), Entry> {
        let mut found = BTreeMap::new();
        for kind in [Kind::Marker, Kind::Link, Kind::Claim] {
            let stored = find(conn, kind, keys, &recent.find(kind, keys)).unwrap();
            found.extend(stored.into_iter().map(|(index, entry)| ((kind, keys[index]), entry)));
        }
        found
    }

    #[test]
    fn keys_are_found_wherever_they_are_and_never_come_back() {
        for limit in [0, 3, 10, 60] {
            let folder = tempfile::TempDir::new().unwrap();
            let conn = schema::open_writer(&folder.path().join("db"), 100).unwrap();
            // Four rows for thirty keys: most are clashes.
            let every: Vec<Key> = (0..30).map(|n| Key { h: n % 4, c: n }).collect();
            let mut seed = 7 + limit as u64;
            let mut expected = BTreeMap::new();
            for _ in 0..20 {
                let (recent, last) = Recent::load(&conn).unwrap();
                let recent = Arc::new(recent);
                assert_eq!(all(&conn, &recent, &every), expected, "after a start");
                let mut keys = Keys::prepare(&conn, Arc::clone(&recent), last, limit).unwrap();
                for _ in 0..40 {
                    conn.execute_batch("BEGIN").unwrap();
                    let keep = pick(&mut seed, 4) > 0;
                    let before = expected.clone();
                    for _ in 0..next(&mut seed) % 5 {
                        let kind = [Kind::Marker, Kind::Link, Kind::Claim][pick(&mut seed, 3)];
                        let key = every[pick(&mut seed, 30)];
                        assert_eq!(keys.get(kind, key).unwrap(), expected.get(&(kind, key)).copied());
                        let entry = (pick(&mut seed, 2) == 0).then(|| [u8::try_from(pick(&mut seed, 250)).unwrap(); 16]);
                        keys.change(kind, key, entry);
                        match entry {
                            Some(entry) => expected.insert((kind, key), entry),
                            None => expected.remove(&(kind, key)),
                        };
                    }
                    if keep {
                        keys.commit(|| conn.execute("COMMIT", [])).unwrap();
                    } else {
                        conn.execute_batch("ROLLBACK").unwrap();
                        keys.undo_to(0);
                        expected = before;
                    }
                    assert_eq!(all(&conn, &recent, &every), expected, "limit {limit}");
                }
            }
        }
    }
}
