//! Small values of several sections: secrets, field paths, scalars, three-way switches.

use std::fmt;

use serde::Serialize;

use super::reader::{Field, Read, ReadKey, choice};
use super::tree::Value;

/// Text that must not be shown: a connection string, a token. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Never log what this returns.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Read for Secret {
    fn read(field: &Field<'_>) -> Option<Self> {
        String::read(field).map(Self)
    }
}

/// A field by name, or inside objects by path: segments joined with `.`; a literal `.` or `\` in a name is written `\.` or `\\`.
///
/// The configuration uses canonical names, except on the right-hand side of `rename`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct FieldPath(String);

impl FieldPath {
    /// Checks the spelling: no empty segment, `\` only before `.` or `\`.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidFieldPath> {
        let text = text.into();
        match split(&text) {
            Some(_) => Ok(Self(text)),
            None => Err(InvalidFieldPath(text)),
        }
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names from the outside in, unescaped; at least one.
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        split(&self.0).unwrap_or_default()
    }

    /// Whether this is `other` or contains it: `address` holds `address.city`.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        other.segments().starts_with(&self.segments())
    }
}

/// Text that is no [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a field; write names joined with \".\", and a \".\" or \"\\\" inside a name as \"\\.\" or \"\\\\\"")]
pub struct InvalidFieldPath(String);

fn split(text: &str) -> Option<Vec<String>> {
    let mut segments = vec![String::new()];
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '.' => segments.push(String::new()),
            '\\' => segments.last_mut()?.push(chars.next().filter(|c| matches!(c, '.' | '\\'))?),
            other => segments.last_mut()?.push(other),
        }
    }
    segments.iter().all(|segment| !segment.is_empty()).then_some(segments)
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Read for FieldPath {
    fn read(field: &Field<'_>) -> Option<Self> {
        Self::read_key(field, field.text("the name of a field")?)
    }
}

impl ReadKey for FieldPath {
    fn read_key(field: &Field<'_>, key: &str) -> Option<Self> {
        Self::new(key).map_err(|invalid| field.error(invalid.to_string())).ok()
    }
}

impl ReadKey for String {
    fn read_key(_: &Field<'_>, key: &str) -> Option<Self> {
        Some(key.to_owned())
    }
}

/// A value without parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction; always finite.
    Float(f64),
    /// True or false.
    Boolean(bool),
}

impl Scalar {
    /// Whether both are the same value; numbers compare by what they mean, so 1 is 1.0.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            // A float that equals the integer exactly converts back to it.
            (Self::Integer(whole), Self::Float(float)) | (Self::Float(float), Self::Integer(whole)) => {
                *whole as f64 == *float && *float as i64 == *whole
            }
            (Self::Text(_) | Self::Integer(_) | Self::Float(_) | Self::Boolean(_), _) => self == other,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Boolean(flag) => write!(f, "{flag}"),
        }
    }
}

impl Read for Scalar {
    fn read(field: &Field<'_>) -> Option<Self> {
        match &field.node.value {
            Value::Text(text) => Some(Self::Text(text.clone())),
            Value::Integer(number) => Some(Self::Integer(*number)),
            Value::Float(number) if number.is_finite() => Some(Self::Float(*number)),
            Value::Boolean(flag) => Some(Self::Boolean(*flag)),
            Value::Float(_) | Value::Datetime | Value::List(_) | Value::Table(_) => {
                field.mismatch("text, a finite number, or true or false")
            }
        }
    }
}

choice! {
    /// On, off, or decided by what is known otherwise.
    Switch {
        /// Decided by what is known otherwise; the key's documentation says by what.
        #[default]
        Auto = "auto",
        /// Written `true`.
        On = "true",
        /// Written `false`.
        Off = "false",
    } bool { true => On, false => Off }
}

impl Switch {
    /// On or off, with the answer for [`Switch::Auto`] given.
    #[must_use]
    pub fn or(self, auto: bool) -> bool {
        match self {
            Self::Auto => auto,
            Self::On => true,
            Self::Off => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldPath, Scalar, Secret};

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("amqps://u:p@h");
        assert_eq!(format!("{secret} {secret:?} {}", secret.reveal()), "*** *** amqps://u:p@h");
    }

    #[test]
    fn field_paths_split_at_unescaped_dots() {
        let segments = |text: &str| FieldPath::new(text).map(|path| path.segments()).ok();
        assert_eq!(segments("name"), Some(vec!["name".to_owned()]));
        assert_eq!(segments("address.city"), Some(vec!["address".to_owned(), "city".to_owned()]));
        assert_eq!(segments(r"a\.b\\c"), Some(vec![r"a.b\c".to_owned()]));
        for wrong in ["", ".", "a..b", "a.", r"a\b", r"a\"] {
            assert_eq!(segments(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_are_the_same_by_meaning() {
        assert!(Scalar::Integer(1).same(&Scalar::Float(1.0)));
        assert!(!Scalar::Integer(9_007_199_254_740_993).same(&Scalar::Float(9_007_199_254_740_992.0)));
        assert!(!Scalar::Text("1".into()).same(&Scalar::Integer(1)));
    }
}
