//! Puts the parts together: the only place that knows which backends there are.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

mod syncline;

use crate::backends::embedded::{Embedded, Options};
use crate::cli::{self, Host};
use crate::domain::ids::CanonicalId;
use crate::domain::time::Timestamp;
use crate::ports::clock::{Clock, Ids};
use crate::ports::error::PortError;
use crate::ports::store::Store;

pub use self::syncline::{Orchestrator, StartError, Syncline};

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[allow(clippy::disallowed_methods, reason = "the one place where real time comes in")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Canonical ids as UUIDv7: time first, then chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn canonical(&self, _: Timestamp) -> CanonicalId {
        CanonicalId(uuid::Uuid::now_v7())
    }
}

fn open(folder: &Path) -> Result<Arc<dyn Store>, PortError> {
    Ok(Embedded::open(folder, &Options::default())?.store)
}

/// Runs the command line with everything it may use.
#[must_use]
pub fn main() -> ExitCode {
    cli::run(&Host { open, clock: Arc::new(SystemClock), ids: Arc::new(RandomIds) })
}
