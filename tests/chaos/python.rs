//! An adapter in another language, on the servers, beside those of the SDK.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use syncline_bms::Device;
use syncline_oem::Device as OemDevice;

use crate::servers::Servers;
use crate::world::{World, bms_device, until};

const SHOP: &str = "[systems.shop]\nreceipts = \"required\"\n[systems.shop.entities.device]\nfields = { only = [\"serial\", \"name\"] }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_in_any_system_arrives_in_all_others() {
    let (Some(servers), Ok(python)) = (Servers::any(), std::env::var("SYNCLINE_TEST_PYTHON")) else {
        assert!(std::env::var_os("CI").is_none(), "SYNCLINE_TEST_PYTHON is not set; scripts/services up makes one with pika");
        eprintln!("skipped: SYNCLINE_TEST_PYTHON names no Python with pika; scripts/services up makes one");
        return;
    };
    let world = World::on(Some(&servers), SHOP);
    let (bms, oem) = (world.bms(), world.oem());
    let id = bms_device(&bms, "SN-1");
    let mut child = world.start().await;
    let running = [world.run_bms(&bms), world.run_oem(&oem)];
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python/adapter.py");
    let mut command = Command::new(python);
    command.args([script, &servers.amqp, &servers.name]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shop = command.spawn().unwrap();
    let mut input = shop.stdin.take().unwrap();
    let mut output = BufReader::new(shop.stdout.take().unwrap());
    let mut list = move |input: &mut std::process::ChildStdin| -> Value {
        writeln!(input, "list").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let long = Duration::from_secs(60);

    until("the device in the shop", long, async || (list(&mut input)["s1"]["serial"] == "SN-1").then_some(())).await;
    bms.edit(&id, &[("name".into(), "Fan".into())]).unwrap();
    until("the building's edit in the shop", long, async || (list(&mut input)["s1"]["name"] == "Fan").then_some(())).await;
    let there = async || oem.list::<OemDevice>().unwrap().pop().filter(|device| device.label.as_deref() == Some("Fan"));
    until("the building's edit in the portal", long, there).await;

    writeln!(input, "edit s2 serial=SN-2 name=Pump").unwrap();
    let made = async || bms.list::<Device>().unwrap().into_iter().find(|device| device.serial.as_deref() == Some("SN-2"));
    assert_eq!(until("the shop's device in the building", long, made).await.name.as_deref(), Some("Pump"));
    until("the shop's device in the portal", long, async || (oem.list::<OemDevice>().unwrap().len() == 2).then_some(())).await;
    world.quiet(&bms, &oem).await;
    assert_eq!(world.get("/v1/dead-letters").await["items"], serde_json::json!([]));

    writeln!(input, "delete s2").unwrap();
    let left = async || (bms.list::<Device>().unwrap().len() == 1 && oem.list::<OemDevice>().unwrap().len() == 1).then_some(());
    until("the shop's device gone elsewhere", long, left).await;
    bms.delete(&id).unwrap();
    until("the building's device gone in the shop", long, async || (list(&mut input) == serde_json::json!({})).then_some(())).await;
    until("the building's device gone in the portal", long, async || oem.list::<OemDevice>().unwrap().is_empty().then_some(())).await;
    world.quiet(&bms, &oem).await;
    assert_eq!(world.get("/v1/dead-letters").await["items"], serde_json::json!([]));
    let echoes = world.all("/v1/decisions?system=oem").await;
    assert!(echoes.iter().all(|row| row["version_before"] == row["version_after"]), "the portal said nothing new: {echoes:#?}");

    drop(input);
    assert!(shop.wait().unwrap().success());
    for adapter in running {
        adapter.stop().await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    servers.clean().await;
}
