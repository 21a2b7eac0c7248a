//! The broker behind RabbitMQ: the same adapter, another address.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, BasicRejectOptions, ConfirmSelectOptions,
};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPUri, SASLMechanism};
use lapin::{Acker, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, PublisherConfirm};
use serde_json::{Value, json};

use crate::transport::{Answer, NoAnswer, Transport};
use crate::{Credentials, Error};

/// Messages that are out and not answered, at most.
const PREFETCH: u16 = 200;

/// The queues of a RabbitMQ server. What is sent goes to `{prefix}.inbound`, confirmed; what comes back is taken from
/// `{prefix}.updates.{system}` and let go of once its receipt is confirmed.
pub struct Amqp {
    url: String,
    /// Certificates (PEM) of those it believes; without them it believes whom the operating system does.
    believes: Option<String>,
    prefix: String,
    /// Who signs in, and so who is said to publish. Unknown where a certificate says it.
    user: Option<ShortString>,
    /// What is published goes over it.
    publishing: tokio::sync::Mutex<Option<Peer>>,
    /// What comes back comes over it.
    consuming: tokio::sync::Mutex<Option<(Peer, Consumer)>>,
    /// Messages handed out that have no receipt yet, by record; a newer one may follow before.
    out: Mutex<HashMap<String, Vec<(u64, Acker)>>>,
}

struct Peer {
    channel: Channel,
    connection: Connection,
}

