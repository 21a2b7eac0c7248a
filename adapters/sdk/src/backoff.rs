//! Waiting longer and longer.

use std::time::Duration;

use tokio::sync::watch;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(10);

/// Twice as long each time, up to ten seconds.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// Waits as long as it was told to, else as long as it is its turn. False: stopped meanwhile.
    pub async fn wait(&mut self, told: Option<Duration>, stop: &mut watch::Receiver<bool>) -> bool {
        let wait = told.unwrap_or(self.0);
        self.0 = (self.0 * 2).min(LAST);
        // Time being up is the good end: nobody stopped it, or it would have ended before.
        tokio::time::timeout(wait, stop.wait_for(|stop| *stop)).await.is_err()
    }
}
