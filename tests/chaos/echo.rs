//! Adapters that report back all they apply go round in no circle.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::servers::Servers;
use crate::world::{Dice, World, bms_device, oem_device, of_bms, of_oem, setting, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_reported_back_makes_no_version_and_no_message() {
    echoed(&World::new(""), setting("SYNCLINE_CHAOS_EDITS", 400)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_reported_back_on_servers_makes_no_version_and_no_message() {
    let Some(servers) = Servers::any() else { return };
    echoed(&World::on(Some(&servers), ""), setting("SYNCLINE_CHAOS_EDITS", 200)).await;
    servers.clean().await;
}

async fn echoed(world: &World, edits: u64) {
    let (bms, oem) = (world.bms(), world.oem());
    let devices: Vec<(String, String)> =
        (0..40).map(|n| (bms_device(&bms, &format!("SN-{n}")), oem_device(&oem, &format!("SN-{n}")))).collect();
    let mut child = world.start().await;
    let running = [world.run_bms(&bms), world.run_oem(&oem)];
    world.quiet(&bms, &oem).await;
    let mut dice = Dice(7);
    for n in 0..edits {
        // The building edits the even ones, the portal the odd ones: whatever the other says about them is an echo.
        let at = usize::try_from(dice.roll(20)).unwrap() * 2;
        if n % 2 == 0 {
            bms.edit(&devices[at].0, &[("name".into(), format!("edit {n}"))]).unwrap();
        } else {
            oem.edit(&devices[at + 1].1, &[("state".into(), if dice.roll(2) == 0 { "A" } else { "R" }.into())]).unwrap();
        }
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    world.quiet(&bms, &oem).await;
    let serial = |record: &serde_json::Value| record["data"]["serial"].as_str().unwrap()[3..].parse::<u64>().unwrap();
    let editor: BTreeMap<String, &str> = world
        .all("/v1/entities/device")
        .await
        .iter()
        .map(|record| (record["id"].as_str().unwrap().to_owned(), if serial(record) % 2 == 0 { "bms" } else { "oem" }))
        .collect();
    let rows = world.all("/v1/decisions").await;
    let mut echoes = 0;
    for row in &rows {
        let by_editor = editor[row["canonical_id"].as_str().unwrap()] == row["source_system"];
        let first = row["version_before"] == 0 || row["reason"].as_str().unwrap().contains("joins");
        let new = row["version_before"] != row["version_after"];
        assert!(!new || by_editor || first, "{row}");
        echoes += u64::from(row["decision"] == "echo");
    }
    assert!(echoes > edits / 20, "{echoes} echoes: too few to show anything");
    let versions =
        async || -> u64 { world.all("/v1/entities/device").await.iter().map(|record| record["version"].as_u64().unwrap()).sum() };
    let before = (rows.len(), versions().await);
    // Whatever went round would come by again within two looks of the feeds.
    until("a further report", Duration::from_secs(30), async || {
        bms.edit(&devices[0].0, &[("location".into(), "here".into())]).unwrap();
        world.quiet(&bms, &oem).await;
        (world.all("/v1/decisions").await.len() > before.0).then_some(())
    })
    .await;
    world.quiet(&bms, &oem).await;
    assert_eq!(versions().await, before.1 + 1, "the one further edit, and nothing else");
    world.assert_equal("bms", &of_bms(&bms)).await;
    world.assert_equal("oem", &of_oem(&oem)).await;
    for adapter in running {
        adapter.stop().await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.verify();
}
