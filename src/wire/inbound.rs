//! Contract to domain: one message as it came from a transport becomes a checked [`Inbound`].

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::clues::Clues;
use super::content_hash;
use super::envelope::{Envelope, bad, canonical_id, checked, missing, native_id, record, text, time, unsigned, within};
use super::limits::Limits;
use super::strict_json::{self, shortened};
use super::suggest;
use crate::domain::change::{ChangeBody, DeadReason, Inbound, NativeChange, Op, Receipt, ReceiptStatus, Rejection, Seq};
use crate::domain::ids::{EntityType, MessageId, NativeId, NativeKey, SystemName, UpdateId};
use crate::domain::origin::{Origin, Senders};
use crate::domain::trace::TraceParent;

const OPS: [&str; 5] = ["upsert", "patch", "delete", "rekey", "receipt"];
const STATUSES: [&str; 3] = ["applied", "failed", "rejected"];

/// What the transport knows about a message besides its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// The AMQP `message_id`: the id of a message whose body has none.
    pub message_id: Option<String>,
    /// Who published it, and who may publish for whom; `None` where no message broker vouches for it.
    pub origin: Option<(Origin, Arc<Senders>)>,
    /// The trace of a message whose body names none.
    pub trace: Option<TraceParent>,
}

/// A message that cannot be decoded: why, and whatever could be read of it, for the dead-letter row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// Why.
    pub rejection: Rejection,
    /// The sending system as written, checked or not.
    pub system: Option<String>,
    /// The entity type as written.
    pub entity_type: Option<String>,
    /// The native id as written.
    pub native_id: Option<String>,
    /// The message's id as written, else the transport's.
    pub id: Option<String>,
}

impl Undecodable {
    fn new(rejection: Rejection, clues: Clues, transport: &Transport) -> Self {
        let Clues { system, entity_type, native_id, id } = clues;
        Self { rejection, system, entity_type, native_id, id: id.or_else(|| transport.message_id.clone()) }
    }
}

impl Undecodable {
    /// A message that was read, but can't be processed.
    #[must_use]
    pub fn of_message(message: &Inbound, rejection: Rejection) -> Self {
        Self::new(rejection, Clues::of_message(message), &Transport::default())
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.rejection, f)
    }
}

impl std::error::Error for Undecodable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.rejection)
    }
}

/// Why, and who sent it.
type Refused = Box<(Rejection, Clues)>;

/// Decodes one message: an envelope, a change set, or a CloudEvents 1.0 event in structured JSON.
///
/// ```
/// # use syncline::wire::{Limits, Transport, decode};
/// # use syncline::domain::change::{DeadReason, Inbound};
/// let body = br#"{"id": "u-1", "system": "bms", "type": "device", "native_id": 17, "entity": {"serial": "SN-001"}}"#;
/// let Ok(Inbound::Change(change)) = decode(body, &Transport::default(), &Limits::default()) else { panic!("a change") };
/// assert_eq!(change.key.to_string(), "bms:device:17");
///
/// let body = br#"{"id": "u-1", "system": "bms", "type": "device", "nativeId": 17, "entity": {}}"#;
/// let problem = decode(body, &Transport::default(), &Limits::default()).unwrap_err();
/// assert_eq!(problem.rejection.reason, DeadReason::BadEnvelope);
/// assert_eq!(problem.rejection.detail, r#"the envelope has no field "nativeId"; did you mean "native_id"?"#);
/// assert_eq!(problem.system.as_deref(), Some("bms"));
/// ```
#[expect(clippy::result_large_err, reason = "an error is rare and moved once; a decoded change is larger still")]
pub fn decode(bytes: &[u8], transport: &Transport, limits: &Limits) -> Result<Inbound, Undecodable> {
    match strict_json::parse(bytes, limits) {
        Ok(value) => decode_value(value, transport, limits),
        Err(rejection) => Err(undecodable((rejection, Clues::from_bytes(bytes)), transport)),
    }
}

/// Why a message can't be decoded. That it is said in the name of another system comes before what is wrong with it: its id is that
/// system's to give.
fn undecodable((rejection, clues): (Rejection, Clues), transport: &Transport) -> Undecodable {
    let system = clues.system.clone().and_then(|system| SystemName::new(system).ok());
    let foreign = transport.origin.as_ref().zip(system).and_then(|((origin, senders), system)| senders.check_system(origin, &system).err());
    Undecodable::new(foreign.unwrap_or(rejection), clues, transport)
}

