//! Two canonical records that turn out to be one thing become one (§1.10).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::CanonicalRecord;
use super::decision::{Conflict, Winner};
use super::ids::{CanonicalId, NativeId, SystemName};
use super::link::{Link, LinkState};
use super::planted;
use super::provenance::Source;
use super::rules::TypeRules;
use super::shadow::forget_stored;
use super::survivorship::{Contest, Survivor, survive};
use super::time::Timestamp;
use super::value::{FieldPath, Leaves, is_empty_object, same_held};

/// Why two records can't become one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CantMerge {
    /// They are one already.
    #[error("they are one record already")]
    Same,
    /// They are of different types.
    #[error("{0} and {1} are of different types")]
    OtherType(CanonicalId, CanonicalId),
    /// One of them is deleted.
    #[error("record {0} is deleted")]
    Deleted(CanonicalId),
    /// One of them is part of another record already.
    #[error("record {0} is part of record {1} already; merge that one")]
    Merged(CanonicalId, CanonicalId),
    /// A system has both, and can't be told that they are one.
    #[error("{0} has both, as {1} and as {2}; merge them there first: delete one of the two in {0}")]
    BothIn(SystemName, NativeId, NativeId),
    /// Together they are more than a store can keep as one record.
    #[error("together they would have {0} bytes, the limit is {1}")]
    TooLarge(usize, usize),
}

/// What the record that became part of another one changed there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// The version the other one became by it; 0 if that one became part of yet another record.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// The fields it changed, as they were before.
    pub before: Vec<Before>,
}

impl Undo {
    /// Whether a value came after the merge.
    #[must_use]
    pub fn is_followed_by(&self, source: &Source) -> bool {
        if self.version == 0 { source.at > self.at } else { source.version > self.version }
    }

    /// What it changed was changed in a record that is part of another one now: it can't be taken back any more.
    pub fn outlives(&mut self) {
        self.version = 0;
        self.before.clear();
    }
}

/// One field before a merge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// The field.
    pub field: FieldPath,
    /// Its value; `None`: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "present")]
    pub value: Option<Value>,
    /// Where that came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// A value that is null is not a value that is absent.
mod present {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    #[allow(clippy::ref_option, reason = "serde asks for it")]
    pub fn serialize<S: Serializer>(value: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
        Value::deserialize(deserializer).map(Some)
    }
}

/// What a merge did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    /// The fields of the surviving record it changed.
    pub changed: Vec<FieldPath>,
    /// The fields in which the two differed.
    pub conflicts: Vec<Conflict>,
    /// The native records that moved, former ids included.
    pub moved: Vec<(SystemName, NativeId)>,
    /// The messages of the record that is gone which nobody has to send any more: system and newest rev.
    pub closed: Vec<(SystemName, u64)>,
}

/// Makes two records one: the fields by the rules, the links and what their systems are known to hold as they are. What was
/// `loser` leads to `winner` from now on.
pub fn merge(winner: &mut CanonicalRecord, loser: &mut CanonicalRecord, types: &TypeRules, now: Timestamp) -> Result<Merged, CantMerge> {
    check(winner, loser)?;
    let mut merged = Merged::default();
    let (outcome, taken) = fields(winner, loser, types, &mut merged.conflicts);
    merged.changed = winner.data.differing(&outcome);
    winner.version += 1;
    let before = |field: &FieldPath| Before {
        field: field.clone(),
        value: winner.data.get(field).cloned(),
        source: winner.provenance.of(field).cloned(),
    };
    loser.undo = Some(Box::new(Undo { version: winner.version, at: now, before: merged.changed.iter().map(before).collect() }));
    winner.updated_at = now;
    winner.created_at = winner.created_at.min(loser.created_at);
    winner.replace_data(outcome, &merged.changed);
    for path in taken {
        if let Some(source) = loser.provenance.of(&path) {
            let source = Source { version: winner.version, ..source.clone() };
            winner.provenance.set([path], &source);
        }
    }
    let data = &winner.data;
    winner.provenance.retain(|path| data.get(path).is_some());
    for link in std::mem::take(&mut loser.links) {
        merged.closed.push((link.system.clone(), link.rev));
        merged.moved.extend(link.native_id.iter().chain(&link.aliases).map(|id| (link.system.clone(), id.clone())));
        loser.revs.insert(link.system.clone(), link.rev);
        let from = link.from.or(Some(loser.id));
        let version = winner.version;
        take_over(winner, Link { from, ..rebased(link, &loser.data, &winner.data, version) });
    }
    for (system, rev) in &loser.revs {
        let known = winner.revs.entry(system.clone()).or_default();
        *known = (*known).max(*rev);
    }
    winner.apart.remove(&loser.id);
    loser.apart.remove(&winner.id);
    winner.apart.append(&mut loser.apart);
    winner.absorbed.insert(loser.id);
    winner.absorbed.append(&mut loser.absorbed);
    loser.merged_into = Some(winner.id);
    Ok(merged)
}

fn check(winner: &CanonicalRecord, loser: &CanonicalRecord) -> Result<(), CantMerge> {
    if winner.id == loser.id {
        return Err(CantMerge::Same);
    }
    if winner.entity_type != loser.entity_type {
        return Err(CantMerge::OtherType(winner.id, loser.id));
    }
    for record in [winner, loser] {
        if let Some(into) = record.merged_into {
            return Err(CantMerge::Merged(record.id, into));
        }
        if record.tombstone.is_some() {
            return Err(CantMerge::Deleted(record.id));
        }
    }
    for link in &loser.links {
        if let (Some(id), Some(own)) = (loser.native_id(&link.system), winner.native_id(&link.system)) {
            return Err(CantMerge::BothIn(link.system.clone(), own.clone(), id.clone()));
        }
    }
    Ok(())
}

