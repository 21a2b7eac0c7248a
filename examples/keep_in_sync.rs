//! Push on: a merge handler keeps the better name, and every system is sent its own model. Ends by itself:
//! `cargo run --example keep_in_sync`.

use std::error::Error;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syncline::app::SystemClock;
use syncline::domain::ids::SystemName;
use syncline::ports::clock::Clock;
use syncline::prelude::*;

const CONFIG: &str = r#"
[entities.device]
keys = [{ fields = ["serial"] }]
[systems.bms.entities.device]
[systems.oem.entities.device]
"#;

#[derive(Serialize, Deserialize)]
struct Device {
    name: String, // fields that are not named here are kept as they are
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::from_toml(CONFIG, "keep_in_sync.toml")?;
    config.store.path = folder.path().join("data");
    let orchestrator = Syncline::new(config)
        .push_updates(true)
        .on_update("device", |proposed: &mut Device, current: Option<&Device>, _: &UpdateMeta| {
            if let Some(current) = current
                && current.name.len() > proposed.name.len()
            {
                proposed.name.clone_from(&current.name);
                return Verdict::accept("the longer name is the better one");
            }
            Verdict::accept(None)
        })
        .start()
        .await?;

    // The building reports a device; the portal is sent a create, makes it, and answers with the id it got there.
    let device = json!({"serial": "SN-1", "name": "Pump, north wing"});
    orchestrator.submit(&[json!({"id": "b1", "system": "bms", "type": "device", "native_id": "bmsD1", "entity": device})]).await?;
    let create = next(&orchestrator, "oem").await?;
    println!("for oem: {create}");
    let (canonical_id, rev) = (&create["canonical_id"], &create["rev"]);
    orchestrator
        .submit(&[json!({"id": "o1", "system": "oem", "type": "device", "op": "receipt", "native_id": "oemD9",
            "canonical_id": canonical_id, "rev": rev, "status": "applied"})])
        .await?;

    // Somebody in the portal adds a warranty and shortens the name: the building hears of the one, the portal of the other.
    let edited = json!({"serial": "SN-1", "name": "Pump", "warranty": 2031});
    orchestrator.submit(&[json!({"id": "o2", "system": "oem", "type": "device", "native_id": "oemD9", "entity": edited})]).await?;
    println!("for bms: {}", next(&orchestrator, "bms").await?);
    println!("for oem: {}", next(&orchestrator, "oem").await?);
    orchestrator.stop().await?;
    Ok(())
}

/// The next message for a system; what an adapter gets over HTTP.
async fn next(orchestrator: &Orchestrator, system: &str) -> Result<Value, Box<dyn Error>> {
    let (system, queues) = (SystemName::new(system)?, orchestrator.queues().ok_or("its queues are elsewhere")?);
    for _ in 0..1000 {
        let leased = queues.lease(&system, 1, Duration::from_secs(30), SystemClock.now()).await?;
        if let Some(message) = leased.messages.first() {
            return Ok(serde_json::from_slice(&message.body)?);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("nothing came for {system}").into())
}
