//! Links and keys lead to their record; what a record names is there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Check, Declared, PAGE, Seen};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::identity::{Claim, TypedClaim};
use crate::domain::ids::{CanonicalId, NativeId, NativeKey};
use crate::domain::orphans::refers_to;
use crate::domain::rules::Duplicates;
use crate::ports::error::PortError;
use crate::ports::store::{Found, Lookup, Versioned};

impl Check<'_> {
    pub(super) async fn records(&mut self) -> Result<(), PortError> {
        let mut after = None;
        loop {
            let page = self.store.list_records(None, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.record.id);
            let mut lookup = Lookup::default();
            for versioned in &page {
                lookup.links.extend(links(&versioned.record));
                lookup.claims.extend(claims(&versioned.record));
                lookup.claims.extend(self.own_claims(&versioned.record).iter().map(|claim| typed(&versioned.record, claim)));
            }
            let found = self.store.look_up(&lookup).await?;
            let named: HashSet<CanonicalId> = page.iter().flat_map(|versioned| self.named(&versioned.record)).collect();
            let known = self.store.records(&named.into_iter().collect::<Vec<_>>()).await?;
            let known: HashMap<_, _> = known.into_iter().map(|versioned| (versioned.record.id, versioned.record)).collect();
            for Versioned { record, .. } in &page {
                self.record(record, &found);
                self.neighbours(record, &known);
                self.sends(record);
                self.held(record);
                self.child(record).await?;
            }
        }
    }

    /// The key values that have to be a record's own. One in a change that waits may be just what it waits for.
    fn own_claims(&self, record: &CanonicalRecord) -> BTreeSet<Claim> {
        let Some(types) = self.declared.map(|declared| declared.rules.of_type(&record.entity_type)) else { return BTreeSet::new() };
        match types.duplicates {
            Duplicates::Park if record.merged_into.is_none() => record.claims_decided(&types.keys),
            // What became part of another record has left them to it; and what its system has twice may be another record, too.
            Duplicates::Park | Duplicates::Separate => BTreeSet::new(),
        }
    }

    /// The records one names.
    fn named(&self, record: &CanonicalRecord) -> BTreeSet<CanonicalId> {
        let refers = self.declared.map(|declared| refers_to(record, &declared.rules.of_type(&record.entity_type)));
        record.merged_into.into_iter().chain(record.absorbed.iter().copied()).chain(refers.into_iter().flatten()).collect()
    }

    /// A record that became part of another one leads there in one step; what it refers to is there.
    fn neighbours(&mut self, record: &CanonicalRecord, known: &HashMap<CanonicalId, Arc<CanonicalRecord>>) {
        let name = format!("{} {}", record.entity_type, record.id);
        if let Some(into) = record.merged_into {
            let broken = match known.get(&into) {
                None => Some("which is not there"),
                Some(winner) if winner.merged_into.is_some() => Some("which became part of another one itself"),
                Some(winner) if !winner.absorbed.contains(&record.id) => Some("which does not know of it"),
                Some(_) => None,
            };
            self.found.broken.extend(broken.map(|why| format!("{name}: it became part of {into}, {why}")));
        }
        for id in &record.absorbed {
            if known.get(id).is_none_or(|part| part.merged_into != Some(record.id)) {
                self.found.broken.push(format!("{name}: {id} became part of it and does not lead to it"));
            }
        }
        let named = self.named(record);
        let refers = named.iter().filter(|id| record.merged_into != Some(**id) && !record.absorbed.contains(id));
        let missing: Vec<String> =
            refers.filter(|id| !known.contains_key(id)).map(|id| format!("{name}: it refers to {id}, which is not there")).collect();
        self.found.broken.extend(missing);
    }

    /// Whoever deletes what a record refers to finds it.
    async fn child(&mut self, record: &CanonicalRecord) -> Result<(), PortError> {
        let Some(Declared { rules, .. }) = self.declared else { return Ok(()) };
        let before = CanonicalId(uuid::Uuid::from_u128(record.id.0.as_u128().saturating_sub(1)));
        for parent in refers_to(record, &rules.of_type(&record.entity_type)) {
            let found = self.store.children(&[parent], &record.entity_type, Some(before), 1).await?;
            if found.first() != Some(&record.id) {
                self.found.broken.push(format!("{} {}: it is not found by {parent}, to which it refers", record.entity_type, record.id));
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &CanonicalRecord, found: &Found) {
        self.found.records += 1;
        self.versions.insert(record.id, Seen { version: record.version, compared: false, created_at: record.created_at });
        let name = format!("{} {}", record.entity_type, record.id);
        for key in links(record).filter(|key| found.links.get(key) != Some(&record.id)) {
            self.found.broken.push(format!("{name}: {key} does not lead to it"));
        }
        for claim in claims(record).filter(|claim| found.claims.get(claim) != Some(&record.id)) {
            self.found.broken.push(format!("{name}: the key {} does not lead to it", claim.claim));
        }
        let Some(Declared { rules, .. }) = self.declared else { return };
        let due = record.claims_due(&rules.of_type(&record.entity_type).keys);
        // What a person took out of another record has its keys as long as that does not.
        let elsewhere = |claim: &Claim| !record.apart.is_empty() && found.claims.contains_key(&typed(record, claim));
        for claim in self.own_claims(record).difference(&record.claims).filter(|claim| !elsewhere(claim)) {
            self.found.broken.push(format!("{name}: it does not own its key {claim}"));
        }
        for claim in record.claims.difference(&due) {
            self.found.broken.push(format!("{name}: it owns the key {claim}, which neither it nor any system holds"));
        }
    }
}

fn links(record: &CanonicalRecord) -> impl Iterator<Item = NativeKey> {
    record.links.iter().flat_map(|link| {
        let key = |native_id: &NativeId| NativeKey {
            system: link.system.clone(),
            entity_type: record.entity_type.clone(),
            native_id: native_id.clone(),
        };
        link.native_id.iter().chain(&link.aliases).map(key)
    })
}

fn claims(record: &CanonicalRecord) -> impl Iterator<Item = TypedClaim> {
    record.claims.iter().map(|claim| typed(record, claim))
}

fn typed(record: &CanonicalRecord, claim: &Claim) -> TypedClaim {
    TypedClaim { entity_type: record.entity_type.clone(), claim: claim.clone() }
}
