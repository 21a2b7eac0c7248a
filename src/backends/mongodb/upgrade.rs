//! What earlier versions have left, as this one keeps it.

use std::collections::BTreeMap;
use std::time::Duration;

use mongodb::Database;
use mongodb::bson::{Document, RawDocumentBuf, doc};

use super::codec;
use super::commit::wait;
use super::error::{failed, unreadable};
use super::outbox::{Row, new_stamp};
use super::presence::LOST_AFTER;
use super::schema::{META, OPEN, ORCHESTRATORS, OWED, VERSION};
use super::shared::durable;
use crate::domain::ids::CanonicalId;
use crate::ports::error::{PortError, PortErrorKind};

/// Where version 1 kept a document for each record and system.
const OUTBOX: &str = "outbox";
/// Rows of it that are rewritten in one transaction.
const PAGE: usize = 1_000;
/// Tries of one page.
const TRIES: u32 = 8;
/// Beats of a pulse, to be sure that it has ended.
const BEAT: Duration = Duration::from_secs(1);

/// Takes over what version 1 has left, and what one that did not end in time has added since: each page of it in one
/// transaction, so it may end at any point, and several may do it at once.
pub(super) async fn from_earlier(db: &Database, version: u64) -> Result<(), PortError> {
    if version < VERSION {
        nobody_at_work(db).await?;
    }
    let (mut rows, mut tries) = (0, 0);
    while db.collection::<Document>(OUTBOX).find_one(doc! {}).await.map_err(failed(OPEN))?.is_some() {
        match page(db).await {
            Ok(moved) => (rows, tries) = (rows + moved, 0),
            // Another one does the same just now.
            Err(error) if error.kind == PortErrorKind::Unavailable && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(wait(tries)).await;
            }
            Err(error) => return Err(error),
        }
    }
    let meta = db.collection::<Document>(META);
    let behind = doc! {"_id": "store", "version": {"$lt": VERSION as i64}};
    let raised = meta.update_one(behind, doc! {"$set": {"version": VERSION as i64}}).await.map_err(failed(OPEN))?;
    if rows > 0 || raised.modified_count > 0 {
        tracing::info!(from = version, to = VERSION, rows, "the store is of this version now");
    }
    Ok(())
}

/// Whoever is at work has a pulse.
async fn nobody_at_work(db: &Database) -> Result<(), PortError> {
    let before = pulses(db).await?;
    if before.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(LOST_AFTER + BEAT).await;
    let after = pulses(db).await?;
    let alive = after.iter().filter(|(id, pulse)| before.get(*id) != Some(pulse)).count();
    // Whoever brought it up to date meanwhile is none of them.
    let meta = db.collection::<Document>(META);
    let behind = meta.find_one(doc! {"_id": "store", "version": {"$lt": VERSION as i64}}).await.map_err(failed(OPEN))?;
    if alive == 0 || behind.is_none() {
        return Ok(());
    }
    let message = format!(
        "{alive} earlier Syncline at work on the database {:?} would not understand what this one writes; end all that are (their \
         notes are in the collection {ORCHESTRATORS}), then start this one",
        db.name()
    );
    Err(PortError::new(PortErrorKind::Invalid, OPEN, message))
}

async fn pulses(db: &Database) -> Result<BTreeMap<String, i64>, PortError> {
    let error = failed(OPEN);
    let mut found = db.collection::<RawDocumentBuf>(ORCHESTRATORS).find(doc! {}).await.map_err(error)?;
    let mut pulses = BTreeMap::new();
    while found.advance().await.map_err(error)? {
        let id = found.current().get_str("_id").unwrap_or_default();
        pulses.insert(id.to_owned(), codec::integer(found.current(), "pulse").unwrap_or(0));
    }
    Ok(pulses)
}

/// Rewrites the next rows; how many there were.
async fn page(db: &Database) -> Result<usize, PortError> {
    let error = failed(OPEN);
    let outbox = db.collection::<RawDocumentBuf>(OUTBOX);
    let mut session = db.client().start_session().await.map_err(error)?;
    session.start_transaction().write_concern(durable()).await.map_err(error)?;
    // Those of one record stand together.
    let mut found = outbox.find(doc! {}).sort(doc! {"_id": 1}).limit(PAGE as i64).session(&mut session).await.map_err(error)?;
    let mut rows = Vec::new();
    while found.advance(&mut session).await.map_err(error)? {
        let row = read(found.current()).map_err(|error| unreadable(OPEN, "outbox row", error))?;
        rows.push(row);
    }
    let ids: Vec<String> = rows.iter().map(|(id, ..)| id.clone()).collect();
    let mut records = BTreeMap::<CanonicalId, Vec<(i64, Row)>>::new();
    for (_, position, owed) in rows {
        records.entry(owed.record).or_default().push((position, (0, owed)));
    }
    let owed = db.collection::<RawDocumentBuf>(OWED);
    for (record, mut rows) in records {
        let id = doc! {"_id": record.to_string()};
        let mut last = None;
        if let Some(there) = owed.find_one(id.clone()).session(&mut session).await.map_err(error)? {
            let (_, place, kept) = codec::read_owed(OPEN, &there)?;
            last = Some(place);
            // What was written by this version is newer.
            rows.retain(|(_, (_, row))| kept.iter().all(|(_, other)| other.system != row.system));
            rows.extend(kept.into_iter().map(|row| (place, row)));
        }
        rows.sort_by_key(|(position, (number, _))| (*position, *number));
        let place = last.max(rows.last().map(|(position, _)| *position)).unwrap_or(0);
        let rows: Vec<Row> = (0..=u16::MAX).zip(rows.into_iter().map(|(_, (_, row))| row)).collect();
        let written = codec::owed(record, &rows, (place, new_stamp()));
        owed.replace_one(id, written).upsert(true).session(&mut session).await.map_err(error)?;
    }
    if !ids.is_empty() {
        outbox.delete_many(doc! {"_id": {"$in": &ids}}).session(&mut session).await.map_err(error)?;
    }
    session.commit_transaction().await.map_err(error)?;
    Ok(ids.len())
}

type Wrong = Box<dyn std::error::Error + Send + Sync>;

fn read(row: &mongodb::bson::RawDocument) -> Result<(String, i64, crate::ports::store::Owed), Wrong> {
    let record = CanonicalId::parse(row.get_str("record")?)?;
    Ok((row.get_str("_id")?.to_owned(), codec::integer(row, "position")?, codec::read_owed_row(record, row)?))
}
