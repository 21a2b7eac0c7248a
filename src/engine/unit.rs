//! One unit of work: the inputs that will be committed in one transaction, and what they came to so far.
//!
//! Inputs are decided in arrival order against the unit's own results, so a parent and its child, or the same new key
//! twice, resolve within one unit.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::input::Input;
use super::load::ChangeItem;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::identity::TypedClaim;
use crate::domain::ids::{CanonicalId, EntityType, NativeKey, SystemName, UpdateId};
use crate::domain::orphans::{Reunion, refers_to, reunions};
use crate::domain::redact::redact_row;
use crate::domain::rules::Rules;
use crate::domain::sending::seal;
use crate::domain::time::Timestamp;
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::store::{
    Batch, DeadLetter, DecisionWrite, Marker, OutboxChange, Plan, RecordWrite, SettledLetter, SystemFacts, Versioned, WAITING_ON_MAX,
};
use crate::ports::task::{Task, TaskChange};
use crate::telemetry::Span;

/// A record being worked on.
#[derive(Clone, Debug)]
pub struct Work {
    /// As it is now.
    pub record: CanonicalRecord,
    /// As it was loaded; `None`: it is made here.
    pub before: Option<Versioned>,
    /// Native records linked to it here.
    pub links_added: Vec<NativeKey>,
    /// Native records that are linked to it no more.
    pub links_removed: Vec<NativeKey>,
    /// What changes about its outbound messages.
    pub outbox: Vec<OutboxChange>,
    /// It goes altogether.
    pub removed: bool,
}

impl Work {
    /// A record nothing was done to yet.
    #[must_use]
    pub const fn of(record: CanonicalRecord, before: Option<Versioned>) -> Self {
        Self { record, before, links_added: Vec::new(), links_removed: Vec::new(), outbox: Vec::new(), removed: false }
    }
}

/// What will be written together: one record with its decisions, or decisions without a record.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The record, if there is one.
    pub work: Option<Work>,
    /// Rows.
    pub decisions: Vec<DecisionWrite>,
    /// Updates that wait.
    pub waiting: Vec<Waiting>,
    /// Updates that wait no more.
    pub awake: Vec<UpdateId>,
    /// Messages that can't be processed.
    pub dead_letters: Vec<DeadLetter>,
    /// Dead letters somebody has dealt with.
    pub settled: Vec<SettledLetter>,
    /// Work that follows from it, or that is done by it.
    pub tasks: Vec<TaskChange>,
    /// The inputs it comes from, as positions in the unit.
    pub inputs: BTreeSet<usize>,
    /// Other drafts of this unit whose results it relies on.
    pub depends: BTreeSet<usize>,
    /// Loaded records it was decided by, besides its own.
    pub relied_on: BTreeSet<CanonicalId>,
}

/// Who owns a key value or a native id, as far as the unit knows, and the draft that made it so.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The record; `None`: nobody.
    pub id: Option<CanonicalId>,
    /// The draft of this unit that made it so.
    pub made_by: Option<usize>,
}

