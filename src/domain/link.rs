//! "(system, type, native id) is canonical X", with what that system is known to hold.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change::Seq;
use super::flat::{Flat, Paths};
use super::ids::{CanonicalId, EntityType, NativeId, SystemName, UpdateId};
use super::overlay::Overlay;
use super::planted;
use super::representation::Stored;
use super::time::Timestamp;
use super::trace::TraceParent;
use super::value::{FieldPath, Leaves, same_held};

/// Whether the system has the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It has, under a native id we know.
    Linked,
    /// It was sent a create and has not answered yet.
    Reserved,
    /// It let go of it: nothing goes there until it sends the record again.
    Detached,
}

/// What a message to a system does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendOp {
    /// Find or create.
    Create,
    /// Replace.
    Update,
    /// Delete.
    Delete,
}

/// One message recorded in the shadow before it is published, and not confirmed by the system yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Its number; grows by one per (record, system).
    pub rev: u64,
    /// When it was recorded, or went out, if that was much later.
    pub at: Timestamp,
    /// The canonical version it shows.
    pub version: u64,
    /// Create or update.
    pub op: SendOp,
    /// The fields it changes, in canonical names.
    pub fields: Paths,
    /// Whether applying it writes every field, or `fields` only.
    pub whole: bool,
    /// The values it writes, as divergence from the canonical record.
    #[serde(default, skip_serializing_if = "Overlay::is_empty")]
    pub values: Overlay,
    /// Fields that came to be only after it: a whole message says nothing about those.
    #[serde(default, skip_serializing_if = "Paths::is_empty")]
    pub unsaid: Paths,
    /// Made by the commit that is being prepared: a further change before that commit replaces it.
    #[serde(skip)]
    pub fresh: bool,
    /// Recorded outside of the usual comparison and not yet noted as due.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unannounced: bool,
    /// The trace of the update it follows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// The compensations it tells of. A field that one has taken out has no source that would say so.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub takes_back: BTreeSet<UpdateId>,
    /// How many in a row, with this one, give the system back what it holds while its change waits; 0: it does not.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub gives_back: u32,
}

/// Fields whose change waits for a decision: not corrected in the source until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// The waiting update.
    pub update: UpdateId,
    /// Its fields.
    pub fields: Paths,
    /// References among them that are held as the system said them, by its own ids, as their record is not known yet.
    #[serde(default, skip_serializing_if = "Paths::is_empty")]
    pub unresolved: Paths,
}

/// What one system is known to hold, and what it was sent meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// What it is known to hold, as divergence from the canonical record.
    #[serde(default, skip_serializing_if = "Overlay::is_empty")]
    pub held: Overlay,
    /// The last send that went into `held`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held_rev: u64,
    /// Whether `held` is just what the last confirmed send wrote (nothing was reported that differed since).
    #[serde(default, skip_serializing_if = "is_false")]
    pub held_is_sent: bool,
    /// The last send the system says it applied; for adapters that say their base it may be still among `sends`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub answered_rev: u64,
    /// The newest canonical version the system is known to have been told, or to have had when it joined.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub known_version: u64,
    /// Unconfirmed sends, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sends: Vec<Sent>,
    /// Fields of messages that count as applied although the system has not said so of these, each with the number of the last
    /// such message. It may not have gone out: then the next one names them as well.
    #[serde(default, skip_serializing_if = "is_no_field")]
    pub taken_for_applied: Flat<u64>,
    /// Creates that had not been answered when the system let go of the record: one may be applied still, and make another
    /// native record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crossing: Vec<Sent>,
    /// The last message, once inferred to have arrived: it may still be on its way for a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Box<Sent>>,
    /// Inexact systems: what it reported since our last message and differs from the canonical record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disputed: BTreeMap<FieldPath, Value>,
    /// Inexact systems: hash of the last whole record it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<u64>,
    /// Values the system stores in another form.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stored: BTreeMap<FieldPath, Stored>,
}

/// How often in a row a system answered a value it was sent with the same other one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// Hash of both values.
    pub pair: u64,
    /// How often.
    pub times: u32,
    /// It is not corrected any more: its value counts as its form of ours.
    #[serde(default, skip_serializing_if = "is_false")]
    pub frozen: bool,
}

