//! What people do while it runs: watch, compare, send again, pause, let go.

use serde_json::{Value, json};
use syncline::domain::time::Timestamp;

use crate::commands::{said, syncline};
use crate::support::{PUSH, Served, device};

fn observed() -> String {
    PUSH.replace("receipts = \"required\"", "receipts = \"required\"\nmode = \"observe\"")
}

async fn command(served: &Served, arguments: &str) -> (String, i32) {
    let mut all: Vec<&str> = arguments.split(' ').collect();
    all.extend(["--url", &served.url]);
    let output = syncline(&all, "").await;
    (said(&output), output.status.code().unwrap())
}

/// One record oem has otherwise, one it has as it should, one it lacks.
async fn three_records(served: &Served) {
    for (n, name) in [(1, "Fan"), (2, "Pump"), (3, "Valve")] {
        served.say(&device(&format!("b{n}"), "bms", &format!("b{n}"), json!({"serial": format!("S{n}"), "name": name}))).await;
    }
    served.at_rest().await;
    for (n, name) in [(1, "Fan AX"), (2, "Pump")] {
        served.say(&device(&format!("o{n}"), "oem", &format!("o{n}"), json!({"serial_no": format!("S{n}"), "name": name}))).await;
    }
    served.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_moving_over_from_another_integration() {
    let served = Served::with(&observed()).await;
    three_records(&served).await;
    assert_eq!(served.lease("oem", json!({})).await, Vec::<Value>::new(), "it is only watched");
    let (text, code) = command(&served, "compare --system oem").await;
    let text = text.split(' ').map(|word| if word.len() > 36 { "(a canonical id):" } else { word }).collect::<Vec<_>>().join(" ");
    insta::assert_snapshot!(format!("{text}exit {code}"), @r"
    device o1: name is 'Fan AX' there, 'Fan' here
    device (a canonical id): oem lacks it
    exit 0
    ");
    let page = served.get("/v1/systems/oem/compare?limit=1").await.1;
    assert_eq!((page["items"].as_array().unwrap().len(), &page["items"][0]["native_id"]), (1, &json!("o1")));
    let next = page["next"].as_str().unwrap();
    let page = served.get(&format!("/v1/systems/oem/compare?limit=1&cursor={next}")).await.1;
    assert_eq!(page["items"][0]["native_id"], Value::Null);
    let asked = command(&served, "resync --system oem --dry-run").await;
    assert_eq!(asked, ("oem would be sent 1 create and 1 update, 1 of them replaces a value it holds\n".to_owned(), 0));
    let refused = command(&served, "resync --system oem").await;
    assert_eq!((refused.1, refused.0.contains("only observed; set mode = \"sync\"")), (1, true), "{}", refused.0);

    let resumed = command(&served, "resume --system oem").await;
    assert_eq!(resumed, ("oem is being sent nothing: it lacks nothing\n".to_owned(), 0), "it is only watched");

    let served = served.again(PUSH).await;
    assert_eq!(command(&served, "pause --system oem --direction out").await.1, 0);
    let asked = command(&served, "resume --system oem --dry-run").await;
    assert_eq!(asked, ("oem would be sent 1 create and 1 update, 1 of them replaces a value it holds\n".to_owned(), 0));
    assert_eq!(
        command(&served, "resume --system oem").await.0,
        "oem is being sent 1 create and 1 update, 1 of them replaces a value it holds\n"
    );
    served.at_rest().await;
    let mut sent = served.lease("oem", json!({})).await;
    sent.sort_by_key(|update| update["op"].to_string());
    assert_eq!((&sent[0]["op"], &sent[0]["entity"]["serial_no"]), (&json!("create"), &json!("S3")));
    assert_eq!((&sent[1]["native_id"], &sent[1]["entity"]["name"], &sent[1]["changed"]), (&json!("o1"), &json!("Fan"), &json!(["name"])));
    assert_eq!(sent.len(), 2);
    assert_eq!(command(&served, "resync --system oem").await.0, "oem is being sent nothing: it lacks nothing\n");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_sent_again_when_asked_for() {
    let served = Served::with(&PUSH.replace("\"required\"", "\"none\"")).await;
    three_records(&served).await;
    assert_eq!(served.lease("oem", json!({"ack": "auto"})).await.len(), 3);
    let (text, _) = command(&served, "resync --system oem --everything --type device").await;
    assert!(text.starts_with("oem is being sent 1 create and 2 updates"), "{text}");
    served.at_rest().await;
    let sent = served.lease("oem", json!({})).await;
    let names: std::collections::BTreeSet<String> = sent.iter().map(|update| update["entity"]["name"].to_string()).collect();
    assert_eq!(names, ["\"Fan AX\"", "\"Pump\"", "\"Valve\""].map(str::to_owned).into(), "oem's name came after what it was sent");
    let fields = json!(["name", "serial_no"]);
    assert!(sent.iter().all(|update| update["changed"] == fields), "an adapter that writes only what is named would write less: {sent:?}");
    let (nobody, code) = command(&served, "resync --system erp").await;
    assert!(code == 1 && nobody.contains("no [systems.erp] in the configuration"), "{nobody}");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_names_changed_in_the_configuration_are_sent_when_asked_for_not_by_a_restart() {
    let bare = PUSH.replace("[systems.oem.entities.device]", "[systems.oem.entities.device]\nfields = { exclude = [\"name\"] }");
    assert_ne!(bare, PUSH);
    let served = Served::with(&bare.replace("\"required\"", "\"none\"")).await;
    three_records(&served).await;
    assert_eq!(served.lease("oem", json!({"ack": "auto"})).await.len(), 3);
    let served = served.again(&PUSH.replace("\"required\"", "\"none\"").replace("serial_no", "number")).await;
    served.at_rest().await;
    assert_eq!(served.lease("oem", json!({"ack": "auto"})).await, Vec::<Value>::new(), "a restart sends nothing");
    let (text, code) = command(&served, "resync --type device --dry-run").await;
    assert_eq!((text.lines().count(), code), (2, 0), "{text}");
    let (text, _) = command(&served, "resync --type device --everything").await;
    assert!(text.lines().any(|line| line.starts_with("oem is being sent 1 create and 2 updates")), "{text}");
    served.at_rest().await;
    let sent = served.lease("oem", json!({"ack": "auto"})).await;
    assert!(sent.iter().all(|update| update["entity"]["number"].is_string() && update["entity"]["name"].is_string()), "{sent:?}");
    assert_eq!(sent.len(), 3);
    let (nobody, code) = command(&served, "resync --type unicorn").await;
    assert!(code == 1 && nobody.contains("no system is sent records of type unicorn"), "{nobody}");
    assert_eq!(command(&served, "resync").await.1, 64);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_pause_a_system_is_neither_heard_nor_told() {
    let served = Served::with(PUSH).await;
    let (text, _) = command(&served, "pause --system oem").await;
    assert!(text.starts_with("oem is paused: what it says stays in the queue, what it would be sent is kept back"), "{text}");
    served.say(&device("o1", "oem", "o1", json!({"serial_no": "S1", "name": "from oem"}))).await;
    served.say(&device("b2", "bms", "b2", json!({"serial": "S2", "name": "from bms"}))).await;
    let decided = async {
        while served.get("/v1/decisions/bms:b2").await.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), decided).await.unwrap();
    assert_eq!(served.get("/v1/decisions/oem:o1").await.0, 404);
    assert_eq!(served.lease("oem", json!({})).await, Vec::<Value>::new());
    let (brakes, _) = command(&served, "brakes").await;
    let kept: Vec<&str> = brakes.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(kept, ["pause-in:oem", "pause-out:oem"]);

    assert_eq!(command(&served, "resume --system oem --direction in").await.1, 0);
    served.at_rest().await;
    assert_eq!(served.get("/v1/decisions/oem:o1").await.1["decision"], "accepted");
    assert_eq!(served.lease("oem", json!({})).await, Vec::<Value>::new(), "it is still told nothing");
    assert_eq!(command(&served, "resume --system oem --dry-run").await.0, "oem would be sent 1 create and 0 updates\n");
    assert_eq!(command(&served, "resume --system oem").await.0, "oem is being sent 1 create and 0 updates\n");
    served.at_rest().await;
    assert_eq!(served.lease("oem", json!({})).await[0]["entity"]["name"], "from bms");
    assert_eq!(command(&served, "brakes").await.0, "nothing is kept back\n");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_creates_waits_for_a_person() {
    let served =
        Served::with(&PUSH.replace("push_updates = true", "push_updates = true\ncreate_brake = { count = 2, window = \"1h\" }")).await;
    for n in 0..5 {
        served.say(&device(&format!("b{n}"), "bms", &format!("b{n}"), json!({"serial": format!("S{n}")}))).await;
    }
    served.at_rest().await;
    assert_eq!(served.lease("oem", json!({"ack": "auto"})).await.len(), 2);
    assert_eq!(
        command(&served, "status").await.0.lines().last().unwrap(),
        "3 messages are kept back until somebody lets them go; see `syncline brakes`"
    );
    let (text, _) = command(&served, "brakes").await;
    assert!(text.starts_with("create:oem:device  since ") && text.ends_with("3 creates and 0 updates to send\n"), "{text}");
    let (text, _) = command(&served, "brakes --release create:oem:device").await;
    assert_eq!(text, "create:oem:device is released: 3 creates and 0 updates to send\n");
    let rest = async {
        let mut sent = 0;
        while sent < 3 {
            sent += served.lease("oem", json!({"ack": "auto", "wait_ms": 1000})).await.len();
        }
        sent
    };
    assert_eq!(tokio::time::timeout(std::time::Duration::from_secs(30), rest).await.unwrap(), 3);
    assert_eq!(command(&served, "brakes --release create:oem:device").await.1, 1);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_commands_ask_whoever_has_the_store() {
    let served = Served::with(PUSH).await;
    three_records(&served).await;
    served.say(&json!({"id": "p1", "system": "bms", "type": "device", "native_id": "b9", "op": "patch", "entity": {"name": "?"}})).await;
    let strange = json!({"id": "x1", "system": "bms", "type": "device", "native_id": "b9", "op": "grow"}).to_string();
    served.orchestrator.queues().unwrap().enqueue(vec![(None, strange.into_bytes())], Timestamp::from_micros(0)).await.unwrap();
    served.at_rest().await;
    let (text, _) = command(&served, "entity device bms:b1").await;
    assert!(text.contains("name = 'Fan'   (bms, version 1)") && text.contains("oem o1: rev"), "{text}");
    let (text, _) = command(&served, "why device bms:b1 name").await;
    assert!(text.starts_with("name is 'Fan'. bms said so on "), "{text}");
    let (text, _) = command(&served, "history device bms:b1").await;
    assert_eq!((text.lines().count(), text.starts_with("v0 → v1")), (2, true), "{text}");
    let (text, _) = command(&served, "decisions --system oem").await;
    assert_eq!(text.lines().count(), 2, "{text}");
    let (text, _) = command(&served, "decision oem:o1").await;
    assert!(text.contains("'Fan AX'") && text.contains("first contact"), "{text}");
    let (text, _) = command(&served, "parked").await;
    assert!(text.starts_with("bms:p1  no base since "), "{text}");
    let (text, _) = command(&served, "dead-letters").await;
    assert!(text.contains("bms:x1  unknown_op  "), "{text}");
    // The store's folder is taken, so the orchestrator is asked; without one at that address, the message says what to do.
    let store = served.folder.path().join("data");
    let output = syncline(&["entity", "device", "bms:b1", "--store", store.to_str().unwrap()], "").await;
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    served.orchestrator.stop().await.unwrap();
}

/// Puts a folder's files in the place of another's.
fn put_back(from: &std::path::Path, to: &std::path::Path) {
    std::fs::remove_dir_all(to).ok();
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_database_restored_from_a_backup_sends_newer_messages() {
    let served = Served::with(PUSH).await;
    let (data, backup) = (served.folder.path().join("data"), served.folder.path().join("backup"));
    let store = data.to_str().unwrap().to_owned();
    let output = syncline(&["recover", "--store", &store], "").await;
    assert_eq!(output.status.code(), Some(69), "an orchestrator is at work: {}", said(&output));
    let Served { orchestrator, folder, .. } = served;
    orchestrator.stop().await.unwrap();
    put_back(&data, &backup);
    let served = Served::within(folder, PUSH).await;
    served.say(&device("b1", "bms", "b1", json!({"serial": "S1", "name": "Fan"}))).await;
    served.at_rest().await;
    let before = served.lease("oem", json!({})).await.remove(0);
    assert_eq!((&before["epoch"], &before["rev"]), (&json!(1), &json!(1)));

    let Served { orchestrator, folder, .. } = served;
    orchestrator.stop().await.unwrap();
    put_back(&backup, &data);
    let output = syncline(&["recover", "--store", &store, "--dry-run"], "").await;
    insta::assert_snapshot!(said(&output), @"the epoch would be 2 then: adapters take whatever they are sent from then on for newer than all they were sent before");
    let output = syncline(&["recover", "--store", &store], "").await;
    insta::assert_snapshot!(said(&output), @r#"
    the epoch is 2 now: adapters take whatever they are sent from now on for newer than all they were sent before
    now start the orchestrator, have every system hand in a full export (syncline snapshot), and then send each of them what it should hold (syncline resync --system NAME --everything)
    "#);
    let served = Served::within(folder, PUSH).await;
    // The system hands in what it has, as it was told to.
    served.say(&device("b2", "bms", "b1", json!({"serial": "S1", "name": "Fan"}))).await;
    served.at_rest().await;
    let after = served.lease("oem", json!({})).await.remove(0);
    assert_eq!((&after["epoch"], &after["rev"], &after["entity"]["name"]), (&json!(2), &json!(1), &json!("Fan")));
    served.orchestrator.stop().await.unwrap();
}
