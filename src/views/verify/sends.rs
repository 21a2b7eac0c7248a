//! Who does not hold a record as it should is being sent it.

use std::collections::{HashMap, HashSet};

use super::{Check, Declared, PAGE};
use crate::domain::breaker;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::ids::CanonicalId;
use crate::domain::sending::{SendContext, Target, plan_sends};
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;

impl Check<'_> {
    /// What every system holds, or was sent, is its model of the record; or it would be sent that.
    pub(super) fn held(&mut self, record: &CanonicalRecord) {
        let Some(declared) = self.declared else { return };
        let unsent = unsent(record, declared);
        self.found.broken.extend(unsent);
        for link in &record.links {
            let (entity_type, id, system) = (&record.entity_type, record.id, &link.system);
            let frozen =
                breaker::frozen(link).map(|(path, stored)| format!("{entity_type} {id}: {system} keeps {path} = {}", stored.stored));
            self.found.frozen.extend(frozen);
        }
    }

    /// What a system was sent is numbered upwards, and never beyond its counter.
    pub(super) fn sends(&mut self, record: &CanonicalRecord) {
        for link in &record.links {
            let revs: Vec<u64> = link.shadow.sends.iter().map(|sent| sent.rev).collect();
            if !revs.is_sorted_by(|a, b| a < b) || revs.last().is_some_and(|last| *last > link.rev) {
                let (entity_type, id, system) = (&record.entity_type, record.id, &link.system);
                self.found.broken.push(format!("{entity_type} {id}: {system} was sent revs {revs:?}, and its newest is {}", link.rev));
            }
        }
    }

    pub(super) async fn outbox(&mut self) -> Result<(), PortError> {
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
                    None => {
                        self.found.broken.push(format!("{} is owed record {}, which it does not take part in", owed.system, owed.record));
                    }
                    Some(link) if link.rev != owed.rev => {
                        self.found
                            .broken
                            .push(format!("{} is owed rev {} of {}, whose newest is {}", owed.system, owed.rev, owed.record, link.rev));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// What a decision about the record would have sent today, although nothing has changed since: whoever lacks it is sent it together
/// with the change that made it lack it.
fn unsent(record: &CanonicalRecord, declared: Declared<'_>) -> Vec<String> {
    // A system that came later is sent what was there before it when somebody asks for that.
    let has = |target: &&Target| record.links.iter().any(|link| link.system == target.system);
    let targets: Vec<Target> = (declared.targets)(&record.entity_type).iter().filter(has).cloned().collect();
    let types = declared.rules.of_type(&record.entity_type);
    // So late that no message is still under way that nobody confirms.
    let now = Timestamp::from_micros(i64::MAX);
    let context = SendContext { rules: declared.rules, types: &types, targets: &targets, now, insist: None };
    let mut record = record.clone();
    let due = plan_sends(&mut record, &context, None);
    let told = due.into_iter().map(|due| {
        let fields = record.link_with(&due.system).and_then(|index| record.links[index].newest()).map(|sent| &sent.fields);
        let fields: Vec<&str> = fields.into_iter().flatten().map(|path| path.as_str()).collect();
        let (entity_type, id, system) = (&record.entity_type, record.id, &due.system);
        let what = if fields.is_empty() { "the record".to_owned() } else { fields.join(", ") };
        format!("{entity_type} {id}: {system} does not hold {what} as it should, and is not sent it (resync tells it, also after a change of rules)")
    });
    told.collect()
}
