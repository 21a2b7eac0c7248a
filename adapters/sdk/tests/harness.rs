//! The promises of the SDK, each as a scene against the broker of the harness. Time is paused: waits cost nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use syncline_sdk::contract::{Op, ReceiptStatus};
use syncline_sdk::testing::{Broker, Fault};
use syncline_sdk::{Adapter, Error, FileState, NativeModel, Refusal, Update};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Device {
    #[serde(default)]
    id: String,
    name: String,
}

impl NativeModel for Device {
    const TYPE: &'static str = "device";

    fn native_id(&self) -> String {
        self.id.clone()
    }
}

fn device(id: &str, name: &str) -> Device {
    Device { id: id.into(), name: name.into() }
}

/// A system: what its handlers did, in order.
type Log = Arc<Mutex<Vec<String>>>;

fn listen(adapter: &Adapter) -> Log {
    let log = Log::default();
    let (updates, creates, deletes) = (log.clone(), log.clone(), log.clone());
    adapter.on::<Device>(move |device: Device, message: syncline_sdk::Outbound| {
        updates.lock().unwrap().push(format!("update {} to {} at rev {}", device.id, device.name, message.rev));
        async { Ok(()) }
    });
    adapter.on_new::<Device>(move |device: Device, _| {
        let mut log = creates.lock().unwrap();
        log.push(format!("create {}", device.name));
        let id = format!("oemD{}", log.len());
        async { Ok(id) }
    });
    adapter.on_delete::<Device>(move |id: String, _| {
        deletes.lock().unwrap().push(format!("delete {id}"));
        async { Ok(()) }
    });
    log
}

fn start(adapter: &Adapter) -> tokio::task::JoinHandle<Result<(), Error>> {
    let adapter = adapter.clone();
    tokio::spawn(async move { adapter.run().await })
}

/// `upsert oemD1 base 3`, `receipt oemD1 rev 3 applied`.
fn line(update: &Update) -> String {
    let id = update.native_id.as_deref().unwrap_or("-");
    let number = |name: &str, value: Option<u64>| value.map(|value| format!(" {name} {value}")).unwrap_or_default();
    match update.op {
        Op::Receipt => {
            let status = match update.status.unwrap() {
                ReceiptStatus::Applied => "applied",
                ReceiptStatus::Failed => "failed",
                ReceiptStatus::Rejected => "rejected",
            };
            let reason = update.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("receipt {id}{} {status}{reason}", number("rev", update.rev))
        }
        Op::Upsert => format!("upsert {id}{}", number("base", update.base)),
        Op::Patch => format!("patch {id}{}", number("base", update.base)),
        Op::Delete => format!("delete {id}{}", number("base", update.base)),
        Op::Rekey => "rekey".to_owned(),
    }
}

async fn next(broker: &Broker) -> String {
    line(&broker.next_update().await)
}

#[tokio::test(start_paused = true)]
async fn a_receipt_stands_before_what_is_read_after_applying_and_says_its_base() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    let log = listen(&adapter);
    adapter.send(&device("oemD1", "Pump")).await.unwrap();
    assert_eq!(next(&broker).await, "upsert oemD1", "nothing was applied yet, so nothing is said about it");
    start(&adapter);
    broker.push(broker.update("device", "c1", "oemD1", 3, json!({"id": "oemD1", "name": "Feed pump"})));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 3 applied");
    adapter.send(&device("oemD1", "Feed pump A")).await.unwrap();
    adapter.send_patch::<Device>("oemD1", json!({"name": "Feed pump B"})).await.unwrap();
    adapter.delete::<Device>("oemD1").await.unwrap();
    for expected in ["upsert oemD1 base 3", "patch oemD1 base 3", "delete oemD1 base 3"] {
        assert_eq!(next(&broker).await, expected);
    }
    assert_eq!(broker.received()[2].canonical_id.as_deref(), Some("c1"));
    assert_eq!(*log.lock().unwrap(), ["update oemD1 to Feed pump at rev 3"]);
}

