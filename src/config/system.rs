//! `[systems.NAME]`: what one participating system takes, gives and can be trusted with.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::Serialize;

use super::reader::{Field, Read, choice};
use super::values::{FieldPath, Scalar, Switch};
use crate::domain::ids::EntityType;

choice! {
    /// Whether a system takes part or is only watched.
    Mode {
        /// It takes part.
        #[default]
        Sync = "sync",
        /// Everything is computed and stored, nothing is sent.
        Observe = "observe",
    }
}

choice! {
    /// Whether a system's adapter answers what it is sent.
    Receipts {
        /// Expected as soon as one was seen.
        #[default]
        Auto = "auto",
        /// Always expected.
        Required = "required",
        /// Never expected.
        None = "none",
    }
}

choice! {
    /// What applying a message writes in the system.
    Writes {
        /// Every field of the message.
        #[default]
        Whole = "whole",
        /// The changed fields of the message.
        Changed = "changed",
    }
}

choice! {
    /// What a field that is missing from a whole record means.
    Absent {
        /// It was not said; the value stays.
        #[default]
        Keep = "keep",
        /// It was cleared, if the system is known to have had it.
        Clear = "clear",
    }
}

choice! {
    /// Which way a type flows between the broker and a system.
    Direction {
        /// Both ways.
        #[default]
        Both = "both",
        /// From the system only.
        In = "in",
        /// To the system only.
        Out = "out",
    }
}

impl Direction {
    /// Whether updates are taken from the system.
    #[must_use]
    pub fn takes_in(self) -> bool {
        matches!(self, Self::Both | Self::In)
    }

    /// Whether the system is sent updates.
    #[must_use]
    pub fn sends_out(self) -> bool {
        matches!(self, Self::Both | Self::Out)
    }
}

choice! {
    /// What follows when a system refuses a change for good.
    OnReject {
        /// The change stays; the system keeps what it has.
        #[default]
        Keep = "keep",
        /// A person decides.
        Review = "review",
        /// The change is taken back everywhere.
        Compensate = "compensate",
    }
}

/// One participating system.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct System {
    /// Whether it takes part. Default: `sync`.
    pub mode: Mode,
    /// Whether it answers what it is sent. Default: `auto`.
    pub receipts: Receipts,
    /// What applying a message writes there. Default: `whole`.
    pub writes: Writes,
    /// Whether its feed reports what it applied. Default: `auto`, which watches for it.
    pub echo: Switch,
    /// What a field that is missing from a whole record means. Default: `keep`.
    pub absent: Absent,
    /// Whether its `occurred_at` may decide which edit is later. Default: false.
    pub trust_time: bool,
    /// The name of the field that repeats the record's own id. Default: `id`.
    pub id_field: String,
    /// The broker user its adapter signs in as. Default: none, which is the system's name.
    pub amqp_user: Option<String>,
    /// What holds for single types. Default: none; every type both ways.
    pub entities: BTreeMap<EntityType, SystemEntity>,
}

impl Default for System {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            receipts: Receipts::default(),
            writes: Writes::default(),
            echo: Switch::default(),
            absent: Absent::default(),
            trust_time: false,
            id_field: "id".to_owned(),
            amqp_user: None,
            entities: BTreeMap::new(),
        }
    }
}

/// Which fields of a type a system is concerned with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fields {
    /// All of them.
    #[default]
    All,
    /// These only.
    Only(BTreeSet<FieldPath>),
    /// All but these.
    Exclude(BTreeSet<FieldPath>),
}

/// How a system stores a value it is sent: two values equal after this mean the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compare {
    /// White space at both ends means nothing. Default: false.
    pub trim: bool,
    /// Capital and small letters mean the same. Default: false.
    pub case: bool,
    /// Unicode spellings of the same letter mean the same. Default: false.
    pub nfc: bool,
    /// Decimal places that are kept. Default: none, which is all.
    pub decimals: Option<u32>,
    /// Characters that are kept. Default: none, which is all.
    pub max_length: Option<NonZeroU32>,
}

/// One type in one system. Field names are canonical names unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SystemEntity {
    /// Which way the type flows. Default: `both`.
    pub direction: Direction,
    /// Whether the system is sent records it does not have. Default: `auto`, which is true if the type has keys.
    pub create: Switch,
    /// Which fields it is concerned with. Default: all.
    pub fields: Fields,
    /// Its names: canonical = native. One to one. Default: none.
    pub rename: BTreeMap<FieldPath, FieldPath>,
    /// Its values by field: canonical = native, both ways. One to one. Default: none.
    pub values: BTreeMap<FieldPath, BTreeMap<String, Scalar>>,
    /// How it stores values, by field. Default: exactly.
    pub compare: BTreeMap<FieldPath, Compare>,
    /// What follows when it refuses a change. Default: `keep`.
    pub on_reject: OnReject,
}

impl Read for System {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            mode: table.or("mode", usual.mode),
            receipts: table.or("receipts", usual.receipts),
            writes: table.or("writes", usual.writes),
            echo: table.or("echo", usual.echo),
            absent: table.or("absent", usual.absent),
            trust_time: table.or("trust_time", usual.trust_time),
            id_field: table.or("id_field", usual.id_field),
            amqp_user: table.take("amqp_user"),
            entities: table.or("entities", usual.entities),
        };
        table.finish();
        Some(read)
    }
}

impl Read for SystemEntity {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            direction: table.or("direction", usual.direction),
            create: table.or("create", usual.create),
            fields: table.or("fields", usual.fields),
            rename: table.or("rename", usual.rename),
            values: table.or("values", usual.values),
            compare: table.or("compare", usual.compare),
            on_reject: table.or("on_reject", usual.on_reject),
        };
        table.finish();
        Some(read)
    }
}

impl Read for Fields {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let (only, exclude) = (table.take("only"), table.take("exclude"));
        table.finish();
        match (only, exclude) {
            (Some(_), Some(_)) => {
                field.error("has both \"only\" and \"exclude\"; keep one of them");
                None
            }
            (Some(only), None) => Some(Self::Only(only)),
            (None, Some(exclude)) => Some(Self::Exclude(exclude)),
            (None, None) => Some(Self::All),
        }
    }
}

impl Read for Compare {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            trim: table.or("trim", usual.trim),
            case: table.or("case", usual.case),
            nfc: table.or("nfc", usual.nfc),
            decimals: table.take("decimals"),
            max_length: table.take("max_length"),
        };
        table.finish();
        Some(read)
    }
}
