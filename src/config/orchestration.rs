//! `[orchestration]`: how updates are decided, sent and kept.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use serde::Serialize;

use super::reader::{Field, Read, choice};
use super::units::{ByteSize, Expiry};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

choice! {
    /// Which systems hear of a change.
    NotificationMode {
        /// Every system that takes the type, changed for it or not.
        All = "all",
        /// Systems whose own model differs from what they hold.
        #[default]
        Selective = "selective",
        /// None.
        None = "none",
    }
}

choice! {
    /// Which decisions are kept as rows. The marker that makes redelivery harmless is kept always.
    DecisionLogging {
        /// All of them. Also written `true`.
        #[default]
        All = "all",
        /// Those that changed something.
        Changes = "changes",
        /// None. Also written `false`.
        None = "none",
    } bool { true => All, false => None }
}

choice! {
    /// What becomes of an update whose handler took too long.
    HandlerTimeoutVerdict {
        /// It is tried again, as after an error.
        #[default]
        Retry = "retry",
        /// What was proposed is accepted.
        Accept = "accept",
        /// It is skipped.
        Skip = "skip",
        /// It waits for a person.
        Review = "review",
    }
}

choice! {
    /// What becomes of an update no person reviewed in time.
    ReviewTimeoutVerdict {
        /// It is skipped.
        #[default]
        Skip = "skip",
        /// What was proposed is accepted.
        Accept = "accept",
    }
}

choice! {
    /// What a record may change when it joins an existing canonical record by key.
    FirstContact {
        /// Absent and null fields are filled, declared rules decide theirs, the rest stays.
        #[default]
        Fill = "fill",
        /// Every field is decided by its rule.
        Rules = "rules",
        /// Every field is taken.
        Overwrite = "overwrite",
    }
}

/// How long decision rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// Rows of every other kind. Default: 400 days.
    pub default: Expiry,
    /// `unchanged` rows. Default: 7 days.
    pub unchanged: Expiry,
    /// `echo` rows. Default: 7 days.
    pub echo: Expiry,
}

/// How long one run of the handlers may take, and what then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HandlerTimeout {
    /// The time a run may take. Default: 5 s. Never zero.
    pub after: Duration,
    /// What then. Default: `retry`.
    pub verdict: HandlerTimeoutVerdict,
}

/// How long an update waits for a person, and what then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReviewTimeout {
    /// The time it waits. Default: `never` ends.
    pub after: Expiry,
    /// What then. Default: `skip`.
    pub verdict: ReviewTimeoutVerdict,
}

/// The oscillation breaker and the window in which unconfirmed sends are believed to be on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CircularUpdatePrevention {
    /// Whether the breaker is on. Comparison with shadows, which prevents loops, is always on. Default: true.
    pub enabled: bool,
    /// `window_seconds`: the longest normal delay of a system that sends no receipts. Default: 5 s.
    pub window: Duration,
    /// Equal answers in a row after which correcting stops. Default: 3.
    pub flips_max: NonZeroU32,
}

/// Attempts of handlers, how long is waited between those of handlers and deliveries, and the wait of a deferral without a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RetryPolicy {
    /// Attempts at most, the first included. Default: 3.
    pub max_attempts: NonZeroU32,
    /// Wait before the second attempt. Default: 200 ms.
    pub initial: Duration,
    /// Each further wait is the one before times this; at least 1. Default: 2.
    pub backoff_multiplier: f64,
}

/// Creates sent to one system within a window, after which more wait for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CreateBrake {
    /// Creates that pass. Default: 1000.
    pub count: u64,
    /// The window. Default: 1 minute. Never zero.
    pub window: Duration,
}

/// Deletes of one type from one system within a window, after which more wait for a person.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DeleteBrake {
    /// Deletes that pass. Default: 100.
    pub count: u64,
    /// Share of the system's records of the type that passes, in percent, 0 to 100. Default: 5.
    pub percent: f64,
    /// The window. Default: 10 minutes. Never zero.
    pub window: Duration,
}

/// How updates are decided, sent and kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Orchestration {
    /// Whether systems are sent what was decided. Default: false.
    pub push_updates: bool,
    /// Which systems hear of a change. Default: `selective`.
    pub notification_mode: NotificationMode,
    /// Which decisions are kept as rows. Default: `all`.
    pub decision_logging: DecisionLogging,
    /// How long decision rows are kept. Default: 400 days, 7 for `unchanged` and `echo`.
    pub retention: Retention,
    /// How long the marker that makes a duplicate harmless is kept. Default: `forever`.
    pub dedup_retention: Expiry,
    /// Updates decided together at most; where more of them wait, several such batches share a transaction. Default: 100.
    pub batch_size: NonZeroUsize,
    /// How long a batch waits to be full while another one is being committed. Without that it never waits. Default: 5 ms.
    pub batch_timeout: Duration,
    /// How long handlers may take. Default: 5 s, then `retry`.
    pub handler_timeout: HandlerTimeout,
    /// The oscillation breaker and the window. Default: on, 5 s, 3.
    pub circular_update_prevention: CircularUpdatePrevention,
    /// Attempts of handlers and deliveries. Default: 3, from 200 ms, doubling.
    pub retry_policy: RetryPolicy,
    /// How long an update waits for a person. Default: never ends.
    pub review_timeout: ReviewTimeout,
    /// What a record may change when it joins an existing one. Default: `fill`.
    pub first_contact: FirstContact,
    /// Limit on creates. Default: 1000 a minute.
    pub create_brake: CreateBrake,
    /// Limit on deletes. Default: 100 or 5 % in 10 minutes.
    pub delete_brake: DeleteBrake,
    /// How long an unknown record may wait for the receipt of a create that could be its own. Default: 30 s.
    pub create_settle: Duration,
    /// How long a system that answers may take for a message before its delivery counts as timed out. Nothing is sent again for
    /// it: the message lies in the system's queue, or with its adapter. Default: 1 h.
    // It decides nothing, so it is no part of the configuration's hash.
    #[serde(skip_serializing)]
    pub answer_timeout: Duration,
    /// How long a deleted record is remembered. Default: 90 days.
    pub tombstone_retention: Expiry,
    /// Memory for looked-up ids. Default: 16 MiB.
    pub id_cache: ByteSize,
    /// Memory for records. Default: 16 MiB.
    pub record_cache: ByteSize,
    /// Whether decisions are published as events. Default: false.
    pub events: bool,
}

