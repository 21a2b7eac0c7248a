//! Markers, links and claims: what is found by the hash of a text.

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::codec::{Entry, Key};

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Marker,
    Link,
    Claim,
}

impl Kind {
    const fn number(self) -> usize {
        match self {
            Self::Marker => 0,
            Self::Link => 1,
            Self::Claim => 2,
        }
    }

    /// The same, as a column.
    const fn column(self) -> i64 {
        match self {
            Self::Marker => 0,
            Self::Link => 1,
            Self::Claim => 2,
        }
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

/// The writer's side.
pub(super) struct Keys<'c> {
    get: [Statement<'c>; 3],
    add: [Statement<'c>; 3],
    set: [Statement<'c>; 3],
    drop: [Statement<'c>; 3],
    clash_get: Statement<'c>,
    clash_add: Statement<'c>,
    clash_set: Statement<'c>,
    clash_drop: Statement<'c>,
    /// Whether two texts ever shared a row's number.
    clashes: bool,
}

fn each<'c>(conn: &'c Connection, sql: impl Fn(&str) -> String) -> rusqlite::Result<[Statement<'c>; 3]> {
    let [marker, link, claim] = TABLES.map(|table| conn.prepare(&sql(table)));
    Ok([marker?, link?, claim?])
}

impl<'c> Keys<'c> {
    pub fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            get: each(conn, |table| format!("SELECT c, v FROM {table} WHERE h = ?1"))?,
            add: each(conn, |table| format!("INSERT INTO {table} VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING"))?,
            set: each(conn, |table| format!("UPDATE {table} SET v = ?3 WHERE h = ?1 AND c = ?2"))?,
            drop: each(conn, |table| format!("DELETE FROM {table} WHERE h = ?1 AND c = ?2"))?,
            clash_get: conn.prepare(CLASH_GET)?,
            clash_add: conn.prepare("INSERT INTO clashes VALUES(?1, ?2, ?3, ?4)")?,
            clash_set: conn.prepare("UPDATE clashes SET v = ?4 WHERE kind = ?1 AND h = ?2 AND c = ?3")?,
            clash_drop: conn.prepare("DELETE FROM clashes WHERE kind = ?1 AND h = ?2 AND c = ?3")?,
            clashes: has_clashes(conn)?,
        })
    }

    pub fn get(&mut self, kind: Kind, key: Key) -> rusqlite::Result<Option<Entry>> {
        let stored = self.get[kind.number()].query_row([key.h], entry).optional()?;
        match stored {
            Some((c, entry)) if c == key.c => Ok(Some(entry)),
            _ if self.clashes => self.clash_get.query_row(params![kind.column(), key.h, key.c], |row| row.get(0)).optional(),
            _ => Ok(None),
        }
    }

    /// Stores an entry unless there is one; then says which.
    pub fn add(&mut self, kind: Kind, key: Key, entry: &Entry) -> rusqlite::Result<Option<Entry>> {
        if self.clashes
            && let Some(stored) = self.get(kind, key)?
        {
            return Ok(Some(stored));
        }
        if self.add[kind.number()].execute(params![key.h, key.c, entry])? == 1 {
            return Ok(None);
        }
        let stored = self.get(kind, key)?;
        if stored.is_none() {
            self.clash_add.execute(params![kind.column(), key.h, key.c, entry])?;
            self.clashes = true;
        }
        Ok(stored)
    }

    /// Replaces an entry that is there.
    pub fn set(&mut self, kind: Kind, key: Key, entry: &Entry) -> rusqlite::Result<()> {
        if self.set[kind.number()].execute(params![key.h, key.c, entry])? == 0 {
            self.clash_set.execute(params![kind.column(), key.h, key.c, entry])?;
        }
        Ok(())
    }

    pub fn remove(&mut self, kind: Kind, key: Key) -> rusqlite::Result<()> {
        if self.drop[kind.number()].execute([key.h, key.c])? == 0 && self.clashes {
            self.clash_drop.execute(params![kind.column(), key.h, key.c])?;
        }
        Ok(())
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<(i64, Entry)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn has_clashes(conn: &Connection) -> rusqlite::Result<bool> {
    Ok(conn.prepare_cached(CLASH_ANY)?.query_row([], |_| Ok(())).optional()?.is_some())
}

/// A reader's side: looks up many keys of one kind, and tells which are there (by their place) with what.
pub(super) fn find(conn: &Connection, kind: Kind, keys: impl Iterator<Item = Key>) -> rusqlite::Result<Vec<(usize, Entry)>> {
    let mut found = Vec::new();
    let clashes = has_clashes(conn)?;
    let mut get = conn.prepare_cached(GET[kind.number()])?;
    for (index, key) in keys.enumerate() {
        let mut stored = get.query_row([key.h], entry).optional()?.filter(|(c, _)| *c == key.c).map(|(_, entry)| entry);
        if stored.is_none() && clashes {
            let mut get = conn.prepare_cached(CLASH_GET)?;
            stored = get.query_row(params![kind.column(), key.h, key.c], |row| row.get(0)).optional()?;
        }
        found.extend(stored.map(|entry| (index, entry)));
    }
    Ok(found)
}
