//! Which canonical record is this? Match keys, their normalised values, and the claims records lay on them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::ids::{CanonicalId, EntityType};
use super::names;
use super::value::FieldPath;

/// Values of one key that one record may have. A key over several arrays has one for every combination of their elements.
pub const VALUES_MAX: usize = 1000;

/// One declared match key: a field, or several that only count together.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRule {
    /// Names the key in claims: its fields joined with `+`.
    pub name: Arc<str>,
    /// The fields, all of which must be there.
    pub fields: Vec<FieldPath>,
    /// Applied to each part, in order.
    pub normalize: Vec<Normalizer>,
    /// Values that never count, in normalised form.
    pub ignore: BTreeSet<String>,
}

/// One step of making key values comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalizer {
    /// White space around it goes.
    Trim,
    /// To lower case.
    Lowercase,
    /// Only digits stay.
    Digits,
    /// Runs of white space become one space.
    CollapseSpaces,
    /// Unicode composed form.
    Nfc,
}

/// A key value a record owns within its type.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Claim {
    /// Which key.
    #[serde(deserialize_with = "names::read")]
    pub key: Arc<str>,
    /// The normalised value; parts of a composite key are joined with U+001F.
    pub value: String,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.key, self.value.replace('\u{1f}', " + "))
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A claim within its type: unique in the whole store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypedClaim {
    /// The type the key belongs to.
    pub entity_type: EntityType,
    /// The claim.
    pub claim: Claim,
}

impl KeyRule {
    /// A key over these fields.
    #[must_use]
    pub fn new(fields: Vec<FieldPath>, normalize: Vec<Normalizer>, ignore: &[String]) -> Self {
        let name = fields.iter().map(FieldPath::as_str).collect::<Vec<_>>().join("+").into();
        let ignore = ignore.iter().map(|text| apply(&normalize, text)).collect();
        Self { name, fields, normalize, ignore }
    }

    /// How many values it takes from a record, if they are more than [`VALUES_MAX`]. Such a record has none of them.
    #[must_use]
    pub fn too_many<'a>(&self, read: &impl Fn(&FieldPath) -> Option<&'a Value>) -> Option<usize> {
        let count = |value: Option<&'a Value>| value.map_or(0, |value| value.as_array().map_or(1, Vec::len));
        let all = self.fields.iter().map(|field| count(read(field))).fold(1, usize::saturating_mul);
        Some(all).filter(|all| *all > VALUES_MAX)
    }

    /// Every value this key takes from a record; array elements count each. `read` gives the record's fields.
    fn values<'a>(&self, read: &impl Fn(&FieldPath) -> Option<&'a Value>) -> Vec<String> {
        if self.too_many(read).is_some() {
            return Vec::new();
        }
        let mut values = vec![String::new()];
        for (i, field) in self.fields.iter().enumerate() {
            let parts = self.parts(read(field));
            values = values
                .iter()
                .flat_map(|head| parts.iter().map(move |part| if i == 0 { part.clone() } else { format!("{head}\u{1f}{part}") }))
                .collect();
        }
        values
    }

    fn parts(&self, value: Option<&Value>) -> Vec<String> {
        match value {
            Some(Value::Array(items)) => items.iter().filter_map(|item| self.part(item)).collect(),
            Some(value) => self.part(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn part(&self, value: &Value) -> Option<String> {
        let text = match value {
            Value::String(text) => apply(&self.normalize, text),
            Value::Number(number) => apply(&self.normalize, &number_text(number)),
            Value::Bool(flag) => flag.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        (!text.is_empty() && !self.ignore.contains(&text)).then_some(text)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::float_cmp)]
fn number_text(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if !number.is_i64() && !number.is_u64() && float.trunc() == float && float.abs() < 9.0e15 => (float as i64).to_string(),
        _ => number.to_string(),
    }
}

fn apply(steps: &[Normalizer], text: &str) -> String {
    let mut text = text.to_owned();
    for step in steps {
        text = match step {
            Normalizer::Trim => text.trim().to_owned(),
            Normalizer::Lowercase => text.to_lowercase(),
            Normalizer::Digits => text.chars().filter(char::is_ascii_digit).collect(),
            Normalizer::CollapseSpaces => text.split_whitespace().collect::<Vec<_>>().join(" "),
            Normalizer::Nfc => text.nfc().collect(),
        };
    }
    text
}

/// Every claim that the values `read` gives lead to.
pub fn claims_of<'a>(keys: &[KeyRule], read: impl Fn(&FieldPath) -> Option<&'a Value>) -> BTreeSet<Claim> {
    let values = |key: &KeyRule| key.values(&read).into_iter().map(|value| Claim { key: key.name.clone(), value }).collect::<Vec<_>>();
    keys.iter().flat_map(values).collect()
}

/// What the match keys of an unknown native record say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// Nobody owns any of its key values.
    Nobody,
    /// One record does.
    Owner(CanonicalId),
    /// Several do, which cannot be decided without a person.
    Several(Vec<CanonicalId>),
}

/// Judges the owners found for the claims of one record.
#[must_use]
pub fn match_owners(owners: impl IntoIterator<Item = CanonicalId>) -> Match {
    let owners: BTreeSet<CanonicalId> = owners.into_iter().collect();
    let mut owners: Vec<CanonicalId> = owners.into_iter().collect();
    match (owners.len(), owners.pop()) {
        (1, Some(owner)) => Match::Owner(owner),
        (_, None) => Match::Nobody,
        (_, Some(last)) => {
            owners.push(last);
            Match::Several(owners)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::value::Leaves;

    fn claims(keys: &[KeyRule], record: Value) -> Vec<String> {
        let Value::Object(record) = record else { panic!("{record} is no record") };
        let leaves = Leaves::open(record);
        claims_of(keys, |path| leaves.get(path)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn key_values_are_normalised_and_scoped() {
        use Normalizer::{Lowercase, Trim};
        let serial = KeyRule::new(vec!["serial".into()], vec![Trim, Lowercase], &["N/A".into()]);
        let full = KeyRule::new(vec!["first".into(), "last".into()], vec![Lowercase], &[]);
        let keys = [serial, full];
        assert_eq!(claims(&keys, json!({"serial": " SN-1 "})), ["serial \"sn-1\""]);
        assert_eq!(claims(&keys, json!({"serial": ["a", "B", null, ""]})), ["serial \"a\"", "serial \"b\""]);
        assert_eq!(claims(&keys, json!({"serial": "n/a", "first": "Ann"})), Vec::<String>::new());
        assert_eq!(claims(&keys, json!({"first": "Ann", "last": "Lee"})), ["first+last \"ann + lee\""]);
        assert_eq!(claims(&keys, json!({"serial": 7.0})), ["serial \"7\""]);
    }
}
