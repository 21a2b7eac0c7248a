//! The model test: a few systems, their adapters and users, against the real engine and a store in memory.
//!
//! A history is a list of steps made from a seed. After it the world comes to rest, and every invariant must hold:
//! all systems equal their projection, nothing pending, every update decided once, every edit judged as what it was.
//! A failing history is made smaller and printed as a timeline.

#![allow(clippy::unwrap_used, clippy::format_push_string)] // a test that can't go on stops

#[path = "../support/engine.rs"]
mod engine;

mod check;
mod history;
mod seeds;
mod system;
mod world;

use serde_json::{Value, json};
use syncline::domain::identity::Claim;
use syncline::domain::value::FieldPath;
use syncline::ports::store::{RecordWrite, Store};
use syncline::ports::testkit::sample;

use history::{History, run, shrink};
use system::{Profile, Traits};
use world::World;

fn histories() -> u64 {
    std::env::var("SYNCLINE_MODEL_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

/// Runs seeds and returns the first failing history with what it broke.
fn first_failure(from: u64, count: u64, made: fn(u64) -> History) -> Option<(History, String)> {
    let threads = 2;
    let found = std::sync::Mutex::new(None::<(u64, History, String)>);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let found = &found;
            scope.spawn(move || {
                for seed in (from..from + count).filter(|seed| seed % threads == thread) {
                    if found.lock().unwrap().as_ref().is_some_and(|(other, ..)| *other < seed) {
                        return;
                    }
                    let history = made(seed);
                    if std::env::var("SYNCLINE_MODEL_LIVE").is_ok() {
                        let _ = history::run_told(&history, None, &mut Vec::new());
                    }
                    if let Err(broken) = run(&history, None) {
                        let mut found = found.lock().unwrap();
                        if found.as_ref().is_none_or(|(other, ..)| *other > seed) {
                            *found = Some((seed, history, broken));
                        }
                        return;
                    }
                }
            });
        }
    });
    found.into_inner().unwrap().map(|(_, history, broken)| (history, broken))
}

/// Fails with the first history that breaks anything, made smaller.
fn all_hold(count: u64, made: fn(u64) -> History) {
    let from = std::env::var("SYNCLINE_MODEL_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    if let Some((history, broken)) = first_failure(from, count, made) {
        let (small, broken) = shrink(history, broken, None);
        let mut timeline = Vec::new();
        let _ = history::run_told(&small, None, &mut timeline);
        panic!("seed {}: {broken}\n{}\n{}", small.seed, small.describe(), timeline.join("\n"));
    }
}

#[test]
fn every_history_ends_with_all_systems_equal_and_no_edit_lost() {
    all_hold(histories(), History::from_seed);
}

#[test]
fn so_does_every_history_in_which_systems_are_paused() {
    all_hold(histories() / 2, History::with_pauses);
}

#[test]
fn so_does_every_history_in_which_keys_are_taken_before_they_are_free() {
    all_hold(histories() / 4, History::with_borrowed_keys);
}

/// Of what the first orchestrator has learnt before a second one starts, that one knows what is stored.
#[tokio::test]
async fn a_key_that_moves_on_between_two_looks_is_not_believed() {
    let traits = Traits {
        profile: Profile::Whole,
        echoes: false,
        writes_changed: false,
        trims: false,
        late: false,
        takes_creates: false,
        compensates: false,
    };
    let systems = vec![("ax", traits), ("bx", traits)];
    let history = History { seed: 0, systems, steps: Vec::new(), unlinks: false, marks_later: false };
    let mut world = World::new(&history, false).await;
    world.systems[0].create("thing", &[("serial", json!("S0")), ("a", json!("x"))]);
    world.publish(0);
    world.decide(0, 1).await;
    world.commit(0, false).await;
    // The other one gives it another serial, just after the first has looked up who has the old one.
    let found = world.store.list_records(None, None, 9).await.unwrap().remove(0);
    let mut record = (*found.record).clone();
    let old = record.claims.first().cloned().unwrap();
    let new = Claim { value: "S9".to_owned(), ..old.clone() };
    record.claims = [new.clone()].into();
    record.data.set(FieldPath::name("serial"), json!("S9"));
    let write = sample::write(record, Some(found.revision));
    let write = RecordWrite { claims_added: vec![new], claims_released: vec![old], makes_way: true, ..write };
    world.store.commits_meanwhile(sample::batch(vec![sample::plan(write)]));
    world.systems[1].create("thing", &[("serial", json!("S0")), ("a", json!("y"))]);
    world.publish(1);
    world.decide(1, 1).await;
    world.commit(1, false).await;
    let records = world.store.list_records(None, None, 9).await.unwrap();
    let serials: Vec<&Value> = records.iter().filter_map(|found| found.record.data.get(&FieldPath::name("serial"))).collect();
    assert_eq!(serials, [&json!("S9"), &json!("S0")], "each is a thing of its own");
}

/// Faults planted one at a time; each must be noticed within this many histories.
const FAULTS: &[&str] = &[
    "shadow_not_updated",
    "send_not_in_shadow",
    "dispute_ignored",
    "not_rebased",
    "seq_ignored",
    "receipt_ignored",
    "waiting_row_missing",
    "claim_release_forgotten",
    "never_marked_sent",
    "version_check_skipped",
    "claim_not_released",
    "duplicate_not_refused",
    "unsaid_ignored",
    "unpublished_counts",
    "base_ignored",
    "create_taken_for_applied",
    "reliance_unchecked",
    "woken_message_lost",
    "own_create_not_awaited",
    "delete_not_sent",
    "deleted_keys_kept",
    "delete_answer_ignored",
    "rekey_not_linked",
    "freed_key_not_handed_over",
    "split_not_remembered",
    "moved_shadow_not_rebased",
    "waiting_overwritten",
    "gone_while_sent_unsaid",
    "refusal_outlives_agreement",
    "taken_back_forgotten",
    "crossing_create_forgotten",
    "former_seq_kept",
    "made_beside_ignored",
];

/// Those about what has not gone out, for histories with pauses.
const UNSENT_FAULTS: &[&str] = &["unsent_ages", "ages_from_recording"];

/// Those about who waits for a key, for histories in which keys are taken before they are free.
const KEY_FAULTS: &[&str] = &["nobody_makes_way"];

/// Two at a time; `SYNCLINE_MODEL_FAULT` names one to look at alone.
fn all_are_noticed(faults: &[&'static str], made: fn(u64) -> History) {
    let only = std::env::var("SYNCLINE_MODEL_FAULT").ok();
    let next = std::sync::Mutex::new(faults.iter().copied().filter(|fault| only.as_deref().is_none_or(|only| only == *fault)));
    let missed = std::sync::Mutex::new(Vec::new());
    // The first history that notices it, if any does.
    let noticed = |fault| (0..20_000).find(|seed| run(&made(*seed), Some(fault)).is_err());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(fault) = next.lock().unwrap().next() else { return };
                    match noticed(fault) {
                        Some(seed) => println!("{fault}: noticed by history {seed}"),
                        None => missed.lock().unwrap().push(fault),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "nobody noticed: {missed:?}");
}

#[test]
fn every_planted_fault_is_noticed() {
    all_are_noticed(FAULTS, History::from_seed);
}

#[test]
fn every_planted_fault_about_what_is_unsent_is_noticed() {
    all_are_noticed(UNSENT_FAULTS, History::with_pauses);
}

#[test]
fn every_planted_fault_about_keys_that_are_not_free_is_noticed() {
    all_are_noticed(KEY_FAULTS, History::with_borrowed_keys);
}
