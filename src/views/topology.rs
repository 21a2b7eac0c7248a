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