/// The fields of both, and which of them are the loser's.
fn fields(winner: &CanonicalRecord, loser: &CanonicalRecord, types: &TypeRules, conflicts: &mut Vec<Conflict>) -> (Leaves, Vec<FieldPath>) {
    let mut outcome = winner.data.clone();
    let mut taken = Vec::new();
    for (path, theirs) in loser.data.iter().filter(|(_, value)| !value.is_null()) {
        let ours = winner.data.held(path);
        let clashes = winner.data.has_inside(path) && !is_empty_object(theirs) || winner.data.lies_within_a_value(path);
        if same_held(ours, Some(theirs)) || is_empty_object(theirs) && winner.data.has_inside(path) {
            continue;
        }
        if clashes {
            conflicts.push(clash(winner, path, theirs));
            continue;
        }
        let (from, theirs_from) = (winner.provenance.of(path), loser.provenance.of(path));
        let (survivor, rule) = match (ours, theirs_from) {
            (None, _) => (Survivor::Incoming, None),
            (Some(_), None) => (Survivor::Current, None),
            (Some(_), Some(source)) => survivor(ours, from, theirs, source, path, types),
        };
        if ours.is_some() {
            conflicts.push(Conflict {
                field: path.clone(),
                base: None,
                ours: ours.cloned().unwrap_or(Value::Null),
                theirs: theirs.clone(),
                ours_from: from.map(|from| from.system.clone()),
                winner: match &survivor {
                    Survivor::Incoming => Winner::Theirs,
                    Survivor::Current => Winner::Ours,
                    Survivor::Combined(_) => Winner::Handler,
                },
                rule: rule.unwrap_or_else(|| "latest".to_owned()),
            });
        }
        match survivor {
            Survivor::Incoming => {
                outcome.set(path.clone(), theirs.clone());
                taken.push(path.clone());
            }
            Survivor::Combined(value) => outcome.set(path.clone(), value),
            Survivor::Current => {}
        }
    }
    (outcome, taken)
}

/// One record has an object where the other one has a value: the winner's stays.
fn clash(winner: &CanonicalRecord, path: &FieldPath, theirs: &Value) -> Conflict {
    let whole: FieldPath = winner.data.around(path).into_iter().next().unwrap_or_else(|| path.clone());
    let inside = winner.data.inside(&whole).into_iter().next().unwrap_or_else(|| whole.clone());
    let ours = winner.data.get(&whole).cloned();
    Conflict {
        field: path.clone(),
        base: None,
        ours: ours.or_else(|| winner.data.get(&inside).cloned()).unwrap_or(Value::Null),
        theirs: theirs.clone(),
        ours_from: winner.provenance.of(&inside).map(|from| from.system.clone()),
        winner: Winner::Ours,
        rule: "another shape".to_owned(),
    }
}

fn survivor(
    ours: Option<&Value>,
    from: Option<&Source>,
    theirs: &Value,
    source: &Source,
    path: &FieldPath,
    types: &TypeRules,
) -> (Survivor, Option<String>) {
    let chain = types.chain(path);
    let contest = Contest {
        current: ours,
        current_from: from,
        incoming: theirs,
        base: None,
        source: &source.system,
        occurred_at: source.occurred_at,
        first_contact: true,
        fills: false,
        decided_at: Some(source.at),
    };
    let verdict = survive(chain, &contest);
    (verdict.survivor, verdict.rule)
}

/// A link, said against the data of another record at a version: what its system is known to hold stays what it was.
pub(super) fn rebased(mut link: Link, old: &Leaves, new: &Leaves, version: u64) -> Link {
    let differing = old.differing(new);
    if !planted::fault("moved_shadow_not_rebased") {
        link.shadow.held.rebase(old, new, &differing);
    }
    link.shadow.disputed.retain(|path, said| !same_held(new.get(path), Some(said)));
    for sent in link.shadow.messages_mut() {
        sent.rebase(old, new, &differing);
    }
    // The versions it was told of are another record's.
    link.shadow.known_version = 0;
    link.shadow.messages_mut().for_each(|sent| sent.version = version);
    forget_stored(&mut link.shadow, new, &differing);
    if let Some(newest) = link.shadow.sends.last_mut() {
        // It may not have been published yet, and its place in the outbox goes with the other record.
        newest.unannounced = true;
    }
    link.rejected = None;
    link
}

/// Gives the record a link. Where one of the two is only a reservation, the other one counts.
fn take_over(winner: &mut CanonicalRecord, link: Link) {
    // A link of this system that is gone may have used numbers up, and the next one gives each to one message only.
    let link = Link { rev: link.rev.max(winner.used_rev(&link.system)), ..link };
    let Some(index) = winner.link_with(&link.system) else {
        winner.links.push(link);
        winner.links.last_mut().into_iter().for_each(Link::name_again);
        return;
    };
    let own = &mut winner.links[index];
    // Whatever is sent next comes after all that was sent of either.
    let rev = own.rev.max(link.rev);
    if own.state == LinkState::Reserved && link.state == LinkState::Linked {
        *own = Link { rev, ..link };
        own.name_again();
    } else if link.state == LinkState::Detached {
        winner.links.push(link);
        return;
    } else if let Some(newest) = own.shadow.sends.last_mut() {
        // What was recorded last may not have been published, and could not be told from what the other one was sent.
        newest.unannounced = true;
    }
    own.rev = rev;
}
