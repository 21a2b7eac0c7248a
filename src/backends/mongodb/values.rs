//! JSON values as BSON, both ways, without losing anything: not the type of a number, not a field's name.
//!
//! Nothing of a payload is ever read as extended JSON (`$date`) or as an operator: names that could be are escaped, and so
//! are those BSON cannot hold.

use std::borrow::Cow;

use mongodb::bson::{Bson, Decimal128, Document};
use serde_json::{Map, Number, Value};

/// The upper half of a Decimal128 that is a whole number: exponent 0, sign plus.
const WHOLE: u64 = 0x3040_0000_0000_0000;
/// What stands in names for characters that may not stand there themselves, and for the sign it begins with.
const CODES: [(&str, char); 4] = [("2E", '.'), ("24", '$'), ("00", '\0'), ("25", '%')];

/// A stored value that no JSON value could have become: somebody else wrote it.
#[derive(Debug, thiserror::Error)]
#[error("a value of BSON type {0:?} is none of ours")]
pub(super) struct Foreign(mongodb::bson::spec::ElementType);

/// Writes a value.
pub(super) fn to_bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(flag) => Bson::Boolean(*flag),
        Value::Number(number) => number_to_bson(number),
        Value::String(text) => Bson::String(text.clone()),
        Value::Array(items) => Bson::Array(items.iter().map(to_bson).collect()),
        Value::Object(fields) => Bson::Document(to_document(fields)),
    }
}

/// Writes an object.
pub(super) fn to_document(fields: &Map<String, Value>) -> Document {
    fields.iter().map(|(name, value)| (escape(name).into_owned(), to_bson(value))).collect()
}

/// A whole number: in the smallest type that holds it, as the shell shows that one best.
pub(super) fn whole(number: u64) -> Bson {
    number_to_bson(&Number::from(number))
}

fn number_to_bson(number: &Number) -> Bson {
    if let Some(signed) = number.as_i64() {
        return i32::try_from(signed).map_or(Bson::Int64(signed), Bson::Int32);
    }
    if let Some(unsigned) = number.as_u64() {
        // BSON has no unsigned 64-bit integer, and a double would round it. A decimal holds it exactly and compares by value.
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&unsigned.to_le_bytes());
        bytes[8..].copy_from_slice(&WHOLE.to_le_bytes());
        return Bson::Decimal128(Decimal128::from_bytes(bytes));
    }
    // Without `arbitrary_precision` what is no integer is a double.
    Bson::Double(number.as_f64().unwrap_or_default())
}

/// Reads a value.
pub(super) fn from_bson(value: Bson) -> Result<Value, Foreign> {
    let foreign = Foreign(value.element_type());
    Ok(match value {
        Bson::Null => Value::Null,
        Bson::Boolean(flag) => Value::Bool(flag),
        Bson::Int32(number) => Value::from(number),
        Bson::Int64(number) => Value::from(number),
        Bson::Double(number) => Value::Number(Number::from_f64(number).ok_or(foreign)?),
        Bson::Decimal128(number) => Value::from(unsigned(number).ok_or(foreign)?),
        Bson::String(text) => Value::String(text),
        Bson::Array(items) => Value::Array(items.into_iter().map(from_bson).collect::<Result<_, _>>()?),
        Bson::Document(fields) => Value::Object(from_document(fields)?),
        _ => return Err(foreign),
    })
}

/// Reads an object.
pub(super) fn from_document(fields: Document) -> Result<Map<String, Value>, Foreign> {
    let mut object = Map::new();
    for (name, value) in fields {
        object.insert(unescape(&name).into_owned(), from_bson(value)?);
    }
    Ok(object)
}

fn unsigned(number: Decimal128) -> Option<u64> {
    let bytes = number.bytes();
    let ([low, high], []) = bytes.as_chunks::<8>() else { return None };
    (u64::from_le_bytes(*high) == WHOLE).then(|| u64::from_le_bytes(*low))
}

