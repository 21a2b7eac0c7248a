//! Loads everything a chunk of inputs needs, one query per kind, before any of it is decided.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::acts::Act;
use super::change_sets::Members;
use super::compensating::Refused;
use super::decide::Decider;
use super::directory::Shown;
use super::doing;
use super::input::{Input, InputKind, Resend, Step};
use super::person::Acting;
use super::unit::{Owner, Unit};
use crate::domain::change::{ChangeBody, Inbound, NativeChange, Receipt, Rejection};
use crate::domain::identity::{TypedClaim, claims_of};
use crate::domain::ids::{CanonicalId, NativeKey, UpdateId};
use crate::domain::projection::{NativeReference, native_references, open_native};
use crate::domain::review::{Says, Word};
use crate::domain::rules::TypeRules;
use crate::domain::sending::Target;
use crate::domain::value::Leaves;
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::error::PortError;
use crate::ports::store::{DeadLetter, Found, LetterEnd, Lookup, WAITING_ON_MAX};

/// An input made ready: in canonical names, with the rules it is decided by.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its position in the unit.
    pub position: usize,
    /// What it is.
    pub content: Content,
    /// The act it comes from, if it does.
    pub acting: Option<Acting>,
}

impl Item {
    /// The changes it consists of.
    pub(super) fn changes(&self) -> &[ChangeItem] {
        match &self.content {
            Content::Change(change) => std::slice::from_ref(change),
            Content::ChangeSet(members) => &members.items,
            Content::Receipt(..)
            | Content::Dead(_)
            | Content::Unreadable(..)
            | Content::Resend(..)
            | Content::Refused(_)
            | Content::Regroup(_)
            | Content::Step(_)
            | Content::Nothing => &[],
        }
    }
}

/// What an item is.
#[derive(Clone, Debug)]
pub enum Content {
    /// A change.
    Change(Box<ChangeItem>),
    /// Several changes, all or none.
    ChangeSet(Box<Members>),
    /// A receipt.
    Receipt(Box<Receipt>, Target, Arc<TypeRules>),
    /// It can't be processed.
    Dead(Box<DeadLetter>),
    /// It waited, and can't be read any more.
    Unreadable(Arc<Waiting>, Box<DeadLetter>),
    /// A record whose sends are looked at again.
    Resend(CanonicalId, Resend),
    /// A refusal that waited for a person.
    Refused(Box<Refused>),
    /// Somebody says which records are one thing, or two.
    Regroup(Arc<Act>),
    /// A step of work that was left behind.
    Step(Step),
    /// There is nothing to decide.
    Nothing,
}

impl Content {
    fn unreadable(waiting: &Arc<Waiting>, rejection: &Rejection) -> Self {
        Self::Unreadable(waiting.clone(), Box::new(super::burying::dead_waiting(waiting, rejection)))
    }
}

/// A change in canonical names.
#[derive(Clone, Debug)]
pub struct ChangeItem {
    /// The change as it came.
    pub change: Arc<NativeChange>,
    /// Its fields; references are still native ids.
    pub leaves: Leaves,
    /// Its references.
    pub references: Vec<NativeReference>,
    /// The source.
    pub source: Target,
    /// The rules of its type.
    pub types: Arc<TypeRules>,
    /// The row it waited as, if it did.
    pub woken: Option<Arc<Waiting>>,
    /// The last word about it, if it was spoken.
    pub word: Option<Word>,
    /// The record as a person wants it, in canonical names, with its references as native ids.
    pub edit: Option<(Leaves, Vec<NativeReference>)>,
    /// A person requeued it.
    pub requeued: bool,
}

impl ChangeItem {
    /// 1 on the first try. Looking whether it is a create of ours coming back is none.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.woken.as_ref().map_or(1, |woken| match &woken.waiting_for {
            WaitingFor::OpenCreate { .. } | WaitingFor::Brake { .. } => woken.attempts,
            WaitingFor::MissingReference { .. }
            | WaitingFor::MatchCollision { .. }
            | WaitingFor::DuplicateInSystem { .. }
            | WaitingFor::NoIdentity
            | WaitingFor::NoBase
            | WaitingFor::Review
            | WaitingFor::Time => woken.attempts + 1,
        })
    }

    /// Whether it may be decided without knowing if it was before: its row tells. A delete counts before it has one, and a dead
    /// letter that somebody deals with may have left a mark.
    fn is_expected_new(&self) -> bool {
        !self.requeued && !matches!(self.change.body, ChangeBody::Delete)
    }
}

