//! What the engine remembers of committed state. Every entry may be stale: a commit's version check tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::domain::ids::{CanonicalId, NativeKey};
use crate::ports::store::Versioned;

/// Positive look-ups and whole records, bounded by bytes. A missing link is never cached.
///
/// An entry of its own in the cache takes ten times the bytes of a link, so links lie together in buckets by their
/// hash, and whole buckets are evicted.
#[derive(Debug)]
pub struct Caches {
    ids: Cache<u64, Bucket>,
    buckets: u64,
    records: Cache<CanonicalId, Versioned>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Links whose hashes fall together, oldest first.
type Bucket = Arc<[(u128, CanonicalId)]>;

/// What one entry of a cache takes besides its content, as measured.
const ENTRY_BYTES: usize = 320;
/// What one link takes.
const LINK_BYTES: usize = size_of::<(u128, CanonicalId)>();
/// Links in one bucket at most: the oldest makes room.
const BUCKET: usize = 32;

impl Caches {
    /// Caches of these sizes.
    #[must_use]
    pub fn new(id_bytes: u64, record_bytes: u64) -> Self {
        // What lies in many small pieces takes a little more than their sum.
        let weigh =
            |_: &CanonicalId, versioned: &Versioned| u32::try_from(versioned.record.weight() * 11 / 10 + ENTRY_BYTES).unwrap_or(u32::MAX);
        let weigh_bucket = |_: &u64, bucket: &Bucket| u32::try_from(bucket.len() * LINK_BYTES + ENTRY_BYTES).unwrap_or(u32::MAX);
        // As many buckets as fit if each is about a third full.
        let buckets = (id_bytes / (BUCKET / 3 * LINK_BYTES + ENTRY_BYTES) as u64).max(1);
        Self {
            ids: Cache::builder().max_capacity(id_bytes).weigher(weigh_bucket).build(),
            buckets,
            // What was committed last is sent next, and often changes next: it is never turned away, however seldom it was asked for.
            records: Cache::builder().max_capacity(record_bytes).weigher(weigh).eviction_policy(EvictionPolicy::lru()).build(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The record a native record was linked to when last seen.
    #[must_use]
    pub fn id(&self, key: &NativeKey) -> Option<CanonicalId> {
        let hash = hash(key);
        let bucket = self.ids.get(&self.place(hash));
        let found = bucket.and_then(|bucket| bucket.iter().find(|(known, _)| *known == hash).map(|(_, id)| *id));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Remembers a link. Keys are kept as 128-bit hashes; a hit is believed only if the record lists the link. Two who
    /// write to one bucket at once may lose an entry, or keep a stale one: both only cost another look.
    pub fn put_id(&self, key: &NativeKey, id: CanonicalId) {
        let hash = hash(key);
        let bucket = self.ids.get(&self.place(hash));
        let known = bucket.as_deref().unwrap_or_default();
        if known.contains(&(hash, id)) {
            return;
        }
        let kept = known.iter().filter(|(other, _)| *other != hash).skip((known.len() + 1).saturating_sub(BUCKET));
        self.ids.insert(self.place(hash), kept.copied().chain([(hash, id)]).collect());
    }

    /// Forgets a link.
    pub fn forget_id(&self, key: &NativeKey) {
        let hash = hash(key);
        if let Some(bucket) = self.ids.get(&self.place(hash)) {
            self.ids.insert(self.place(hash), bucket.iter().filter(|(other, _)| *other != hash).copied().collect());
        }
    }

    fn place(&self, hash: u128) -> u64 {
        (hash % u128::from(self.buckets)) as u64
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