/// As [`decode`], for a value that [`strict_json::parse`] gave: the element of an array, say. Depth, duplicate keys, field
/// names and numbers are not checked again.
#[expect(clippy::result_large_err, reason = "an error is rare and moved once; a decoded change is larger still")]
pub fn decode_value(value: Value, transport: &Transport, limits: &Limits) -> Result<Inbound, Undecodable> {
    let decoded = match value {
        Value::Object(map) if is_change_set(&map) => change_set(map, transport, limits),
        Value::Object(map) => single(map, transport.message_id.as_deref(), transport.trace, limits),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let detail = "a message is one JSON object: an envelope, a change set or a CloudEvent";
            Err(Box::new((Rejection::new(DeadReason::BadEnvelope, detail), Clues::default())))
        }
    };
    let checked = decoded.and_then(|message| match &transport.origin {
        Some((origin, senders)) => sent_by_its_system(&message, origin, senders)
            .map_err(|rejection| Box::new((rejection, Clues::of_message(&message))))
            .map(|()| message),
        None => Ok(message),
    });
    checked.map_err(|refused| undecodable(*refused, transport))
}

/// Whether a message comes from the system it names. A set is published like its first update; all are from one system.
fn sent_by_its_system(message: &Inbound, origin: &Origin, senders: &Senders) -> Result<(), Rejection> {
    match message {
        Inbound::Change(change) => senders.check(origin, &change.key.system, &change.key.entity_type),
        Inbound::Receipt(receipt) => senders.check(origin, receipt.system(), &receipt.entity_type),
        Inbound::ChangeSet { updates, .. } => {
            let Some(first) = updates.first() else { return Ok(()) };
            sent_by_its_system(first, origin, senders)?;
            let foreign = updates.iter().find(|update| system_of(update) != system_of(first));
            foreign.map_or(Ok(()), |_| {
                let detail = "the change set holds updates of several systems; send a set for each";
                Err(Rejection::new(DeadReason::NotYourSystem, detail).at("updates"))
            })
        }
    }
}

fn system_of(message: &Inbound) -> Option<&SystemName> {
    match message {
        Inbound::Change(change) => Some(&change.key.system),
        Inbound::Receipt(receipt) => Some(receipt.system()),
        Inbound::ChangeSet { updates, .. } => updates.first().and_then(system_of),
    }
}

fn is_change_set(map: &Map<String, Value>) -> bool {
    !matches!(map.get("change_set"), None | Some(Value::Null | Value::Bool(false)))
}

/// A set: `{"id": …, "change_set": true, "updates": […]}`, or with the id in the place of `true`.
fn change_set(mut map: Map<String, Value>, transport: &Transport, limits: &Limits) -> Result<Inbound, Refused> {
    let head = set_head(&mut map, transport, limits);
    let clues = |id: Option<&MessageId>| Clues { id: id.map(|id| id.as_str().to_owned()), ..Clues::default() };
    let Head { id, members, trace } = head.map_err(|rejection| Box::new((rejection, clues(None))))?;
    let mut updates = Vec::with_capacity(members.len());
    for (index, member) in members.into_iter().enumerate() {
        updates.push(set_member(member, trace, limits).map_err(|refused| {
            let (mut rejection, found) = *refused;
            rejection.detail = format!("updates[{index}]: {}", rejection.detail);
            rejection.field =
                Some(rejection.field.map_or_else(|| format!("/updates/{index}"), |field| format!("/updates/{index}/{field}")));
            Box::new((rejection, Clues { id: Some(id.as_str().to_owned()), ..found }))
        })?);
    }
    Ok(Inbound::ChangeSet { id, updates })
}

/// What a set says besides its updates.
struct Head {
    id: MessageId,
    members: Vec<Value>,
    trace: Option<TraceParent>,
}

fn set_head(map: &mut Map<String, Value>, transport: &Transport, limits: &Limits) -> Result<Head, Rejection> {
    let (own, flag) = (map.remove("id").filter(|id| !id.is_null()), map.remove("change_set"));
    let trace = trace(map.remove("traceparent").as_ref())?.or(transport.trace);
    let named = match flag {
        Some(name @ Value::String(_)) => Some(name),
        Some(Value::Bool(true)) => None,
        _ => return Err(bad("change_set", "must be true (or the id of the set)")),
    };
    if own.is_some() && named.is_some() && own != named {
        return Err(bad("change_set", "names another id than id; send \"change_set\": true"));
    }
    let id = message_id(own.or(named).as_ref(), transport.message_id.as_deref(), limits)?;
    let members = match map.remove("updates") {
        Some(Value::Array(updates)) if updates.is_empty() => return Err(bad("updates", "is empty; send at least one envelope")),
        Some(Value::Array(updates)) => updates,
        _ => return Err(missing("updates", "the set's envelopes as an array")),
    };
    if let Some(name) = map.keys().find(|name| !name.starts_with("x-")) {
        let hint = suggest::hint(name, &["id", "change_set", "updates", "traceparent"]);
        return Err(bad(&shortened(name), &format!("has no place in a change set (id, change_set, updates, traceparent){hint}")));
    }
    Ok(Head { id, members, trace })
}

