//! The program as a process of its own, the systems' databases, and a look at all of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Map, Value};
use syncline_bms::database::checked;
use syncline_bms::{Bms, Device, Sensor};
use syncline_oem::{Device as OemDevice, Oem, Sensor as OemSensor};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::servers::Servers;

/// A number from the environment.
pub fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Chance that repeats (xorshift64*, Vigna 2016).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

/// An address nobody listens at.
pub fn free_url() -> String {
    format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(within, look).await.unwrap_or_else(|_| panic!("never came: {what}"))
}

/// An adapter at work.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub async fn stop(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(Duration::from_secs(60), self.task).await.expect("it stops").expect("no panic").expect("no error");
    }
}

/// Everyone's files, and where the orchestrator listens.
pub struct World {
    folder: TempDir,
    config: PathBuf,
    /// Where adapters connect.
    pub broker: String,
    /// The HTTP edge.
    pub url: String,
    pub http: reqwest::Client,
}

impl World {
    /// Everything in one process and one file.
    pub fn new(more: &str) -> Self {
        Self::on(None, more)
    }

    /// On servers, if some are given.
    pub fn on(servers: Option<&Servers>, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = free_url();
        let config = folder.path().join("syncline.toml");
        let rules = include_str!("../../config/demo.toml");
        let brake = "push_updates = true\ncreate_brake = { count = 1000000, window = \"1m\" }\n\
                     delete_brake = { count = 1000000, percent = 100, window = \"1m\" }";
        let mut rules = format!("{}\n{more}", rules.replace("push_updates = true", brake));
        if let Some(Servers { amqp, .. }) = servers {
            // Every message has to say who published it.
            let user = reqwest::Url::parse(amqp).unwrap().username().to_owned();
            rules = rules.replace("receipts = \"required\"", &format!("amqp_user = {user:?}\nreceipts = \"required\""));
        }
        let (places, broker) = match servers {
            None => (format!("[store]\npath = {:?}\n", folder.path().join("data")), url.clone()),
            Some(Servers { amqp, mongodb, name }) => (
                format!(
                    "[broker]\nkind = \"rabbitmq\"\nurl = {amqp:?}\nprefix = {name:?}\nrequire_user_id = true\n[store]\nkind = \"mongodb\"\nurl = {mongodb:?}\ndatabase = {name:?}\n"
                ),
                format!("{amqp}#{name}"),
            ),
        };
        std::fs::write(&config, format!("{rules}\n{places}")).unwrap();
        Self { folder, config, broker, url, http: reqwest::Client::new() }
    }

    /// Starts the program; returns once it is ready.
    pub async fn start(&self) -> Child {
        self.start_at(&self.url).await
    }

    /// Starts it with its HTTP edge at another place.
    pub async fn start_at(&self, url: &str) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        command
            .args(["run", "--config"])
            .arg(&self.config)
            .env("SYNCLINE__HTTP__LISTEN", &url["http://".len()..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut child = command.spawn().unwrap();
        let ready = async || {
            let answer = self.http.get(format!("{url}/readyz")).send().await;
            answer.is_ok_and(|answer| answer.status().is_success()).then_some(())
        };
        let came = tokio::time::timeout(Duration::from_secs(60), until("ready", Duration::MAX, ready)).await;
        if came.is_err() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            panic!("it is not ready; ended: {:?}; the last lines, newest first: {last:#?}", child.try_wait().unwrap());
        }
        child
    }

    pub fn verify(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        let output = command.args(["verify", "--config"]).arg(&self.config).output().unwrap();
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }

    pub fn bms(&self) -> Bms {
        Bms::open(self.folder.path().join("bms.db")).unwrap()
    }

    pub fn oem(&self) -> Oem {
        Oem::open(self.folder.path().join("oem.db")).unwrap()
    }

    pub fn run_bms(&self, bms: &Bms) -> Running {
        let (stop, told) = oneshot::channel();
        let (bms, url) = (bms.clone(), self.broker.clone());
        Running { stop, task: tokio::spawn(async move { syncline_bms::run(&bms, &url, async { drop(told.await) }).await }) }
    }

