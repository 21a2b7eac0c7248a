//! The orchestrator with its store in MongoDB and its queues beside it.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use mongodb::Client;
use serde_json::{Value, json};
use syncline::backends::embedded::{Embedded, Options};
use syncline::domain::decision::DecisionKind;
use syncline::domain::ids::SystemName;
use syncline::domain::time::Timestamp;
use syncline::ports::store::{DecisionFilter, Store};
use syncline::prelude::*;

use crate::support::{decided, drained, syncline, until, whole};

const URL: &str = "SYNCLINE_TEST_MONGODB_URL";
const PUSH: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
[systems.bms.entities.device]
[systems.oem]
receipts = "required"
[systems.oem.entities.device]
"#;

/// The server's address. Without one there is nothing to test, except where everything must be tested.
fn server() -> Option<String> {
    let url = std::env::var(URL).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{URL} is not set; scripts/services starts a server and says its address");
        eprintln!("skipped: {URL} is not set");
    }
    url
}

/// The configuration of an orchestrator with a database of its own, and that database's name.
fn config(url: &str) -> (String, String) {
    let database = format!("syncline_test_{}", uuid::Uuid::now_v7().simple());
    (format!("[store]\nkind = \"mongodb\"\nurl = {url:?}\ndatabase = {database:?}\n{PUSH}"), database)
}

async fn drop_database(url: &str, name: &str) {
    Client::with_uri_str(url).await.unwrap().database(name).drop().await.unwrap();
}

/// What waits for the other system.
async fn waiting(orchestrator: &Orchestrator) -> Vec<Value> {
    let system = SystemName::new("oem").unwrap();
    let leased = orchestrator.queues().unwrap().lease(&system, 99, Duration::ZERO, Timestamp::from_micros(0)).await.unwrap();
    leased.messages.iter().map(|message| serde_json::from_slice(&message.body).unwrap()).collect()
}

fn receipt(id: &str, message: &Value) -> Value {
    json!({"id": id, "system": "oem", "type": "device", "op": "receipt", "native_id": "o1", "canonical_id": message["canonical_id"],
        "rev": message["rev"], "status": "applied"})
}

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_syncline")).args(args).current_dir(folder).output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_travels_and_everything_about_it_is_in_mongodb() {
    let Some(url) = server() else { return };
    let (config, database) = config(&url);
    let folder = tempfile::tempdir().unwrap();
    let orchestrator = syncline(folder.path(), &config).start().await.unwrap();
    let first = whole("u1", "bms", "b1", json!({"serial": "SN-001", "name": "Pump", "big": u64::MAX}));
    orchestrator.submit(std::slice::from_ref(&first)).await.unwrap();
    let decision = decided(&orchestrator, "bms:u1").await;
    assert_eq!(decision.decision, DecisionKind::Accepted);
    let message = until("a message", async || waiting(&orchestrator).await.pop()).await;
    assert_eq!((&message["op"], &message["entity"]["big"]), (&json!("create"), &json!(u64::MAX)));
    orchestrator.submit(&[receipt("r1", &message)]).await.unwrap();
    until("an empty queue", async || waiting(&orchestrator).await.is_empty().then_some(())).await;
    orchestrator.stop().await.unwrap();

    // Beside it are queues, and nothing else.
    let embedded = Embedded::open(&folder.path().join("data"), &Options::default()).unwrap();
    assert!(embedded.store.list_records(None, None, 9).await.unwrap().is_empty());
    drop(embedded);

    // Started again it knows all of it: the same update changes nothing, a new one goes to the linked record.
    let orchestrator = syncline(folder.path(), &config).start().await.unwrap();
    let second = whole("u2", "bms", "b1", json!({"serial": "SN-001", "name": "Pump 2", "big": u64::MAX}));
    orchestrator.submit(&[first, second]).await.unwrap();
    decided(&orchestrator, "bms:u2").await;
    drained(&orchestrator).await;
    let message = until("a message", async || waiting(&orchestrator).await.pop()).await;
    assert_eq!((&message["op"], &message["native_id"], &message["entity"]["name"]), (&json!("update"), &json!("o1"), &json!("Pump 2")));
    let rows = orchestrator.store().decisions(&DecisionFilter::default(), None, 9).await.unwrap().items;
    assert_eq!(rows.iter().filter(|row| row.source_system.as_str() == "bms").count(), 2);
    orchestrator.stop().await.unwrap();

    // The reading commands look there, too.
    std::fs::write(folder.path().join("syncline.toml"), &config).unwrap();
    let shown = run(folder.path(), &["--config", "syncline.toml", "entity", "device", "bms:b1", "--json"]);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success() && text.contains("Pump 2"), "{text} {}", String::from_utf8_lossy(&shown.stderr));
    let verified = run(folder.path(), &["--config", "syncline.toml", "verify"]);
    assert!(verified.status.success(), "{verified:?}");
    drop_database(&url, &database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_just_before_a_crash_is_not_given_again() {
    let Some(url) = server() else { return };
    let (config, database) = config(&url);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let orchestrator = syncline(folder.path(), &config).start().await.unwrap();
    orchestrator.submit(&[whole("u1", "bms", "b1", json!({"serial": "SN-001"}))]).await.unwrap();
    let message = until("a message", async || waiting(&orchestrator).await.pop()).await;
    orchestrator.stop().await.unwrap();
    // The queue as it was before the answer: copied while it is open and nobody writes.
    let before = folder.path().join("before");
    std::fs::create_dir(&before).unwrap();
    let embedded = Embedded::open(&data, &Options::default()).unwrap();
    assert_eq!(embedded.outbound().await.unwrap().len(), 1);
    for file in std::fs::read_dir(&data).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), before.join(file.file_name())).unwrap();
    }
    drop(embedded);
    assert_eq!(Embedded::open(&before, &Options::default()).unwrap().outbound().await.unwrap().len(), 1);
    let orchestrator = syncline(folder.path(), &config).start().await.unwrap();
    orchestrator.submit(&[receipt("r1", &message)]).await.unwrap();
    until("an empty queue", async || waiting(&orchestrator).await.is_empty().then_some(())).await;
    drained(&orchestrator).await;
    orchestrator.stop().await.unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&before, &data).unwrap();
    let orchestrator = syncline(folder.path(), &config).start().await.unwrap();
    assert!(waiting(&orchestrator).await.is_empty(), "it was answered");
    orchestrator.stop().await.unwrap();
    drop_database(&url, &database).await;
}

