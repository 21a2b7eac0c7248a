//! Field values: escaped paths, records as leaves, and comparison by mathematical value.
//!
//! Everything the merge looks at is a flat map from path to leaf. Nested objects are opened up, arrays and scalars
//! are leaves, an empty object is a leaf too, so that opening and closing a record loses nothing.

use std::fmt;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};

use super::change::Record;
use super::flat::Flat;
use super::names::shared;

/// The way to one field: segments joined with `.`; a literal `.` or `\` in a name is escaped with `\`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct FieldPath(Arc<str>);

impl FieldPath {
    /// Takes a path that is already escaped, as written in a configuration.
    #[must_use]
    pub fn escaped(text: &str) -> Self {
        Self(shared(text))
    }

    /// A top-level field of this literal name.
    #[must_use]
    pub fn name(name: &str) -> Self {
        if name.contains(['.', '\\']) {
            let mut out = String::with_capacity(name.len() + 4);
            escape_into(name, &mut out);
            Self(shared(&out))
        } else {
            Self(shared(name))
        }
    }

    /// The field of this literal name inside `self`.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut out = String::with_capacity(self.0.len() + 1 + name.len());
        out.push_str(&self.0);
        out.push('.');
        escape_into(name, &mut out);
        Self(shared(&out))
    }

    /// The escaped text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The literal names along the way.
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        let mut segments = vec![String::new()];
        let mut escaped = false;
        for c in self.0.chars() {
            match (escaped, c) {
                (false, '\\') => escaped = true,
                (false, '.') => segments.push(String::new()),
                (_, c) => {
                    escaped = false;
                    if let Some(last) = segments.last_mut() {
                        last.push(c);
                    }
                }
            }
        }
        segments
    }

    /// Whether `self` is `other` or a field inside it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.strip_prefix(other.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Every path that properly contains this one, shortest first.
    fn ancestors(&self) -> impl Iterator<Item = &str> {
        let bytes = self.0.as_bytes();
        (1..bytes.len()).filter(move |&i| bytes[i] == b'.' && !escaped_at(bytes, i)).map(|i| &self.0[..i])
    }
}

fn escaped_at(bytes: &[u8], at: usize) -> bool {
    bytes[..at].iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 1
}

fn escape_into(name: &str, out: &mut String) {
    for c in name.chars() {
        if matches!(c, '.' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = FieldPath;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FieldPath, E> {
                Ok(FieldPath::escaped(text))
            }
        }
        deserializer.deserialize_str(Read)
    }
}

impl From<&str> for FieldPath {
    fn from(text: &str) -> Self {
        Self::escaped(text)
    }
}

impl std::borrow::Borrow<str> for FieldPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A record as leaves: path to value. No path lies inside another one. A clone shares them until one side is changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaves(Arc<Flat<Value>>);

impl Leaves {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens up a record.
    #[must_use]
    pub fn open(record: Record) -> Self {
        let mut leaves = Vec::new();
        for (name, value) in record {
            open_into(&mut leaves, FieldPath::name(&name), value);
        }
        leaves.into_iter().collect()
    }

    /// Puts the nested record together again.
    #[must_use]
    pub fn close(&self) -> Record {
        let mut record = Map::new();
        for (path, value) in self.0.iter() {
            put(&mut record, path, value.clone());
        }
        record
    }

    /// The value at a path; `None` if it is not there. Null is a value here.
    #[must_use]
    pub fn get(&self, path: &FieldPath) -> Option<&Value> {
        self.0.get(path)
    }

    /// The value at a path, with null and absent taken for the same.
    #[must_use]
    pub fn held(&self, path: &FieldPath) -> Option<&Value> {
        self.0.get(path).filter(|value| !value.is_null())
    }

