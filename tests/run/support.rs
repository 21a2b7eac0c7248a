//! An orchestrator in a folder of its own.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use syncline::domain::decision::Decision;
use syncline::domain::ids::UpdateId;
use syncline::prelude::*;

pub fn syncline(folder: &Path, config: &str) -> Syncline {
    let mut config = Config::from_toml(config, "test.toml").unwrap();
    config.store.path = folder.join("data");
    Syncline::new(config)
}

/// A whole record.
#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
pub fn whole(id: impl ToString, system: &str, native_id: impl ToString, entity: Value) -> Value {
    json!({"id": id.to_string(), "system": system, "type": "device", "native_id": native_id.to_string(), "entity": entity})
}

/// The row of an update as it is now.
pub async fn row(orchestrator: &Orchestrator, update: &str) -> Option<Decision> {
    let update = UpdateId::try_from(update.to_owned()).unwrap();
    orchestrator.store().decision(&update).await.unwrap()
}

/// Waits until something holds.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.unwrap_or_else(|_| panic!("never came: {what}"))
}

/// Waits for the final row of an update.
pub async fn decided(orchestrator: &Orchestrator, update: &str) -> Decision {
    until(update, async || row(orchestrator, update).await.filter(|row| !row.decision.is_waiting())).await
}

/// Waits until the inbound queue is empty.
pub async fn drained(orchestrator: &Orchestrator) {
    until("an empty inbound queue", async || (orchestrator.inbox().depth().await.unwrap().0 == 0).then_some(())).await;
}