/// The unit.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// Everything to decide, in order.
    pub inputs: Vec<Input>,
    /// Positions of inputs that were set aside while a handler thinks; they are no part of this unit any more.
    pub aside: BTreeSet<usize>,
    /// The changes people act on, by the position of the act: they can't be made ready from the input alone.
    pub acted_on: HashMap<usize, Box<ChangeItem>>,
    /// What it came to.
    pub drafts: Vec<Draft>,
    /// The draft of each record that was touched.
    pub by_record: HashMap<CanonicalId, usize>,
    /// Native ids looked up or linked.
    pub links: HashMap<NativeKey, Owner>,
    /// Key values looked up, claimed or released.
    pub claims: HashMap<TypedClaim, Owner>,
    /// Updates decided before.
    pub markers: HashMap<UpdateId, Marker>,
    /// Updates decided here, with their content.
    pub decided: HashMap<UpdateId, u64>,
    /// Waiting updates that matter here, and the draft that put them, if one of this unit did.
    pub waiting: HashMap<UpdateId, (Waiting, Option<usize>)>,
    /// Which of them are about or wait for a native record; may name some that wait no more.
    about: HashMap<NativeKey, Vec<UpdateId>>,
    /// Updates that wait no more because of this unit.
    awake: HashSet<UpdateId>,
    /// The draft that has the row of an update.
    rows: HashMap<UpdateId, usize>,
    /// Rows written so far.
    placed: u32,
    /// Records as they were loaded.
    pub loaded: HashMap<CanonicalId, Versioned>,
    /// Those of them that were asked for.
    pub asked: Vec<CanonicalId>,
    /// The last message that may have gone out, of those for which it was looked up.
    pub sent_through: HashMap<(CanonicalId, SystemName), u64>,
    /// Systems about which something new became known.
    pub facts: HashMap<SystemName, SystemFacts>,
    /// Systems that have not answered all creates of a type: of those asked for, and as committed. What this unit itself
    /// records was never published, so nothing that comes can be about it.
    pub open_creates: HashSet<(SystemName, EntityType)>,
    /// Updates that make new records which may yet turn out to be known: creates of those are sent elsewhere only then.
    pub creates_later: HashMap<UpdateId, Timestamp>,
    /// Native records of a cycle that is just being brought in, and the canonical records they will be.
    pub expected: HashMap<NativeKey, CanonicalId>,
    /// Key values let go of, by which draft, and the records that are kept apart from the one that let go.
    pub freed: Vec<(usize, TypedClaim, BTreeSet<CanonicalId>)>,
    /// Waiting updates whose parent has come, still to be decided in this unit.
    woken: Vec<Waiting>,
    /// Which those are.
    woken_updates: HashSet<UpdateId>,
    /// How many have woken so far.
    woken_count: usize,
    /// Some may have found no room: the store's `waiting_due` has them once this is committed.
    pub woken_left: bool,
    /// What is to be told of its decisions.
    pub spans: HashMap<UpdateId, Span>,
    /// Deliveries of updates decided already.
    pub duplicates: u64,
}

impl Unit {
    /// The draft of a record, made from the loaded record if it was not touched yet.
    pub fn draft_of(&mut self, id: CanonicalId) -> Option<usize> {
        if let Some(&index) = self.by_record.get(&id) {
            return Some(index);
        }
        let before = self.loaded.get(&id)?.clone();
        let record = CanonicalRecord::clone(&before.record);
        Some(self.add_draft(Work::of(record, Some(before))))
    }

    /// A draft for a record that is made here, or was just loaded.
    pub fn add_draft(&mut self, work: Work) -> usize {
        let index = self.drafts.len();
        self.by_record.insert(work.record.id, index);
        self.drafts.push(Draft { work: Some(work), ..Draft::default() });
        index
    }

    /// A draft without a record.
    pub fn add_loose(&mut self) -> usize {
        self.drafts.push(Draft::default());
        self.drafts.len() - 1
    }

    /// A record as the unit sees it now.
    #[must_use]
    pub fn record(&self, id: CanonicalId) -> Option<&CanonicalRecord> {
        match self.by_record.get(&id) {
            Some(&index) => self.drafts[index].work.as_ref().map(|work| &work.record),
            None => self.loaded.get(&id).map(|versioned| versioned.record.as_ref()),
        }
    }

    /// A record of the unit as it was before.
    #[must_use]
    pub fn was(&self, id: CanonicalId) -> Option<&CanonicalRecord> {
        let work = self.drafts[*self.by_record.get(&id)?].work.as_ref()?;
        work.before.as_ref().map(|before| before.record.as_ref())
    }

    /// The record a canonical id means: the record itself, or the one it has become part of.
    #[must_use]
    pub fn meant(&self, id: CanonicalId) -> CanonicalId {
        self.record(id).and_then(|record| record.merged_into).unwrap_or(id)
    }

    /// Which record a native id is linked to, as far as the unit knows.
    #[must_use]
    pub fn linked(&self, key: &NativeKey) -> Option<CanonicalId> {
        self.links.get(key)?.id
    }

    /// Waiting updates of one native record, in arrival order.
    #[must_use]
    pub fn waiting_of(&self, key: &NativeKey) -> Vec<Waiting> {
        self.in_order(key, |waiting| waiting.key == *key)
    }

