//! Killed at any moment, again and again: nothing accepted is lost, nothing is done twice, and all systems end equal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use syncline_bms::{Bms, Device};
use syncline_oem::{Device as OemDevice, Oem};

use crate::servers::Servers;
use crate::world::{Dice, World, bms_device, oem_device, of_bms, of_oem, setting};

/// A third system that only says, over HTTP: what was answered with 202 must be decided.
pub const SURVEY: &str = r#"
[systems.survey]
receipts = "none"
[systems.survey.entities.device]
direction = "in"
"#;

/// Sends updates until told to stop, to whichever orchestrator takes them; returns the ids of those that were accepted.
pub async fn survey(urls: Vec<String>, stop: Arc<AtomicBool>) -> Vec<String> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    let (mut accepted, mut n) = (Vec::new(), 0);
    while !stop.load(Ordering::SeqCst) {
        n += 1;
        let update = json!({
            "id": format!("s{n}"), "system": "survey", "type": "device", "native_id": format!("v{}", n % 50),
            "entity": {"serial": format!("SN-{}", n % 50), "location": format!("floor {n}")},
        });
        // Sent again with the same id until it is taken, as every adapter does.
        for url in urls.iter().cycle() {
            if stop.load(Ordering::SeqCst) {
                break;
            }
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

/// People edit on both sides for a while, also the same record, also new ones; and delete some of these.
pub async fn edits(dice: &mut Dice, bms: &Bms, oem: &Oem, devices: &[(String, String)], round: u64, length: Duration) {
    let last = tokio::time::Instant::now() + length;
    while tokio::time::Instant::now() < last {
        let (at_bms, at_oem) = &devices[usize::try_from(dice.roll(devices.len() as u64)).unwrap()];
        let value = format!("{}-{}", round, dice.roll(1000));
        match dice.roll(7) {
            0 => bms.edit(at_bms, &[("name".into(), value)]).unwrap(),
            1 => bms.edit(at_bms, &[("location".into(), value)]).unwrap(),
            2 => oem.edit(at_oem, &[("label".into(), value)]).unwrap(),
            3 => oem.edit(at_oem, &[("warranty_until".into(), value)]).unwrap(),
            4 => drop(bms_device(bms, &format!("NEW-{value}"))),
            5 => delete(dice, bms, oem),
            _ => drop(oem_device(oem, &format!("NEW-{value}"))),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Somebody deletes one of the new devices, on either side.
fn delete(dice: &mut Dice, bms: &Bms, oem: &Oem) {
    let new = |serial: Option<&String>| serial.is_some_and(|serial| serial.starts_with("NEW-"));
    let pick = |dice: &mut Dice, ids: Vec<String>| {
        let at = dice.roll(ids.len().max(1) as u64);
        ids.into_iter().nth(usize::try_from(at).unwrap())
    };
    // The adapter may be faster: what it has deleted meanwhile is gone as well.
    if dice.roll(2) == 0 {
        let ids = bms.list::<Device>().unwrap().into_iter().filter(|device| new(device.serial.as_ref())).map(|device| device.id);
        let id = pick(dice, ids.collect());
        id.iter().for_each(|id| bms.remove::<Device>(id).unwrap());
    } else {
        let ids = oem.list::<OemDevice>().unwrap().into_iter().filter(|device| new(device.serial_no.as_ref())).map(|device| device.id);
        let id = pick(dice, ids.collect());
        id.iter().for_each(|id| oem.remove::<OemDevice>(id).unwrap());
    }
}

pub fn devices(bms: &Bms, oem: &Oem) -> Vec<(String, String)> {
    (0..30).map(|n| (bms_device(bms, &format!("SN-{n}")), oem_device(oem, &format!("sn-{n}")))).collect()
}

/// What was decided about the records of dead letters, and how they are.
async fn told(rows: &[Value], world: &World) -> String {
    let mut told = Vec::new();
    for letter in world.all("/v1/dead-letters").await {
        let body: Value = letter["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
        let (id, native) = (&body["canonical_id"], &letter["native_id"]);
        told.extend(rows.iter().filter(|row| row["canonical_id"] == *id || row["native_id"] == *native).map(Value::to_string));
        if let Some(id) = id.as_str() {
            told.push(world.get(&format!("/v1/entities/{}/{id}", letter["type"].as_str().unwrap_or_default())).await.to_string());
        }
    }
    told.join("\n")
}

/// Everything accepted is decided, once, in its order; nothing waits; all systems are equal.
pub async fn assert_whole(world: &World, bms: &Bms, oem: &Oem, accepted: &[String]) {
    let rows = world.all("/v1/decisions").await;
    let mut seen: BTreeMap<&str, &Value> = BTreeMap::new();
    for row in &rows {
        assert!(seen.insert(row["update"].as_str().unwrap(), row).is_none(), "decided twice: {row}");
    }
    let undecided: BTreeSet<&String> = accepted.iter().filter(|update| !seen.contains_key(update.as_str())).collect();
    assert!(undecided.is_empty(), "{} of {} were accepted and are not decided: {undecided:?}", undecided.len(), accepted.len());
    // Newest first: of one native record, what the survey said later is decided later.
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows.iter().filter(|row| row["source_system"] == "survey") {
        let number = row["update"].as_str().unwrap().trim_start_matches("survey:s").parse().unwrap();
        let later = next.insert(row["native_id"].as_str().unwrap(), number);
        assert!(later.is_none_or(|later| later > number), "s{number} was decided after {later:?}: {row}");
    }
    assert_eq!(world.get("/v1/dead-letters").await["items"], json!([]), "{}", told(&rows, world).await);
    assert_eq!(world.get("/v1/parked").await["items"], json!([]));
    world.assert_equal("bms", &of_bms(bms)).await;
    world.assert_equal("oem", &of_oem(oem)).await;
    eprintln!("{} updates decided, {} of them accepted over HTTP", rows.len(), accepted.len());
}

async fn killed(world: &World, kills: u64) {
    let seed = setting("SYNCLINE_CHAOS_SEED", 1);
    eprintln!("{kills} kills, seed {seed}");
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (bms, oem) = (world.bms(), world.oem());
    let devices = devices(&bms, &oem);
    let mut child = world.start().await;
    let running = [world.run_bms(&bms), world.run_oem(&oem)];
    let stop = Arc::new(AtomicBool::new(false));
    let surveyor = tokio::spawn(survey(vec![world.url.clone()], stop.clone()));

    for kill in 0..kills {
        let length = Duration::from_millis(20 + dice.roll(250));
        edits(&mut dice, &bms, &oem, &devices, kill, length).await;
        child.kill().unwrap();
        child.wait().unwrap();
        child = world.start().await;
    }
    stop.store(true, Ordering::SeqCst);
    let accepted = surveyor.await.unwrap();
    world.quiet(&bms, &oem).await;

    assert_whole(world, &bms, &oem, &accepted).await;
    for adapter in running {
        adapter.stop().await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.verify();
}
