//! The same messages and the same documents by hand: no logic, no engine.
//!
//! Takes what the engine has left: its records, the decisions about the changes, and the messages about them. One task consumes,
//! writes a transaction and acknowledges; another one publishes, waits for the confirmations and notes them.

use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, Consumer, ExchangeKind};
use mongodb::bson::{Document, doc};
use mongodb::options::WriteConcern;
use mongodb::{ClientSession, Database};
use syncline::backends::mongodb::{MongoStore, Options};
use tokio::sync::{mpsc, watch};

use crate::feeding::{self, Pace};
use crate::servers::{Measured, Measuring, SYSTEMS, Servers};
use crate::workload::{message, shuffled};

/// Updates of one transaction: as many as the engine takes at most.
pub const GROUP: usize = 500;

async fn queue(channel: &Channel, name: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), options, arguments).await.unwrap();
    channel.queue_purge(name.into(), QueuePurgeOptions::default()).await.unwrap();
}

/// A message with its properties.
pub type Message = (BasicProperties, Vec<u8>);

/// What a message that lasts says of itself.
pub fn durable_message() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into())
}

/// The loop's own queue.
pub fn inbox(servers: &Servers) -> String {
    format!("{}.bare.in", servers.name)
}

/// Publishes messages, each under its key, and waits until the server has all of them.
pub async fn publish(channel: &Channel, exchange: &str, messages: impl Iterator<Item = (String, Message)>) {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut confirms = Vec::new();
    for (key, (properties, body)) in messages {
        confirms.push(channel.basic_publish(exchange.into(), key.into(), options, &body, properties).await.unwrap());
    }
    for confirm in join_all(confirms).await {
        assert!(matches!(confirm.unwrap(), Confirmation::Ack(None)), "no queue takes what is published to {exchange}");
    }
}

/// Messages the engine has sent a system; they are taken out of its queue.
async fn messages(servers: &Servers, channel: &Channel, system: &str, count: u64) -> Vec<Message> {
    let queue = format!("{}.updates.{system}", servers.name);
    let mut messages = Vec::new();
    for _ in 0..count {
        let got = channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true }).await.unwrap();
        let delivery = got.expect("the engine comes first").delivery;
        messages.push((delivery.properties, delivery.data));
    }
    messages
}

/// An exchange with a queue for each system, as the engine has one.
async fn outbound(servers: &Servers, channel: &Channel) -> String {
    let exchange = format!("{}.bare.outbound", servers.name);
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, durable, FieldTable::default()).await.unwrap();
    for system in &SYSTEMS[1..] {
        let name = format!("{}.bare.{system}", servers.name);
        queue(channel, &name).await;
        let bind = channel.queue_bind(
            name.as_str().into(),
            exchange.as_str().into(),
            (*system).into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bind.await.unwrap();
    }
    exchange
}

/// The documents the engine has written for the changes.
async fn documents(database: &Database, count: u64) -> (Vec<Document>, Vec<Document>) {
    let mut records = Vec::new();
    let mut found = database.collection::<Document>("canonical").find(doc! {}).limit(count as i64).await.unwrap();
    while found.advance().await.unwrap() {
        records.push(found.deserialize_current().unwrap());
    }
    let mut decisions = Vec::new();
    let changes = doc! {"source_system": "bms", "version_after": {"$gt": 1}};
    let mut found = database.collection::<Document>("decisions").find(changes).limit(count as i64).await.unwrap();
    while found.advance().await.unwrap() {
        decisions.push(found.deserialize_current().unwrap());
    }
    assert_eq!((records.len() as u64, decisions.len() as u64), (count, count), "the engine comes first");
    // The engine's messages are of records in no order. Side by side as they are stored, they would be written with less work.
    let records = (0..count).map(|i| records[shuffled(i, count) as usize].clone()).collect();
    (records, decisions)
}

/// Rows of what came before the changes: what is written goes into collections and indexes as large as the engine's.
async fn copy_earlier(from: &Database, to: &Database) {
    let first_load = doc! {"version_after": {"$lte": 1}};
    let mut found = from.collection::<Document>("decisions").find(first_load).await.unwrap().ready_chunks(1000);
    while let Some(page) = found.next().await {
        let page: Vec<Document> = page.into_iter().map(Result::unwrap).collect();
        to.collection::<Document>("decisions").insert_many(page).await.unwrap();
    }
}