impl Decider {
    /// Makes inputs ready and loads what they need into the unit.
    pub(super) async fn load(&mut self, unit: &mut Unit, inputs: Vec<Input>) -> Result<Vec<Item>, PortError> {
        // That a link is missing is never remembered: a unit may stay open while another process makes it.
        unit.links.retain(|_, owner| owner.id.is_some() || owner.made_by.is_some());
        let mut items = Vec::with_capacity(inputs.len());
        for mut input in inputs {
            let position = unit.inputs.len();
            let (content, acting) = match &input.kind {
                InputKind::Act(act) => doing(self.ready_act(unit, &act.clone(), &mut input)).await?,
                InputKind::Message(_) | InputKind::Broken(_) | InputKind::Awake(_) | InputKind::Resend { .. } | InputKind::Step(_) => {
                    (self.make_ready(unit, &input), None)
                }
            };
            if let (Some(_), Content::Change(item)) = (&acting, &content) {
                unit.acted_on.insert(position, item.clone());
            }
            unit.inputs.push(input);
            items.push(Item { position, content, acting });
        }
        let cached = self.look_up(unit, &items).await?;
        for settled in items.iter().filter_map(|item| item.acting.as_ref()?.settles.as_ref()) {
            // The marker it left goes with it.
            if let LetterEnd::Requeued(Some(update)) = &settled.end {
                unit.markers.remove(update);
            }
        }
        self.load_records(unit, &items).await?;
        self.distrust_stale_ids(unit, &cached).await?;
        self.distrust_stale_records(unit, &items, &cached).await?;
        self.look_up_new_claims(unit, &items).await?;
        self.look_up_sent(unit, &items).await?;
        Ok(items)
    }

    pub(super) fn make_ready(&mut self, unit: &mut Unit, input: &Input) -> Content {
        match &input.kind {
            InputKind::Broken(dead) => Content::Dead(Box::new(DeadLetter::clone(dead))),
            InputKind::Resend { record, what } => Content::Resend(*record, what.clone()),
            InputKind::Step(step) => Content::Step(step.clone()),
            InputKind::Message(message) => self.ready_message(unit, message, input),
            InputKind::Awake(waiting) => {
                let word = waiting.word.clone().or_else(|| self.last_word(waiting));
                self.ready_waiting(unit, waiting, word, input)
            }
            // What it is about has to be read first.
            InputKind::Act(_) => Content::Nothing,
        }
    }

    pub(super) fn ready_message(&mut self, unit: &mut Unit, message: &Inbound, input: &Input) -> Content {
        match message {
            Inbound::Change(change) => self.ready_change(unit, change.clone(), None, None, input),
            Inbound::Receipt(receipt) => self.ready_receipt(unit, receipt.clone()),
            Inbound::ChangeSet { id, updates } => self.ready_set(unit, id, updates, input),
        }
    }

    pub(super) fn ready_waiting(&mut self, unit: &mut Unit, waiting: &Arc<Waiting>, word: Option<Word>, input: &Input) -> Content {
        if super::compensating::is_refusal(waiting) {
            return match Refused::read(waiting, word) {
                Ok(refused) => Content::Refused(Box::new(refused)),
                Err(rejection) => Content::unreadable(waiting, &rejection),
            };
        }
        let opened = super::messages::change_of(waiting).and_then(|change| {
            let (types, source) = self.sides_of(&waiting.key);
            Ok((change, open_edit(word.as_ref(), &waiting.key, &source, &types)?))
        });
        match opened {
            Ok((change, edit)) => {
                let mut content = self.ready_change(unit, change, Some(waiting.clone()), word, input);
                if let Content::Change(item) = &mut content {
                    item.edit = edit;
                }
                content
            }
            Err(rejection) => Content::unreadable(waiting, &rejection),
        }
    }

    /// The rules of a native record's type, and how its system takes part.
    pub(super) fn sides_of(&self, key: &NativeKey) -> (Arc<TypeRules>, Target) {
        (self.settings.rules.of_type(&key.entity_type), self.directory.target(&key.system, &key.entity_type))
    }

