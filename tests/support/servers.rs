//! Real servers, with names of the test's own.

use std::time::Duration;

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};
use syncline::backends::mongodb::{MongoStore, Options};

/// The systems tests have queues for.
const SYSTEMS: [&str; 15] =
    ["a", "b", "bms", "c", "cafm", "crm", "erp", "geonames", "hr", "iso", "legacy", "oem", "python", "shop", "survey"];

/// RabbitMQ and MongoDB.
#[derive(Clone, Debug)]
pub struct Servers {
    pub amqp: String,
    pub mongodb: String,
    /// Prefix of queues, name of the database.
    pub name: String,
}

/// A server's address. Where tests must not be skipped there has to be one.
fn server(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    assert!(url.is_some() || std::env::var_os("CI").is_none(), "{variable} is not set; scripts/services up starts a server");
    url
}

impl Servers {
    /// Both, if there are any; else it is said why not.
    pub fn any() -> Option<Self> {
        let (Some(amqp), Some(mongodb)) = (server("SYNCLINE_TEST_AMQP_URL"), server("SYNCLINE_TEST_MONGODB_URL")) else {
            eprintln!("skipped: SYNCLINE_TEST_AMQP_URL and SYNCLINE_TEST_MONGODB_URL name no servers; scripts/services up starts some");
            return None;
        };
        Some(Self { amqp, mongodb, name: format!("test-{}", uuid::Uuid::now_v7().simple()) })
    }

    /// Takes the queues, exchanges and the database of this name away.
    pub async fn clean(&self) {
        let Self { amqp, mongodb, name } = self;
        if let Ok(store) = MongoStore::open(mongodb, name, Options::default()).await {
            let _ = store.drop_database().await;
        }
        let connection = Connection::connect(amqp, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        for queue in ["orchestrator".to_owned(), "dead".to_owned()].into_iter().chain(SYSTEMS.map(|name| format!("updates.{name}"))) {
            let _ = channel.queue_delete(format!("{name}.{queue}").as_str().into(), QueueDeleteOptions::default()).await;
        }
        for exchange in ["inbound", "outbound", "dead"] {
            let _ = channel.exchange_delete(format!("{name}.{exchange}").as_str().into(), ExchangeDeleteOptions::default()).await;
        }
        // What was not there to delete is no matter.
        let _ = tokio::time::timeout(Duration::from_secs(5), connection.close(200, "done".into())).await;
    }
}
