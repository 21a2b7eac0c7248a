//! What must hold in a store at any time (§4.4), looked at in one pass over it.
//!
//! | | |
//! |---|---|
//! | `history` | decisions, the versions they made, waiting updates and dead letters agree |
//! | `records` | links and keys lead to their record, references and merged records to one that is there |
//! | `sends` | who does not hold a record as it should is being sent it; what is owed is what was recorded |
//!
//! Nobody may be at work on the store meanwhile: it is read row by row.

mod history;
mod records;
mod sends;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::{CanonicalId, EntityType};
use crate::domain::rules::Rules;
use crate::domain::sending::Target;
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::store::Store;

/// Rows read at once.
const PAGE: usize = 1000;

/// The systems that take part in a type.
pub type Targets<'a> = &'a (dyn Fn(&EntityType) -> Arc<Vec<Target>> + Send + Sync);

/// What the store is compared with.
#[derive(Clone, Copy)]
pub struct Declared<'a> {
    /// The rules.
    pub rules: &'a Rules,
    /// Who takes part in what.
    pub targets: Targets<'a>,
}

/// What need not be there any more: it was over, and old enough to go.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Whether decisions that made a version have a row at all.
    logged: bool,
    /// Decisions since then have a row.
    rows_since: Timestamp,
    /// Records that were deleted since then are known.
    deleted_since: Timestamp,
}

impl Kept {
    /// `rows`, `deleted`: how long decisions, and what is known of deleted records, are kept at least; `None`: for ever. `logged`:
    /// whether decisions that made a version have a row at all.
    #[must_use]
    pub fn at(now: Timestamp, rows: Option<Duration>, deleted: Option<Duration>, logged: bool) -> Self {
        let since = |kept: Option<Duration>| kept.map_or(Timestamp::from_micros(i64::MIN), |kept| now.minus(kept));
        Self { logged, rows_since: since(rows), deleted_since: since(deleted) }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What does not hold, each in a sentence.
    pub broken: Vec<String>,
    /// Where a system is not corrected any more, because it always answers the same: allowed, and listed.
    pub frozen: Vec<String>,
    /// Records looked at.
    pub records: u64,
    /// Decisions looked at.
    pub decisions: u64,
    /// Updates that wait.
    pub waiting: u64,
}

/// Looks at everything in a store. Without `declared`, keys, references and what systems hold are not compared with anything.
pub async fn verify(store: &dyn Store, declared: Option<Declared<'_>>, kept: Kept) -> Result<Findings, PortError> {
    let mut check = Check { store, declared, kept, found: Findings::default(), versions: HashMap::new() };
    let waiting = check.waiting().await?;
    check.records().await?;
    check.decisions(waiting).await?;
    check.outbox().await?;
    check.letters().await?;
    Ok(check.found)
}

struct Check<'a> {
    store: &'a dyn Store,
    declared: Option<Declared<'a>>,
    kept: Kept,
    found: Findings,
    /// The version each record must have had after the next older decision that changed it.
    versions: HashMap<CanonicalId, Seen>,
}

/// How far back a record's history was followed.
#[derive(Clone, Copy)]
struct Seen {
    version: u64,
    /// The newest change was looked at: older ones are not compared with the data.
    compared: bool,
    /// When the record was made.
    created_at: Timestamp,
}
