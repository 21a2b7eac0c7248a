//! The one merged record.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::delete::Tombstone;
use super::identity::{Claim, KeyRule, claims_of};
use super::ids::{CanonicalId, EntityType, NativeId, NativeKey, SystemName};
use super::link::{Link, LinkState};
use super::merge::Undo;
use super::planted;
use super::provenance::Provenance;
use super::shadow::forget_stored;
use super::time::Timestamp;
use super::value::{FieldPath, Leaves, same_held};

/// The one merged record with everything the decision about an update needs: its links, what each system holds, and
/// who gave each field its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CanonicalRecord {
    /// Its id.
    pub id: CanonicalId,
    /// Its type.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// Grows by one whenever `data` changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When `data` last changed.
    pub updated_at: Timestamp,
    /// Its fields; references are canonical ids.
    pub data: Leaves,
    /// Who gave each field its value.
    pub provenance: Provenance,
    /// The systems that have it, or are about to.
    pub links: Vec<Link>,
    /// The key values it owns.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub claims: BTreeSet<Claim>,
    /// How it was deleted, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tombstone: Option<Box<Tombstone>>,
    /// The record it became part of, if it did: that one is meant wherever this one is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<CanonicalId>,
    /// The records that became part of it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub absorbed: BTreeSet<CanonicalId>,
    /// What it brought into the record it became part of, so that a split can take it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Box<Undo>>,
    /// Records a person has said are other things, although they share key values.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub apart: BTreeSet<CanonicalId>,
    /// The last `rev` of links that are gone from here: what is sent to those systems later comes after it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revs: BTreeMap<SystemName, u64>,
}

impl CanonicalRecord {
    /// A record nobody has said anything about yet.
    #[must_use]
    pub fn new(id: CanonicalId, entity_type: EntityType, now: Timestamp) -> Self {
        Self {
            id,
            entity_type,
            version: 0,
            created_at: now,
            updated_at: now,
            data: Leaves::new(),
            provenance: Provenance::default(),
            links: Vec::new(),
            claims: BTreeSet::new(),
            tombstone: None,
            merged_into: None,
            absorbed: BTreeSet::new(),
            undo: None,
            apart: BTreeSet::new(),
            revs: BTreeMap::new(),
        }
    }

