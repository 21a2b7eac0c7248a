//! What did the system really change? The comparison of what it reports with what it is known to hold (§1.4).
//!
//! The protocol is the project's own and was model-checked before it was written down; `tests/model` holds this code
//! to the same guarantees. Each step is there because leaving it out lost data.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::link::{Sent, Shadow};
use super::planted;
use super::representation::{Equality, Stored};
use super::time::Timestamp;
use super::value::{FieldPath, Leaves, is_empty_object, same, same_held};

/// Unconfirmed sends kept per link before old ones are folded together.
const SENDS_MAX: usize = 64;

/// One field the source really changed.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FieldChange {
    /// The field.
    pub path: FieldPath,
    /// What the source had before; `None`: nothing, or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Value>,
    /// What it has now; null clears.
    pub value: Value,
    /// The base was inferred, not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
}

/// A field the source merely repeated although the canonical value has moved on.
#[derive(Clone, Debug, PartialEq)]
pub struct StaleField {
    /// The field.
    pub path: FieldPath,
    /// What the source still says.
    pub value: Value,
    /// The newest message that told it otherwise; `None` if it was never told.
    pub unseen_rev: Option<u64>,
}

/// What a report comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// What the source changed.
    pub changes: Vec<FieldChange>,
    /// What it merely repeated.
    pub stale: Vec<StaleField>,
    /// It is what the system was last sent.
    pub echo: bool,
}

/// What one report says, in canonical names and ids.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Its fields.
    pub leaves: &'a Leaves,
    /// Fields it names whose references are not known yet; in `leaves` they are still native ids.
    pub unresolved: &'a [FieldPath],
    /// Whether it is the whole record.
    pub whole: bool,
    /// How well the adapter knows what it had applied.
    pub knowledge: Knowledge,
    /// When it arrived.
    pub now: Timestamp,
    /// How long an unconfirmed send counts as not yet seen.
    pub window: Duration,
    /// The last message that may have gone out. What is later has not been seen, however long ago it was recorded.
    pub sent_through: u64,
}

/// How well an adapter knows what it had applied when it read the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// It says the last `rev` it had applied.
    Base(u64),
    /// Its receipts stand in the stream before anything read after applying.
    Receipts,
    /// It says nothing; `silent` if its feed never reports what it applied.
    Inexact {
        /// `echo = false`.
        silent: bool,
    },
}

/// The shadow, the canonical record it diverges from, and what equality means between them.
struct Comparison<'a> {
    shadow: &'a mut Shadow,
    canonical: &'a Leaves,
    equality: Equality<'a>,
    /// What the system says it had applied is older than what is known to be held: its base must be guessed.
    too_old: bool,
}

/// Compares a report with the shadow, and moves the shadow on to what the system is now known to hold.
///
/// `shadow` must not be the one `equality` reads its stored forms from; pass a copy of those.
pub fn compare_report(shadow: &mut Shadow, canonical: &Leaves, equality: Equality<'_>, report: &Report<'_>) -> Compared {
    let too_old = matches!(report.knowledge, Knowledge::Base(base) if base < shadow.held_rev);
    let mut comparison = Comparison { shadow, canonical, equality, too_old };
    // A base older than what is already folded into `held` can't be answered exactly any more.
    let knowledge = match report.knowledge {
        Knowledge::Base(_) if planted::fault("base_ignored") => Knowledge::Receipts,
        Knowledge::Base(_) if too_old => Knowledge::Inexact { silent: false },
        known => known,
    };
    let mut compared = match knowledge {
        Knowledge::Base(base) => {
            settle_through(comparison.shadow, canonical, equality, base);
            comparison.exact(report)
        }
        Knowledge::Receipts => comparison.exact(report),
        Knowledge::Inexact { .. } if report.whole => comparison.inexact_whole(report),
        Knowledge::Inexact { silent } => comparison.inexact_patch(report, silent),
    };
    if matches!(knowledge, Knowledge::Inexact { .. }) {
        comparison.dispute(report);
    }
    compared.stale = comparison.stale(report, &compared.changes);
    compared.echo = compared.changes.is_empty() && !report.leaves.is_empty() && comparison.equals_last_sent(report, compared.echo);
    compared
}

