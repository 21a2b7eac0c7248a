//! Where canonical records, decisions, links, claims and waiting updates live.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::audit::Audit;
use super::error::{PortError, PortErrorKind};
use super::hold::HoldRow;
pub use super::letter::{DeadLetter, LETTERS_BYTES, LetterEnd, PageBytes, SettledLetter};
use super::presence::Presence;
use super::tally::{self, Tally};
use super::task::{Task, TaskChange};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::decision::{Decision, DecisionKind, Logging};
use crate::domain::identity::{Claim, TypedClaim};
use crate::domain::ids::{CanonicalId, EntityType, NativeKey, SystemName, UpdateId};
use crate::domain::time::Timestamp;
use crate::domain::waiting::Waiting;

/// Answers about `waiting_on` that a store may leave it at.
pub const WAITING_ON_MAX: usize = 1000;

/// What a batch wants to know before it is decided: one query per kind.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// Were these decided before?
    pub updates: Vec<UpdateId>,
    /// The same of updates that are expected to be new, and leave a row: a store may leave the answer to the commit, which is
    /// refused a row that is there.
    pub fresh: Vec<UpdateId>,
    /// Which records are these?
    pub links: Vec<NativeKey>,
    /// Who owns these key values?
    pub claims: Vec<TypedClaim>,
    /// What waits of these native records?
    pub waiting_of: Vec<NativeKey>,
    /// What waits for these native records? A parent may have any number of children: beyond [`WAITING_ON_MAX`] a store may
    /// leave the rest out, and gives them out by [`Store::waiting_due`] once the parent is known.
    pub waiting_on: Vec<NativeKey>,
    /// Which of these systems have creates of these types that they have not answered?
    pub open_creates: Vec<(SystemName, EntityType)>,
}

impl Lookup {
    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
            && self.fresh.is_empty()
            && self.links.is_empty()
            && self.claims.is_empty()
            && self.waiting_of.is_empty()
            && self.waiting_on.is_empty()
            && self.open_creates.is_empty()
    }
}

/// The answers to a [`Lookup`]. What is not there is not known.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Updates that have a row or a dead letter.
    pub markers: HashMap<UpdateId, Marker>,
    /// Native records that are linked.
    pub links: HashMap<NativeKey, CanonicalId>,
    /// Key values that are owned.
    pub claims: HashMap<TypedClaim, CanonicalId>,
    /// Waiting updates asked for by their own record or by what they wait for; each once, in arrival order.
    pub waiting: Vec<Waiting>,
    /// Systems that have not answered all creates of a type, of those asked for.
    pub open_creates: HashSet<(SystemName, EntityType)>,
}

/// What makes a redelivery harmless; kept longer than the row itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Hash of the update's content: the same id with another hash is a reused id.
    pub content_hash: u64,
    /// Whether it still waits.
    pub waiting: bool,
    /// Whether a dead letter left it, and nothing was decided. A row that was decided and is gone by now is no such case.
    pub of_letter: bool,
}

/// A record with the revision of its stored form. The revision is 1 for a new record and grows by one with every write, the `version` only with `data`.
#[derive(Clone, Debug)]
pub struct Versioned {
    /// The record.
    pub record: Arc<CanonicalRecord>,
    /// The revision a commit must expect.
    pub revision: u64,
}

/// What is committed in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Each about one record and the updates that touched it; independent of each other.
    pub plans: Vec<Plan>,
    /// Systems about which something new became known.
    pub facts: Vec<SystemFacts>,
    /// Which of its rows are kept; of the others only what makes a redelivery harmless is.
    pub logging: Logging,
}

impl Batch {
    /// Every row as (plan, row in it), in the order in which they are to be listed.
    #[must_use]
    pub fn rows_in_order(&self) -> Vec<(usize, usize)> {
        let of_plan =
            |(index, plan): (usize, &Plan)| plan.decisions.iter().enumerate().map(|(row, write)| (write.place, index, row)).collect();
        let mut rows: Vec<(u32, usize, usize)> = self.plans.iter().enumerate().flat_map::<Vec<_>, _>(of_plan).collect();
        rows.sort_unstable();
        rows.into_iter().map(|(_, plan, row)| (plan, row)).collect()
    }