    /// Waiting updates that wait for one native record, in arrival order.
    #[must_use]
    pub fn waiting_on(&self, key: &NativeKey) -> Vec<Waiting> {
        self.in_order(key, |waiting| match &waiting.waiting_for {
            WaitingFor::MissingReference { references, .. } => references.iter().any(|missing| missing.key == *key),
            _ => false,
        })
    }

    fn in_order(&self, key: &NativeKey, wanted: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let about = self.about.get(key).into_iter().flatten().filter_map(|update| self.waiting.get(update));
        let found: BTreeMap<u64, &Waiting> =
            about.map(|(waiting, _)| waiting).filter(|waiting| wanted(waiting)).map(|waiting| (waiting.arrival, waiting)).collect();
        found.into_values().cloned().collect()
    }

    /// Notes a stored waiting update that matters here, unless the unit has already dealt with it.
    pub fn note_waiting(&mut self, waiting: Waiting) {
        if !self.awake.contains(&waiting.update) && !self.waiting.contains_key(&waiting.update) {
            self.index(&waiting);
            self.waiting.insert(waiting.update.clone(), (waiting, None));
        }
    }

    fn index(&mut self, waiting: &Waiting) {
        let mut keys = vec![&waiting.key];
        if let WaitingFor::MissingReference { references, .. } = &waiting.waiting_for {
            keys.extend(references.iter().map(|missing| &missing.key));
        }
        for key in keys {
            let about = self.about.entry(key.clone()).or_default();
            if !about.contains(&waiting.update) {
                about.push(waiting.update.clone());
            }
        }
    }

    /// Writes a row. One of the same update in this unit is replaced: only the last word is kept.
    pub fn put_row(&mut self, draft: usize, mut row: DecisionWrite) {
        if let Some(earlier) = self.rows.insert(row.decision.update.clone(), draft) {
            let rows = &mut self.drafts[earlier].decisions;
            if let Some(at) = rows.iter().position(|other| other.decision.update == row.decision.update) {
                row.replaces = rows.remove(at).replaces;
            }
        }
        self.placed += 1;
        row.place = self.placed;
        self.drafts[draft].decisions.push(row);
    }

    /// The row of an update, if this unit writes one.
    pub fn row_of(&mut self, update: &UpdateId) -> Option<&mut DecisionWrite> {
        let draft = *self.rows.get(update)?;
        self.drafts[draft].decisions.iter_mut().find(|row| row.decision.update == *update)
    }

    /// Whether an update waits no more because of this unit.
    #[must_use]
    pub fn is_awake(&self, update: &UpdateId) -> bool {
        self.awake.contains(update)
    }

    /// Notes that an update waits (again).
    pub fn put_waiting(&mut self, draft: usize, waiting: Waiting) {
        self.drafts[draft].awake.retain(|update| *update != waiting.update);
        self.drafts[draft].waiting.retain(|other| other.update != waiting.update);
        self.drafts[draft].waiting.push(waiting.clone());
        self.awake.remove(&waiting.update);
        self.index(&waiting);
        self.waiting.insert(waiting.update.clone(), (waiting, Some(draft)));
    }

    /// Notes that an update waits no more.
    pub fn take_waiting(&mut self, draft: usize, update: &UpdateId) {
        if let Some((_, Some(maker))) = self.waiting.remove(update) {
            self.drafts[maker].waiting.retain(|waiting| waiting.update != *update);
            if maker != draft {
                // Its only trace is here now: if this draft is decided again, so is the message it came with.
                let inputs = self.drafts[maker].inputs.clone();
                if !crate::domain::planted::fault("woken_message_lost") {
                    self.drafts[draft].inputs.extend(inputs);
                }
                self.drafts[draft].depends.insert(maker);
            }
        }
        if self.woken_updates.remove(update) {
            self.woken.retain(|waiting| waiting.update != *update);
        }
        self.awake.insert(update.clone());
        self.drafts[draft].awake.push(update.clone());
    }

    /// The inputs to decide again if nothing of the unit is to stay. Updates that were woken by another one of the unit
    /// wake again by it; they are no inputs of their own.
    #[must_use]
    pub fn take_back(self) -> Vec<Input> {
        let aside = self.aside;
        let inputs = self.inputs.into_iter().enumerate().filter(|(at, _)| !aside.contains(at));
        inputs.map(|(_, input)| input).filter(Input::is_original).collect()
    }

