//! Who works on this database, and what a process that is gone has left half-done.
//!
//! MongoDB keeps the transaction of a client that died, with everything it has locked, for up to a minute
//! (`transactionLifetimeLimitSeconds`). Whoever comes next would meet its locks again and again. So every orchestrator notes
//! the sessions it writes with, and the next one ends those of one that is gone. Ending the session of one that is not gone
//! would do no harm: its transaction comes to nothing and is tried again.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mongodb::ClientSession;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawDocument, doc, spec::BinarySubtype};
use mongodb::error::Error;
use tokio::time::Instant;

use super::codec::integer;
use super::error::{failed, unreadable};
use super::schema::ORCHESTRATORS;
use super::shared::Shared;
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::presence::Presence;

pub(super) const ATTEND: &str = "note who is at work";

/// An orchestrator whose pulse stands still for so long is gone. Told by counting, as clocks differ between machines.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(5);

/// What is remembered between two looks. Never locked while the server is asked: an answer may take as long as a dead connection.
#[derive(Debug, Default)]
pub(super) struct Attendance(Mutex<Remembered>);

impl Attendance {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Remembered {
    /// This orchestrator, once it has said that it is here.
    own: Option<String>,
    /// Its sessions that are noted.
    sessions: HashSet<Vec<u8>>,
    /// The pulse of the others, and since when it is the same.
    pulses: HashMap<String, (i64, Instant)>,
}

/// A session to write with, noted for whoever comes after us.
pub(super) async fn session(shared: &Shared) -> Result<ClientSession, Error> {
    let session = shared.client.start_session().await?;
    let Some(Bson::Binary(Binary { bytes: id, .. })) = session.id().get("id") else { return Ok(session) };
    let own = {
        let remembered = shared.attendance.remembered();
        remembered.own.clone().filter(|_| !remembered.sessions.contains(id))
    };
    if let Some(own) = own {
        let note = doc! {"$addToSet": {"sessions": uuid(id.clone())}};
        shared.db.collection::<Document>(ORCHESTRATORS).update_one(doc! {"_id": own}, note).await?;
        shared.attendance.remembered().sessions.insert(id.clone());
    }
    Ok(session)
}

fn uuid(bytes: Vec<u8>) -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes }
}

/// Says that this orchestrator is at work, and finds the others that are. What one that is gone has left is let go.
pub(super) async fn attend(shared: &Shared, presence: &Presence) -> Result<Vec<Presence>, PortError> {
    let error = failed(ATTEND);
    let orchestrators = shared.db.collection::<Document>(ORCHESTRATORS);
    let (host, process) = place();
    let known = doc! {
        "config": &presence.config, "since": DateTime::from_millis(presence.since.as_micros() / 1_000), "host": &host,
        "process": i64::from(process),
    };
    let sessions: Vec<Binary> = shared.attendance.remembered().sessions.iter().cloned().map(uuid).collect();
    // Others may be noted at this very moment.
    let said = doc! {"$set": known, "$inc": {"pulse": 1_i64}, "$addToSet": {"sessions": {"$each": sessions}}};
    orchestrators.update_one(doc! {"_id": &presence.id}, said).upsert(true).await.map_err(error)?;
    let before = {
        let mut remembered = shared.attendance.remembered();
        remembered.own = Some(presence.id.clone());
        remembered.pulses.clone()
    };
    let others = shared.find(ATTEND, ORCHESTRATORS, doc! {"_id": {"$ne": &presence.id}}).all().await?;
    let mut present = Vec::new();
    let mut pulses = HashMap::new();
    for other in others {
        let found = read(&other).map_err(|wrong| unreadable(ATTEND, "note of an orchestrator", wrong))?;
        let pulse = integer(&other, "pulse").map_err(|wrong| unreadable(ATTEND, "pulse", wrong))?;
        let now = Instant::now();
        let since = before.get(&found.id).filter(|(last, _)| *last == pulse).map_or(now, |(_, since)| *since);
        if now.duration_since(since) >= LOST_AFTER || ended_here(&other, &host, process) {
            let_go(shared, &other).await;
            orchestrators.delete_one(doc! {"_id": &found.id, "pulse": pulse}).await.map_err(error)?;
        } else {
            pulses.insert(found.id.clone(), (pulse, since));
            present.push(found);
        }
    }
    shared.attendance.remembered().pulses = pulses;
    Ok(present)
}

/// Takes this orchestrator's note away.
pub(super) async fn leave(shared: &Shared, presence: &Presence) -> Result<(), PortError> {
    shared.attendance.remembered().own = None;
    let orchestrators = shared.db.collection::<Document>(ORCHESTRATORS);
    orchestrators.delete_one(doc! {"_id": &presence.id}).await.map(|_| ()).map_err(failed(ATTEND))
}

fn read(document: &RawDocument) -> Result<Presence, Box<dyn std::error::Error + Send + Sync>> {
    let since = document.get_datetime("since")?.timestamp_millis();
    let (id, config) = (document.get_str("_id")?.to_owned(), document.get_str("config")?.to_owned());
    Ok(Presence { id, config, since: Timestamp::from_micros(since.saturating_mul(1_000)) })
}

/// This machine's name, as far as it is known, and this process.
fn place() -> (String, u32) {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    (name.map(|name| name.trim().to_owned()).unwrap_or_default(), std::process::id())
}

/// Whether a note is of a process of this very machine that has ended: its number is free again, or our own.
fn ended_here(other: &RawDocument, host: &str, process: u32) -> bool {
    let here = !host.is_empty() && other.get_str("host").is_ok_and(|other| other == host);
    let Ok(number) = integer(other, "process") else { return false };
    let processes = std::path::Path::new("/proc");
    // Two orchestrators in one process are two; that is what tests do.
    here && number != i64::from(process) && processes.join("self").exists() && !processes.join(number.to_string()).exists()
}

/// Ends the sessions of an orchestrator that is gone.
async fn let_go(shared: &Shared, gone: &RawDocument) {
    let sessions = gone.get_array("sessions").into_iter().flatten().filter_map(|id| Bson::try_from(id.ok()?).ok());
    let sessions: Vec<Bson> = sessions.map(|id| Bson::Document(doc! {"id": id})).collect();
    let (id, count) = (gone.get_str("_id").unwrap_or_default(), sessions.len());
    tracing::info!(orchestrator = id, sessions = count, "an orchestrator is gone; what it left half-done is let go");
    if sessions.is_empty() {
        return;
    }
    if let Err(error) = shared.client.database("admin").run_command(doc! {"killSessions": sessions}).await {
        // Its locks end by themselves, a minute after it began.
        tracing::warn!(error = %failed(ATTEND)(error), "its sessions can't be ended; what they hold is free in a minute");
    }
}
