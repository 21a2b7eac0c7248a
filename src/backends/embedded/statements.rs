//! What the writer says to SQLite, prepared once.

use rusqlite::{Connection, Statement};

macro_rules! statements {
    ($($name:ident = $sql:expr;)*) => {
        /// Every statement of the writer.
        pub(super) struct Statements<'c> {
            $(pub $name: Statement<'c>,)*
        }

        impl<'c> Statements<'c> {
            pub fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
                Ok(Self { $($name: conn.prepare($sql)?,)* })
            }
        }
    };
}

statements! {
    begin = "BEGIN IMMEDIATE";
    commit = "COMMIT";
    savepoint = "SAVEPOINT job";
    release = "RELEASE job";
    rollback_to = "ROLLBACK TO job";
    log = "PRAGMA wal_checkpoint(NOOP)";

    meta_set = "UPDATE meta SET value = ?2 WHERE name = ?1";
    epoch_raise = "UPDATE meta SET value = value + 1 WHERE name = 'epoch' RETURNING value";
    name_get = "SELECT id FROM names WHERE name = ?1";
    name_add = "INSERT INTO names(name) VALUES(?1)";
    count_up = "INSERT INTO counters VALUES(?1, 1) ON CONFLICT(name) DO UPDATE SET value = value + 1 RETURNING value";
    count_forget = "DELETE FROM counters WHERE name = ?1";
    facts_get = "SELECT body FROM facts WHERE system = ?1";
    facts_set = "INSERT OR REPLACE INTO facts VALUES(?1, ?2)";

    record_get = "SELECT n, revision, head FROM records WHERE id = ?1";
    record_add = "INSERT INTO records(n, id, type, revision, head, body, deleted_at) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    record_make = "UPDATE records SET id = ?2, type = ?3, revision = ?4, head = ?5, body = ?6, deleted_at = ?7 WHERE n = ?1";
    record_set = "UPDATE records SET revision = ?2, head = ?3, body = ?4, deleted_at = ?5 WHERE n = ?1";
    record_forget = "UPDATE records SET type = NULL, revision = 0, head = ?2, body = NULL, deleted_at = NULL WHERE n = ?1";
    head_set = "UPDATE records SET head = ?2 WHERE n = ?1";

    decision_add = "INSERT INTO decisions(id, late, record, previous, kind, rare, system, type, uid, body)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    decision_blank = "UPDATE decisions SET late = NULL, kind = NULL, rare = NULL, system = NULL, type = NULL, uid = NULL, body = NULL
        WHERE id = ?1";

    decision_rewrite = "UPDATE decisions SET body = ?3 WHERE id = ?1 AND uid = ?2 AND kind IS NOT NULL";
    decision_spent = "INSERT INTO decisions(id, uid) VALUES(?1, ?2)";
    decision_spend = "UPDATE decisions SET late = NULL, kind = NULL, rare = NULL, system = NULL, type = NULL, body = NULL WHERE id = ?1";
    decision_drop = "DELETE FROM decisions WHERE id = ?1";
    decision_there = "SELECT 1 FROM decisions WHERE id = ?1";
    decision_old = "SELECT id, kind, rare, previous, uid FROM decisions WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3";

    waiting_find = "SELECT n, refs FROM waiting WHERE uid = ?1";
    waiting_drop = "DELETE FROM waiting WHERE n = ?1";
    waiting_add = "INSERT INTO waiting(uid, arrival, h, c, retry_at, behind, refs, body) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    waiting_judge = "SELECT refs, behind FROM waiting WHERE n = ?1";
    waiting_open = "UPDATE waiting SET open = ?2 WHERE n = ?1";
    waiting_behind = "SELECT n FROM waiting WHERE behind = ?1";
    waits_on = "SELECT n FROM waits_on WHERE h = ?1 AND c = ?2";
    waits_on_add = "INSERT OR IGNORE INTO waits_on VALUES(?1, ?2, ?3)";
    waits_on_drop = "DELETE FROM waits_on WHERE h = ?1 AND c = ?2 AND n = ?3";

    dead_put = "INSERT INTO dead(id, body) VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET body = excluded.body";
    dead_drop = "DELETE FROM dead WHERE id = ?1 AND body = ?2";

    owed_get = "SELECT rev, published, delivered, retry_at, attempts, answer_by, position FROM outbox WHERE record = ?1 AND system = ?2";
    owed_add = "INSERT INTO outbox(position, record, system, rev, published, delivered, retry_at, attempts, answer_by)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    owed_note = "UPDATE outbox SET published = ?2, delivered = ?3, answer_by = ?4 WHERE position = ?1";
    owed_drop = "DELETE FROM outbox WHERE position = ?1";

    audit_add = "INSERT OR IGNORE INTO audits VALUES(?1, ?2)";
    hold_put = "INSERT OR REPLACE INTO holds VALUES(?1, ?2)";
    create_open = "INSERT OR IGNORE INTO creates VALUES(?1, ?2, ?3)";
    create_close = "DELETE FROM creates WHERE system = ?1 AND type = ?2 AND record = ?3";

    child_add = "INSERT OR IGNORE INTO children VALUES(?1, ?2, ?3)";
    child_drop = "DELETE FROM children WHERE parent = ?1 AND type = ?2 AND child = ?3";
    task_put = "INSERT OR REPLACE INTO tasks VALUES(?1, ?2)";
    task_drop = "DELETE FROM tasks WHERE id = ?1";

    inbound_add = "INSERT INTO inbound VALUES(?1, ?2, ?3, 0, ?4)";
    inbound_drop = "DELETE FROM inbound WHERE tag = ?1";
    outbound_rev = "SELECT n, rev FROM outbound WHERE system = ?1 AND record = ?2";
    outbound_add = "INSERT INTO outbound(system, record, rev, id, type, op, body) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    outbound_set = "UPDATE outbound SET rev = ?2, id = ?3, type = ?4, op = ?5, body = ?6 WHERE n = ?1";
    outbound_drop = "DELETE FROM outbound WHERE system = ?1 AND record = ?2 AND rev <= ?3";
}