impl Comparison<'_> {
    /// Each field against `held` only: comparing an exact system with what was sent would misread an edit back to an
    /// old value, an edit that happens to equal a send, and an edit that crosses one.
    fn exact(&mut self, report: &Report<'_>) -> Compared {
        let differing = self.differing(report, None);
        Compared { changes: self.take(report, differing, false), ..Compared::default() }
    }

    fn inexact_whole(&mut self, report: &Report<'_>) -> Compared {
        let hash = hash(report.leaves);
        let sends = self.on_their_way();
        let repeated = self.shadow.said == Some(hash) && sends > 0;
        self.shadow.said = Some(hash);
        let uncertain = sends > 0 || self.too_old;
        if let Some(index) = (0..sends).find(|&index| self.says_all_of(report, index) && !self.may_be_from_before(report, index)) {
            self.settle_by_inference(index, report);
            return Compared { echo: true, ..Compared::default() };
        }
        if repeated {
            return self.repeated(report);
        }
        let candidates = std::iter::once(None).chain((0..sends).map(Some));
        // The fewest differing fields; the earliest on a tie, which `min_by_key` gives.
        let (explanation, differing) = candidates
            .map(|candidate| (candidate, self.differing(report, candidate)))
            .min_by_key(|(_, differing)| differing.len())
            .unwrap_or_default();
        if let Some(index) = explanation {
            self.settle_by_inference(index, report);
        }
        Compared { changes: self.take(report, differing, uncertain), ..Compared::default() }
    }

    /// How many of the sends can have reached the system: not what the commit being prepared records.
    fn on_their_way(&self) -> usize {
        self.shadow.sends.iter().take_while(|sent| !sent.fresh || planted::fault("unpublished_counts")).count()
    }

    /// Whether the whole record is what the system would hold after a send. A field that the send was to fill and the
    /// record does not name speaks against it.
    fn says_all_of(&self, report: &Report<'_>, index: usize) -> bool {
        let named = |path: &FieldPath| report.leaves.iter().any(|(said, _)| said.is_within(path) || path.is_within(said));
        let filled = |path: &FieldPath| self.state(Some(index), path).is_some() && self.state(None, path).is_none();
        let unsaid = self.shadow.sends[index].fields.iter().any(|path| filled(path) && !named(path));
        !unsaid && self.differing(report, Some(index)).is_empty()
    }

    /// Whether a record that says what one of the sends does says what the system held before them as well, and one in between
    /// says otherwise: it gives the system back what that one takes, and nobody knows whether either has arrived.
    fn may_be_from_before(&self, report: &Report<'_>, index: usize) -> bool {
        let otherwise = |index| !self.differing(report, Some(index)).is_empty();
        (0..index).any(otherwise) && self.differing(report, None).is_empty()
    }

    /// The same record again while sends are unconfirmed: not seen yet within their window, a real change back after it.
    fn repeated(&mut self, report: &Report<'_>) -> Compared {
        let is_seen = |sent: &Sent| report.now.since(sent.at) > report.window;
        let went_out = |sent: &Sent| sent.rev <= report.sent_through || planted::fault("unsent_ages");
        let sends = &self.shadow.sends[..self.on_their_way()];
        let Some(seen) = sends.iter().rposition(|sent| went_out(sent) && is_seen(sent)) else {
            return Compared::default();
        };
        let differing = self.differing(report, Some(seen));
        self.settle_by_inference(seen, report);
        Compared { changes: self.take(report, differing, true), ..Compared::default() }
    }

    fn inexact_patch(&mut self, report: &Report<'_>, silent: bool) -> Compared {
        self.shadow.said = None;
        let sends = self.on_their_way();
        let uncertain = sends > 0 || self.too_old;
        let echoes = |this: &Self, path: &FieldPath, value: &Value| {
            !silent
                && (0..sends).any(|index| {
                    this.shadow.sends[index].writes(path, this.equality)
                        && this.equality.holds(path, this.state(Some(index), path), Some(value))
                })
        };
        let (echoed, changed): (Vec<_>, Vec<_>) = report.leaves.iter().partition(|(path, value)| echoes(self, path, value));
        let changed: Vec<FieldPath> = changed.into_iter().map(|(path, _)| path.clone()).collect();
        let echo = changed.is_empty() && !echoed.is_empty();
        if echo {
            let covers = |sent: &Sent| sent.fields.iter().all(|field| echoed.iter().any(|(path, _)| *path == field));
            let same = |this: &Self, index: usize| {
                echoed.iter().all(|(path, value)| this.equality.holds(path, this.state(Some(index), path), Some(value)))
            };
            if let Some(index) = (0..sends).find(|&i| covers(&self.shadow.sends[i]) && same(self, i)) {
                self.settle_by_inference(index, report);
            }
        }
        for (path, value) in echoed {
            self.shadow.held.write(self.canonical, path, value);
        }
        Compared { changes: self.take(report, changed, uncertain), echo, ..Compared::default() }
    }

    /// What the system would hold at a path after applying the unconfirmed sends up to `through`.
    fn state(&self, through: Option<usize>, path: &FieldPath) -> Option<&Value> {
        state_at(self.shadow, self.canonical, self.equality, through, path)
    }

    /// The reported fields that differ from what the system would hold after the sends up to `through`.
    fn differing(&self, report: &Report<'_>, through: Option<usize>) -> Vec<FieldPath> {
        let differs = |path: &FieldPath, value: &Value| {
            if value.is_null() || is_empty_object(value) {
                let held = self.state(through, path);
                let inside = self.inside(through, path);
                return if value.is_null() {
                    held.is_some() || inside
                } else {
                    held.is_none_or(|held| held != value) && !inside && !self.canonical.has_inside(path)
                };
            }
            !self.equality.holds(path, self.state(through, path), Some(value))
        };
        let mut paths: Vec<FieldPath> =
            report.leaves.iter().filter(|(path, value)| differs(path, value)).map(|(path, _)| path.clone()).collect();
        if report.whole && self.equality.side.absent_clears {
            paths.extend(self.left_out(report, through));
        }
        paths
    }

    fn inside(&self, through: Option<usize>, path: &FieldPath) -> bool {
        self.paths(through).into_iter().any(|p| p != *path && p.is_within(path) && self.state(through, &p).is_some())
    }

    /// With `absent = "clear"`: what the system had and a whole record does not name.
    fn left_out(&self, report: &Report<'_>, through: Option<usize>) -> Vec<FieldPath> {
        // An object without fields says that there is nothing in it.
        let said = |path: &FieldPath| {
            let mut leaves = report.leaves.iter();
            leaves.any(|(said, value)| said.is_within(path) || path.is_within(said) && !is_empty_object(value))
        };
        let unresolved = |path: &FieldPath| report.unresolved.iter().any(|said| said.is_within(path) || path.is_within(said));
        let named = |path: &FieldPath| said(path) || unresolved(path);
        self.paths(through).into_iter().filter(|path| self.state(through, path).is_some() && !named(path)).collect()
    }

    fn paths(&self, through: Option<usize>) -> BTreeSet<FieldPath> {
        let mut paths: BTreeSet<FieldPath> = self.canonical.iter().map(|(path, _)| path.clone()).collect();
        paths.extend(self.shadow.held.differences().map(|(path, _)| path.clone()));
        if let Some(through) = through {
            paths.extend(self.shadow.sends[..=through].iter().flat_map(|sent| sent.values.differences().map(|(path, _)| path.clone())));
        }
        paths
    }

    /// Turns differing fields into changes and writes them into `held`.
    fn take(&mut self, report: &Report<'_>, differing: Vec<FieldPath>, assumed: bool) -> Vec<FieldChange> {
        let silent = matches!(report.knowledge, Knowledge::Inexact { silent: true });
        let mut changes = Vec::with_capacity(differing.len());
        for path in differing {
            let value = report.leaves.get(&path).cloned().unwrap_or(Value::Null);
            let base = self.shadow.held.get(self.canonical, &path).cloned();
            if value.is_null() && !silent && self.never_had(&path) {
                continue; // a null where the system never had the field says nothing
            }
            if !planted::fault("shadow_not_updated") {
                self.shadow.held.write(self.canonical, &path, &value);
            }
            changes.push(FieldChange { path, base, value, assumed });
        }
        if !changes.is_empty() {
            self.shadow.held_is_sent = false;
        }
        changes
    }

    /// Neither held nor ever sent: the system can't have had a value there.
    fn never_had(&self, path: &FieldPath) -> bool {
        let had = |through: Option<usize>| self.state(through, path).is_some() || self.inside(through, path);
        !had(None) && !(0..self.shadow.sends.len()).any(|index| had(Some(index)))
    }

    /// Takes the sends up to this one for applied, as the report looks like it. Of their other fields it says nothing.
    fn settle_by_inference(&mut self, index: usize, report: &Report<'_>) {
        let named = |path: &FieldPath| report.leaves.iter().any(|(said, _)| said.is_within(path) || path.is_within(said));
        let last = self.shadow.sends.get(index).filter(|_| index + 1 == self.shadow.sends.len()).cloned();
        let settled = settle(self.shadow, self.canonical, self.equality, index);
        take_for_applied(self.shadow, &settled, |path| !named(path));
        self.shadow.last = last.map(Box::new);
    }

    /// Remembers what was reported since our last message and is not what the canonical record says.
    fn dispute(&mut self, report: &Report<'_>) {
        if self.shadow.sends.is_empty() && self.shadow.last.is_none() {
            return; // nothing is on its way: what it holds is known, and is compared anyway
        }
        for (path, value) in report.leaves.iter() {
            if same_held(self.canonical.get(path), Some(value)) {
                self.shadow.disputed.remove(path);
            } else {
                self.shadow.disputed.insert(path.clone(), value.clone());
            }
        }
    }

    fn stale(&self, report: &Report<'_>, changes: &[FieldChange]) -> Vec<StaleField> {
        let unchanged = |path: &FieldPath| !changes.iter().any(|change| change.path == *path);
        let moved_on = |path: &FieldPath, value: &Value| {
            !is_empty_object(value) && !value.is_null() && !self.equality.holds(path, self.canonical.get(path), Some(value))
        };
        let stale = report.leaves.iter().filter(|(path, value)| unchanged(path) && moved_on(path, value));
        stale
            .map(|(path, value)| {
                let unseen = self.shadow.sends.iter().rev().find(|sent| sent.writes(path, self.equality));
                StaleField { path: path.clone(), value: value.clone(), unseen_rev: unseen.map(|sent| sent.rev) }
            })
            .collect()
    }

    /// Whether the report is what the system was last sent, however that was recognised.
    fn equals_last_sent(&self, report: &Report<'_>, recognised: bool) -> bool {
        match self.shadow.sends.len().checked_sub(1) {
            None => recognised || self.shadow.held_is_sent,
            Some(newest) => recognised || self.differing(report, Some(newest)).is_empty(),
        }
    }
}

