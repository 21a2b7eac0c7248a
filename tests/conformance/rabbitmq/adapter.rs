//! What an adapter built with the SDK makes of what it finds at the server.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::BasicGetOptions;
use serde_json::{Value, json};
use syncline_sdk::transport::Answer;
use syncline_sdk::{Amqp, Transport};

use super::support::{LONG, Peer, Site, until};

const RECORD: &str = "018f0c6e-0000-7000-8000-000000000001";

/// An adapter of `oem`, and whoever sends to it.
struct Scene {
    site: Site,
    peer: Peer,
    adapter: Amqp,
}

impl Scene {
    /// With a queue for `oem`; nobody else is at work.
    async fn any() -> Option<Self> {
        let site = Site::any()?;
        drop(site.open_for(&["oem"]).await);
        let peer = site.channel().await;
        let adapter = Amqp::new(&format!("{}#{}", site.url, site.prefix)).unwrap();
        Some(Self { site, peer, adapter })
    }

    async fn sends(&self, body: &str) {
        assert!(self.peer.publish("", &self.site.name("updates.oem"), body.as_bytes(), BasicProperties::default()).await);
    }

    async fn sends_rev(&self, epoch: u64, rev: u64) {
        let message = json!({
            "id": format!("{RECORD}:oem:{rev}"), "type": "device", "op": "update", "native_id": "o1", "canonical_id": RECORD,
            "rev": rev, "epoch": epoch, "version": rev, "entity": {"id": "o1"}, "changed": [], "caused_by": [],
            "decided_at": "2026-01-01T00:00:00Z",
        });
        self.sends(&message.to_string()).await;
    }

    /// What the adapter is given, as `epoch.rev`, once there are so many.
    async fn given(&self, count: usize) -> Vec<String> {
        let mut given = Vec::new();
        while given.len() < count {
            let body: Value =
                serde_json::from_slice(&self.post("/v1/systems/oem/lease", &json!({ "wait_ms": 20_000 })).await.body).unwrap();
            let updates = body["updates"].as_array().unwrap();
            assert!(!updates.is_empty(), "only {given:?} came");
            given.extend(updates.iter().map(|update| format!("{}.{}", update["epoch"], update["rev"])));
        }
        given
    }

    async fn applied(&self, rev: u64) {
        let receipt = json!({
            "id": format!("r{rev}"), "system": "oem", "type": "device", "op": "receipt", "native_id": "o1", "canonical_id": RECORD,
            "rev": rev, "status": "applied",
        });
        assert_eq!(self.post("/v1/updates", &receipt).await.status, 202);
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.adapter.post(path, body.to_string().into_bytes(), LONG).await.unwrap()
    }

    /// The adapter ends; what it has not let go of is given to the next one.
    async fn left(self) -> Vec<String> {
        let Self { site, peer, adapter } = self;
        drop(adapter);
        let queue = site.name("updates.oem");
        until("the adapter to be gone", async || (peer.consumers(&queue).await == 0).then_some(())).await;
        let mut left = Vec::new();
        while let Some(got) = peer.0.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true }).await.unwrap() {
            left.push(String::from_utf8(got.delivery.data).unwrap());
        }
        left
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_can_not_be_read_takes_no_others_with_it() {
    let Some(scene) = Scene::any().await else { return };
    let unreadable = json!({ "canonical_id": RECORD, "rev": 1, "op": "of a later version" }).to_string();
    scene.sends(&unreadable).await;
    scene.sends("none of Syncline's").await;
    scene.sends_rev(0, 2).await;
    assert_eq!(scene.given(1).await, ["0.2"]);
    scene.applied(2).await;
    // The next adapter, which can read it, finds it; what was none of Syncline's is nobody's.
    assert_eq!(scene.left().await, [unreadable]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_answers_all_that_came_before() {
    let Some(scene) = Scene::any().await else { return };
    for rev in [1, 2, 3] {
        scene.sends_rev(0, rev).await;
    }
    assert_eq!(scene.given(3).await, ["0.1", "0.2", "0.3"]);
    scene.applied(2).await;
    let left = scene.left().await;
    assert!(left.len() == 1 && left[0].contains(r#""rev":3"#), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_store_was_put_back_numbers_begin_again() {
    let Some(scene) = Scene::any().await else { return };
    scene.sends_rev(0, 7).await;
    scene.sends_rev(1, 1).await;
    scene.sends_rev(1, 2).await;
    assert_eq!(scene.given(3).await, ["0.7", "1.1", "1.2"]);
    scene.applied(1).await;
    let left = scene.left().await;
    assert!(left.len() == 1 && left[0].contains(r#""rev":2"#), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_no_fault_that_goes_away() {
    let Some(site) = Site::any() else { return };
    let host = site.url.rsplit_once('@').map_or("127.0.0.1:5672", |(_, host)| host);
    let adapter = Amqp::new(&format!("amqp://nobody:hunter2@{host}")).unwrap();
    for path in ["/v1/updates", "/v1/systems/oem/lease"] {
        let body = json!({ "system": "oem", "type": "device", "native_id": "o1" });
        let answer = adapter.post(path, body.to_string().into_bytes(), Duration::from_secs(20)).await.unwrap();
        let said = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 401, "{path}: {said}");
        assert!(said.contains("does not let this user in") && !said.contains("hunter2"), "{said}");
    }
}
