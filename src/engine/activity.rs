//! What the engine does besides taking messages, so that others can wait until it rests, and can have it look again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Work under way, counted.
#[derive(Debug, Default)]
pub struct Activity {
    open: AtomicUsize,
    ended: Notify,
    committing: AtomicBool,
    decider: Looks,
    sender: Looks,
}

/// Requests to look at what is due.
#[derive(Debug, Default)]
struct Looks {
    asked: AtomicUsize,
    rings: Notify,
}

impl Looks {
    fn ask(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.rings.notify_one();
    }

    async fn come(&self) -> usize {
        loop {
            let asked = self.asked.swap(0, Ordering::SeqCst);
            if asked > 0 {
                return asked;
            }
            self.rings.notified().await;
        }
    }
}

/// Some work; it ends when this goes.
#[derive(Debug)]
pub struct Busy<'a>(&'a Activity, usize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

impl Activity {
    /// Has the engine look now at what waits and at what is owed, not only at its next regular look: somebody let go of
    /// something, or a clock was moved.
    pub fn look(&self) {
        self.begin();
        self.decider.ask();
        self.begin();
        self.sender.ask();
    }

    /// Waits until nothing is under way.
    pub async fn rest(&self) {
        loop {
            let ended = self.ended.notified();
            if self.open.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.open.load(Ordering::SeqCst) == 0
    }

    /// Work begins that [`busy`](Self::busy) with `begun` will end.
    pub(super) fn begin(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    /// Work until the answer goes; `begun` counts what was begun before.
    pub(super) fn busy(&self, begun: usize) -> Busy<'_> {
        self.begin();
        Busy(self, begun + 1)
    }

    /// Says whether a commit is under way.
    pub(super) fn set_committing(&self, committing: bool) {
        self.committing.store(committing, Ordering::SeqCst);
    }

    /// Whether a commit is under way, which may have more to be sent.
    pub(super) fn is_committing(&self) -> bool {
        self.committing.load(Ordering::SeqCst)
    }

    /// Waits until the one who decides is to look; returns how often that was asked for.
    pub(super) async fn decider_is_to_look(&self) -> usize {
        self.decider.come().await
    }

    /// …and the one who sends.
    pub(super) async fn sender_is_to_look(&self) -> usize {
        self.sender.come().await
    }

    /// Work that was [begun](Self::begin) has ended.
    pub(super) fn end(&self, count: usize) {
        if self.open.fetch_sub(count, Ordering::SeqCst) == count {
            self.ended.notify_waiters();
        }
    }
}
