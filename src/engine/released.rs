//! What a person makes of a pulled brake: what it keeps back is let go, or put away.

use std::time::Duration;

use tokio::task::JoinSet;

use super::acts::{Acts, Done, Refusal, Request};
use super::decide::Decider;
use super::load::Content;
use super::unit::Unit;
use crate::domain::change::{Receipt, ReceiptStatus};
use crate::domain::ids::{CanonicalId, MessageId, SystemName, UpdateId};
use crate::domain::review::{Says, Word};
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::hold::{Hold, HoldRow};
use crate::ports::store::SettledLetter;

/// Rows read at once, and acts under way at once.
const PAGE: usize = 500;
const AT_ONCE: usize = 64;
/// How often is looked for more of what is put away while it keeps coming.
const LOOKS: u32 = 100;
/// How long is waited for what is being decided while a brake is taken off.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// How the answer of a person begins that stands for a system's.
const DISCARD: &str = "discard:";

/// Whether a person said it, and not the system: it is no refusal of what somebody changed.
pub(super) fn is_discard(receipt: &Receipt) -> bool {
    receipt.content_hash == 0 && receipt.update.id.as_str().starts_with(DISCARD)
}

impl Acts {
    /// Lets go of what a brake keeps back. Deletes that wait for it are decided at once, creates may be sent; returns how many
    /// deletes there were.
    pub async fn release(&self, row: HoldRow, by: &str) -> Result<u64, Refusal> {
        let waiting = self.braked(&row.hold).await?;
        self.store.put_hold(&row.released(self.clock.now())).await?;
        let judge = |update: UpdateId| Request::Judge { update, word: None };
        self.all(waiting.into_iter().map(|waiting| judge(waiting.update)).collect(), by).await
    }

    /// Puts away what a brake keeps back: deletes are not followed, creates are not sent as they are. Then the brake is off.
    /// Whatever happens in between, what is left is still kept back. Returns how many there were.
    pub async fn put_away(&self, row: HoldRow, by: &str) -> Result<u64, Refusal> {
        let mut done = 0;
        // More may come meanwhile.
        for _ in 0..LOOKS {
            let kept = self.kept_back(&row.hold, by).await?;
            if kept.is_empty() {
                break;
            }
            done += self.all(kept, by).await?;
        }
        // Nothing of it was let go.
        self.store.put_hold(&row.clone().lifted()).await?;
        self.activity.look();
        // What was kept back by it at this very moment is to be found in the store.
        let _ = tokio::time::timeout(SETTLED_WITHIN, self.activity.rest()).await;
        if let Hold::DeleteBrake { .. } = &row.hold {
            done += self.all(self.kept_back(&row.hold, by).await?, by).await?;
        }
        Ok(done)
    }

    /// What putting away asks for, of all that a brake keeps back now.
    async fn kept_back(&self, hold: &Hold, by: &str) -> Result<Vec<Request>, Refusal> {
        let word = Word { says: Says::Rejected, by: Some(by.to_owned()), at: self.clock.now(), reason: None };
        match hold {
            Hold::DeleteBrake { .. } => {
                let judge = |update: UpdateId| Request::Judge { update, word: Some(word.clone()) };
                Ok(self.braked(hold).await?.into_iter().map(|waiting| judge(waiting.update)).collect())
            }
            Hold::CreateBrake { system, entity_type } => {
                let mut requests = Vec::new();
                let (mut after, mut more) = (0, true);
                while more {
                    let page = self.store.owed(after, PAGE).await?;
                    more = page.len() == PAGE;
                    after = page.last().map_or(after, |(position, _)| *position);
                    let ids: Vec<CanonicalId> = page
                        .iter()
                        .filter(|(_, owed)| owed.system == *system && owed.published < owed.rev)
                        .map(|(_, owed)| owed.record)
                        .collect();
                    let records = if ids.is_empty() { Vec::new() } else { self.store.records(&ids).await? };
                    let kept = records.iter().filter(|found| {
                        let link = found.record.link_with(system).map(|index| &found.record.links[index]);
                        found.record.entity_type == *entity_type && link.is_some_and(crate::domain::link::Link::is_open_create)
                    });
                    requests.extend(kept.map(|found| Request::DontCreate { record: found.record.id, system: system.clone() }));
                }
                Ok(requests)
            }
            Hold::PauseIn { .. } | Hold::PauseOut { .. } => {
                Err(Refusal::Cannot("a pause has nothing to discard; resume the system".to_owned()))
            }
        }
    }

    /// Updates that wait for a brake.
    async fn braked(&self, hold: &Hold) -> Result<Vec<Waiting>, PortError> {
        let id = hold.to_string();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.list_waiting(after, PAGE).await?;
            let full = page.len() == PAGE;
            after = page.last().map(|waiting| waiting.arrival);
            found.extend(page.into_iter().filter(|waiting| matches!(&waiting.waiting_for, WaitingFor::Brake { id: own } if *own == id)));
            if !full {
                return Ok(found);
            }
        }
    }

    /// Does them all; what somebody else has done meanwhile is done.
    async fn all(&self, requests: Vec<Request>, by: &str) -> Result<u64, Refusal> {
        let mut done = 0;
        for some in requests.chunks(AT_ONCE) {
            let mut acts = JoinSet::new();
            for request in some.iter().cloned() {
                let (own, by) = (self.clone(), by.to_owned());
                acts.spawn(async move { own.run(request, &by).await });
            }
            while let Some(outcome) = acts.join_next().await {
                match outcome.map_err(|error| PortError::new(PortErrorKind::Unavailable, "act", error))? {
                    Ok(Done::Row(_) | Done::Rows(_) | Done::Dead(_) | Done::Nothing) => done += 1,
                    Err(Refusal::Decided(_) | Refusal::Absent(_) | Refusal::IsDead(_) | Refusal::Gone) => {}
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        Ok(done)
    }
}

impl Decider {
    /// A create that was never sent is answered by a person, as its system would answer it.
    pub(super) async fn ready_refusal(
        &mut self,
        unit: &mut Unit,
        record: CanonicalId,
        system: &SystemName,
        act: &super::acts::Act,
    ) -> Result<Result<(Content, Option<SettledLetter>), Refusal>, PortError> {
        self.load_ids(unit, [record]).await?;
        let found = unit.record(unit.meant(record));
        let open = found.and_then(|found| Some((found, &found.links[found.link_with(system)?]))).filter(|(_, link)| link.is_open_create());
        let Some((found, link)) = open else { return Ok(Err(Refusal::Gone)) };
        let now = self.clock.now();
        let id = MessageId::new(format!("{DISCARD}{}", self.ids.canonical(now)));
        let id = id.unwrap_or_else(|_| unreachable!("a word and a UUID are a valid id"));
        let receipt = Receipt {
            update: UpdateId::new(system.clone(), id),
            entity_type: found.entity_type.clone(),
            native_id: None,
            canonical_id: Some(found.id),
            rev: link.rev,
            status: ReceiptStatus::Rejected,
            stored: crate::domain::change::Record::default(),
            reason: Some(format!("discarded by {}", act.by)),
            trace: None,
            content_hash: 0,
        };
        let types = self.settings.rules.of_type(&receipt.entity_type);
        let source = self.directory.target(system, &receipt.entity_type);
        Ok(Ok((Content::Receipt(Box::new(receipt), source, types), None)))
    }
}
