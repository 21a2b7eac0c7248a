//! The exchanges and queues, and how they are made: declared again and again, never deleted.

use std::fmt;

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use serde::Serialize;

use super::Options;
use super::error::{failed, is_absent, mismatch};
use crate::domain::ids::SystemName;
use crate::ports::error::{PortError, PortErrorKind};

const DECLARE: &str = "declare exchanges and queues";
/// Deliveries without an acknowledgement after which RabbitMQ gives up on a message.
pub(super) const DELIVERIES_MAX: u32 = 10_000;
/// As good as never, where giving up would lose the message: newer servers have a limit of their own.
const NEVER: u32 = 1_000_000_000;

/// The names of everything, after the configured prefix.
#[derive(Clone, Debug)]
pub struct Names(String);

impl Names {
    /// The names that begin with this prefix.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self(prefix.to_owned())
    }

    /// The exchange every adapter publishes to.
    #[must_use]
    pub fn inbound(&self) -> String {
        format!("{}.inbound", self.0)
    }

    /// The exchange that spreads the native records over several queues.
    #[must_use]
    pub fn partitions(&self) -> String {
        format!("{}.partitions", self.0)
    }

    /// The queue of all inbound messages, where they are not spread.
    #[must_use]
    pub fn orchestrator(&self) -> String {
        format!("{}.orchestrator", self.0)
    }

    /// The exchange for what systems are sent.
    #[must_use]
    pub fn outbound(&self) -> String {
        format!("{}.outbound", self.0)
    }

    /// The queue of one system.
    #[must_use]
    pub fn updates(&self, system: &SystemName) -> String {
        format!("{}.updates.{system}", self.0)
    }

    /// The exchange of what was decided.
    #[must_use]
    pub fn events(&self) -> String {
        format!("{}.events", self.0)
    }

    /// Exchange and queue for what RabbitMQ has given up on.
    #[must_use]
    pub fn dead(&self) -> String {
        format!("{}.dead", self.0)
    }

    /// The queues inbound messages are consumed from.
    #[must_use]
    pub fn intake(&self, partitions: u16) -> Vec<String> {
        let queue = self.orchestrator();
        if partitions <= 1 { vec![queue] } else { (0..partitions).map(|n| format!("{queue}.{n}")).collect() }
    }
}

/// The value of an argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Argument {
    /// Text.
    Text(String),
    /// A number.
    Number(u32),
    /// Yes or no.
    Flag(bool),
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

/// One object at the broker. All are durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "object", rename_all = "snake_case")]
pub enum Object {
    /// An exchange.
    Exchange {
        /// Its name.
        name: String,
        /// `topic`, `fanout`, `x-consistent-hash`.
        kind: &'static str,
    },
    /// A queue.
    Queue {
        /// Its name.
        name: String,
        /// Its arguments.
        arguments: Vec<(&'static str, Argument)>,
    },
    /// What of an exchange goes where.
    Binding {
        /// The exchange.
        from: String,
        /// The queue or exchange.
        to: String,
        /// Whether that is an exchange.
        to_exchange: bool,
        /// Which messages.
        key: String,
    },
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange { name, kind } => write!(f, "exchange {name} ({kind}, durable)"),
            Self::Queue { name, arguments } => {
                let arguments: Vec<String> = arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "queue {name} (durable, {})", arguments.join(", "))
            }
            Self::Binding { from, to, key, .. } => write!(f, "binding {from} → {to} (key {key})"),
        }
    }
}

