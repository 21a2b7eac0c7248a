//! The public contracts as JSON Schema (draft 2020-12) and AsyncAPI, made from the very types that are read and written.
//!
//! A schema says what is taken and what comes out. What JSON Schema can't say (bytes instead of characters, `1.0` is no
//! integer here, no key twice) is in `docs/wire.md`. Everything is made when it is asked for; nothing is kept.

pub mod asyncapi;
mod inbound;
mod names;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::domain::decision::Decision;
use crate::ports::store::DeadLetter;
use crate::views::rows::{CanonicalRow, ParkedRow};
use syncline_contract::Outbound;

pub use inbound::Form;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A public contract: a message, or a row people and programs are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// Everything an adapter may send.
    Inbound,
    /// One form of what an adapter sends.
    Sent(Form),
    /// What a system is sent.
    Outbound,
    /// A canonical record.
    Canonical,
    /// A row of the decision log.
    Decision,
    /// An update that waits.
    Parked,
    /// A message that can't be processed.
    DeadLetter,
}

impl Contract {
    /// Every contract.
    pub const ALL: [Self; 13] = [
        Self::Inbound,
        Self::Sent(Form::Upsert),
        Self::Sent(Form::Patch),
        Self::Sent(Form::Delete),
        Self::Sent(Form::Rekey),
        Self::Sent(Form::Receipt),
        Self::Sent(Form::ChangeSet),
        Self::Sent(Form::CloudEvent),
        Self::Outbound,
        Self::Canonical,
        Self::Decision,
        Self::Parked,
        Self::DeadLetter,
    ];

    /// Its name: of the file in `docs/schemas`, and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Sent(form) => form.name(),
            Self::Outbound => "outbound",
            Self::Canonical => "canonical",
            Self::Decision => "decision",
            Self::Parked => "parked",
            Self::DeadLetter => "dead-letter",
        }
    }

    /// What it is, in a few words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Inbound => "What an adapter sends",
            Self::Sent(form) => form.title(),
            Self::Outbound => "What a system is sent",
            Self::Canonical => "A canonical record",
            Self::Decision => "A row of the decision log",
            Self::Parked => "An update that waits",
            Self::DeadLetter => "A message that can't be processed",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Inbound => "One message from an adapter, in any of its forms.",
            Self::Sent(form) => form.description(),
            Self::Outbound => {
                "One message to one system: the record as that system should hold it, in its own ids and names. Apply it only if \
                 (epoch, rev) is higher than the last one applied for this record. Fields may be added; ignore those you don't know."
            }
            Self::Canonical => {
                "The one merged record, with where each field comes from and how far each system is. References in data are canonical ids."
            }
            Self::Decision => "What became of one update, and why. A waiting row is replaced in place, a final one never changes.",
            Self::Parked => "An update that waits for another record, for a time or for a person.",
            Self::DeadLetter => "A message that can't be processed: kept whole, with the reason.",
        }
    }

    /// The schema, whole: nothing in it points outside.
    #[must_use]
    pub fn schema(self) -> Value {
        let mut schema = self.body("#/$defs/");
        let defs: Map<String, Value> =
            self.refers_to().iter().map(|form| (form.name().to_owned(), Self::Sent(*form).body("#/$defs/"))).collect();
        if !defs.is_empty() {
            schema["$defs"] = Value::Object(defs);
        }
        schema["$schema"] = json!(DRAFT);
        schema["$id"] = json!(format!("urn:syncline:v1:{}", self.name()));
        schema
    }

    /// The schema without its frame; forms it refers to are looked for at `place`.
    #[must_use]
    pub fn body(self, place: &str) -> Value {
        let mut body = match self {
            Self::Inbound => json!({ "anyOf": inbound::references(&Form::ALL, place) }),
            Self::Sent(form) => form.body(place),
            Self::Outbound => made::<Outbound>(),
            Self::Canonical => made::<CanonicalRow<'static>>(),
            Self::Decision => made::<Decision>(),
            Self::Parked => made::<ParkedRow<'static>>(),
            Self::DeadLetter => made::<DeadLetter>(),
        };
        body["title"] = json!(self.title());
        body["description"] = json!(self.description());
        body
    }

    /// The forms its body refers to, also those that only these refer to.
    const fn refers_to(self) -> &'static [Form] {
        match self {
            Self::Inbound => &Form::ALL,
            Self::Sent(Form::ChangeSet) => &Form::SINGLE,
            Self::Sent(_) | Self::Outbound | Self::Canonical | Self::Decision | Self::Parked | Self::DeadLetter => &[],
        }
    }
}

/// All contracts in one document.
#[must_use]
pub fn all() -> Value {
    let defs: Map<String, Value> = Contract::ALL.iter().map(|contract| (contract.name().to_owned(), contract.body("#/$defs/"))).collect();
    json!({ "$schema": DRAFT, "$id": "urn:syncline:v1:all", "$defs": defs })
}

/// The schema of a type as it is written out, in one piece.
fn made<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut value = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut value);
    value
}

/// Makes descriptions for everyone of those for readers of Rust: no links, no examples in Rust, no line ends.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // Widths of integers are said by their bounds.
            map.remove("format")
                .filter(|format| !format.as_str().is_some_and(|format| format.starts_with("uint")))
                .map(|format| map.insert("format".to_owned(), format));
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = plain(text);
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn plain(text: &str) -> String {
    let prose = text.split("\n\n```").next().unwrap_or_default();
    let mut out = String::with_capacity(prose.len());
    let mut rest = prose;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((name, tail)) = after.split_once("`]") else { break };
        out.push_str(before);
        out.push('`');
        out.push_str(name.rsplit("::").next().unwrap_or(name));
        out.push('`');
        rest = tail.strip_prefix('(').and_then(|link| link.split_once(')')).map_or(tail, |(_, tail)| tail);
    }
    out.push_str(rest);
    let out = out.replace("`None`", "null");
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}
