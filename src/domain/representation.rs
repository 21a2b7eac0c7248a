//! When two values of one field mean the same to one system: exactly, as sets, as declared by `compare`, or as the
//! system itself told us with `stored`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::rules::{Compare, Side, TypeRules};
use super::value::{FieldPath, same, same_held};

/// What we sent and what the system made of it, both kept as long as the sent value is the one that counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// The canonical value as it was sent.
    pub sent: Value,
    /// The value it holds instead, known to mean the same.
    pub stored: Value,
}

/// Equality of field values in the eyes of one link.
#[derive(Clone, Copy, Debug)]
pub struct Equality<'a> {
    /// What is declared for the type (sets).
    pub types: &'a TypeRules,
    /// What is declared for the system (compare).
    pub side: &'a Side,
    /// What the system told us.
    pub stored: &'a BTreeMap<FieldPath, Stored>,
}

impl Equality<'_> {
    /// Whether both values mean the same; null and absent do.
    #[must_use]
    pub fn holds(&self, path: &FieldPath, a: Option<&Value>, b: Option<&Value>) -> bool {
        if same_held(a, b) {
            return true;
        }
        let (Some(a), Some(b)) = (a, b) else { return false };
        self.types.sets.contains(path) && same_set(a, b)
            || self.side.compare.get(path).is_some_and(|compare| same(&normal(compare, a), &normal(compare, b)))
            || self.stored.get(path).is_some_and(|pair| pair.joins(a, b) || pair.joins(b, a))
    }
}

impl Stored {
    fn joins(&self, sent: &Value, stored: &Value) -> bool {
        same(&self.sent, sent) && same(&self.stored, stored)
    }
}

/// The value as a system with this declaration would store it.
fn normal(compare: &Compare, value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let mut text: String = if compare.nfc { text.nfc().collect() } else { text.clone() };
            if compare.trim {
                text = text.trim().to_owned();
            }
            if let Some(max) = compare.max_length {
                text = text.chars().take(max).collect();
                if compare.trim {
                    text = text.trim_end().to_owned();
                }
            }
            if compare.case {
                text = text.to_lowercase();
            }
            Value::String(text)
        }
        Value::Number(number) => match (compare.decimals, number.as_f64()) {
            (Some(decimals), Some(float)) => {
                serde_json::Number::from_f64(round(float, decimals)).map_or_else(|| value.clone(), Value::Number)
            }
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

fn round(value: f64, decimals: u32) -> f64 {
    let scale = 10_f64.powi(i32::try_from(decimals).unwrap_or(0));
    let scaled = (value * scale).round() / scale;
    if scaled.is_finite() { scaled } else { value }
}

/// Whether two arrays have the same elements, in whatever order and number.
#[must_use]
pub fn same_set(a: &Value, b: &Value) -> bool {
    let (Value::Array(a), Value::Array(b)) = (a, b) else { return false };
    let within = |x: &[Value], y: &[Value]| x.iter().all(|x| y.iter().any(|y| same(x, y)));
    within(a, b) && within(b, a)
}
