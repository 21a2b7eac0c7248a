//! Random batches, against the reference store: both must say the same after each of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sample::*;
use super::{MemoryStore, StoreKit};
use crate::domain::decision::{Decision, DecisionKind, Logging};
use crate::domain::identity::Claim;
use crate::domain::ids::{CanonicalId, NativeKey};
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::store::{
    Batch, Cursor, DeadLetter, DecisionFilter, DecisionWrite, Expired, LetterEnd, Lookup, OutboxChange, Owed, Plan, Published, RecordWrite,
    SettledLetter, Store, SystemFacts,
};

/// Few enough of each that they meet.
const RECORDS: u64 = 6;
const UPDATES: u64 = 60;
const SYSTEMS: [&str; 3] = ["bms", "oem", "crm"];

/// Small numbers that look random; the same from the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % sides
    }

    fn some<T>(&mut self, most: u64, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.roll(most + 1)).map(|_| make(self)).collect()
    }

    fn native(&mut self) -> NativeKey {
        native(&format!("{}:{}", SYSTEMS[self.index(3)], self.roll(8)))
    }

    fn claim(&mut self) -> Claim {
        claim(&format!("s{}", self.roll(8)))
    }

    fn index(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll(sides as u64)).unwrap_or(0)
    }

    fn update(&mut self) -> String {
        format!("{}:u{}", SYSTEMS[self.index(3)], self.roll(UPDATES))
    }
}

/// Makes batches that fit what is stored, mostly.
struct Player {
    dice: Dice,
    reference: MemoryStore,
    /// Grows with every row, so that times tell them apart.
    seconds: u64,
    /// Whether markers go, too.
    marks: bool,
}

impl Player {
    async fn batch(&mut self) -> Batch {
        let mut plans = Vec::new();
        for _ in 0..=self.dice.roll(3) {
            plans.push(self.plan().await);
        }
        let facts = self.dice.some(1, |dice| SystemFacts {
            receipts_seen: dice.roll(2) == 0,
            types: [of_type(["device", "sensor"][dice.index(2)])].into(),
            ..SystemFacts::new(system(SYSTEMS[dice.index(3)]))
        });
        let logging = [Logging::All, Logging::All, Logging::Changes, Logging::None][self.dice.index(4)];
        Batch { plans, facts, logging }
    }

    async fn plan(&mut self) -> Plan {
        let n = self.dice.roll(RECORDS);
        let record = if self.dice.roll(4) == 0 { None } else { Some(self.write(n).await) };
        let mut plan = Plan { record, ..Plan::default() };
        if self.dice.roll(4) == 0 {
            let relied_on = self.reference.records(&[id(self.dice.roll(RECORDS))]).await.unwrap();
            let older = u64::from(self.dice.roll(5) == 0);
            plan.checks = relied_on.iter().map(|found| (found.record.id, found.revision - older)).collect();
        }
        for _ in 0..self.dice.roll(3) {
            let decision = self.decision(n).await;
            if decision.decision.decision.is_waiting() {
                plan.waiting.push(self.waiting(&decision.decision));
            } else if decision.replaces {
                plan.awake.push(decision.decision.update.clone());
            }
            plan.decisions.push(decision);
        }
        if self.dice.roll(6) == 0 {
            let text = self.dice.update();
            let marks = (self.dice.roll(2) == 0).then(|| (update(&text), 7));
            if self.dice.roll(2) == 0 {
                plan.awake.push(update(&text));
            }
            plan.dead_letters.push(DeadLetter { marks, ..letter(&text, "x") });
        }
        if self.dice.roll(8) == 0 {
            plan.settled.extend(self.settled().await);
        }
        plan
    }

    /// Times up to which rows may go; markers go after their rows, in some plays, and never in the others.
    fn expired(&mut self) -> Expired {
        let mut before =
            |share: u64| self.marks.then_some(()).or((self.dice.roll(2) == 0).then_some(())).map(|()| at(self.seconds * share / 4));
        let (unchanged, echo, others) = (before(3), before(2), before(2));
        Expired { unchanged, echo, others, markers: self.marks.then(|| at(self.seconds / 4)) }
    }

    /// One of the dead letters there are, or one that is not stored so.
    async fn settled(&mut self) -> Option<SettledLetter> {
        let known = self.reference.dead_letters(None, 99).await.unwrap().items;
        let mut letter = known.get(self.dice.index(known.len().max(1)))?.clone();
        if self.dice.roll(8) == 0 {
            letter.body = Some("other".to_owned());
        }
        let of = update(&letter.id);
        let end = match self.dice.roll(4) {
            0 => LetterEnd::Requeued(None),
            1 => LetterEnd::Requeued(Some(of)),
            2 => LetterEnd::Discarded(None),
            _ => LetterEnd::Discarded(Some((of, 11))),
        };
        Some(SettledLetter { letter, end })
    }

