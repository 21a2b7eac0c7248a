//! `verify`: what must hold in a store at any time (§4.4), looked at in one pass over it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::cli::args::Options;
use crate::cli::error::FAILED;
use crate::cli::{Failure, Host, output, stores};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::DeadReason;
use crate::domain::decision::{Decision, Logging};
use crate::domain::identity::TypedClaim;
use crate::domain::ids::{CanonicalId, NativeId, NativeKey, UpdateId};
use crate::domain::masks::agree;
use crate::domain::orphans::refers_to;
use crate::domain::rules::{Duplicates, Rules};
use crate::domain::time::Timestamp;
use crate::engine::settings::Settings;
use crate::ports::store::{DecisionFilter, Found, Lookup, Store, Versioned};

const PAGE: usize = 1000;

/// Broken things that are printed; more are only counted.
const SHOWN: usize = 100;

/// Runs `verify`.
pub async fn run(options: &Options, host: &Host) -> Result<(), Failure> {
    let settings = Settings::compile(&stores::config(options)?);
    let rules = options.config.is_some().then(|| settings.rules.clone());
    let now = host.clock.now();
    let since = |kept: Option<Duration>| kept.map_or(Timestamp::from_micros(i64::MIN), |kept| now.minus(kept));
    let logged = settings.rules.logging != Logging::None;
    let kept = Kept { logged, rows_since: since(settings.keep.others), deleted_since: since(settings.keep.deleted) };
    let store = stores::open(options, host).await?;
    let mut check =
        Check { store: store.as_ref(), rules, kept, broken: Vec::new(), versions: HashMap::new(), records: 0, decisions: 0, waiting: 0 };
    let waiting = check.waiting().await?;
    check.records().await?;
    check.decisions(waiting).await?;
    check.outbox().await?;
    check.letters().await?;
    check.report(options)
}

struct Check<'a> {
    store: &'a dyn Store,
    /// What is declared; without it claims are only looked up.
    rules: Option<Arc<Rules>>,
    kept: Kept,
    broken: Vec<String>,
    /// The version each record must have had after the next older decision that changed it; `None`: no row seen yet.
    versions: HashMap<CanonicalId, Seen>,
    records: u64,
    decisions: u64,
    waiting: u64,
}

/// What need not be there any more: it was over, and old enough to go.
struct Kept {
    /// Whether decisions that made a version have a row at all.
    logged: bool,
    /// Decisions since then have a row.
    rows_since: Timestamp,
    /// Records that were deleted since then are known.
    deleted_since: Timestamp,
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

impl Check<'_> {
    async fn waiting(&mut self) -> Result<HashSet<UpdateId>, Failure> {
        let mut found = HashSet::new();
        let mut after = None;
        loop {
            let page = self.store.list_waiting(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.arrival);
            self.waiting += page.len() as u64;
            found.extend(page.into_iter().map(|waiting| waiting.update));
        }
        Ok(found)
    }

