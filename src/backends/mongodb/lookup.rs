//! What a batch asks before it is decided, and what is stored under its keys where a commit met something: one query per
//! kind, all at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;

use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};

use super::codec::{self, number};
use super::commit::COMMIT;
use super::error::{failed, unreadable};
use super::keys;
use super::letters;
use super::schema::{CANONICAL, CLAIMS, CREATES, DEAD_LETTERS, DECISIONS, LINKS, WAITING};
use super::shared::Shared;
use super::staging::Stored;
use crate::domain::ids::{CanonicalId, EntityType, NativeKey, SystemName, UpdateId};
use crate::domain::waiting::Waiting;
use crate::ports::error::PortError;
use crate::ports::store::{Batch, DeadLetter, Found, LetterEnd, Lookup, Marker, Versioned, WAITING_ON_MAX};

const LOOK_UP: &str = "look up";
const LOAD: &str = "load records";

/// Answers everything a batch wants to know.
pub(super) async fn look_up(shared: &Shared, lookup: &Lookup) -> Result<Found, PortError> {
    let links: Vec<String> = lookup.links.iter().map(keys::native).collect();
    let claims: Vec<String> = lookup.claims.iter().map(keys::typed_claim).collect();
    let (markers, owners, claimants, waiting, open_creates) = tokio::try_join!(
        decided(shared, lookup),
        owners(shared, LOOK_UP, LINKS, &links),
        owners(shared, LOOK_UP, CLAIMS, &claims),
        waiting(shared, lookup),
        open_creates(shared, &lookup.open_creates),
    )?;
    let owned = |(key, text): (&NativeKey, &String)| owners.get(text).map(|id| (key.clone(), *id));
    Ok(Found {
        markers,
        links: lookup.links.iter().zip(&links).filter_map(owned).collect(),
        claims: lookup.claims.iter().zip(&claims).filter_map(|(claim, text)| Some((claim.clone(), *claimants.get(text)?))).collect(),
        waiting,
        open_creates,
    })
}

/// The marks of updates that were decided before.
async fn decided(shared: &Shared, lookup: &Lookup) -> Result<HashMap<UpdateId, Marker>, PortError> {
    let asks = shared.fresh.is_to_be_asked();
    let fresh = lookup.fresh.iter().filter(|_| asks);
    let found = markers(shared, LOOK_UP, lookup.updates.iter().chain(fresh)).await?;
    if asks {
        shared.fresh.asked(lookup.fresh.len(), lookup.fresh.iter().any(|update| found.contains_key(update)));
    }
    Ok(found)
}

/// What is stored under the keys of a batch.
pub(super) async fn stored(shared: &Shared, batch: &Batch) -> Result<Stored, PortError> {
    let writes = || batch.plans.iter().filter_map(|plan| plan.record.as_ref());
    let records: HashSet<CanonicalId> =
        writes().map(|write| write.record.id).chain(batch.plans.iter().flat_map(|plan| plan.checks.iter().map(|(id, _)| *id))).collect();
    let links: Vec<String> = writes().flat_map(|write| write.links_added.iter().chain(&write.links_removed).map(keys::native)).collect();
    let claims: Vec<String> = writes()
        .flat_map(|write| {
            let both = write.claims_added.iter().chain(&write.claims_released);
            both.map(|claim| keys::claim(&write.record.entity_type, claim))
        })
        .collect();
    let marked = batch.plans.iter().flat_map(|plan| plan.dead_letters.iter().filter_map(|letter| letter.marks.as_ref()));
    let decided = batch.plans.iter().flat_map(|plan| plan.decisions.iter().map(|row| &row.decision.update));
    let settled = || batch.plans.iter().flat_map(|plan| &plan.settled);
    let ends = || settled().map(|settled| &settled.end);
    let freed = ends().filter_map(|end| match end {
        LetterEnd::Requeued(update) => update.as_ref(),
        LetterEnd::Discarded(_) => None,
    });
    let kept = ends().filter_map(|end| match end {
        LetterEnd::Discarded(mark) => mark.as_ref().map(|(update, _)| update),
        LetterEnd::Requeued(_) => None,
    });
    let updates: HashSet<&UpdateId> = decided.chain(marked.map(|(update, _)| update)).chain(kept).collect();
    let (revisions, links, claims, markers, marks, letters) = tokio::try_join!(
        revisions(shared, records),
        owners(shared, COMMIT, LINKS, &links),
        owners(shared, COMMIT, CLAIMS, &claims),
        markers(shared, COMMIT, updates.into_iter()),
        marks(shared, freed.map(ToString::to_string).collect()),
        dead_letters(shared, settled().map(|settled| settled.letter.id.as_str()).collect()),
    )?;
    if !markers.is_empty() {
        // Whoever decides again is to be told.
        shared.fresh.met_one();
    }
    let markers = markers.into_iter().map(|(update, marker)| (update, marker.waiting)).collect();
    Ok(Stored { revisions, links, claims, markers, marks, letters })
}

/// Which of these updates left a mark and no row.
async fn marks(shared: &Shared, updates: Vec<String>) -> Result<HashSet<UpdateId>, PortError> {
    if updates.is_empty() {
        return Ok(HashSet::new());
    }
    let filter = doc! {"_id": {"$in": updates}, "decision": {"$exists": false}, "decided": {"$exists": false}};
    let found = shared.find(COMMIT, DECISIONS, filter).project(doc! {"content_hash": 1}).all().await?;
    found.iter().map(|row| codec::marker(COMMIT, row).map(|(update, _)| update)).collect()
}

