//! What is being committed right now, as later decisions must already see it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::caches::Caches;
use super::letters::said_by;
use crate::domain::identity::TypedClaim;
use crate::domain::ids::{CanonicalId, NativeKey, UpdateId};
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::store::{Batch, Marker, RecordWrite, Versioned};

/// The results of a unit whose commit is under way. The next unit is decided on top of it and is committed only after
/// it; if it fails, that unit is decided again.
#[derive(Debug, Default)]
pub struct Overlay {
    /// Records as they will be.
    pub records: HashMap<CanonicalId, Versioned>,
    /// Native ids linked (`Some`) or linked no more (`None`).
    pub links: HashMap<NativeKey, Option<CanonicalId>>,
    /// Key values claimed (`Some`) or released (`None`).
    pub claims: HashMap<TypedClaim, Option<CanonicalId>>,
    /// Updates decided.
    pub markers: HashMap<UpdateId, Marker>,
    /// Updates that wait.
    pub waiting: HashMap<UpdateId, Waiting>,
    /// Updates that wait no more.
    pub awake: HashSet<UpdateId>,
    /// What dead letters say, by their ids.
    pub letters: HashMap<String, u128>,
    /// Records that go altogether.
    pub removed: HashSet<CanonicalId>,
    /// Records that were relied on without being written.
    checked: Vec<CanonicalId>,
}

impl Overlay {
    /// What a batch will have done.
    #[must_use]
    pub fn of(batch: &Batch) -> Self {
        let mut overlay = Self::default();
        for plan in &batch.plans {
            if let Some(write) = &plan.record {
                overlay.add_record(write);
            }
            for row in &plan.decisions {
                let marker = Marker { content_hash: row.content_hash, waiting: row.decision.decision.is_waiting(), of_letter: false };
                overlay.markers.insert(row.decision.update.clone(), marker);
            }
            overlay.checked.extend(plan.checks.iter().map(|(id, _)| *id));
            overlay.letters.extend(plan.dead_letters.iter().map(|letter| (letter.id.clone(), said_by(letter))));
            overlay.awake.extend(plan.awake.iter().cloned());
            overlay.waiting.extend(plan.waiting.iter().map(|waiting| (waiting.update.clone(), waiting.clone())));
        }
        overlay
    }

    fn add_record(&mut self, write: &RecordWrite) {
        let record = &write.record;
        let claim = |claim: &crate::domain::identity::Claim| TypedClaim { entity_type: record.entity_type.clone(), claim: claim.clone() };
        for released in &write.claims_released {
            self.claims.entry(claim(released)).or_insert(None);
        }
        self.claims.extend(write.claims_added.iter().map(|added| (claim(added), Some(record.id))));
        // It may have moved to another record of the same batch.
        for removed in &write.links_removed {
            self.links.entry(removed.clone()).or_insert(None);
        }
        self.links.extend(write.links_added.iter().map(|key| (key.clone(), Some(record.id))));
        if write.removes {
            self.removed.insert(record.id);
            return;
        }
        self.records.insert(record.id, Versioned { record: record.clone(), revision: revision_after(write) });
    }

    /// Waiting updates that matter for these native records, by their own record or by what they wait for.
    pub fn waiting_for_any<'a>(&'a self, keys: &'a HashSet<&NativeKey>) -> impl Iterator<Item = &'a Waiting> {
        self.waiting.values().filter(|waiting| {
            keys.contains(&waiting.key)
                || matches!(&waiting.waiting_for, WaitingFor::MissingReference { references, .. }
                    if references.iter().any(|missing| keys.contains(&missing.key)))
        })
    }

    /// Puts what is now committed into the caches, and what was only read for it.
    pub fn remember(&self, read: &[Versioned], caches: &Caches) {
        let written =
            |versioned: &&Versioned| self.records.contains_key(&versioned.record.id) || self.removed.contains(&versioned.record.id);
        for versioned in self.records.values().chain(read.iter().filter(|read| !written(read))) {
            caches.put_record(versioned.clone());
        }
        for id in &self.removed {
            caches.forget_record(*id);
        }
        for (key, id) in &self.links {
            match id {
                Some(id) => caches.put_id(key, *id),
                None => caches.forget_id(key),
            }
        }
    }

    /// Takes everything a failed commit was about out of the caches.
    pub fn forget(&self, caches: &Caches) {
        for id in self.records.keys().chain(&self.checked).chain(&self.removed) {
            caches.forget_record(*id);
        }
        for key in self.links.keys() {
            caches.forget_id(key);
        }
    }
}

/// The revision a record has once this write is committed.
#[must_use]
pub fn revision_after(write: &RecordWrite) -> u64 {
    write.expected.map_or(1, |expected| expected + 1)
}

/// Shared ownership of an overlay.
pub type SharedOverlay = Arc<Overlay>;
