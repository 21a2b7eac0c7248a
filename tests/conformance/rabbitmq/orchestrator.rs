//! A whole orchestrator that is fed and emptied over RabbitMQ.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lapin::BasicProperties;
use serde_json::{Value, json};
use syncline::domain::change::DeadReason;
use syncline::domain::ids::UpdateId;
use syncline::ports::store::DeadLetter;
use syncline::prelude::*;

use super::support::{Site, until};
use crate::mongodb;

fn config(site: &Site) -> String {
    let (url, prefix) = (&site.url, &site.prefix);
    format!(
        r#"
[broker]
kind = "rabbitmq"
url = "{url}"
prefix = "{prefix}"
[http]
listen = "127.0.0.1:0"
[orchestration]
push_updates = true
[entities.device]
keys = [{{ fields = ["serial"] }}]
[systems.bms]
amqp_user = "guest"
[systems.oem]
receipts = "required"
[systems.oem.entities.device]
rename = {{ serial = "serial_no" }}
"#
    )
}

struct Scene {
    site: Site,
    folder: tempfile::TempDir,
    orchestrator: Orchestrator,
    http: reqwest::Client,
}

async fn serve(config: &str, folder: &Path) -> Orchestrator {
    let mut config = Config::from_toml(config, "test.toml").unwrap();
    config.store.path = folder.join("data");
    Syncline::new(config).serve().await.unwrap()
}

impl Scene {
    async fn set(more: &str) -> Option<Self> {
        let site = Site::any()?;
        let folder = tempfile::tempdir().unwrap();
        let orchestrator = serve(&format!("{}{more}", config(&site)), folder.path()).await;
        Some(Self { site, folder, orchestrator, http: reqwest::Client::new() })
    }

    async fn send_as(&self, routing_key: &str, message: &Value, properties: BasicProperties) {
        let peer = self.site.channel().await;
        assert!(peer.publish(&self.site.name("inbound"), routing_key, message.to_string().as_bytes(), properties).await);
    }

    /// Publishes as its adapter does.
    async fn send(&self, message: &Value) {
        let part = |name: &str| message[name].as_str().unwrap().to_owned();
        let key = format!("{}.{}.{}", part("system"), part("type"), part("native_id"));
        self.send_as(&key, message, BasicProperties::default()).await;
    }

    async fn decided(&self, update: &str) -> String {
        let id = UpdateId::try_from(update.to_owned()).unwrap();
        let look = async || self.orchestrator.store().decision(&id).await.unwrap().filter(|row| !row.decision.is_waiting());
        format!("{:?}", until(update, look).await.decision)
    }

    async fn dead_letters(&self, count: usize) -> Vec<DeadLetter> {
        until("the dead letters", async || {
            let page = self.orchestrator.store().dead_letters(None, 99).await.unwrap();
            (page.items.len() >= count).then_some(page.items)
        })
        .await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.orchestrator.address().unwrap());
        let response = self.http.post(url).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.orchestrator.address().unwrap());
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    async fn taken_by(&self, system: &str, count: usize) -> Vec<Value> {
        let queue = self.site.name(&format!("updates.{system}"));
        let taken = self.site.channel().await.take(&queue, count).await;
        taken.iter().map(|delivery| serde_json::from_slice(&delivery.data).unwrap()).collect()
    }

    async fn at_rest(&self) -> Value {
        let look = async || Some(self.get("/v1/status").await).filter(|status| status["idle"] == json!(true));
        until("rest", look).await
    }
}

