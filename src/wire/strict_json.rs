//! JSON as strict as a record store needs it: what is accepted here comes out of every backend as it went in.
//!
//! One UTF-8 check, then one pass that builds the value and checks it on the way. Nothing is converted in silence: what a
//! 64-bit integer or a finite double cannot hold is refused, and so is a key that appears twice.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::limits::Limits;
use crate::domain::change::{DeadReason, Rejection};

/// The value in `bytes`.
///
/// Rejects, each with its own [`DeadReason`] and a position where there is one: messages over `message_bytes`; bytes that
/// are not UTF-8; everything that is not exactly one JSON value (`NaN`, `Infinity`, trailing text, lone surrogates);
/// a key twice in one object; nesting over `depth`; an object of more than `fields` keys; a field name that is empty, too long or
/// holds NUL; integers beyond 64 bits and numbers beyond a double. `field` of the rejection is a JSON pointer.
///
/// ```
/// # use syncline::wire::{Limits, strict_json::parse};
/// # use syncline::domain::change::DeadReason;
/// let twice = parse(br#"{"entity": {"name": "a", "name": "b"}}"#, &Limits::default()).unwrap_err();
/// assert_eq!(twice.reason, DeadReason::DuplicateKey);
/// assert_eq!(twice.field.as_deref(), Some("/entity/name"));
/// ```
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Value, Rejection> {
    if bytes.len() > limits.message_bytes {
        let detail =
            format!("the message has {} bytes, the limit is {}; send less, or raise [limits] message", bytes.len(), limits.message_bytes);
        return Err(Rejection::new(DeadReason::TooLarge, detail));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
    let notes = RefCell::new(Notes::default());
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = Strict { limits, depth: 0, notes: &notes }.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    let notes = notes.into_inner();
    match parsed {
        Ok(value) if notes.huge_number => refuse_huge_integer(text).map_or(Ok(value), Err),
        Ok(value) => Ok(value),
        Err(error) => Err(rejection(text, &error, notes)),
    }
}

/// What the visitors tell `parse` besides the value.
#[derive(Default)]
struct Notes {
    /// What broke a rule of ours (rather than of JSON).
    broken: Option<(DeadReason, String)>,
    /// Where, from the innermost name outwards.
    path: Vec<String>,
    /// Some double is so large that it may have been written as an integer.
    huge_number: bool,
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    limits: &'a Limits,
    depth: usize,
    notes: &'a RefCell<Notes>,
}

impl Strict<'_> {
    fn refuse<E: Error>(self, reason: DeadReason, detail: String) -> E {
        self.notes.borrow_mut().broken = Some((reason, detail));
        E::custom("refused")
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= self.limits.depth {
            return Err(self.refuse(DeadReason::TooDeep, too_deep(self.limits.depth)));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn check_name<E: Error>(self, name: &str) -> Result<(), E> {
        let max = self.limits.field_name_bytes;
        let problem = if name.is_empty() {
            "a field name is empty; give the field a name".to_owned()
        } else if name.len() > max {
            format!("a field name has {} bytes, the limit is {max}: {:?}", name.len(), shortened(name))
        } else if name.contains('\0') {
            format!("the field name {:?} holds a NUL character; leave it out", shortened(name))
        } else {
            return Ok(());
        };
        Err(self.refuse(DeadReason::BadFieldName, problem))
    }

    /// Called while an error travels outwards, so that the rejection can say where it happened.
    fn passing(self, name: &str) {
        self.notes.borrow_mut().path.push(name.replace('~', "~0").replace('/', "~1"));
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // serde_json turns an integer beyond 64 bits into a double without a word. Such a double is at least this large;
        // the text is looked at again only then.
        if value >= 18_446_744_073_709_551_616.0 || value <= -9_223_372_036_854_775_808.0 {
            self.notes.borrow_mut().huge_number = true;
        }
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| self.refuse(DeadReason::NumberOutOfRange, "a number is not finite; send null or text instead".to_owned()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        loop {
            match items.next_element_seed(inner) {
                Ok(Some(value)) => array.push(value),
                Ok(None) => return Ok(Value::Array(array)),
                Err(error) => {
                    self.passing(&array.len().to_string());
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            self.check_name(&name)?;
            let value = fields.next_value_seed(inner).inspect_err(|_| self.passing(&name))?;
            match object.entry(name) {
                serde_json::map::Entry::Vacant(place) => place.insert(value),
                serde_json::map::Entry::Occupied(place) => {
                    self.passing(place.key());
                    let detail = format!("the key {:?} appears twice in one object; send it once", shortened(place.key()));
                    return Err(self.refuse(DeadReason::DuplicateKey, detail));
                }
            };
            if object.len() > self.limits.fields {
                return Err(self.refuse(DeadReason::TooManyFields, too_many_fields(self.limits.fields)));
            }
        }
        Ok(Value::Object(object))
    }
}

/// The sentence for a record or object with more fields than the limit.
pub(super) fn too_many_fields(limit: usize) -> String {
    format!("an object has more than {limit} fields; send fewer, or an array where the names are data")
}

fn too_deep(limit: usize) -> String {
    format!("the message nests deeper than {limit} objects and arrays; flatten it")
}

fn not_utf8(bytes: &[u8], valid_up_to: usize) -> Rejection {
    let byte = bytes.get(valid_up_to).copied().unwrap_or_default();
    Rejection::new(DeadReason::NotUtf8, format!("byte {valid_up_to} (0x{byte:02x}) is not UTF-8; encode the message as UTF-8"))
}

fn rejection(text: &str, error: &serde_json::Error, mut notes: Notes) -> Rejection {
    let place = format!("line {} column {}", error.line(), error.column());
    notes.path.reverse();
    let pointer = if notes.path.is_empty() { None } else { Some(format!("/{}", notes.path.join("/"))) };
    let message = error.to_string();
    let (reason, detail) = if let Some((reason, detail)) = notes.broken {
        (reason, format!("{detail} ({place})"))
    } else if message.starts_with("number out of range") {
        (DeadReason::NumberOutOfRange, format!("a number is beyond what a double can hold; send it as text ({place})"))
    } else if message.starts_with("recursion limit") {
        (DeadReason::TooDeep, format!("{} ({place})", too_deep(127)))
    } else if text.starts_with('\u{feff}') {
        (DeadReason::NotJson, "the message begins with a byte order mark; send JSON without it".to_owned())
    } else if text.trim().is_empty() {
        (DeadReason::NotJson, "the message is empty; send one JSON object".to_owned())
    } else {
        // serde_json's own sentence, which ends with the position.
        (DeadReason::NotJson, format!("the message is not JSON: {}", message.replace(" at line", ", at line")))
    };
    Rejection { reason, detail, field: pointer }
}

/// Looks for an integer of more than 64 bits among the numbers of valid JSON.
fn refuse_huge_integer(text: &str) -> Option<Rejection> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = after_string(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..].iter().take_while(|c| matches!(c, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
                let number = &text[at..at + length];
                if is_huge_integer(number) {
                    let line = text[..at].matches('\n').count() + 1;
                    let column = at - text[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1;
                    let number = shortened(number);
                    let detail = format!("the integer {number} does not fit into 64 bits; send it as text (line {line} column {column})");
                    return Some(Rejection::new(DeadReason::NumberOutOfRange, detail));
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    None
}

fn is_huge_integer(number: &str) -> bool {
    let is_integer = !number.contains(['.', 'e', 'E']);
    is_integer && number.parse::<u64>().is_err() && number.parse::<i64>().is_err()
}

/// The position after the closing quote of a string whose first byte is at `at`.
fn after_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// At most sixty characters of a text, for messages.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