    /// Sets a leaf. What lay inside it or around it goes, since a path can't be both a leaf and an object; an empty
    /// object says only "there is an object" and leaves what is inside alone.
    pub fn set(&mut self, path: FieldPath, value: Value) {
        if is_empty_object(&value) && self.has_inside(&path) {
            return;
        }
        self.remove_inside(&path);
        let around: Vec<String> = path.ancestors().filter(|a| self.0.contains_key(*a)).map(str::to_owned).collect();
        for ancestor in around {
            self.leaves().remove(ancestor.as_str());
        }
        self.leaves().insert(path, value);
    }

    /// Takes a leaf out.
    pub fn remove(&mut self, path: &FieldPath) -> Option<Value> {
        if self.0.contains_key(path) { self.leaves().remove(path) } else { None }
    }

    fn leaves(&mut self) -> &mut Flat<Value> {
        Arc::make_mut(&mut self.0)
    }

    fn remove_inside(&mut self, path: &FieldPath) {
        for inner in self.inside(path) {
            self.leaves().remove(&inner);
        }
    }

    /// The leaves properly inside a path.
    #[must_use]
    pub fn inside(&self, path: &FieldPath) -> Vec<FieldPath> {
        self.0.inside(path).map(|(inner, _)| inner.clone()).collect()
    }

    /// Whether any leaf lies properly inside a path.
    #[must_use]
    pub fn has_inside(&self, path: &FieldPath) -> bool {
        self.0.inside(path).next().is_some()
    }

    /// The leaves a path lies properly inside of (at most one).
    #[must_use]
    pub fn around(&self, path: &FieldPath) -> Vec<FieldPath> {
        path.ancestors().filter_map(|around| self.0.key(around)).cloned().collect()
    }

    /// Whether a path lies within a leaf that is something: neither null nor an object without fields.
    #[must_use]
    pub fn lies_within_a_value(&self, path: &FieldPath) -> bool {
        path.ancestors().filter_map(|around| self.0.get(around)).any(|value| !value.is_null() && !is_empty_object(value))
    }

    /// All leaves, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&FieldPath, &Value)> {
        self.0.iter()
    }

    /// How many leaves.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every path whose value differs between two records; null and absent differ here only if `strict`.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<FieldPath> {
        let mut paths: Vec<FieldPath> = Vec::new();
        for (path, value) in self.0.iter() {
            if !other.get(path).is_some_and(|o| same(o, value)) {
                paths.push(path.clone());
            }
        }
        paths.extend(other.0.keys().filter(|path| !self.0.contains_key(*path)).cloned());
        paths.sort();
        paths
    }

    /// How many bytes it has as JSON.
    #[must_use]
    pub fn bytes(&self) -> usize {
        serde_json::to_vec(&self.close()).map_or(0, |json| json.len())
    }

    /// A rough count of the bytes it keeps in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        80 + self.0.weight() + self.0.values().map(heap).sum::<usize>()
    }
}

impl FromIterator<(FieldPath, Value)> for Leaves {
    fn from_iter<I: IntoIterator<Item = (FieldPath, Value)>>(iter: I) -> Self {
        Self(Arc::new(iter.into_iter().collect()))
    }
}

impl IntoIterator for Leaves {
    type Item = (FieldPath, Value);
    type IntoIter = std::vec::IntoIter<(FieldPath, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_entries().into_iter()
    }
}

impl Serialize for Leaves {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nested = self.0.iter().any(|(path, _)| path.as_str().contains(['.', '\\']));
        if nested { self.close().serialize(serializer) } else { serializer.collect_map(self.0.iter().map(|(p, v)| (p.as_str(), v))) }
    }
}

impl<'de> Deserialize<'de> for Leaves {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Record::deserialize(deserializer).map(Self::open)
    }
}

fn open_into(leaves: &mut Vec<(FieldPath, Value)>, path: FieldPath, value: Value) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                open_into(leaves, path.child(&name), value);
            }
        }
        leaf => leaves.push((path, leaf)),
    }
}

