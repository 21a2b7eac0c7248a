//! Everything that must be refused, with its reason, its field and who sent it; and the edges that must still pass.

use serde_json::{Value, json};

use super::strict_json::parse;
use super::{Limits, Transport, Undecodable, decode};
use crate::domain::change::{DeadReason, Inbound};

fn refused(bytes: &[u8]) -> Undecodable {
    decode(bytes, &Transport::default(), &Limits::default()).expect_err(&String::from_utf8_lossy(&bytes[..bytes.len().min(200)]))
}

fn with_entity(entity: &str) -> String {
    format!(r#"{{"id":"u-1","system":"bms","type":"device","native_id":"bmsD1","entity":{entity}}}"#)
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

fn fields(count: usize) -> String {
    let fields: Vec<String> = (0..count).map(|i| format!("\"f{i}\":{i}")).collect();
    format!("{{{}}}", fields.join(","))
}

#[test]
fn values_that_cannot_be_kept_exactly_are_refused_and_the_sender_is_known() {
    use DeadReason::{BadFieldName, DuplicateKey, NotJson, NumberOutOfRange, TooDeep, TooLarge, TooManyFields};
    let cases: Vec<(&str, String, DeadReason, &str)> = vec![
        ("not json", "{a:1}".into(), NotJson, "line 1 column"),
        ("NaN", r#"{"a":NaN}"#.into(), NotJson, "not JSON"),
        ("Infinity", r#"{"a":Infinity}"#.into(), NotJson, "not JSON"),
        ("minus Infinity", r#"{"a":-Infinity}"#.into(), NotJson, "not JSON"),
        ("trailing comma", r#"{"a":1,}"#.into(), NotJson, "trailing comma"),
        ("leading zero", r#"{"a":01}"#.into(), NotJson, "not JSON"),
        ("comment", r#"{"a":1/*x*/}"#.into(), NotJson, "not JSON"),
        ("raw control character", "{\"a\":\"\n\"}".into(), NotJson, "control character"),
        ("lone leading surrogate", r#"{"a":"\ud800"}"#.into(), NotJson, "not JSON"),
        ("lone leading surrogate before text", r#"{"a":"\ud800x"}"#.into(), NotJson, "not JSON"),
        ("lone trailing surrogate", r#"{"a":"\udc00"}"#.into(), NotJson, "surrogate"),
        ("two leading surrogates", r#"{"a":"\ud800\ud800"}"#.into(), NotJson, "surrogate"),
        ("lone surrogate in a name", r#"{"\udc00":1}"#.into(), NotJson, "surrogate"),
        ("duplicate key", r#"{"a":1,"b":{"c":1,"c":1}}"#.into(), DuplicateKey, r#"the key "c" appears twice"#),
        ("duplicate key by escape", r#"{"a":1,"\u0061":2}"#.into(), DuplicateKey, "twice"),
        ("too deep", nested(64), TooDeep, "deeper than 64"),
        ("absurdly deep", nested(100_000), TooDeep, "deeper than 64"),
        ("absurdly deep objects", format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000)), TooDeep, "deeper than 64"),
        ("too many fields", fields(1001), TooManyFields, "more than 1000 fields"),
        ("too many nested fields", format!(r#"{{"a":{},"b":{}}}"#, fields(600), fields(600)), TooManyFields, "more than 1000"),
        ("too many fields in an array", format!("[{}]", fields(1001)), TooManyFields, "more than 1000"),
        ("empty name", r#"{"":1}"#.into(), BadFieldName, "empty"),
        ("long name", format!(r#"{{"{}":1}}"#, "n".repeat(257)), BadFieldName, "257 bytes"),
        ("long name in bytes", format!(r#"{{"{}":1}}"#, "ü".repeat(129)), BadFieldName, "258 bytes"),
        ("NUL in a name", r#"{"a\u0000b":1}"#.into(), BadFieldName, "NUL"),
        ("2^64", r#"{"a":18446744073709551616}"#.into(), NumberOutOfRange, "18446744073709551616 does not fit"),
        ("-2^63-1", r#"{"a":-9223372036854775809}"#.into(), NumberOutOfRange, "64 bits"),
        ("thirty digits", format!(r#"{{"a":["x",{}]}}"#, "9".repeat(30)), NumberOutOfRange, "64 bits"),
        ("beyond a double in digits", format!(r#"{{"a":{}}}"#, "9".repeat(400)), NumberOutOfRange, "as text"),
        ("1e400", r#"{"a":1e400}"#.into(), NumberOutOfRange, "double"),
        ("-1e400", r#"{"a":-1e400}"#.into(), NumberOutOfRange, "double"),
        ("too large", format!(r#"{{"a":"{}"}}"#, "x".repeat(1024 * 1024)), TooLarge, "the limit is 1048576"),
    ];
    for (name, entity, reason, words) in cases {
        let problem = refused(with_entity(&entity).as_bytes());
        assert_eq!(problem.rejection.reason, reason, "{name}: {}", problem.rejection);
        assert!(problem.rejection.detail.contains(words), "{name}: {}", problem.rejection);
        assert_eq!(problem.system.as_deref(), Some("bms"), "{name}");
        assert_eq!(problem.native_id.as_deref(), Some("bmsD1"), "{name}");
        assert_eq!(problem.id.as_deref(), Some("u-1"), "{name}");
    }
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    use DeadReason::{BadEnvelope, NotJson, NotUtf8};
    let cases: [(&[u8], DeadReason, &str); 14] = [
        (b"", NotJson, "empty"),
        (b"  \n", NotJson, "empty"),
        (b"hello", NotJson, "line 1"),
        (b"{", NotJson, "EOF"),
        (b"{} x", NotJson, "trailing"),
        (b"{}{}", NotJson, "trailing"),
        (b"{}\0", NotJson, "trailing"),
        (b"\xef\xbb\xbf{}", NotJson, "byte order mark"),
        (b"\xff\xfe{\0}\0", NotUtf8, "byte 0 (0xff)"),
        (b"{\"a\":\"\xed\xa0\x80\"}", NotUtf8, "byte 6"),
        (b"{\"a\":\"\xc3", NotUtf8, "UTF-8"),
        (b"null", BadEnvelope, "one JSON object"),
        (b"[]", BadEnvelope, "one JSON object"),
        (b"\"text\"", BadEnvelope, "one JSON object"),
    ];
    for (bytes, reason, words) in cases {
        let problem = refused(bytes);
        assert_eq!(problem.rejection.reason, reason, "{bytes:?}: {}", problem.rejection);
        assert!(problem.rejection.detail.contains(words), "{bytes:?}: {}", problem.rejection);
    }
}

#[test]
fn positions_point_at_the_place() {
    let place = |text: &str| {
        let rejection = parse(text.as_bytes(), &Limits::default()).unwrap_err();
        (rejection.field.unwrap_or_default(), rejection.detail)
    };
    assert_eq!(place(r#"{"a":[1,{"b/c":{"d":1,"d":2}}]}"#).0, "/a/1/b~1c/d");
    assert_eq!(place(r#"{"a":[1,{"b":{"":1}}]}"#).0, "/a/1/b");
    let (_, detail) = place("{\n \"t\": \"12345678901234567890123\",\n \"n\": 99999999999999999999\n}");
    assert_eq!(detail, "the integer 99999999999999999999 does not fit into 64 bits; send it as text (line 3 column 7)");
    assert_eq!(place("{\n\"a\" 1}").1, "the message is not JSON: expected `:`, at line 2 column 5");
}

#[test]
fn envelopes_that_break_a_rule_are_refused() {
    use DeadReason::{BadEnvelope, BadId, NoId, UnknownOp};
    let long = "x".repeat(201);
    // What is laid over a good upsert (null takes a field out), the reason, the field, and words of the sentence.
    let cases = [
        (json!({ "system": null }), BadEnvelope, "system", "is missing"),
        (json!({ "type": null }), BadEnvelope, "type", "is missing"),
        (json!({ "native_id": null }), BadEnvelope, "native_id", "is missing"),
        (json!({ "entity": null }), BadEnvelope, "entity", "is missing"),
        (json!({ "id": null }), NoId, "id", "no id"),
        (json!({ "id": 5 }), BadEnvelope, "id", "must be text, not a number"),
        (json!({ "id": "" }), BadId, "id", "1 to 200"),
        (json!({ "id": long }), BadId, "id", "201 bytes, the limit is 200"),
        (json!({ "id": "a\0b" }), BadId, "id", "NUL"),
        (json!({ "system": ["bms"] }), BadEnvelope, "system", "not an array"),
        (json!({ "system": "BMS" }), BadId, "system", "a-z"),
        (json!({ "system": "a".repeat(33) }), BadId, "system", "32"),
        (json!({ "type": true }), BadEnvelope, "type", "not a boolean"),
        (json!({ "type": "a b" }), BadId, "type", "a-z"),
        (json!({ "native_id": "" }), BadId, "native_id", "1 to 180"),
        (json!({ "native_id": "x".repeat(181) }), BadId, "native_id", "181 bytes"),
        (json!({ "native_id": 1.5 }), BadEnvelope, "native_id", "text or an integer, not a number with a fraction"),
        (json!({ "native_id": { "a": 1 } }), BadEnvelope, "native_id", "not an object"),
        (json!({ "op": "Upsert" }), UnknownOp, "op", "did you mean \"upsert\"?"),
        (json!({ "op": "frobnicate" }), UnknownOp, "op", "upsert, patch, delete, rekey, receipt"),
        (json!({ "op": 1 }), BadEnvelope, "op", "must be text"),
        (json!({ "op": "delete" }), BadEnvelope, "entity", "belongs to op upsert and patch"),
        (json!({ "op": "rekey", "entity": null }), BadEnvelope, "new_native_id", "is missing"),
        (json!({ "op": "rekey", "entity": null, "new_native_id": "" }), BadId, "new_native_id", "1 to 180"),
        (json!({ "op": "patch", "entity": [] }), BadEnvelope, "entity", "an object, not an array"),
        (json!({ "entity": "text" }), BadEnvelope, "entity", "an object, not text"),
        (json!({ "new_native_id": "x" }), BadEnvelope, "new_native_id", "belongs to op rekey"),
        (json!({ "rev": 3 }), BadEnvelope, "rev", "a change says base"),
        (json!({ "status": "applied" }), BadEnvelope, "status", "belongs to receipts"),
        (json!({ "stored": {} }), BadEnvelope, "stored", "belongs to receipts"),
        (json!({ "reason": "why" }), BadEnvelope, "reason", "belongs to receipts"),
        (json!({ "base": -1 }), BadEnvelope, "base", "not a negative number"),
        (json!({ "base": 1.0 }), BadEnvelope, "base", "fraction"),
        (json!({ "base": "3" }), BadEnvelope, "base", "not text"),
        (json!({ "seq": "3" }), BadEnvelope, "seq", "not text"),
        (json!({ "seq_epoch": "a" }), BadEnvelope, "seq", "is missing"),
        (json!({ "seq": 1, "seq_epoch": 2 }), BadEnvelope, "seq_epoch", "must be text"),
        (json!({ "seq": 1, "seq_epoch": "x".repeat(201) }), BadId, "seq_epoch", "201 bytes"),
        (json!({ "occurred_at": "yesterday" }), BadEnvelope, "occurred_at", "RFC 3339"),
        (json!({ "occurred_at": 1_700_000_000 }), BadEnvelope, "occurred_at", "must be text"),
        (json!({ "canonical_id": "17" }), BadId, "canonical_id", "UUID"),
        (json!({ "canonical_id": 17 }), BadEnvelope, "canonical_id", "must be text"),
        (json!({ "nativeId": "x" }), BadEnvelope, "nativeId", "did you mean \"native_id\"?"),
        (json!({ "colour": "x" }), BadEnvelope, "colour", "begin its name with x-"),
        (json!({ "updates": [] }), BadEnvelope, "updates", "\"change_set\": true"),
        (json!({ "specversion": "0.3" }), BadEnvelope, "specversion", "1.0"),
    ];
    for (overlay, reason, field, words) in cases {
        let problem = refused(upsert_with(&overlay).to_string().as_bytes());
        assert_eq!(
            (problem.rejection.reason, problem.rejection.field.as_deref()),
            (reason, Some(field)),
            "{overlay}: {}",
            problem.rejection
        );
        assert!(problem.rejection.detail.contains(words), "{}", problem.rejection);
    }
}

fn overlaid(mut base: Value, overlay: &Value) -> Value {
    for (name, value) in overlay.as_object().expect("an overlay is an object") {
        match value {
            Value::Null => drop(base.as_object_mut().expect("an object").remove(name)),
            other => base[name] = other.clone(),
        }
    }
    base
}

fn upsert_with(overlay: &Value) -> Value {
    overlaid(json!({ "id": "u-1", "system": "bms", "type": "device", "native_id": "bmsD1", "entity": { "serial": "SN-001" } }), overlay)
}

#[test]
fn receipts_that_break_a_rule_are_refused() {
    use DeadReason::{BadEnvelope, TooManyFields};
    let stored: Value = serde_json::from_str(&fields(1000)).unwrap();
    let mut too_many = stored.clone();
    too_many.as_object_mut().expect("an object").remove("f0");
    too_many["two-more"] = json!({ "a": 1, "b": {} });
    let cases = [
        (json!({ "rev": null }), BadEnvelope, "rev"),
        (json!({ "rev": "1" }), BadEnvelope, "rev"),
        (json!({ "status": null }), BadEnvelope, "status"),
        (json!({ "status": "ok" }), BadEnvelope, "status"),
        (json!({ "status": 1 }), BadEnvelope, "status"),
        (json!({ "native_id": null }), BadEnvelope, "native_id"),
        (json!({ "native_id": null, "canonical_id": null, "status": "failed" }), BadEnvelope, "canonical_id"),
        (json!({ "stored": [] }), BadEnvelope, "stored"),
        (json!({ "stored": too_many }), TooManyFields, "stored"),
        (json!({ "reason": 5 }), BadEnvelope, "reason"),
        (json!({ "entity": {} }), BadEnvelope, "entity"),
    ];
    for (overlay, reason, field) in cases {
        let problem = refused(receipt_with(&overlay).to_string().as_bytes());
        assert_eq!(
            (problem.rejection.reason, problem.rejection.field.as_deref()),
            (reason, Some(field)),
            "{overlay}: {}",
            problem.rejection
        );
    }
    for overlay in [
        json!({}),
        json!({ "stored": stored }),
        json!({ "native_id": null, "status": "failed", "reason": "locked" }),
        json!({ "native_id": null, "status": "rejected" }),
        json!({ "canonical_id": null }),
        json!({ "seq": 3, "occurred_at": "2026-01-31T09:30:00Z" }),
    ] {
        let decoded = decode(receipt_with(&overlay).to_string().as_bytes(), &Transport::default(), &Limits::default());
        assert!(matches!(decoded, Ok(Inbound::Receipt(_))), "{overlay}: {decoded:?}");
    }
}

fn receipt_with(overlay: &Value) -> Value {
    let receipt = json!({ "id": "r-1", "system": "oem", "type": "device", "op": "receipt", "native_id": "oemD9", "rev": 1,
        "canonical_id": "0192f0c4-7c1e-7aaa-8000-000000000001", "status": "applied" });
    overlaid(receipt, overlay)
}

#[test]
fn change_sets_that_break_a_rule_are_refused() {
    use DeadReason::{BadEnvelope, BadId, NoId};
    let good = upsert_with(&json!({}));
    let cases = [
        (json!({ "change_set": true, "updates": [good] }), NoId, "id", "no id"),
        (json!({ "id": "", "change_set": true, "updates": [good] }), BadId, "id", "1 to 200"),
        (json!({ "id": "s", "change_set": 1, "updates": [good] }), BadEnvelope, "change_set", "must be true"),
        (json!({ "id": "s", "change_set": "t", "updates": [good] }), BadEnvelope, "change_set", "another id"),
        (json!({ "id": "s", "change_set": true }), BadEnvelope, "updates", "is missing"),
        (json!({ "id": "s", "change_set": true, "updates": {} }), BadEnvelope, "updates", "array"),
        (json!({ "id": "s", "change_set": true, "updates": [] }), BadEnvelope, "updates", "empty"),
        (json!({ "id": "s", "change_set": true, "updates": [good], "update": 1 }), BadEnvelope, "update", "did you mean \"updates\"?"),
        (json!({ "id": "s", "change_set": true, "updates": [good, 5] }), BadEnvelope, "/updates/1", "not an object"),
        (json!({ "id": "s", "change_set": true, "updates": [{ "id": "t", "change_set": true }] }), BadEnvelope, "/updates/0", "another"),
        (
            json!({ "id": "s", "change_set": true, "updates": [good, upsert_with(&json!({ "id": null }))] }),
            NoId,
            "/updates/1/id",
            "updates[1]",
        ),
    ];
    for (set, reason, field, words) in cases {
        let problem = refused(set.to_string().as_bytes());
        assert_eq!((problem.rejection.reason, problem.rejection.field.as_deref()), (reason, Some(field)), "{set}: {}", problem.rejection);
        assert!(problem.rejection.detail.contains(words), "{set}: {}", problem.rejection);
    }
    let set = json!({ "id": "s", "change_set": true, "updates": [good, upsert_with(&json!({ "op": "oops", "native_id": "bmsD2" }))] });
    let problem = refused(set.to_string().as_bytes());
    assert_eq!((problem.id.as_deref(), problem.native_id.as_deref()), (Some("s"), Some("bmsD2")));
}

#[test]
fn what_is_just_within_the_limits_passes() {
    let cases = [
        ("depth", nested(62)),
        ("fields", fields(1000)),
        ("an array of objects is one field", format!(r#"{{"a":[{},{}]}}"#, fields(600), fields(600))),
        ("name", format!(r#"{{"{}":1}}"#, "n".repeat(256))),
        ("integers", r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":9007199254740993}"#.into()),
        ("large doubles", r#"{"a":1e30,"b":1.7976931348623157e308,"c":-1e300,"d":18446744073709551616.0}"#.into()),
        ("digits in text", r#"{"a":1e30,"b":"99999999999999999999","c":"\"99999999999999999999"}"#.into()),
        ("surrogate pair", r#"{"a":"\ud83d\ude00"}"#.into()),
    ];
    for (name, entity) in cases {
        let entity = if entity.starts_with('[') { format!(r#"{{"a":{}}}"#, nested(62)) } else { entity };
        let decoded = decode(with_entity(&entity).as_bytes(), &Transport::default(), &Limits::default());
        assert!(decoded.is_ok(), "{name}: {decoded:?}");
    }
    let head = with_entity(r#"{"a":""}"#);
    let full = with_entity(&format!(r#"{{"a":"{}"}}"#, "x".repeat(1024 * 1024 - head.len())));
    assert_eq!(full.len(), 1024 * 1024);
    assert!(decode(full.as_bytes(), &Transport::default(), &Limits::default()).is_ok());
}

#[test]
fn values_come_out_as_they_went_in() {
    let text = r#"{"a.b":1,"$set":{"$x":-1},"big":18446744073709551615,"e":"","f":0.1,"g":1.0,"list":[true,false,null,{}],"neg0":-0.0,"odd":9007199254740993,"pi":3.141592653589793,"tiny":5e-324,"ü":"日本 😀\u0000"}"#;
    let value = parse(text.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
    assert!(value["neg0"].as_f64().is_some_and(|zero| zero == 0.0 && zero.is_sign_negative()));
    assert!(value["g"].is_f64() && value["odd"] == json!(9_007_199_254_740_993_u64));
    let again = parse(value.to_string().as_bytes(), &Limits::default()).unwrap();
    assert_eq!(again, value);
    for scalar in ["1", "-1", "null", "true", "\"x\"", "[]", "{}", " [1] \n"] {
        assert!(parse(scalar.as_bytes(), &Limits::default()).is_ok(), "{scalar}");
    }
}

#[test]
fn configured_limits_apply() {
    let limits =
        Limits { message_bytes: 400, depth: 3, fields: 2, field_name_bytes: 16, native_id_bytes: 6, id_bytes: 4, key_value_bytes: 1 };
    let reason = |overlay: &Value| {
        decode(upsert_with(overlay).to_string().as_bytes(), &Transport::default(), &limits).err().map(|problem| problem.rejection.reason)
    };
    let wide = Limits { fields: 10, ..limits };
    assert!(decode(upsert_with(&json!({})).to_string().as_bytes(), &Transport::default(), &wide).is_ok());
    assert_eq!(reason(&json!({})), Some(DeadReason::TooManyFields), "the envelope itself is an object");
    let reason = |overlay: &Value| {
        decode(upsert_with(overlay).to_string().as_bytes(), &Transport::default(), &wide).err().map(|problem| problem.rejection.reason)
    };
    assert_eq!(reason(&json!({ "native_id": "1234567" })), Some(DeadReason::BadId));
    assert_eq!(reason(&json!({ "id": "12345" })), Some(DeadReason::BadId));
    assert_eq!(reason(&json!({ "entity": { "a": { "b": [] } } })), Some(DeadReason::TooDeep));
    let beyond = Limits { depth: 1000, ..Limits::default() };
    assert_eq!(parse(nested(500).as_bytes(), &beyond).unwrap_err().reason, DeadReason::TooDeep);
}