    /// Records in whose way others may be no more.
    pub fn making_way(&self) -> impl Iterator<Item = CanonicalId> {
        self.plans.iter().filter_map(|plan| plan.record.as_ref()).filter(|write| write.makes_way).map(|write| write.record.id)
    }

    /// What becomes of the outbox, each with its record, in the order in which it is applied.
    pub fn outbox(&self) -> impl Iterator<Item = (CanonicalId, &OutboxChange)> {
        let writes = self.plans.iter().filter_map(|plan| plan.record.as_ref());
        writes.flat_map(|write| write.outbox.iter().map(|change| (write.record.id, change)))
    }
}

/// Everything that is written together about one record.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The record, if it changed.
    pub record: Option<RecordWrite>,
    /// Records this was decided by and that are not written: they must still be stored with these revisions.
    pub checks: Vec<(CanonicalId, u64)>,
    /// Decision rows. A final row never changes; a waiting row is replaced by the next row of its update.
    pub decisions: Vec<DecisionWrite>,
    /// Waiting updates to keep, by update id (replacing what is there).
    pub waiting: Vec<Waiting>,
    /// Waiting updates that wait no more.
    pub awake: Vec<UpdateId>,
    /// Messages that cannot be processed; one with the id of a stored dead letter replaces it.
    pub dead_letters: Vec<DeadLetter>,
    /// Dead letters somebody has dealt with. They go before anything else of the batch comes.
    pub settled: Vec<SettledLetter>,
    /// Work that follows from it, or that is done by it.
    pub tasks: Vec<TaskChange>,
}

/// A record to write.
#[derive(Clone, Debug)]
pub struct RecordWrite {
    /// The record as it shall be.
    pub record: Arc<CanonicalRecord>,
    /// The revision that must be stored; `None`: no such record may exist.
    pub expected: Option<u64>,
    /// Native records that become linked to it.
    pub links_added: Vec<NativeKey>,
    /// Native records that are linked to it no more.
    pub links_removed: Vec<NativeKey>,
    /// Key values it comes to own.
    pub claims_added: Vec<Claim>,
    /// Key values it lets go.
    pub claims_released: Vec<Claim>,
    /// It lets go of key values or of native records: what waits because of it is due.
    pub makes_way: bool,
    /// Systems that are sent a create of it.
    pub creates_opened: Vec<SystemName>,
    /// Systems that have answered theirs, or will get none.
    pub creates_closed: Vec<SystemName>,
    /// What changes about its outbound messages.
    pub outbox: Vec<OutboxChange>,
    /// The records it refers to, once written; none where it is deleted or part of another one.
    pub refers_to: BTreeSet<CanonicalId>,
    /// Those it referred to as it is stored.
    pub referred_to: BTreeSet<CanonicalId>,
    /// It goes altogether: it was deleted long ago. What was decided about it stays as long as other decisions do.
    pub removes: bool,
}

/// A decision row with what is kept for redeliveries.
#[derive(Clone, Debug)]
pub struct DecisionWrite {
    /// The row.
    pub decision: Decision,
    /// Hash of the update's content.
    pub content_hash: u64,
    /// The row replaces the waiting row of the same update; without it the update must be new.
    pub replaces: bool,
    /// Its place among the rows of the batch: they are listed in the order in which they were decided, whatever record
    /// they are about.
    pub place: u32,
}

/// A change of one outbox row, the state "(record, system) is owed rev r".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboxChange {
    /// The system must be sent this rev (or a later one).
    Due {
        /// The system.
        system: SystemName,
        /// The rev.
        rev: u64,
    },
    /// As [`Due`](Self::Due), and nothing before it counts as delivered: its place in the outbox was another one.
    DueAfresh {
        /// The system.
        system: SystemName,
        /// The rev.
        rev: u64,
    },
    /// As [`Due`](Self::Due), but not before a time. What is owed already stays so.
    DueLater {
        /// The system.
        system: SystemName,
        /// The rev.
        rev: u64,
        /// When it may be sent.
        not_before: Timestamp,
    },
    /// The broker has confirmed a message, which is noted together with a change of its record.
    Sent(Published),
    /// The system has answered that it applied this rev.
    Applied {
        /// The system.
        system: SystemName,
        /// The rev.
        rev: u64,
    },
    /// The system could not apply it; it is sent again at the given time.
    Failed {
        /// The system.
        system: SystemName,
        /// The rev.
        rev: u64,
        /// When to send again.
        retry_at: Timestamp,
    },
    /// The system will not take it.
    Rejected {
        /// The system.
        system: SystemName,
        /// The rev.
        rev: u64,
    },
}

