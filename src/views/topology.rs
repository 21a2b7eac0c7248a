//! What has to be at the message broker, and who may do what with it.

use serde::Serialize;
use serde_json::Value;

/// What a configuration asks for at its message broker.
#[derive(Clone, Debug, Serialize)]
pub struct Topology {
    /// Exchanges, queues and bindings, in the order they are made.
    pub objects: Vec<Placed>,
    /// The least that each user needs.
    pub permissions: Vec<Permission>,
    /// Where adapters meet it.
    #[serde(skip)]
    pub edge: Edge,
}

/// What of the broker adapters get to see.
#[derive(Clone, Debug)]
pub struct Edge {
    /// `amqp` or `amqps`.
    pub protocol: String,
    /// Where it is, with the port; without user and password.
    pub host: String,
    /// The virtual host.
    pub vhost: String,
    /// The exchange they publish to.
    pub inbound: String,
    /// The exchange of what they are sent, if anyone is sent anything.
    pub outbound: Option<String>,
    /// The exchange of decisions, if there is one.
    pub events: Option<String>,
    /// Whether a message must carry the broker's proof of who sent it.
    pub require_user_id: bool,
    /// The configured systems.
    pub parties: Vec<Party>,
}

/// One system at the broker.
#[derive(Clone, Debug)]
pub struct Party {
    /// Its name.
    pub system: String,
    /// The user its adapter signs in as.
    pub user: String,
    /// The queue of what it is sent, if anyone is sent anything.
    pub queue: Option<String>,
}

/// One object at the broker.
#[derive(Clone, Debug, Serialize)]
pub struct Placed {
    /// In one line.
    #[serde(skip)]
    pub text: String,
    /// Field by field.
    #[serde(flatten)]
    pub fields: Value,
}

/// What one user of the broker needs. All but the names are regular expressions, as the broker takes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// The user.
    pub user: String,
    /// What it is for.
    pub purpose: String,
    /// The virtual host.
    pub vhost: String,
    /// Objects it may make.
    pub configure: String,
    /// Objects it may publish to.
    pub write: String,
    /// Objects it may consume from.
    pub read: String,
    /// Where what it publishes is restricted further: the exchange, and the routing keys it may use.
    pub topic: Option<(String, String)>,
}
