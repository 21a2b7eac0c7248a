//! Push off: two systems report the same device, and what became of it is read. Ends by itself:
//! `cargo run --example consolidate`.

use std::error::Error;
use std::time::Duration;

use serde_json::json;
use syncline::prelude::*;
use syncline::views::{find, why};

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::from_toml("[entities.device]\nkeys = [{ fields = [\"serial\"] }]", "consolidate.toml")?;
    config.store.path = folder.path().join("data");
    let orchestrator = Syncline::new(config).start().await?;

    orchestrator
        .submit(&[
            json!({"id": "b1", "system": "bms", "type": "device", "native_id": "bmsD1", "entity": {"serial": "SN-1", "name": "Pump"}}),
            json!({"id": "o1", "system": "oem", "type": "device", "native_id": "oemD9", "entity": {"serial": "SN-1", "warranty": 2031}}),
        ])
        .await?;
    while orchestrator.inbox().depth().await?.0 > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await; // what is handed in is decided a moment later
    }

    let store = orchestrator.store().as_ref();
    let record = find::record(store, "device", "oem:oemD9").await.map_err(|error| error.to_string())?;
    println!("{}", serde_json::to_string(&record.data)?);
    let owed = find::owed(store, &record).await.map_err(|error| error.to_string())?;
    let fields = why::fields(&record, None).map_err(|error| error.to_string())?;
    for sentence in why::sentences(&record, &fields, &owed) {
        println!("{sentence}");
    }
    orchestrator.stop().await?;
    Ok(())
}