async fn dead_letters(shared: &Shared, ids: Vec<&str>) -> Result<HashMap<String, DeadLetter>, PortError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found = shared.find_ids(COMMIT, DEAD_LETTERS, ids.into_iter().map(str::to_owned).collect()).all().await?;
    let mut read = HashMap::new();
    for row in &found {
        let letter = letters::Stored::read(COMMIT, row)?.whole(shared, COMMIT).await?;
        read.insert(letter.id.clone(), letter);
    }
    Ok(read)
}

async fn markers<'u>(
    shared: &Shared,
    operation: &'static str,
    updates: impl Iterator<Item = &'u UpdateId>,
) -> Result<HashMap<UpdateId, Marker>, PortError> {
    let ids: Vec<String> = updates.map(ToString::to_string).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let only = doc! {"content_hash": 1, "waiting": 1, "place": 1, "decided": 1};
    let found = shared.find_ids(operation, DECISIONS, ids).project(only).all().await?;
    for row in &found {
        let place = codec::integer(row, "place").or_else(|_| codec::integer(row, "decided"));
        shared.numbers.saw(place.unwrap_or(0));
    }
    found.iter().map(|row| codec::marker(operation, row)).collect()
}

async fn owners(
    shared: &Shared,
    operation: &'static str,
    collection: &'static str,
    keys: &[String],
) -> Result<HashMap<String, CanonicalId>, PortError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let found = shared.find_ids(operation, collection, keys.to_vec()).all().await?;
    let read = |row: &RawDocumentBuf| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
        Ok((row.get_str("_id")?.to_owned(), CanonicalId::parse(row.get_str("record")?)?))
    };
    found.iter().map(|row| read(row).map_err(|error| unreadable(operation, "link or claim", error))).collect()
}

async fn revisions(shared: &Shared, ids: HashSet<CanonicalId>) -> Result<HashMap<CanonicalId, u64>, PortError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let found = shared.find_ids(COMMIT, CANONICAL, ids).project(doc! {"revision": 1}).all().await?;
    let read = |row: &RawDocumentBuf| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
        Ok((CanonicalId::parse(row.get_str("_id")?)?, number(row, "revision")?))
    };
    found.iter().map(|row| read(row).map_err(|error| unreadable(COMMIT, "record", error))).collect()
}

async fn open_creates(shared: &Shared, asked: &[(SystemName, EntityType)]) -> Result<HashSet<(SystemName, EntityType)>, PortError> {
    if asked.is_empty() {
        return Ok(HashSet::new());
    }
    let names: Vec<String> = asked.iter().map(|(system, entity_type)| keys::open_create(system, entity_type)).collect();
    // Each only once, however many there are.
    let creates = shared.db.collection::<Document>(CREATES);
    let open = creates.distinct("of", doc! {"of": {"$in": &names}}).await.map_err(failed(LOOK_UP))?;
    let is_open = |name: &String| open.iter().filter_map(Bson::as_str).any(|open| open == name);
    Ok(asked.iter().zip(&names).filter(|(_, name)| is_open(name)).map(|(asked, _)| asked.clone()).collect())
}

async fn waiting(shared: &Shared, lookup: &Lookup) -> Result<Vec<Waiting>, PortError> {
    if lookup.waiting_of.is_empty() && lookup.waiting_on.is_empty() || nobody_waits(shared).await? {
        return Ok(Vec::new());
    }
    let texts = |keys: &[NativeKey]| -> Vec<String> { keys.iter().map(keys::native).collect() };
    let of = async {
        if lookup.waiting_of.is_empty() {
            return Ok(Vec::new());
        }
        shared.find(LOOK_UP, WAITING, doc! {"key": {"$in": texts(&lookup.waiting_of)}}).all().await
    };
    let on = async {
        if lookup.waiting_on.is_empty() {
            return Ok(Vec::new());
        }
        let filter = doc! {"refs": {"$in": texts(&lookup.waiting_on)}};
        shared.find(LOOK_UP, WAITING, filter).sort(doc! {"arrival": 1}).limit(WAITING_ON_MAX).all().await
    };
    let (of, on) = tokio::try_join!(of, on)?;
    let mut found = BTreeMap::new();
    for row in of.iter().chain(&on) {
        let waiting = codec::read_waiting(LOOK_UP, row)?;
        found.insert((waiting.arrival, waiting.update.clone()), waiting);
    }
    Ok(found.into_values().collect())
}

/// Whether nothing waits at all, as mostly. Once something has, it is not asked any more.
pub(super) async fn nobody_waits(shared: &Shared) -> Result<bool, PortError> {
    if shared.waits.load(Ordering::Relaxed) {
        return Ok(false);
    }
    let any = shared.find(LOOK_UP, WAITING, Document::new()).limit(1).project(doc! {"_id": 1}).all().await?;
    if !any.is_empty() {
        shared.waits.store(true, Ordering::Relaxed);
    }
    Ok(any.is_empty())
}

/// Loads records by id, in the order asked for.
pub(super) async fn records(shared: &Shared, ids: &[CanonicalId]) -> Result<Vec<Versioned>, PortError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let reading = shared.writers.reading();
    let mut found = HashMap::new();
    for row in shared.find_ids(LOAD, CANONICAL, texts).all().await? {
        let versioned = versioned(shared, LOAD, &row)?;
        found.insert(versioned.record.id, versioned);
    }
    shared.writers.read(reading, found.values().map(|versioned| (versioned.record.id, versioned.revision)));
    Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
}

/// Reads a record; what is decided by it from now on comes after what was.
pub(super) fn versioned(shared: &Shared, operation: &'static str, row: &RawDocument) -> Result<Versioned, PortError> {
    shared.numbers.saw(codec::integer(row, "stamp").unwrap_or(0));
    codec::versioned(operation, row)
}