    fn ready_change(
        &mut self,
        unit: &mut Unit,
        change: Arc<NativeChange>,
        woken: Option<Arc<Waiting>>,
        word: Option<Word>,
        input: &Input,
    ) -> Content {
        let shown = Shown { entity_type: Some(&change.key.entity_type), base: change.base.is_some(), receipt: false };
        self.learn(unit, &change.key.system, shown);
        let (types, source) = self.sides_of(&change.key);
        match open_change(&change, &source, &types) {
            Ok((leaves, references)) => {
                self.directory.warn_of_ids(&change.key.entity_type, &types, &leaves);
                Content::Change(Box::new(ChangeItem {
                    change,
                    leaves,
                    references,
                    source,
                    types,
                    woken,
                    word,
                    edit: None,
                    requeued: false,
                }))
            }
            Err(rejection) => {
                let mut dead = Box::new(super::burying::dead_change(&change, &rejection, input.received_at));
                let Some(waiting) = woken else { return Content::Dead(dead) };
                dead.marks = Some((change.update.clone(), change.content_hash));
                Content::Unreadable(waiting, dead)
            }
        }
    }

    fn ready_receipt(&mut self, unit: &mut Unit, receipt: Receipt) -> Content {
        self.learn(unit, receipt.system(), Shown { receipt: true, ..Shown::default() });
        let types = self.settings.rules.of_type(&receipt.entity_type);
        let source = self.directory.target(receipt.system(), &receipt.entity_type);
        Content::Receipt(Box::new(receipt), source, types)
    }

    /// Asks for what is in none of unit, running commit and cache. Returns the links that came from the cache.
    async fn look_up(&mut self, unit: &mut Unit, items: &[Item]) -> Result<Vec<NativeKey>, PortError> {
        let mut lookup = Lookup::default();
        let mut cached = Vec::new();
        for item in items {
            match &item.content {
                Content::Change(change) => self.wants_of_change(unit, change, change.is_expected_new(), &mut lookup, &mut cached),
                Content::ChangeSet(members) => {
                    // A set that can't be decided now leaves no rows.
                    members.items.iter().for_each(|change| self.wants_of_change(unit, change, false, &mut lookup, &mut cached));
                }
                Content::Receipt(receipt, ..) => {
                    self.want_marker(unit, &receipt.update, &mut lookup.updates);
                    if let Some(native_id) = &receipt.native_id {
                        let key = NativeKey {
                            system: receipt.system().clone(),
                            entity_type: receipt.entity_type.clone(),
                            native_id: native_id.clone(),
                        };
                        self.want_link(unit, &key, &mut lookup, &mut cached);
                        if unit.linked(&key).is_none() {
                            // What it binds may have been reported before, or be waited for.
                            lookup.waiting_of.push(key.clone());
                            if unit.may_wake() {
                                lookup.waiting_on.push(key);
                            }
                        }
                    }
                }
                Content::Refused(refused) => self.want_link(unit, refused.key(), &mut lookup, &mut cached),
                Content::Unreadable(waiting, _) => self.want_link(unit, &waiting.key, &mut lookup, &mut cached),
                Content::Dead(_) | Content::Resend(..) | Content::Regroup(_) | Content::Step(_) | Content::Nothing => {}
            }
        }
        let found = if lookup.is_empty() { Found::default() } else { self.store.look_up(&lookup).await? };
        self.note(unit, &lookup, found);
        Ok(cached)
    }

