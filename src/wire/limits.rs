//! How big a message and its parts may be.

use serde::{Deserialize, Serialize};

/// Limits of inbound messages. All are checked before anything is stored; over one of them is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest message. Default: 1 MiB.
    pub message_bytes: usize,
    /// How many objects and arrays may be inside each other, the message itself included. Default: 64; 127 at most, what is stored
    /// 90 at most.
    pub depth: usize,
    /// Fields of one record: its leaf paths, where an array or an empty object is one field. Also the keys of any single
    /// object, wherever it is. Default: 1,000.
    pub fields: usize,
    /// Longest field name, in bytes. Default: 256.
    pub field_name_bytes: usize,
    /// Longest native id, in bytes. Default and maximum: 180.
    pub native_id_bytes: usize,
    /// Longest of the other ids, in bytes. Default and maximum: 200.
    pub id_bytes: usize,
    /// Longest value of a match key, in bytes. Default: 1 KiB. Checked where keys are computed, not while decoding.
    pub key_value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 1024 * 1024,
            depth: 64,
            fields: 1000,
            field_name_bytes: 256,
            native_id_bytes: 180,
            id_bytes: 200,
            key_value_bytes: 1024,
        }
    }
}

impl Limits {
    /// As far as each can be raised by configuration. What is read again after it was taken is read under these: the limits may
    /// be lower by then.
    pub const LARGEST: Self = Self {
        message_bytes: 4 * 1024 * 1024,
        depth: 90,
        fields: 10_000,
        field_name_bytes: 1024,
        native_id_bytes: 180,
        id_bytes: 200,
        key_value_bytes: 1024,
    };
}