impl Sent {
    /// Whether applying this message writes the field.
    #[must_use]
    pub fn writes(&self, path: &FieldPath, equality: Equality<'_>) -> bool {
        if self.whole {
            equality.side.takes(path) && !self.unsaid.contains(path)
        } else {
            self.fields.iter().any(|field| path.is_within(field) || field.is_within(path))
        }
    }
}

/// What a system would hold at a path after applying the unconfirmed sends up to `through`; `None`: none of them.
#[must_use]
pub fn state_at<'a>(
    shadow: &'a Shadow,
    canonical: &'a Leaves,
    equality: Equality<'_>,
    through: Option<usize>,
    path: &FieldPath,
) -> Option<&'a Value> {
    let sends = through.map_or(&[][..], |through| &shadow.sends[..=through]);
    match sends.iter().rev().find(|sent| sent.writes(path, equality)) {
        Some(sent) => sent.values.get(canonical, path),
        None => shadow.held.get(canonical, path),
    }
}

/// What a system is expected to hold at a path in the end: what its newest unconfirmed send writes there, else what it holds.
#[must_use]
pub fn expected_at<'a>(shadow: &'a Shadow, canonical: &'a Leaves, equality: Equality<'_>, path: &FieldPath) -> Option<&'a Value> {
    state_at(shadow, canonical, equality, shadow.sends.len().checked_sub(1), path)
}