/// The last position seen in a native record's own history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeqSeen {
    /// The position.
    #[serde(flatten)]
    pub seq: Seq,
    /// Hash of the content that had it.
    pub content: u64,
}

/// One system's side of a canonical record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The system.
    pub system: SystemName,
    /// The id there; `None` while reserved.
    pub native_id: Option<NativeId>,
    /// Whether the system has it.
    pub state: LinkState,
    /// The number of the last message recorded for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rev: u64,
    /// What it holds.
    #[serde(default, skip_serializing_if = "is_default_shadow")]
    pub shadow: Shadow,
    /// The last `seq` seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<SeqSeen>,
    /// Changes that wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Waits>,
    /// References left out of an open create, because it would have to wait for itself; sent once it is linked.
    #[serde(default, skip_serializing_if = "Paths::is_empty")]
    pub omits: Paths,
    /// Hash of a model the system rejected: not sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<u64>,
    /// How often in a row the system could not apply what it was sent.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub failures: u32,
    /// Ids the record had in the system before it was given its present one. They still lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<NativeId>,
    /// Values it answered with another one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flips: BTreeMap<FieldPath, Flip>,
    /// Detached because the system itself let go of it (`delete.policy = "unlink"`): nothing goes there until it sends the
    /// record again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unlinked: bool,
    /// Detached because its system had another one already when it made this: should it let go of that, this one stands in.
    #[serde(default, skip_serializing_if = "is_false")]
    pub spare: bool,
    /// How often its system has had the record again after it was without it.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub reunions: u32,
    /// Types of records that refer to this one and were not all looked at since: there the system may have been told null.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reuniting: BTreeSet<EntityType>,
    /// The message by which its system gets to know that it is this record and not the one from which it was taken out: until then
    /// it may find it by that one's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introduced_by: Option<u64>,
    /// The record it belonged to before that became part of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<CanonicalId>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_zero_u32(n: &u32) -> bool {
    *n == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

fn is_no_field(fields: &Flat<u64>) -> bool {
    fields.is_empty()
}

fn is_default_shadow(shadow: &Shadow) -> bool {
    *shadow == Shadow::default()
}

impl Shadow {
    /// What the system is believed to hold as far as identity goes: a field that an answered send has overwritten no
    /// longer counts, although an adapter that says its base has not reported it yet.
    #[must_use]
    pub fn identifies<'a>(&'a self, canonical: &'a Leaves, path: &FieldPath) -> Option<&'a Value> {
        let held = self.held.get(canonical, path);
        let overwritten =
            |sent: &Sent| sent.rev <= self.answered_rev && sent.fields.contains(path) && !same_held(sent.values.get(canonical, path), held);
        if self.sends.iter().any(overwritten) { None } else { held }
    }

    /// Whether this message is one of those that are not kept, as later ones write all its fields. One that was answered is not.
    #[must_use]
    pub const fn is_overwritten(&self, rev: u64) -> bool {
        rev > self.answered_rev && rev <= self.held_rev
    }

    /// Fields that count as applied although the system has not said so, of messages after this one.
    pub fn taken_after(&self, delivered: u64) -> impl Iterator<Item = &FieldPath> {
        self.taken_for_applied.iter().filter(move |(_, last)| **last > delivered).map(|(path, _)| path)
    }

    /// Gives back the memory that is kept for more of anything.
    fn compact(&mut self) {
        self.held.compact();
        self.sends.shrink_to_fit();
        self.taken_for_applied.compact();
        self.messages_mut().for_each(Sent::compact);
    }

    /// A rough count of the bytes it keeps in memory, besides its own size.
    fn weight(&self) -> usize {
        let sends = self.sends.iter().chain(self.last.as_deref()).chain(&self.crossing);
        self.held.weight()
            + self.taken_for_applied.weight()
            + sends.map(Sent::weight).sum::<usize>()
            + (self.disputed.len() + self.stored.len()) * 150
    }

    /// Every message that is remembered.
    pub fn messages_mut(&mut self) -> impl Iterator<Item = &mut Sent> {
        self.sends.iter_mut().chain(self.last.as_deref_mut()).chain(&mut self.crossing)
    }
}