impl OutboxChange {
    /// The system and the rev it has answered, whatever the answer was.
    #[must_use]
    pub const fn answered(&self) -> Option<(&SystemName, u64)> {
        match self {
            Self::Due { .. } | Self::DueAfresh { .. } | Self::DueLater { .. } | Self::Sent(_) => None,
            Self::Applied { system, rev } | Self::Failed { system, rev, .. } | Self::Rejected { system, rev } => Some((system, *rev)),
        }
    }
}

/// One outbox row: what a system is owed of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The record.
    pub record: CanonicalId,
    /// The system.
    pub system: SystemName,
    /// The rev it must get, or a later one.
    pub rev: u64,
    /// The last rev the broker confirmed; 0 if none is on its way.
    pub published: u64,
    /// Messages up to this rev count as delivered: a message names the fields of all later ones.
    pub delivered: u64,
    /// When it may be sent, after a failure.
    pub retry_at: Option<Timestamp>,
    /// How often sending failed in a row.
    pub attempts: u32,
    /// Until when what is on its way should be answered; `None`: nothing is, or no answer is expected.
    pub answer_by: Option<Timestamp>,
}

/// What the relay says about a row after publishing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The record.
    pub record: CanonicalId,
    /// The system.
    pub system: SystemName,
    /// The rev the broker confirmed.
    pub rev: u64,
    /// Nothing was sent, as there was nothing left to say up to this rev.
    pub nothing: bool,
    /// How often sending had failed before, and when it was to be tried again, by the row it was sent for.
    pub tried: (u32, Option<Timestamp>),
    /// Whether the row stays until the system has answered; else it goes if nothing newer is owed.
    pub awaits_receipt: bool,
    /// Until when it should have.
    pub answer_by: Option<Timestamp>,
}

/// What is known about a system from what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemFacts {
    /// The system.
    pub system: SystemName,
    /// Types it was seen with.
    pub types: BTreeSet<EntityType>,
    /// It answers what it is sent.
    pub receipts_seen: bool,
    /// It says what it had applied.
    pub base_seen: bool,
}

impl SystemFacts {
    /// A system nothing is known about.
    #[must_use]
    pub const fn new(system: SystemName) -> Self {
        Self { system, types: BTreeSet::new(), receipts_seen: false, base_seen: false }
    }
}

/// Up to when decided rows and what is left of them may go; `None`: they stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// `unchanged` rows.
    pub unchanged: Option<Timestamp>,
    /// `echo` rows.
    pub echo: Option<Timestamp>,
    /// All other final rows.
    pub others: Option<Timestamp>,
    /// The markers of rows that are gone.
    pub markers: Option<Timestamp>,
}

/// Which decisions to list; every given part must hold.
#[derive(Clone, Debug, Default)]
pub struct DecisionFilter {
    /// Of this record.
    pub record: Option<CanonicalId>,
    /// From this system.
    pub system: Option<SystemName>,
    /// Of this type.
    pub entity_type: Option<EntityType>,
    /// Of this kind.
    pub decision: Option<DecisionKind>,
    /// Decided at or after.
    pub since: Option<Timestamp>,
    /// Decided before.
    pub until: Option<Timestamp>,
    /// The reason has all these words.
    pub reason: Option<String>,
}

/// The words of a text, in small letters. What is between them does not matter.
#[must_use]
pub fn words_of(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

impl DecisionFilter {
    /// The words a reason must have.
    #[must_use]
    pub fn words(&self) -> BTreeSet<String> {
        self.reason.as_deref().map(words_of).unwrap_or_default()
    }

    /// Whether every row fits.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        let Self { record, system, entity_type, decision, since, until, reason } = self;
        record.is_none()
            && system.is_none()
            && entity_type.is_none()
            && decision.is_none()
            && since.is_none()
            && until.is_none()
            && reason.is_none()
    }
}