    async fn records(&mut self) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let page = self.store.list_records(None, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.record.id);
            let mut lookup = Lookup::default();
            for versioned in &page {
                lookup.links.extend(links(&versioned.record));
                lookup.claims.extend(claims(&versioned.record));
            }
            let found = self.store.look_up(&lookup).await?;
            let named: HashSet<CanonicalId> = page.iter().flat_map(|versioned| self.named(&versioned.record)).collect();
            let known = self.store.records(&named.into_iter().collect::<Vec<_>>()).await?;
            let known: HashMap<_, _> = known.into_iter().map(|versioned| (versioned.record.id, versioned.record)).collect();
            for Versioned { record, .. } in &page {
                self.record(record, &found);
                self.neighbours(record, &known);
                self.sends(record);
                self.child(record).await?;
            }
        }
    }

    /// The records one names.
    fn named(&self, record: &CanonicalRecord) -> BTreeSet<CanonicalId> {
        let refers = self.rules.as_ref().map(|rules| refers_to(record, &rules.of_type(&record.entity_type)));
        record.merged_into.into_iter().chain(record.absorbed.iter().copied()).chain(refers.into_iter().flatten()).collect()
    }

    /// A record that became part of another one leads there in one step; what it refers to is there.
    fn neighbours(&mut self, record: &CanonicalRecord, known: &HashMap<CanonicalId, Arc<CanonicalRecord>>) {
        let name = format!("{} {}", record.entity_type, record.id);
        if let Some(into) = record.merged_into {
            let broken = match known.get(&into) {
                None => Some("which is not there"),
                Some(winner) if winner.merged_into.is_some() => Some("which became part of another one itself"),
                Some(winner) if !winner.absorbed.contains(&record.id) => Some("which does not know of it"),
                Some(_) => None,
            };
            self.broken.extend(broken.map(|why| format!("{name}: it became part of {into}, {why}")));
        }
        for id in &record.absorbed {
            if known.get(id).is_none_or(|part| part.merged_into != Some(record.id)) {
                self.broken.push(format!("{name}: {id} became part of it and does not lead to it"));
            }
        }
        let named = self.named(record);
        let refers = named.iter().filter(|id| record.merged_into != Some(**id) && !record.absorbed.contains(id));
        let missing: Vec<String> =
            refers.filter(|id| !known.contains_key(id)).map(|id| format!("{name}: it refers to {id}, which is not there")).collect();
        self.broken.extend(missing);
    }

    /// What a system was sent is numbered upwards, and never beyond its counter.
    fn sends(&mut self, record: &CanonicalRecord) {
        for link in &record.links {
            let revs: Vec<u64> = link.shadow.sends.iter().map(|sent| sent.rev).collect();
            if !revs.is_sorted_by(|a, b| a < b) || revs.last().is_some_and(|last| *last > link.rev) {
                let (entity_type, id, system) = (&record.entity_type, record.id, &link.system);
                self.broken.push(format!("{entity_type} {id}: {system} was sent revs {revs:?}, and its newest is {}", link.rev));
            }
        }
    }

    /// Whoever deletes what a record refers to finds it.
    async fn child(&mut self, record: &CanonicalRecord) -> Result<(), Failure> {
        let Some(rules) = &self.rules else { return Ok(()) };
        let before = CanonicalId(uuid::Uuid::from_u128(record.id.0.as_u128().saturating_sub(1)));
        for parent in refers_to(record, &rules.of_type(&record.entity_type)) {
            let found = self.store.children(&[parent], &record.entity_type, Some(before), 1).await?;
            if found.first() != Some(&record.id) {
                self.broken.push(format!("{} {}: it is not found by {parent}, to which it refers", record.entity_type, record.id));
            }
        }
        Ok(())
    }

    /// What was decided is no dead letter. Only of one that a handler made is it certain that it is about the same message.
    async fn letters(&mut self) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let page = self.store.dead_letters(after.as_ref(), PAGE).await?;
            let failed = page.items.iter().filter(|letter| letter.reason == DeadReason::HandlerFailed);
            let updates: Vec<UpdateId> = failed.filter_map(|letter| UpdateId::try_from(letter.id.clone()).ok()).collect();
            let markers = self.store.look_up(&Lookup { updates, ..Lookup::default() }).await?.markers;
            let decided = markers.iter().filter(|(_, marker)| !marker.of_letter);
            self.broken.extend(decided.map(|(update, _)| format!("{update} has a decision and is a dead letter, too")));
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    fn record(&mut self, record: &CanonicalRecord, found: &Found) {
        self.records += 1;
        self.versions.insert(record.id, Seen { version: record.version, compared: false, created_at: record.created_at });
        let name = format!("{} {}", record.entity_type, record.id);
        for key in links(record).filter(|key| found.links.get(key) != Some(&record.id)) {
            self.broken.push(format!("{name}: {key} does not lead to it"));
        }
        for claim in claims(record).filter(|claim| found.claims.get(claim) != Some(&record.id)) {
            self.broken.push(format!("{name}: the key {} does not lead to it", claim.claim));
        }
        let Some(rules) = &self.rules else { return };
        let keys = &rules.of_type(&record.entity_type).keys;
        let due = record.claims_due(keys);
        // A key value in a change that waits may be just what it waits for.
        let owed = match rules.of_type(&record.entity_type).duplicates {
            Duplicates::Park => record.claims_decided(keys),
            // It may be another record that its system has, too.
            Duplicates::Separate => BTreeSet::new(),
        };
        for claim in owed.difference(&record.claims) {
            self.broken.push(format!("{name}: it does not own its key {claim}"));
        }
        for claim in record.claims.difference(&due) {
            self.broken.push(format!("{name}: it owns the key {claim}, which neither it nor any system holds"));
        }
    }

    /// Newest first, so each row says what the next older one of its record must have led to.
    async fn decisions(&mut self, mut waiting: HashSet<UpdateId>) -> Result<(), Failure> {
        let mut seen: HashSet<UpdateId> = HashSet::new();
        let mut after = None;
        loop {
            let page = self.store.decisions(&DecisionFilter::default(), after.as_ref(), PAGE).await?;
            let newest = self.newest(&page.items).await?;
            for row in &page.items {
                self.decisions += 1;
                if !seen.insert(row.update.clone()) {
                    self.broken.push(format!("{} has more than one decision", row.update));
                }
                if row.decision.is_waiting() != waiting.remove(&row.update) {
                    self.broken.push(format!(
                        "{} is {}, and that is not what the list of waiting updates says",
                        row.update,
                        row.decision.as_str()
                    ));
                }
                self.decision(row, &newest);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.broken.extend(waiting.iter().map(|update| format!("{update} waits without a decision that says so")));
        let kept = |seen: &Seen| self.kept.logged && seen.created_at >= self.kept.rows_since;
        let unfinished = self.versions.iter().filter(|(_, seen)| seen.version != 0 && kept(seen));
        self.broken.extend(unfinished.map(|(id, seen)| format!("{id}: no decision led to version {}", seen.version)));
        Ok(())
    }

    /// The records whose newest change is among these rows.
    async fn newest(&self, rows: &[Decision]) -> Result<HashMap<CanonicalId, Arc<CanonicalRecord>>, Failure> {
        let open = |id: &CanonicalId| self.versions.get(id).is_some_and(|seen| !seen.compared);
        let changes = rows.iter().filter(|row| row.version_after != row.version_before);
        let ids: HashSet<CanonicalId> = changes.filter_map(|row| row.canonical_id).filter(open).collect();
        let ids: Vec<CanonicalId> = ids.into_iter().collect();
        let records = if ids.is_empty() { Vec::new() } else { self.store.records(&ids).await? };
        Ok(records.into_iter().map(|versioned| (versioned.record.id, versioned.record)).collect())
    }

    fn decision(&mut self, row: &Decision, newest: &HashMap<CanonicalId, Arc<CanonicalRecord>>) {
        if row.version_after == row.version_before || !self.kept.logged {
            return;
        }
        let Some(id) = row.canonical_id else {
            self.broken.push(format!("{} made a version of no record", row.update));
            return;
        };
        let Some(seen) = self.versions.get_mut(&id) else {
            // All that made a version of a deleted record is as old as its delete.
            if row.timestamp >= self.kept.deleted_since {
                self.broken.push(format!("{} changed record {id}, which is not there", row.update));
            }
            return;
        };
        if row.version_after != seen.version || row.version_before + 1 != row.version_after {
            self.broken.push(format!(
                "{id}: {} led from version {} to {}, expected was one that leads to {}",
                row.update, row.version_before, row.version_after, seen.version
            ));
        }
        if !seen.compared {
            let snapshot = row.accepted_snapshot.as_ref();
            if newest.get(&id).is_some_and(|record| snapshot.is_none_or(|snapshot| !agree(&record.data, snapshot))) {
                self.broken.push(format!("{id}: its data is not what {} decided", row.update));
            }
        }
        *seen = Seen { version: row.version_before, compared: true, ..*seen };
    }

    async fn outbox(&mut self) -> Result<(), Failure> {
        let mut after = 0;
        loop {
            let page = self.store.owed(after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            let ids: HashSet<CanonicalId> = page.iter().map(|(_, owed)| owed.record).collect();
            let records = self.store.records(&ids.into_iter().collect::<Vec<_>>()).await?;
            let records: HashMap<_, _> = records.into_iter().map(|versioned| (versioned.record.id, versioned.record)).collect();
            for (_, owed) in &page {
                let link = records.get(&owed.record).and_then(|record| Some(&record.links[record.link_with(&owed.system)?]));
                match link {
                    None => self.broken.push(format!("{} is owed record {}, which it does not take part in", owed.system, owed.record)),
                    Some(link) if link.rev != owed.rev => {
                        self.broken
                            .push(format!("{} is owed rev {} of {}, whose newest is {}", owed.system, owed.rev, owed.record, link.rev));
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn report(self, options: &Options) -> Result<(), Failure> {
        let Self { broken, records, decisions, waiting, rules, .. } = self;
        let shown = &broken[..broken.len().min(SHOWN)];
        if options.json {
            output::json(&json!({ "ok": broken.is_empty(), "records": records, "decisions": decisions, "waiting": waiting,
                "claims_checked": rules.is_some(), "broken": shown, "broken_count": broken.len() }))?;
        } else {
            for line in shown {
                output::line(format!("broken: {line}"))?;
            }
            if broken.is_empty() {
                let note = if rules.is_some() { "" } else { " (keys were not compared with a configuration: name it with --config)" };
                output::line(format!("ok: {records} records, {decisions} decisions, {waiting} waiting{note}"))?;
            }
        }
        match broken.len() {
            0 => Ok(()),
            count => Err(Failure::new(FAILED, format!("{count} broken, in {records} records and {decisions} decisions"))),
        }
    }
}

fn links(record: &CanonicalRecord) -> impl Iterator<Item = NativeKey> {
    record.links.iter().flat_map(|link| {
        let key = |native_id: &NativeId| NativeKey {
            system: link.system.clone(),
            entity_type: record.entity_type.clone(),
            native_id: native_id.clone(),
        };
        link.native_id.iter().chain(&link.aliases).map(key)
    })
}

fn claims(record: &CanonicalRecord) -> impl Iterator<Item = TypedClaim> {
    record.claims.iter().map(|claim| TypedClaim { entity_type: record.entity_type.clone(), claim: claim.clone() })
}
