//! Texts that many records have in common, kept once: the names of fields, systems and types.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use dashmap::DashSet;
use serde::{Deserialize, Deserializer};

/// How many are kept. Beyond it, as where field names are made up record by record, every text is a piece of memory of its own again.
const NAMES_MAX: usize = 10_000;
/// The longest that is kept, in bytes.
const NAME_BYTES: usize = 64;

static NAMES: LazyLock<DashSet<Arc<str>>> = LazyLock::new(DashSet::default);
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The text, in the same piece of memory as the last time if it is one of those that are kept.
pub(super) fn shared(text: &str) -> Arc<str> {
    if text.len() > NAME_BYTES {
        return Arc::from(text);
    }
    if let Some(known) = NAMES.get(text) {
        return Arc::clone(&known);
    }
    let name: Arc<str> = Arc::from(text);
    if COUNT.load(Ordering::Relaxed) < NAMES_MAX && NAMES.insert(Arc::clone(&name)) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
    name
}

/// Reads a text as one of those that are kept.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    Cow::<str>::deserialize(deserializer).map(|text| shared(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_kept_once_and_a_long_one_is_not_kept() {
        assert!(Arc::ptr_eq(&shared("temperature"), &shared("temperature")));
        let long = "x".repeat(NAME_BYTES + 1);
        assert!(!Arc::ptr_eq(&shared(&long), &shared(&long)));
        assert_eq!(&*shared(&long), long);
    }
}