    /// Whether more waiting updates may wake in this unit. The store knows that the others miss nothing any more and gives
    /// them out page by page: thirty thousand children of one parent must not become one transaction.
    #[must_use]
    pub const fn may_wake(&self) -> bool {
        self.woken_count < WAITING_ON_MAX
    }

    /// Notes that what an update waited for has come: it is decided again in this unit, if there is room.
    pub fn wake(&mut self, waiting: Waiting) {
        if self.may_wake() && self.woken_updates.insert(waiting.update.clone()) {
            self.woken_count += 1;
            self.woken.push(waiting);
        }
        self.woken_left |= !self.may_wake();
    }

    /// Those that woke since the last call.
    pub fn take_woken(&mut self) -> Vec<Waiting> {
        self.woken_updates.clear();
        std::mem::take(&mut self.woken)
    }

    /// Ends the unit: everything it came to, as one batch; `positions` are the drafts its plans come from. What is left in it is
    /// of no use any more.
    #[must_use]
    pub fn seal(&mut self, rules: &Rules) -> Sealed {
        let mut batch = Batch::default();
        let mut positions = Vec::new();
        for (position, draft) in self.drafts.iter_mut().enumerate() {
            redact(draft, rules);
            let plan = plan(draft, &self.loaded, rules);
            let empty = plan.record.is_none()
                && plan.decisions.is_empty()
                && plan.waiting.is_empty()
                && plan.awake.is_empty()
                && plan.dead_letters.is_empty()
                && plan.settled.is_empty()
                && plan.tasks.is_empty();
            if !empty {
                batch.plans.push(plan);
                positions.push(position);
            }
        }
        batch.facts = std::mem::take(&mut self.facts).into_values().collect();
        batch.logging = rules.logging;
        let drafts = self.drafts.iter_mut().map(|draft| (std::mem::take(&mut draft.inputs), std::mem::take(&mut draft.depends))).collect();
        let inputs = std::mem::take(&mut self.inputs).into_iter().enumerate();
        let inputs = inputs.map(|(at, input)| (!self.aside.contains(&at)).then_some(input)).collect();
        let (duplicates, woken_left, spans) = (self.duplicates, self.woken_left, std::mem::take(&mut self.spans));
        let read = self.asked.iter().filter_map(|id| self.loaded.remove(id)).collect();
        Sealed { batch: Arc::new(batch), positions, drafts, inputs, read, duplicates, woken_left, spans }
    }
}

/// Rows are written without the values of redacted fields.
fn redact(draft: &mut Draft, rules: &Rules) {
    for row in &mut draft.decisions {
        let types = rules.of_type(&row.decision.entity_type);
        if !types.redact.is_empty() {
            redact_row(&mut row.decision, &types);
        }
    }
}

fn plan(draft: &mut Draft, loaded: &HashMap<CanonicalId, Versioned>, rules: &Rules) -> Plan {
    let tasks = draft.work.as_mut().map(|work| left_behind(work, rules)).unwrap_or_default();
    draft.tasks.extend(tasks);
    let own = draft.work.as_ref().and_then(|work| Some((work.record.id, work.before.as_ref()?.revision)));
    let record = draft.work.take().and_then(|work| record_write(work, rules));
    let written = record.as_ref().map(|write| write.record.id);
    let others = draft.relied_on.iter().filter_map(|id| Some((*id, loaded.get(id)?.revision)));
    // What was decided by a record that moved on meanwhile must be decided again, written or not.
    let relied = |id: &CanonicalId| Some(*id) != written && !crate::domain::planted::fault("reliance_unchecked");
    let checks = own.into_iter().chain(others).filter(|(id, _)| relied(id)).collect();
    Plan {
        record,
        checks,
        decisions: std::mem::take(&mut draft.decisions),
        waiting: std::mem::take(&mut draft.waiting),
        awake: std::mem::take(&mut draft.awake),
        dead_letters: std::mem::take(&mut draft.dead_letters),
        settled: std::mem::take(&mut draft.settled),
        tasks: std::mem::take(&mut draft.tasks),
    }
}

