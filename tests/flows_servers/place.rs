//! RabbitMQ and MongoDB, each with names of the scene's own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::Value;
use syncline::app::SystemClock;
use syncline::backends::mongodb::{self, MongoStore};
use syncline::backends::rabbitmq::{self, Address, RabbitBroker};
use syncline::engine::settings::Settings;
use syncline::ports::broker::{Broker, Inbox, LocalQueues};
use syncline::ports::clock::Clock;
use syncline::ports::store::Store;

use crate::ground::Ground;

/// What an orchestrator runs on.
pub struct Backends {
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    pub inbox: Arc<dyn Inbox>,
    pub queues: Option<Arc<dyn LocalQueues>>,
}

/// Where a scene takes place.
pub struct Place {
    amqp: String,
    mongodb: String,
    name: String,
}

const SYSTEMS: [&str; 12] = ["a", "b", "bms", "c", "cafm", "crm", "erp", "hr", "legacy", "oem", "shop", "survey"];

/// A server's address. Where tests must not be skipped there has to be one.
fn server(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    assert!(url.is_some() || std::env::var_os("CI").is_none(), "{variable} is not set; scripts/services up starts a server");
    url
}

impl Place {
    /// Without servers the scene ends here, said aloud: the story of nothing can't be compared.
    pub fn new() -> Self {
        let (Some(amqp), Some(mongodb)) = (server("SYNCLINE_TEST_AMQP_URL"), server("SYNCLINE_TEST_MONGODB_URL")) else {
            eprintln!("skipped: SYNCLINE_TEST_AMQP_URL and SYNCLINE_TEST_MONGODB_URL name no servers; scripts/services up starts some");
            std::process::exit(0);
        };
        Self { amqp, mongodb, name: format!("flow-{}", uuid::Uuid::now_v7().simple()) }
    }

    pub async fn open(&self, _: &Path, _: Arc<dyn Clock>, settings: &Settings) -> Backends {
        let store = MongoStore::open(&self.mongodb, &self.name, mongodb::Options::default()).await.unwrap();
        let mut options = rabbitmq::Options::new(Address::parse(&self.amqp).unwrap(), &self.name, Arc::new(SystemClock)).unwrap();
        options.push_updates = settings.rules.push_updates;
        options.systems = settings.rules.systems.keys().cloned().collect();
        let broker = Arc::new(RabbitBroker::open(options).await.unwrap());
        Backends { store: Arc::new(store), broker: broker.clone(), inbox: broker, queues: None }
    }

    pub async fn ground(&self, _: SocketAddr) -> Box<dyn Ground> {
        Box::new(self.channel().await)
    }

    async fn channel(&self) -> OverAmqp {
        let connection = Connection::connect(&self.amqp, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        OverAmqp { connection, channel: tokio::sync::Mutex::new(channel), prefix: self.name.clone() }
    }

    /// Takes the scene's queues, exchanges and database away.
    pub async fn clean(&self) {
        if let Ok(store) = MongoStore::open(&self.mongodb, &self.name, mongodb::Options::default()).await {
            let _ = store.drop_database().await;
        }
        let peer = self.channel().await;
        let channel = peer.channel.lock().await;
        for queue in ["orchestrator".to_owned(), "dead".to_owned()].into_iter().chain(SYSTEMS.map(|name| format!("updates.{name}"))) {
            let _ = channel.queue_delete(format!("{}.{queue}", self.name).as_str().into(), QueueDeleteOptions::default()).await;
        }
        for exchange in ["inbound", "outbound", "dead"] {
            let _ = channel.exchange_delete(format!("{}.{exchange}", self.name).as_str().into(), ExchangeDeleteOptions::default()).await;
        }
    }
}

/// As an adapter that speaks AMQP.
struct OverAmqp {
    connection: Connection,
    channel: tokio::sync::Mutex<Channel>,
    prefix: String,
}

#[async_trait]
impl Ground for OverAmqp {
    async fn say(&self, bodies: Vec<Value>) {
        let channel = self.channel.lock().await;
        for body in bodies {
            let text = |field: &str| body[field].as_str().map_or_else(|| body[field].to_string(), str::to_owned);
            let key = format!("{}.{}.{}", text("system"), text("type"), text("native_id"));
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
            let bytes = serde_json::to_vec(&body).unwrap();
            let exchange = format!("{}.inbound", self.prefix);
            let published =
                channel.basic_publish(exchange.as_str().into(), key.as_str().into(), options, &bytes, properties).await.unwrap();
            assert!(matches!(published.await.unwrap(), Confirmation::Ack(None)), "nobody took {body}");
        }
    }

    async fn fetch(&self, system: &str) -> Vec<Value> {
        let mut channel = self.channel.lock().await;
        let (queue, mut found) = (format!("{}.updates.{system}", self.prefix), Vec::new());
        loop {
            match channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true }).await {
                Ok(Some(got)) => found.push(serde_json::from_slice(&got.delivery.data).unwrap()),
                Ok(None) => return found,
                Err(_) => {
                    // There is no such queue: nothing was ever sent there. The server has closed the channel.
                    *channel = self.connection.create_channel().await.unwrap();
                    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
                    return found;
                }
            }
        }
    }
}
