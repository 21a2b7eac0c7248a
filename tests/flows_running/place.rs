//! Everything in one folder, and the HTTP edge.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use syncline::backends::embedded::{Embedded, Options};
use syncline::engine::settings::Settings;
use syncline::ports::broker::{Broker, Inbox, LocalQueues};
use syncline::ports::clock::Clock;
use syncline::ports::store::Store;
use syncline_sdk::{Http, Transport};

use crate::ground::Ground;

/// What an orchestrator runs on.
pub struct Backends {
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    pub inbox: Arc<dyn Inbox>,
    pub queues: Option<Arc<dyn LocalQueues>>,
}

/// Where a scene takes place.
pub struct Place;

impl Place {
    /// One request is taken in whole.
    pub const TAKES_SEVERAL_AT_ONCE: bool = true;

    pub const fn new() -> Self {
        Self
    }

    pub async fn open(&self, folder: &Path, _: Arc<dyn Clock>, _: &Settings) -> Backends {
        // After a restart: connections of the server that stopped may end a moment after it.
        if let Ok(lock) = std::fs::File::options().write(true).open(folder.join("syncline.lock")) {
            tokio::task::spawn_blocking(move || lock.lock().and_then(|()| lock.unlock())).await.unwrap().unwrap();
        }
        let Embedded { store, broker, .. } = Embedded::open(folder, &Options::default()).unwrap();
        Backends { store, broker: broker.clone(), inbox: broker.clone(), queues: Some(broker) }
    }

    pub async fn ground(&self, address: SocketAddr) -> Box<dyn Ground> {
        Box::new(OverHttp(Http::new(&format!("http://{address}")).unwrap()))
    }

    pub async fn clean(&self) {}
}

/// The HTTP edge, by way of the SDK's transport.
pub struct OverHttp(pub Http);

impl OverHttp {
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.0.post(path, serde_json::to_vec(body).unwrap(), Duration::from_secs(30)).await.unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }
}

#[async_trait]
impl Ground for OverHttp {
    async fn say(&self, mut bodies: Vec<Value>) {
        let body = if bodies.len() == 1 { bodies.remove(0) } else { Value::Array(bodies) };
        let (status, answer) = self.post("/v1/updates", &body).await;
        assert_eq!(status, 202, "{answer}");
    }

    async fn fetch(&self, system: &str) -> Vec<Value> {
        let (status, mut answer) = self.post(&format!("/v1/systems/{system}/lease"), &json!({"max": 1000, "ack": "auto"})).await;
        if status == 404 {
            // Who does not take part is sent nothing.
            return Vec::new();
        }
        assert_eq!(status, 200, "{answer}");
        answer["updates"].as_array_mut().map(std::mem::take).unwrap()
    }
}
