//! Who refers to whom, and work that is still to be done.

use mongodb::bson::{Document, RawDocumentBuf, doc};

use super::codec::date;
use super::commit::COMMIT;
use super::error::unreadable;
use super::schema::{CANONICAL, TASKS};
use super::shared::Shared;
use super::writes::{Transaction, Trouble, Update};
use crate::domain::ids::{CanonicalId, EntityType};
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::store::Batch;
use crate::ports::task::{Task, TaskChange};

pub(super) const CHILDREN: &str = "look for children";
pub(super) const DELETED: &str = "look for deleted records";
pub(super) const READ: &str = "read tasks";

/// Begins and ends the tasks of a batch.
pub(super) async fn change(tx: &mut Transaction<'_>, batch: &Batch) -> Result<(), Trouble> {
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    for change in batch.plans.iter().flat_map(|plan| &plan.tasks) {
        match change {
            TaskChange::Begin(task) => {
                let body = serde_json::to_string(task).map_err(|error| Trouble::Fatal(unreadable(COMMIT, "task", error)))?;
                let id = task.to_string();
                begun.push(Update::put(doc! {"_id": &id}, doc! {"_id": &id, "body": body}));
            }
            TaskChange::End(task) => ended.push(task.to_string()),
        }
    }
    tx.update(TASKS, begun).await?;
    if ended.is_empty() {
        return Ok(());
    }
    tx.delete(TASKS, vec![doc! {"_id": {"$in": ended}}]).await.map(|_| ())
}

/// The records of a type that refer to one of these, by id.
pub(super) async fn children(
    shared: &Shared,
    parents: &[CanonicalId],
    entity_type: &EntityType,
    after: Option<CanonicalId>,
    limit: usize,
) -> Result<Vec<CanonicalId>, PortError> {
    let parents: Vec<String> = parents.iter().map(ToString::to_string).collect();
    let mut filter = doc! {"refers_to": {"$in": parents}, "type": entity_type.as_str()};
    if let Some(after) = after {
        filter.insert("_id", doc! {"$gt": after.to_string()});
    }
    let rows = shared.find(CHILDREN, CANONICAL, filter).sort(doc! {"_id": 1}).limit(limit).project(doc! {"_id": 1}).all().await?;
    let read =
        |row: &RawDocumentBuf| -> Result<_, Box<dyn std::error::Error + Send + Sync>> { Ok(CanonicalId::parse(row.get_str("_id")?)?) };
    rows.iter().map(|row| read(row).map_err(|error| unreadable(CHILDREN, "record", error))).collect()
}

/// Records deleted before a time, the oldest delete first.
pub(super) async fn deleted(
    shared: &Shared,
    before: Timestamp,
    after: Option<(Timestamp, CanonicalId)>,
    limit: usize,
) -> Result<Vec<(Timestamp, CanonicalId)>, PortError> {
    let mut filter = doc! {"deleted_at": {"$lt": date(before)}};
    if let Some((at, id)) = after {
        let same = doc! {"deleted_at": date(at), "_id": {"$gt": id.to_string()}};
        filter.insert("$or", vec![doc! {"deleted_at": {"$gt": date(at)}}, same]);
    }
    let found = shared.find(DELETED, CANONICAL, filter).sort(doc! {"deleted_at": 1, "_id": 1}).limit(limit);
    let rows = found.project(doc! {"deleted_at": 1}).all().await?;
    let read = |row: &RawDocumentBuf| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
        let at = row.get_datetime("deleted_at")?.timestamp_millis();
        Ok((Timestamp::from_micros(at.saturating_mul(1000)), CanonicalId::parse(row.get_str("_id")?)?))
    };
    rows.iter().map(|row| read(row).map_err(|error| unreadable(DELETED, "record", error))).collect()
}

/// Work that is still to be done.
pub(super) async fn tasks(shared: &Shared, limit: usize) -> Result<Vec<Task>, PortError> {
    let rows = shared.find(READ, TASKS, Document::new()).sort(doc! {"_id": 1}).limit(limit).all().await?;
    let read =
        |row: &RawDocumentBuf| -> Result<_, Box<dyn std::error::Error + Send + Sync>> { Ok(serde_json::from_str(row.get_str("body")?)?) };
    rows.iter().map(|row| read(row).map_err(|error| unreadable(READ, "task", error))).collect()
}