/// Where systems have a record again, those that refer to it are dealt with after this commit.
fn left_behind(work: &mut Work, rules: &Rules) -> Vec<TaskChange> {
    let Some(before) = &work.before else { return Vec::new() };
    let parent = work.record.id;
    let task = |Reunion { system, native_id, count, children }| Task::Reunited { parent, system, native_id, count, children };
    reunions(&before.record, &mut work.record, rules).into_iter().map(task).map(TaskChange::Begin).collect()
}

/// Whether a change of the outbox is still about a message of this record. The number of one that was taken back within the unit is
/// given to the next message. If it were due, the relay would find nothing to send under it and note so a little later; by then it may
/// be the next message's.
fn stands(record: &CanonicalRecord, change: &OutboxChange) -> bool {
    match change {
        OutboxChange::Due { system, rev } | OutboxChange::DueAfresh { system, rev } | OutboxChange::DueLater { system, rev, .. } => {
            record.link_with(system).is_none_or(|index| record.links[index].rev >= *rev)
        }
        OutboxChange::Sent(_) | OutboxChange::Applied { .. } | OutboxChange::Rejected { .. } | OutboxChange::Failed { .. } => true,
    }
}

fn record_write(work: Work, rules: &Rules) -> Option<RecordWrite> {
    let Work { mut record, before, links_added, links_removed, mut outbox, removed } = work;
    seal(&mut record);
    outbox.retain(|change| stands(&record, change));
    let was = before.as_ref().map(|before| before.record.as_ref());
    if record.version == 0 || (was == Some(&record) && outbox.is_empty() && !removed) {
        return None;
    }
    let types = rules.of_type(&record.entity_type);
    // What was recorded last may have had an older message taken for applied: what its system held before that, it holds no more.
    if was.is_some_and(|was| held_revs(was).ne(held_revs(&record))) {
        let due = record.claims_due(&types.keys);
        record.claims.retain(|claim| due.contains(claim));
    }
    let none = BTreeSet::new();
    let claimed = was.map_or(&none, |was| &was.claims);
    let claims_added = record.claims.difference(claimed).cloned().collect();
    let claims_released = if crate::domain::planted::fault("claim_release_forgotten") {
        Vec::new()
    } else {
        claimed.difference(&record.claims).cloned().collect()
    };
    let expected = before.as_ref().map(|before| before.revision);
    let open = |record: &CanonicalRecord| -> BTreeSet<SystemName> {
        record.links.iter().filter(|link| link.is_open_create()).map(|link| link.system.clone()).collect()
    };
    let (opened, closed) = (open(&record), was.map(open).unwrap_or_default());
    Some(RecordWrite {
        removes: removed,
        makes_way: was.is_some_and(|was| record.makes_way(was, !links_removed.is_empty())),
        refers_to: refers_to(&record, &types),
        referred_to: was.map(|was| refers_to(was, &types)).unwrap_or_default(),
        creates_opened: opened.difference(&closed).cloned().collect(),
        creates_closed: closed.difference(&opened).cloned().collect(),
        record: Arc::new(compact(record)),
        expected,
        links_added,
        links_removed,
        claims_added,
        claims_released,
        outbox,
    })
}

fn held_revs(record: &CanonicalRecord) -> impl Iterator<Item = u64> {
    record.links.iter().map(|link| link.shadow.held_rev)
}

fn compact(mut record: CanonicalRecord) -> CanonicalRecord {
    record.compact();
    record
}

/// A unit that is being committed.
#[derive(Debug)]
pub struct Sealed {
    /// What is written.
    pub batch: Arc<Batch>,
    /// For each plan, the draft it comes from.
    pub positions: Vec<usize>,
    /// For each draft, its inputs and the drafts it relies on.
    pub drafts: Vec<(BTreeSet<usize>, BTreeSet<usize>)>,
    /// The inputs; `None` where one was taken out to be decided again.
    pub inputs: Vec<Option<Input>>,
    /// Records as the store gave them.
    pub read: Vec<Versioned>,
    /// Deliveries of updates decided already.
    pub duplicates: u64,
    /// Waiting updates that miss nothing any more may have been left to the store's `waiting_due`.
    pub woken_left: bool,
    /// What is to be told of its decisions, by update.
    pub spans: HashMap<UpdateId, Span>,
}

