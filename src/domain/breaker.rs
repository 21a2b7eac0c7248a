//! The oscillation breaker (§1.8): two sides that will never agree about a value stop telling each other.
//!
//! It counts answers, not sends: "we sent X, its next change said Y", the same pair several times in a row. From then on Y is
//! this system's form of X: it is not corrected, and Y from this system is no change. Whoever switches something on and off is
//! not counted, since what he changes was his own value. A new canonical value ends it; so does a resync that sends everything.

use super::canonical::CanonicalRecord;
use super::link::{Flip, Link};
use super::representation::Stored;
use super::rules::Rules;
use super::shadow::FieldChange;
use super::value::{FieldPath, same_held};

/// Fields of one link that are counted at once; beyond it none is added.
const COUNTED_MAX: usize = 16;

/// Counts what a system changed, and takes out of `changes` what is not corrected any more; returns those fields.
pub fn count(record: &mut CanonicalRecord, index: usize, changes: &mut Vec<FieldChange>, rules: &Rules) -> Vec<FieldPath> {
    let mut taken_out = Vec::new();
    let Some(max) = rules.flips_max else { return taken_out };
    let CanonicalRecord { links, data, provenance, .. } = record;
    let link = &mut links[index];
    // A system that was never sent anything has answered nothing.
    if link.rev == 0 {
        return taken_out;
    }
    changes.retain(|change| {
        let sent = data.get(&change.path);
        let from_elsewhere = provenance.of(&change.path).is_some_and(|source| source.system != link.system);
        let answers = from_elsewhere && sent.is_some() && same_held(sent, change.base.as_ref()) && !change.value.is_null();
        let Some(sent) = sent.filter(|_| answers) else {
            link.flips.remove(&change.path);
            return true;
        };
        let pair = pair(sent, &change.value);
        let times = link.flips.get(&change.path).filter(|flip| flip.pair == pair).map_or(0, |flip| flip.times) + 1;
        let known = link.flips.contains_key(&change.path);
        if !known && link.flips.len() >= COUNTED_MAX {
            return true;
        }
        let frozen = times >= max;
        link.flips.insert(change.path.clone(), Flip { pair, times, frozen });
        if frozen {
            link.shadow.stored.insert(change.path.clone(), Stored { sent: sent.clone(), stored: change.value.clone() });
            taken_out.push(change.path.clone());
        }
        !frozen
    });
    taken_out
}

fn pair(sent: &serde_json::Value, said: &serde_json::Value) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(sent.to_string().as_bytes());
    hasher.update(&[0]);
    hasher.update(said.to_string().as_bytes());
    hasher.digest()
}

/// The fields in which a system is not corrected any more, with what it has instead.
pub fn frozen(link: &Link) -> impl Iterator<Item = (&FieldPath, &Stored)> {
    let frozen = link.flips.iter().filter(|(_, flip)| flip.frozen);
    frozen.filter_map(|(path, _)| Some((path, link.shadow.stored.get(path)?)))
}

/// One more try for every field: the next answer decides.
pub fn thaw(link: &mut Link) {
    let frozen: Vec<FieldPath> = frozen(link).map(|(path, _)| path.clone()).collect();
    for path in frozen {
        link.shadow.stored.remove(&path);
        if let Some(flip) = link.flips.get_mut(&path) {
            *flip = Flip { times: flip.times.saturating_sub(1), frozen: false, ..flip.clone() };
        }
    }
}
