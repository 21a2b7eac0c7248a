//! Whether it is worth asking if updates that are expected to be new were decided before.
//!
//! Most are new, and one that is not is met when its row is inserted: its batch is judged again, and it is decided to be a
//! duplicate. So after some hundred new ones in a row nobody is asked any more, until one is met. After a start, what was
//! delivered and not acknowledged comes again; who resends what was decided mostly resends much of it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// New updates in a row after a start, until they are expected to be.
const AT_FIRST: usize = 500;
/// The same after one was not new.
const AFTER_ONE: usize = 5_000;

/// How many new updates are still to be seen before they are expected.
#[derive(Debug)]
pub(super) struct Fresh(AtomicUsize);

impl Default for Fresh {
    fn default() -> Self {
        Self(AtomicUsize::new(AT_FIRST))
    }
}

impl Fresh {
    /// Whether to ask.
    pub fn is_to_be_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// So many were asked for, and none, or some, were found.
    pub fn asked(&self, count: usize, found: bool) {
        if found {
            self.met_one();
        } else {
            let less = |left: usize| Some(left.saturating_sub(count));
            // Nothing is lost where another one counts at the same time.
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    /// One was decided before.
    pub fn met_one(&self) {
        self.0.store(AFTER_ONE, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_after_enough_new_ones_until_one_is_met() {
        let fresh = Fresh::default();
        fresh.asked(AT_FIRST - 1, false);
        assert!(fresh.is_to_be_asked());
        fresh.asked(1, false);
        assert!(!fresh.is_to_be_asked());
        fresh.met_one();
        fresh.asked(AFTER_ONE - 1, false);
        fresh.asked(1, true);
        fresh.asked(AFTER_ONE - 1, false);
        assert!(fresh.is_to_be_asked());
        fresh.asked(2, false);
        assert!(!fresh.is_to_be_asked());
    }
}
