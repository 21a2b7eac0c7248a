//! `[limits]`: how large a message may be, and what is in it.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::reader::{Field, Read};
use super::units::ByteSize;

/// Limits of inbound messages. What is over one of them is a dead letter, or refused over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Largest message. Default: 1 MiB; 4 MiB at most.
    pub message: ByteSize,
    /// How many objects and arrays may be inside each other, the message itself included. Default: 64; 90 at most.
    pub nesting: u64,
    /// Fields of one record. Default: 1000; 10000 at most.
    pub fields: u64,
    /// Longest name of a field. Default: 256 bytes; 1 KiB at most.
    pub field_name: ByteSize,
    /// Longest native id. Default and maximum: 180 bytes.
    pub native_id: ByteSize,
    /// Longest of all other ids. Default and maximum: 200 bytes.
    pub id: ByteSize,
    /// Longest value of a match key. Default and maximum: 1 KiB.
    pub key_value: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: ByteSize::mib(1),
            nesting: 64,
            fields: 1000,
            field_name: ByteSize(256),
            native_id: ByteSize(180),
            id: ByteSize(200),
            key_value: ByteSize(1024),
        }
    }
}

impl Limits {
    /// As far as each of them can be raised: what was taken under any of them can be read again under these.
    pub const LARGEST: Self = Self {
        message: ByteSize::mib(4),
        nesting: 90,
        fields: 10_000,
        field_name: ByteSize(1024),
        native_id: ByteSize(180),
        id: ByteSize(200),
        key_value: ByteSize(1024),
    };
}

impl Read for Limits {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let (usual, largest) = (Self::default(), Self::LARGEST);
        let mut size = |key, usual: ByteSize, smallest, largest: ByteSize| {
            let Some(field) = table.field(key) else { return usual };
            let read = ByteSize::read(&field).filter(|size| within(&field, size.bytes(), smallest..=largest.bytes(), " bytes"));
            read.unwrap_or(usual)
        };
        let message = size("message", usual.message, 1024, largest.message);
        let field_name = size("field_name", usual.field_name, 16, largest.field_name);
        let native_id = size("native_id", usual.native_id, 16, largest.native_id);
        let id = size("id", usual.id, 64, largest.id);
        let key_value = size("key_value", usual.key_value, 16, largest.key_value);
        let mut count = |key, usual, smallest, largest| {
            let Some(field) = table.field(key) else { return usual };
            u64::read(&field).filter(|count| within(&field, *count, smallest..=largest, "")).unwrap_or(usual)
        };
        let nesting = count("nesting", usual.nesting, 4, largest.nesting);
        // An envelope has some itself.
        let fields = count("fields", usual.fields, 16, largest.fields);
        table.finish();
        Some(Self { message, nesting, fields, field_name, native_id, id, key_value })
    }
}

/// Whether a limit can be kept; says what can, if not.
fn within(field: &Field<'_>, value: u64, bounds: RangeInclusive<u64>, unit: &str) -> bool {
    let fits = bounds.contains(&value);
    if !fits {
        field.error(format!("{value}{unit} is out of range; {} to {}{unit}", bounds.start(), bounds.end()));
    }
    fits
}
