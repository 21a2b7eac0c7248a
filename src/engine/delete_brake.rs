//! The delete brake: too many deletes of a type by one system wait for a person (§1.10). An export that came out empty, or a
//! script that went wrong, must not empty all other systems.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::decide::Decider;
use super::load::ChangeItem;
use crate::domain::ids::{EntityType, NativeKey, SystemName};
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::hold::{Hold, HoldRow};

/// So many pass in any case: a share of a few records says nothing.
const FEW: usize = 10;
/// Records read at once when those of a system are counted, and at most.
const PAGE: usize = 500;
const READ_MAX: usize = 20_000;

/// How many deletes of one type may come from one system, and within what time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// So many.
    pub count: usize,
    /// So many of a hundred records it has.
    pub percent: f64,
    /// Within this time.
    pub window: Duration,
}

/// The deletes of late, of each system and type. Counts anew after a start; a brake that was pulled holds all the same.
#[derive(Debug, Default)]
pub struct Lately(HashMap<(SystemName, EntityType), Seen>);

#[derive(Debug, Default)]
struct Seen {
    at: VecDeque<Timestamp>,
    /// How many records the system had, and when they were counted.
    had: Option<(Timestamp, usize)>,
}

impl Decider {
    /// The brake that keeps a delete back, if one does. Counts the delete, and pulls the brake if it is one too many. What
    /// arrived before the last release is let go.
    pub(super) async fn brake_on(
        &mut self,
        item: &ChangeItem,
        received_at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<String>, PortError> {
        let NativeKey { system, entity_type, .. } = &item.change.key;
        let hold = Hold::DeleteBrake { system: system.clone(), entity_type: entity_type.clone() };
        let rows = self.store.holds().await?;
        let row = rows.iter().find(|row| row.hold == hold);
        if row.and_then(|row| row.released_at).is_some_and(|at| received_at <= at) {
            return Ok(None);
        }
        if row.is_some_and(|row| row.holds) {
            return Ok(Some(hold.to_string()));
        }
        if item.woken.is_some() || !self.is_one_too_many(system, entity_type, now).await? {
            return Ok(None);
        }
        tracing::warn!(%hold, "too many deletes at once; the rest waits for a person");
        self.store.put_hold(&HoldRow::begin(hold.clone(), row, now)).await?;
        Ok(Some(hold.to_string()))
    }

    async fn is_one_too_many(&mut self, system: &SystemName, entity_type: &EntityType, now: Timestamp) -> Result<bool, PortError> {
        let Limit { count, percent, window } = self.settings.delete_brake;
        let key = (system.clone(), entity_type.clone());
        let seen = self.deletes_lately.0.entry(key.clone()).or_default();
        while seen.at.front().is_some_and(|first| now.since(*first) >= window) {
            seen.at.pop_front();
        }
        seen.at.push_back(now);
        let deletes = seen.at.len();
        if deletes > count {
            seen.at.clear();
            return Ok(true);
        }
        if deletes <= FEW || percent >= 100.0 {
            return Ok(false);
        }
        let known = seen.had.filter(|(at, _)| now.since(*at) < window).map(|(_, had)| had);
        let had = match known {
            Some(had) => had,
            // Those that are deleted already it had, too.
            None => deletes + self.records_of(system, entity_type, (count as f64 * 100.0 / percent.max(0.01)).ceil() as usize).await?,
        };
        let Some(seen) = self.deletes_lately.0.get_mut(&key) else { return Ok(false) };
        seen.had.get_or_insert((now, had));
        let too_many = deletes as f64 > had as f64 * percent / 100.0;
        if too_many {
            seen.at.clear();
        }
        Ok(too_many)
    }

    /// How many records of a type a system has; no more than `enough` are counted.
    async fn records_of(&self, system: &SystemName, entity_type: &EntityType, enough: usize) -> Result<usize, PortError> {
        let (mut has, mut read, mut after) = (0, 0, None);
        while has < enough && read < READ_MAX {
            let page = self.store.list_records(Some(entity_type), after, PAGE).await?;
            has += page.iter().filter(|versioned| versioned.record.native_id(system).is_some()).count();
            read += page.len();
            after = page.last().map(|versioned| versioned.record.id);
            if page.len() < PAGE {
                break;
            }
        }
        Ok(has)
    }
}
