//! What a batch comes to, before anything is written: every key once, with what must be stored for it to hold.
//!
//! The plans of a batch are judged one after the other, each on top of the ones before it. At first without a look at what
//! is stored: it is taken to be what the batch expects, and the writes themselves find out if it is not. Only then, or
//! where two plans touch the same key, the batch is judged against what was read.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::keys;
use super::writers::Revisions;
use crate::domain::ids::{CanonicalId, UpdateId};
use crate::domain::waiting::Waiting;
use crate::ports::store::{Batch, DeadLetter, DecisionWrite, LetterEnd, Plan, RecordWrite, SettledLetter};

/// What is stored under the keys of a batch.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub revisions: HashMap<CanonicalId, u64>,
    pub links: HashMap<String, CanonicalId>,
    pub claims: HashMap<String, CanonicalId>,
    /// Whether the update waits.
    pub markers: HashMap<UpdateId, bool>,
    /// Those of them that are only marks, left by dead letters: asked for where one is requeued.
    pub marks: HashSet<UpdateId>,
    /// Dead letters that are to go.
    pub letters: HashMap<String, DeadLetter>,
}

/// What must be known of an update for its row to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    Waits,
}

/// What an update leaves behind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'b> {
    /// Its decision.
    Decided(&'b DecisionWrite),
    /// Its decision, of which no row is kept.
    Unlogged(&'b DecisionWrite),
    /// The hash of its content: it became a dead letter.
    Marked(u64),
}

/// A record to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'b> {
    pub write: &'b RecordWrite,
    /// The revision that must be stored; `None`: none.
    pub before: Option<u64>,
    pub revision: u64,
}

/// A kind of keys: links or claims.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Keys to take away from records, where they have them.
    pub released: BTreeMap<CanonicalId, Vec<String>>,
    /// Keys to give to records.
    pub added: BTreeMap<String, CanonicalId>,
    /// Who has a key after the plans judged so far.
    now: HashMap<String, Option<CanonicalId>>,
}

/// What a batch comes to.
#[derive(Debug, Default)]
pub(super) struct Staged<'b> {
    pub records: BTreeMap<CanonicalId, Written<'b>>,
    /// Records that are not written and must be stored with these revisions.
    pub checks: BTreeMap<CanonicalId, u64>,
    pub links: Owners,
    pub claims: Owners,
    /// Every update with what it leaves; rows in the order in which they are to be listed.
    pub rows: Vec<(UpdateId, Before, Row<'b>)>,
    /// Waiting updates to keep (`Some`) or to take away.
    pub waiting: BTreeMap<UpdateId, Option<&'b Waiting>>,
    /// Records that make way.
    pub making_way: Vec<String>,
    /// Creates to open or close: (system and type, record) to whether it is open.
    pub creates: BTreeMap<(String, CanonicalId), bool>,
    pub dead_letters: Vec<&'b DeadLetter>,
    /// Dead letters that go.
    pub settled: Vec<&'b SettledLetter>,
    /// Updates whose mark goes with its dead letter, and those that get one.
    freed: HashSet<UpdateId>,
    marked: HashSet<UpdateId>,
    updates: HashMap<UpdateId, (Before, bool)>,
}

/// Judges a batch, against what is stored if that is known. Fails with the plans in the way; if nothing is known of what is
/// stored, these are only reason to look.
pub(super) fn stage<'b>(batch: &'b Batch, stored: Option<&Stored>) -> Result<Staged<'b>, Vec<usize>> {
    let mut staged = Staged::default();
    for write in batch.plans.iter().filter_map(|plan| plan.record.as_ref()) {
        staged.release(stored, write);
    }
    let stale: Vec<usize> = (0..batch.plans.len()).filter(|index| !staged.settle(stored, &batch.plans[*index])).collect();
    let in_the_way = |(index, plan)| (!staged.add(stored, plan) || stale.contains(&index)).then_some(index);
    let conflicts: Vec<usize> = batch.plans.iter().enumerate().filter_map(in_the_way).collect();
    if !conflicts.is_empty() || !staged.check(stored.is_some()) {
        return Err(conflicts);
    }
    for plan in &batch.plans {
        staged.waiting.extend(plan.awake.iter().map(|update| (update.clone(), None)));
        staged.waiting.extend(plan.waiting.iter().map(|waiting| (waiting.update.clone(), Some(waiting))));
        staged.dead_letters.extend(&plan.dead_letters);
    }
    staged.making_way.extend(batch.making_way().map(|id| id.to_string()));
    staged.list_rows(batch);
    if let Some(stored) = stored {
        staged.links.keep_new(&stored.links);
        staged.claims.keep_new(&stored.claims);
    }
    Ok(staged)
}

