//! The same rows by hand: no logic, no engine, only SQLite.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};

use crate::workload::{message, mix};

/// Rows of one transaction.
const GROUP: u64 = 500;

const SCHEMA: &str = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-8192; PRAGMA temp_store=MEMORY;
    CREATE TABLE records(n INTEGER PRIMARY KEY, id BLOB UNIQUE, revision INTEGER, body TEXT);
    CREATE TABLE decisions(n INTEGER PRIMARY KEY, record INTEGER, body TEXT);
    CREATE TABLE markers(h BLOB PRIMARY KEY, content INTEGER) WITHOUT ROWID;
    CREATE TABLE links(h BLOB PRIMARY KEY, id BLOB) WITHOUT ROWID;
    CREATE TABLE claims(h BLOB PRIMARY KEY, id BLOB) WITHOUT ROWID;
    CREATE TABLE inbound(tag INTEGER PRIMARY KEY, body BLOB);
    CREATE TABLE outbox(n INTEGER PRIMARY KEY, record BLOB UNIQUE, rev INTEGER);
    CREATE TABLE outbound(n INTEGER PRIMARY KEY, record BLOB UNIQUE, body BLOB);";

/// Writes as much as the engine does for new records: a record, a decision, a marker, a link and a claim each; then the
/// same with an inbound row before and an outbound row after.
pub fn run(folder: &Path, updates: u64) {
    let rate = write(&folder.join("batch.db"), updates, false);
    println!("bare SQLite, {GROUP} a transaction: {rate:.0} updates/s");
    let rate = write(&folder.join("queue.db"), updates, true);
    println!("bare SQLite with queue rows: {rate:.0} updates/s");
}

fn write(file: &Path, updates: u64, queues: bool) -> f64 {
    let conn = Connection::open(file).unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    // About what the engine stores: a record with its provenance, and a decision with both snapshots.
    let entity = String::from_utf8(message(1, 1)).unwrap();
    let (record, decision) = (entity.repeat(2), entity.repeat(3));
    let start = Instant::now();
    let mut n = 0;
    while n < updates {
        let group = n..(n + GROUP).min(updates);
        if queues {
            conn.execute_batch("BEGIN IMMEDIATE").unwrap();
            let mut add = conn.prepare_cached("INSERT INTO inbound VALUES(?1, ?2)").unwrap();
            for n in group.clone() {
                add.execute(params![n as i64, entity.as_bytes()]).unwrap();
            }
            conn.execute_batch("COMMIT").unwrap();
        }
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        for n in group.clone() {
            decide(&conn, n, &record, &decision, queues);
        }
        conn.execute_batch("COMMIT").unwrap();
        if queues {
            send(&conn, group.clone(), &entity);
        }
        n = group.end;
    }
    updates as f64 / start.elapsed().as_secs_f64()
}

fn decide(conn: &Connection, n: u64, record: &str, decision: &str, queues: bool) {
    let id = (u128::from(n) << 64 | u128::from(mix(n))).to_be_bytes();
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| conn.prepare_cached(sql).unwrap().execute(values).unwrap();
    run("INSERT INTO records VALUES(?1, ?2, 1, ?3)", &[&(n as i64), &id, &record]);
    run("INSERT INTO decisions VALUES(?1, ?1, ?2)", &[&(n as i64), &decision]);
    for (salt, table) in ["markers", "links", "claims"].into_iter().enumerate() {
        let hash = (u128::from(mix(n ^ (salt as u64) << 60)) << 64 | u128::from(mix(n))).to_be_bytes();
        run(&format!("INSERT INTO {table} VALUES(?1, ?2)"), &[&hash, &id]);
    }
    if queues {
        run("INSERT INTO outbox(record, rev) VALUES(?1, 1)", &[&id]);
        run("DELETE FROM inbound WHERE tag = ?1", &[&(n as i64)]);
    }
}

/// Each message is kept for its system, marked as sent, and taken.
fn send(conn: &Connection, group: std::ops::Range<u64>, entity: &str) {
    let ids = group.map(|n| (u128::from(n) << 64 | u128::from(mix(n))).to_be_bytes());
    for sql in [
        "INSERT INTO outbound(record, body) VALUES(?1, ?2)",
        "DELETE FROM outbox WHERE record = ?1",
        "DELETE FROM outbound WHERE record = ?1",
    ] {
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut statement = conn.prepare_cached(sql).unwrap();
        for id in ids.clone() {
            if sql.starts_with("INSERT") {
                statement.execute(params![id, entity]).unwrap();
            } else {
                statement.execute(params![id]).unwrap();
            }
        }
        drop(statement);
        conn.execute_batch("COMMIT").unwrap();
    }
}