    async fn write(&mut self, n: u64) -> RecordWrite {
        let stored = self.reference.records(&[id(n)]).await.unwrap();
        let (expected, version) = stored.first().map_or((None, 1), |found| (Some(found.revision), found.record.version + 1));
        let expected = if self.dice.roll(20) == 0 { Some(99) } else { expected };
        let dice = &mut self.dice;
        RecordWrite {
            links_added: dice.some(1, Dice::native),
            links_removed: dice.some(2, Dice::native),
            claims_added: dice.some(1, Dice::claim),
            claims_released: dice.some(2, Dice::claim),
            makes_way: dice.roll(3) == 0,
            outbox: dice.some(2, outbox_change),
            ..write(record(n, version), expected)
        }
    }

    async fn decision(&mut self, n: u64) -> DecisionWrite {
        let text = self.dice.update();
        let known = self.reference.decision(&update(&text)).await.unwrap().map(|row| row.decision);
        self.seconds += 1;
        let kind = DecisionKind::ALL[self.dice.index(8)];
        let about = (self.dice.roll(5) > 0).then_some(n);
        let mut decision = decision(&text, about, kind, self.seconds);
        if self.dice.roll(3) == 0 {
            decision.entity_type = of_type("sensor");
            decision.accepted_snapshot = None;
        }
        let replaces = known.is_some_and(DecisionKind::is_waiting) || self.dice.roll(30) == 0;
        DecisionWrite { decision, content_hash: self.seconds, replaces, place: 0 }
    }

    fn waiting(&mut self, decision: &Decision) -> Waiting {
        let dice = &mut self.dice;
        let mut waiting = waiting(&decision.update.to_string(), self.seconds, &[]);
        waiting.key = dice.native();
        waiting.retry_at = (dice.roll(3) == 0).then(|| at(dice.roll(500)));
        waiting.waiting_for = WaitingFor::Review;
        if dice.roll(4) == 0 {
            waiting.waiting_for = WaitingFor::MatchCollision { records: dice.some(2, |dice| id(dice.roll(RECORDS))), keys: Vec::new() };
        } else if dice.roll(4) > 0 {
            let missing = dice.some(3, Dice::native);
            let references = missing.into_iter().map(|key| crate::domain::waiting::MissingReference { field: "p".into(), key });
            let behind = (dice.roll(4) == 0).then(|| update(&dice.update()));
            waiting.waiting_for = WaitingFor::MissingReference { references: references.collect(), behind };
        }
        waiting
    }
}

fn outbox_change(dice: &mut Dice) -> OutboxChange {
    let (system, rev) = (system(SYSTEMS[dice.index(3)]), 1 + dice.roll(9));
    match dice.roll(10) {
        0..5 => OutboxChange::Due { system, rev },
        5 => OutboxChange::Applied { system, rev },
        6 => OutboxChange::Failed { system, rev, retry_at: at(dice.roll(99)) },
        7 => OutboxChange::Rejected { system, rev },
        8 => OutboxChange::DueAfresh { system, rev },
        _ => OutboxChange::Sent(published(dice)),
    }
}

/// Plays random batches against a store and the reference; `steps` of them, reopening the store now and then.
pub async fn agrees_with_reference(kit: &dyn StoreKit, seed: u64, steps: u64) {
    let mut store = kit.fresh().await;
    let mut player = Player { dice: Dice(seed), reference: MemoryStore::new(), seconds: 0, marks: seed.is_multiple_of(2) };
    let reference: Arc<dyn Store> = Arc::new(player.reference.clone());
    for step in 0..steps {
        let mut batch = player.batch().await;
        loop {
            let (expected, got) = (reference.commit(&batch).await, store.commit(&batch).await);
            assert_eq!(expected.is_ok(), got.is_ok(), "seed {seed} step {step}: {expected:?} {got:?} {batch:?}");
            let (Err(expected), Err(got)) = (expected, got) else { break };
            assert!(got.conflicting().is_some_and(|plans| !plans.is_empty()), "{got:?}");
            let mut index = 0;
            let named = expected.conflicting().unwrap().to_vec();
            batch.plans.retain(|_| {
                index += 1;
                !named.contains(&(index - 1))
            });
        }
        if player.dice.roll(2) == 0 {
            let messages = player.dice.some(3, published);
            reference.published(&messages).await.unwrap();
            store.published(&messages).await.unwrap();
        }
        if player.dice.roll(8) == 0 && kit.forgets_exactly() {
            let expired = player.expired();
            reference.forget(&expired, 3).await.unwrap();
            while store.forget(&expired, 3).await.unwrap() {}
        }
        if player.dice.roll(15) == 0 {
            store = kit.reopen(store).await;
        }
        let seen = (observe(&reference, step).await, observe(&store, step).await);
        assert_eq!(seen.0, seen.1, "seed {seed} step {step}");
    }
}

fn published(dice: &mut Dice) -> Published {
    let system = system(SYSTEMS[dice.index(3)]);
    Published {
        record: id(dice.roll(RECORDS)),
        system,
        rev: 1 + dice.roll(9),
        nothing: dice.roll(3) == 0,
        tried: (u32::try_from(dice.roll(3)).unwrap(), (dice.roll(3) == 0).then_some(at(dice.roll(9)))),
        awaits_receipt: dice.roll(2) == 0,
        answer_by: (dice.roll(2) == 0).then_some(at(dice.roll(9))),
    }
}