impl Owners {
    fn release(&mut self, stored: Option<&HashMap<String, CanonicalId>>, key: String, owner: CanonicalId) {
        // Only the owner can let go.
        if stored.is_none_or(|stored| stored.get(&key) == Some(&owner)) {
            self.now.insert(key.clone(), None);
            self.released.entry(owner).or_default().push(key);
        }
    }

    /// Gives a key to a record; false if another one has it.
    fn add(&mut self, stored: Option<&HashMap<String, CanonicalId>>, key: String, owner: CanonicalId) -> bool {
        let has = self.now.get(&key).copied().unwrap_or_else(|| stored.and_then(|stored| stored.get(&key).copied()));
        self.now.insert(key.clone(), has.or(Some(owner)));
        self.added.insert(key, has.unwrap_or(owner));
        has.is_none_or(|has| has == owner)
    }

    /// Leaves out what a record has already.
    fn keep_new(&mut self, stored: &HashMap<String, CanonicalId>) {
        let released: HashSet<&String> = self.released.values().flatten().collect();
        self.added.retain(|key, _| !stored.contains_key(key) || released.contains(key));
    }

    /// Every key that is given or taken.
    pub fn changed(&self) -> impl Iterator<Item = &String> {
        self.released.values().flatten().chain(self.added.keys())
    }
}

impl<'b> Staged<'b> {
    fn release(&mut self, stored: Option<&Stored>, write: &RecordWrite) {
        let id = write.record.id;
        for key in &write.links_removed {
            self.links.release(stored.map(|stored| &stored.links), keys::native(key), id);
        }
        for claim in &write.claims_released {
            self.claims.release(stored.map(|stored| &stored.claims), keys::claim(&write.record.entity_type, claim), id);
        }
    }

    /// Notes the dead letters that go with a plan; false if one is not stored as it was read.
    fn settle(&mut self, stored: Option<&Stored>, plan: &'b Plan) -> bool {
        let mut current = true;
        for settled in &plan.settled {
            let letter = &settled.letter;
            current &= self.settled.iter().all(|other| other.letter.id != letter.id);
            current &= stored.is_none_or(|stored| stored.letters.get(&letter.id) == Some(&DeadLetter { marks: None, ..letter.clone() }));
            match &settled.end {
                LetterEnd::Requeued(Some(update)) => {
                    self.freed.insert(update.clone());
                }
                LetterEnd::Discarded(Some((update, _))) => {
                    self.marked.insert(update.clone());
                }
                LetterEnd::Requeued(None) | LetterEnd::Discarded(None) => {}
            }
            self.settled.push(settled);
        }
        current
    }

    /// Whether an update waits, as far as is known: what is stored, without the marks that go, with those that come.
    fn waits(&self, stored: Option<&Stored>, update: &UpdateId) -> Option<Option<bool>> {
        let stored = stored?;
        let waiting = stored.markers.get(update).copied();
        let goes = self.freed.contains(update) && stored.marks.contains(update);
        Some(if goes { None } else { waiting.or(self.marked.contains(update).then_some(false)) })
    }

    /// Adds one plan; false if it is in the way of what is there.
    fn add(&mut self, stored: Option<&Stored>, plan: &'b Plan) -> bool {
        let mut free = plan.record.as_ref().is_none_or(|write| self.add_record(stored, write));
        for row in &plan.decisions {
            let before = if row.replaces { Before::Waits } else { Before::Nothing };
            free &= self.add_update(stored, &row.decision.update, before, row.decision.decision.is_waiting());
        }
        for (update, _) in plan.dead_letters.iter().filter_map(|letter| letter.marks.as_ref()) {
            let before = if plan.awake.contains(update) { Before::Waits } else { Before::Nothing };
            free &= self.add_update(stored, update, before, false);
        }
        for (id, revision) in &plan.checks {
            let asked = *self.checks.entry(*id).or_insert(*revision);
            free &= stored.map_or(asked == *revision, |stored| stored.revisions.get(id) == Some(revision));
        }
        free
    }

