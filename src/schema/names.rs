//! Schemas of the values the domain keeps checked, as they are written out.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use syncline_contract::schema::{canonical_id, name, native_id, time};

use crate::domain::ids::{CanonicalId, EntityType, NativeId, SystemName, UpdateId};
use crate::domain::time::Timestamp;
use crate::domain::value::{FieldPath, Leaves};

macro_rules! written {
    ($($type:ty => $schema:expr;)*) => {
        $(impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let schema: fn(&mut SchemaGenerator) -> Schema = $schema;
                schema(generator)
            }
        })*
    };
}

written! {
    SystemName => name;
    EntityType => name;
    NativeId => native_id;
    CanonicalId => canonical_id;
    Timestamp => time;
    UpdateId => |_| json_schema!({ "type": "string", "pattern": "^[a-z0-9_-]{1,32}:[^\u{0}]+$" });
    FieldPath => |_| json_schema!({ "type": "string" });
    Leaves => |_| json_schema!({ "type": "object" });
}