    /// Names this very state of its data: whoever decides about it can say which one they looked at.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("v{}", self.version)
    }

    /// Whether it stands for a thing: it is not deleted, nor part of another record.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.tombstone.is_none() && self.merged_into.is_none()
    }

    /// Whether a person has said of the two, or of what became part of them, that they are different things.
    #[must_use]
    pub fn is_kept_apart_from(&self, other: &Self) -> bool {
        let names = |one: &Self, other: &Self| one.apart.contains(&other.id) || !one.apart.is_disjoint(&other.absorbed);
        names(self, other) || names(other, self)
    }

    /// Every native id that leads to it, or did.
    pub fn native_keys(&self) -> impl Iterator<Item = NativeKey> {
        self.links.iter().flat_map(|link| {
            let ids = link.native_id.iter().chain(&link.aliases);
            ids.map(|id| NativeKey { system: link.system.clone(), entity_type: self.entity_type.clone(), native_id: id.clone() })
        })
    }

    /// Where the link with this native id is.
    #[must_use]
    pub fn link_of(&self, system: &SystemName, native_id: &NativeId) -> Option<usize> {
        let named = |link: &Link| link.native_id.as_ref() == Some(native_id) || link.aliases.contains(native_id);
        self.links.iter().position(|link| link.system == *system && named(link))
    }

    /// Where this system's live or reserved link is.
    #[must_use]
    pub fn link_with(&self, system: &SystemName) -> Option<usize> {
        self.links.iter().position(|link| link.system == *system && link.state != LinkState::Detached)
    }

    /// Whether it lets go of what another record may have then, as it is now and as it `was`: a key value, or a native record, which
    /// a system may have no more or may have for something else (`unlinks`). What is left of an erased one is for nobody to take up
    /// by itself.
    #[must_use]
    pub fn makes_way(&self, was: &Self, unlinks: bool) -> bool {
        let has = |link: &Link| {
            let id = link.native_id.as_ref().and_then(|id| self.link_of(&link.system, id));
            id.is_some_and(|index| self.links[index].state == LinkState::Linked)
        };
        let parted = |link: &Link| link.state == LinkState::Linked && !has(link);
        let erased = self.tombstone.as_ref().is_some_and(|tombstone| tombstone.erased);
        let heeded = !planted::fault("nobody_makes_way");
        heeded && !erased && (unlinks || !was.claims.is_subset(&self.claims) || was.links.iter().any(parted))
    }

    /// The id under which a system has this record.
    #[must_use]
    pub fn native_id(&self, system: &SystemName) -> Option<&NativeId> {
        self.links.iter().find(|link| link.system == *system && link.state == LinkState::Linked)?.native_id.as_ref()
    }

    /// The id under which a system has this record by now, where it had let go of the one that is asked about.
    #[must_use]
    pub fn known_instead(&self, key: &NativeKey) -> Option<&NativeId> {
        let former = &self.links[self.link_of(&key.system, &key.native_id)?];
        if former.state == LinkState::Detached { self.native_id(&key.system) } else { None }
    }

    /// Moves to new data: every state stored as divergence is said against it.
    pub fn replace_data(&mut self, data: Leaves, changed: &[FieldPath]) {
        let old = std::mem::replace(&mut self.data, data);
        for link in &mut self.links {
            let shadow = &mut link.shadow;
            shadow.held.rebase(&old, &self.data, changed);
            let data = &self.data;
            shadow.disputed.retain(|path, said| !same_held(data.get(path), Some(said)));
            for sent in shadow.messages_mut() {
                sent.rebase(&old, &self.data, changed);
            }
            forget_stored(shadow, data, changed);
        }
    }

    /// The last `rev` used up by links of a system, those that are gone included: what a new one is sent comes after that.
    #[must_use]
    pub fn used_rev(&self, system: &SystemName) -> u64 {
        let links = self.links.iter().filter(|link| link.system == *system).map(|link| link.rev);
        links.chain(self.revs.get(system).copied()).max().unwrap_or(0)
    }

    /// The claims that follow from the canonical data and from what each link holds.
    #[must_use]
    pub fn claims_due(&self, keys: &[KeyRule]) -> BTreeSet<Claim> {
        // What is deleted owns nothing: a new record with its key is a new thing.
        let deleted = self.tombstone.is_some() && !planted::fault("deleted_keys_kept");
        if keys.is_empty() || deleted {
            return BTreeSet::new();
        }
        let mut claims = claims_of(keys, |path| self.data.get(path));
        for link in self.links.iter().filter(|link| link.state == LinkState::Linked) {
            claims.extend(claims_of(keys, |path| link.shadow.identifies(&self.data, path)));
        }
        claims
    }

    /// Those of [`claims_due`](Self::claims_due) that follow from more than changes which wait for a decision. Whether it
    /// can have the others may be just what they wait for.
    #[must_use]
    pub fn claims_decided(&self, keys: &[KeyRule]) -> BTreeSet<Claim> {
        if self.tombstone.is_some() {
            return BTreeSet::new();
        }
        let mut claims = claims_of(keys, |path| self.data.get(path));
        for link in self.links.iter().filter(|link| link.state == LinkState::Linked) {
            let held = |path: &FieldPath| link.shadow.identifies(&self.data, path).filter(|_| !link.is_waiting(path));
            claims.extend(claims_of(keys, held));
        }
        claims
    }

    /// Gives back the memory that is kept for more links, sends and differences: it is about to be remembered as it is.
    pub fn compact(&mut self) {
        self.provenance.compact();
        self.links.shrink_to_fit();
        self.links.iter_mut().for_each(Link::compact);
    }

    /// A rough count of the bytes it keeps in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        // A set takes a whole node, however little is in it.
        let claims = if self.claims.is_empty() { 0 } else { 450 + self.claims.len() * 50 };
        size_of::<Self>() + self.data.weight() + self.provenance.weight() + self.links.iter().map(Link::weight).sum::<usize>() + claims
    }
}