/// A record as it was before the change. A server writes nothing where it is told to replace a document by itself.
fn earlier(record: &Document) -> Document {
    let mut earlier = record.clone();
    earlier.insert("revision", record.get_i64("revision").unwrap() - 1);
    earlier.insert("stamp", 0_i64);
    earlier
}

/// Everything a loop needs; the messages are not in its queue yet.
pub struct Ground {
    /// To consume from, and to settle with.
    channel: Channel,
    connections: [Connection; 2],
    inbox: String,
    database: Database,
    records: Vec<Document>,
    decisions: Vec<Document>,
    /// How many of them are done.
    done: usize,
    /// The ids of what is committed and may be sent.
    hand_over: mpsc::Sender<Vec<String>>,
    /// How many are sent.
    sent: watch::Receiver<usize>,
    sender: tokio::task::JoinHandle<()>,
}

impl Ground {
    pub async fn of(servers: &Servers, updates: u64) -> Self {
        let (records, decisions) = documents(&servers.database(&servers.name).await, updates).await;
        // Collections and indexes as the engine has them.
        let name = format!("{}-bare", servers.name);
        servers.database(&name).await.drop().await.unwrap();
        drop(MongoStore::open(&servers.mongodb, &name, Options::default()).await.unwrap());
        let database = servers.database(&name).await;
        for page in records.chunks(1000) {
            database.collection::<Document>("canonical").insert_many(page.iter().map(earlier)).await.unwrap();
        }
        copy_earlier(&servers.database(&servers.name).await, &database).await;
        let (connection, channel) = servers.channel().await;
        let inbox = inbox(servers);
        queue(&channel, &inbox).await;
        channel.basic_qos(1000, BasicQosOptions::default()).await.unwrap();
        let (hand_over, handed) = mpsc::channel::<Vec<String>>(2);
        let (outgoing, publishing) = servers.channel().await;
        let exchange = outbound(servers, &publishing).await;
        let mut sent = Vec::new();
        for system in &SYSTEMS[1..] {
            sent.push(((*system).to_owned(), messages(servers, &publishing, system, updates).await));
        }
        let (noted, done_sending) = watch::channel(0);
        let sender = tokio::spawn(send(publishing, exchange, sent, servers.database(&name).await, handed, noted));
        let connections = [connection, outgoing];
        Self { channel, connections, inbox, database, records, decisions, done: 0, hand_over, sent: done_sending, sender }
    }

    /// The next of the updates: from the first one that is consumed until all are sent.
    pub async fn pass(&mut self, updates: u64, group: usize) -> Measured {
        let to = self.done + updates as usize;
        for page in inbound(updates).chunks(1000) {
            publish(&self.channel, "", page.iter().map(|message| (self.inbox.clone(), message.clone()))).await;
        }
        let measured = Measuring::begin();
        let consumer = self.consume().await;
        let tag = consumer.tag();
        let mut consumer = consumer.ready_chunks(group);
        while self.done < to {
            let deliveries: Vec<Delivery> = consumer.next().await.unwrap().into_iter().map(Result::unwrap).collect();
            self.work(&deliveries).await;
        }
        self.sent.wait_for(|sent| *sent == to).await.unwrap();
        let measured = measured.end(updates);
        self.channel.basic_cancel(tag, BasicCancelOptions::default()).await.unwrap();
        measured
    }