#[tokio::test(start_paused = true)]
async fn base_is_what_was_applied_when_the_record_was_read() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    let log = listen(&adapter);
    start(&adapter);
    broker.push(broker.update("device", "c1", "oemD1", 1, json!({"id": "oemD1", "name": "Pump"})));
    next(&broker).await;
    // The record is read; before it is sent, the next message comes.
    let reading = adapter.reading().await.unwrap();
    let read = device("oemD1", "Pump");
    broker.push(broker.update("device", "c1", "oemD1", 2, json!({"id": "oemD1", "name": "Feed pump"})));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(log.lock().unwrap().len(), 1, "rev 2 waits for the reader");
    reading.send(&read).await.unwrap();
    assert_eq!(next(&broker).await, "upsert oemD1 base 1");
    assert_eq!(next(&broker).await, "receipt oemD1 rev 2 applied");
    adapter.reading().await.unwrap().send_all(&[device("oemD1", "Feed pump"), device("oemD2", "Fan")]).await.unwrap();
    assert_eq!(next(&broker).await, "upsert oemD1 base 2");
    assert_eq!(next(&broker).await, "upsert oemD2");
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_does_not_take_is_sent_again_with_the_same_id_and_in_order() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    broker.fail_next([Fault::Status(429, Some(7)), Fault::Status(503, None), Fault::Lost, Fault::AnswerLost]);
    let began = tokio::time::Instant::now();
    let names: Vec<Device> = (0..5).map(|n| device("oemD1", &n.to_string())).collect();
    adapter.reading().await.unwrap().send_all(&names).await.unwrap();
    let sent: Vec<_> = broker.received().iter().map(|update| update.entity.clone().unwrap()["name"].clone()).collect();
    assert_eq!(sent, ["0", "1", "2", "3", "4"], "each once, in order");
    let ids: Vec<String> = broker.received().into_iter().filter_map(|update| update.id).collect();
    assert!(broker.requests().len() >= 5);
    for request in broker.requests() {
        assert!(ids.iter().any(|id| request.first() == Some(id)), "no request has an id of its own: {request:?}");
    }
    assert!(began.elapsed() >= Duration::from_secs(7), "Retry-After is kept");
}

