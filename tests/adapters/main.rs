//! A real orchestrator with its HTTP edge, and both sample adapters with their own databases, talking to it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod source;
mod support;

use serde_json::json;
use syncline_bms::database::checked;
use syncline_bms::{Bms, Device, Sensor};
use syncline_oem::{Device as OemDevice, Oem, Sensor as OemSensor};

use crate::support::{Broker, Running, bms_device, fields, oem_device, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_systems_meet_by_serial_and_an_edit_travels() {
    let world = Broker::start().await;
    let (bms, oem) = (world.bms(), world.oem());
    bms_device(&bms, "serial=SN-001, name=Air handler");
    oem_device(&oem, "serial_no=sn-001, label=Air handler");
    let running = [Running::bms(&bms, &world.url), Running::oem(&oem, &world.url)];
    let met = world.meets("bms:bmsD1", "oem:oemD1").await;
    world.quiet().await;
    assert_eq!(met["links"].as_array().unwrap().len(), 2);
    assert_eq!((bms.list::<Device>().unwrap().len(), oem.list::<OemDevice>().unwrap().len()), (1, 1), "nobody was sent a second one");

    bms.edit("bmsD1", &fields("name=Air handler 1, status=retired")).unwrap();
    let there = until("the edit in oem", async || oem.get::<OemDevice>("oemD1").ok().filter(|d| d.state.is_some())).await;
    assert_eq!((there.label.as_deref(), there.state.as_deref()), (Some("Air handler 1"), Some("R")));
    oem.edit("oemD1", &fields("state=A, warranty_until=2030-01-01")).unwrap();
    until("the answer in bms", async || bms.get::<Device>("bmsD1").ok().filter(|d| d.status.as_deref() == Some("active"))).await;
    world.quiet().await;
    assert_eq!(bms.get::<Device>("bmsD1").unwrap().name.as_deref(), Some("Air handler 1"));

    // What is the portal's business only is not touched by what comes from elsewhere.
    bms.edit("bmsD1", &fields("name=Supply air")).unwrap();
    let there = until("one more edit in oem", async || {
        oem.get::<OemDevice>("oemD1").ok().filter(|device| device.label.as_deref() == Some("Supply air"))
    });
    assert_eq!(there.await.warranty_until.as_deref(), Some("2030-01-01"));
    world.quiet().await;
    for running in running {
        running.stop().await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_echo_makes_no_new_version() {
    let world = Broker::start().await;
    let (bms, oem) = (world.bms(), world.oem());
    bms_device(&bms, "serial=SN-001, name=Air handler");
    let running = [Running::bms(&bms, &world.url), Running::oem(&oem, &world.url)];
    until("the device in oem", async || oem.get::<OemDevice>("oemD1").ok()).await;
    bms.edit("bmsD1", &fields("name=Air handler 1")).unwrap();
    until("the edit in oem", async || oem.get::<OemDevice>("oemD1").ok().filter(|d| d.label.as_deref() == Some("Air handler 1"))).await;
    world.quiet().await;
    // The portal's feed has reported both what it was told to make and what it was told to change.
    let said = until("both echoes decided", async || Some(world.decisions("oem").await).filter(|rows| rows.len() >= 4)).await;
    let kinds: Vec<_> = said.iter().map(|row| (row["op"].as_str().unwrap(), row["decision"].as_str().unwrap())).collect();
    assert!(kinds.iter().all(|(op, kind)| *op == "receipt" || ["echo", "unchanged"].contains(kind)), "{said:#?}");
    assert_eq!(world.record("bms:bmsD1").await["version"], 2, "the record and the edit, and nothing else");
    for running in running {
        running.stop().await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_device_and_its_sensor_are_made_in_the_other_system_with_its_own_ids() {
    let world = Broker::start().await;
    let (bms, oem) = (world.bms(), world.oem());
    // The portal has devices of its own, so that its ids differ from the building's.
    for n in 7..10 {
        oem_device(&oem, &format!("serial_no=SN-00{n}, label=Other"));
    }
    let plant = bms_device(&bms, "serial=SN-100, name=Plant");
    let device = bms_device(&bms, &format!("serial=SN-001, name=Air handler, parent_id={plant}"));
    let sensor = fields(&format!("tag=T1, kind=temperature, unit=°C, device_id={device}"));
    let sensor = bms.find_or_add::<Sensor>(&checked::<Sensor>(&sensor).unwrap()).unwrap();
    assert_eq!((plant.as_str(), device.as_str(), sensor.as_str()), ("bmsD1", "bmsD2", "bmsS1"));
    let running = [Running::bms(&bms, &world.url), Running::oem(&oem, &world.url)];
    let made = until("the sensor in oem", async || oem.list::<OemSensor>().unwrap().pop().filter(|s| s.mounted_on.is_some())).await;
    until("the others' devices in bms", async || (bms.list::<Device>().unwrap().len() == 5).then_some(())).await;
    world.quiet().await;
    let devices = oem.list::<OemDevice>().unwrap();
    let by_serial = |serial: &str| devices.iter().find(|device| device.serial_no.as_deref() == Some(serial)).unwrap();
    let (plant, device) = (by_serial("SN-100"), by_serial("SN-001"));
    assert!(device.id.starts_with("oemD") && device.id.as_str() > "oemD3", "{device:?}");
    assert_eq!(device.installed_under.as_ref(), Some(&plant.id), "the reference is the portal's own id");
    assert_eq!((made.id.as_str(), made.mounted_on.as_ref()), ("oemS1", Some(&device.id)));
    assert_eq!((made.plate.as_deref(), made.quantity.as_deref()), (Some("T1"), Some("temperature")));
    assert_eq!((devices.len(), bms.list::<Device>().unwrap().len()), (5, 5), "each thing once in each system");
    assert_eq!(world.all("device").await.len(), 5);
    assert_eq!(world.dead_letters().await, json!([]));
    for running in running {
        running.stop().await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_was_away_catches_up_and_repeats_nothing() {
    let world = Broker::start().await;
    let (bms, oem) = (world.bms(), world.oem());
    bms_device(&bms, "serial=SN-001, name=Air handler");
    let building = Running::bms(&bms, &world.url);
    let portal = Running::oem(&oem, &world.url);
    until("the device in oem", async || oem.get::<OemDevice>("oemD1").ok()).await;
    world.quiet().await;
    portal.stop().await;

    // While the portal's adapter is away, people edit on both sides: different fields.
    bms.edit("bmsD1", &fields("name=Air handler 1")).unwrap();
    bms.edit("bmsD1", &fields("name=Air handler 2")).unwrap();
    until("the edit canonical", async || (world.record("bms:bmsD1").await["data"]["name"] == "Air handler 2").then_some(())).await;
    oem.edit("oemD1", &fields("state=R")).unwrap();
    drop(oem);
    let oem = world.oem();
    let portal = Running::oem(&oem, &world.url);
    let there = until("both edits in oem", async || {
        oem.get::<OemDevice>("oemD1").ok().filter(|d| d.label.as_deref() == Some("Air handler 2") && d.state.as_deref() == Some("R"))
    });
    there.await;
    until("both edits in bms", async || bms.get::<Device>("bmsD1").ok().filter(|d| d.status.as_deref() == Some("retired"))).await;
    world.quiet().await;
    let record = world.record("oem:oemD1").await;
    assert_eq!((&record["data"]["name"], &record["data"]["status"]), (&json!("Air handler 2"), &json!("retired")));
    assert_eq!((bms.list::<Device>().unwrap().len(), oem.list::<OemDevice>().unwrap().len()), (1, 1));
    portal.stop().await;
    building.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adapters_that_start_before_the_broker_wait_for_it() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bms = Bms::open(folder.path().join("bms.db")).unwrap();
    let oem = Oem::open(folder.path().join("oem.db")).unwrap();
    bms_device(&bms, "serial=SN-001, name=Air handler");
    let url = format!("http://{address}");
    let running = [Running::bms(&bms, &url), Running::oem(&oem, &url)];
    let world = Broker::at(address).await;
    until("the device in oem", async || oem.get::<OemDevice>("oemD1").ok()).await;
    for running in running {
        running.stop().await;
    }
    world.stop().await;
}
