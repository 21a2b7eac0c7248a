//! `syncline verify` finds what is broken in a store, each thing by its name, and nothing in a healthy one: in both stores.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use syncline::backends::embedded::{Embedded, Options};
use syncline::domain::canonical::CanonicalRecord;
use syncline::domain::change::DeadReason;
use syncline::domain::decision::{Decision, DecisionKind};
use syncline::domain::link::{SendOp, Sent};
use syncline::domain::overlay::Overlay;
use syncline::ports::store::{Batch, DeadLetter, OutboxChange, Plan, RecordWrite, Store};
use syncline::ports::testkit::sample::{batch, claim, decision, id, letter, native, plan, record, row, system, waiting, write};

use super::mongodb::{Base, server};

/// What is declared; nothing is so old that it may be gone.
const CONFIG: &str = "
[orchestration]
push_updates = true
retention = { default = \"forever\" }
tombstone_retention = \"forever\"
[entities.device]
keys = [{ fields = [\"serial\"] }]
references = { parent_id = \"device\" }
[systems.bms.entities.device]
";

/// Record `n` of bms, version 1, as it has to be: with its link, its key, and the decision that made it.
fn healthy(n: u64) -> Plan {
    let mut record = record(n, 1);
    record.data.set("serial".into(), format!("s{n}").into());
    record.claims.insert(claim(&format!("s{n}")));
    made(record)
}

fn made(record: CanonicalRecord) -> Plan {
    let n = record.links[0].native_id.clone().unwrap();
    let snapshot = Some(record.data.clone());
    let decision = Decision {
        canonical_id: Some(record.id),
        proposed_snapshot: snapshot.clone(),
        accepted_snapshot: snapshot,
        ..decision(&format!("bms:u{n}"), None, DecisionKind::Accepted, 1)
    };
    let write = RecordWrite {
        links_added: vec![native(&format!("bms:{n}"))],
        claims_added: record.claims.iter().cloned().collect(),
        ..write(record, None)
    };
    Plan { decisions: vec![row(decision)], ..plan(write) }
}

/// A healthy one, changed.
fn broken(change: impl FnOnce(&mut RecordWrite)) -> Plan {
    let mut plan = healthy(1);
    change(plan.record.as_mut().unwrap());
    plan
}

fn changed(change: impl FnOnce(&mut CanonicalRecord)) -> Plan {
    broken(|write| change(Arc::make_mut(&mut write.record)))
}

fn sent(rev: u64) -> Sent {
    Sent {
        rev,
        at: syncline::ports::testkit::sample::at(1),
        version: 1,
        op: SendOp::Update,
        fields: syncline::domain::flat::Paths::new(),
        whole: true,
        values: Overlay::default(),
        unsaid: syncline::domain::flat::Paths::new(),
        fresh: false,
        unannounced: false,
        trace: None,
        takes_back: BTreeSet::new(),
        gives_back: 0,
    }
}

/// What is planted, and what must be said of it.
fn corruptions() -> Vec<(&'static str, Batch)> {
    let one = |plan: Plan| batch(vec![plan]);
    let due = |name: &str, rev: u64| OutboxChange::Due { system: system(name), rev };
    let dead = DeadLetter { reason: DeadReason::HandlerFailed, ..letter("bms:u1", "{}") };
    let row_of = |text: &str, about: Option<u64>, kind| row(decision(text, about, kind, 2));
    vec![
        ("bms:device:1 does not lead to it", one(broken(|write| write.links_added.clear()))),
        ("the key serial \"s1\" does not lead to it", one(broken(|write| write.claims_added.clear()))),
        ("it does not own its key serial \"s1\"", one(changed(|record| record.claims.clear()))),
        ("it owns the key serial \"s7\", which neither it nor any system holds", {
            one(broken(|write| {
                Arc::make_mut(&mut write.record).claims.insert(claim("s7"));
                write.claims_added.push(claim("s7"));
            }))
        }),
        ("expected was one that leads to 3", one(changed(|record| record.version = 3))),
        ("no decision led to version 1", one(Plan { decisions: Vec::new(), ..healthy(1) })),
        ("its data is not what bms:u1 decided", one(changed(|record| record.data.set("name".into(), "other".into())))),
        ("which is not there", one(Plan { decisions: vec![row_of("bms:u9", Some(9), DecisionKind::Accepted)], ..Plan::default() })),
        (
            "bms:u9 made a version of no record",
            one(Plan { decisions: vec![row_of("bms:u9", None, DecisionKind::Accepted)], ..Plan::default() }),
        ),
        ("bms:u9 is parked, and that is not what the list of waiting updates says", {
            one(Plan { decisions: vec![row_of("bms:u9", None, DecisionKind::Parked)], ..Plan::default() })
        }),
        ("bms:u9 waits without a decision that says so", one(Plan { waiting: vec![waiting("bms:u9", 1, &["bms:8"])], ..Plan::default() })),
        ("bms:u1 has a decision and is a dead letter, too", one(Plan { dead_letters: vec![dead], ..healthy(1) })),
        ("oem is owed record", one(broken(|write| write.outbox.push(due("oem", 1))))),
        ("bms is owed rev 5", one(broken(|write| write.outbox.push(due("bms", 5))))),
        ("bms was sent revs [3, 2], and its newest is 3", {
            one(changed(|record| {
                record.links[0].rev = 3;
                record.links[0].shadow.sends = vec![sent(3), sent(2)];
            }))
        }),
        ("bms does not hold name as it should, and is not sent it", {
            one(changed(|record| {
                let CanonicalRecord { links, data, .. } = record;
                links[0].shadow.held.set(data, "name".into(), Some("other".into()));
            }))
        }),
        ("which became part of another one itself", {
            let part = |n: u64, into: u64| {
                let mut plan = healthy(n);
                Arc::make_mut(&mut plan.record.as_mut().unwrap().record).merged_into = Some(id(into));
                plan
            };
            batch(vec![part(1, 2), part(2, 3), healthy(3)])
        }),
        ("became part of it and does not lead to it", batch(vec![changed(|record| record.absorbed.extend([id(2)])), healthy(2)])),
        ("it refers to", one(changed(|record| record.data.set("parent_id".into(), id(5).to_string().into())))),
        ("it is not found by", {
            let child = changed(|record| record.data.set("parent_id".into(), id(2).to_string().into()));
            batch(vec![child, healthy(2)])
        }),
    ]
}

/// What is said of a store, and the exit code.
fn verify(arguments: &[&str], config: &Path) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command.args(["verify", "--config", config.to_str().unwrap()]).args(arguments).env_remove("SYNCLINE__STORE__PATH");
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (text, output.status.code().unwrap())
}

fn all_is_well(said: &(String, i32)) {
    assert!(said.1 == 0 && said.0.starts_with("ok: 2 records, 2 decisions, 0 waiting"), "{said:?}");
}

fn is_named(said: &(String, i32), what: &str) {
    assert!(said.1 == 1 && said.0.lines().any(|line| line.starts_with("broken: ") && line.contains(what)), "{what}: {said:?}");
}

#[tokio::test]
async fn verify_names_what_is_broken_in_a_folder() {
    let folder = tempfile::TempDir::new().unwrap();
    let config = folder.path().join("syncline.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let planted = async |name: &str, batch: &Batch| {
        let path = folder.path().join(name);
        let Embedded { store, broker, .. } = Embedded::open(&path, &Options::default()).unwrap();
        store.commit(batch).await.unwrap();
        drop((store, broker));
        verify(&["--store", path.to_str().unwrap()], &config)
    };
    all_is_well(&planted("healthy", &batch(vec![healthy(1), healthy(2)])).await);
    for (n, (what, batch)) in corruptions().into_iter().enumerate() {
        is_named(&planted(&n.to_string(), &batch).await, what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_what_is_broken_in_mongodb() {
    let Some(url) = server() else { return };
    let folder = tempfile::TempDir::new().unwrap();
    let config = folder.path().join("syncline.toml");
    let planted = async |batch: &Batch| {
        let base = Base::new(&url);
        let store = base.open().await;
        store.commit(batch).await.unwrap();
        let at = format!("[store]\nkind = \"mongodb\"\nurl = \"{url}\"\ndatabase = \"{}\"\n", base.name);
        std::fs::write(&config, format!("{CONFIG}{at}")).unwrap();
        let said = verify(&[], &config);
        base.drop().await;
        said
    };
    all_is_well(&planted(&batch(vec![healthy(1), healthy(2)])).await);
    for (what, batch) in corruptions() {
        is_named(&planted(&batch).await, what);
    }
}