/// A place in a list. Opaque to callers; stable under inserts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

impl Cursor {
    /// The place of an id that is a UUID; anything else is no cursor of such a list.
    pub fn uuid(&self, operation: &'static str) -> Result<&str, PortError> {
        let invalid = |_| PortError::new(PortErrorKind::Invalid, operation, "the cursor is not one of this list");
        uuid::Uuid::parse_str(&self.0).map(|_| self.0.as_str()).map_err(invalid)
    }
}

impl Page<Audit> {
    /// A page from entries that were read one too far.
    #[must_use]
    pub fn of_audits(mut items: Vec<Audit>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|entry| Cursor(entry.id.clone()));
        Self { items, next }
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts; `None` at the end, and only there.
    pub next: Option<Cursor>,
}

/// Keeps everything Syncline knows.
///
/// Every method may fail with [`Unavailable`](super::error::PortErrorKind::Unavailable); its futures are never dropped
/// half-way by the engine.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// Answers everything a batch wants to know, one query per kind.
    async fn look_up(&self, lookup: &Lookup) -> Result<Found, PortError>;

    /// Loads records by id, in one query; unknown ids are left out.
    async fn records(&self, ids: &[CanonicalId]) -> Result<Vec<Versioned>, PortError>;

    /// Applies every plan in `batch` or none of them, and returns when they are durable.
    ///
    /// Fails with [`Conflict`](super::error::PortErrorKind::Conflict), naming the plans in its way (as positions in
    /// `batch.plans`; as many as it can find), when a stored revision differs from the expected or checked one, a decision or
    /// dead letter with the same update id exists that is not to be replaced, a dead letter that was dealt with is not
    /// stored as it was read, or a link or key belongs to another record. Releases and settled dead letters
    /// count before additions. Rows get their place in lists by [`DecisionWrite::place`], then in the order of `batch`.
    async fn commit(&self, batch: &Batch) -> Result<(), PortError>;

    /// The records of a type that refer to one of `parents` (see [`RecordWrite::refers_to`]), by id, starting after `after`,
    /// at most `limit`.
    async fn children(
        &self,
        parents: &[CanonicalId],
        entity_type: &EntityType,
        after: Option<CanonicalId>,
        limit: usize,
    ) -> Result<Vec<CanonicalId>, PortError>;

    /// Records deleted before a time, the one deleted first coming first, starting after `after`, at most `limit`. The time
    /// is that of the delete, as exactly as the store lists it.
    async fn deleted(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, CanonicalId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, CanonicalId)>, PortError>;

    /// Work that is still to be done, at most `limit`.
    async fn tasks(&self, limit: usize) -> Result<Vec<Task>, PortError>;

    /// Outbox rows in the order they became due, starting after `after` (a position), at most `limit`, each with its
    /// position. Rows of one record may stand together, where the last of them became due. Page by page, each row that
    /// stays as it is gets its turn, whatever becomes of others meanwhile.
    async fn owed(&self, after: u64, limit: usize) -> Result<Vec<(u64, Owed)>, PortError>;

    /// The outbox rows of these (record, system) pairs, as far as they exist.
    async fn owed_of(&self, pairs: &[(CanonicalId, SystemName)]) -> Result<Vec<Owed>, PortError>;

    /// Notes what the broker has confirmed.
    async fn published(&self, messages: &[Published]) -> Result<(), PortError>;

    /// Everything known about systems.
    async fn facts(&self) -> Result<Vec<SystemFacts>, PortError>;

    /// Waiting updates whose time has come; those whose missing references are all known now (there were too many for the batch
    /// that brought the last one, or a race hid them from it); and those for which a record [in their
    /// way](crate::domain::waiting::WaitingFor::in_its_way) has [made way](RecordWrite::makes_way) since they were kept. In
    /// arrival order.
    async fn waiting_due(&self, now: Timestamp, limit: usize) -> Result<Vec<Waiting>, PortError>;

    /// The earliest `retry_at` of any waiting update.
    async fn next_due(&self) -> Result<Option<Timestamp>, PortError>;

    /// Takes away final rows decided before a time, leaving their markers, and then the markers of rows that are gone; those
    /// never sooner than rows of any kind. Looks at about `limit` rows of each kind; returns whether there may be more. Rows that wait stay, and so do the markers of
    /// dead letters.
    async fn forget(&self, expired: &Expired, limit: usize) -> Result<bool, PortError>;

    /// Writes final rows again, each in the place of the stored one, with nothing changed by which it is found or listed. One
    /// that is not stored (any more) is left out.
    async fn rewrite(&self, rows: &[Decision]) -> Result<(), PortError>;

    /// The row of one update.
    async fn decision(&self, update: &UpdateId) -> Result<Option<Decision>, PortError>;

    /// Rows, newest first. Where no index tells which rows fit (words, a type) a store may look through some thousands and no
    /// more: a page may then have fewer items than `limit`, or none, and still say where the next one starts.
    async fn decisions(&self, filter: &DecisionFilter, after: Option<&Cursor>, limit: usize) -> Result<Page<Decision>, PortError>;

    /// Records by id, of one type or all.
    async fn list_records(
        &self,
        entity_type: Option<&EntityType>,
        after: Option<CanonicalId>,
        limit: usize,
    ) -> Result<Vec<Versioned>, PortError>;

    /// How many records are stored, deleted and merged ones among them. Of more than ten thousand it is told about how many: the
    /// answer may be a minute old.
    async fn count_records(&self) -> Result<u64, PortError>;

    /// Waiting updates in arrival order, after a position (`arrival`).
    async fn list_waiting(&self, after: Option<u64>, limit: usize) -> Result<Vec<Waiting>, PortError>;

    /// Dead letters, oldest first. A page ends early before what its letters say comes to more than [`LETTERS_BYTES`]; one letter it
    /// always has.
    async fn dead_letters(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<DeadLetter>, PortError>;

    /// One dead letter.
    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, PortError>;

    /// Counts what is still to be done. A store that can count does it in a few queries.
    async fn tally(&self) -> Result<Tally, PortError> {
        tally::by_reading(self).await
    }

    /// Keeps what somebody did, durably. An entry whose id is there already changes nothing: it may be said again where it
    /// is not known whether it was kept.
    async fn audit(&self, entry: &Audit) -> Result<(), PortError>;

    /// What was done, newest first (by id), after a place in the list.
    async fn audits(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<Audit>, PortError>;

    /// Adds one to a named counter and returns its new value: the run number of `batch`, the arrival order after a start.
    async fn count_up(&self, name: &str) -> Result<u64, PortError>;

    /// Forgets named counters. One that is not there is no matter.
    async fn forget_counts(&self, names: &[String]) -> Result<(), PortError>;

    /// What is kept back, or was once, by [`Hold`](super::hold::Hold). Few.
    async fn holds(&self) -> Result<Vec<HoldRow>, PortError>;

    /// Keeps a hold, in the place of what is known of the same.
    async fn put_hold(&self, row: &HoldRow) -> Result<(), PortError>;

    /// The store's epoch; adapters compare it before `rev`.
    async fn epoch(&self) -> Result<u64, PortError>;

    /// Raises the epoch by one and returns it: what is sent from now on counts as newer than all that was sent before. Only
    /// while no orchestrator is at work on the store.
    async fn raise_epoch(&self) -> Result<u64, PortError>;

    /// Says that an orchestrator is at work on this store, and finds the others that are. To be said again every second or
    /// so: one that is not heard of for some seconds counts as gone, and what it left half-done is let go.
    ///
    /// A store that one process has for itself knows of nobody else.
    async fn attend(&self, presence: &Presence) -> Result<Vec<Presence>, PortError> {
        let _ = presence;
        Ok(Vec::new())
    }

    /// Says that an orchestrator has ended its work.
    async fn leave(&self, presence: &Presence) -> Result<(), PortError> {
        let _ = presence;
        Ok(())
    }
}