/// Everything a store can be asked, as text.
async fn observe(store: &Arc<dyn Store>, step: u64) -> Vec<String> {
    let natives = SYSTEMS.iter().flat_map(|system| (0..8).map(move |n| native(&format!("{system}:{n}")))).collect::<Vec<_>>();
    let updates = SYSTEMS.iter().flat_map(|system| (0..UPDATES).map(move |n| update(&format!("{system}:u{n}")))).collect::<Vec<_>>();
    let claims = (0..8).map(|n| typed(&format!("s{n}"))).collect();
    let (waiting_of, waiting_on) = (natives[..9].to_vec(), natives[9..].to_vec());
    let found = store
        .look_up(&Lookup { updates: updates.clone(), links: natives, claims, waiting_of, waiting_on, ..Lookup::default() })
        .await
        .unwrap();
    let mut seen = Vec::new();
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines.join("\n")
    };
    seen.push(sorted(found.markers.iter().map(|(update, marker)| format!("{update} {marker:?}")).collect()));
    seen.push(sorted(found.links.iter().map(|(key, id)| format!("{key} {id}")).collect()));
    seen.push(sorted(found.claims.iter().map(|(claim, id)| format!("{claim:?} {id}")).collect()));
    seen.push(format!("{:?}", found.waiting));
    let records = store.records(&(0..RECORDS).map(id).collect::<Vec<_>>()).await.unwrap();
    seen.extend(records.iter().map(|found| format!("{} {:?}", found.revision, found.record)));
    seen.push(format!("{:?}", owed_by_record(store, 1 + usize::try_from(step % 3).unwrap_or(0)).await));
    let pairs = (0..RECORDS).flat_map(|n| SYSTEMS.map(|name| (id(n), system(name)))).collect::<Vec<_>>();
    seen.push(format!("{:?}", store.owed_of(&pairs).await.unwrap()));
    seen.push(format!("{:?}", store.waiting_due(at(step), 99).await.unwrap()));
    seen.push(format!("{:?}", store.next_due().await.unwrap()));
    seen.push(format!("{:?}", store.list_waiting(Some(step), 99).await.unwrap()));
    seen.push(format!("{:?}", store.list_records(None, Some(id(1)), 99).await.unwrap()));
    seen.push(format!("{}", store.count_records().await.unwrap()));
    seen.push(format!("{:?}", store.list_records(Some(&of_type("sensor")), None, 99).await.unwrap()));
    let mut facts = store.facts().await.unwrap();
    facts.sort_by(|a, b| a.system.cmp(&b.system));
    seen.push(format!("{facts:?}"));
    for filter in filters(step) {
        seen.push(format!("{filter:?} {:?}", all_decisions(store, &filter, 1 + usize::try_from(step % 7).unwrap_or(0)).await));
    }
    seen.push(format!("{:?}", store.tally().await.unwrap()));
    seen.push(format!("{:?}", store.dead_letters(None, 99).await.unwrap().items));
    seen.push(format!("{:?}", store.decision(&updates[usize::try_from(step % UPDATES).unwrap_or(0)]).await.unwrap()));
    seen
}

/// What is owed, found page by page. Where records stand among each other that became due several times, is the store's.
async fn owed_by_record(store: &Arc<dyn Store>, limit: usize) -> BTreeMap<CanonicalId, Vec<Owed>> {
    let all: Vec<(u64, Owed)> = store.owed(0, 999).await.unwrap();
    let mut paged: Vec<(u64, Owed)> = Vec::new();
    loop {
        let page = store.owed(paged.last().map_or(0, |(position, _)| *position), limit).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert!(all.is_sorted_by(|(a, _), (b, _)| a < b));
    let mut records = BTreeMap::<_, Vec<_>>::new();
    all.into_iter().for_each(|(_, row)| records.entry(row.record).or_default().push(row));
    records
}

fn filters(step: u64) -> [DecisionFilter; 6] {
    let all = DecisionFilter::default;
    [
        all(),
        DecisionFilter { record: Some(id(step % RECORDS)), ..all() },
        DecisionFilter { decision: Some(DecisionKind::ALL[usize::try_from(step % 8).unwrap_or(0)]), ..all() },
        DecisionFilter { system: Some(system("oem")), entity_type: Some(of_type("sensor")), ..all() },
        DecisionFilter { since: Some(at(step / 3)), until: Some(at(step)), ..all() },
        DecisionFilter { reason: Some(format!("u{}", step % UPDATES)), ..all() },
    ]
}

async fn all_decisions(store: &Arc<dyn Store>, filter: &DecisionFilter, limit: usize) -> Vec<Decision> {
    let mut found = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let page = store.decisions(filter, after.as_ref(), limit).await.unwrap();
        found.extend(page.items);
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}
