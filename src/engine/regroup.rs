//! Merges and splits that people ask for: which records are one thing, and which are two (§1.10).

use std::collections::BTreeSet;

use super::acts::{Act, Refusal, Request};
use super::decide::Decider;
use super::doing;
use super::merging::Cause;
use super::unit::{Owner, Unit};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::ids::{CanonicalId, NativeKey};
use crate::domain::planted;
use crate::domain::provenance::{ByKind, DecidedBy};
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::error::PortError;
use crate::ports::store::Lookup;

/// Waiting updates looked at in one query.
const PAGE: usize = 500;

impl Decider {
    /// Does what somebody asks about the identity of records, on top of everything decided so far.
    pub(super) async fn regroup(&mut self, unit: &mut Unit, position: usize, act: &Act) -> Result<(), PortError> {
        let received_at = unit.inputs[position].received_at;
        let cause = |reason: &Option<String>| {
            let given = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            Cause { by: DecidedBy::named(ByKind::Person, act.by.clone()), reason: format!("{} says so{given}", act.by), received_at }
        };
        if let Err(refusal) = self.looked_at(unit, act).await? {
            act.refuse(refusal);
            return Ok(());
        }
        let done = match &act.request {
            Request::Merge { winner, loser, reason } => {
                self.load_ids(unit, [*winner, *loser]).await?;
                let (winner, loser) = (unit.meant(*winner), unit.meant(*loser));
                match doing(self.merge_records(unit, position, winner, loser, &cause(reason))).await? {
                    Ok(row) => Ok((vec![row], vec![winner, loser])),
                    Err(refused) => Err(refused.to_string()),
                }
            }
            Request::Split { record, natives, reason } => {
                self.load_ids(unit, [*record]).await?;
                let record = unit.meant(*record);
                match doing(self.split_record(unit, position, record, natives, &cause(reason))).await? {
                    Ok(rows) => Ok((rows.to_vec(), vec![record])),
                    Err(refused) => Err(refused.to_string()),
                }
            }
            Request::Erase { record, reason } => {
                self.load_ids(unit, [*record]).await?;
                let record = unit.meant(*record);
                doing(self.erase_record(unit, position, record, &cause(reason))).await?.map(|row| (vec![row], Vec::new()))
            }
            Request::Judge { .. } | Request::Requeue { .. } | Request::Discard { .. } | Request::DontCreate { .. } => return Ok(()),
        };
        match done {
            Ok((rows, records)) => {
                act.made(rows);
                doing(self.wake_collisions(unit, &records)).await
            }
            Err(refused) => {
                act.refuse(Refusal::Cannot(refused));
                Ok(())
            }
        }
    }

    /// Refuses what is asked about a record that is not as it was looked at any more.
    async fn looked_at(&self, unit: &mut Unit, act: &Act) -> Result<Result<(), Refusal>, PortError> {
        let (Request::Merge { winner: id, .. } | Request::Split { record: id, .. } | Request::Erase { record: id, .. }) = &act.request
        else {
            return Ok(Ok(()));
        };
        self.load_ids(unit, [*id]).await?;
        Ok(unit.record(unit.meant(*id)).map_or(Ok(()), |record| act.looked_at(record.tag())))
    }

    /// A key value that two records share, as a person has said that they are two, is the other one's once the first lets go.
    pub(super) async fn hand_over(&mut self, unit: &mut Unit, position: usize) -> Result<(), PortError> {
        for (by, claim, heirs) in std::mem::take(&mut unit.freed) {
            if planted::fault("freed_key_not_handed_over") {
                continue;
            }
            self.load_ids(unit, heirs.iter().copied()).await?;
            if unit.claims.get(&claim).is_some_and(|owner| owner.id.is_some()) {
                continue;
            }
            let types = self.settings.rules.of_type(&claim.entity_type);
            let due = |record: &CanonicalRecord| record.is_live() && record.claims_due(&types.keys).contains(&claim.claim);
            let heir = heirs.iter().map(|id| unit.meant(*id)).find(|id| unit.record(*id).is_some_and(due));
            let Some((heir, draft)) = heir.and_then(|id| Some((id, unit.draft_of(id)?))) else { continue };
            unit.drafts[draft].inputs.insert(position);
            unit.drafts[draft].depends.extend([by].into_iter().filter(|by| *by != draft));
            if let Some(work) = unit.drafts[draft].work.as_mut() {
                work.record.claims.insert(claim.claim.clone());
                unit.claims.insert(claim, Owner { id: Some(heir), made_by: Some(draft) });
            }
        }
        Ok(())
    }

    /// Updates that wait because of what just changed about these records are looked at again.
    pub(super) async fn wake_collisions(&mut self, unit: &mut Unit, records: &[CanonicalId]) -> Result<(), PortError> {
        let names = |waiting: &Waiting| match &waiting.waiting_for {
            WaitingFor::MatchCollision { records: named, .. } => named.iter().any(|id| records.contains(id)),
            WaitingFor::DuplicateInSystem { record, .. } => records.contains(record),
            WaitingFor::MissingReference { .. }
            | WaitingFor::NoIdentity
            | WaitingFor::NoBase
            | WaitingFor::OpenCreate { .. }
            | WaitingFor::Review
            | WaitingFor::Brake { .. }
            | WaitingFor::Time => false,
        };
        let (mut after, mut keys) = (None, BTreeSet::new());
        loop {
            let page = self.store.list_waiting(after, PAGE).await?;
            keys.extend(page.iter().filter(|waiting| names(waiting)).map(|waiting| waiting.key.clone()));
            after = page.last().map(|waiting| waiting.arrival);
            if page.len() < PAGE || !unit.may_wake() {
                break;
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        self.wake_of(unit, keys.into_iter().collect(), names).await
    }

    /// Those of the updates of these native records that wait as `wanted` are looked at again.
    pub(super) async fn wake_of(
        &mut self,
        unit: &mut Unit,
        keys: Vec<NativeKey>,
        wanted: impl Fn(&Waiting) -> bool,
    ) -> Result<(), PortError> {
        let lookup = Lookup { waiting_of: keys.clone(), ..Lookup::default() };
        let found = self.store.look_up(&lookup).await?;
        self.note(unit, &lookup, found);
        for waiting in keys.iter().flat_map(|key| unit.waiting_of(key)).filter(wanted).collect::<Vec<_>>() {
            unit.wake(waiting);
        }
        Ok(())
    }
}
