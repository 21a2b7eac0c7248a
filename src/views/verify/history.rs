//! Decisions, the versions they made, waiting updates and dead letters agree.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Check, PAGE, Seen};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::DeadReason;
use crate::domain::decision::Decision;
use crate::domain::ids::{CanonicalId, UpdateId};
use crate::domain::masks::agree;
use crate::ports::error::PortError;
use crate::ports::store::{DecisionFilter, Lookup};

impl Check<'_> {
    pub(super) async fn waiting(&mut self) -> Result<HashSet<UpdateId>, PortError> {
        let mut found = HashSet::new();
        let mut after = None;
        loop {
            let page = self.store.list_waiting(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.arrival);
            self.found.waiting += page.len() as u64;
            found.extend(page.into_iter().map(|waiting| waiting.update));
        }
        Ok(found)
    }

    /// Newest first, so each row says what the next older one of its record must have led to.
    pub(super) async fn decisions(&mut self, mut waiting: HashSet<UpdateId>) -> Result<(), PortError> {
        let mut seen: HashSet<UpdateId> = HashSet::new();
        let mut after = None;
        loop {
            let page = self.store.decisions(&DecisionFilter::default(), after.as_ref(), PAGE).await?;
            let newest = self.newest(&page.items).await?;
            for row in &page.items {
                self.found.decisions += 1;
                if !seen.insert(row.update.clone()) {
                    self.found.broken.push(format!("{} has more than one decision", row.update));
                }
                if row.decision.is_waiting() != waiting.remove(&row.update) {
                    self.found.broken.push(format!(
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
        self.found.broken.extend(waiting.iter().map(|update| format!("{update} waits without a decision that says so")));
        let kept = |seen: &Seen| self.kept.logged && seen.created_at >= self.kept.rows_since;
        let unfinished = self.versions.iter().filter(|(_, seen)| seen.version != 0 && kept(seen));
        self.found.broken.extend(unfinished.map(|(id, seen)| format!("{id}: no decision led to version {}", seen.version)));
        Ok(())
    }

    /// The records whose newest change is among these rows.
    async fn newest(&self, rows: &[Decision]) -> Result<HashMap<CanonicalId, Arc<CanonicalRecord>>, PortError> {
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
            self.found.broken.push(format!("{} made a version of no record", row.update));
            return;
        };
        let Some(seen) = self.versions.get_mut(&id) else {
            // All that made a version of a deleted record is as old as its delete.
            if row.timestamp >= self.kept.deleted_since {
                self.found.broken.push(format!("{} changed record {id}, which is not there", row.update));
            }
            return;
        };
        if row.version_after != seen.version || row.version_before + 1 != row.version_after {
            self.found.broken.push(format!(
                "{id}: {} led from version {} to {}, expected was one that leads to {}",
                row.update, row.version_before, row.version_after, seen.version
            ));
        }
        if !seen.compared {
            let snapshot = row.accepted_snapshot.as_ref();
            if newest.get(&id).is_some_and(|record| snapshot.is_none_or(|snapshot| !agree(&record.data, snapshot))) {
                self.found.broken.push(format!("{id}: its data is not what {} decided", row.update));
            }
        }
        *seen = Seen { version: row.version_before, compared: true, ..*seen };
    }

    /// What was decided is no dead letter. Only of one that a handler made is it certain that it is about the same message.
    pub(super) async fn letters(&mut self) -> Result<(), PortError> {
        let mut after = None;
        loop {
            let page = self.store.dead_letters(after.as_ref(), PAGE).await?;
            let failed = page.items.iter().filter(|letter| letter.reason == DeadReason::HandlerFailed);
            let updates: Vec<UpdateId> = failed.filter_map(|letter| UpdateId::try_from(letter.id.clone()).ok()).collect();
            let markers = self.store.look_up(&Lookup { updates, ..Lookup::default() }).await?.markers;
            let decided = markers.iter().filter(|(_, marker)| !marker.of_letter);
            self.found.broken.extend(decided.map(|(update, _)| format!("{update} has a decision and is a dead letter, too")));
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
