//! A server of its own for each of these: it is restarted, and brought into trouble.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use syncline::backends::rabbitmq::{Address, Options, RabbitBroker};
use syncline::ports::broker::{Broker, Fact, Inbox};
use syncline::ports::error::PortErrorKind;
use syncline::ports::testkit::sample;
use syncline_sdk::{Adapter, Credentials, MemoryState, NativeModel};
use tempfile::TempDir;

use super::support::{Peer, Site, bodies, receive, tags, until, url};

/// What an adapter reports.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Device {
    id: String,
}

impl NativeModel for Device {
    const TYPE: &'static str = "device";

    fn native_id(&self) -> String {
        self.id.clone()
    }
}

/// A private server, ended with the test.
struct Server {
    folder: TempDir,
    url: String,
    ctl: String,
}

impl Server {
    /// `None`, said aloud, where the tests have no private server anyway.
    fn start() -> Option<Self> {
        if std::env::var_os("SYNCLINE_TEST_RABBITMQCTL").is_none() {
            eprintln!("skipped: SYNCLINE_TEST_RABBITMQCTL is not set; scripts/services up starts a server that may be stopped");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let lines = services(&folder, &["up", "rabbitmq"]);
        let value = |name: &str| {
            let line = lines.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            line.unwrap_or_else(|| panic!("no {name} in {lines}")).to_owned()
        };
        Some(Self { url: value("SYNCLINE_TEST_AMQP_URL"), ctl: value("SYNCLINE_TEST_RABBITMQCTL"), folder })
    }

    fn ctl(&self, arguments: &[&str]) {
        let output = Command::new(&self.ctl).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn options(&self, url: &str) -> Options {
        Options::new(Address::parse(url).unwrap(), "syncline", Arc::new(syncline::app::SystemClock)).unwrap()
    }

    async fn open(&self) -> RabbitBroker {
        RabbitBroker::open(self.options(&self.url)).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        services(&self.folder, &["down"]);
    }
}

fn services(folder: &TempDir, arguments: &[&str]) -> String {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services"));
    let command = command.args(arguments).env("CARGO_TARGET_DIR", folder.path()).env_remove("SYNCLINE_TEST_AMQP_URL");
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

async fn send(peer: &Peer, body: &str) {
    assert!(peer.publish("syncline.inbound", "bms.device.D1", body.as_bytes(), lapin::BasicProperties::default()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_loses_nothing() {
    let Some(server) = Server::start() else { return };
    let broker = server.open().await;
    let peer = Peer::connect(&server.url).await;
    for body in ["1", "2", "3"] {
        send(&peer, body).await;
    }
    let came = receive(&broker, 3).await;
    broker.settle(&tags(&came[..1])).await.unwrap();
    assert!(broker.publish(vec![sample::message("oem", 1, 1)]).await[0].is_ok());
    server.ctl(&["stop_app"]);
    until("the loss to be noticed", async || broker.connected().is_err().then_some(())).await;
    let refused = broker.publish(vec![sample::message("oem", 1, 2)]).await.remove(0).unwrap_err();
    assert_eq!(refused.kind, PortErrorKind::Unavailable);
    server.ctl(&["start_app"]);
    assert_eq!(bodies(&receive(&broker, 2).await), ["2", "3"]);
    until("a message to be taken", async || broker.publish(vec![sample::message("oem", 1, 2)]).await[0].is_ok().then_some(())).await;
    let taken = Peer::connect(&server.url).await.take("syncline.updates.oem", 2).await;
    assert_eq!(taken[0].data, sample::message("oem", 1, 1).body);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_takes_nothing_consuming_goes_on() {
    let Some(server) = Server::start() else { return };
    let broker = RabbitBroker::open(Options { events: true, ..server.options(&server.url) }).await.unwrap();
    let peer = Peer::connect(&server.url).await;
    for body in ["1", "2"] {
        send(&peer, body).await;
    }
    server.ctl(&["set_vm_memory_high_watermark", "0.000001"]);
    let refused = broker.publish(vec![sample::message("oem", 1, 1)]).await.remove(0).unwrap_err();
    assert_eq!(refused.kind, PortErrorKind::Unavailable);
    let refused = broker.publish(vec![sample::message("oem", 1, 1)]).await.remove(0).unwrap_err();
    assert!(refused.message.contains("takes no messages at present"), "{refused}");
    // Facts are not waited for: acknowledgements would wait for them, and those are what such a server needs.
    let fact = Fact { id: "bms:u1".to_owned(), routing_key: "device.accepted".to_owned(), body: b"{}".to_vec() };
    let refused = broker.announce(&[fact]).await.unwrap_err();
    assert!(refused.message.contains("takes no messages at present"), "{refused}");
    let came = receive(&broker, 2).await;
    assert_eq!(bodies(&came), ["1", "2"]);
    broker.settle(&tags(&came)).await.unwrap();
    assert!(broker.connected().is_ok(), "nothing was given up");
    server.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    until("a message to be taken", async || broker.publish(vec![sample::message("oem", 1, 1)]).await[0].is_ok().then_some(())).await;
    drop(broker);
    let broker = server.open().await;
    assert!(broker.receive(9, Duration::from_millis(200)).await.unwrap().is_empty(), "what was settled meanwhile stays so");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_rights_are_enough_and_no_more() {
    let Some(server) = Server::start() else { return };
    let config = "[broker]\nkind = \"rabbitmq\"\nurl = \"URL\"\n[orchestration]\npush_updates = true\n[systems.bms]\n[systems.oem]\n";
    let url = server.url.replace("guest:guest", "main:secret");
    let file = server.folder.path().join("syncline.toml");
    std::fs::write(&file, config.replace("URL", &url)).unwrap();
    for user in ["main", "bms", "oem"] {
        server.ctl(&["add_user", user, "secret"]);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    let output = command.args(["topology", "--permissions", "--config"]).arg(&file).output().unwrap();
    let script = String::from_utf8(output.stdout).unwrap().replace("rabbitmqctl", &server.ctl);
    assert!(Command::new("sh").args(["-e", "-c", &script]).output().unwrap().status.success(), "{script}");

    let mut options = server.options(&url);
    options.systems = vec![sample::system("bms"), sample::system("oem")];
    let broker = RabbitBroker::open(options).await.unwrap();
    let adapter = Peer::connect(&server.url.replace("guest:guest", "bms:secret")).await;
    send(&adapter, "1").await;
    let came = receive(&broker, 1).await;
    broker.settle(&tags(&came)).await.unwrap();
    assert!(broker.publish(vec![sample::message("bms", 1, 1)]).await[0].is_ok());
    assert_eq!(adapter.take("syncline.updates.bms", 1).await.len(), 1);
    let options = lapin::options::BasicGetOptions::default();
    assert!(adapter.0.basic_get("syncline.updates.oem".into(), options).await.is_err(), "another system's queue");
    let adapter = Peer::connect(&server.url.replace("guest:guest", "bms:secret")).await;
    let options = lapin::options::BasicPublishOptions::default();
    let foreign = adapter.0.basic_publish("syncline.inbound".into(), "oem.device.D1".into(), options, b"x", Default::default());
    let confirmed = match foreign.await {
        Ok(confirming) => confirming.await,
        Err(error) => Err(error),
    };
    assert!(confirmed.is_err(), "another system's routing key");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_over_tls() {
    let (Some(url), Ok(secure)) = (url(), std::env::var("SYNCLINE_TEST_AMQPS_URL")) else {
        eprintln!("skipped: SYNCLINE_TEST_AMQPS_URL names no RabbitMQ server with TLS");
        return;
    };
    let site = Site::new(&url);
    let broker = RabbitBroker::open(site.options_at(&secure)).await.unwrap();
    assert!(site.send("bms.device.D1", b"1").await);
    assert_eq!(bodies(&receive(&broker, 1).await), ["1"]);
    // Adapters believe whom they are told to.
    let (address, ca) = secure.split_once("?cacertfile=").unwrap();
    let credentials = Credentials::default().with_ca_file(ca);
    let adapter = Adapter::known(&format!("{address}#{}", site.prefix), "bms", MemoryState::default(), &credentials).unwrap();
    adapter.send(&Device { id: "D2".to_owned() }).await.unwrap();
    assert!(bodies(&receive(&broker, 1).await)[0].contains("D2"));
    // An authority that nobody has vouched for is not trusted.
    let mut options = site.options_at(secure.split('?').next().unwrap());
    options.connect_within = Duration::from_millis(500);
    let refused = RabbitBroker::open(options).await.unwrap_err();
    assert!(refused.kind == PortErrorKind::Unavailable && !refused.to_string().contains("guest"), "{refused}");
}