/// Drops every send up to `rev`, which the system is known to have applied; `held` becomes what the last one wrote.
pub fn settle_through(shadow: &mut Shadow, canonical: &Leaves, equality: Equality<'_>, rev: u64) {
    if let Some(index) = shadow.sends.iter().rposition(|sent| sent.rev <= rev) {
        settle(shadow, canonical, equality, index);
    }
    shadow.taken_for_applied.retain(|_, last| *last > rev);
}

/// Notes that these messages count as applied although the system has not said so of their fields, as far as those are `unsaid`
/// and no later message names them.
fn take_for_applied(shadow: &mut Shadow, settled: &[Sent], unsaid: impl Fn(&FieldPath) -> bool) {
    let Shadow { sends, taken_for_applied, .. } = shadow;
    let named = |path: &FieldPath| sends.iter().any(|sent| sent.fields.contains(path));
    for sent in settled {
        for path in sent.fields.iter().filter(|path| unsaid(path) && !named(path)) {
            taken_for_applied.insert(path.clone(), sent.rev);
        }
    }
}

fn settle(shadow: &mut Shadow, canonical: &Leaves, equality: Equality<'_>, index: usize) -> Vec<Sent> {
    let settled: Vec<Sent> = shadow.sends.drain(..=index).collect();
    settled.iter().for_each(|sent| apply(shadow, canonical, equality, sent));
    shadow.held_is_sent = true;
    shadow.last = None;
    settled
}