/// A `traceparent`. One that can't be read counts as none.
fn trace(value: Option<&Value>) -> Result<Option<TraceParent>, Rejection> {
    Ok(text(value.filter(|value| !value.is_null()), "traceparent")?.and_then(|text| text.parse().ok()))
}

fn set_member(member: Value, trace: Option<TraceParent>, limits: &Limits) -> Result<Inbound, Refused> {
    let refuse = |detail: &str| Err(Box::new((Rejection::new(DeadReason::BadEnvelope, detail), Clues::default())));
    match member {
        Value::Object(map) if is_change_set(&map) => refuse("a change set cannot hold another; send its updates directly"),
        Value::Object(map) => single(map, None, trace, limits),
        _ => refuse("is not an object; send an envelope"),
    }
}

fn single(map: Map<String, Value>, transport_id: Option<&str>, trace: Option<TraceParent>, limits: &Limits) -> Result<Inbound, Refused> {
    let mut envelope = Envelope::from_map(map);
    from_envelope(&mut envelope, transport_id, trace, limits).map_err(|rejection| Box::new((rejection, envelope.clues())))
}

fn from_envelope(
    envelope: &mut Envelope,
    transport_id: Option<&str>,
    transport_trace: Option<TraceParent>,
    limits: &Limits,
) -> Result<Inbound, Rejection> {
    // A misspelt name first: it explains the field that would be reported missing next.
    if let Some(problem) = envelope.problem.take() {
        return Err(problem);
    }
    let names = envelope.names;
    let system = text(envelope.system.as_ref(), names.system)?.ok_or_else(|| missing(names.system, "the name of the sending system"))?;
    let system = checked(SystemName::new(system), names.system)?;
    let entity_type = text(envelope.entity_type.as_ref(), "type")?.ok_or_else(|| missing("type", "the entity type"))?;
    let entity_type = checked(EntityType::new(entity_type), "type")?;
    let op = op(envelope)?;
    let update = UpdateId::new(system, message_id(envelope.id.as_ref(), transport_id, limits)?);
    let native_id = native_id(envelope.native_id.as_ref(), names.native_id, limits)?;
    refuse_foreign_fields(envelope, op)?;
    let trace = trace(envelope.traceparent.as_ref())?.or(transport_trace);
    match op {
        Op::Receipt => {
            let receipt = receipt(envelope, update, entity_type, native_id, limits)?;
            Ok(Inbound::Receipt(Receipt { trace, ..receipt }))
        }
        // The others are never read from a message.
        Op::Upsert | Op::Patch | Op::Delete | Op::Rekey | Op::Merge | Op::Split | Op::Freeze | Op::Compensate | Op::Clear | Op::Erase => {
            let native_id = native_id.ok_or_else(|| missing(names.native_id, "the record's id in the sending system"))?;
            let key = NativeKey { system: update.system.clone(), entity_type, native_id };
            let change = change(envelope, op, update, key, limits)?;
            Ok(Inbound::Change(Arc::new(NativeChange { trace, ..change })))
        }
    }
}

fn op(envelope: &Envelope) -> Result<Op, Rejection> {
    Ok(match text(envelope.op.as_ref(), "op")? {
        None | Some("upsert") => Op::Upsert,
        Some("patch") => Op::Patch,
        Some("delete") => Op::Delete,
        Some("rekey") => Op::Rekey,
        Some("receipt") => Op::Receipt,
        Some(other) => {
            let hint = suggest::hint(other, &OPS);
            let detail = format!("op {:?} is not one of {}{hint}", shortened(other), OPS.join(", "));
            return Err(Rejection::new(DeadReason::UnknownOp, detail).at("op"));
        }
    })
}

fn message_id(own: Option<&Value>, transport_id: Option<&str>, limits: &Limits) -> Result<MessageId, Rejection> {
    // An empty AMQP property is how some clients say "none".
    let id = text(own, "id")?.or(transport_id.filter(|id| !id.is_empty())).ok_or_else(|| {
        Rejection::new(DeadReason::NoId, "the message has no id; send id, the same one when you send the message again").at("id")
    })?;
    within(id, "id", limits.id_bytes)?;
    checked(MessageId::new(id), "id")
}

