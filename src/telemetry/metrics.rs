//! Every metric, by name and meaning, as Prometheus reads them.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_process::Collector;

use super::spans::Spans;
use crate::domain::decision::DecisionKind;
use crate::domain::ids::{EntityType, SystemName};

const UPDATES: &str = "syncline_updates_total";
const DUPLICATES: &str = "syncline_duplicates_total";
const CONFLICTS: &str = "syncline_conflicts_total";
const FAULTS: &str = "syncline_faults_total";
const DECISION_SECONDS: &str = "syncline_decision_seconds";
const OUTBOUND_SECONDS: &str = "syncline_outbound_seconds";
const BATCH_SIZE: &str = "syncline_batch_size";
const PENDING: &str = "syncline_pending";
const DRIFT: &str = "syncline_drift";
const PARKED: &str = "syncline_parked";
const DEAD_LETTERS: &str = "syncline_dead_letters";
const INBOUND: &str = "syncline_inbound_messages";
const REFUSED: &str = "syncline_http_refused_total";
const HITS: &str = "syncline_id_cache_hits_total";
const MISSES: &str = "syncline_id_cache_misses_total";

const COUNTERS: &[(&str, &str)] = &[
    (UPDATES, "Updates decided, by system, type and decision"),
    (DUPLICATES, "Deliveries of updates that were decided before"),
    (CONFLICTS, "Fields that two sources changed without knowing of each other"),
    (FAULTS, "Faults of what Syncline relies on, by kind; it goes on after each"),
    (REFUSED, "Requests that were not let in, by reason"),
    (HITS, "Native ids whose canonical record was remembered"),
    (MISSES, "Native ids whose canonical record had to be looked up"),
];
const HISTOGRAMS: &[(&str, Unit, &str)] = &[
    (DECISION_SECONDS, Unit::Seconds, "From the receipt of an update to its durable decision"),
    (OUTBOUND_SECONDS, Unit::Seconds, "From a durable decision to the broker's confirmation of the message it made"),
    (BATCH_SIZE, Unit::Count, "Messages in one transaction"),
];
const GAUGES: &[(&str, &str)] = &[
    (PENDING, "Records about which a system is still to be sent something"),
    (DRIFT, "Records a system is not known to hold as they should be"),
    (PARKED, "Updates that wait, by what they wait for"),
    (DEAD_LETTERS, "Messages that can't be processed, by reason"),
    (INBOUND, "Inbound messages that are not decided"),
];

const SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
const SIZES: &[f64] = &[1.0, 10.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Systems and types that have a label of their own; all later ones share `other`, so that no sender can fill the memory
/// of whoever reads the numbers.
const LABELS_MAX: usize = 200;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Messages could not be received.
    Receive,
    /// Messages could not be acknowledged.
    Settle,
    /// A message could not be handed to the broker.
    Publish,
    /// The store could not be read or written.
    Store,
    /// A commit lost a race and was decided again.
    Race,
    /// Listeners could not be told what was decided.
    Announce,
}

impl Fault {
    const fn label(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Settle => "settle",
            Self::Publish => "publish",
            Self::Store => "store",
            Self::Race => "race",
            Self::Announce => "announce",
        }
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nobody is known by its token or session.
    Unauthorized,
    /// Its role is not enough.
    Forbidden,
    /// A message is of another system than its adapter.
    NotYourSystem,
    /// It comes from a page that was not made here.
    Csrf,
    /// It comes from a page of another site.
    WrongOrigin,
    /// It asks for another host.
    WrongHost,
    /// Too many wrong tokens came before.
    TooManyTries,
}

impl Refused {
    const fn label(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotYourSystem => "not_your_system",
            Self::Csrf => "csrf",
            Self::WrongOrigin => "wrong_origin",
            Self::WrongHost => "wrong_host",
            Self::TooManyTries => "too_many_tries",
        }
    }
}