/// Writes one send into `held`.
fn apply(shadow: &mut Shadow, canonical: &Leaves, equality: Equality<'_>, sent: &Sent) {
    let mut paths: BTreeSet<FieldPath> = shadow.held.differences().map(|(path, _)| path.clone()).collect();
    paths.extend(sent.values.differences().map(|(path, _)| path.clone()));
    for path in paths.into_iter().filter(|path| sent.writes(path, equality)) {
        let value = sent.values.get(canonical, &path).cloned();
        shadow.held.set(canonical, path, value);
    }
    shadow.held_rev = shadow.held_rev.max(sent.rev);
    shadow.known_version = shadow.known_version.max(sent.version);
}

/// Keeps the list of unconfirmed sends bounded. With receipts at most one message is on its way, so the newest but one
/// was never published and can go into its successor; else the oldest is taken for applied. What a silent system says at
/// the moment of an edit is never explained by sends, so what counts there is the last one that writes a field.
pub fn bound_sends(shadow: &mut Shadow, canonical: &Leaves, equality: Equality<'_>, receipts: bool, silent: bool) {
    while silent && let Some(index) = overwritten(&shadow.sends, equality) {
        let sent = shadow.sends.remove(index);
        apply(shadow, canonical, equality, &sent);
        take_for_applied(shadow, &[sent], |_| true);
    }
    while shadow.sends.len() > SENDS_MAX {
        if receipts {
            let overtaken = shadow.sends.remove(shadow.sends.len() - 2);
            if let Some(newest) = shadow.sends.last_mut() {
                newest.fields.extend(overtaken.fields);
                newest.takes_back.extend(overtaken.takes_back);
            }
        } else {
            let settled = settle(shadow, canonical, equality, 0);
            take_for_applied(shadow, &settled, |_| true);
        }
    }
}

/// The first of the sends of which every field is written by later ones.
fn overwritten(sends: &[Sent], equality: Equality<'_>) -> Option<usize> {
    let is_overwritten = |index: usize| {
        let (sent, later) = (&sends[index], &sends[index + 1..]);
        let written = |path: &FieldPath| later.iter().any(|later| later.writes(path, equality));
        later.iter().any(|later| later.whole) || !sent.whole && sent.fields.iter().all(written)
    };
    (0..sends.len().saturating_sub(1)).find(|index| is_overwritten(*index))
}

/// Remembers the forms a system says it stores.
pub fn remember_stored(shadow: &mut Shadow, canonical: &Leaves, equality: Equality<'_>, rev: u64, stored: &Leaves) {
    let through = shadow.sends.iter().rposition(|sent| sent.rev <= rev);
    let mut pairs = Vec::new();
    for (path, value) in stored.iter() {
        if let Some(sent) = state_at(shadow, canonical, equality, through, path) {
            pairs.push((path.clone(), Stored { sent: sent.clone(), stored: value.clone() }));
        }
    }
    shadow.stored.extend(pairs);
}

/// Stored forms only count for the very values they were the answers to. Where those change, the system holds what it made of the
/// old ones until it has the new ones.
pub fn forget_stored(shadow: &mut Shadow, canonical: &Leaves, changed: &[FieldPath]) {
    let Shadow { stored, held, sends, answered_rev, .. } = shadow;
    for (path, pair) in stored.extract_if(.., |path, _| changed.contains(path)) {
        let answered = sends.iter_mut().filter(|sent| sent.rev <= *answered_rev).map(|sent| &mut sent.values);
        for values in std::iter::once(&mut *held).chain(answered) {
            if values.get(canonical, &path).is_some_and(|value| same(value, &pair.sent)) {
                values.set(canonical, path.clone(), Some(pair.stored.clone()));
            }
        }
    }
}

fn hash(leaves: &Leaves) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for (path, value) in leaves.iter() {
        hasher.update(path.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(value.to_string().as_bytes());
        hasher.update(&[0]);
    }
    hasher.digest()
}
