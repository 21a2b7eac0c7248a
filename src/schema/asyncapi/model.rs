//! The parts of AsyncAPI 3.0 that are used here, under its own names.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// Things by name.
pub type Named<T> = BTreeMap<String, T>;

/// A pointer to another place of the document.
#[derive(Clone, Debug, Serialize)]
pub struct Reference {
    /// `#/components/messages/upsert`.
    #[serde(rename = "$ref")]
    pub place: String,
}

impl Reference {
    /// To this place.
    pub fn to(place: impl Into<String>) -> Self {
        Self { place: place.into() }
    }
}

/// The document.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// `3.0.0`.
    pub asyncapi: &'static str,
    /// Names the contract.
    pub id: &'static str,
    /// What it is.
    pub info: Info,
    /// Of messages that don't say it.
    pub default_content_type: &'static str,
    /// Where the broker is.
    pub servers: Named<Server>,
    /// Where messages are put and taken.
    pub channels: Named<Channel>,
    /// What an adapter does there.
    pub operations: Named<Operation>,
    /// Messages, schemas, ways to sign in.
    pub components: Components,
    /// Everything that is made at the broker, as `syncline topology --json` prints it.
    #[serde(rename = "x-topology")]
    pub topology: Value,
}

/// What the document is about.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// Its name.
    pub title: &'static str,
    /// The version of the contract.
    pub version: &'static str,
    /// What is promised.
    pub description: String,
    /// The licence.
    pub license: License,
}

/// A licence.
#[derive(Clone, Debug, Serialize)]
pub struct License {
    /// Its name.
    pub name: &'static str,
}

/// A broker.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// With the port.
    pub host: String,
    /// The virtual host, after a `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pathname: Option<String>,
    /// `amqp` or `amqps`.
    pub protocol: String,
    /// `0.9.1`.
    pub protocol_version: &'static str,
    /// What it is.
    pub description: &'static str,
    /// How to sign in.
    pub security: Vec<Reference>,
}

/// A place where messages are put or taken.
#[derive(Clone, Debug, Serialize)]
pub struct Channel {
    /// The routing key, or the queue.
    pub address: String,
    /// In a few words.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// What messages there are.
    pub messages: Named<Reference>,
    /// What the parts of the address are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Named<Parameter>,
    /// As an object at the broker.
    pub bindings: Bindings<ChannelBinding>,
}

/// A part of an address.
#[derive(Clone, Debug, Serialize)]
pub struct Parameter {
    /// What it is.
    pub description: &'static str,
    /// What it may be, where that is known.
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What is only true over AMQP.
#[derive(Clone, Debug, Serialize)]
pub struct Bindings<T> {
    /// Over AMQP.
    pub amqp: T,
}

/// A channel over AMQP.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelBinding {
    /// `routingKey` or `queue`.
    pub is: &'static str,
    /// The exchange messages are published to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
    /// The queue messages are consumed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// Of this form.
    pub binding_version: &'static str,
}

/// An exchange.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// `topic`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// It outlives the server.
    pub durable: bool,
    /// It goes when nothing is bound to it.
    pub auto_delete: bool,
    /// Where it is.
    pub vhost: String,
}

/// A queue.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// It outlives the server.
    pub durable: bool,
    /// It belongs to one connection.
    pub exclusive: bool,
    /// It goes with its last consumer.
    pub auto_delete: bool,
    /// Where it is.
    pub vhost: String,
}

/// What an adapter does at a channel.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    /// `send` or `receive`, as the adapter sees it.
    pub action: &'static str,
    /// Where.
    pub channel: Reference,
    /// In a few words.
    pub title: String,
    /// How, and what is promised.
    pub description: String,
    /// With what rights.
    pub security: Vec<Reference>,
    /// Which of the channel's messages.
    pub messages: Vec<Reference>,
    /// How it is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// Over AMQP.
    pub bindings: Bindings<OperationBinding>,
}

/// How a message is answered.
#[derive(Clone, Debug, Serialize)]
pub struct Reply {
    /// Where.
    pub channel: Reference,
    /// By which of its messages.
    pub messages: Vec<Reference>,
}

/// An operation over AMQP.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationBinding {
    /// 2: persistent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_mode: Option<u8>,
    /// What has no queue comes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mandatory: Option<bool>,
    /// Acknowledged by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<bool>,
    /// Of this form.
    pub binding_version: &'static str,
}

/// What is referred to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Components {
    /// The messages.
    pub messages: Named<Message>,
    /// Their bodies.
    pub schemas: Named<Value>,
    /// Ways to sign in.
    pub security_schemes: Named<SecurityScheme>,
}

/// A message.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// For programs.
    pub name: String,
    /// For people.
    pub title: String,
    /// What it says.
    pub description: String,
    /// JSON.
    pub content_type: &'static str,
    /// What stands beside the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Value>,
    /// The body.
    pub payload: Reference,
    /// How it looks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
}

/// How a message looks.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    /// What the example shows.
    pub name: String,
    /// The headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Value>,
    /// The body.
    pub payload: Value,
}

/// A way to sign in.
#[derive(Clone, Debug, Serialize)]
pub struct SecurityScheme {
    /// `userPassword`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it takes.
    pub description: String,
}