#[test]
fn a_server_that_is_not_there_ends_it_with_69_and_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("mongodb://anna:s3cr3t@127.0.0.1:{port}/?serverSelectionTimeoutMS=200");
    let text =
        format!("[http]\nlisten = \"127.0.0.1:0\"\n[store]\nkind = \"mongodb\"\nurl_file = \"{}\"\n", folder.path().join("url").display());
    std::fs::write(folder.path().join("syncline.toml"), text).unwrap();
    std::fs::write(folder.path().join("url"), url).unwrap();
    for command in ["run", "decisions"] {
        let ended = run(folder.path(), &["--config", "syncline.toml", command]);
        let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(69), "{said}");
        assert!(said.contains(&format!("127.0.0.1:{port}")) && !said.contains("s3cr3t"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_orchestrators_with_different_configuration_refuse_unless_rolling() {
    let Some(url) = server() else { return };
    let (config, database) = config(&url);
    let (one, two, three) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = syncline(one.path(), &config).start().await.unwrap();
    let other = format!("{config}\n[systems.crm.entities.device]\n");
    let refused = syncline(two.path(), &other).start().await.unwrap_err().to_string();
    assert!(refused.contains("another configuration") && refused.contains("--rolling"), "{refused}");
    let second = syncline(two.path(), &other).rolling(true).start().await.unwrap();
    let third = syncline(three.path(), &config).rolling(true).start().await.unwrap();
    for orchestrator in [first, second, third] {
        orchestrator.stop().await.unwrap();
    }
    // All of them are gone, so the new configuration is the only one.
    let last = syncline(two.path(), &other).start().await.unwrap();
    last.stop().await.unwrap();
    drop_database(&url, &database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_merge_handlers_are_another_configuration_once_they_have_a_version() {
    let Some(url) = server() else { return };
    let (config, database) = config(&url);
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = syncline(one.path(), &config).handlers_version("1").start().await.unwrap();
    for version in [None, Some("2")] {
        let other = syncline(two.path(), &config);
        let other = if let Some(version) = version { other.handlers_version(version) } else { other };
        let refused = other.start().await.unwrap_err().to_string();
        assert!(refused.contains("another configuration"), "{version:?}: {refused}");
    }
    let same = syncline(two.path(), &config).handlers_version("1").start().await.unwrap();
    first.submit(&[whole("u1", "bms", "b1", json!({"serial": "SN-001"}))]).await.unwrap();
    let by_one = decided(&first, "bms:u1").await.config;
    first.stop().await.unwrap();
    same.stop().await.unwrap();
    let next = syncline(two.path(), &config).handlers_version("2").start().await.unwrap();
    next.submit(&[whole("u2", "bms", "b2", json!({"serial": "SN-002"}))]).await.unwrap();
    let by_two = decided(&next, "bms:u2").await.config;
    assert_ne!(by_one, by_two, "every decision says which handlers made it");
    next.stop().await.unwrap();
    drop_database(&url, &database).await;
}
