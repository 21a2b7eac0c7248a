//! A small store in memory: the reference that the conformance suite and the model test hold others to.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::memory_outbox::Outbox;
use crate::domain::decision::{Decision, Keeping, Logging};
use crate::domain::identity::{Claim, TypedClaim};
use crate::domain::ids::{CanonicalId, EntityType, NativeKey, SystemName, UpdateId};
use crate::domain::planted::fault;
use crate::domain::time::Timestamp;
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::audit::Audit;
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::hold::{Hold, HoldRow};
use crate::ports::store::{
    Batch, Cursor, DeadLetter, DecisionFilter, DecisionWrite, Expired, Found, LetterEnd, Lookup, Marker, Owed, Page, PageBytes, Plan,
    Published, RecordWrite, SettledLetter, Store, SystemFacts, Versioned, words_of,
};
use crate::ports::task::{Task, TaskChange};

/// Keeps everything in memory. A clone is the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<CanonicalId, Versioned>,
    links: HashMap<NativeKey, CanonicalId>,
    claims: HashMap<TypedClaim, CanonicalId>,
    markers: HashMap<UpdateId, Marker>,
    /// Which row an update has.
    rows: HashMap<UpdateId, u64>,
    decisions: BTreeMap<u64, Decision>,
    /// Updates that were decided and have no row (any more), and when.
    decided: HashMap<UpdateId, Timestamp>,
    waiting: BTreeMap<(u64, UpdateId), Waiting>,
    /// Those of them for whom somebody has made way.
    freed: HashSet<UpdateId>,
    dead: BTreeMap<u64, DeadLetter>,
    outbox: Outbox,
    /// Creates that are not answered.
    creates: BTreeSet<(SystemName, EntityType, CanonicalId)>,
    facts: BTreeMap<SystemName, SystemFacts>,
    holds: BTreeMap<Hold, HoldRow>,
    /// By id.
    audits: BTreeMap<String, Audit>,
    counters: HashMap<String, u64>,
    /// How often the epoch was raised.
    raised: u64,
    /// Parent, type of the child, child.
    children: BTreeSet<(CanonicalId, EntityType, CanonicalId)>,
    tasks: BTreeSet<Task>,
    next: u64,
    /// What somebody else commits once the next look-up is answered.
    meanwhile: Option<Batch>,
}