    fn wants_of_change(&self, unit: &mut Unit, item: &ChangeItem, fresh: bool, lookup: &mut Lookup, cached: &mut Vec<NativeKey>) {
        let key = &item.change.key;
        if item.woken.is_none() {
            let asked = if fresh { &mut lookup.fresh } else { &mut lookup.updates };
            self.want_marker(unit, &item.change.update, asked);
        }
        self.want_link(unit, key, lookup, cached);
        lookup.waiting_of.push(key.clone());
        if let ChangeBody::Rekey(new) = &item.change.body {
            let new = NativeKey { native_id: new.clone(), ..key.clone() };
            self.want_link(unit, &new, lookup, cached);
            lookup.waiting_of.push(new.clone());
            lookup.waiting_on.push(new);
        }
        for reference in item.references.iter().chain(item.edit.iter().flat_map(|(_, references)| references)) {
            self.want_link(unit, &reference.key, lookup, cached);
        }
        if unit.linked(key).is_none() {
            if unit.may_wake() {
                lookup.waiting_on.push(key.clone());
            }
            if self.settles(item) {
                lookup.open_creates.push((key.system.clone(), key.entity_type.clone()));
            }
            for claim in claims_of(&item.types.keys, |path| item.leaves.get(path)) {
                self.want_claim(unit, TypedClaim { entity_type: key.entity_type.clone(), claim }, lookup);
            }
        }
    }

    fn want_marker(&self, unit: &mut Unit, update: &UpdateId, asked: &mut Vec<UpdateId>) {
        if unit.markers.contains_key(update) || unit.decided.contains_key(update) {
            return;
        }
        match self.overlay.as_ref().and_then(|overlay| overlay.markers.get(update)) {
            Some(marker) => {
                unit.markers.insert(update.clone(), *marker);
            }
            None => asked.push(update.clone()),
        }
    }

    pub(super) fn want_link(&self, unit: &mut Unit, key: &NativeKey, lookup: &mut Lookup, cached: &mut Vec<NativeKey>) {
        if unit.links.contains_key(key) {
            return;
        }
        let id = match self.overlay.as_ref().and_then(|overlay| overlay.links.get(key)).copied() {
            Some(running) => running,
            None => {
                let id = self.caches.id(key);
                if id.is_some() {
                    cached.push(key.clone());
                } else {
                    lookup.links.push(key.clone());
                }
                id
            }
        };
        unit.links.insert(key.clone(), Owner { id, made_by: None });
    }

    fn want_claim(&self, unit: &mut Unit, claim: TypedClaim, lookup: &mut Lookup) {
        if unit.claims.contains_key(&claim) {
            return;
        }
        match self.overlay.as_ref().and_then(|overlay| overlay.claims.get(&claim)) {
            Some(id) => {
                unit.claims.insert(claim, Owner { id: *id, made_by: None });
            }
            None => lookup.claims.push(claim),
        }
    }

    /// Notes the answers, what was not found included.
    pub(super) fn note(&mut self, unit: &mut Unit, lookup: &Lookup, found: Found) {
        unit.markers.extend(found.markers);
        for asked in &lookup.open_creates {
            unit.open_creates.remove(asked);
        }
        unit.open_creates.extend(found.open_creates);
        for key in &lookup.links {
            let id = found.links.get(key).copied();
            if let Some(id) = id {
                self.caches.put_id(key, id);
            }
            unit.links.insert(key.clone(), Owner { id, made_by: None });
        }
        for claim in &lookup.claims {
            unit.claims.insert(claim.clone(), Owner { id: found.claims.get(claim).copied(), made_by: None });
        }
        unit.woken_left |= found.waiting.len() >= WAITING_ON_MAX;
        let keys: HashSet<&NativeKey> = lookup.waiting_of.iter().chain(&lookup.waiting_on).collect();
        let running = self.overlay.clone();
        let from_overlay = running.iter().flat_map(|overlay| overlay.waiting_for_any(&keys)).cloned();
        let awake = |update: &UpdateId| running.as_ref().is_some_and(|overlay| overlay.awake.contains(update));
        let from_store = found.waiting.into_iter().filter(|waiting| !awake(&waiting.update));
        for waiting in from_store.chain(from_overlay) {
            unit.note_waiting(waiting);
        }
    }

