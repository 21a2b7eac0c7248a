//! What a system keeps of its own while nobody has decided about it (§1.8).

use std::collections::BTreeSet;

use serde_json::Value;

use super::canonical::CanonicalRecord;
use super::change::NativeChange;
use super::decide::Situation;
use super::link::{Link, SendOp, Sent, Waits};
use super::overlay::Overlay;
use super::planted;
use super::representation::Equality;
use super::shadow::{FieldChange, expected_at, state_at};
use super::value::{FieldPath, Leaves, same_held};
use super::waiting::WaitingChange;

/// How often in a row a system is given something back. A field that it changes whenever it is sent anything, such as the time of
/// its last change, would go to and fro until somebody decides.
const GIVEN_BACK_MAX: u32 = 3;

/// Marks the fields of a waiting change in the source's link.
///
/// What is on its way to the source was recorded before and says otherwise: applied, it would overwrite what waits, and what it
/// said would not be what was recorded of it. A message that gives the source its own values back is recorded behind it.
pub fn keep_waiting(record: &mut CanonicalRecord, index: usize, change: &NativeChange, waiting: &WaitingChange, situation: &Situation<'_>) {
    let fields = waiting.fields.iter().map(|field| field.path.clone()).collect();
    let unresolved = waiting.unresolved.iter().cloned().collect();
    let CanonicalRecord { links, data, .. } = record;
    let link = &mut links[index];
    link.waits.push(Waits { update: change.update.clone(), fields, unresolved });
    let stored = std::mem::take(&mut link.shadow.stored);
    let equality = Equality { types: situation.types, side: &situation.source.side, stored: &stored };
    let overwritten = waiting.fields.iter().filter(|field| is_overwritten(link, data, equality, field));
    let overwritten: Vec<FieldPath> = overwritten.map(|field| field.path.clone()).collect();
    link.shadow.stored = stored;
    if !overwritten.is_empty() && !planted::fault("waiting_overwritten") {
        give_back(link, data, &overwritten, situation);
    }
}

/// Whether the system is expected to end with another value than the one it holds, or the one that waits.
fn is_overwritten(link: &Link, data: &Leaves, equality: Equality<'_>, field: &FieldChange) -> bool {
    let expected = expected_at(&link.shadow, data, equality, &field.path);
    let stays = same_held(expected, link.shadow.held.get(data, &field.path)) || same_held(expected, Some(&field.value));
    equality.side.takes(&field.path) && !stays
}

/// Records that the source is told what it holds in these fields.
fn give_back(link: &mut Link, data: &Leaves, fields: &[FieldPath], situation: &Situation<'_>) {
    let Some(newest) = link.shadow.sends.last().filter(|sent| sent.op != SendOp::Delete) else { return };
    if !newest.fresh {
        if newest.gives_back >= GIVEN_BACK_MAX {
            return;
        }
        link.rev += 1;
        let (fields, gives_back) = (BTreeSet::new(), newest.gives_back);
        let next = Sent { rev: link.rev, at: situation.now, op: SendOp::Update, fields, fresh: true, gives_back, ..newest.clone() };
        link.shadow.sends.push(next);
    }
    let held = &link.shadow.held;
    let Some(next) = link.shadow.sends.last_mut() else { return };
    if !next.unannounced {
        (next.unannounced, next.gives_back) = (true, next.gives_back + 1);
    }
    for path in fields {
        next.values.set(data, path.clone(), held.get(data, path).cloned());
        next.unsaid.remove(path);
        next.fields.insert(path.clone());
    }
}

/// What a message recorded now says in the fields whose change waits: what the system is expected to hold by then.
#[must_use]
pub fn kept_values(record: &CanonicalRecord, link: &Link, equality: Equality<'_>) -> Overlay {
    let mut values = Overlay::new();
    let named = link.waits.iter().flat_map(|waits| &waits.fields);
    let shown = record.data.iter().map(|(path, _)| path).filter(|path| !link.waits.is_empty() && link.is_waiting(path));
    for path in named.chain(shown) {
        values.set(&record.data, path.clone(), expected_at(&link.shadow, &record.data, equality, path).cloned());
    }
    values
}

/// Whether a system says by a value more than what it is known to hold, or, where that has to be inferred, may hold by now.
#[must_use]
pub fn is_news(record: &CanonicalRecord, link: &Link, field: (&FieldPath, &Value), base: Option<u64>, situation: &Situation<'_>) -> bool {
    let shadow = &link.shadow;
    let equality = Equality { types: situation.types, side: &situation.source.side, stored: &shadow.stored };
    let (path, said) = field;
    let says = |through| equality.holds(path, state_at(shadow, &record.data, equality, through, path), Some(said));
    match base {
        Some(base) => !says(shadow.sends.iter().rposition(|sent| sent.rev <= base)),
        None if situation.source.receipts => !says(None),
        None => !says(None) && !(0..shadow.sends.len()).any(|sent| says(Some(sent))),
    }
}