    fn add_record(&mut self, stored: Option<&Stored>, write: &'b RecordWrite) -> bool {
        let id = write.record.id;
        let before = || stored.map_or(write.expected, |stored| stored.revisions.get(&id).copied());
        let (first, now) = self.records.get(&id).map_or_else(|| (before(), before()), |record| (record.before, Some(record.revision)));
        let mut free = now == write.expected;
        self.records.insert(id, Written { write, before: first, revision: now.unwrap_or(0) + 1 });
        for key in &write.links_added {
            free &= self.links.add(stored.map(|stored| &stored.links), keys::native(key), id);
        }
        for claim in &write.claims_added {
            free &= self.claims.add(stored.map(|stored| &stored.claims), keys::claim(&write.record.entity_type, claim), id);
        }
        let of = |system| (keys::open_create(system, &write.record.entity_type), id);
        self.creates.extend(write.creates_opened.iter().map(|system| (of(system), true)));
        self.creates.extend(write.creates_closed.iter().map(|system| (of(system), false)));
        free
    }

    fn add_update(&mut self, stored: Option<&Stored>, update: &UpdateId, wanted: Before, waits: bool) -> bool {
        let known = self.updates.get(update).map(|(_, waits)| Some(*waits));
        let known = known.or_else(|| self.waits(stored, update));
        self.updates.entry(update.clone()).or_insert((wanted, waits)).1 = waits;
        match (known, wanted) {
            // Nothing is known of what is stored: it is as it should be.
            (None, _) => true,
            (Some(waiting), Before::Nothing) => waiting.is_none(),
            (Some(waiting), Before::Waits) => waiting == Some(true),
        }
    }

    /// Whether records that are relied on and written are relied on as they were before.
    fn check(&mut self, known: bool) -> bool {
        let written = &self.records;
        let fits = |(id, revision): (&CanonicalId, &u64)| written.get(id).is_none_or(|record| record.before == Some(*revision));
        let fit = known || self.checks.iter().all(fits);
        // The write checks the revision itself.
        self.checks.retain(|id, _| !written.contains_key(id));
        fit
    }

    fn list_rows(&mut self, batch: &'b Batch) {
        let rows = batch.rows_in_order().into_iter().map(|(plan, row)| &batch.plans[plan].decisions[row]);
        let kept = |row: &'b DecisionWrite| if batch.logging.keeps(&row.decision) { Row::Decided(row) } else { Row::Unlogged(row) };
        let rows = rows.map(|row| (&row.decision.update, kept(row)));
        let marks = self.dead_letters.iter().filter_map(|letter| letter.marks.as_ref());
        let marks = marks.map(|(update, content_hash)| (update, Row::Marked(*content_hash)));
        // Of several rows of one update only the last is kept.
        let all: Vec<_> = rows.chain(marks).collect();
        let last: HashMap<&UpdateId, usize> = all.iter().enumerate().map(|(at, (update, _))| (*update, at)).collect();
        let kept = all.iter().enumerate().filter(|(at, (update, _))| last[update] == *at);
        let before = |update: &UpdateId| self.updates.get(update).map_or(Before::Nothing, |(before, _)| *before);
        self.rows = kept.map(|(_, (update, row))| ((*update).clone(), before(update), *row)).collect();
    }

    /// The revisions of records that are replaced or relied on.
    pub fn revisions_before(&self) -> Revisions {
        let replaced = self.records.iter().filter(|(_, written)| !written.write.removes);
        let replaced = replaced.filter_map(|(id, written)| Some((*id, written.before?)));
        replaced.chain(self.checks.iter().map(|(id, revision)| (*id, *revision))).collect()
    }

    /// Those of the same records, and of new ones, once all is written.
    pub fn revisions_after(&self) -> impl Iterator<Item = (CanonicalId, u64)> {
        let written = self.records.iter().filter(|(_, written)| !written.write.removes);
        let relied_on = self.checks.iter().map(|(id, revision)| (*id, *revision));
        relied_on.chain(written.map(|(id, written)| (*id, written.revision)))
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let nothing_else = self.waiting.is_empty() && self.dead_letters.is_empty() && self.settled.is_empty();
        self.records.is_empty() && self.checks.is_empty() && self.rows.is_empty() && nothing_else
    }
}
