//! What people did: one document each, never changed.

use mongodb::bson::{Document, RawDocumentBuf, doc};

use super::codec;
use super::error::{failed, unreadable};
use super::schema::AUDITS;
use super::shared::Shared;
use crate::ports::audit::Audit;
use crate::ports::error::PortError;
use crate::ports::store::{Cursor, Page};

pub(super) const KEEP: &str = "keep what was done";
pub(super) const LIST: &str = "list what was done";

/// Keeps an entry. Said again, it changes nothing.
pub(super) async fn add(shared: &Shared, entry: &Audit) -> Result<(), PortError> {
    let body = serde_json::to_string(entry).map_err(|error| unreadable(KEEP, "entry", error))?;
    let Audit { id, at, by, role, act, on, .. } = entry;
    // Beside the entry itself, what somebody may look for by hand.
    let document = doc! {"at": codec::date(*at), "by": by, "role": role.as_deref(), "act": act, "on": on, "body": body};
    let audits = shared.db.collection::<Document>(AUDITS);
    audits.update_one(doc! {"_id": id}, doc! {"$setOnInsert": document}).upsert(true).await.map(|_| ()).map_err(failed(KEEP))
}

/// Entries, newest first.
pub(super) async fn list(shared: &Shared, after: Option<&Cursor>, limit: usize) -> Result<Page<Audit>, PortError> {
    let filter = match after.map(|cursor| cursor.uuid(LIST)).transpose()? {
        Some(after) => doc! {"_id": {"$lt": after}},
        None => Document::new(),
    };
    let rows = shared.find(LIST, AUDITS, filter).sort(doc! {"_id": -1}).limit(limit.saturating_add(1)).all().await?;
    let read =
        |row: &RawDocumentBuf| -> Result<_, Box<dyn std::error::Error + Send + Sync>> { Ok(serde_json::from_str(row.get_str("body")?)?) };
    let entries = rows.iter().map(|row| read(row).map_err(|error| unreadable(LIST, "entry", error)));
    Ok(Page::of_audits(entries.collect::<Result<_, _>>()?, limit))
}