    /// The same for what another process hands in, a thousand a second: how long each took from its delivery until it was committed
    /// and settled, in microseconds.
    pub async fn steadily(&mut self, servers: &Servers, updates: u64) -> Vec<i64> {
        let to = self.done + updates as usize;
        let mut consumer = self.consume().await;
        let tag = consumer.tag();
        let (arrived, mut waiting) = mpsc::unbounded_channel();
        let stamping = tokio::spawn(async move {
            while let Some(delivery) = consumer.next().await {
                arrived.send((Instant::now(), delivery.unwrap())).unwrap_or(());
            }
        });
        let (mut took, mut some) = (Vec::new(), Vec::new());
        let working = async {
            while self.done < to {
                assert!(waiting.recv_many(&mut some, GROUP).await > 0, "the server went away");
                let (came, deliveries): (Vec<Instant>, Vec<Delivery>) = some.drain(..).unzip();
                self.work(&deliveries).await;
                took.extend(came.iter().map(|came| came.elapsed().as_micros() as i64));
            }
        };
        tokio::join!(working, feeding::apart(servers, feeding::BARE, 0..updates, updates, 1, Pace::Steady));
        self.sent.wait_for(|sent| *sent == to).await.unwrap();
        self.channel.basic_cancel(tag, BasicCancelOptions::default()).await.unwrap();
        stamping.await.unwrap();
        took
    }

    async fn consume(&self) -> Consumer {
        let consume =
            self.channel.basic_consume(self.inbox.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        consume.await.unwrap()
    }

    /// Commits what belongs to these messages, settles them and has it sent.
    async fn work(&mut self, deliveries: &[Delivery]) {
        let part = self.done..self.done + deliveries.len();
        self.done = part.end;
        write(&self.database, &self.records[part.clone()], &self.decisions[part.clone()]).await;
        deliveries.last().unwrap().ack(BasicAckOptions { multiple: true }).await.unwrap();
        let ids = self.records[part].iter().map(|record| record.get_str("_id").unwrap().to_owned()).collect();
        self.hand_over.send(ids).await.unwrap();
    }

    /// Waits until everything is sent.
    pub async fn end(self) {
        drop(self.hand_over);
        self.sender.await.unwrap();
        for connection in self.connections {
            connection.close(200, "done".into()).await.unwrap();
        }
    }
}

fn inbound(updates: u64) -> Vec<Message> {
    (0..updates).map(|n| (durable_message(), message(n, 1))).collect()
}

pub async fn run(servers: &Servers, updates: u64, group: usize) {
    let mut ground = Ground::of(servers, updates).await;
    let what = if group == 1 { "one by one".to_owned() } else { format!("up to {group} a transaction") };
    println!("bare loop, {what}: {}", ground.pass(updates, group).await);
    ground.end().await;
}

async fn begin(database: &Database) -> ClientSession {
    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().write_concern(durable()).await.unwrap();
    session
}

fn durable() -> WriteConcern {
    let mut durable = WriteConcern::majority();
    durable.journal = Some(true);
    durable
}

async fn write(database: &Database, records: &[Document], decisions: &[Document]) {
    let mut session = begin(database).await;
    database.collection::<Document>("decisions").insert_many(decisions).session(&mut session).await.unwrap();
    let replace = |record: &Document| doc! {"q": {"_id": record.get("_id")}, "u": record.clone()};
    let replaces: Vec<Document> = records.iter().map(replace).collect();
    database.run_command(doc! {"update": "canonical", "updates": replaces}).session(&mut session).await.unwrap();
    let owed =
        || SYSTEMS[1..].iter().map(|system| doc! {"number": 0, "system": *system, "rev": 2_i64, "delivered": 1_i64}).collect::<Vec<_>>();
    let stamp = records.len() as i64;
    let rows: Vec<Document> =
        records.iter().map(|record| doc! {"_id": record.get("_id"), "position": 1_i64, "stamp": stamp, "rows": owed()}).collect();
    database.collection::<Document>("owed").insert_many(rows).session(&mut session).await.unwrap();
    session.commit_transaction().await.unwrap();
}

/// Two messages for each record, confirmed, and then what was owed of it goes.
async fn send(
    channel: Channel,
    exchange: String,
    messages: Vec<(String, Vec<Message>)>,
    database: Database,
    mut handed: mpsc::Receiver<Vec<String>>,
    sent: watch::Sender<usize>,
) {
    let mut done = 0;
    while let Some(records) = handed.recv().await {
        for (system, messages) in &messages {
            let part = messages[done..done + records.len()].iter();
            publish(&channel, &exchange, part.map(|message| (system.clone(), message.clone()))).await;
        }
        done += records.len();
        let owed = database.collection::<Document>("owed");
        owed.delete_many(doc! {"_id": {"$in": records}}).write_concern(durable()).await.unwrap();
        sent.send_replace(done);
    }
}