/// Fields of another op are a mistake that would lose something if they were ignored.
fn refuse_foreign_fields(envelope: &Envelope, op: Op) -> Result<(), Rejection> {
    let refuse = |present: bool, field: &str, home: &str| match present {
        true => Err(bad(field, &format!("belongs to {home}, not to op {}; leave it out or change op", op.as_str()))),
        false => Ok(()),
    };
    if !matches!(op, Op::Upsert | Op::Patch) {
        refuse(envelope.entity.is_some(), envelope.names.entity, "op upsert and patch")?;
    }
    if op != Op::Rekey {
        refuse(envelope.new_native_id.is_some(), "new_native_id", "op rekey")?;
    }
    if op != Op::Receipt {
        refuse(envelope.rev.is_some(), "rev", "receipts (a change says base)")?;
        refuse(envelope.status.is_some(), "status", "receipts")?;
        refuse(envelope.stored.is_some(), "stored", "receipts")?;
        refuse(envelope.reason.is_some(), "reason", "receipts")?;
    }
    Ok(())
}

fn change(envelope: &mut Envelope, op: Op, update: UpdateId, key: NativeKey, limits: &Limits) -> Result<NativeChange, Rejection> {
    let body = body(envelope, op, limits)?;
    let canonical_id = canonical_id(envelope.canonical_id.as_ref())?;
    let content_hash = content_hash::of_change(&key, &body, canonical_id.as_ref());
    Ok(NativeChange {
        update,
        key,
        body,
        base: unsigned(envelope.base.as_ref(), "base")?,
        seq: seq(envelope, limits)?,
        occurred_at: time(envelope.occurred_at.as_ref(), envelope.names.occurred_at)?,
        canonical_id,
        trace: None,
        content_hash,
    })
}

fn body(envelope: &mut Envelope, op: Op, limits: &Limits) -> Result<ChangeBody, Rejection> {
    let field = envelope.names.entity;
    let mut entity = || record(envelope.entity.take(), field, limits)?.ok_or_else(|| missing(field, "the native record as an object"));
    match op {
        Op::Upsert => entity().map(ChangeBody::Upsert),
        Op::Patch => entity().map(ChangeBody::Patch),
        Op::Delete => Ok(ChangeBody::Delete),
        Op::Rekey => native_id(envelope.new_native_id.as_ref(), "new_native_id", limits)?
            .map(ChangeBody::Rekey)
            .ok_or_else(|| missing("new_native_id", "the record's new id")),
        Op::Receipt | Op::Merge | Op::Split | Op::Freeze | Op::Compensate | Op::Clear | Op::Erase => Err(bad("op", "this is not a change")),
    }
}

fn seq(envelope: &Envelope, limits: &Limits) -> Result<Option<Seq>, Rejection> {
    let number = unsigned(envelope.seq.as_ref(), "seq")?;
    let epoch = text(envelope.seq_epoch.as_ref(), "seq_epoch")?;
    if let Some(epoch) = epoch {
        within(epoch, "seq_epoch", limits.id_bytes)?;
    }
    match number {
        Some(number) => Ok(Some(Seq { epoch: epoch.map(str::to_owned), number })),
        None if epoch.is_some() => Err(missing("seq", "it with seq_epoch, or leave both out")),
        None => Ok(None),
    }
}

fn receipt(
    envelope: &mut Envelope,
    update: UpdateId,
    entity_type: EntityType,
    native_id: Option<NativeId>,
    limits: &Limits,
) -> Result<Receipt, Rejection> {
    let rev = unsigned(envelope.rev.as_ref(), "rev")?.ok_or_else(|| missing("rev", "the rev of the message it answers"))?;
    let status = status(envelope)?;
    if native_id.is_none() && status == ReceiptStatus::Applied {
        return Err(missing(envelope.names.native_id, "the id under which the system now holds the record"));
    }
    let canonical_id = canonical_id(envelope.canonical_id.as_ref())?;
    if native_id.is_none() && canonical_id.is_none() {
        return Err(missing("canonical_id", "the canonical_id of the create it answers, or native_id"));
    }
    let mut receipt = Receipt {
        update,
        entity_type,
        native_id,
        canonical_id,
        rev,
        status,
        stored: record(envelope.stored.take(), "stored", limits)?.unwrap_or_default(),
        reason: text(envelope.reason.as_ref(), "reason")?.map(str::to_owned),
        trace: None,
        content_hash: 0,
    };
    receipt.content_hash = content_hash::of_receipt(&receipt);
    Ok(receipt)
}

fn status(envelope: &Envelope) -> Result<ReceiptStatus, Rejection> {
    match text(envelope.status.as_ref(), "status")? {
        Some("applied") => Ok(ReceiptStatus::Applied),
        Some("failed") => Ok(ReceiptStatus::Failed),
        Some("rejected") => Ok(ReceiptStatus::Rejected),
        Some(other) => {
            let hint = suggest::hint(other, &STATUSES);
            Err(bad("status", &format!("{:?} is not one of {}{hint}", shortened(other), STATUSES.join(", "))))
        }
        None => Err(missing("status", "applied, failed or rejected")),
    }
}