    /// Loads every record the items may touch.
    async fn load_records(&mut self, unit: &mut Unit, items: &[Item]) -> Result<(), PortError> {
        let mut ids: HashSet<CanonicalId> = HashSet::new();
        for item in items {
            match &item.content {
                Content::Change(change) => ids_of_change(unit, change, &mut ids),
                Content::ChangeSet(members) => members.items.iter().for_each(|change| ids_of_change(unit, change, &mut ids)),
                Content::Receipt(receipt, ..) => {
                    ids.extend(receipt.canonical_id);
                    let key = receipt.native_id.clone().map(|native_id| NativeKey {
                        system: receipt.system().clone(),
                        entity_type: receipt.entity_type.clone(),
                        native_id,
                    });
                    ids.extend(key.and_then(|key| unit.linked(&key)));
                }
                Content::Resend(id, _) => {
                    ids.insert(*id);
                }
                Content::Refused(refused) => ids.extend(refused.receipt.canonical_id.or_else(|| unit.linked(refused.key()))),
                Content::Unreadable(waiting, _) => {
                    ids.extend(unit.linked(&waiting.key).or(waiting.change.as_ref().map(|change| change.canonical_id)));
                }
                Content::Step(
                    Step::Orphan { child, parent } | Step::Reunite { child, parent, .. } | Step::Rename { child, parent, .. },
                ) => {
                    // Another process may have changed them, and nothing is written here that would tell.
                    [child, parent].into_iter().for_each(|id| self.caches.forget_record(*id));
                    ids.extend([*child, *parent]);
                }
                Content::Step(Step::Forget(id) | Step::EraseLetter { record: id, .. }) => {
                    ids.insert(*id);
                }
                Content::Dead(_) | Content::Regroup(_) | Content::Step(Step::Done(_)) | Content::Nothing => {}
            }
        }
        self.load_ids(unit, ids).await
    }

    /// Loads records by id, and those they have become part of: from the running commit, the cache, or the store.
    pub(super) async fn load_ids(&self, unit: &mut Unit, ids: impl IntoIterator<Item = CanonicalId>) -> Result<(), PortError> {
        let ids: Vec<CanonicalId> = ids.into_iter().collect();
        self.load_these(unit, &ids).await?;
        let into: Vec<CanonicalId> = ids.iter().filter_map(|id| unit.record(*id)?.merged_into).collect();
        if into.is_empty() { Ok(()) } else { self.load_these(unit, &into).await }
    }

    async fn load_these(&self, unit: &mut Unit, ids: &[CanonicalId]) -> Result<(), PortError> {
        let mut wanted = Vec::new();
        for id in ids {
            if unit.loaded.contains_key(id) || unit.by_record.contains_key(id) {
                continue;
            }
            if self.overlay.as_ref().is_some_and(|overlay| overlay.removed.contains(id)) {
                continue;
            }
            let running = self.overlay.as_ref().and_then(|overlay| overlay.records.get(id)).cloned();
            match running.or_else(|| self.caches.record(*id)) {
                Some(versioned) => {
                    unit.loaded.insert(*id, versioned);
                }
                None => wanted.push(*id),
            }
        }
        if !wanted.is_empty() {
            for versioned in self.store.records(&wanted).await? {
                // Most of them are written next: what is worth remembering is known once they are committed.
                unit.asked.push(versioned.record.id);
                unit.loaded.insert(versioned.record.id, versioned);
            }
        }
        Ok(())
    }

    /// A cached link is believed only if the loaded record lists it; otherwise it is resolved again.
    async fn distrust_stale_ids(&mut self, unit: &mut Unit, cached: &[NativeKey]) -> Result<(), PortError> {
        let lists = |unit: &Unit, key: &NativeKey| {
            let record = unit.linked(key).and_then(|id| unit.record(id));
            record.is_none_or(|record| record.link_of(&key.system, &key.native_id).is_some())
        };
        let stale: Vec<NativeKey> = cached.iter().filter(|key| !lists(unit, key)).cloned().collect();
        if stale.is_empty() {
            return Ok(());
        }
        for key in &stale {
            self.caches.forget_id(key);
        }
        let lookup = Lookup { links: stale, ..Lookup::default() };
        let found = self.store.look_up(&lookup).await?;
        let ids: Vec<CanonicalId> = found.links.values().copied().collect();
        self.note(unit, &lookup, found);
        self.load_ids(unit, ids).await
    }

