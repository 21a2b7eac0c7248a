//! Several orchestrators on one store: each says that it is at work, and none decides by other rules than the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::supervisor::stopped;
use crate::ports::clock::Clock;
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::presence::Presence;
use crate::ports::store::Store;

/// How often it is said.
const EVERY: Duration = Duration::from_secs(1);
/// How long a start waits for one with other rules to turn out to be gone. Longer than a store takes to know it.
const PATIENCE: u32 = 40;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// An orchestrator among those at work on its store.
#[derive(Debug)]
pub struct Attendance {
    store: Arc<dyn Store>,
    presence: Presence,
    /// Whether there are others, as far as is known: it is looked for once a second.
    pub others: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Attendance {
    /// Joins those at work. `config` is the hash of what it decides by.
    ///
    /// Fails with [`Invalid`](PortErrorKind::Invalid) if another one decides by something else, unless `rolling`.
    pub async fn join(store: Arc<dyn Store>, clock: &dyn Clock, config: &str, rolling: bool) -> Result<Self, PortError> {
        let presence = Presence { id: uuid::Uuid::now_v7().to_string(), config: config.to_owned(), since: clock.now() };
        let mut tries = 0;
        let others = loop {
            let present = store.attend(&presence).await?;
            let Some(other) = present.iter().find(|other| other.config != config && !rolling) else { break !present.is_empty() };
            tries += 1;
            if tries >= PATIENCE {
                store.leave(&presence).await?;
                return Err(refused(other, config));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        let others = Arc::new(AtomicBool::new(others));
        let (stop, told) = watch::channel(false);
        let task = tokio::spawn(stay(store.clone(), presence.clone(), others.clone(), told));
        Ok(Self { store, presence, others, stop, task })
    }

    /// Leaves. What can't be said any more is found out by the others.
    pub async fn leave(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
        if let Err(error) = self.store.leave(&self.presence).await {
            tracing::warn!(error = %error, "can't say that this orchestrator ends; the others will find out");
        }
    }
}

/// Makes sure that no orchestrator is at work on a store, so that something may be done that none of them would learn of. One
/// that was killed is waited for until it counts as gone.
///
/// Fails with [`Unavailable`](PortErrorKind::Unavailable) if one is.
pub async fn alone(store: &dyn Store, clock: &dyn Clock) -> Result<(), PortError> {
    let presence = Presence { id: uuid::Uuid::now_v7().to_string(), config: String::new(), since: clock.now() };
    let mut tries = 0;
    let other = loop {
        let Some(other) = store.attend(&presence).await?.into_iter().next() else { break None };
        tries += 1;
        if tries >= PATIENCE {
            break Some(other);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    store.leave(&presence).await?;
    let Some(other) = other else { return Ok(()) };
    let message = format!("an orchestrator is at work on this store since {}; stop it first", other.since);
    Err(PortError::new(PortErrorKind::Unavailable, "wait for the orchestrators at work", message))
}

fn refused(other: &Presence, config: &str) -> PortError {
    let message = format!(
        "an orchestrator with another configuration is at work on this store since {} (its configuration is {}, this one's is {config}); \
         start all of them with the same, or this one with --rolling while you upgrade them one after the other",
        other.since, other.config
    );
    PortError::new(PortErrorKind::Invalid, "join the orchestrators at work", message)
}

async fn stay(store: Arc<dyn Store>, presence: Presence, others: Arc<AtomicBool>, mut stop: watch::Receiver<bool>) {
    let mut reached = true;
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stopped(&mut stop) => return,
        }
        let outcome = store.attend(&presence).await;
        if let (Err(error), true) = (&outcome, reached) {
            tracing::warn!(error = %error, "can't say that this orchestrator is at work");
        }
        reached = outcome.is_ok();
        if let Ok(present) = outcome {
            others.store(!present.is_empty(), Ordering::Relaxed);
        }
    }
}
