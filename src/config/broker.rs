//! `[broker]`: what carries the messages.

use std::num::NonZeroU16;
use std::path::PathBuf;

use super::address;
use super::reader::{Field, Read, choice};
use super::values::Secret;

choice! {
    /// Which message broker.
    BrokerKind {
        /// Queues inside the orchestrator's own process and store.
        #[default]
        Embedded = "embedded",
        /// A RabbitMQ server.
        Rabbitmq = "rabbitmq",
    }
}

/// What carries the messages. All keys but `kind` are for RabbitMQ.
#[derive(Clone, Debug, PartialEq)]
pub struct Broker {
    /// Which broker. Default: `embedded`.
    pub kind: BrokerKind,
    /// Connection string, `amqps://user:password@host/vhost`. Default: none; with `rabbitmq`, this or `url_file` is needed.
    pub url: Option<Secret>,
    /// A file that holds the connection string. Default: none.
    pub url_file: Option<PathBuf>,
    /// First part of every queue and exchange name. Default: `syncline`.
    pub prefix: String,
    /// Inbound queues the native records are spread over. Default: 1.
    pub partitions: NonZeroU16,
    /// Messages taken ahead of their acknowledgement at most, per consumer. Default: 1000.
    pub prefetch: NonZeroU16,
    /// Whether a message must carry the broker's proof of who sent it. Default: false.
    pub require_user_id: bool,
    /// Whether a server on another machine may be spoken to without encryption: in a network of your own. Default: false.
    pub allow_plain_text: bool,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            kind: BrokerKind::Embedded,
            url: None,
            url_file: None,
            prefix: "syncline".to_owned(),
            partitions: NonZeroU16::MIN,
            prefetch: NonZeroU16::MIN.saturating_add(999),
            require_user_id: false,
            allow_plain_text: false,
        }
    }
}

impl Broker {
    /// Where RabbitMQ is, read from the file that says it, if that is how it is said.
    ///
    /// Fails with what is wrong with it, in words that hold no secret.
    pub fn address(&self) -> Result<Secret, String> {
        address::read("broker", self.url.as_ref(), self.url_file.as_deref(), ("amqp", "amqps", self.allow_plain_text))
    }
}

impl Read for Broker {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            kind: table.or("kind", usual.kind),
            url: table.take("url"),
            url_file: table.take("url_file"),
            prefix: table.or("prefix", usual.prefix),
            partitions: table.or("partitions", usual.partitions),
            prefetch: table.or("prefetch", usual.prefetch),
            require_user_id: table.or("require_user_id", usual.require_user_id),
            allow_plain_text: table.or("allow_plain_text", usual.allow_plain_text),
        };
        table.finish();
        Some(read)
    }
}
