//! The one thread that writes. It takes whatever waits and commits it together, so that many batches share one sync of
//! the disk; a batch in conflict is rolled back alone.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::codec::signed;
use super::error::{again, failed, stopped};
use super::keys::Keys;
use super::recent::Recent;
use super::schema;
use super::statements::Statements;
use crate::ports::error::{PortError, PortErrorKind};

/// Jobs that share one transaction at most.
const GROUP: usize = 128;
/// Pages of the log after which they are moved into the file by the checkpointer.
const LOG_LOW: i64 = 1_000;
/// …and after which the writer waits for that.
const LOG_HIGH: i64 = 4_000;

/// Something to write, and whoever waits for it.
trait Job: Send {
    /// Writes. May be called again after its work was rolled back. False: nothing of it may stay.
    fn run(&mut self, session: &mut Session<'_>) -> bool;

    /// Why nothing of it may stay, after it was run.
    fn error(&self) -> Option<&PortError>;

    /// Tells whoever waits how its transaction ended.
    fn finish(self: Box<Self>, committed: Result<(), &PortError>);
}

struct Task<T, W> {
    operation: &'static str,
    work: W,
    result: Option<Result<T, PortError>>,
    reply: Option<oneshot::Sender<Result<T, PortError>>>,
}

impl<T: Send, W: FnMut(&mut Session<'_>) -> Result<T, PortError> + Send> Job for Task<T, W> {
    fn run(&mut self, session: &mut Session<'_>) -> bool {
        let result = (self.work)(session);
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn error(&self) -> Option<&PortError> {
        self.result.as_ref()?.as_ref().err()
    }

    fn finish(mut self: Box<Self>, committed: Result<(), &PortError>) {
        let operation = self.operation;
        let result = match (self.result.take(), committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(again(error, operation)),
            (None, Ok(())) => Err(stopped(operation)),
        };
        if let Some(reply) = self.reply.take() {
            // Nobody waits any more if the caller was dropped.
            let _ = reply.send(result);
        }
    }
}

/// Sends jobs to the writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on a connection of its own.
    pub fn start(conn: Connection, file: &Path, queue: usize, recent: (Arc<Recent>, i64, usize)) -> Result<Self, PortError> {
        let (jobs, inbox) = mpsc::channel(queue);
        let (wake, woken) = sync_channel(1);
        let (ready, started) = sync_channel(1);
        let checkpointer = schema::open_checkpointer(file)?;
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let no_thread = |error: std::io::Error| {
            PortError::new(PortErrorKind::Unavailable, "open the store", format!("cannot start a thread: {error}")).because(error)
        };
        let threads = vec![
            thread("store-writer").spawn(move || serve(&conn, recent, inbox, &ready, &wake)).map_err(no_thread)?,
            thread("store-log").spawn(move || move_log(&checkpointer, &woken)).map_err(no_thread)?,
        ];
        started.recv().map_err(|_| stopped("open the store"))??;
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Runs a job in the next transaction and returns when it is durable.
    pub async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnMut(&mut Session<'_>) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let (reply, answer) = oneshot::channel();
        let task = Task { operation, work, result: None, reply: Some(reply) };
        let jobs = self.jobs.as_ref().ok_or_else(|| stopped(operation))?;
        jobs.send(Box::new(task)).await.map_err(|_| stopped(operation))?;
        answer.await.map_err(|_| stopped(operation))?
    }

    /// Has something written in the next transaction; does not wait for it.
    pub async fn send(&self, work: impl FnMut(&mut Session<'_>) -> Result<(), PortError> + Send + 'static) {
        if let Some(jobs) = &self.jobs {
            let task = Task { operation: "write", work, result: None, reply: None };
            // A closed store tells the next one who waits.
            let _ = jobs.send(Box::new(task)).await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Without senders the writer ends after its last job, and with it the checkpointer.
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// What the writer keeps in memory about the file; forgotten again when a job is rolled back.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// The number of the last record.
    pub record: i64,
    /// The newest decision row.
    pub decision: i64,
    /// No decision row's number is further from its time than this.
    pub late: i64,
    /// Whether anything may be waiting.
    pub waits: bool,
    /// The position of the last outbox row, ever.
    pub position: i64,
    /// The tag of the last inbound message, ever.
    pub tag: i64,
    /// How many inbound messages there are.
    pub inbound: u64,
}

/// The writer's connection with everything prepared.
pub(super) struct Session<'c> {
    pub conn: &'c Connection,
    pub sql: Statements<'c>,
    pub keys: Keys<'c>,
    pub state: State,
    names: HashMap<String, i64>,
}

impl<'c> Session<'c> {
    fn open(conn: &'c Connection, (recent, last, limit): (Arc<Recent>, i64, usize)) -> rusqlite::Result<Self> {
        let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
        let state = State {
            record: number("SELECT coalesce(max(n), 0) FROM records")?,
            decision: number("SELECT coalesce(max(id), 0) FROM decisions")?,
            late: number("SELECT value FROM meta WHERE name = 'late'")?,
            waits: number("SELECT EXISTS(SELECT 1 FROM waiting)")? == 1,
            position: number("SELECT coalesce(max(position), 0) FROM outbox")?,
            tag: number("SELECT coalesce(max(tag), 0) FROM inbound")?,
            inbound: super::codec::unsigned(number("SELECT count(*) FROM inbound")?),
        };
        Ok(Self { conn, sql: Statements::prepare(conn)?, keys: Keys::prepare(conn, recent, last, limit)?, state, names: HashMap::new() })
    }

    /// The number of a system's or type's name.
    pub fn name(&mut self, name: &str) -> rusqlite::Result<i64> {
        if let Some(id) = self.names.get(name) {
            return Ok(*id);
        }
        let known = self.sql.name_get.query_map([name], |row| row.get(0))?.next().transpose()?;
        let id = match known {
            Some(id) => id,
            None => self.sql.name_add.insert([name])?,
        };
        self.names.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Keeps a number the file knows about itself.
    pub fn set_meta(&mut self, name: &str, value: u64) -> rusqlite::Result<()> {
        self.sql.meta_set.execute((name, signed(value))).map(|_| ())
    }

    /// Runs jobs in one transaction and answers them when it is over.
    fn group(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let outcome = match self.attempt(jobs, false) {
            // Something is in conflict. Once more, each in a savepoint: that costs memory for every page, so it is not
            // done before it must.
            Ok(false) => self.attempt(jobs, true),
            outcome => outcome,
        };
        let outcome = outcome.map(|_| ());
        for job in jobs.drain(..) {
            job.finish(outcome.as_ref().copied());
        }
    }

    /// Runs all jobs and commits. False: without savepoints a job that failed spoiled it for all, and nothing was written.
    fn attempt(&mut self, jobs: &mut [Box<dyn Job>], savepoints: bool) -> Result<bool, PortError> {
        let before = self.state;
        let begun = self.sql.begin.execute([]).map_err(failed("commit"));
        let done = begun.and_then(|_| self.all(jobs, savepoints)).and_then(|whole| {
            if whole {
                self.keys.commit(|| self.sql.commit.execute([])).map_err(failed("commit"))?;
            }
            Ok(whole)
        });
        if !matches!(done, Ok(true)) {
            self.forget(before, 0);
            if !self.conn.is_autocommit() {
                // SQLite has often rolled back by itself; if this fails too, the next begin says so.
                let _ = self.conn.execute_batch("ROLLBACK");
            }
        }
        done
    }

    fn all(&mut self, jobs: &mut [Box<dyn Job>], savepoints: bool) -> Result<bool, PortError> {
        for job in jobs {
            if savepoints {
                self.in_savepoint(job.as_mut())?;
                continue;
            }
            let before = (self.conn.total_changes(), self.keys.mark());
            if job.run(self) {
                continue;
            }
            self.still_open(job.as_ref())?;
            // Who failed before it wrote anything is no trouble to the others.
            if (self.conn.total_changes(), self.keys.mark()) != before {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn in_savepoint(&mut self, job: &mut dyn Job) -> Result<(), PortError> {
        let (before, mark) = (self.state, self.keys.mark());
        self.sql.savepoint.execute([]).map_err(failed("commit"))?;
        if !job.run(self) {
            self.still_open(job)?;
            self.forget(before, mark);
            self.sql.rollback_to.execute([]).map_err(failed("commit"))?;
        }
        self.sql.release.execute([]).map(|_| ()).map_err(failed("commit"))
    }

    /// Fails if SQLite has ended the transaction by itself, as it does when the disk is full: what other jobs wrote from then on
    /// would be durable statement by statement.
    fn still_open(&self, failed: &dyn Job) -> Result<(), PortError> {
        match failed.error() {
            Some(error) if self.conn.is_autocommit() => Err(again(error, "commit")),
            Some(_) | None => Ok(()),
        }
    }

    /// Back to what was known before something was rolled back.
    fn forget(&mut self, before: State, mark: usize) {
        self.state = before;
        self.keys.undo_to(mark);
        self.names.clear();
    }
}

fn serve(
    conn: &Connection,
    recent: (Arc<Recent>, i64, usize),
    mut inbox: mpsc::Receiver<Box<dyn Job>>,
    ready: &SyncSender<Result<(), PortError>>,
    wake: &SyncSender<()>,
) {
    let mut session = match Session::open(conn, recent).map_err(failed("open the store")) {
        Ok(session) => session,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let mut jobs = Vec::with_capacity(GROUP);
    while inbox.blocking_recv_many(&mut jobs, GROUP) > 0 {
        session.group(&mut jobs);
        watch_log(&mut session, wake);
    }
}

/// Has the log moved into the file when it has grown.
fn watch_log(session: &mut Session<'_>, wake: &SyncSender<()>) {
    let grown = session.sql.log.query_row([], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
    let Ok((pages, moved)) = grown else { return };
    if pages > LOG_HIGH {
        checkpoint(session.conn);
    } else if pages - moved > LOG_LOW {
        match wake.try_send(()) {
            // It is at it, or it has ended; then the writer does it once the log has grown further.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

fn move_log(conn: &Connection, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        checkpoint(conn);
    }
}

fn checkpoint(conn: &Connection) {
    // A failure leaves everything in the log, where it is durable too; the next commit tries again.
    let _ = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
}
