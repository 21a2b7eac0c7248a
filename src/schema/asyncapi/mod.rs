//! The contract of the message broker as an AsyncAPI 3.0 document, as an adapter sees it: what it sends, what it receives.

mod messages;
mod model;

use serde_json::json;

use self::model::{
    Bindings, Channel, ChannelBinding, Components, Document, Exchange, Info, License, Named, Operation, OperationBinding, Parameter, Queue,
    Reference, Reply, SecurityScheme, Server,
};
use super::Form;
use crate::views::topology::{Edge, Party, Topology};

/// The form of the AMQP parts.
const BINDING: &str = "0.3.0";
const USER: &str = "#/components/securitySchemes/user";
const INBOUND: &str = "#/channels/inbound";

/// The document of a topology.
#[must_use]
pub fn document(topology: &Topology) -> Document {
    let edge = &topology.edge;
    let (messages, schemas) = messages::all(edge.outbound.is_some(), edge.events.is_some());
    let sign_in = SecurityScheme { kind: "userPassword", description: signing_in(edge) };
    Document {
        asyncapi: "3.0.0",
        id: "urn:syncline:v1",
        info: info(),
        default_content_type: "application/json",
        servers: Named::from([("broker".to_owned(), server(edge))]),
        channels: channels(edge),
        operations: operations(edge),
        components: Components { messages, schemas, security_schemes: Named::from([("user".to_owned(), sign_in)]) },
        topology: json!(topology.objects),
    }
}

fn info() -> Info {
    let description = "What the adapter of a system sends to Syncline and receives from it over RabbitMQ. All exchanges and queues are \
                       durable and made by Syncline; an adapter declares nothing. Every message that RabbitMQ has confirmed gets exactly one decision, or is \
                       kept as one dead letter, however often it is delivered. What a system is sent comes at least once, and the \
                       newest of a record replaces all older ones: a message may come twice or late, and is then recognised by its \
                       rev. Meaning of every field, limits and rules: docs/wire.md.";
    Info {
        title: "Syncline over RabbitMQ",
        version: "1.0.0",
        description: description.to_owned(),
        license: License { name: "MIT OR Apache-2.0" },
    }
}

fn server(edge: &Edge) -> Server {
    Server {
        host: edge.host.clone(),
        pathname: (edge.vhost != "/").then(|| format!("/{}", edge.vhost)),
        protocol: edge.protocol.clone(),
        protocol_version: "0.9.1",
        description: "RabbitMQ. Off the machine itself only with TLS (amqps).",
        security: vec![Reference::to(USER)],
    }
}

fn signing_in(edge: &Edge) -> String {
    let must = if edge.require_user_id { "must" } else { "should" };
    let users: Vec<String> = edge.parties.iter().map(|party| format!("{} for {}", party.user, party.system)).collect();
    let known = if users.is_empty() { String::new() } else { format!(" Users: {}.", users.join(", ")) };
    format!(
        "A user of RabbitMQ for each system, named like the system unless [systems.NAME] amqp_user says otherwise.{known} The property \
         user_id {must} be set to it. It may publish to {} under its own routing keys only, and consume from its own queue \
         (syncline topology --permissions).",
        edge.inbound
    )
}

fn exchange(edge: &Edge, name: &str) -> Bindings<ChannelBinding> {
    let exchange = Exchange { name: name.to_owned(), kind: "topic", durable: true, auto_delete: false, vhost: edge.vhost.clone() };
    Bindings { amqp: ChannelBinding { is: "routingKey", exchange: Some(exchange), queue: None, binding_version: BINDING } }
}

fn queue(edge: &Edge, name: &str) -> Bindings<ChannelBinding> {
    let queue = Queue { name: name.to_owned(), durable: true, exclusive: false, auto_delete: false, vhost: edge.vhost.clone() };
    Bindings { amqp: ChannelBinding { is: "queue", exchange: None, queue: Some(queue), binding_version: BINDING } }
}

/// What of `names` there is, each under its own name.
fn of_components<'a>(names: impl IntoIterator<Item = &'a str>) -> Named<Reference> {
    names.into_iter().map(|name| (name.to_owned(), Reference::to(format!("#/components/messages/{name}")))).collect()
}

fn channels(edge: &Edge) -> Named<Channel> {
    let mut channels = Named::from([("inbound".to_owned(), inbound(edge))]);
    for (party, name) in edge.parties.iter().filter_map(|party| Some((party, party.queue.as_ref()?))) {
        channels.insert(updates_of(party), updates(edge, party, name));
    }
    if let Some(name) = &edge.events {
        channels.insert("events".to_owned(), events(edge, name));
    }
    channels
}

/// The name of a system's channel.
fn updates_of(party: &Party) -> String {
    format!("updates_{}", party.system)
}