/// What is looked up when somebody asks, not counted as it happens.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// By system: records about which it is to be sent something.
    pub pending: Vec<(SystemName, u64)>,
    /// By system and type: records it is not known to hold as they should be.
    pub drift: Vec<(SystemName, EntityType, u64)>,
    /// By what they wait for: updates.
    pub parked: Vec<(String, u64)>,
    /// By reason: dead letters.
    pub dead_letters: Vec<(String, u64)>,
    /// Inbound messages, where this process knows.
    pub inbound: Option<u64>,
    /// Look-ups of native ids that were answered from memory.
    pub id_cache_hits: u64,
    /// …and that were not.
    pub id_cache_misses: u64,
}

/// The numbers of one orchestrator.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    process: Collector,
    labels: Mutex<HashSet<String>>,
    /// Labels a gauge had when it was last set: those that are gone are set to 0.
    last: Mutex<HashSet<Key>>,
    decision_seconds: Histogram,
    outbound_seconds: Histogram,
    batch_size: Histogram,
    duplicates: Counter,
    conflicts: Counter,
    spans: Option<Spans>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

const META: Metadata<'static> = Metadata::new("syncline", Level::INFO, None);

impl Default for Metrics {
    fn default() -> Self {
        let buckets = |builder: PrometheusBuilder, name: &str, values| {
            let matcher = metrics_exporter_prometheus::Matcher::Full(name.to_owned());
            // Only an empty list of buckets is refused.
            builder.set_buckets_for_metric(matcher, values).unwrap_or_default()
        };
        let builder = buckets(PrometheusBuilder::new(), DECISION_SECONDS, SECONDS);
        let builder = buckets(builder, OUTBOUND_SECONDS, SECONDS);
        let recorder = buckets(builder, BATCH_SIZE, SIZES).build_recorder();
        for (name, meaning) in COUNTERS {
            recorder.describe_counter(KeyName::from_const_str(name), None, SharedString::const_str(meaning));
        }
        for (name, unit, meaning) in HISTOGRAMS {
            recorder.describe_histogram(KeyName::from_const_str(name), Some(*unit), SharedString::const_str(meaning));
        }
        for (name, meaning) in GAUGES {
            recorder.describe_gauge(KeyName::from_const_str(name), None, SharedString::const_str(meaning));
        }
        let process = Collector::default();
        with_local_recorder(&recorder, || process.describe());
        let histogram = |name: &'static str| recorder.register_histogram(&Key::from_static_name(name), &META);
        let counter = |name: &'static str| recorder.register_counter(&Key::from_static_name(name), &META);
        Self {
            handle: recorder.handle(),
            process,
            labels: Mutex::default(),
            last: Mutex::default(),
            decision_seconds: histogram(DECISION_SECONDS),
            outbound_seconds: histogram(OUTBOUND_SECONDS),
            batch_size: histogram(BATCH_SIZE),
            duplicates: counter(DUPLICATES),
            conflicts: counter(CONFLICTS),
            spans: None,
            recorder,
        }
    }
}

impl Metrics {
    /// Metrics, and whoever is told of spans.
    #[must_use]
    pub fn with(spans: Option<Spans>) -> Self {
        Self { spans, ..Self::default() }
    }

    /// Who is told of spans, if anybody is.
    #[must_use]
    pub const fn spans(&self) -> Option<&Spans> {
        self.spans.as_ref()
    }