impl fmt::Debug for Amqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address holds a password.
        f.debug_struct("Amqp").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Amqp {
    /// The server at this address: `amqp://user:password@host/vhost`, `amqps://…`. What follows a `#` is the first part of
    /// every queue and exchange name (`[broker] prefix`): `syncline` if nothing does. It believes whom the operating system does.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::with(url, &Credentials::default())
    }

    /// As [`Amqp::new`], and with a file of certificates it believes whom those vouch for, and nobody else. Who it is itself is said
    /// by the address.
    pub fn with(url: &str, credentials: &Credentials) -> Result<Self, Error> {
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|error| Error::Address(format!("can't read the certificates in {}: {error}", path.display())))
        };
        let (url, prefix) = url.split_once('#').unwrap_or((url, "syncline"));
        if !(url.starts_with("amqp://") || url.starts_with("amqps://")) {
            return Err(Error::Address("the address of RabbitMQ must start with amqp:// or amqps://".to_owned()));
        }
        Ok(Self {
            user: user_of(url)?,
            url: url.to_owned(),
            believes: credentials.ca_file().map(read).transpose()?,
            prefix: prefix.to_owned(),
            publishing: tokio::sync::Mutex::default(),
            consuming: tokio::sync::Mutex::default(),
            out: Mutex::default(),
        })
    }

    async fn connect(&self) -> Result<Peer, lapin::Error> {
        let tls = OwnedTLSConfig { identity: None, cert_chain: self.believes.clone() };
        let runtime = lapin::runtime::default_runtime()?;
        let connection = Connection::connect_with_config(&self.url, ConnectionProperties::default(), tls, runtime).await?;
        let channel = connection.create_channel().await?;
        Ok(Peer { channel, connection })
    }

    /// Publishes in order and waits until the server has all of it.
    async fn publish(&self, bodies: &[Value]) -> Result<Answer, lapin::Error> {
        let mut place = self.publishing.lock().await;
        if place.as_ref().is_none_or(|peer| !peer.works()) {
            let peer = self.connect().await?;
            peer.channel.confirm_select(ConfirmSelectOptions::default()).await?;
            *place = Some(peer);
        }
        let Some(peer) = place.as_ref() else { return Ok(Answer::default()) };
        let exchange = format!("{}.inbound", self.prefix);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (mut confirms, mut on_their_way) = (Vec::with_capacity(bodies.len()), HashSet::new());
        for body in bodies {
            let properties = properties(self.user.as_ref());
            let (key, bytes) = (routing_key(body), body.to_string());
            if !on_their_way.insert(key.clone()) {
                // The next about one record only once the one before is there: sent again after it, that would be the newer.
                if !all_taken(&mut confirms).await? {
                    return Ok(untaken(&exchange));
                }
                on_their_way = HashSet::from([key.clone()]);
            }
            let confirm = peer.channel.basic_publish(exchange.as_str().into(), key.as_str().into(), options, bytes.as_bytes(), properties);
            confirms.push(confirm.await?);
        }
        if !all_taken(&mut confirms).await? {
            return Ok(untaken(&exchange));
        }
        Ok(Answer { status: 202, ..Answer::default() })
    }

    /// The messages a confirmed receipt answers are let go of, with all older ones about the record.
    async fn answered(&self, bodies: &[Value]) {
        let mut done: Vec<Acker> = Vec::new();
        for body in bodies.iter().filter(|body| body["op"] == "receipt") {
            let (Some(id), Some(rev)) = (body["canonical_id"].as_str(), body["rev"].as_u64()) else { continue };
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(open) = out.remove(id) else { continue };
            let (old, newer): (Vec<_>, Vec<_>) = open.into_iter().partition(|(known, _)| *known <= rev);
            done.extend(old.into_iter().map(|(_, acker)| acker));
            if !newer.is_empty() {
                out.insert(id.to_owned(), newer);
            }
        }
        for acker in done {
            // Of a connection that is gone: the message comes again, and is answered again.
            let _ = acker.ack(BasicAckOptions::default()).await;
        }
    }

    /// Takes what waits: at least one message, unless none comes in that time.
    async fn lease(&self, system: &str, max: usize, wait: Duration) -> Result<Answer, lapin::Error> {
        let mut place = self.consuming.lock().await;
        if place.as_ref().is_none_or(|(peer, _)| !peer.works()) {
            // What was handed out before comes again: it was not acknowledged.
            self.out.lock().unwrap_or_else(PoisonError::into_inner).clear();
            *place = None;
            let peer = self.connect().await?;
            peer.channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
            let queue = format!("{}.updates.{system}", self.prefix);
            let consuming =
                peer.channel.basic_consume(queue.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
            match consuming.await {
                Ok(consumer) => *place = Some((peer, consumer)),
                Err(error) if error.to_string().contains("NOT_FOUND") => {
                    return Ok(problem(
                        503,
                        &format!("there is no queue {queue} yet; the orchestrator makes it, with push_updates = true"),
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        let Some((_, consumer)) = place.as_mut() else { return Ok(Answer::default()) };
        let mut updates = Vec::new();
        let mut patience = wait;
        while updates.len() < max {
            match tokio::time::timeout(patience, consumer.next()).await {
                Err(_) => break,
                Ok(Some(delivery)) => match self.handed_out(delivery?) {
                    Ok(update) => updates.push(update),
                    Err(acker) => {
                        tracing::warn!(queue = %format!("{}.updates.{system}", self.prefix), "a message that is none of Syncline's is thrown away");
                        acker.reject(BasicRejectOptions { requeue: false }).await?;
                    }
                },
                // The server took the consumer away: the next call begins anew.
                Ok(None) => {
                    *place = None;
                    break;
                }
            }
            patience = Duration::ZERO;
        }
        Ok(Answer { status: 200, body: json!({ "updates": updates, "lease": null }).to_string().into_bytes(), ..Answer::default() })
    }

    /// The update in a message; what settles the message, if there is none in it.
    fn handed_out(&self, delivery: Delivery) -> Result<Value, Acker> {
        let Delivery { data, acker, .. } = delivery;
        let update: Value = serde_json::from_slice(&data).unwrap_or_default();
        let (Some(id), Some(rev)) = (update["canonical_id"].as_str(), update["rev"].as_u64()) else { return Err(acker) };
        self.out.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_default().push((rev, acker));
        Ok(update)
    }
}

/// Whether the server has all of these.
async fn all_taken(confirms: &mut Vec<PublisherConfirm>) -> Result<bool, lapin::Error> {
    let mut taken = true;
    for confirm in confirms.drain(..) {
        taken &= matches!(confirm.await?, Confirmation::Ack(None));
    }
    Ok(taken)
}

fn untaken(exchange: &str) -> Answer {
    problem(503, &format!("no queue takes what is published to {exchange}; is the orchestrator set up there, and has it room?"))
}

impl Peer {
    fn works(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }
}

/// Whom the address signs in as, as RabbitMQ knows them.
fn user_of(url: &str) -> Result<Option<ShortString>, Error> {
    // The reason may quote the address, and that holds a password.
    let unreadable = |_| Error::Address("the address of RabbitMQ can't be read; write amqp://user:password@host/vhost".to_owned());
    let uri: AMQPUri = url.parse().map_err(unreadable)?;
    let by_name = uri.query.auth_mechanism.unwrap_or_default() != SASLMechanism::External;
    Ok(by_name.then(|| uri.authority.userinfo.username.into()))
}

/// A message that outlives a restart of the server and says who published it, which the server checks.
fn properties(user: Option<&ShortString>) -> BasicProperties {
    let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
    match user {
        Some(user) => properties.with_user_id(user.clone()),
        None => properties,
    }
}

/// What keeps everything about one native record in order.
fn routing_key(body: &Value) -> String {
    let part = |field: &str| body[field].as_str().map_or_else(|| body[field].to_string(), str::to_owned);
    format!("{}.{}.{}", part("system"), part("type"), part("native_id"))
}

fn problem(status: u16, detail: &str) -> Answer {
    let body = json!({ "title": "RabbitMQ can't be used yet", "status": status, "detail": detail });
    Answer { status, body: body.to_string().into_bytes(), ..Answer::default() }
}

#[async_trait]
impl Transport for Amqp {
    async fn post(&self, path: &str, body: Vec<u8>, within: Duration) -> Result<Answer, NoAnswer> {
        let unreadable = |error: serde_json::Error| NoAnswer(format!("the request can't be read: {error}"));
        let body: Value = serde_json::from_slice(&body).map_err(unreadable)?;
        let asked = async {
            if let Some(system) = path.strip_prefix("/v1/systems/").and_then(|rest| rest.strip_suffix("/lease")) {
                let number = |field: &str, usual: u64| body[field].as_u64().unwrap_or(usual);
                let max = usize::try_from(number("max", 100)).unwrap_or(usize::MAX);
                return self.lease(system, max, Duration::from_millis(number("wait_ms", 0))).await;
            }
            let bodies = match body {
                Value::Array(bodies) => bodies,
                one => vec![one],
            };
            let answer = self.publish(&bodies).await?;
            if answer.status == 202 {
                self.answered(&bodies).await;
            }
            Ok(answer)
        };
        let late = |_| NoAnswer(format!("nothing came within {} s", within.as_secs()));
        let answer = tokio::time::timeout(within, asked).await.map_err(late)?;
        // The client's errors name no address, so no password either.
        answer.map_err(|error| NoAnswer(error.to_string()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_who_published_it() {
        let says = |url: &str| {
            let amqp = Amqp::new(url).unwrap();
            properties(amqp.user.as_ref()).user_id().as_ref().map(ToString::to_string)
        };
        assert_eq!(says("amqp://bms:secret@127.0.0.1/works#site").as_deref(), Some("bms"));
        assert_eq!(says("amqp://b%20ms:secret@127.0.0.1").as_deref(), Some("b ms"), "as the server knows it");
        assert_eq!(says("amqp://127.0.0.1").as_deref(), Some("guest"), "whom a name is not given for");
        assert_eq!(says("amqps://host?auth_mechanism=external"), None, "the certificate says it");
        let refused = Amqp::new("amqp://bms:hunter2@host:port").unwrap_err().to_string();
        assert!(refused.contains("can't be read") && !refused.contains("hunter2"), "{refused}");
    }
}
