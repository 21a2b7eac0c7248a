//! JSON values as BSON, both ways, without losing anything: not the type of a number, not a field's name.
//!
//! Nothing of a payload is ever read as extended JSON (`$date`) or as an operator: names that could be are escaped, and so
//! are those BSON cannot hold.

use std::borrow::Cow;

use mongodb::bson::raw::{CStr, RawArrayBuf, RawBsonRef};
use mongodb::bson::{Decimal128, RawDocument, RawDocumentBuf};
use serde_json::{Map, Number, Value};

/// The upper half of a Decimal128 that is a whole number: exponent 0, sign plus.
const WHOLE: u64 = 0x3040_0000_0000_0000;
/// What stands in names for characters that may not stand there themselves, and for the sign it begins with.
const CODES: [(&str, char); 4] = [("2E", '.'), ("24", '$'), ("00", '\0'), ("25", '%')];

/// Why a stored value can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// No JSON value could have become it: somebody else wrote it.
    #[error("a value of BSON type {0:?} is none of ours")]
    Foreign(mongodb::bson::spec::ElementType),
    /// It is no BSON at all.
    #[error(transparent)]
    Damaged(#[from] mongodb::bson::error::Error),
}

/// Hands a value on as it is written.
pub(super) fn written(value: &Value, then: &mut dyn FnMut(RawBsonRef<'_>)) {
    match value {
        Value::Null => then(RawBsonRef::Null),
        Value::Bool(flag) => then(RawBsonRef::Boolean(*flag)),
        Value::Number(number) => then(written_number(number)),
        Value::String(text) => then(RawBsonRef::String(text)),
        Value::Array(items) => {
            let mut array = RawArrayBuf::new();
            items.iter().for_each(|item| written(item, &mut |item| array.push(item)));
            then(RawBsonRef::Array(&array));
        }
        Value::Object(fields) => then(RawBsonRef::Document(&written_object(fields))),
    }
}

/// Writes an object, straight into its bytes.
pub(super) fn written_object(fields: &Map<String, Value>) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    for (name, value) in fields {
        let name = escape(name);
        // Always: what is escaped has no NUL.
        if let Ok(name) = <&CStr>::try_from(&*name) {
            written(value, &mut |value| document.append(name, value));
        }
    }
    document
}

/// A whole number: in the smallest type that holds it, as the shell shows that one best.
pub(super) fn whole(number: u64) -> RawBsonRef<'static> {
    written_number(&Number::from(number))
}

fn written_number(number: &Number) -> RawBsonRef<'static> {
    if let Some(signed) = number.as_i64() {
        return i32::try_from(signed).map_or(RawBsonRef::Int64(signed), RawBsonRef::Int32);
    }
    if let Some(unsigned) = number.as_u64() {
        // BSON has no unsigned 64-bit integer, and a double would round it. A decimal holds it exactly and compares by value.
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&unsigned.to_le_bytes());
        bytes[8..].copy_from_slice(&WHOLE.to_le_bytes());
        return RawBsonRef::Decimal128(Decimal128::from_bytes(bytes));
    }
    // Without `arbitrary_precision` what is no integer is a double.
    RawBsonRef::Double(number.as_f64().unwrap_or_default())
}

/// Reads a value.
pub(super) fn read(value: RawBsonRef<'_>) -> Result<Value, Unreadable> {
    let foreign = || Unreadable::Foreign(value.element_type());
    Ok(match value {
        RawBsonRef::Null => Value::Null,
        RawBsonRef::Boolean(flag) => Value::Bool(flag),
        RawBsonRef::Int32(number) => Value::from(number),
        RawBsonRef::Int64(number) => Value::from(number),
        RawBsonRef::Double(number) => Value::Number(Number::from_f64(number).ok_or_else(foreign)?),
        RawBsonRef::Decimal128(number) => Value::from(unsigned(number).ok_or_else(foreign)?),
        RawBsonRef::String(text) => Value::String(text.to_owned()),
        RawBsonRef::Array(items) => Value::Array(items.into_iter().map(|item| read(item?)).collect::<Result<_, _>>()?),
        RawBsonRef::Document(fields) => Value::Object(read_object(fields)?),
        _ => return Err(foreign()),
    })
}

/// Reads an object.
pub(super) fn read_object(fields: &RawDocument) -> Result<Map<String, Value>, Unreadable> {
    let mut object = Map::new();
    for field in fields {
        let (name, value) = field?;
        object.insert(unescape(name.as_str()).into_owned(), read(value)?);
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
    use mongodb::bson;
    use serde_json::json;

    use super::*;

    /// Through the very bytes that are sent.
    fn there_and_back(value: &Value) -> Value {
        let mut document = RawDocumentBuf::new();
        written(value, &mut |value| document.append(bson::cstr!("v"), value));
        let document = RawDocumentBuf::from_bytes(document.into_bytes()).unwrap();
        read(document.get("v").unwrap().unwrap()).unwrap()
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
        assert!(matches!(whole(5), RawBsonRef::Int32(5)), "the shell shows it as 5");
        let RawBsonRef::Decimal128(largest) = whole(u64::MAX) else { panic!("no decimal") };
        assert_eq!(largest.to_string(), "18446744073709551615", "and others read it as a number");
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
        let foreign =
            [RawBsonRef::DateTime(bson::DateTime::MIN), RawBsonRef::Double(f64::NAN), RawBsonRef::Decimal128("1.5".parse().unwrap())];
        for foreign in foreign {
            let mut array = RawArrayBuf::new();
            array.push(foreign);
            assert!(read(RawBsonRef::Array(&array)).is_err());
        }
    }
}
