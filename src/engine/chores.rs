//! What a running engine does by itself, a page at a time, with messages in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::activity::Activity;
use super::input::InputKind;
use super::sweep::{Keep, Sweep};
use super::tasks::Tasks;
use crate::domain::rules::Rules;
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::store::Store;

/// How often is looked whether there is something to do: another orchestrator may have left it behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The wait between two pages: messages have their turn.
const PAUSE: Duration = Duration::from_millis(1);

/// What there is to do, and when to look for it.
#[derive(Debug)]
pub struct Chores {
    tasks: Tasks,
    sweep: Sweep,
    at: Instant,
    /// Whether something is known to be left: as long as that is so, the engine does not rest.
    left: bool,
}

impl Chores {
    /// Nothing is known to be left.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self { tasks: Tasks::new(rules), sweep: Sweep::default(), at: Instant::now(), left: false }
    }

    /// When to look next.
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// Notes that something is left to be done.
    pub fn left(&mut self, activity: &Activity) {
        if !std::mem::replace(&mut self.left, true) {
            activity.begin();
        }
        self.at = Instant::now() + PAUSE;
    }

    /// The next page of it; what was given out the last time must be committed.
    pub async fn next(&mut self, store: &dyn Store, keep: &Keep, now: Timestamp, activity: &Activity) -> Vec<InputKind> {
        let (page, more) = self.look(store, keep, now).await.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "can't look for work that is left; trying again");
            (Vec::new(), false)
        });
        if page.is_empty() && !more {
            if std::mem::take(&mut self.left) {
                activity.end(1);
            }
            self.at = Instant::now() + LOOK_EVERY;
        } else {
            self.left(activity);
        }
        page
    }

    /// A page, and whether there may be more. Housekeeping only where nothing else is to be done.
    async fn look(&mut self, store: &dyn Store, keep: &Keep, now: Timestamp) -> Result<(Vec<InputKind>, bool), PortError> {
        let page = self.tasks.next(store).await?;
        if page.more {
            return Ok((page.steps, true));
        }
        self.sweep.next(store, keep, now).await
    }
}