    pub fn run_oem(&self, oem: &Oem) -> Running {
        let (stop, told) = oneshot::channel();
        let (oem, url) = (oem.clone(), self.broker.clone());
        Running { stop, task: tokio::spawn(async move { syncline_oem::run(&oem, &url, async { drop(told.await) }).await }) }
    }

    /// The answer, once there is one: a server may be away.
    async fn look(&self, path: &str) -> Option<Value> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        if answer.status() == 503 { None } else { Some(answer.error_for_status().unwrap().json().await.unwrap()) }
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path}: {body}");
        body
    }

    /// Every row of a list.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let mut page = self.get(&format!("{path}{mark}limit=1000{cursor}")).await;
            rows.append(page["items"].as_array_mut().unwrap());
            let Some(next) = page["next"].as_str() else { return rows };
            cursor = format!("&cursor={next}");
        }
    }

    /// Waits until everybody holds what they should and has said so, and the adapters have reported all they did.
    pub async fn quiet(&self, bms: &Bms, oem: &Oem) {
        until("rest", Duration::from_secs(300), async || {
            let fed = bms.changes().unwrap().is_empty() && oem.changes().unwrap().is_empty();
            if !fed || self.look("/v1/status").await?["idle"] != true {
                return None;
            }
            let systems = self.look("/v1/systems").await?;
            let open = |row: &Value| {
                ["pending", "unanswered", "failing", "queued"].iter().map(|field| row[field].as_u64().unwrap_or(0)).sum::<u64>()
            };
            let open: u64 = systems["items"].as_array().unwrap().iter().map(open).sum();
            // Nothing came in between.
            let rests = open == 0 && bms.changes().unwrap().is_empty() && oem.changes().unwrap().is_empty();
            (rests && self.look("/v1/status").await?["idle"] == true).then_some(())
        })
        .await;
    }

    /// Every record as a system would get it, by its native id, next to what its database has.
    pub async fn assert_equal(&self, system: &str, databases: &BTreeMap<String, Map<String, Value>>) {
        let mut shown = BTreeMap::new();
        for entity_type in ["device", "sensor"] {
            for record in self.all(&format!("/v1/entities/{entity_type}")).await {
                let link = record["links"].as_array().unwrap().iter().find(|link| link["system"] == system);
                let link = link.unwrap_or_else(|| panic!("{system} lacks {record}"));
                let mut model = self.get(&format!("/v1/systems/{system}/view/{entity_type}/{}", record["id"].as_str().unwrap())).await;
                let model = model.as_object_mut().map(std::mem::take).unwrap();
                shown.insert(link["native_id"].as_str().unwrap().to_owned(), said(model));
            }
        }
        assert_eq!(shown, *databases, "{system}");
    }
}

/// Null and absent mean the same.
fn said(mut model: Map<String, Value>) -> Map<String, Value> {
    model.retain(|_, value| !value.is_null());
    model
}

fn rows<T: serde::Serialize>(rows: Vec<T>) -> impl Iterator<Item = (String, Map<String, Value>)> {
    rows.into_iter().map(|row| {
        let Value::Object(row) = serde_json::to_value(row).unwrap() else { unreachable!() };
        (row["id"].as_str().unwrap().to_owned(), said(row))
    })
}

/// What the building's database has, by native id.
pub fn of_bms(bms: &Bms) -> BTreeMap<String, Map<String, Value>> {
    rows(bms.list::<Device>().unwrap()).chain(rows(bms.list::<Sensor>().unwrap())).collect()
}

/// What the portal's database has that it shares.
pub fn of_oem(oem: &Oem) -> BTreeMap<String, Map<String, Value>> {
    rows(oem.list::<OemDevice>().unwrap()).chain(rows(oem.list::<OemSensor>().unwrap())).collect()
}

pub fn bms_device(bms: &Bms, serial: &str) -> String {
    let fields = [("serial".to_owned(), serial.to_owned())];
    bms.find_or_add::<Device>(&checked::<Device>(&fields).unwrap()).unwrap()
}

pub fn oem_device(oem: &Oem, serial: &str) -> String {
    let fields = [("serial_no".to_owned(), serial.to_owned())];
    oem.find_or_add::<OemDevice>(&syncline_oem::database::checked::<OemDevice>(&fields).unwrap()).unwrap()
}