fn quorum(name: String, more: Vec<(&'static str, Argument)>) -> Object {
    let mut arguments = vec![("x-queue-type", Argument::Text("quorum".to_owned()))];
    arguments.extend(more);
    Object::Queue { name, arguments }
}

fn bind(from: &str, to: &str, key: &str) -> Object {
    Object::Binding { from: from.to_owned(), to: to.to_owned(), to_exchange: false, key: key.to_owned() }
}

/// Everything these options ask for, in the order it is declared.
#[must_use]
pub fn objects(options: &Options) -> Vec<Object> {
    let mut all = common(options);
    if options.push_updates {
        all.extend(options.systems.iter().flat_map(|system| outbound(&options.names, system)));
    }
    all
}

/// What is not one system's alone.
pub(super) fn common(options: &Options) -> Vec<Object> {
    let names = &options.names;
    let (inbound, dead) = (names.inbound(), names.dead());
    let mut all = vec![
        Object::Exchange { name: dead.clone(), kind: "fanout" },
        quorum(dead.clone(), vec![("x-delivery-limit", Argument::Number(NEVER))]),
        bind(&dead, &dead, "#"),
        Object::Exchange { name: inbound.clone(), kind: "topic" },
    ];
    let spread = options.partitions > 1;
    if spread {
        all.push(Object::Exchange { name: names.partitions(), kind: "x-consistent-hash" });
    }
    for queue in names.intake(options.partitions) {
        all.push(quorum(queue.clone(), intake_arguments(&dead, options)));
        // Of a hash exchange the key is the queue's weight.
        all.push(if spread { bind(&names.partitions(), &queue, "1") } else { bind(&inbound, &queue, "#") });
    }
    if spread {
        // Last, so that nothing comes before there is a queue for it.
        let (from, to) = (inbound, names.partitions());
        all.push(Object::Binding { from, to, to_exchange: true, key: "#".to_owned() });
    }
    if options.events {
        all.push(Object::Exchange { name: names.events(), kind: "topic" });
    }
    if options.push_updates {
        all.push(Object::Exchange { name: names.outbound(), kind: "topic" });
    }
    all
}

fn intake_arguments(dead: &str, options: &Options) -> Vec<(&'static str, Argument)> {
    let text = |text: &str| Argument::Text(text.to_owned());
    vec![
        // One process consumes at a time, so that a record's updates stay in order.
        ("x-single-active-consumer", Argument::Flag(true)),
        ("x-delivery-limit", Argument::Number(options.deliveries_max)),
        ("x-dead-letter-exchange", text(dead)),
        // It leaves the queue only once it is in the other one; that needs the next argument, which limits nothing here.
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ]
}

/// What one system is sent by.
pub(super) fn outbound(names: &Names, system: &SystemName) -> [Object; 2] {
    let queue = names.updates(system);
    // Said explicitly: newer servers have a limit of their own, and drop what is past it.
    [quorum(queue.clone(), vec![("x-delivery-limit", Argument::Number(NEVER))]), bind(&names.outbound(), &queue, system.as_str())]
}

/// Declares objects in their order. What exists as it should be stays as it is.
///
/// Fails with [`Invalid`](PortErrorKind::Invalid), naming the object and both forms of it, if one exists in another form.
pub(super) async fn declare(connection: &Connection, objects: &[Object]) -> Result<(), PortError> {
    let channel = connection.create_channel().await.map_err(failed(DECLARE))?;
    for object in objects {
        declare_one(&channel, object, false).await.map_err(|error| refused(object, error))?;
    }
    // Whether it closes well changes nothing: it is of no use any more.
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}

/// Fails if messages that come in would be spread by two rules at once, half of them into queues nobody consumes from. `declared`:
/// all queues of these partitions were there before.
pub(super) async fn refuse_other_partitions(connection: &Connection, options: &Options, declared: bool) -> Result<(), PortError> {
    let names = &options.names;
    let other = if options.partitions > 1 { names.orchestrator() } else { format!("{}.0", names.orchestrator()) };
    let one_more = format!("{}.{}", names.orchestrator(), options.partitions);
    let refuse = |queue: &str| {
        let message = format!(
            "queue {queue} is there, so \"partitions\" was another number before; set it back, or let all messages be decided \
             while no adapter publishes, and delete the queues {}* and the exchange {}",
            names.orchestrator(),
            names.partitions()
        );
        PortError::new(PortErrorKind::Invalid, DECLARE, message)
    };
    for queue in [Some(other), (options.partitions > 1).then_some(one_more)].into_iter().flatten() {
        if depth(connection, &queue).await?.is_some() {
            return Err(refuse(&queue));
        }
    }
    // A number that grows moves records to other queues, where they would overtake what waits in theirs.
    let queues = names.intake(options.partitions);
    if let Some((last, others)) = queues.split_last().filter(|_| !declared)
        && depth(connection, last).await?.is_none()
    {
        for queue in others {
            if depth(connection, queue).await?.is_some_and(|waiting| waiting > 0) {
                return Err(refuse(queue));
            }
        }
    }
    Ok(())
}

/// Looks whether objects are there; returns those that are not, each with why. Changes nothing.
pub(super) async fn check(connection: &Connection, objects: &[Object]) -> Result<Vec<(Object, String)>, PortError> {
    let mut wrong = Vec::new();
    for object in objects.iter().filter(|object| !matches!(object, Object::Binding { .. })) {
        // The channel does not survive a refusal.
        let channel = connection.create_channel().await.map_err(failed(DECLARE))?;
        match declare_one(&channel, object, true).await {
            Ok(()) => drop(channel.close(200, "done".into()).await),
            Err(error) if is_absent(&error) => wrong.push((object.clone(), "is not there".to_owned())),
            Err(error) => return Err(refused(object, error)),
        }
        // Declared once more it must be the same; it is there, so this makes nothing.
        if wrong.last().is_none_or(|(last, _)| last != object) {
            let channel = connection.create_channel().await.map_err(failed(DECLARE))?;
            if let Err(error) = declare_one(&channel, object, false).await {
                match mismatch(&error) {
                    Some(words) => wrong.push((object.clone(), format!("exists in another form: {words}"))),
                    None => return Err(refused(object, error)),
                }
            }
        }
    }
    Ok(wrong)
}

/// How many messages wait in a queue; `None` if there is no such queue.
pub(super) async fn depth(connection: &Connection, queue: &str) -> Result<Option<u64>, PortError> {
    let error = failed("measure the queues");
    let channel = connection.create_channel().await.map_err(error)?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(queue.into(), passive, FieldTable::default()).await {
        Ok(queue) => {
            let _ = channel.close(200, "done".into()).await;
            Ok(Some(u64::from(queue.message_count())))
        }
        Err(absent) if is_absent(&absent) => Ok(None),
        Err(other) => Err(error(other)),
    }
}

async fn declare_one(channel: &Channel, object: &Object, passive: bool) -> lapin::Result<()> {
    match object {
        Object::Exchange { name, kind } => {
            let kind = match *kind {
                "topic" => ExchangeKind::Topic,
                "fanout" => ExchangeKind::Fanout,
                other => ExchangeKind::Custom(other.to_owned()),
            };
            let options = ExchangeDeclareOptions { durable: true, passive, ..ExchangeDeclareOptions::default() };
            channel.exchange_declare(name.as_str().into(), kind, options, FieldTable::default()).await
        }
        Object::Queue { name, arguments } => {
            let options = QueueDeclareOptions { durable: true, passive, ..QueueDeclareOptions::default() };
            channel.queue_declare(name.as_str().into(), options, table(arguments)).await.map(|_| ())
        }
        Object::Binding { from, to, to_exchange, key } => {
            let (from, to, key) = (from.as_str().into(), to.as_str().into(), key.as_str().into());
            if *to_exchange {
                channel.exchange_bind(to, from, key, ExchangeBindOptions::default(), FieldTable::default()).await
            } else {
                channel.queue_bind(to, from, key, QueueBindOptions::default(), FieldTable::default()).await
            }
        }
    }
}

fn table(arguments: &[(&'static str, Argument)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match value {
            Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Argument::Number(number) => AMQPValue::LongLongInt(i64::from(*number)),
            Argument::Flag(flag) => AMQPValue::Boolean(*flag),
        };
        table.insert((*name).into(), value);
    }
    table
}

fn refused(object: &Object, error: lapin::Error) -> PortError {
    let message = match (mismatch(&error), object) {
        (Some(words), _) => format!(
            "{} exists in another form. Syncline's form: {object}. RabbitMQ says: {words}. Nothing was changed; delete it once it is empty, \
             or choose another [broker] prefix",
            name_of(object)
        ),
        (None, Object::Exchange { kind: "x-consistent-hash", .. }) if error.to_string().contains("unknown exchange type") => {
            "\"partitions\" above 1 needs a plugin of RabbitMQ; run: rabbitmq-plugins enable rabbitmq_consistent_hash_exchange".to_owned()
        }
        (None, _) => {
            let PortError { message, .. } = failed(DECLARE)(error.clone());
            format!("{}: {message}", name_of(object))
        }
    };
    let kind = failed(DECLARE)(error.clone()).kind;
    PortError::new(kind, DECLARE, message).because(error)
}

fn name_of(object: &Object) -> String {
    match object {
        Object::Exchange { name, .. } => format!("exchange {name}"),
        Object::Queue { name, .. } => format!("queue {name}"),
        Object::Binding { from, to, .. } => format!("binding {from} → {to}"),
    }
}
