//! RabbitMQ and MongoDB, each with names of the scene's own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::Value;
use syncline::backends::mongodb::{self, MongoStore};
use syncline::backends::rabbitmq::{self, Address, RabbitBroker};
use syncline::engine::settings::Settings;
use syncline::ports::broker::{Broker, Inbox, LocalQueues};
use syncline::ports::clock::Clock;
use syncline::ports::store::Store;

use crate::ground::Ground;
use crate::servers::Servers;

/// What an orchestrator runs on.
pub struct Backends {
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    pub inbox: Arc<dyn Inbox>,
    pub queues: Option<Arc<dyn LocalQueues>>,
}

/// Where a scene takes place.
pub struct Place(Servers);

impl Place {
    /// Messages come one by one; which of them share a batch is up to chance.
    pub const TAKES_SEVERAL_AT_ONCE: bool = false;

    /// Without servers the scene ends here, said aloud: the story of nothing can't be compared.
    pub fn new() -> Self {
        Self(Servers::any().unwrap_or_else(|| std::process::exit(0)))
    }

    pub async fn open(&self, _: &Path, clock: Arc<dyn Clock>, settings: &Settings) -> Backends {
        let store = MongoStore::open(&self.0.mongodb, &self.0.name, mongodb::Options::default()).await.unwrap();
        let mut options = rabbitmq::Options::new(Address::parse(&self.0.amqp).unwrap(), &self.0.name, clock).unwrap();
        options.push_updates = settings.rules.push_updates;
        options.systems = settings.rules.systems.keys().cloned().collect();
        let broker = Arc::new(RabbitBroker::open(options).await.unwrap());
        Backends { store: Arc::new(store), broker: broker.clone(), inbox: broker, queues: None }
    }

    pub async fn ground(&self, _: SocketAddr) -> Box<dyn Ground> {
        Box::new(self.channel().await)
    }

    async fn channel(&self) -> OverAmqp {
        let connection = Connection::connect(&self.0.amqp, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        OverAmqp { connection, channel: tokio::sync::Mutex::new(channel), prefix: self.0.name.clone() }
    }

    /// Takes the scene's queues, exchanges and database away.
    pub async fn clean(&self) {
        self.0.clean().await;
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
            // A set goes the way of its first update.
            let named = if body["updates"].is_array() { &body["updates"][0] } else { &body };
            let text = |field: &str| named[field].as_str().map_or_else(|| named[field].to_string(), str::to_owned);
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