    /// A remembered record that does not list a link the store has is older than that link. Whoever writes it would be told;
    /// what is decided without writing it must not be decided by it.
    async fn distrust_stale_records(&mut self, unit: &mut Unit, items: &[Item], cached: &[NativeKey]) -> Result<(), PortError> {
        let (mut stale, mut keys) = (Vec::new(), Vec::new());
        for change in items.iter().flat_map(Item::changes) {
            let key = &change.change.key;
            let Some(id) = unit.linked(key).filter(|id| !unit.by_record.contains_key(id)) else { continue };
            if unit.record(id).is_some_and(|record| record.link_of(&key.system, &key.native_id).is_none()) {
                stale.push(id);
                keys.push(key.clone());
            }
        }
        for id in &stale {
            self.caches.forget_record(*id);
            unit.loaded.remove(id);
        }
        if stale.is_empty() {
            return Ok(());
        }
        self.load_ids(unit, stale).await?;
        // Where it is the link that is older, as it has just moved to another record, that is looked up once more. So is every
        // remembered one: the old record may have listed it, and the new one may not.
        keys.extend(cached.iter().cloned());
        self.distrust_stale_ids(unit, &keys).await
    }

    /// Linked records may come with new key values: who owns those?
    async fn look_up_new_claims(&mut self, unit: &mut Unit, items: &[Item]) -> Result<(), PortError> {
        let mut lookup = Lookup::default();
        for change in items.iter().flat_map(Item::changes) {
            let Some(record) = unit.linked(&change.change.key).and_then(|id| unit.record(id)) else { continue };
            if change.types.keys.is_empty() {
                continue;
            }
            let due = claims_of(&change.types.keys, |path| change.leaves.get(path).or_else(|| record.data.get(path)));
            let new: Vec<_> = due.into_iter().filter(|claim| !record.claims.contains(claim)).collect();
            for claim in new {
                self.want_claim(unit, TypedClaim { entity_type: change.change.key.entity_type.clone(), claim }, &mut lookup);
            }
        }
        if lookup.is_empty() {
            return Ok(());
        }
        let found = self.store.look_up(&lookup).await?;
        self.note(unit, &lookup, found);
        Ok(())
    }

    /// Who owns these claims, asked one by one where it could not be known before.
    pub(super) async fn owners(&mut self, unit: &mut Unit, claims: &[TypedClaim]) -> Result<HashMap<TypedClaim, Owner>, PortError> {
        let mut lookup = Lookup::default();
        for claim in claims {
            self.want_claim(unit, claim.clone(), &mut lookup);
        }
        if !lookup.is_empty() {
            let found = self.store.look_up(&lookup).await?;
            self.note(unit, &lookup, found);
        }
        Ok(claims.iter().filter_map(|claim| Some((claim.clone(), *unit.claims.get(claim)?))).collect())
    }
}

/// The records a change may touch.
fn ids_of_change(unit: &Unit, change: &ChangeItem, ids: &mut HashSet<CanonicalId>) {
    ids.extend(unit.linked(&change.change.key));
    ids.extend(change.change.canonical_id);
    ids.extend(change.woken.iter().filter_map(|woken| woken.change.as_ref().map(|change| change.canonical_id)));
    if unit.linked(&change.change.key).is_none() {
        let claims = claims_of(&change.types.keys, |path| change.leaves.get(path));
        let typed = |claim| TypedClaim { entity_type: change.change.key.entity_type.clone(), claim };
        ids.extend(claims.into_iter().filter_map(|claim| unit.claims.get(&typed(claim))?.id));
    }
}

/// A person's edit in canonical names, with what it refers to.
pub(super) fn open_edit(
    word: Option<&Word>,
    key: &NativeKey,
    source: &Target,
    types: &TypeRules,
) -> Result<Option<(Leaves, Vec<NativeReference>)>, Rejection> {
    let Some(Says::Approved { edited: Some(edited) }) = word.map(|word| &word.says) else { return Ok(None) };
    let leaves = open_native(edited.clone(), key, &source.side)?;
    let references = native_references(&leaves, key, types)?;
    Ok(Some((leaves, references)))
}

fn open_change(change: &NativeChange, source: &Target, types: &TypeRules) -> Result<(Leaves, Vec<NativeReference>), Rejection> {
    match &change.body {
        ChangeBody::Upsert(entity) | ChangeBody::Patch(entity) => {
            let leaves = open_native(entity.clone(), &change.key, &source.side)?;
            let references = native_references(&leaves, &change.key, types)?;
            Ok((leaves, references))
        }
        ChangeBody::Delete | ChangeBody::Rekey(_) => Ok((Leaves::new(), Vec::new())),
    }
}
