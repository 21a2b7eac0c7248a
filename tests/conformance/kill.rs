//! Killed in the middle: what was answered is there, and no half of anything.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use syncline::backends::embedded::{Embedded, Options};
use syncline::domain::decision::DecisionKind;
use syncline::ports::store::{Lookup, OutboxChange, Plan, RecordWrite, Store};
use syncline::ports::testkit::sample;

const FOLDER: &str = "SYNCLINE_TEST_FOLDER";
/// Plans in each batch.
const SIZE: u64 = 20;
/// Batches under way at once.
const LANES: u64 = 4;

fn plan(n: u64) -> Plan {
    let write = RecordWrite {
        links_added: vec![sample::native(&format!("bms:{n}"))],
        claims_added: vec![sample::claim(&format!("s{n}"))],
        outbox: vec![OutboxChange::Due { system: sample::system("oem"), rev: 1 }],
        ..sample::write(sample::record(n, 1), None)
    };
    let decisions = vec![sample::row(sample::decision(&format!("bms:u{n}"), Some(n), DecisionKind::Accepted, n))];
    Plan { decisions, ..sample::plan(write) }
}

/// With few keys in memory, so that they move into their tables all the time.
fn options() -> Options {
    Options { recent_keys: 2_000, ..Options::default() }
}

/// The child: commits batch after batch and says which were answered, until it is killed.
#[test]
#[ignore = "started by the test below"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let embedded = Embedded::open(Path::new(&folder), &options()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let first = embedded.store.count_up("start").await.unwrap() * 1_000_000;
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let store = Arc::clone(&embedded.store);
                tokio::spawn(async move {
                    for batch in (lane..).step_by(usize::try_from(LANES).unwrap()) {
                        let from = first + batch * SIZE;
                        store.commit(&sample::batch((from..from + SIZE).map(plan).collect())).await.unwrap();
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "answered {from}").unwrap();
                        out.flush().unwrap();
                    }
                })
            })
            .collect();
        for lane in lanes {
            lane.await.unwrap();
        }
    });
}

/// Runs the child for a while; returns the first numbers of the batches it saw answered.
fn run_and_kill(folder: &Path, millis: u64) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "kill::child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        lines.map_while(Result::ok).filter_map(|line| line.rsplit_once("answered ")?.1.parse().ok()).collect::<Vec<u64>>()
    });
    std::thread::sleep(Duration::from_millis(millis));
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// Whether everything (`Some(true)`), nothing (`Some(false)`) or a part (`None`) of a plan is there.
async fn is_there(store: &Arc<dyn Store>, n: u64) -> Option<bool> {
    let (link, claim, update) =
        (sample::native(&format!("bms:{n}")), sample::typed(&format!("s{n}")), sample::update(&format!("bms:u{n}")));
    let ask = Lookup { updates: vec![update.clone()], links: vec![link], claims: vec![claim], ..Lookup::default() };
    let found = store.look_up(&ask).await.unwrap();
    let parts = [
        store.records(&[sample::id(n)]).await.unwrap().len(),
        found.links.len(),
        found.claims.len(),
        found.markers.len(),
        usize::from(store.decision(&update).await.unwrap().is_some()),
        store.owed_of(&[(sample::id(n), sample::system("oem"))]).await.unwrap().len(),
    ];
    match parts {
        [1, 1, 1, 1, 1, 1] => Some(true),
        [0, 0, 0, 0, 0, 0] => Some(false),
        _ => None,
    }
}

#[tokio::test]
async fn whatever_was_answered_survives_a_kill() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut answered = Vec::new();
    for round in 1..=20 {
        let now = run_and_kill(folder.path(), 30 + round * 37 % 150);
        let embedded = Embedded::open(folder.path(), &options()).unwrap();
        let store: Arc<dyn Store> = embedded.store;
        let last = now.iter().max().copied();
        answered.extend(now);
        for from in &answered {
            for n in *from..from + SIZE {
                assert_eq!(is_there(&store, n).await, Some(true), "round {round}, plan {n}");
            }
        }
        // What was under way is there whole or not at all.
        for from in last.into_iter().flat_map(|last| (last..=last + LANES * 2 * SIZE).step_by(usize::try_from(SIZE).unwrap())) {
            let first = is_there(&store, from).await;
            assert!(first.is_some());
            for n in from..from + SIZE {
                assert_eq!(is_there(&store, n).await, first, "round {round}, plan {n}");
            }
        }
    }
    assert!(answered.len() > 20, "the child did nothing: {}", answered.len());
}