impl Sealed {
    /// The messages that may go now: those that became due, and newer ones an answer made room for.
    #[must_use]
    pub fn due(&self) -> Vec<(CanonicalId, SystemName)> {
        let mut due = Vec::new();
        for write in self.batch.plans.iter().filter_map(|plan| plan.record.as_ref()) {
            let behind =
                |system: &SystemName, rev: u64| write.record.link_with(system).is_some_and(|index| write.record.links[index].rev > rev);
            for change in &write.outbox {
                match change {
                    OutboxChange::Due { system, .. } | OutboxChange::DueAfresh { system, .. } => {
                        due.push((write.record.id, system.clone()));
                    }
                    OutboxChange::Applied { system, rev } | OutboxChange::Rejected { system, rev } => {
                        if behind(system, *rev) {
                            due.push((write.record.id, system.clone()));
                        }
                    }
                    OutboxChange::DueLater { .. } | OutboxChange::Sent(_) | OutboxChange::Failed { .. } => {}
                }
            }
        }
        due
    }

    /// What may be sent at a time of its own.
    #[must_use]
    pub fn due_later(&self) -> Vec<(Timestamp, (CanonicalId, SystemName))> {
        let mut due = Vec::new();
        for write in self.batch.plans.iter().filter_map(|plan| plan.record.as_ref()) {
            due.extend(write.outbox.iter().filter_map(|change| match change {
                OutboxChange::DueLater { system, not_before: at, .. } | OutboxChange::Failed { system, retry_at: at, .. } => {
                    Some((*at, (write.record.id, system.clone())))
                }
                OutboxChange::Due { .. }
                | OutboxChange::DueAfresh { .. }
                | OutboxChange::Sent(_)
                | OutboxChange::Applied { .. }
                | OutboxChange::Rejected { .. } => None,
            }));
        }
        due
    }

    /// Splits off the plans in the way of a commit and everything that relies on them. What is left can go on; the
    /// inputs returned must be decided again.
    #[must_use]
    pub fn without(self, conflicting: &[usize]) -> (Self, Vec<Input>) {
        let mut out: BTreeSet<usize> = conflicting.iter().filter_map(|plan| self.positions.get(*plan)).copied().collect();
        loop {
            let relies = |(position, (_, depends)): (usize, &(BTreeSet<usize>, BTreeSet<usize>))| {
                (!out.contains(&position) && !depends.is_disjoint(&out)).then_some(position)
            };
            let more: Vec<usize> = self.drafts.iter().enumerate().filter_map(relies).collect();
            // An input that touched several drafts is decided again as a whole.
            let inputs: BTreeSet<usize> = out.iter().flat_map(|draft| &self.drafts[*draft].0).copied().collect();
            let shared = self.drafts.iter().enumerate().filter(|(position, (own, _))| !out.contains(position) && !own.is_disjoint(&inputs));
            let more: Vec<usize> = more.into_iter().chain(shared.map(|(position, _)| position)).collect();
            if more.is_empty() {
                break;
            }
            out.extend(more);
        }
        let again: BTreeSet<usize> = out.iter().flat_map(|draft| &self.drafts[*draft].0).copied().collect();
        let mut batch = Batch { plans: Vec::new(), facts: self.batch.facts.clone(), logging: self.batch.logging };
        let mut positions = Vec::new();
        for (plan, position) in self.batch.plans.iter().zip(&self.positions) {
            if !out.contains(position) {
                batch.plans.push(plan.clone());
                positions.push(*position);
            }
        }
        let mut inputs = self.inputs;
        let redo = again.iter().filter_map(|index| inputs.get_mut(*index)?.take()).collect();
        let rest = Self {
            batch: Arc::new(batch),
            positions,
            drafts: self.drafts,
            inputs,
            // They may be what was in the way.
            read: Vec::new(),
            duplicates: self.duplicates,
            woken_left: self.woken_left,
            spans: self.spans,
        };
        (rest, redo)
    }
}