impl Default for Orchestration {
    fn default() -> Self {
        Self {
            push_updates: false,
            notification_mode: NotificationMode::default(),
            decision_logging: DecisionLogging::default(),
            retention: Retention::default(),
            dedup_retention: Expiry::Never,
            batch_size: NonZeroUsize::MIN.saturating_add(99),
            batch_timeout: Duration::from_millis(5),
            handler_timeout: HandlerTimeout::default(),
            circular_update_prevention: CircularUpdatePrevention::default(),
            retry_policy: RetryPolicy::default(),
            review_timeout: ReviewTimeout::default(),
            first_contact: FirstContact::default(),
            create_brake: CreateBrake::default(),
            delete_brake: DeleteBrake::default(),
            create_settle: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(3600),
            tombstone_retention: Expiry::After(DAY * 90),
            id_cache: ByteSize::mib(16),
            record_cache: ByteSize::mib(16),
            events: false,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { default: Expiry::After(DAY * 400), unchanged: Expiry::After(DAY * 7), echo: Expiry::After(DAY * 7) }
    }
}

impl Default for HandlerTimeout {
    fn default() -> Self {
        Self { after: Duration::from_secs(5), verdict: HandlerTimeoutVerdict::default() }
    }
}

impl Default for ReviewTimeout {
    fn default() -> Self {
        Self { after: Expiry::Never, verdict: ReviewTimeoutVerdict::default() }
    }
}

impl Default for CircularUpdatePrevention {
    fn default() -> Self {
        Self { enabled: true, window: Duration::from_secs(5), flips_max: NonZeroU32::MIN.saturating_add(2) }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: NonZeroU32::MIN.saturating_add(2), initial: Duration::from_millis(200), backoff_multiplier: 2.0 }
    }
}

impl Default for CreateBrake {
    fn default() -> Self {
        Self { count: 1000, window: Duration::from_secs(60) }
    }
}

impl Default for DeleteBrake {
    fn default() -> Self {
        Self { count: 100, percent: 5.0, window: Duration::from_secs(600) }
    }
}

impl Read for Orchestration {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            push_updates: table.or("push_updates", usual.push_updates),
            notification_mode: table.or("notification_mode", usual.notification_mode),
            decision_logging: table.or("decision_logging", usual.decision_logging),
            retention: table.or("retention", usual.retention),
            dedup_retention: table.or("dedup_retention", usual.dedup_retention),
            batch_size: table.or("batch_size", usual.batch_size),
            batch_timeout: table.or("batch_timeout", usual.batch_timeout),
            handler_timeout: table.or("handler_timeout", usual.handler_timeout),
            circular_update_prevention: table.or("circular_update_prevention", usual.circular_update_prevention),
            retry_policy: table.or("retry_policy", usual.retry_policy),
            review_timeout: table.or("review_timeout", usual.review_timeout),
            first_contact: table.or("first_contact", usual.first_contact),
            create_brake: table.or("create_brake", usual.create_brake),
            delete_brake: table.or("delete_brake", usual.delete_brake),
            create_settle: table.or("create_settle", usual.create_settle),
            answer_timeout: table.or("answer_timeout", usual.answer_timeout),
            tombstone_retention: table.or("tombstone_retention", usual.tombstone_retention),
            id_cache: table.or("id_cache", usual.id_cache),
            record_cache: table.or("record_cache", usual.record_cache),
            events: table.or("events", usual.events),
        };
        table.finish();
        Some(read)
    }
}

impl Read for Retention {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            default: table.or("default", usual.default),
            unchanged: table.or("unchanged", usual.unchanged),
            echo: table.or("echo", usual.echo),
        };
        table.finish();
        Some(read)
    }
}

impl Read for HandlerTimeout {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self { after: table.positive("after", usual.after), verdict: table.or("verdict", usual.verdict) };
        table.finish();
        Some(read)
    }
}

impl Read for ReviewTimeout {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self { after: table.or("after", usual.after), verdict: table.or("verdict", usual.verdict) };
        table.finish();
        Some(read)
    }
}

impl Read for CircularUpdatePrevention {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            enabled: table.or("enabled", usual.enabled),
            window: table.take::<NonZeroU32>("window_seconds").map_or(usual.window, |seconds| Duration::from_secs(seconds.get().into())),
            flips_max: table.or("flips_max", usual.flips_max),
        };
        table.finish();
        Some(read)
    }
}

impl Read for RetryPolicy {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            max_attempts: table.or("max_attempts", usual.max_attempts),
            initial: table.positive("initial", usual.initial),
            backoff_multiplier: table.number("backoff_multiplier", usual.backoff_multiplier, 1.0, 100.0),
        };
        table.finish();
        Some(read)
    }
}

impl Read for CreateBrake {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self { count: table.or("count", usual.count), window: table.positive("window", usual.window) };
        table.finish();
        Some(read)
    }
}

impl Read for DeleteBrake {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            count: table.or("count", usual.count),
            percent: table.number("percent", usual.percent, 0.0, 100.0),
            window: table.positive("window", usual.window),
        };
        table.finish();
        Some(read)
    }
}
