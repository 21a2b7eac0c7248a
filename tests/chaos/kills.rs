//! Killed at any moment, again and again: nothing accepted is lost, nothing is done twice, and all systems end equal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::servers::Servers;
use crate::world::{Dice, World, bms_device, oem_device, of_bms, of_oem, setting};

/// A third system that only says, over HTTP: what was answered with 202 must be decided.
const SURVEY: &str = r#"
[systems.survey]
receipts = "none"
[systems.survey.entities.device]
direction = "in"
"#;

/// Sends updates until told to stop; returns the ids of those that were accepted.
async fn survey(url: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    let (mut accepted, mut n) = (Vec::new(), 0);
    while !stop.load(Ordering::SeqCst) {
        n += 1;
        let update = json!({
            "id": format!("s{n}"), "system": "survey", "type": "device", "native_id": format!("v{}", n % 50),
            "entity": {"serial": format!("SN-{}", n % 50), "location": format!("floor {n}")},
        });
        // Sent again with the same id until it is taken, as every adapter does.
        while !stop.load(Ordering::SeqCst) {
            match http.post(format!("{url}/v1/updates")).json(&update).send().await {
                Ok(answer) if answer.status() == 202 => {
                    accepted.push(format!("survey:s{n}"));
                    break;
                }
                Ok(answer) if answer.status() != 429 && answer.status() != 503 => panic!("{}", answer.text().await.unwrap()),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_nothing_is_lost_or_repeated() {
    killed(&World::new(SURVEY), setting("SYNCLINE_CHAOS_KILLS", 12)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_on_servers_nothing_is_lost_or_repeated() {
    let Some(servers) = Servers::any() else { return };
    killed(&World::on(Some(&servers), SURVEY), setting("SYNCLINE_CHAOS_KILLS", 6)).await;
    servers.clean().await;
}

async fn killed(world: &World, kills: u64) {
    let seed = setting("SYNCLINE_CHAOS_SEED", 1);
    eprintln!("{kills} kills, seed {seed}");
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (bms, oem) = (world.bms(), world.oem());
    let devices: Vec<(String, String)> =
        (0..30).map(|n| (bms_device(&bms, &format!("SN-{n}")), oem_device(&oem, &format!("sn-{n}")))).collect();
    let mut child = world.start().await;
    let running = [world.run_bms(&bms), world.run_oem(&oem)];
    let stop = Arc::new(AtomicBool::new(false));
    let surveyor = tokio::spawn(survey(world.url.clone(), stop.clone()));

    for kill in 0..kills {
        // People edit on both sides, also the same record, also new ones.
        let last = tokio::time::Instant::now() + Duration::from_millis(20 + dice.roll(250));
        while tokio::time::Instant::now() < last {
            let (at_bms, at_oem) = &devices[usize::try_from(dice.roll(30)).unwrap()];
            let value = format!("{}-{}", kill, dice.roll(1000));
            match dice.roll(6) {
                0 => bms.edit(at_bms, &[("name".into(), value)]).unwrap(),
                1 => bms.edit(at_bms, &[("location".into(), value)]).unwrap(),
                2 => oem.edit(at_oem, &[("label".into(), value)]).unwrap(),
                3 => oem.edit(at_oem, &[("warranty_until".into(), value)]).unwrap(),
                4 => drop(bms_device(&bms, &format!("NEW-{value}"))),
                _ => drop(oem_device(&oem, &format!("NEW-{value}"))),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        child = world.start().await;
    }
    stop.store(true, Ordering::SeqCst);
    let accepted = surveyor.await.unwrap();
    world.quiet(&bms, &oem).await;

    let rows = world.all("/v1/decisions").await;
    let mut seen: BTreeMap<&str, &Value> = BTreeMap::new();
    for row in &rows {
        assert!(seen.insert(row["update"].as_str().unwrap(), row).is_none(), "decided twice: {row}");
    }
    let undecided: BTreeSet<&String> = accepted.iter().filter(|update| !seen.contains_key(update.as_str())).collect();
    assert!(undecided.is_empty(), "{} of {} were accepted and are not decided: {undecided:?}", undecided.len(), accepted.len());
    assert_eq!(world.get("/v1/dead-letters").await["items"], json!([]));
    assert_eq!(world.get("/v1/parked").await["items"], json!([]));
    world.assert_equal("bms", &of_bms(&bms)).await;
    world.assert_equal("oem", &of_oem(&oem)).await;
    for adapter in running {
        adapter.stop().await;
    }
    eprintln!("{} updates decided, {} of them accepted over HTTP", rows.len(), accepted.len());
    child.kill().unwrap();
    child.wait().unwrap();
    world.verify();
}
