//! The real records once more, handed in to a running program on RabbitMQ and MongoDB: the same must come of them.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::expected::{Data, said, text};
use crate::real_data::RULES;
use crate::servers::Servers;
use crate::support::{Scene, batch, ok};

const FILES: [&str; 4] = ["geonames-city.jsonl", "iso-subdivision.jsonl", "iso-country.jsonl", "geonames-country.jsonl"];

/// The program, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn start(config: &str, url: &str) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command.args(["run", "--config", config]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let ready = async {
        while !reqwest::get(format!("{url}/readyz")).await.is_ok_and(|answer| answer.status().is_success()) {
            assert_eq!(running.0.try_wait().unwrap(), None, "it goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ready).await.expect("it is ready");
    running
}

/// Every row of a list of the program.
async fn listed(url: &str, list: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = reqwest::get(format!("{url}/v1/{list}?limit=1000{cursor}")).await.unwrap();
        let mut page: Value = answer.error_for_status().unwrap().json().await.unwrap();
        rows.append(page["items"].as_array_mut().unwrap());
        let Some(next) = page["next"].as_str() else { return rows };
        cursor = format!("&cursor={next}");
    }
}

/// Records without the ids that differ from run to run: each by the native records it stands for, a reference likewise.
fn by_natives(rows: &[Value]) -> BTreeMap<String, (u64, Map<String, Value>)> {
    let natives = |row: &Value| {
        let links = row["links"].as_array().unwrap().iter();
        let mut natives: Vec<String> = links.map(|link| format!("{}:{}", text(&link["system"]), text(&link["native_id"]))).collect();
        natives.sort();
        format!("{} {}", text(&row["type"]), natives.join(" "))
    };
    let names: BTreeMap<&str, String> = rows.iter().map(|row| (row["id"].as_str().unwrap(), natives(row))).collect();
    let named = |(field, value): (String, Value)| {
        let name = value.as_str().and_then(|id| names.get(id)).cloned().map(Value::from);
        (field, name.unwrap_or(value))
    };
    let told = |row: &Value| (row["version"].as_u64().unwrap(), said(&row["data"]).into_iter().map(named).collect());
    let found: BTreeMap<_, _> = rows.iter().map(|row| (natives(row), told(row))).collect();
    assert_eq!(found.len(), rows.len(), "no native record belongs to two");
    found
}

/// `SYNCLINE_DATA=FOLDER` does it with the four files of another folder.
#[tokio::test]
async fn what_is_sent_to_servers_becomes_what_a_batch_makes_of_it() {
    let Some(servers) = Servers::any() else { return };
    let (data, scene) = (Data::new(), Scene::new());
    let plain = scene.write("batch.toml", RULES);
    batch(&scene, &plain, "out", &FILES.map(|file| data.input(file)).each_ref().map(String::as_str), &[]);
    let expected = by_natives(&scene.rows("out/canonical.jsonl"));

    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (url, Servers { amqp, mongodb, name }) = (format!("http://{listen}"), &servers);
    let user = reqwest::Url::parse(amqp).unwrap().username().to_owned();
    let rules = RULES.replace("[systems.iso]\n", &format!("[systems.iso]\namqp_user = {user:?}\n"));
    let rules = rules.replace("[systems.geonames]\n", &format!("[systems.geonames]\namqp_user = {user:?}\n"));
    let places = format!(
        "[http]\nlisten = \"{listen}\"\n[broker]\nkind = \"rabbitmq\"\nurl = {amqp:?}\nprefix = {name:?}\n\
         [store]\nkind = \"mongodb\"\nurl = {mongodb:?}\ndatabase = {name:?}\n"
    );
    let config = scene.write("syncline.toml", &format!("{rules}{places}"));
    let running = start(&config, &url).await;
    let mut handed = 0;
    for file in FILES {
        let (system, entity_type) = file.trim_end_matches(".jsonl").split_once('-').unwrap();
        let path = scene.write(file, &data.text(file));
        let told = ok(&["send", "--config", &config, "--system", system, "--type", entity_type, &path]);
        let rows = data.rows(file).len();
        assert_eq!(told, format!("{rows} handed in, 0 refused\n"));
        handed += rows;
    }
    ok(&["status", "--url", &url, "--wait-idle", "300s"]);

    let mut rows = Vec::new();
    for entity_type in ["country", "subdivision", "city"] {
        rows.extend(listed(&url, &format!("entities/{entity_type}")).await);
    }
    assert_eq!(by_natives(&rows), expected);
    for nothing in ["parked", "dead-letters"] {
        assert!(listed(&url, nothing).await.is_empty(), "{nothing}");
    }
    assert_eq!(listed(&url, "decisions").await.len(), handed, "one row for each");
    drop(running);
    ok(&["verify", "--config", &config]);
    servers.clean().await;
}