fn put(record: &mut Record, path: &FieldPath, value: Value) {
    if !path.as_str().contains(['.', '\\']) {
        record.insert(path.as_str().to_owned(), value);
        return;
    }
    let mut segments = path.segments();
    let Some(last) = segments.pop() else { return };
    let mut place = record;
    for segment in segments {
        let slot = place.entry(segment).or_insert_with(|| Value::Object(Map::new()));
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        let Value::Object(inner) = slot else { return };
        place = inner;
    }
    place.insert(last, value);
}

/// Whether a value is `{}`.
#[must_use]
pub fn is_empty_object(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// Whether two values mean the same: numbers by mathematical value (1 = 1.0, -0.0 = 0), all else exactly.
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b))),
        (a, b) => a == b,
    }
}

/// [`same`], with null and absent taken for the same.
#[must_use]
pub fn same_held(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a.filter(|v| !v.is_null()), b.filter(|v| !v.is_null())) {
        (None, None) => true,
        (Some(a), Some(b)) => same(a, b),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.as_f64() == b.as_f64(),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The number as an integer, if it is one (also when written 1.0 or 1e3).
#[allow(clippy::cast_possible_truncation, clippy::float_cmp)]
fn whole(number: &Number) -> Option<i128> {
    if let Some(i) = number.as_i64() {
        return Some(i128::from(i));
    }
    if let Some(u) = number.as_u64() {
        return Some(i128::from(u));
    }
    let float = number.as_f64()?;
    // Beyond 2^100 no integer of ours can be equal; the cast is exact below it.
    (float.trunc() == float && float.abs() < 1.3e30).then_some(float as i128)
}

/// Orders two values where an order means something: numbers by value, strings by character, booleans.
#[must_use]
pub fn compare(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Null, an empty string (white space included), an empty array or an empty object.
#[must_use]
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A rough count of the bytes a value keeps in memory, besides its own size.
pub(super) fn heap(value: &Value) -> usize {
    let whole = |value: &Value| size_of::<Value>() + heap(value);
    match value {
        Value::String(text) => text.len() + 12,
        Value::Array(items) => items.iter().map(whole).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| 60 + name.len() + whole(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn open(value: Value) -> Leaves {
        let Value::Object(record) = value else { panic!("{value} is no record") };
        Leaves::open(record)
    }

    #[test]
    fn opening_and_closing_loses_nothing() {
        let record = json!({"a": {"b": {"c": 1}, "empty": {}}, "$set": [1, {"x": null}], "a.b": "dot", "back\\slash": -0.0,
            "n": 9_007_199_254_740_993_i64, "u": u64::MAX, "f": 0.1, "t": "", "nul": null, "ü": "😀"});
        let leaves = open(record.clone());
        assert_eq!(Value::Object(leaves.close()).to_string(), record.to_string());
        assert!(leaves.get(&"a.b.c".into()).is_some() && leaves.get(&"a\\.b".into()).is_some());
        assert_eq!(FieldPath::name("a.b\\").child("c").segments(), ["a.b\\", "c"]);
    }

    #[test]
    fn numbers_compare_by_value() {
        for (a, b, equal) in [
            (json!(1), json!(1.0), true),
            (json!(-0.0), json!(0), true),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0), false),
            (json!(u64::MAX), json!(18_446_744_073_709_551_615.0), false),
            (json!(1), json!("1"), false),
            (json!([1, {"a": 2.0}]), json!([1.0, {"a": 2}]), true),
            (json!(true), json!(1), false),
        ] {
            assert_eq!(same(&a, &b), equal, "{a} {b}");
        }
    }

    #[test]
    fn a_path_is_a_leaf_or_an_object_never_both() {
        let mut leaves = open(json!({"a": {"b": 1, "c": 2}, "ab": 3}));
        leaves.set("a".into(), json!(5));
        assert_eq!(Value::Object(leaves.close()), json!({"a": 5, "ab": 3}));
        leaves.set("a.b".into(), json!(6));
        leaves.set("a".into(), json!({}));
        assert_eq!(Value::Object(leaves.close()), json!({"a": {"b": 6}, "ab": 3}));
    }
}
