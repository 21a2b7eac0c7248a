//! What an orchestrator that is gone has left half-done in MongoDB.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::{Client, ClientSession};
use syncline::app::SystemClock;
use syncline::domain::time::Timestamp;
use syncline::engine::attendance::alone;
use syncline::ports::presence::Presence;
use syncline::ports::store::Store;

use super::mongodb::{Base, server};

fn presence(id: &str) -> Presence {
    Presence { id: id.to_owned(), config: "c1".to_owned(), since: Timestamp::from_micros(1_000_000) }
}

/// A transaction that has locked a document and does not go on.
async fn left_half_done(base: &Base) -> (Client, ClientSession) {
    let client = Client::with_uri_str(&base.url).await.unwrap();
    let notes = client.database(&base.name).collection::<Document>("systems");
    notes.insert_one(doc! {"_id": "x", "n": 0}).await.unwrap();
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    notes.update_one(doc! {"_id": "x"}, doc! {"$set": {"n": 1}}).session(&mut session).await.unwrap();
    (client, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_an_orchestrator_that_is_gone_are_let_go() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let store = base.open().await;
    let (client, session) = left_half_done(&base).await;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let notes = base.by_hand().await.collection::<Document>("orchestrators");
    // No process has number 0.
    let gone = doc! {"_id": "gone", "config": "c1", "since": mongodb::bson::DateTime::now(), "host": host.trim(), "process": 0_i64,
    "pulse": 1_i64, "sessions": [session.id().get("id").unwrap().clone()]};
    notes.insert_one(gone).await.unwrap();
    let locked = client.database(&base.name).collection::<Document>("systems");
    let mut other = client.start_session().await.unwrap();
    other.start_transaction().await.unwrap();
    let refused = locked.update_one(doc! {"_id": "x"}, doc! {"$set": {"n": 2}}).session(&mut other).await;
    assert!(refused.is_err(), "the document was to be locked");

    assert_eq!(store.attend(&presence("here")).await.unwrap(), []);
    let free = locked.update_one(doc! {"_id": "x"}, doc! {"$set": {"n": 3}});
    tokio::time::timeout(Duration::from_secs(10), free).await.expect("it is free at once").unwrap();
    drop(session);
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orchestrators_see_each_other_until_one_leaves_or_falls_silent() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let (one, two) = (base.open().await, base.open().await);
    assert_eq!(one.attend(&presence("one")).await.unwrap(), []);
    assert_eq!(two.attend(&presence("two")).await.unwrap(), [presence("one")]);
    assert_eq!(one.attend(&presence("one")).await.unwrap(), [presence("two")]);
    two.leave(&presence("two")).await.unwrap();
    assert_eq!(one.attend(&presence("one")).await.unwrap(), []);

    // It comes again, and then nothing is heard of it: after some seconds it counts as gone.
    two.attend(&presence("two")).await.unwrap();
    assert_eq!(one.attend(&presence("one")).await.unwrap(), [presence("two")]);
    let silent = async {
        while !one.attend(&presence("one")).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let began = tokio::time::Instant::now();
    tokio::time::timeout(Duration::from_secs(30), silent).await.expect("it counts as gone");
    assert!(began.elapsed() > Duration::from_secs(4), "one that is only slow is not gone");
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_to_be_alone_waits_for_those_that_are_gone_and_refuses_beside_one_at_work() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let (one, two) = (base.open().await, base.open().await);
    let clock = SystemClock;
    alone(&one, &clock).await.unwrap();
    two.attend(&presence("two")).await.unwrap();
    // Nothing more is heard of it.
    alone(&one, &clock).await.unwrap();
    two.attend(&presence("two")).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let at_work = tokio::spawn(async move {
        while !*stopped.borrow() {
            two.attend(&presence("two")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let refused = alone(&one, &clock).await.unwrap_err();
    assert!(refused.message.contains("stop it first"), "{refused}");
    stop.send_replace(true);
    at_work.await.unwrap();
    base.drop().await;
}