    /// Every name of ours that there can be in [`render`](Self::render)'s text; a histogram has three.
    #[must_use]
    pub fn names() -> BTreeSet<String> {
        let histograms = HISTOGRAMS.iter().flat_map(|(name, _, _)| ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        COUNTERS.iter().chain(GAUGES).map(|(name, _)| (*name).to_owned()).chain(histograms).collect()
    }

    /// Updates were decided.
    pub fn decided(&self, system: &SystemName, entity_type: &EntityType, decision: DecisionKind, count: u64) {
        let labels = vec![
            Label::new("system", self.bounded(system.as_str())),
            Label::new("type", self.bounded(entity_type.as_str())),
            Label::new("decision", decision.as_str()),
        ];
        self.recorder.register_counter(&Key::from_parts(UPDATES, labels), &META).increment(count);
    }

    /// An update took this long from its receipt to its durable decision.
    pub fn decision_took(&self, time: Duration) {
        self.decision_seconds.record(time);
    }

    /// A message took this long from the decision that made it to the broker's confirmation.
    pub fn outbound_took(&self, time: Duration) {
        self.outbound_seconds.record(time);
    }

    /// A transaction was committed.
    #[allow(clippy::cast_precision_loss, reason = "a batch has far fewer messages than a double has digits")]
    pub fn committed(&self, messages: usize, duplicates: u64, conflicts: u64) {
        self.batch_size.record(messages as f64);
        self.duplicates.increment(duplicates);
        self.conflicts.increment(conflicts);
    }

    /// Something Syncline relies on failed.
    pub fn fault(&self, fault: Fault) {
        let key = Key::from_parts(FAULTS, vec![Label::new("kind", fault.label())]);
        self.recorder.register_counter(&key, &META).increment(1);
    }

    /// A request was not let in.
    pub fn refused(&self, why: Refused) {
        let key = Key::from_parts(REFUSED, vec![Label::new("reason", why.label())]);
        self.recorder.register_counter(&key, &META).increment(1);
    }

    /// Everything, in the text format of Prometheus.
    pub fn render(&self, gauges: &Gauges) -> String {
        self.set(gauges);
        with_local_recorder(&self.recorder, || self.process.collect());
        self.handle.run_upkeep();
        self.handle.render()
    }

    fn set(&self, gauges: &Gauges) {
        let mut now = HashSet::new();
        for (system, count) in &gauges.pending {
            now.insert(self.gauge(PENDING, vec![Label::new("system", self.bounded(system.as_str()))], *count));
        }
        for (system, entity_type, count) in &gauges.drift {
            let labels = vec![Label::new("system", self.bounded(system.as_str())), Label::new("type", self.bounded(entity_type.as_str()))];
            now.insert(self.gauge(DRIFT, labels, *count));
        }
        for (reason, count) in &gauges.parked {
            now.insert(self.gauge(PARKED, vec![Label::new("reason", reason.clone())], *count));
        }
        for (reason, count) in &gauges.dead_letters {
            now.insert(self.gauge(DEAD_LETTERS, vec![Label::new("reason", reason.clone())], *count));
        }
        if let Some(count) = gauges.inbound {
            now.insert(self.gauge(INBOUND, Vec::new(), count));
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in last.difference(&now) {
            self.recorder.register_gauge(gone, &META).set(0.0);
        }
        *last = now;
        drop(last);
        for (name, count) in [(HITS, gauges.id_cache_hits), (MISSES, gauges.id_cache_misses)] {
            self.recorder.register_counter(&Key::from_static_name(name), &META).absolute(count);
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts of rows are far below what a double tells apart")]
    fn gauge(&self, name: &'static str, labels: Vec<Label>, count: u64) -> Key {
        let key = Key::from_parts(name, labels);
        let gauge: Gauge = self.recorder.register_gauge(&key, &META);
        gauge.set(count as f64);
        key
    }

    fn bounded(&self, label: &str) -> String {
        let mut known = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(label) && known.len() >= LABELS_MAX {
            return "other".to_owned();
        }
        known.insert(label.to_owned());
        label.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> SystemName {
        SystemName::new(format!("s{n}")).unwrap()
    }

    #[test]
    fn what_is_gone_is_shown_as_nothing() {
        let metrics = Metrics::default();
        let text = metrics.render(&Gauges { pending: vec![(name(1), 3)], ..Gauges::default() });
        assert!(text.contains("syncline_pending{system=\"s1\"} 3"), "{text}");
        let text = metrics.render(&Gauges::default());
        assert!(text.contains("syncline_pending{system=\"s1\"} 0"), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }

    #[test]
    fn the_thousandth_system_shares_its_label() {
        let metrics = Metrics::default();
        let entity_type = EntityType::new("device").unwrap();
        for n in 0..1000 {
            metrics.decided(&name(n), &entity_type, DecisionKind::Accepted, 1);
        }
        let text = metrics.render(&Gauges::default());
        assert!(text.contains("syncline_updates_total{system=\"s1\",type=\"device\",decision=\"accepted\"} 1"), "{text}");
        assert!(text.contains("syncline_updates_total{system=\"other\",type=\"device\",decision=\"accepted\"} 801"), "{text}");
        assert!(text.lines().filter(|line| line.starts_with(UPDATES)).count() <= LABELS_MAX + 1);
    }
}