/// The name under which a field is stored. Most are stored as they are: escaped are a `.`, a `$` at the beginning, a NUL, a
/// `%` that would look like such an escape, and the empty name, which becomes `%`.
pub(super) fn escape(name: &str) -> Cow<'_, str> {
    if name.is_empty() {
        return Cow::Borrowed("%");
    }
    if !name.starts_with('$') && !name.contains(['.', '\0', '%']) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 8);
    for (at, c) in name.char_indices() {
        let rest = &name[at + c.len_utf8()..];
        let ambiguous = || name == "%" || CODES.iter().any(|(code, _)| rest.starts_with(code));
        match c {
            '.' => out.push_str("%2E"),
            '\0' => out.push_str("%00"),
            '$' if at == 0 => out.push_str("%24"),
            '%' if ambiguous() => out.push_str("%25"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The name a field was stored for.
pub(super) fn unescape(name: &str) -> Cow<'_, str> {
    if name == "%" {
        return Cow::Borrowed("");
    }
    if !name.contains('%') {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let code = &rest[at + 1..];
        match CODES.iter().find(|(text, _)| code.starts_with(text)) {
            Some((text, c)) => {
                out.push(*c);
                rest = &code[text.len()..];
            }
            None => {
                out.push('%');
                rest = code;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{self, RawDocumentBuf};
    use serde_json::json;

    use super::*;

    /// Through the very bytes that are sent.
    fn there_and_back(value: &Value) -> Value {
        let raw = RawDocumentBuf::try_from(&bson::doc! {"v": to_bson(value)}).unwrap();
        let mut read = Document::try_from(raw).unwrap();
        from_bson(read.remove("v").unwrap()).unwrap()
    }

    #[test]
    fn numbers_keep_their_types() {
        for number in [
            json!(0),
            json!(-1),
            json!(i64::from(i32::MAX)),
            json!(i64::from(i32::MAX) + 1),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(9_007_199_254_740_993_i64),
            json!(i64::MAX as u64 + 1),
            json!(u64::MAX),
            json!(1.0),
            json!(-0.0),
            json!(0.1),
            json!(1e308),
            json!(5e-324),
        ] {
            assert_eq!(there_and_back(&number).to_string(), number.to_string());
        }
        assert!(matches!(to_bson(&json!(5)), Bson::Int32(5)), "the shell shows it as 5");
        assert_eq!(to_bson(&json!(u64::MAX)).to_string(), "18446744073709551615", "and others read it as a number");
    }

    #[test]
    fn every_name_comes_back() {
        let pieces = ["", "%", ".", "$", "\0", "2", "E", "24", "25", "2E", "00", "a", "ü"];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    let name = format!("{a}{b}{c}");
                    let stored = escape(&name);
                    assert_eq!(unescape(&stored), name);
                    assert!(!stored.is_empty() && !stored.starts_with('$') && !stored.contains(['.', '\0']), "{stored:?}");
                }
            }
        }
        for plain in ["name", "cost $", "humidity %", "50 %rh", "a_b", "%2e"] {
            assert_eq!(escape(plain), plain, "escaped only where it must be");
        }
        assert_eq!(escape("$where.x"), "%24where%2Ex");
    }

    #[test]
    fn what_looks_like_more_than_text_stays_text() {
        let record = json!({"$date": "2026-01-01T00:00:00Z", "x": {"$numberLong": "5", "$oid": "507f1f77bcf86cd799439011"}, "": null,
            "a.b": [{"$where": "1"}, [], {}], "nul\0": "a\0b", "t": true});
        assert_eq!(there_and_back(&record), record);
        let mut deep = json!("bottom");
        for _ in 0..64 {
            deep = json!({"d": [deep]});
        }
        assert_eq!(there_and_back(&deep), deep);
    }

    #[test]
    fn what_others_wrote_is_said() {
        for foreign in [Bson::DateTime(bson::DateTime::MIN), Bson::Double(f64::NAN), Bson::Decimal128("1.5".parse().unwrap())] {
            assert!(from_bson(Bson::Array(vec![foreign])).is_err());
        }
    }
}