fn device(id: &str, system: &str, native_id: &str, entity: &Value) -> Value {
    json!({"id": id, "system": system, "type": "device", "native_id": native_id, "entity": entity})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_system_says_reaches_the_other() {
    let Some(scene) = Scene::set("").await else { return };
    both_are_told(&scene).await;
    scene.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_store_in_mongodb_nothing_is_kept_on_this_machine() {
    let Some(mongodb) = mongodb::server() else { return };
    let base = mongodb::Base::new(&mongodb);
    let store = format!("[store]\nkind = \"mongodb\"\nurl = {:?}\ndatabase = {:?}\n", base.url, base.name);
    let Some(scene) = Scene::set(&store).await else { return };
    both_are_told(&scene).await;
    assert!(!scene.folder.path().join("data").exists());
    scene.orchestrator.stop().await.unwrap();
    base.drop().await;
}

async fn both_are_told(scene: &Scene) {
    scene.send(&device("u1", "bms", "b1", &json!({"serial": "S1", "name": "Air handler"}))).await;
    let create = scene.taken_by("oem", 1).await.remove(0);
    assert_eq!((&create["op"], &create["entity"]["serial_no"]), (&json!("create"), &json!("S1")));
    scene.at_rest().await;
    scene
        .send(&json!({"id": "r1", "system": "oem", "type": "device", "op": "receipt", "native_id": "o1",
            "canonical_id": create["canonical_id"], "rev": create["rev"], "status": "applied"}))
        .await;
    until("the link", async || {
        (scene.get("/v1/lookup?system=oem&type=device&native_id=o1").await["canonical_id"] == create["canonical_id"]).then_some(())
    })
    .await;

    // Over HTTP it takes the same way.
    let (status, answer) = scene.post("/v1/updates", &device("u2", "oem", "o1", &json!({"serial_no": "S1", "name": "AHU"}))).await;
    assert_eq!((status, &answer["status"]), (202, &json!("queued")));
    assert!(scene.decided("oem:u2").await.starts_with("Accepted"));
    assert_eq!(scene.taken_by("bms", 1).await[0]["entity"]["name"], json!("AHU"));
    let several = json!([device("u3", "bms", "b2", &json!({"serial": "S2"})), device("u4", "bms", "b3", &json!({"serial": "S3"}))]);
    assert_eq!(scene.post("/v1/updates", &several).await.0, 202);
    scene.decided("bms:u4").await;
    let (status, problem) = scene.post("/v1/systems/oem/lease", &json!({})).await;
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains(&scene.site.name("updates.oem")), "{problem}");

    scene.at_rest().await;
    let systems = scene.get("/v1/systems").await;
    let oem = systems["items"].as_array().unwrap().iter().find(|row| row["system"] == "oem").unwrap().clone();
    assert_eq!(oem["queued"], json!(2), "{systems}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_must_be_who_it_says() {
    let Some(scene) = Scene::set("").await else { return };
    let as_guest = || BasicProperties::default().with_user_id("guest".into());
    let body = json!({"serial": "S1"});
    scene.send_as("oem.device.x", &device("u1", "bms", "b1", &body), BasicProperties::default()).await;
    scene.send_as("bms.site.x", &device("u2", "bms", "b1", &body), BasicProperties::default()).await;
    scene.send_as("oem.device.o1", &device("u3", "oem", "o1", &body), as_guest()).await;
    let dead = scene.dead_letters(3).await;
    assert!(dead.iter().all(|letter| letter.reason == DeadReason::NotYourSystem && letter.body.is_some()), "{dead:?}");
    assert!(dead[2].detail.contains("user \"guest\" published it"), "{}", dead[2].detail);
    // Who can't be believed is not named by what it says either, whatever else is wrong with it.
    scene.send_as("oem.device.x", &json!({"id": "u4", "system": "bms", "op": "upsrt"}), BasicProperties::default()).await;
    let dead = scene.dead_letters(4).await;
    let foreign = dead.iter().find(|letter| letter.id.starts_with("bms:u4#")).expect("it is named by its bytes, too");
    assert_eq!(foreign.reason, DeadReason::NotYourSystem, "{foreign:?}");
    scene.send_as("bms.device.b1", &device("u4", "bms", "b1", &body), as_guest()).await;
    scene.send_as("bms.device.b1", &device("u1", "bms", "b1", &body), BasicProperties::default()).await;
    assert!(scene.decided("bms:u4").await.starts_with("Accepted"));
    scene.decided("bms:u1").await;
    scene.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_can_be_asked_for() {
    let Some(site) = Site::any() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = config(&site).replace("[http]", "require_user_id = true\n[http]");
    let orchestrator = serve(&config, folder.path()).await;
    let scene = Scene { site, folder, orchestrator, http: reqwest::Client::new() };
    let body = json!({"serial": "S1"});
    scene.send(&device("u1", "bms", "b1", &body)).await;
    let dead = scene.dead_letters(1).await;
    assert_eq!((dead[0].reason, dead[0].detail.contains("must set user_id")), (DeadReason::NotYourSystem, true), "{dead:?}");
    let (status, _) = scene.post("/v1/updates", &device("u2", "oem", "o1", &body)).await;
    assert_eq!(status, 202);
    scene.decided("oem:u2").await;
    scene.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rabbitmq_gave_up_on_becomes_a_dead_letter() {
    let Some(scene) = Scene::set("").await else { return };
    let body = json!({"serial": "S1"});
    scene.send(&device("u1", "bms", "b1", &body)).await;
    scene.decided("bms:u1").await;
    let peer = scene.site.channel().await;
    let give_up = async |message: &Value| {
        let properties = BasicProperties::default();
        assert!(peer.publish(&scene.site.name("dead"), "bms.device.b1", message.to_string().as_bytes(), properties).await);
    };
    // Decided, but never acknowledged: there is nothing left to tell.
    give_up(&device("u1", "bms", "b1", &body)).await;
    give_up(&device("u2", "bms", "b1", &body)).await;
    peer.publish(&scene.site.name("dead"), "x", b"\xff", BasicProperties::default()).await;
    let dead = scene.dead_letters(2).await;
    let shown: Vec<_> = dead.iter().map(|letter| (letter.reason, letter.system.as_deref())).collect();
    assert_eq!(shown, [(DeadReason::Poison, Some("bms")), (DeadReason::NotUtf8, None)]);
    assert_eq!((dead[0].id.as_str(), dead[0].native_id.as_deref()), ("bms:u2", Some("b1")));
    scene.at_rest().await;
    scene.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_loses_nothing_and_repeats_nothing() {
    let Some(scene) = Scene::set("").await else { return };
    let Scene { site, folder, orchestrator, http } = scene;
    for n in 0..300 {
        let message = device(&format!("u{n}"), "bms", &format!("b{n}"), &json!({"serial": format!("S{n}")}));
        assert!(site.send(&format!("bms.device.b{n}"), message.to_string().as_bytes()).await);
        if n == 150 {
            orchestrator.stop().await.unwrap();
            break;
        }
    }
    for n in 151..300 {
        let message = device(&format!("u{n}"), "bms", &format!("b{n}"), &json!({"serial": format!("S{n}")}));
        assert!(site.send(&format!("bms.device.b{n}"), message.to_string().as_bytes()).await, "the queue is there without us");
    }
    let more = "\n[orchestration.create_brake]\ncount = 1000\nwindow = \"60s\"\n";
    let orchestrator = serve(&format!("{}{more}", config(&site)), folder.path()).await;
    let scene = Scene { site, folder, orchestrator, http };
    scene.decided("bms:u299").await;
    scene.at_rest().await;
    let mut serials: Vec<String> = scene.taken_by("oem", 300).await.iter().map(|body| body["entity"]["serial_no"].to_string()).collect();
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 300);
    scene.orchestrator.stop().await.unwrap();
}

/// Runs the program until it ends by itself.
fn run(folder: &Path, config: &str) -> (Option<i32>, String) {
    let file = folder.join("syncline.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    let output = command.args(["run", "--config"]).arg(&file).arg("--store").arg(folder.join("data")).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_why_it_does_not_start() {
    let Some(site) = Site::any() else { return };
    let folder = tempfile::tempdir().unwrap();
    let host = site.url.rsplit_once('@').map_or("127.0.0.1:5672", |(_, host)| host).to_owned();
    let (code, said) = run(folder.path(), &config(&site).replace(&site.url, &format!("amqp://guest:hunter2@{host}")));
    assert_eq!((code, said.contains("hunter2")), (Some(78), false), "{said}");
    assert!(said.contains("check user, password and vhost"), "{said}");

    site.channel().await.declare_queue(&site.name("updates.oem")).await;
    let (code, said) = run(folder.path(), &config(&site));
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains(&site.name("updates.oem")) && said.contains("x-queue-type=quorum"), "{said}");

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, said) = run(folder.path(), &config(&site).replace(&site.url, &format!("amqp://guest:hunter2@{free}")));
    assert_eq!((code, said.contains("hunter2")), (Some(69), false), "{said}");
    assert!(said.contains(&free.to_string()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn topology_looks_and_changes_nothing() {
    let Some(site) = Site::any() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("syncline.toml");
    std::fs::write(&file, config(&site)).unwrap();
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        let output = command.args(["topology", "--check", "--config"]).arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for _ in 0..2 {
        let (code, said) = check();
        assert_eq!((code, said.matches("is not there").count()), (Some(1), 7), "{said}");
    }
    drop(site.open_for(&["bms", "oem"]).await);
    assert_eq!(check(), (Some(0), "ok: everything is there as it should be (bindings can't be looked at)\n".to_owned()));
    let peer = site.channel().await;
    peer.delete_queue(&site.name("orchestrator")).await;
    peer.declare_queue(&site.name("orchestrator")).await;
    let (code, said) = check();
    assert!(code == Some(1) && said.contains(&format!("queue {}", site.name("orchestrator"))), "{said}");
    assert!(said.contains("exists in another form") && said.lines().count() == 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_speaks_to_the_server_itself() {
    let Some(site) = Site::any() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (file, records) = (folder.path().join("syncline.toml"), folder.path().join("records.jsonl"));
    std::fs::write(&file, config(&site)).unwrap();
    std::fs::write(&records, "{\"id\": \"b1\", \"serial\": \"S1\"}\n{\"id\": \"b2\", \"serial\": \"S2\"}\n").unwrap();
    let syncline = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_syncline")).args(arguments).arg("--config").arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // Nobody listens yet.
    let sent = syncline(&["send", "--system", "bms", "--type", "device", records.to_str().unwrap()]);
    assert_eq!(sent, "2 handed in, 0 refused\n");
    let orchestrator = serve(&config(&site).replace("[http]", "require_user_id = true\n[http]"), folder.path()).await;
    let peer = site.channel().await;
    let waiting = peer.take(&site.name("updates.oem"), 2).await;
    assert_eq!(waiting.len(), 2);
    for delivery in waiting {
        assert!(peer.publish(&site.name("outbound"), "oem", &delivery.data, BasicProperties::default()).await);
    }
    let looked = syncline(&["receive", "--system", "oem", "--max", "1"]);
    assert!(looked.starts_with("create device (a new record)  rev 1  {\"serial_no\":\"S"), "{looked}");
    let taken = syncline(&["receive", "--system", "oem", "--ack"]);
    assert_eq!((taken.lines().count(), taken.starts_with(&looked)), (2, true), "looking took nothing: {taken}");
    assert_eq!(syncline(&["receive", "--system", "oem"]), "nothing waits for oem\n");
    orchestrator.stop().await.unwrap();
}

/// The real program, killed in the middle again and again: every message is decided once, and sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_program_loses_nothing_and_repeats_nothing() {
    const MESSAGES: usize = 600;
    let Some(site) = Site::any() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("syncline.toml");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("listen = \"127.0.0.1:{port}\"");
    let brake = "\n[orchestration.create_brake]\ncount = 100000\n";
    std::fs::write(&file, config(&site).replace("listen = \"127.0.0.1:0\"", &listen) + brake).unwrap();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        let command = command.args(["run", "--config"]).arg(&file).arg("--store").arg(folder.path().join("data"));
        command.stderr(std::process::Stdio::null()).spawn().unwrap()
    };
    let http = reqwest::Client::new();
    let status = async || {
        let answer = http.get(format!("http://127.0.0.1:{port}/v1/status")).send().await.ok()?;
        answer.json::<Value>().await.ok().filter(|status| status["idle"].is_boolean())
    };
    let mut program = run();
    until("the program", status).await;
    let peer = site.channel().await;
    for n in 0..MESSAGES {
        let message = device(&format!("u{n}"), "bms", &format!("b{n}"), &json!({"serial": format!("S{n}")})).to_string();
        assert!(peer.publish(&site.name("inbound"), &format!("bms.device.b{n}"), message.as_bytes(), BasicProperties::default()).await);
        if n % 150 == 149 {
            program.kill().unwrap();
            program.wait().unwrap();
            program = run();
        }
    }
    until("rest", async || status().await.filter(|status| status["idle"] == json!(true))).await;
    program.kill().unwrap();
    program.wait().unwrap();
    let store = Config::from_toml(&config(&site), "test.toml").map(|mut config| {
        config.store.path = folder.path().join("data");
        Syncline::new(config).start()
    });
    let orchestrator = store.unwrap().await.unwrap();
    for n in 0..MESSAGES {
        let id = UpdateId::try_from(format!("bms:u{n}")).unwrap();
        let row = orchestrator.store().decision(&id).await.unwrap().unwrap_or_else(|| panic!("u{n} was lost"));
        assert_eq!((row.version_before, row.version_after), (0, 1), "u{n}");
    }
    assert!(orchestrator.store().dead_letters(None, 9).await.unwrap().items.is_empty());
    let queue = site.name("updates.oem");
    let waiting = peer.waiting(&queue).await as usize;
    let mut sent = std::collections::BTreeMap::new();
    for delivery in peer.take(&queue, waiting).await {
        let body: Value = serde_json::from_slice(&delivery.data).unwrap();
        let first = sent.entry(body["id"].to_string()).or_insert_with(|| body.clone());
        assert_eq!(*first, body, "the same id, the same bytes");
    }
    assert_eq!(sent.len(), MESSAGES, "of {waiting}");
    assert!(waiting - sent.len() <= 4 * 250, "no more is repeated than was on its way at each kill: {waiting}");
    orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_listens_is_told_every_decision() {
    let Some(site) = Site::any() else { return };
    let folder = tempfile::tempdir().unwrap();
    let with = |events: &str| config(&site).replace("push_updates = true", &format!("push_updates = true\nevents = {events}"));
    let without = with("false");
    let orchestrator = serve(&with("true"), folder.path()).await;
    let peer = site.channel().await;
    let queue = site.name("updates.crm");
    peer.declare_queue(&queue).await;
    peer.bind(&queue, &site.name("events"), "device.*").await;
    let scene = Scene { site, folder, orchestrator, http: reqwest::Client::new() };
    scene.send(&device("u1", "bms", "b1", &json!({"serial": "S1", "name": "Fan"}))).await;
    scene.send(&device("u2", "bms", "b1", &json!({"serial": "S1", "name": "Pump"}))).await;
    let told: Vec<(String, Value)> = peer
        .take(&queue, 2)
        .await
        .into_iter()
        .map(|delivery| (delivery.routing_key.to_string(), serde_json::from_slice(&delivery.data).unwrap()))
        .collect();
    assert!(told.iter().all(|(key, _)| key == "device.accepted"), "{told:?}");
    let fact = &told[1].1;
    assert_eq!((&fact["update"], &fact["version"], &fact["changed"]), (&json!("bms:u2"), &json!(2), &json!(["name"])), "{fact}");
    assert!(fact.get("entity").is_none() && fact.get("data").is_none(), "a small fact, not the record: {fact}");
    scene.orchestrator.stop().await.unwrap();
    // What nobody binds to is no fault, and without the key there is no exchange.
    let orchestrator = serve(&without, scene.folder.path()).await;
    peer.delete_exchange(&scene.site.name("events")).await;
    let scene = Scene { orchestrator, ..scene };
    scene.send(&device("u3", "bms", "b1", &json!({"serial": "S1", "name": "Fan"}))).await;
    scene.decided("bms:u3").await;
    scene.at_rest().await;
    scene.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_systems_messages_stay_and_the_others_go_on() {
    let Some(scene) = Scene::set("").await else { return };
    let answer = scene.post("/v1/systems/bms/pause", &json!({"direction": "in"})).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    // Which systems are paused is looked up before messages are awaited, a second at most.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for n in 0..20 {
        scene.send(&device(&format!("b{n}"), "bms", "b1", &json!({"serial": "S1", "n": n}))).await;
        scene.send(&device(&format!("o{n}"), "oem", &format!("o{n}"), &json!({"serial_no": format!("T{n}")}))).await;
    }
    scene.decided("oem:o19").await;
    let update = |n: u32| UpdateId::try_from(format!("bms:b{n}")).unwrap();
    assert!(scene.orchestrator.store().decision(&update(0)).await.unwrap().is_none());
    let status = scene.get("/v1/status").await;
    assert!(status["inbound"].as_u64().unwrap() >= 20, "{status}");
    assert_eq!(scene.post("/v1/systems/bms/resume", &json!({"direction": "in"})).await.0, 200);
    scene.decided("bms:b19").await;
    for n in 0..20 {
        let row = scene.orchestrator.store().decision(&update(n)).await.unwrap().unwrap();
        assert_eq!(row.version_after, u64::from(n) + 1, "in their order");
    }
    scene.at_rest().await;
    scene.orchestrator.stop().await.unwrap();
}
