//! What is kept back. Whoever takes messages or sends some asks for it each time, and it hardly ever changes: what was read is
//! trusted for a moment, and whoever changes it waits so long before saying that it is done. So nobody ever goes by an old
//! answer once a change is said to be made, and no clocks are compared.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use tokio::time::Instant;

use super::codec;
use super::error::{failed, unreadable};
use super::schema::HOLDS;
use super::shared::Shared;
use crate::ports::error::PortError;
use crate::ports::hold::HoldRow;

const READ: &str = "read holds";
const KEEP: &str = "keep a hold";

/// How long an answer is trusted, from when it was asked for.
const TRUSTED: Duration = Duration::from_millis(50);

/// The last answer.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// When it was asked for, and what it was.
    read: Option<(Instant, Vec<HoldRow>)>,
    /// Grows with every change made here: an answer to what was asked before one is not remembered.
    changes: u64,
}

impl Holds {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last answer, as long as it may be trusted; otherwise what to hand in with the next one.
    fn trusted(&self) -> Result<Vec<HoldRow>, u64> {
        let remembered = self.remembered();
        match &remembered.read {
            Some((asked, rows)) if asked.elapsed() < TRUSTED => Ok(rows.clone()),
            Some(_) | None => Err(remembered.changes),
        }
    }

    fn saw(&self, asked: Instant, changes: u64, rows: &[HoldRow]) {
        let mut remembered = self.remembered();
        if remembered.changes == changes {
            remembered.read = Some((asked, rows.to_vec()));
        }
    }

    fn changed(&self) {
        let mut remembered = self.remembered();
        remembered.read = None;
        remembered.changes += 1;
    }
}

/// What is kept back, or was once.
pub(super) async fn all(shared: &Shared) -> Result<Vec<HoldRow>, PortError> {
    let changes = match shared.holds.trusted() {
        Ok(rows) => return Ok(rows),
        Err(changes) => changes,
    };
    let asked = Instant::now();
    let found = shared.find(READ, HOLDS, Document::new()).sort(doc! {"_id": 1}).all().await?;
    let read =
        |row: &RawDocumentBuf| -> Result<_, Box<dyn std::error::Error + Send + Sync>> { Ok(serde_json::from_str(row.get_str("body")?)?) };
    let rows: Vec<HoldRow> =
        found.iter().map(|row| read(row).map_err(|error| unreadable(READ, "hold", error))).collect::<Result<_, _>>()?;
    shared.holds.saw(asked, changes, &rows);
    Ok(rows)
}

/// Keeps a hold. When this is done, everybody goes by it.
pub(super) async fn put(shared: &Shared, row: &HoldRow) -> Result<(), PortError> {
    let body = serde_json::to_string(row).map_err(|error| unreadable(KEEP, "hold", error))?;
    let id = row.hold.to_string();
    let document = doc! {"_id": &id, "holds": row.holds, "since": codec::date(row.since), "body": body};
    let holds = shared.db.collection::<Document>(HOLDS);
    let put = holds.replace_one(doc! {"_id": id}, document).upsert(true).await;
    // Even if it failed: it may be there.
    shared.holds.changed();
    put.map_err(failed(KEEP))?;
    tokio::time::sleep(TRUSTED).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;
    use crate::ports::hold::Hold;

    fn rows() -> Vec<HoldRow> {
        let hold = Hold::PauseIn { system: "crm".to_owned().try_into().unwrap() };
        vec![HoldRow::begin(hold, None, Timestamp::from_micros(7))]
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_trusted_from_when_it_was_asked_for() {
        let holds = Holds::default();
        let changes = holds.trusted().unwrap_err();
        let asked = Instant::now();
        tokio::time::advance(TRUSTED / 2).await;
        holds.saw(asked, changes, &rows());
        assert_eq!(holds.trusted(), Ok(rows()));
        tokio::time::advance(TRUSTED / 2).await;
        assert!(holds.trusted().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_before_a_change_is_not_remembered() {
        let holds = Holds::default();
        let changes = holds.trusted().unwrap_err();
        holds.changed();
        holds.saw(Instant::now(), changes, &rows());
        assert!(holds.trusted().is_err());
        holds.saw(Instant::now(), holds.trusted().unwrap_err(), &rows());
        holds.changed();
        assert!(holds.trusted().is_err());
    }
}