/// What the plans of a batch would change, so that each is judged after the ones before it.
#[derive(Default)]
struct Staged {
    revisions: HashMap<CanonicalId, u64>,
    links: HashMap<NativeKey, Option<CanonicalId>>,
    claims: HashMap<TypedClaim, Option<CanonicalId>>,
    /// Whether the update waits; `None`: nothing is known of it any more.
    updates: HashMap<UpdateId, Option<bool>>,
    /// Dead letters that are dealt with.
    letters: HashSet<String>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has somebody else commit this once the next look-up is answered, and before anything more is asked.
    pub fn commits_meanwhile(&self, batch: Batch) {
        self.state().meanwhile = Some(batch);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn typed(write: &RecordWrite, claim: &Claim) -> TypedClaim {
    TypedClaim { entity_type: write.record.entity_type.clone(), claim: claim.clone() }
}

impl State {
    fn conflicts(&self, batch: &Batch) -> Vec<usize> {
        let mut staged = Staged::default();
        for write in batch.plans.iter().filter_map(|plan| plan.record.as_ref()) {
            self.stage_releases(&mut staged, write);
        }
        let stale: Vec<usize> = (0..batch.plans.len()).filter(|index| !self.stage_settled(&mut staged, &batch.plans[*index])).collect();
        let clashes = |(index, plan): (usize, &Plan)| (!self.stage(&mut staged, plan) || stale.contains(&index)).then_some(index);
        batch.plans.iter().enumerate().filter_map(clashes).collect()
    }

    /// False if a dead letter is not stored as it was read.
    fn stage_settled(&self, staged: &mut Staged, plan: &Plan) -> bool {
        let mut current = true;
        for SettledLetter { letter, end } in &plan.settled {
            let stored = self.dead.values().any(|kept| *kept == DeadLetter { marks: None, ..letter.clone() });
            current &= stored && staged.letters.insert(letter.id.clone());
            match end {
                LetterEnd::Requeued(Some(update)) if self.is_marked_only(update) => {
                    staged.updates.insert(update.clone(), None);
                }
                LetterEnd::Discarded(Some((update, _))) if !self.markers.contains_key(update) => {
                    staged.updates.insert(update.clone(), Some(false));
                }
                LetterEnd::Requeued(_) | LetterEnd::Discarded(_) => {}
            }
        }
        current
    }

    /// Whether an update left a marker and no row.
    fn is_marked_only(&self, update: &UpdateId) -> bool {
        self.markers.get(update).is_some_and(|marker| marker.of_letter)
    }

    fn stage_releases(&self, staged: &mut Staged, write: &RecordWrite) {
        let id = write.record.id;
        for key in write.links_removed.iter().filter(|key| self.links.get(*key) == Some(&id)) {
            staged.links.insert(key.clone(), None);
        }
        for claim in write.claims_released.iter().map(|claim| typed(write, claim)) {
            if self.claims.get(&claim) == Some(&id) && !fault("claim_not_released") {
                staged.claims.insert(claim, None);
            }
        }
    }

    /// Adds one plan to what is staged; false if it is in the way of what is there.
    fn stage(&self, staged: &mut Staged, plan: &Plan) -> bool {
        let record = plan.record.as_ref().is_none_or(|write| self.stage_record(staged, write));
        let mut updates = true;
        for row in &plan.decisions {
            updates &= self.stage_update(staged, &row.decision.update, row.replaces, row.decision.decision.is_waiting());
        }
        for (update, _) in plan.dead_letters.iter().filter_map(|letter| letter.marks.as_ref()) {
            updates &= self.stage_update(staged, update, plan.awake.contains(update), false);
        }
        let current = |(id, revision): &(CanonicalId, u64)| self.records.get(id).is_some_and(|record| record.revision == *revision);
        let checks = plan.checks.iter().all(current) || fault("version_check_skipped");
        record && updates && checks
    }

    fn stage_record(&self, staged: &mut Staged, write: &RecordWrite) -> bool {
        let id = write.record.id;
        let stored = staged.revisions.get(&id).copied().or_else(|| self.records.get(&id).map(|record| record.revision));
        let mut free = stored == write.expected || fault("version_check_skipped");
        staged.revisions.insert(id, stored.unwrap_or(0) + 1);
        for key in &write.links_added {
            let owner = staged.links.get(key).copied().unwrap_or_else(|| self.links.get(key).copied());
            free &= owner.is_none_or(|owner| owner == id);
            staged.links.insert(key.clone(), owner.or(Some(id)));
        }
        for claim in write.claims_added.iter().map(|claim| typed(write, claim)) {
            let owner = staged.claims.get(&claim).copied().unwrap_or_else(|| self.claims.get(&claim).copied());
            free &= owner.is_none_or(|owner| owner == id);
            staged.claims.insert(claim, owner.or(Some(id)));
        }
        free
    }

    fn stage_update(&self, staged: &mut Staged, update: &UpdateId, replaces: bool, waits: bool) -> bool {
        let waiting = self.waits(staged, update);
        staged.updates.insert(update.clone(), Some(waits));
        // A final row never changes; a row that is to replace needs a waiting one.
        (if replaces { waiting == Some(true) } else { waiting.is_none() }) || fault("duplicate_not_refused")
    }

    fn waits(&self, staged: &Staged, update: &UpdateId) -> Option<bool> {
        staged.updates.get(update).copied().unwrap_or_else(|| self.markers.get(update).map(|marker| marker.waiting))
    }

    fn apply(&mut self, batch: &Batch) {
        for write in batch.plans.iter().filter_map(|plan| plan.record.as_ref()) {
            self.release(write);
        }
        for settled in batch.plans.iter().flat_map(|plan| &plan.settled) {
            self.settle(settled);
        }
        for (plan, row) in batch.rows_in_order() {
            self.apply_row(&batch.plans[plan].decisions[row], batch.logging);
        }
        for plan in &batch.plans {
            self.apply_plan(plan);
        }
        self.free(batch);
        for facts in &batch.facts {
            let known = self.facts.entry(facts.system.clone()).or_insert_with(|| SystemFacts::new(facts.system.clone()));
            known.types.extend(facts.types.iter().cloned());
            known.receipts_seen |= facts.receipts_seen;
            known.base_seen |= facts.base_seen;
        }
    }

    fn release(&mut self, write: &RecordWrite) {
        let id = write.record.id;
        for key in &write.links_removed {
            if self.links.get(key) == Some(&id) {
                self.links.remove(key);
            }
        }
        for claim in write.claims_released.iter().map(|claim| typed(write, claim)) {
            if self.claims.get(&claim) == Some(&id) && !fault("claim_not_released") {
                self.claims.remove(&claim);
            }
        }
    }

    fn settle(&mut self, SettledLetter { letter, end }: &SettledLetter) {
        self.dead.retain(|_, kept| kept.id != letter.id);
        match end {
            LetterEnd::Requeued(Some(update)) if self.is_marked_only(update) => {
                self.markers.remove(update);
            }
            LetterEnd::Discarded(Some((update, content_hash))) => {
                self.markers.entry(update.clone()).or_insert(Marker { content_hash: *content_hash, waiting: false, of_letter: true });
            }
            LetterEnd::Requeued(_) | LetterEnd::Discarded(None) => {}
        }
    }

    fn apply_row(&mut self, row: &DecisionWrite, logging: Logging) {
        let update = row.decision.update.clone();
        if let Some(old) = self.rows.remove(&update) {
            self.decisions.remove(&old);
        }
        if logging.keeps(&row.decision) {
            self.next += 1;
            self.rows.insert(update.clone(), self.next);
            self.decisions.insert(self.next, row.decision.clone());
        } else {
            self.decided.insert(update.clone(), row.decision.timestamp);
        }
        let waiting = row.decision.decision.is_waiting();
        self.markers.insert(update, Marker { content_hash: row.content_hash, waiting, of_letter: false });
    }

    fn forget(&mut self, expired: &Expired) {
        let old = |row: &Decision| {
            let before = match row.keeping() {
                Keeping::Unchanged => expired.unchanged,
                Keeping::Echo => expired.echo,
                Keeping::Decided => expired.others,
                Keeping::Waiting => None,
            };
            before.is_some_and(|before| row.timestamp < before)
        };
        for row in self.decisions.extract_if(.., |_, row| old(row)).map(|(_, row)| row) {
            self.rows.remove(&row.update);
            self.decided.insert(row.update, row.timestamp);
        }
        let gone = |at: &Timestamp| expired.markers.is_some_and(|before| *at < before);
        for (update, _) in self.decided.extract_if(|_, at| gone(at)) {
            self.markers.remove(&update);
        }
    }

    fn apply_plan(&mut self, plan: &Plan) {
        if let Some(write) = &plan.record {
            let id = write.record.id;
            let revision = self.records.get(&id).map_or(0, |record| record.revision) + 1;
            if write.removes {
                self.records.remove(&id);
            } else {
                self.records.insert(id, Versioned { record: Arc::clone(&write.record), revision });
            }
            self.links.extend(write.links_added.iter().map(|key| (key.clone(), id)));
            self.claims.extend(write.claims_added.iter().map(|claim| (typed(write, claim), id)));
            for system in &write.creates_opened {
                self.creates.insert((system.clone(), write.record.entity_type.clone(), id));
            }
            for system in &write.creates_closed {
                self.creates.remove(&(system.clone(), write.record.entity_type.clone(), id));
            }
            for change in &write.outbox {
                self.outbox.change(id, change);
            }
            let entry = |parent: &CanonicalId| (*parent, write.record.entity_type.clone(), id);
            for parent in &write.referred_to {
                self.children.remove(&entry(parent));
            }
            self.children.extend(write.refers_to.iter().map(entry));
        }
        let gone: HashSet<&UpdateId> = plan.awake.iter().chain(plan.waiting.iter().map(|waiting| &waiting.update)).collect();
        if !gone.is_empty() {
            self.waiting.retain(|(_, update), _| !gone.contains(update));
            self.freed.retain(|update| !gone.contains(update));
        }
        self.waiting.extend(plan.waiting.iter().map(|waiting| ((waiting.arrival, waiting.update.clone()), waiting.clone())));
        for letter in &plan.dead_letters {
            self.bury(letter);
        }
        for change in &plan.tasks {
            match change {
                TaskChange::Begin(task) => self.tasks.insert(task.clone()),
                TaskChange::End(task) => self.tasks.remove(task),
            };
        }
    }

    fn bury(&mut self, letter: &DeadLetter) {
        if let Some((update, content_hash)) = &letter.marks {
            if let Some(row) = self.rows.remove(update) {
                self.decisions.remove(&row);
            }
            self.markers.insert(update.clone(), Marker { content_hash: *content_hash, waiting: false, of_letter: true });
        }
        let kept = self.dead.iter().find(|(_, kept)| kept.id == letter.id).map(|(n, _)| *n);
        let n = kept.unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        self.dead.insert(n, DeadLetter { marks: None, ..letter.clone() });
    }

    fn has_open_create(&self, (system, entity_type): &(SystemName, EntityType)) -> bool {
        self.creates.iter().any(|(of, kind, _)| of == system && kind == entity_type)
    }

    /// Once all waiting updates of a batch are kept.
    fn free(&mut self, batch: &Batch) {
        let making_way: HashSet<CanonicalId> = batch.making_way().collect();
        let freed = |waiting: &&Waiting| waiting.waiting_for.in_its_way().iter().any(|id| making_way.contains(id));
        self.freed.extend(self.waiting.values().filter(freed).map(|waiting| waiting.update.clone()));
    }

    fn is_ready(&self, waiting: &Waiting) -> bool {
        if self.freed.contains(&waiting.update) {
            return true;
        }
        let WaitingFor::MissingReference { references, behind } = &waiting.waiting_for else { return false };
        references.iter().all(|missing| self.links.contains_key(&missing.key))
            && behind.as_ref().is_none_or(|update| !self.waiting.keys().any(|(_, other)| other == update))
    }
}

fn waits_on(waiting: &Waiting, keys: &[NativeKey]) -> bool {
    match &waiting.waiting_for {
        WaitingFor::MissingReference { references, .. } => references.iter().any(|missing| keys.contains(&missing.key)),
        _ => false,
    }
}

fn admits(filter: &DecisionFilter, row: &Decision) -> bool {
    filter.record.is_none_or(|id| row.canonical_id == Some(id))
        && filter.system.as_ref().is_none_or(|system| row.source_system == *system)
        && filter.entity_type.as_ref().is_none_or(|entity_type| row.entity_type == *entity_type)
        && filter.decision.is_none_or(|kind| row.decision == kind)
        && filter.since.is_none_or(|since| row.timestamp >= since)
        && filter.until.is_none_or(|until| row.timestamp < until)
        && words_of(&row.reason).is_superset(&filter.words())
}

fn position(after: Option<&Cursor>, operation: &'static str) -> Result<Option<u64>, PortError> {
    let invalid = |_| PortError::new(PortErrorKind::Invalid, operation, "the cursor is not one of this list");
    after.map(|cursor| cursor.0.parse().map_err(invalid)).transpose()
}

/// One page of rows that are already in order.
fn page<'a, T: Clone + 'a>(rows: impl Iterator<Item = (&'a u64, &'a T)>, limit: usize) -> Page<T> {
    let mut rows = rows.peekable();
    let taken: Vec<_> = rows.by_ref().take(limit).collect();
    let next = rows.peek().and_then(|_| taken.last()).map(|(position, _)| Cursor(position.to_string()));
    Page { items: taken.into_iter().map(|(_, row)| row.clone()).collect(), next }
}

#[async_trait]
impl Store for MemoryStore {
    async fn look_up(&self, lookup: &Lookup) -> Result<Found, PortError> {
        let mut state = self.state();
        let asked = |waiting: &&Waiting| lookup.waiting_of.contains(&waiting.key) || waits_on(waiting, &lookup.waiting_on);
        let found = Found {
            markers: lookup
                .updates
                .iter()
                .chain(&lookup.fresh)
                .filter_map(|id| state.markers.get(id).map(|marker| (id.clone(), *marker)))
                .collect(),
            links: lookup.links.iter().filter_map(|key| state.links.get(key).map(|id| (key.clone(), *id))).collect(),
            claims: lookup.claims.iter().filter_map(|claim| state.claims.get(claim).map(|id| (claim.clone(), *id))).collect(),
            waiting: state.waiting.values().filter(asked).cloned().collect(),
            open_creates: lookup.open_creates.iter().filter(|asked| state.has_open_create(asked)).cloned().collect(),
        };
        if let Some(batch) = state.meanwhile.take() {
            state.apply(&batch);
        }
        Ok(found)
    }

    async fn records(&self, ids: &[CanonicalId]) -> Result<Vec<Versioned>, PortError> {
        let state = self.state();
        Ok(ids.iter().filter_map(|id| state.records.get(id).cloned()).collect())
    }

    async fn commit(&self, batch: &Batch) -> Result<(), PortError> {
        let mut state = self.state();
        let conflicts = state.conflicts(batch);
        if !conflicts.is_empty() {
            return Err(PortError::new(PortErrorKind::Conflict(conflicts), "commit", "others were faster"));
        }
        state.apply(batch);
        Ok(())
    }

    async fn children(
        &self,
        parents: &[CanonicalId],
        entity_type: &EntityType,
        after: Option<CanonicalId>,
        limit: usize,
    ) -> Result<Vec<CanonicalId>, PortError> {
        let state = self.state();
        let wanted = |(parent, of, child): &(CanonicalId, EntityType, CanonicalId)| {
            (parents.contains(parent) && of == entity_type && after.is_none_or(|after| *child > after)).then_some(*child)
        };
        let found: BTreeSet<CanonicalId> = state.children.iter().filter_map(wanted).collect();
        Ok(found.into_iter().take(limit).collect())
    }

    async fn deleted(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, CanonicalId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, CanonicalId)>, PortError> {
        let state = self.state();
        let at = |row: &Versioned| Some((row.record.tombstone.as_ref()?.at, row.record.id));
        let wanted = |found: &(Timestamp, CanonicalId)| found.0 < before && after.is_none_or(|after| *found > after);
        let found: BTreeSet<(Timestamp, CanonicalId)> = state.records.values().filter_map(at).filter(wanted).collect();
        Ok(found.into_iter().take(limit).collect())
    }

    async fn tasks(&self, limit: usize) -> Result<Vec<Task>, PortError> {
        Ok(self.state().tasks.iter().take(limit).cloned().collect())
    }

    async fn owed(&self, after: u64, limit: usize) -> Result<Vec<(u64, Owed)>, PortError> {
        Ok(self.state().outbox.after(after).take(limit).collect())
    }

    async fn owed_of(&self, pairs: &[(CanonicalId, SystemName)]) -> Result<Vec<Owed>, PortError> {
        let state = self.state();
        Ok(pairs.iter().filter_map(|pair| state.outbox.get(pair).cloned()).collect())
    }

    async fn published(&self, messages: &[Published]) -> Result<(), PortError> {
        let mut state = self.state();
        for message in messages {
            state.outbox.published(message);
        }
        Ok(())
    }

    async fn facts(&self) -> Result<Vec<SystemFacts>, PortError> {
        Ok(self.state().facts.values().cloned().collect())
    }

    async fn waiting_due(&self, now: Timestamp, limit: usize) -> Result<Vec<Waiting>, PortError> {
        let state = self.state();
        let due = |waiting: &&Waiting| waiting.retry_at.is_some_and(|at| at <= now) || state.is_ready(waiting);
        Ok(state.waiting.values().filter(due).take(limit).cloned().collect())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, PortError> {
        Ok(self.state().waiting.values().filter_map(|waiting| waiting.retry_at).min())
    }

    async fn forget(&self, expired: &Expired, _: usize) -> Result<bool, PortError> {
        self.state().forget(expired);
        Ok(false)
    }

    async fn rewrite(&self, rows: &[Decision]) -> Result<(), PortError> {
        let mut state = self.state();
        for row in rows {
            let Some(place) = state.rows.get(&row.update).copied() else { continue };
            state.decisions.insert(place, row.clone());
        }
        Ok(())
    }

    async fn decision(&self, update: &UpdateId) -> Result<Option<Decision>, PortError> {
        let state = self.state();
        Ok(state.rows.get(update).and_then(|row| state.decisions.get(row)).cloned())
    }

    async fn decisions(&self, filter: &DecisionFilter, after: Option<&Cursor>, limit: usize) -> Result<Page<Decision>, PortError> {
        let before = position(after, "list decisions")?.unwrap_or(u64::MAX);
        let state = self.state();
        Ok(page(state.decisions.range(..before).rev().filter(|(_, row)| admits(filter, row)), limit))
    }

    async fn list_records(
        &self,
        entity_type: Option<&EntityType>,
        after: Option<CanonicalId>,
        limit: usize,
    ) -> Result<Vec<Versioned>, PortError> {
        let state = self.state();
        let wanted = |row: &&Versioned| entity_type.is_none_or(|wanted| row.record.entity_type == *wanted);
        let rows = state.records.iter().filter(|(id, _)| after.is_none_or(|after| **id > after)).map(|(_, row)| row);
        Ok(rows.filter(wanted).take(limit).cloned().collect())
    }

    async fn count_records(&self) -> Result<u64, PortError> {
        Ok(self.state().records.len() as u64)
    }

    async fn list_waiting(&self, after: Option<u64>, limit: usize) -> Result<Vec<Waiting>, PortError> {
        let state = self.state();
        let later = |waiting: &&Waiting| after.is_none_or(|after| waiting.arrival > after);
        Ok(state.waiting.values().filter(later).take(limit).cloned().collect())
    }

    async fn dead_letters(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<DeadLetter>, PortError> {
        let after = position(after, "list dead letters")?.unwrap_or(0);
        let state = self.state();
        let rows = || state.dead.range(after.saturating_add(1)..);
        let mut bytes = PageBytes::default();
        let fit = rows().take_while(|(_, letter)| bytes.has_room(letter.bytes())).count();
        Ok(page(rows(), limit.min(fit)))
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, PortError> {
        Ok(self.state().dead.values().find(|letter| letter.id == id).cloned())
    }

    async fn count_up(&self, name: &str) -> Result<u64, PortError> {
        let mut state = self.state();
        let counter = state.counters.entry(name.to_owned()).or_default();
        *counter += 1;
        Ok(*counter)
    }

    async fn forget_counts(&self, names: &[String]) -> Result<(), PortError> {
        self.state().counters.retain(|name, _| !names.contains(name));
        Ok(())
    }

    async fn audit(&self, entry: &Audit) -> Result<(), PortError> {
        self.state().audits.entry(entry.id.clone()).or_insert_with(|| entry.clone());
        Ok(())
    }

    async fn audits(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<Audit>, PortError> {
        let after = after.map(|cursor| cursor.uuid("list what was done")).transpose()?;
        let state = self.state();
        let rows = state.audits.values().rev().filter(|entry| after.is_none_or(|after| entry.id.as_str() < after));
        Ok(Page::of_audits(rows.take(limit + 1).cloned().collect(), limit))
    }

    async fn holds(&self) -> Result<Vec<HoldRow>, PortError> {
        Ok(self.state().holds.values().cloned().collect())
    }

    async fn put_hold(&self, row: &HoldRow) -> Result<(), PortError> {
        self.state().holds.insert(row.hold.clone(), row.clone());
        Ok(())
    }

    async fn epoch(&self) -> Result<u64, PortError> {
        Ok(self.state().raised + 1)
    }

    async fn raise_epoch(&self) -> Result<u64, PortError> {
        self.state().raised += 1;
        self.epoch().await
    }
}
