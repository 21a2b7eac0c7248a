//! An orchestrator, two systems, and a way to look at all of them.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use syncline::prelude::*;
use syncline_bms::{Bms, Device};
use syncline_oem::{Device as OemDevice, Oem};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Waits until something holds.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.unwrap_or_else(|_| panic!("never came: {what}"))
}

pub fn fields(text: &str) -> Vec<(String, String)> {
    text.split(", ").filter_map(|part| part.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

/// Makes a device in the building; returns its id.
pub fn bms_device(bms: &Bms, text: &str) -> String {
    bms.find_or_add::<Device>(&syncline_bms::database::checked::<Device>(&fields(text)).unwrap()).unwrap()
}

/// Makes a device in the portal; returns its id.
pub fn oem_device(oem: &Oem, text: &str) -> String {
    oem.find_or_add::<OemDevice>(&syncline_oem::database::checked::<OemDevice>(&fields(text)).unwrap()).unwrap()
}

/// An adapter at work.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub fn bms(bms: &Bms, url: &str) -> Self {
        let (stop, told) = oneshot::channel();
        let (bms, url) = (bms.clone(), url.to_owned());
        Self { stop, task: tokio::spawn(async move { syncline_bms::run(&bms, &url, async { drop(told.await) }).await }) }
    }

    pub fn oem(oem: &Oem, url: &str) -> Self {
        let (stop, told) = oneshot::channel();
        let (oem, url) = (oem.clone(), url.to_owned());
        Self { stop, task: tokio::spawn(async move { syncline_oem::run(&oem, &url, async { drop(told.await) }).await }) }
    }

    pub async fn stop(self) {
        let _ = self.stop.send(());
        let ended = tokio::time::timeout(Duration::from_secs(30), self.task).await.expect("the adapter stops");
        ended.expect("no panic").expect("no error");
    }
}

/// The orchestrator and a folder for everyone's files.
pub struct Broker {
    pub url: String,
    orchestrator: Orchestrator,
    folder: TempDir,
}

impl Broker {
    pub async fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::from_toml(include_str!("../../config/demo.toml"), "demo.toml").unwrap();
        config.store.path = folder.path().join("data");
        config.http.listen = address;
        let orchestrator = Syncline::new(config).serve().await.unwrap();
        let url = format!("http://{}", orchestrator.address().unwrap());
        Self { url, orchestrator, folder }
    }

    pub fn bms(&self) -> Bms {
        Bms::open(self.folder.path().join("bms.db")).unwrap()
    }

    pub fn oem(&self) -> Oem {
        Oem::open(self.folder.path().join("oem.db")).unwrap()
    }

    /// `GET`; the bare protocol is enough here.
    async fn get(&self, path: &str) -> (u16, Value) {
        let mut stream = tokio::net::TcpStream::connect(self.orchestrator.address().unwrap()).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// The record that both of these are.
    pub async fn meets(&self, one: &str, other: &str) -> Value {
        until("the two as one record", async || {
            let (first, second) =
                (self.get(&format!("/v1/entities/device/{one}")).await, self.get(&format!("/v1/entities/device/{other}")).await);
            (first.0 == 200 && second.0 == 200 && first.1["id"] == second.1["id"]).then_some(first.1)
        })
        .await
    }

    pub async fn record(&self, id: &str) -> Value {
        self.get(&format!("/v1/entities/device/{id}")).await.1
    }

    pub async fn all(&self, entity_type: &str) -> Vec<Value> {
        self.get(&format!("/v1/entities/{entity_type}")).await.1["items"].as_array().unwrap().clone()
    }

    pub async fn decisions(&self, system: &str) -> Vec<Value> {
        self.get(&format!("/v1/decisions?system={system}")).await.1["items"].as_array().unwrap().clone()
    }

    pub async fn dead_letters(&self) -> Value {
        self.get("/v1/dead-letters").await.1["items"].clone()
    }

    /// Waits until both systems hold what they should and said so: nothing to decide, to send, or to be answered.
    pub async fn quiet(&self) {
        until("rest", async || {
            let idle = self.get("/v1/status").await.1["idle"] == true;
            let mut links = self.all("device").await;
            links.extend(self.all("sensor").await);
            let mut links = links.iter().flat_map(|record| record["links"].as_array().unwrap());
            let settled = links.all(|link| ["idle", "applied"].contains(&link["delivery"].as_str().unwrap()));
            (idle && settled).then_some(())
        })
        .await;
    }

    pub async fn stop(self) {
        self.orchestrator.stop().await.unwrap();
    }
}
