//! Who sent a message that could not be decoded: whatever can still be read of it, for the dead-letter row.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::domain::change::Inbound;

/// Longest text taken over, in bytes: the whole message is kept beside it anyway.
const TEXT_MAX: usize = 256;

/// The envelope's identifying fields, as they were written; `None` where missing or unreadable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clues {
    pub system: Option<String>,
    pub entity_type: Option<String>,
    pub native_id: Option<String>,
    pub id: Option<String>,
}

impl Clues {
    /// Reads as far as the bytes are JSON; what was read before an error counts.
    ///
    /// Neither depth nor size of what lies between the identifying fields matters: it is skipped, not built.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut clues = Self::default();
        let mut json = serde_json::Deserializer::from_slice(bytes);
        // The error is the reason for being here; it was reported by whoever parsed the message first.
        let _ = Gather(&mut clues).deserialize(&mut json);
        clues
    }

    /// Of a message that was read, but must not be believed.
    pub(super) fn of_message(message: &Inbound) -> Self {
        let (update, entity_type, native_id) = match message {
            Inbound::Change(change) => (&change.update, &change.key.entity_type, Some(&change.key.native_id)),
            Inbound::Receipt(receipt) => (&receipt.update, &receipt.entity_type, receipt.native_id.as_ref()),
            Inbound::ChangeSet { id, updates } => {
                let first = updates.first().map(Self::of_message).unwrap_or_default();
                return Self { id: Some(id.to_string()), ..first };
            }
        };
        Self {
            system: Some(update.system.to_string()),
            entity_type: Some(entity_type.to_string()),
            native_id: native_id.map(ToString::to_string),
            id: Some(update.id.to_string()),
        }
    }
}

/// A text or integer, short enough to be shown.
pub(super) fn readable(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.len() <= TEXT_MAX => Some(text.clone()),
        Value::String(text) => Some(format!("{}…", &text[..text.floor_char_boundary(TEXT_MAX)])),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

struct Gather<'a>(&'a mut Clues);

impl<'de> DeserializeSeed<'de> for Gather<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Gather<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            let place = match name.as_str() {
                "system" | "source" => &mut self.0.system,
                "type" => &mut self.0.entity_type,
                "native_id" | "subject" => &mut self.0.native_id,
                "id" => &mut self.0.id,
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *place = fields.next_value::<Scalar>()?.0;
        }
        Ok(())
    }
}

/// A text or integer; anything else is skipped.
struct Scalar(Option<String>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(readable(&value)))
    }
}

#[cfg(test)]
mod tests {
    use super::Clues;

    #[test]
    fn what_stands_before_the_damage_is_read() {
        let clues = Clues::from_bytes(br#"{"id":"u-1","system":"bms","native_id":7,"type":"device","entity":{"a":NaN}}"#);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(clues, Clues { system: text("bms"), entity_type: text("device"), native_id: text("7"), id: text("u-1") });
        assert_eq!(Clues::from_bytes(br#"{"system":"bms"#), Clues::default());
        assert_eq!(Clues::from_bytes(b"[1]"), Clues::default());
        assert_eq!(Clues::from_bytes(b"\xff"), Clues::default());
    }

    #[test]
    fn depth_does_not_hide_who_sent_it() {
        let deep = format!(r#"{{"entity":{}{},"system":"bms"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Clues::from_bytes(deep.as_bytes()).system.as_deref(), Some("bms"));
    }
}
