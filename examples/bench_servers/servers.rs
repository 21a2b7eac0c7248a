//! The two servers, and what the measurements have there.

use std::sync::Arc;
use std::time::Instant;

use lapin::options::{ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Channel, Connection, ConnectionProperties};
use mongodb::{Client, Database};
use syncline::app::SystemClock;
use syncline::backends::mongodb::{MongoStore, Options};
use syncline::backends::rabbitmq::{Address, Options as RabbitOptions, RabbitBroker};
use syncline::domain::ids::SystemName;

use crate::machine;

/// Who takes part: the first one says everything, the others are sent it.
pub const SYSTEMS: [&str; 3] = ["bms", "oem", "crm"];

/// Where they are, and the name of queues and database.
pub struct Servers {
    pub amqp: String,
    pub mongodb: String,
    pub name: String,
}

impl Servers {
    pub fn new_name() -> String {
        format!("bench-{}", uuid::Uuid::now_v7().simple())
    }

    pub fn named(name: &str) -> Self {
        let address = |variable: &str| std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; see scripts/services"));
        Self { amqp: address("SYNCLINE_TEST_AMQP_URL"), mongodb: address("SYNCLINE_TEST_MONGODB_URL"), name: name.to_owned() }
    }

    pub async fn store(&self) -> MongoStore {
        MongoStore::open(&self.mongodb, &self.name, Options::default()).await.unwrap()
    }

    pub async fn database(&self, name: &str) -> Database {
        Client::with_uri_str(&self.mongodb).await.unwrap().database(name)
    }

    pub async fn broker(&self) -> Arc<RabbitBroker> {
        let address = Address::parse(&self.amqp).unwrap();
        let mut options = RabbitOptions::new(address, &self.name, Arc::new(SystemClock)).unwrap();
        options.systems = SYSTEMS[1..].iter().map(|name| SystemName::new(*name).unwrap()).collect();
        Arc::new(RabbitBroker::open(options).await.unwrap())
    }

    /// A channel whose messages are confirmed.
    pub async fn channel(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.amqp, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        (connection, channel)
    }

    pub async fn clean(&self) {
        for name in [self.name.clone(), format!("{}-bare", self.name)] {
            self.database(&name).await.drop().await.unwrap();
        }
        let (connection, channel) = self.channel().await;
        let systems = SYSTEMS.map(|system| format!("updates.{system}"));
        let bare = ["bare.in", "bare.oem", "bare.crm"].map(str::to_owned);
        for queue in ["orchestrator".to_owned(), "dead".to_owned()].into_iter().chain(systems).chain(bare) {
            let _ = channel.queue_delete(format!("{}.{queue}", self.name).as_str().into(), QueueDeleteOptions::default()).await;
        }
        for exchange in ["inbound", "outbound", "dead", "bare.outbound"] {
            let _ = channel.exchange_delete(format!("{}.{exchange}", self.name).as_str().into(), ExchangeDeleteOptions::default()).await;
        }
        let _ = connection.close(200, "done".into()).await;
    }
}

/// What is being measured.
pub struct Measuring {
    began: Instant,
    busy: f64,
}

/// What was measured.
pub struct Measured {
    /// Updates a second.
    pub rate: f64,
    /// Processor time of an update in microseconds, of all programs together.
    pub cost: f64,
}

impl Measuring {
    pub fn begin() -> Self {
        Self { began: Instant::now(), busy: machine::busy() }
    }

    pub fn end(self, updates: u64) -> Measured {
        let rate = updates as f64 / self.began.elapsed().as_secs_f64();
        Measured { rate, cost: (machine::busy() - self.busy) * 1e6 / updates as f64 }
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} updates/s, {:.0} us of processor time each, all programs together", self.rate, self.cost)
    }
}

/// Times in microseconds, as it is said of them.
pub fn quantiles(mut took: Vec<i64>) -> String {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    format!("p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, worst {:.1} ms", at(0.5), at(0.95), at(0.99), at(1.0))
}
