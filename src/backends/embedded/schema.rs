//! The file: its tables, its version, how it is opened.
//!
//! Records and decisions are appended in the order they come. Everything that is looked up by a text of the outside
//! (updates, native ids, key values) is found by 128 bits of a hash that is keyed with a secret of the file: 64 bits
//! are the row's number, 64 more are compared. Where two texts share a row's number, the later one goes to `clashes`.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::error::failed;
use crate::ports::error::{PortError, PortErrorKind};

/// The version of the tables below.
const VERSION: i64 = 1;
/// Says that the file is ours: "sync".
const APPLICATION: i64 = 0x7379_6e63;
/// Name of the file inside its folder.
pub(super) const FILE: &str = "syncline.db";
const LOCK: &str = "syncline.lock";
const OPEN: &str = "open the store";
/// How often a folder that is in use is tried again, and how long between: two seconds in all.
const LOCK_TRIES: u32 = 40;
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// Systems that were sent a create and have not answered it; what is kept back; who refers to whom; work still to be done;
/// what people did.
/// Files of the first versions lack them.
const LATER_TABLES: &str = "
CREATE TABLE IF NOT EXISTS children(parent BLOB, type INTEGER, child BLOB, PRIMARY KEY(parent, type, child)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audits(id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tasks(id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holds(id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS creates(system TEXT, type TEXT, record BLOB, PRIMARY KEY(system, type, record)) WITHOUT ROWID";

/// When a record was deleted; until when a message should be answered. Likewise.
const LATER_COLUMNS: [(&str, &str); 2] = [("records", "deleted_at"), ("outbox", "answer_by")];

/// Few records are deleted. Rows are listed by system.
const LATER_INDEXES: &str = "CREATE INDEX IF NOT EXISTS decisions_system ON decisions(system) WHERE kind IS NOT NULL;
CREATE INDEX IF NOT EXISTS records_deleted ON records(deleted_at, id) WHERE deleted_at IS NOT NULL";

const TABLES: &str = "
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE names(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE facts(system TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;

-- revision 0 and no body: not a record yet, only the head of a history. head: the newest decision about it.
CREATE TABLE records(n INTEGER PRIMARY KEY, id BLOB NOT NULL, type INTEGER, revision INTEGER NOT NULL, head INTEGER, body TEXT);
CREATE UNIQUE INDEX records_id ON records(id, type);

-- id: the time of the decision in microseconds, or the next free number; late: how much later than its time that is.
-- previous: the decision before it about the same record. No kind: the row was replaced, only its place is left; with a
-- uid: it was decided and is not kept (any more), only the marker of that update is.
CREATE TABLE decisions(id INTEGER PRIMARY KEY, late INTEGER, record INTEGER, previous INTEGER, kind INTEGER, rare INTEGER,
    system INTEGER, type INTEGER, uid TEXT, body TEXT);
CREATE INDEX decisions_rare ON decisions(rare) WHERE rare IS NOT NULL;

-- h, c: the hash. v: content hash and row of an update; the canonical id of a link or claim.
CREATE TABLE markers(h INTEGER PRIMARY KEY, c INTEGER NOT NULL, v BLOB NOT NULL);
CREATE TABLE links(h INTEGER PRIMARY KEY, c INTEGER NOT NULL, v BLOB NOT NULL);
CREATE TABLE claims(h INTEGER PRIMARY KEY, c INTEGER NOT NULL, v BLOB NOT NULL);
-- what changed lately in these three, as it came; see recent.rs
CREATE TABLE recent(n INTEGER PRIMARY KEY, entries BLOB NOT NULL);
CREATE TABLE clashes(kind INTEGER, h INTEGER, c INTEGER, v BLOB NOT NULL, PRIMARY KEY(kind, h, c)) WITHOUT ROWID;

-- open: how much of what it waits for is not known yet. refs: the hashes of the native records it waits for, or of the records in its way.
CREATE TABLE waiting(n INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, arrival INTEGER NOT NULL, h INTEGER NOT NULL, c INTEGER NOT NULL,
    retry_at INTEGER, open INTEGER, behind TEXT, refs BLOB, body TEXT NOT NULL);
CREATE INDEX waiting_arrival ON waiting(arrival, uid);
CREATE INDEX waiting_native ON waiting(h);
CREATE INDEX waiting_retry ON waiting(retry_at) WHERE retry_at IS NOT NULL;
CREATE INDEX waiting_open ON waiting(open, arrival) WHERE open IS NOT NULL;
CREATE INDEX waiting_behind ON waiting(behind) WHERE behind IS NOT NULL;
CREATE TABLE waits_on(h INTEGER, c INTEGER, n INTEGER, PRIMARY KEY(h, c, n)) WITHOUT ROWID;

CREATE TABLE dead(n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);

CREATE TABLE outbox(position INTEGER PRIMARY KEY, record BLOB NOT NULL, system TEXT NOT NULL, rev INTEGER NOT NULL,
    published INTEGER NOT NULL, delivered INTEGER NOT NULL, retry_at INTEGER, attempts INTEGER NOT NULL);
CREATE UNIQUE INDEX outbox_pair ON outbox(record, system);

CREATE TABLE inbound(tag INTEGER PRIMARY KEY, message_id TEXT, received_at INTEGER NOT NULL, deliveries INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE outbound(n INTEGER PRIMARY KEY, system TEXT NOT NULL, record BLOB NOT NULL, rev INTEGER NOT NULL,
    id TEXT NOT NULL, type TEXT NOT NULL, op TEXT NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX outbound_pair ON outbound(system, record);
CREATE INDEX outbound_order ON outbound(system, n);
";

/// Takes the folder for this process.
pub(super) fn lock(folder: &Path) -> Result<File, PortError> {
    let path = folder.join(LOCK);
    let unavailable = |message: String| PortError::new(PortErrorKind::Unavailable, OPEN, message);
    std::fs::create_dir_all(folder).map_err(|error| unavailable(format!("cannot make {}: {error}", folder.display())).because(error))?;
    let options = File::options().create(true).truncate(false).write(true).open(&path);
    let file = options.map_err(|error| unavailable(format!("cannot open {}: {error}", path.display())).because(error))?;
    let mut tried = 0;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // Whoever had it may be about to end: it lets go once everything is on the disk.
            Err(TryLockError::WouldBlock) if tried < LOCK_TRIES => {
                tried += 1;
                std::thread::sleep(LOCK_WAIT);
            }
            Err(TryLockError::WouldBlock) => {
                let message = format!("{} is in use by another process; stop it, or give this one a folder of its own", folder.display());
                return Err(unavailable(message));
            }
            Err(TryLockError::Error(error)) => return Err(unavailable(format!("cannot lock {}: {error}", path.display())).because(error)),
        }
    }
}

/// Opens the connection that writes; makes the tables if the file is new, refuses a newer one.
pub(super) fn open_writer(file: &Path, cache_kib: u32) -> Result<Connection, PortError> {
    let conn = Connection::open(file).map_err(failed(OPEN))?;
    tune(&conn, cache_kib)?;
    conn.pragma_update(None, "journal_mode", "WAL").map_err(failed(OPEN))?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(failed(OPEN))?;
    // Checkpoints run beside the writer, on a thread of their own.
    conn.pragma_update(None, "wal_autocheckpoint", 0).map_err(failed(OPEN))?;
    let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed(OPEN));
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application == 0 && version == 0 {
        create(&conn)?;
    } else if application != APPLICATION {
        return Err(invalid(file, "is not a store of Syncline"));
    } else if version > VERSION {
        return Err(invalid(file, &format!("was written by a newer Syncline (version {version} of the file; this one knows {VERSION})")));
    }
    conn.execute_batch(LATER_TABLES).map_err(failed(OPEN))?;
    for (table, column) in LATER_COLUMNS {
        let known = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";
        if conn.query_row(known, (table, column), |_| Ok(())).optional().map_err(failed(OPEN))?.is_none() {
            conn.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} INTEGER")).map_err(failed(OPEN))?;
        }
    }
    conn.execute_batch(LATER_INDEXES).map_err(failed(OPEN))?;
    Ok(conn)
}

fn invalid(file: &Path, what: &str) -> PortError {
    PortError::new(PortErrorKind::Invalid, OPEN, format!("{} {what}", file.display()))
}

fn create(conn: &Connection) -> Result<(), PortError> {
    let text = format!(
        "BEGIN IMMEDIATE; {TABLES} INSERT INTO meta VALUES('secret', randomblob(192)), ('epoch', 1), ('late', 0), ('received', 0);
         PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
    );
    conn.execute_batch(&text).map_err(failed(OPEN))
}

/// Opens a connection that only reads.
pub(super) fn open_reader(file: &Path, cache_kib: u32) -> Result<Connection, PortError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags).map_err(failed(OPEN))?;
    tune(&conn, cache_kib)?;
    Ok(conn)
}

/// Opens a connection that moves what was written from the log into the file.
pub(super) fn open_checkpointer(file: &Path) -> Result<Connection, PortError> {
    let conn = Connection::open(file).map_err(failed(OPEN))?;
    tune(&conn, 256)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(failed(OPEN))?;
    Ok(conn)
}

fn tune(conn: &Connection, cache_kib: u32) -> Result<(), PortError> {
    conn.busy_timeout(Duration::from_secs(5)).map_err(failed(OPEN))?;
    conn.set_prepared_statement_cache_capacity(48);
    conn.pragma_update(None, "cache_size", -i64::from(cache_kib)).map_err(failed(OPEN))?;
    conn.pragma_update(None, "temp_store", "MEMORY").map_err(failed(OPEN))
}

/// A value the file keeps about itself.
pub(super) fn meta<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> Result<T, PortError> {
    let value = conn.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional().map_err(failed(OPEN))?;
    value.ok_or_else(|| PortError::new(PortErrorKind::Invalid, OPEN, format!("the file lacks its {name}")))
}
