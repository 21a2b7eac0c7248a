//! An orchestrator that listens on a port of its own.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use syncline::prelude::*;
use tempfile::TempDir;

pub const PUSH: &str = r#"
[http]
listen = "127.0.0.1:0"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
[systems.bms.entities.device]
[systems.oem]
receipts = "required"
[systems.oem.entities.device]
rename = { serial = "serial_no" }
"#;

pub struct Served {
    pub orchestrator: Orchestrator,
    pub url: String,
    pub http: reqwest::Client,
    pub folder: TempDir,
}

impl Served {
    pub async fn with(config: &str) -> Self {
        Self::within(tempfile::tempdir().unwrap(), config).await
    }

    /// Stopped, and started again by another configuration.
    pub async fn again(self, config: &str) -> Self {
        self.orchestrator.stop().await.unwrap();
        Self::within(self.folder, config).await
    }

    /// With a merge handler of devices.
    pub async fn with_handler(config: &str, handler: impl UpdateFn<Record>) -> Self {
        Self::within_with_handler(tempfile::tempdir().unwrap(), config, handler).await
    }

    pub async fn within_with_handler(folder: TempDir, config: &str, handler: impl UpdateFn<Record>) -> Self {
        let syncline = Self::syncline(&folder, config).on_update("device", handler);
        Self::serves(folder, syncline).await
    }

    pub async fn within(folder: TempDir, config: &str) -> Self {
        let syncline = Self::syncline(&folder, config);
        Self::serves(folder, syncline).await
    }

    fn syncline(folder: &TempDir, config: &str) -> Syncline {
        let mut config = Config::from_toml(config, "test.toml").unwrap();
        config.store.path = folder.path().join("data");
        Syncline::new(config)
    }

    async fn serves(folder: TempDir, syncline: Syncline) -> Self {
        let orchestrator = syncline.serve().await.unwrap();
        let url = format!("http://{}", orchestrator.address().unwrap());
        Self { orchestrator, url, http: reqwest::Client::new(), folder }
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let response = self.http.post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    pub async fn say(&self, update: &Value) {
        let (status, answer) = self.post("/v1/updates", update).await;
        assert_eq!(status, 202, "{answer}");
    }

    /// Waits until nothing is left to do.
    pub async fn at_rest(&self) {
        let rest = async {
            while self.get("/v1/status").await.1["idle"] != json!(true) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), rest).await.expect("it never came to rest");
    }

    pub async fn lease(&self, system: &str, request: Value) -> Vec<Value> {
        let (status, answer) = self.post(&format!("/v1/systems/{system}/lease"), &request).await;
        assert_eq!(status, 200, "{answer}");
        answer["updates"].as_array().unwrap().clone()
    }
}

#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
pub fn device(id: &str, system: &str, native_id: &str, entity: Value) -> Value {
    json!({"id": id, "system": system, "type": "device", "native_id": native_id, "entity": entity})
}
