//! Records that name each other before any of them is known. Each waits for another one, so none would ever come; they
//! come in together or not at all.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;

use super::decide::Decider;
use super::doing;
use super::identify::Located;
use super::load::{ChangeItem, Content, Item};
use super::unit::Unit;
use super::waiting::awake_input;
use crate::domain::decide::Arrival;
use crate::domain::ids::{CanonicalId, NativeKey};
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::error::PortError;
use crate::ports::store::Lookup;

/// Records in one cycle at most; more than that wait until a part of them comes in some other way.
const CYCLE_MAX: usize = 100;

/// A record of a cycle: the position of its input and its update.
type Member = (usize, ChangeItem);

impl Decider {
    /// The waiting whole records that, with this one, lack nothing but each other; `None` if there is no such set.
    pub(super) async fn cycle_of(
        &mut self,
        unit: &mut Unit,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
    ) -> Result<Option<Vec<Waiting>>, PortError> {
        let own = &item.change.key;
        // Only who is waited for can close a cycle; nearly nobody who lacks a parent is.
        let named = arrival.missing.iter().any(|missing| missing.key == *own) || !unit.waiting_on(own).is_empty();
        if !named || !unit.expected.is_empty() {
            return Ok(None);
        }
        let mut found: Vec<Waiting> = Vec::new();
        let mut seen: HashSet<NativeKey> = HashSet::from([own.clone()]);
        let mut open: Vec<NativeKey> = arrival.missing.iter().map(|missing| missing.key.clone()).collect();
        while !open.is_empty() {
            open.retain(|key| seen.insert(key.clone()));
            if seen.len() > CYCLE_MAX {
                return Ok(None);
            }
            self.look_up_parked(unit, &open).await?;
            for key in std::mem::take(&mut open) {
                if unit.linked(&key).is_some() {
                    continue;
                }
                let Some((waiting, lacks)) = unit.waiting_of(&key).into_iter().find_map(whole_record) else { return Ok(None) };
                open.extend(lacks);
                found.push(waiting);
            }
        }
        Ok(Some(found))
    }

    async fn look_up_parked(&mut self, unit: &mut Unit, keys: &[NativeKey]) -> Result<(), PortError> {
        let mut lookup = Lookup { waiting_of: keys.to_vec(), ..Lookup::default() };
        for key in keys {
            self.want_link(unit, key, &mut lookup, &mut Vec::new());
        }
        if !lookup.is_empty() {
            let found = self.store.look_up(&lookup).await?;
            self.note(unit, &lookup, found);
        }
        Ok(())
    }

    /// Decides the records of a cycle together, each as if the others were known. False: the one at `position`, which
    /// closes the cycle, has to wait like the others.
    ///
    /// One that does not come in, as a handler or a key is against it, gets its own row; the others go on waiting for it.
    pub(super) fn bring_in<'a>(
        &'a mut self,
        unit: &'a mut Unit,
        position: usize,
        waiting: Vec<Waiting>,
    ) -> Pin<Box<dyn Future<Output = Result<bool, PortError>> + Send + 'a>> {
        Box::pin(async move {
            let Some(members) = doing(self.members(unit, position, waiting)).await? else { return Ok(false) };
            let Some(expected) = self.expected(unit, &members).await? else { return Ok(false) };
            let before = unit.clone();
            doing(self.decide_members(unit, &members, &expected)).await?;
            let came = |unit: &Unit, member: &Member| unit.linked(&member.1.change.key) == expected.get(&member.1.change.key).copied();
            let stopped: Vec<Member> = members.iter().filter(|member| !came(unit, member)).cloned().collect();
            if stopped.is_empty() {
                tie(unit, &members);
                return Ok(true);
            }
            *unit = before.clone();
            doing(self.decide_members(unit, &stopped, &expected)).await?;
            if stopped.iter().any(|(_, member)| unit.linked(&member.change.key).is_some()) {
                // Its handler answered otherwise this time: what it refers to would not exist.
                *unit = before;
                return Ok(false);
            }
            Ok(stopped.iter().any(|(other, _)| *other == position))
        })
    }

    /// The updates of a cycle in arrival order, made ready; `None` if one can't be read any more.
    async fn members(&mut self, unit: &mut Unit, position: usize, waiting: Vec<Waiting>) -> Result<Option<Vec<Member>>, PortError> {
        let closing = unit.inputs[position].clone();
        let content = match unit.acted_on.get(&position) {
            Some(item) => Content::Change(item.clone()),
            None => self.make_ready(unit, &closing),
        };
        let mut items = vec![Item { position, content, acting: None }];
        items.extend(doing(self.load(unit, waiting.into_iter().map(awake_input).collect())).await?);
        items.sort_by_key(|item| unit.inputs[item.position].arrival);
        let member = |item: Item| match item.content {
            Content::Change(change) => Some((item.position, *change)),
            Content::Receipt(..)
            | Content::Dead(_)
            | Content::Unreadable(..)
            | Content::ChangeSet(_)
            | Content::Resend(..)
            | Content::Refused(_)
            | Content::Regroup(_)
            | Content::Step(_)
            | Content::Nothing => None,
        };
        Ok(items.into_iter().map(member).collect())
    }

    /// The canonical ids the records will have: of those their keys lead to, else new ones. `None` if one is stuck.
    async fn expected(&mut self, unit: &mut Unit, members: &[Member]) -> Result<Option<HashMap<NativeKey, CanonicalId>>, PortError> {
        let mut expected = HashMap::new();
        for (position, item) in members {
            let arrival = Self::arrival(unit, *position, item, item.leaves.clone());
            let id = match doing(self.locate(unit, item, &arrival)).await? {
                Located::At(id, _) => id,
                Located::Unknown => self.ids.canonical(self.clock.now()),
                Located::Stuck(_) => return Ok(None),
            };
            expected.insert(item.change.key.clone(), id);
        }
        Ok(Some(expected))
    }

    async fn decide_members(
        &mut self,
        unit: &mut Unit,
        members: &[Member],
        expected: &HashMap<NativeKey, CanonicalId>,
    ) -> Result<(), PortError> {
        unit.expected.clone_from(expected);
        for (position, item) in members {
            doing(self.decide_admitted(unit, *position, item.clone())).await?;
        }
        unit.expected.clear();
        Ok(())
    }
}

/// A whole record nobody knows, with the records it waits for.
fn whole_record(waiting: Waiting) -> Option<(Waiting, Vec<NativeKey>)> {
    let WaitingFor::MissingReference { references, behind: None } = &waiting.waiting_for else { return None };
    let lacks = references.iter().map(|missing| missing.key.clone()).collect();
    waiting.change.is_none().then_some((waiting, lacks))
}

/// What one of them refers to is made by another: they are committed, or decided again, together.
fn tie(unit: &mut Unit, members: &[Member]) {
    let makers: Vec<usize> = members.iter().filter_map(|(_, item)| unit.links.get(&item.change.key)?.made_by).collect();
    for maker in &makers {
        unit.drafts[*maker].depends.extend(makers.iter().filter(|other| *other != maker));
    }
}
