//! Messages as RabbitMQ carries them: what is read of a delivery, and the properties of what is published.

use lapin::BasicProperties;
use lapin::message::Delivery as Delivered;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::domain::link::SendOp;
use crate::domain::origin::{Origin, Publisher};
use crate::domain::time::Timestamp;
use crate::ports::broker::{Delivery, Fact, HandedIn, OutboundMessage};

const PERSISTENT: u8 = 2;
/// The header of W3C Trace Context.
const TRACE: &str = "traceparent";
const JSON: &str = "application/json";
/// Marks what Syncline itself has put into the inbound exchange, together with its own user.
const OURS: &str = "syncline";

/// A delivery as the engine takes it. `given_up`: it comes from the queue for what RabbitMQ has given up on.
pub(super) fn delivery(delivered: Delivered, tag: u64, received_at: Timestamp, user: Option<&str>, given_up: bool) -> Delivery {
    let properties = &delivered.properties;
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
    let publisher = match text(properties.user_id()) {
        // RabbitMQ lets nobody name another user than its own.
        Some(id) if Some(id.as_str()) == user && text(properties.app_id()).as_deref() == Some(OURS) => Publisher::Ourselves,
        Some(id) => Publisher::User(id),
        None => Publisher::Unknown,
    };
    let headers = properties.headers().as_ref();
    let given_up = given_up.then(|| {
        let header = |name: &str| headers.and_then(|headers| value_of(headers, name)).and_then(text_of);
        let (reason, queue) = (header("x-first-death-reason"), header("x-first-death-queue"));
        let why = if reason.as_deref() == Some("delivery_limit") {
            "it was delivered too often without being acknowledged".to_owned()
        } else {
            reason.unwrap_or_else(|| "it did not say why".to_owned())
        };
        format!("RabbitMQ has given up on it ({why}) in {}", queue.unwrap_or_else(|| "a queue it does not name".to_owned()))
    });
    Delivery {
        tag,
        message_id: text(properties.message_id()),
        received_at,
        deliveries: headers.and_then(|headers| value_of(headers, "x-delivery-count")).map_or(1, |count| number(count).saturating_add(1)),
        origin: Some(Origin { routing_key: delivered.routing_key.to_string(), publisher }),
        given_up,
        trace: headers.and_then(|headers| value_of(headers, TRACE)).and_then(text_of).and_then(|text| text.parse().ok()),
        body: delivered.data,
    }
}

fn value_of<'a>(headers: &'a FieldTable, name: &str) -> Option<&'a AMQPValue> {
    headers.inner().get(name)
}

fn text_of(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn number(value: &AMQPValue) -> u32 {
    let number = match value {
        AMQPValue::ShortShortInt(number) => i64::from(*number),
        AMQPValue::ShortShortUInt(number) => i64::from(*number),
        AMQPValue::ShortInt(number) => i64::from(*number),
        AMQPValue::ShortUInt(number) => i64::from(*number),
        AMQPValue::LongInt(number) => i64::from(*number),
        AMQPValue::LongUInt(number) => i64::from(*number),
        AMQPValue::LongLongInt(number) => *number,
        _ => 0,
    };
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// A text that is too long for a property is left out: it stands in the body, too.
fn short(text: &str) -> Option<ShortString> {
    ShortString::try_new(text).ok()
}

/// The properties of a message for a system.
pub(super) fn outbound(message: &OutboundMessage) -> BasicProperties {
    let op = match message.op {
        SendOp::Create => "create",
        SendOp::Update => "update",
        SendOp::Delete => "delete",
    };
    let mut headers = FieldTable::default();
    headers.insert("rev".into(), AMQPValue::LongLongInt(i64::try_from(message.rev).unwrap_or(i64::MAX)));
    headers.insert("op".into(), AMQPValue::LongString(op.into()));
    if let Some(trace) = message.trace {
        headers.insert(TRACE.into(), AMQPValue::LongString(trace.to_string().into()));
    }
    let properties = json().with_type(message.entity_type.as_str().into()).with_headers(headers);
    named(properties, Some(&message.id))
}

/// The properties of a message that came in by another way and was checked there.
pub(super) fn handed_in(message: &HandedIn, user: Option<&str>) -> BasicProperties {
    let properties = json().with_app_id(OURS.into());
    let properties = match user.and_then(short) {
        Some(user) => properties.with_user_id(user),
        None => properties,
    };
    named(properties, message.message_id.as_ref())
}

/// The properties of a fact about a decision.
pub(super) fn fact(fact: &Fact) -> BasicProperties {
    named(json().with_type("decision".into()), Some(&fact.id))
}

fn json() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(PERSISTENT).with_content_type(JSON.into())
}

fn named(properties: BasicProperties, id: Option<&String>) -> BasicProperties {
    match id.and_then(|id| short(id)) {
        Some(id) => properties.with_message_id(id),
        None => properties,
    }
}
