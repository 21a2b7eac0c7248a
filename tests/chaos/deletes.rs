//! Deletes travel both ways between the sample adapters, and nothing comes back.

use std::time::Duration;

use syncline_bms::{Bms, Device, Sensor};
use syncline_oem::{Device as OemDevice, Oem, Sensor as OemSensor};

use crate::servers::Servers;
use crate::world::{World, bms_device, oem_device, of_bms, of_oem, until};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_in_one_system_goes_in_the_other() {
    travel(&World::new("")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_in_one_system_goes_in_the_other_on_servers() {
    let Some(servers) = Servers::any() else { return };
    travel(&World::on(Some(&servers), "")).await;
    servers.clean().await;
}

fn set(field: &str, value: &str) -> Vec<(String, String)> {
    vec![(field.to_owned(), value.to_owned())]
}

fn in_bms(bms: &Bms, serial: &str) -> Option<Device> {
    bms.list::<Device>().unwrap().into_iter().find(|device| device.serial.as_deref() == Some(serial))
}

fn in_oem(oem: &Oem, serial: &str) -> Option<OemDevice> {
    oem.list::<OemDevice>().unwrap().into_iter().find(|device| device.serial_no.as_deref() == Some(serial))
}

/// No one is sent anything again and again, and every system has what is canonical, which is not deleted.
async fn assert_settled(world: &World, bms: &Bms, oem: &Oem) {
    for list in ["/v1/dead-letters", "/v1/parked"] {
        assert_eq!(world.get(list).await["items"], serde_json::json!([]), "{list}");
    }
    world.assert_equal("bms", &of_bms(bms)).await;
    world.assert_equal("oem", &of_oem(oem)).await;
}

/// What became of the deletes a system reported.
async fn deletes(world: &World, system: &str) -> Vec<String> {
    let rows = world.all(&format!("/v1/decisions?system={system}")).await;
    let deletes = rows.iter().filter(|row| row["op"] == "delete");
    let mut kinds: Vec<String> = deletes.map(|row| row["decision"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    kinds
}

async fn travel(world: &World) {
    let (bms, oem) = (world.bms(), world.oem());
    bms_device(&bms, "SN-1");
    let part = bms_device(&bms, "SN-2");
    bms.edit(&part, &set("parent_id", "bmsD1")).unwrap();
    let fields = [("tag".to_owned(), "T1".to_owned()), ("device_id".to_owned(), part.clone())];
    bms.find_or_add::<Sensor>(&syncline_bms::database::checked::<Sensor>(&fields).unwrap()).unwrap();
    oem_device(&oem, "SN-3");
    let mut child = world.start().await;
    let building = world.run_bms(&bms);
    let portal = world.run_oem(&oem);
    let met = async || (in_bms(&bms, "SN-3").is_some() && oem.list::<OemSensor>().unwrap().pop()?.mounted_on.is_some()).then_some(());
    until("everything in both systems", LONG, met).await;
    world.quiet(&bms, &oem).await;

    // From the building: the part goes in the portal too, and its sensor stays there, mounted on nothing.
    bms.delete(&part).unwrap();
    until("the part gone in oem", LONG, async || in_oem(&oem, "SN-2").is_none().then_some(())).await;
    world.quiet(&bms, &oem).await;
    assert_eq!(oem.list::<OemSensor>().unwrap()[0].mounted_on, None);
    assert_settled(world, &bms, &oem).await;

    // From the portal: gone in the building, also where the portal has not made it itself.
    for serial in ["SN-1", "SN-3"] {
        oem.delete(&in_oem(&oem, serial).unwrap().id).unwrap();
        until("the device gone in bms", LONG, async || in_bms(&bms, serial).is_none().then_some(())).await;
    }
    world.quiet(&bms, &oem).await;
    // Each system's own deletes are accepted, and doing what it was told is no news.
    assert_eq!(deletes(world, "bms").await, ["accepted", "unchanged", "unchanged"]);
    assert_eq!(deletes(world, "oem").await, ["accepted", "accepted", "unchanged"]);
    assert_settled(world, &bms, &oem).await;

    // A thing with the number of a deleted one is a new thing, under new ids.
    bms_device(&bms, "SN-2");
    let again = until("the new device in oem", LONG, async || in_oem(&oem, "SN-2")).await;
    assert_eq!((in_bms(&bms, "SN-2").unwrap().id.as_str(), again.id.as_str()), ("bmsD4", "oemD4"));

    // While the portal's adapter is away, one side edits and the other deletes: the delete wins, whoever it is.
    bms_device(&bms, "SN-5");
    until("one more in oem", LONG, async || in_oem(&oem, "SN-5")).await;
    world.quiet(&bms, &oem).await;
    portal.stop().await;
    let [two, five] = ["SN-2", "SN-5"].map(|serial| (in_bms(&bms, serial).unwrap().id, in_oem(&oem, serial).unwrap().id));
    bms.delete(&two.0).unwrap();
    oem.edit(&two.1, &set("label", "still wanted")).unwrap();
    bms.edit(&five.0, &set("name", "still wanted")).unwrap();
    oem.delete(&five.1).unwrap();
    let heard = async || {
        let deleted = world.get(&format!("/v1/entities/device/bms:{}", two.0)).await["tombstone"].is_object();
        let edited = world.get(&format!("/v1/entities/device/bms:{}", five.0)).await["data"]["name"] == "still wanted";
        (deleted && edited).then_some(())
    };
    until("what the building said decided", LONG, heard).await;
    let portal = world.run_oem(&oem);
    let gone = async || (bms.list::<Device>().unwrap().is_empty() && oem.list::<OemDevice>().unwrap().is_empty()).then_some(());
    until("both gone everywhere", LONG, gone).await;
    world.quiet(&bms, &oem).await;
    assert_settled(world, &bms, &oem).await;
    for adapter in [building, portal] {
        adapter.stop().await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.verify();
}