fn inbound(edge: &Edge) -> Channel {
    let parameter = |description, values| Parameter { description, values };
    Channel {
        address: "{system}.{type}.{native_id}".to_owned(),
        title: "What systems say".to_owned(),
        description: format!(
            "The routing key of every message that is published to {}. Its first two parts must be the body's system and type. All about one \
             record, receipts included, has one key, so it stays in order; the answer to a create that has no native id yet takes the canonical id as \
             the third part, and a change set has the key of its first update.",
            edge.inbound
        ),
        messages: of_components(Form::ALL.map(Form::name)),
        parameters: Named::from([
            ("system".to_owned(), parameter("The sending system.", edge.parties.iter().map(|party| party.system.clone()).collect())),
            ("type".to_owned(), parameter("The entity type.", Vec::new())),
            ("native_id".to_owned(), parameter("The record's id in the sending system; may hold dots.", Vec::new())),
        ]),
        bindings: exchange(edge, &edge.inbound),
    }
}

fn updates(edge: &Edge, party: &Party, name: &str) -> Channel {
    let exchange = edge.outbound.as_deref().unwrap_or_default();
    Channel {
        address: name.to_owned(),
        title: format!("What {} is sent", party.system),
        description: format!(
            "A quorum queue, bound to the exchange {exchange} by the key {}. Messages stay in it while the adapter is away.",
            party.system
        ),
        messages: of_components(["outbound"]),
        parameters: Named::new(),
        bindings: queue(edge, name),
    }
}

fn events(edge: &Edge, name: &str) -> Channel {
    let parameter = |description| Parameter { description, values: Vec::new() };
    Channel {
        address: "{type}.{decision}".to_owned(),
        title: "What was decided".to_owned(),
        description: format!("The routing key of what is published to {name}. Bind a queue of your own to it."),
        messages: of_components(["event"]),
        parameters: Named::from([
            ("type".to_owned(), parameter("The entity type.")),
            ("decision".to_owned(), parameter("What became of the update: accepted, dropped, …")),
        ]),
        bindings: exchange(edge, name),
    }
}

fn operations(edge: &Edge) -> Named<Operation> {
    let mut operations = Named::from([("send_updates".to_owned(), send())]);
    for party in edge.parties.iter().filter(|party| party.queue.is_some()) {
        operations.insert(format!("receive_{}", updates_of(party)), receive(party));
    }
    if edge.events.is_some() {
        let facts = "One message for each decision. To keep a copy right, use the record's version: messages may come twice.";
        operations.insert("receive_events".to_owned(), receiving("#/channels/events", "event", "Hear what was decided", facts, None));
    }
    operations
}

fn send() -> Operation {
    let messages = Form::ALL.map(|form| Reference::to(format!("{INBOUND}/messages/{}", form.name())));
    Operation {
        action: "send",
        channel: Reference::to(INBOUND),
        title: "Tell what changed, and answer".to_owned(),
        description:
            "Persistent, mandatory, and confirmed: only what RabbitMQ has confirmed is handed in. Without a confirmation, send the \
                      same message with the same id again, before anything newer about that record. Confirmed messages are decided once \
                      each, those about one record in the order in which they were published."
                .to_owned(),
        security: vec![Reference::to(USER)],
        messages: messages.to_vec(),
        reply: None,
        bindings: Bindings {
            amqp: OperationBinding { delivery_mode: Some(2), mandatory: Some(true), ack: None, binding_version: BINDING },
        },
    }
}

fn receive(party: &Party) -> Operation {
    let channel = format!("#/channels/{}", updates_of(party));
    let description = "Acknowledge by hand, after the message was applied or answered. A message comes at least once: apply it only if (epoch, rev) is higher \
                       than the last applied of this record, and answer it in any case. The receipt goes to the inbound exchange, before \
                       anything of this record that was read afterwards.";
    let receipt = Reply { channel: Reference::to(INBOUND), messages: vec![Reference::to(format!("{INBOUND}/messages/receipt"))] };
    receiving(&channel, "outbound", &format!("Apply what comes back to {}", party.system), description, Some(receipt))
}

fn receiving(channel: &str, message: &str, title: &str, description: &str, reply: Option<Reply>) -> Operation {
    Operation {
        action: "receive",
        channel: Reference::to(channel),
        title: title.to_owned(),
        description: description.to_owned(),
        security: vec![Reference::to(USER)],
        messages: vec![Reference::to(format!("{channel}/messages/{message}"))],
        reply,
        bindings: Bindings { amqp: OperationBinding { ack: Some(true), binding_version: BINDING, ..OperationBinding::default() } },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn decisions_are_heard_where_they_are_published() {
        let edge = Edge {
            protocol: "amqps".to_owned(),
            host: "mq.example.com:5671".to_owned(),
            vhost: "/".to_owned(),
            inbound: "flow.inbound".to_owned(),
            outbound: None,
            events: Some("flow.events".to_owned()),
            require_user_id: false,
            parties: Vec::new(),
        };
        let document = serde_json::to_value(document(&Topology { objects: Vec::new(), permissions: Vec::new(), edge })).unwrap();
        let at = |place: &str| document.pointer(place).unwrap_or(&Value::Null).clone();
        assert_eq!(at("/channels/events/bindings/amqp/exchange/name"), "flow.events");
        assert_eq!(at("/channels/events/address"), "{type}.{decision}");
        assert_eq!(at("/operations/receive_events/messages/0/$ref"), "#/channels/events/messages/event");
        assert_eq!(at("/channels/events/messages/event/$ref"), "#/components/messages/event");
        assert_eq!(at("/components/messages/event/payload/$ref"), "#/components/schemas/event");
        assert!(at("/components/schemas/event").is_object());
    }
}
