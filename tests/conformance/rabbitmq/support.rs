//! A real server, looked at from the other side: as an adapter, and as the one who runs it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use syncline::app::SystemClock;
use syncline::backends::rabbitmq::{Address, Options, RabbitBroker};
use syncline::ports::broker::{Broker, Delivery};
use syncline::ports::testkit::{BrokerKit, sample};

/// Longest wait for something that must happen.
pub const LONG: Duration = Duration::from_secs(30);

/// The server to test with; `None`, said aloud, if there is none. Where tests must not be skipped there has to be one.
pub fn url() -> Option<String> {
    match std::env::var("SYNCLINE_TEST_AMQP_URL") {
        Ok(url) if !url.is_empty() => Some(url),
        Ok(_) | Err(_) => {
            let why = "SYNCLINE_TEST_AMQP_URL names no RabbitMQ server; scripts/services up starts one";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

/// Waits until something is so.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Exchanges and queues of one test, taken away at its end.
#[derive(Debug)]
pub struct Site {
    pub url: String,
    pub prefix: String,
}

impl Site {
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), prefix: format!("test-{}", uuid::Uuid::now_v7()) }
    }

    /// A new place at the server, if there is one.
    pub fn any() -> Option<Self> {
        url().map(|url| Self::new(&url))
    }

    pub fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    pub fn options(&self) -> Options {
        self.options_at(&self.url)
    }

    pub fn options_at(&self, url: &str) -> Options {
        Options::new(Address::parse(url).unwrap(), &self.prefix, Arc::new(SystemClock)).unwrap()
    }

    pub async fn open(&self) -> RabbitBroker {
        RabbitBroker::open(self.options()).await.unwrap()
    }

    /// With the queues of these systems.
    pub async fn open_for(&self, systems: &[&str]) -> RabbitBroker {
        let mut options = self.options();
        options.systems = systems.iter().map(|name| sample::system(name)).collect();
        RabbitBroker::open(options).await.unwrap()
    }

    pub async fn channel(&self) -> Peer {
        Peer::connect(&self.url).await
    }

    /// Publishes as an adapter does: confirmed. False: no queue took it.
    pub async fn send(&self, routing_key: &str, body: &[u8]) -> bool {
        self.channel().await.publish(&self.name("inbound"), routing_key, body, BasicProperties::default()).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let (url, prefix) = (self.url.clone(), self.prefix.clone());
        // A test that fails cleans up, too; its own runtime may be ending.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let peer = Peer::connect(&url).await;
                let queues = ["orchestrator", "dead", "orchestrator.0", "orchestrator.1", "orchestrator.2", "orchestrator.3"];
                let systems = ["updates.oem", "updates.crm", "updates.bms"];
                for name in queues.iter().chain(&systems) {
                    peer.delete_queue(&format!("{prefix}.{name}")).await;
                }
                for name in ["inbound", "outbound", "dead", "partitions", "events"] {
                    let name = format!("{prefix}.{name}");
                    let _ = peer.0.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await;
                }
            });
        });
        let _ = cleaning.join();
    }
}

/// Someone else at the server.
pub struct Peer(pub Channel, #[expect(dead_code, reason = "the channel lives as long as it")] Connection);

impl Peer {
    pub async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self(channel, connection)
    }

    pub async fn publish(&self, exchange: &str, routing_key: &str, body: &[u8], properties: BasicProperties) -> bool {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publishing = self.0.basic_publish(exchange.into(), routing_key.into(), options, body, properties.with_delivery_mode(2));
        match publishing.await.unwrap().await.unwrap() {
            Confirmation::Ack(returned) => returned.is_none(),
            other => panic!("{other:?}"),
        }
    }

    /// Takes messages from a queue until so many have come.
    pub async fn take(&self, queue: &str, count: usize) -> Vec<lapin::message::Delivery> {
        let mut taken = Vec::new();
        let mut looks = 0;
        while taken.len() < count {
            match self.0.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap() {
                Some(got) => taken.push(got.delivery),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            looks += 1;
            assert!(looks < 1000 + count, "only {} of {count} messages are in {queue}", taken.len());
        }
        taken
    }

    pub async fn waiting(&self, queue: &str) -> u32 {
        self.seen(queue).await.message_count()
    }

    pub async fn consumers(&self, queue: &str) -> u32 {
        self.seen(queue).await.consumer_count()
    }

    async fn seen(&self, queue: &str) -> lapin::Queue {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.0.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap()
    }

    pub async fn delete_queue(&self, queue: &str) {
        self.0.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    pub async fn bind(&self, queue: &str, exchange: &str, key: &str) {
        let options = lapin::options::QueueBindOptions::default();
        self.0.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await.unwrap();
    }

    pub async fn delete_exchange(&self, exchange: &str) {
        self.0.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
    }

    pub async fn unbind(&self, queue: &str, exchange: &str, key: &str) {
        self.0.queue_unbind(queue.into(), exchange.into(), key.into(), FieldTable::default()).await.unwrap();
    }

    pub async fn declare_queue(&self, queue: &str) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.0.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
    }
}

pub fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8(delivery.body.clone()).unwrap()).collect()
}

pub fn tags(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.tag).collect()
}

/// Receives so many.
pub async fn receive(broker: &dyn Broker, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        let some = broker.receive(count - all.len(), LONG).await.unwrap();
        assert!(!some.is_empty(), "only {} of {count} came", all.len());
        all.extend(some);
    }
    all
}

/// Opens place after place for the suite.
pub struct Kit {
    url: String,
    site: Mutex<Option<Arc<Site>>>,
}

impl Kit {
    pub fn new(url: String) -> Self {
        Self { url, site: Mutex::new(None) }
    }

    fn site(&self) -> Arc<Site> {
        self.site.lock().unwrap().clone().unwrap()
    }
}

#[async_trait]
impl BrokerKit for Kit {
    async fn fresh(&self) -> Arc<dyn Broker> {
        let site = Arc::new(Site::new(&self.url));
        *self.site.lock().unwrap() = Some(site.clone());
        Arc::new(site.open().await)
    }

    async fn reopen(&self, broker: Arc<dyn Broker>) -> Arc<dyn Broker> {
        drop(broker);
        Arc::new(self.site().open().await)
    }

    async fn send(&self, body: &[u8]) {
        assert!(self.site().send("bms.device.D1", body).await, "a queue takes it");
    }

    async fn take(&self, system: &str, count: usize) -> Vec<Vec<u8>> {
        let site = self.site();
        let taken = site.channel().await.take(&site.name(&format!("updates.{system}")), count).await;
        taken.into_iter().map(|delivery| delivery.data).collect()
    }
}
