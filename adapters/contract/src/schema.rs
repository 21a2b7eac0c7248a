//! The parts of the JSON Schemas that the types alone don't say: the limits of ids and records.
//!
//! Lengths are limits in bytes; a schema counts characters, so what is close to a limit and not ASCII may pass a schema and be refused.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Longest id of an update or a set, in bytes.
pub const ID_MAX: usize = 200;
/// Longest native id, in bytes.
pub const NATIVE_ID_MAX: usize = 180;
/// Longest field name, in bytes.
pub const FIELD_NAME_MAX: usize = 256;
/// Most fields of a record.
pub const FIELDS_MAX: usize = 1000;
/// What a system or a type may be called.
pub const NAME_PATTERN: &str = "^[a-z0-9_-]{1,32}$";

const NO_NUL: &str = "^[^\u{0}]*$";

/// The name of a system or a type.
pub fn name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": NAME_PATTERN })
}

/// The id of a message.
pub fn id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": ID_MAX, "pattern": NO_NUL })
}

/// A native id as it is sent out: always text.
pub fn native_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": NATIVE_ID_MAX, "pattern": NO_NUL })
}

/// A native id as it is taken in: text, or an integer, which becomes its decimal text.
pub fn native_id_in(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "integer"], "minLength": 1, "maxLength": NATIVE_ID_MAX, "pattern": NO_NUL,
        "minimum": i64::MIN, "maximum": u64::MAX,
    })
}

/// A native id that is not known yet is null.
pub fn native_id_or_null(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "minLength": 1, "maxLength": NATIVE_ID_MAX, "pattern": NO_NUL })
}

/// An epoch of `seq`: any text that is not too long.
pub fn seq_epoch(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": ID_MAX })
}

/// An unsigned integer of 64 bits.
pub fn number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 0, "maximum": u64::MAX })
}

/// A canonical id.
pub fn canonical_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "uuid" })
}

/// A point in time.
pub fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// A record that comes in.
pub fn record(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": FIELDS_MAX,
        "propertyNames": { "minLength": 1, "maxLength": FIELD_NAME_MAX, "pattern": NO_NUL },
    })
}

/// A native model that goes out.
pub fn model(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

/// Always true.
pub fn yes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": true })
}
