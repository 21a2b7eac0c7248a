//! The broker behind RabbitMQ: the same adapter, another address.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, BasicRejectOptions, ConfirmSelectOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ErrorKind, PublisherConfirm};
use serde::Deserialize;
use serde_json::{Value, json};
use syncline_contract::Outbound;

use crate::amqp_address::Address;
use crate::transport::{Answer, NoAnswer, Transport};
use crate::{Credentials, Error};

/// Messages that are out and not answered, at most.
const PREFETCH: u16 = 200;

/// The queues of a RabbitMQ server. What is sent goes to `{prefix}.inbound`, confirmed; what comes back is taken from
/// `{prefix}.updates.{system}` and let go of once its receipt is confirmed.
pub struct Amqp {
    address: Address,
    prefix: String,
    /// What is published goes over it.
    publishing: tokio::sync::Mutex<Option<Peer>>,
    /// What comes back comes over it.
    consuming: tokio::sync::Mutex<Option<(Peer, Consumer)>>,
    /// Messages handed out that have no receipt yet, by record; a newer one may follow before.
    out: Mutex<HashMap<String, Vec<Out>>>,
}

/// A message that was handed out.
struct Out {
    epoch: u64,
    rev: u64,
    acker: Acker,
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
        let (url, prefix) = url.split_once('#').unwrap_or((url, "syncline"));
        Ok(Self {
            address: Address::parse(url, credentials)?,
            prefix: prefix.to_owned(),
            publishing: tokio::sync::Mutex::default(),
            consuming: tokio::sync::Mutex::default(),
            out: Mutex::default(),
        })
    }

    async fn connect(&self) -> Result<Peer, lapin::Error> {
        let runtime = lapin::runtime::default_runtime()?;
        let (uri, tls) = (self.address.uri.clone(), self.address.tls.clone());
        let connection = Connection::connect_uri_with_config(uri, ConnectionProperties::default(), tls, runtime).await?;
        let channel = connection.create_channel().await?;
        Ok(Peer { channel, connection })
    }

    /// Publishes in order and waits until the server has all of it.
    async fn publish(&self, bodies: &[Value]) -> Result<Answer, lapin::Error> {
        let mut keys = Vec::with_capacity(bodies.len());
        let mut problems = Vec::new();
        for (index, body) in bodies.iter().enumerate() {
            match ShortString::try_new(routing_key(body)) {
                Ok(key) => keys.push(key),
                Err(_) => {
                    let detail = "system, type and native id have more than 253 bytes together";
                    problems.push(json!({ "index": index, "problem": { "title": "can't be published", "detail": detail } }));
                }
            }
        }
        if !problems.is_empty() {
            let body = json!({ "title": "not published", "status": 422, "problems": problems });
            return Ok(Answer { status: 422, body: body.to_string().into_bytes(), ..Answer::default() });
        }
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
        for (body, key) in bodies.iter().zip(keys) {
            let properties = properties(self.address.user.as_ref());
            let bytes = body.to_string();
            if !on_their_way.insert(key.clone()) {
                // The next about one record only once the one before is there: sent again after it, that would be the newer.
                if !all_taken(&mut confirms).await? {
                    return Ok(untaken(&exchange));
                }
                on_their_way = HashSet::from([key.clone()]);
            }
            let confirm = peer.channel.basic_publish(exchange.as_str().into(), key, options, bytes.as_bytes(), properties);
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
            // The receipt does not say it; a number may come once more after the orchestrator's store was put back.
            let epoch = open.iter().filter(|out| out.rev == rev).map(|out| out.epoch).max();
            let (old, newer): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|out| epoch.is_some_and(|epoch| (out.epoch, out.rev) <= (epoch, rev)));
            done.extend(old.into_iter().map(|out| out.acker));
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
        let queue = format!("{}.updates.{system}", self.prefix);
        if place.as_ref().is_none_or(|(peer, _)| !peer.works()) {
            // What was handed out before comes again: it was not acknowledged.
            self.out.lock().unwrap_or_else(PoisonError::into_inner).clear();
            *place = None;
            let peer = self.connect().await?;
            peer.channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
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
                    Given::Update(update) => updates.push(update),
                    Given::Unreadable(why) => tracing::error!(
                        queue,
                        error = why,
                        "a message can't be read and stays in the queue; is the orchestrator newer than this adapter?"
                    ),
                    Given::Foreign(acker) => {
                        tracing::warn!(queue, "a message that is none of Syncline's is thrown away");
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

    /// What a message is.
    fn handed_out(&self, delivery: Delivery) -> Given {
        let Delivery { data, acker, .. } = delivery;
        let update: Value = serde_json::from_slice(&data).unwrap_or_default();
        let (Some(id), Some(rev)) = (update["canonical_id"].as_str(), update["rev"].as_u64()) else { return Given::Foreign(acker) };
        // One that can't be read must not take others with it.
        if let Err(error) = Outbound::deserialize(&update) {
            return Given::Unreadable(error.to_string());
        }
        let out = Out { epoch: update["epoch"].as_u64().unwrap_or(0), rev, acker };
        self.out.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_default().push(out);
        Given::Update(update)
    }
}

/// What came in a message.
enum Given {
    Update(Value),
    /// Syncline's, in a form that is not known here.
    Unreadable(String),
    /// Nothing of Syncline's; what settles it.
    Foreign(Acker),
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

/// Whether the server does not let this user in, or not here: trying again changes nothing.
fn is_refusal(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(refusal) = error.kind() else { return false };
    matches!(refusal.kind(), AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED))
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
        answer.or_else(|error| {
            if is_refusal(&error) {
                Ok(problem(401, &format!("RabbitMQ does not let this user in: {error}")))
            } else {
                Err(NoAnswer(error.to_string()))
            }
        })
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
            properties(amqp.address.user.as_ref()).user_id().as_ref().map(ToString::to_string)
        };
        assert_eq!(says("amqp://bms:secret@127.0.0.1/works#site").as_deref(), Some("bms"));
        assert_eq!(says("amqps://host?auth_mechanism=external"), None, "the certificate says it");
    }

    #[tokio::test]
    async fn what_can_not_be_published_is_refused_and_named() {
        // Nobody listens there, and nobody has to.
        let amqp = Amqp::new("amqp://127.0.0.1:1").unwrap();
        let update = |id: &str| json!({ "system": "bms", "type": "device", "native_id": id });
        let answer = amqp.publish(&[update("1"), update(&"x".repeat(245))]).await.unwrap();
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &problem["problems"][0]["index"]), (422, &json!(1)), "{problem}");
    }
}