#[tokio::test(start_paused = true)]
async fn a_refused_update_is_told_to_its_sender_and_holds_up_nobody() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    broker.refuse("bad");
    let (one, two, three) = (device("oemD1", "a"), device("bad", "b"), device("oemD2", "c"));
    let (first, second, third) = tokio::join!(adapter.send(&one), adapter.send(&two), adapter.send(&three));
    first.unwrap();
    third.unwrap();
    let error = second.unwrap_err().to_string();
    assert_eq!(error, "the broker refuses it (422): told to refuse it");
    assert_eq!(broker.received().iter().map(line).collect::<Vec<_>>(), ["upsert oemD1", "upsert oemD2"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_again_is_answered_but_not_applied() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    let log = listen(&adapter);
    start(&adapter);
    let create = broker.create("device", "c1", 1, json!({"name": "Pump"}));
    broker.push(create.clone());
    assert_eq!(next(&broker).await, "receipt oemD1 rev 1 applied");
    broker.push(broker.update("device", "c1", "oemD1", 3, json!({"id": "oemD1", "name": "Feed pump"})));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 3 applied");
    // An old one that was under way for long, and the same one once more.
    broker.push(create);
    assert_eq!(next(&broker).await, "receipt oemD1 rev 1 applied");
    broker.push(broker.update("device", "c1", "oemD1", 3, json!({"id": "oemD1", "name": "Feed pump"})));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 3 applied");
    assert_eq!(*log.lock().unwrap(), ["create Pump", "update oemD1 to Feed pump at rev 3"]);
    assert_eq!(broker.unsettled(), 0);
    // A restored broker counts anew, in a higher epoch.
    let restored = broker.update("device", "c1", "oemD1", 2, json!({"id": "oemD1", "name": "Pump"}));
    broker.push(syncline_sdk::Outbound { epoch: 2, ..restored });
    assert_eq!(next(&broker).await, "receipt oemD1 rev 2 applied");
    assert_eq!(log.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_create_sent_again_with_newer_content_changes_the_record_it_made() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    let log = listen(&adapter);
    start(&adapter);
    broker.push(broker.create("device", "c1", 1, json!({"name": "Pump"})));
    next(&broker).await;
    broker.push(broker.create("device", "c1", 2, json!({"name": "Feed pump"})));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 2 applied");
    assert_eq!(*log.lock().unwrap(), ["create Pump", "update oemD1 to Feed pump at rev 2"]);
    // Deleted, and made once more: a new record.
    broker.push(broker.delete("device", "c1", "oemD1", 3));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 3 applied");
    broker.push(broker.create("device", "c1", 4, json!({"name": "Pump"})));
    assert_eq!(next(&broker).await, "receipt oemD4 rev 4 applied");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_known_as_another_one_by_now_is_not_taken_for_what_it_was() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    let log = listen(&adapter);
    start(&adapter);
    broker.push(broker.create("device", "c1", 1, json!({"name": "Pump"})));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 1 applied");
    // A person has said that it is another thing; and what it was is wanted here, too.
    broker.push(broker.update("device", "c2", "oemD1", 2, json!({"name": "Pump"})));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 2 applied");
    broker.push(broker.create("device", "c1", 3, json!({"name": "Fan"})));
    assert_eq!(next(&broker).await, "receipt oemD3 rev 3 applied");
    assert_eq!(*log.lock().unwrap(), ["create Pump", "update oemD1 to Pump at rev 2", "create Fan"]);
    // Each says what it had seen of its own.
    adapter.send(&device("oemD1", "Pump 2")).await.unwrap();
    assert_eq!(next(&broker).await, "upsert oemD1 base 2");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_deleted_here_and_is_wanted_back_is_made_anew() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    let log = listen(&adapter);
    start(&adapter);
    broker.push(broker.create("device", "c1", 1, json!({"name": "Pump"})));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 1 applied");
    adapter.delete::<Device>("oemD1").await.unwrap();
    assert_eq!(next(&broker).await, "delete oemD1 base 1");
    // Somebody else changed it meanwhile, and there a change wins over a delete.
    broker.push(broker.create("device", "c1", 2, json!({"name": "Feed pump"})));
    assert_eq!(next(&broker).await, "receipt oemD2 rev 2 applied");
    assert_eq!(*log.lock().unwrap(), ["create Pump", "create Feed pump"]);
    // The delete that was under way when it was deleted here: it is gone, so that is done.
    adapter.delete::<Device>("oemD2").await.unwrap();
    assert_eq!(next(&broker).await, "delete oemD2 base 2");
    broker.push(broker.delete("device", "c1", "oemD2", 3));
    assert_eq!(next(&broker).await, "receipt oemD2 rev 3 applied");
}

#[tokio::test(start_paused = true)]
async fn a_create_that_comes_again_for_what_is_deleted_here_is_answered_with_the_id_it_had() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    let log = listen(&adapter);
    start(&adapter);
    let create = |id: &str| broker.create("device", id, 1, json!({"name": "Pump"}));
    broker.push(create("c1"));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 1 applied");
    adapter.delete::<Device>("oemD1").await.unwrap();
    assert_eq!(next(&broker).await, "delete oemD1 base 1");
    // Who had lost the first answer could not know what was deleted.
    broker.push(create("c1"));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 1 applied");
    assert_eq!(next(&broker).await, "delete oemD1");
    // The same if the broker had it deleted.
    broker.push(create("c2"));
    assert_eq!(next(&broker).await, "receipt oemD2 rev 1 applied");
    broker.push(broker.delete("device", "c2", "oemD2", 2));
    assert_eq!(next(&broker).await, "receipt oemD2 rev 2 applied");
    broker.push(create("c2"));
    assert_eq!(next(&broker).await, "receipt oemD2 rev 1 applied");
    assert_eq!(next(&broker).await, "delete oemD2");
    assert_eq!(*log.lock().unwrap(), ["create Pump", "create Pump", "delete oemD2"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_cannot_do_is_answered_with_its_reason() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    let registration = adapter.on::<Device>(async |device: Device, _| match device.name.as_str() {
        "locked" => Err(std::io::Error::other("the database is locked").into()),
        "rude" => Err(Refusal::rejected("names must be polite")),
        "bug" => panic!("a bug"),
        _ => Ok(()),
    });
    start(&adapter);
    let push = |rev: u64, entity: serde_json::Value| broker.push(broker.update("device", &format!("c{rev}"), "oemD1", rev, entity));
    push(1, json!({"name": "locked"}));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 1 failed: the database is locked");
    push(2, json!({"name": "rude"}));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 2 rejected: names must be polite");
    push(3, json!({"name": "bug"}));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 3 failed: the handler panicked");
    push(4, json!({"name": 7}));
    assert!(next(&broker).await.starts_with("receipt oemD1 rev 4 rejected: the entity is no device of this adapter: "));
    registration.cancel();
    push(5, json!({"name": "fine"}));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 5 failed: this adapter has no handler for update of device");
    // What failed is not applied: when it comes again, it is tried again, under a receipt of its own.
    adapter.on::<Device>(async |_: Device, _| Ok(()));
    broker.expire_leases();
    let mut again = vec![next(&broker).await, next(&broker).await, next(&broker).await];
    again.sort();
    assert_eq!(again, ["receipt oemD1 rev 1 applied", "receipt oemD1 rev 3 applied", "receipt oemD1 rev 5 applied"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_neither_forgets_its_base_nor_applies_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("oem.state");
    let broker = Broker::new();
    let create = broker.create("device", "c1", 5, json!({"name": "Pump"}));
    let adapter = broker.adapter_with("oem", FileState::open(&path).unwrap());
    listen(&adapter);
    let running = start(&adapter);
    broker.push(create.clone());
    assert_eq!(next(&broker).await, "receipt oemD1 rev 5 applied");
    adapter.stop();
    running.await.unwrap().unwrap();
    drop(adapter);

    let adapter = broker.adapter_with("oem", FileState::open(&path).unwrap());
    let log = listen(&adapter);
    start(&adapter);
    adapter.send(&device("oemD1", "Pump A")).await.unwrap();
    assert_eq!(next(&broker).await, "upsert oemD1 base 5");
    broker.push(create);
    assert_eq!(next(&broker).await, "receipt oemD1 rev 5 applied");
    assert!(log.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_sends_is_told_so_instead_of_waiting_for_itself() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    let own = adapter.clone();
    adapter.on::<Device>(move |device: Device, _| {
        let own = own.clone();
        async move { Ok(own.send(&device).await?) }
    });
    start(&adapter);
    broker.push(broker.update("device", "c1", "oemD1", 1, json!({"id": "oemD1", "name": "Pump"})));
    assert_eq!(next(&broker).await, "receipt oemD1 rev 1 failed: a handler must not send; let the change feed do it");
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_nothing_hangs() {
    let broker = Broker::new();
    let adapter = broker.adapter("oem");
    broker.fail_next([Fault::Lost; 100]);
    let sending = tokio::spawn({
        let adapter = adapter.clone();
        async move { adapter.send(&device("oemD1", "Pump")).await }
    });
    let running = start(&adapter);
    tokio::time::sleep(Duration::from_secs(3)).await;
    adapter.stop();
    assert!(matches!(sending.await.unwrap(), Err(Error::Stopped)));
    running.await.unwrap().unwrap();
}
