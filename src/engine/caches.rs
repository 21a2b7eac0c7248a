//! What the engine remembers of committed state. Every entry may be stale: a commit's version check tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;

use crate::domain::ids::{CanonicalId, NativeKey};
use crate::ports::store::Versioned;

/// Positive look-ups and whole records, bounded by bytes. A missing link is never cached.
#[derive(Debug)]
pub struct Caches {
    ids: Cache<u128, CanonicalId>,
    records: Cache<CanonicalId, Versioned>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What one entry of the id cache takes, all told.
const ID_ENTRY_BYTES: u64 = 160;

impl Caches {
    /// Caches of these sizes.
    #[must_use]
    pub fn new(id_bytes: u64, record_bytes: u64) -> Self {
        let weigh = |_: &CanonicalId, versioned: &Versioned| u32::try_from(versioned.record.weight() + 160).unwrap_or(u32::MAX);
        Self {
            ids: Cache::new(id_bytes / ID_ENTRY_BYTES),
            records: Cache::builder().max_capacity(record_bytes).weigher(weigh).build(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The record a native record was linked to when last seen.
    #[must_use]
    pub fn id(&self, key: &NativeKey) -> Option<CanonicalId> {
        let found = self.ids.get(&hash(key));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Remembers a link. Keys are kept as 128-bit hashes; a hit is believed only if the record lists the link.
    pub fn put_id(&self, key: &NativeKey, id: CanonicalId) {
        self.ids.insert(hash(key), id);
    }

    /// Forgets a link.
    pub fn forget_id(&self, key: &NativeKey) {
        self.ids.invalidate(&hash(key));
    }

    /// A record as it was when last seen.
    #[must_use]
    pub fn record(&self, id: CanonicalId) -> Option<Versioned> {
        self.records.get(&id)
    }

    /// Remembers a record.
    pub fn put_record(&self, versioned: Versioned) {
        self.records.insert(versioned.record.id, versioned);
    }

    /// Forgets a record.
    pub fn forget_record(&self, id: CanonicalId) {
        self.records.invalidate(&id);
    }

    /// Look-ups of ids that were answered from memory, and those that were not.
    #[must_use]
    pub fn id_hits_and_misses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}

fn hash(key: &NativeKey) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for part in [key.system.as_str(), key.entity_type.as_str(), key.native_id.as_str()] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.digest128()
}

/// Shared ownership of the caches.
pub type SharedCaches = Arc<Caches>;