impl Sent {
    /// Says the same against a canonical record that moved on in `changed`.
    pub fn rebase(&mut self, old: &Leaves, new: &Leaves, changed: &[FieldPath]) {
        // What it said of a field that was taken out and is there again, it has said.
        let unsaid = |path: &FieldPath| old.get(path).is_none() && !self.fields.contains(path) && self.values.get(old, path).is_none();
        let unsaid: Vec<FieldPath> = changed.iter().filter(|path| unsaid(path)).cloned().collect();
        if !planted::fault("unsaid_ignored") {
            self.unsaid.extend(unsaid);
        }
        self.values.rebase(old, new, changed);
    }

    fn compact(&mut self) {
        self.fields.compact();
        self.values.compact();
        self.unsaid.compact();
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.fields.weight() + self.values.weight() + self.unsaid.weight()
    }
}

impl Link {
    /// A link that holds nothing yet.
    #[must_use]
    pub fn new(system: SystemName, native_id: Option<NativeId>, held: Overlay) -> Self {
        let state = if native_id.is_some() { LinkState::Linked } else { LinkState::Reserved };
        let shadow = Shadow { held, ..Shadow::default() };
        Self {
            system,
            native_id,
            state,
            rev: 0,
            shadow,
            seq: None,
            waits: Vec::new(),
            omits: Paths::new(),
            rejected: None,
            failures: 0,
            aliases: Vec::new(),
            flips: BTreeMap::new(),
            unlinked: false,
            spare: false,
            reunions: 0,
            reuniting: BTreeSet::new(),
            introduced_by: None,
            from: None,
        }
    }

    /// Whether the system was sent a create that it has not answered.
    #[must_use]
    pub fn is_open_create(&self) -> bool {
        match self.state {
            LinkState::Reserved => !self.shadow.sends.is_empty(),
            LinkState::Linked | LinkState::Detached => false,
        }
    }

    /// Whether a change of this field waits for a decision.
    #[must_use]
    pub fn is_waiting(&self, path: &FieldPath) -> bool {
        self.waits.iter().any(|waits| waits.fields.iter().any(|field| field.is_within(path) || path.is_within(field)))
    }

    /// Whether what is held at this reference are native ids. An id does not show by its looks which kind it is.
    #[must_use]
    pub fn is_unresolved(&self, path: &FieldPath) -> bool {
        self.waits.iter().any(|waits| waits.unresolved.contains(path))
    }

    /// Gives back the memory that is kept for more of anything.
    pub fn compact(&mut self) {
        self.waits.shrink_to_fit();
        self.aliases.shrink_to_fit();
        self.shadow.compact();
    }

    /// A rough count of the bytes it keeps in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + 50 + (self.waits.len() + self.aliases.len() + self.flips.len()) * 150 + self.shadow.weight()
    }

    /// Its place in the outbox is lost: whatever may not have gone out is named by the next message.
    pub fn name_again(&mut self) {
        let Shadow { sends, taken_for_applied, .. } = &mut self.shadow;
        let named = sends.iter().flat_map(|sent| &sent.fields).chain(taken_for_applied.keys());
        *taken_for_applied = named.map(|path| (path.clone(), self.rev + 1)).collect();
    }

    /// Whether its system is to be told which record it is by a message after this one.
    #[must_use]
    pub fn is_introduced_after(&self, rev: u64) -> bool {
        self.introduced_by.is_some_and(|introduction| introduction > rev)
    }

    /// Whether its system may lack something that a message after this one was to tell, although none is recorded: which record it is,
    /// or one of the fields it takes.
    pub fn is_untold_after(&self, rev: u64, takes: impl Fn(&FieldPath) -> bool) -> bool {
        self.is_introduced_after(rev) || self.shadow.taken_after(rev).any(takes)
    }

    /// It belongs to another record now: its system is told so, and all that it may not have been told.
    pub fn tell_again(&mut self) {
        self.name_again();
        self.introduced_by = (self.rev > 0).then_some(self.rev + 1);
    }

    /// The newest recorded message, confirmed or not.
    #[must_use]
    pub fn newest(&self) -> Option<&Sent> {
        self.shadow.sends.last()
    }

    /// The newest send, if the system has not said yet that it applied it.
    #[must_use]
    pub fn unanswered(&self) -> Option<&Sent> {
        self.newest().filter(|sent| sent.rev > self.shadow.answered_rev)
    }
}
