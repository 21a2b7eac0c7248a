//! Identifiers and their limits. Every id is a type of its own; a value of one of these types is always valid.

use std::fmt;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::names::shared;

/// Longest native id, in bytes.
pub const NATIVE_ID_MAX: usize = 180;
/// Longest of the other ids (updates, change sets), in bytes.
pub const ID_MAX: usize = 200;
/// Longest system name and entity type, in characters.
pub const NAME_MAX: usize = 32;

/// An id that breaks its rule; says which rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {value:?} {rule}")]
pub struct InvalidId {
    /// What kind of id it was meant to be: `system`, `entity type`, `native id` …
    pub kind: &'static str,
    /// The offending value, shortened.
    pub value: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

fn invalid(kind: &'static str, value: &str, rule: &'static str) -> InvalidId {
    InvalidId { kind, value: value.chars().take(60).collect(), rule }
}

fn check_name(kind: &'static str, value: &str) -> Result<(), InvalidId> {
    let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    if value.is_empty() || value.len() > NAME_MAX || !value.bytes().all(ok) {
        return Err(invalid(kind, value, "must be 1 to 32 characters of a-z, 0-9, _ and -"));
    }
    Ok(())
}

fn check_text(kind: &'static str, value: &str, max: usize, rule: &'static str) -> Result<(), InvalidId> {
    if value.is_empty() || value.len() > max || value.contains('\0') {
        return Err(invalid(kind, value, rule));
    }
    Ok(())
}

/// Reads what is written as text.
struct Read<T>(&'static str, fn(&str) -> Result<T, InvalidId>);

impl<T> Visitor<'_> for Read<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text, the {}", self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:expr, $keep:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the rule and wraps the text.
            pub fn new(value: impl AsRef<str>) -> Result<Self, InvalidId> {
                let value = value.as_ref();
                let check: fn(&'static str, &str) -> Result<(), InvalidId> = $check;
                check($kind, value)?;
                Ok(Self($keep(value)))
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0.as_ref().to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Read($kind, |text| Self::new(text)))
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// A participating application: `bms`, `oem`, `crm`.
    SystemName, "system", check_name, shared
);
impl SystemName {
    /// The name Syncline itself has in decisions that no update made.
    pub const OWN: &str = "syncline";

    /// Whether this is Syncline itself.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.as_str() == Self::OWN
    }
}

text_id!(
    /// What kind of thing a record is: `device`, `person`.
    EntityType, "entity type", check_name, shared
);
text_id!(
    /// A record inside one native system; means nothing without its [`SystemName`] and [`EntityType`].
    NativeId, "native id",
    |kind, value| check_text(kind, value, NATIVE_ID_MAX, "must be 1 to 180 bytes without NUL"),
    Arc::from
);
text_id!(
    /// The idempotency key an adapter gave its message; unique within one system.
    MessageId, "id",
    |kind, value| check_text(kind, value, ID_MAX, "must be 1 to 200 bytes without NUL"),
    Arc::from
);

/// Which update: the message id within its system. Written `system:id`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpdateId {
    /// The system that sent it.
    pub system: SystemName,
    /// The id within that system.
    pub id: MessageId,
}

impl UpdateId {
    /// Puts the two halves together.
    #[must_use]
    pub fn new(system: SystemName, id: MessageId) -> Self {
        Self { system, id }
    }

    fn read(text: &str) -> Result<Self, InvalidId> {
        let (system, id) = text.split_once(':').ok_or_else(|| invalid("update", text, "must be written system:id"))?;
        Ok(Self::new(SystemName::new(system)?, MessageId::new(id)?))
    }
}

impl Serialize for UpdateId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UpdateId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Read("update", Self::read))
    }
}

impl fmt::Display for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.system, self.id)
    }
}

impl fmt::Debug for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<UpdateId> for String {
    fn from(value: UpdateId) -> String {
        value.to_string()
    }
}

impl TryFrom<String> for UpdateId {
    type Error = InvalidId;
    fn try_from(value: String) -> Result<Self, InvalidId> {
        Self::read(&value)
    }
}

/// One native record: which system, which type, which id there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NativeKey {
    /// The system that knows the record.
    pub system: SystemName,
    /// Its entity type.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// Its id in that system.
    pub native_id: NativeId,
}

impl fmt::Display for NativeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.system, self.entity_type, self.native_id)
    }
}

/// The one merged record. A UUIDv7, so records made later sort later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CanonicalId(pub uuid::Uuid);

impl CanonicalId {
    /// Reads the usual hyphenated form.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        uuid::Uuid::try_parse(text).map(Self).map_err(|_| invalid("canonical id", text, "must be a UUID"))
    }

    /// The sixteen bytes, for compact storage.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for CanonicalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for CanonicalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
