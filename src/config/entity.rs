//! `[entities.TYPE]`: identity, references and rules of one entity type.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::reader::{Field, Read, choice, distinct};
use super::survivorship::{Chain, Declared};
use super::values::FieldPath;
use crate::domain::ids::EntityType;

choice! {
    /// One step that makes key values comparable.
    Normalize {
        /// White space at both ends is cut.
        #[default]
        Trim = "trim",
        /// Capitals become small letters.
        Lowercase = "lowercase",
        /// Only digits are kept.
        Digits = "digits",
        /// Runs of white space become one space.
        CollapseSpaces = "collapse_spaces",
        /// Unicode normal form C.
        Nfc = "nfc",
    }
}

choice! {
    /// What happens when a system sends a second record with the key of one it already has.
    Duplicates {
        /// It waits for a person.
        #[default]
        Park = "park",
        /// Both native records belong to the one canonical record.
        Link = "link",
        /// It becomes a canonical record of its own.
        Separate = "separate",
    }
}

choice! {
    /// What happens to an update that names a record nobody has sent yet.
    InboundMissing {
        /// It waits for that record.
        #[default]
        Park = "park",
        /// The reference is taken as null.
        Null = "null",
    }
}

choice! {
    /// What happens to a message whose reference the target does not have yet.
    OutboundMissing {
        /// It waits until the target has it.
        #[default]
        Hold = "hold",
        /// It goes without the reference.
        Omit = "omit",
    }
}

choice! {
    /// What becomes of a record when one it refers to is deleted.
    OnParentDelete {
        /// It stays as it is; the reference is sent as null.
        #[default]
        Keep = "keep",
        /// Its reference becomes null.
        Clear = "clear",
        /// It is deleted, too.
        Cascade = "cascade",
        /// A person says whether the other one is deleted.
        Review = "review",
    }
}

choice! {
    /// What one system's delete means.
    DeletePolicy {
        /// The record is deleted everywhere.
        #[default]
        Propagate = "propagate",
        /// Only this system's link is detached.
        Unlink = "unlink",
        /// Nothing.
        Ignore = "ignore",
        /// A person decides.
        Review = "review",
    }
}

choice! {
    /// What an update to a deleted record does.
    DeleteConflict {
        /// It is dropped, and its system is sent the delete again.
        #[default]
        DeleteWins = "delete_wins",
        /// The record lives again.
        UpdateRevives = "update_revives",
    }
}

/// Fields whose values, together, identify a thing across systems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MatchKey {
    /// The fields; the key counts only where all of them have a value. Never empty.
    pub fields: Vec<FieldPath>,
    /// What is done to each value before it is compared, in order. Default: nothing.
    pub normalize: Vec<Normalize>,
    /// Values that identify nothing, as they are after normalising. Default: none; null and empty never count.
    pub ignore: Vec<String>,
}

/// What happens where a referenced record is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OnMissingReference {
    /// On the way in. Default: `park`.
    pub inbound: InboundMissing,
    /// On the way out. Default: `hold`.
    pub outbound: OutboundMissing,
}

/// Deletes of a type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delete {
    /// What a delete means. Default: `propagate`.
    pub policy: DeletePolicy,
    /// What a later update does. Default: `delete_wins`.
    pub conflict: DeleteConflict,
}

/// Identity, references and rules of one entity type. All fields are canonical names.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Entity {
    /// Match keys. Default: none; records join by link only.
    pub keys: Vec<MatchKey>,
    /// Whether a record without any key value waits for a person. Default: false.
    pub key_required: bool,
    /// A second record of one system with the same key. Default: `park`.
    pub duplicates: Duplicates,
    /// Fields that hold the id of a record of that type. Default: none.
    pub references: BTreeMap<FieldPath, EntityType>,
    /// Where a referenced record is missing. Default: `park`, `hold`.
    pub on_missing_reference: OnMissingReference,
    /// What becomes of records of this type when one they refer to is deleted. Default: `keep`.
    pub on_parent_delete: OnParentDelete,
    /// Deletes. Default: `propagate`, `delete_wins`.
    pub delete: Delete,
    /// Rules by field. Default: none, which is `latest` everywhere.
    pub survivorship: BTreeMap<FieldPath, Chain>,
    /// Arrays that merge as sets. Default: none.
    pub sets: BTreeSet<FieldPath>,
    /// Fields hidden in snapshots, console and logs. Default: none.
    pub redact: BTreeSet<FieldPath>,
}

impl Read for Entity {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let declared: BTreeMap<FieldPath, Declared> = table.or("survivorship", BTreeMap::new());
        let read = Self {
            keys: table.or("keys", usual.keys),
            key_required: table.or("key_required", usual.key_required),
            duplicates: table.or("duplicates", usual.duplicates),
            references: table.or("references", usual.references),
            on_missing_reference: table.or("on_missing_reference", usual.on_missing_reference),
            on_parent_delete: table.or("on_parent_delete", usual.on_parent_delete),
            delete: table.or("delete", usual.delete),
            survivorship: declared.into_iter().map(|(path, Declared(chain))| (path, chain)).collect(),
            sets: table.or("sets", usual.sets),
            redact: table.or("redact", usual.redact),
        };
        table.finish();
        Some(read)
    }
}

impl Read for MatchKey {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let fields = table.required_with("fields", distinct);
        let (normalize, ignore) = (table.or("normalize", Vec::new()), table.or("ignore", Vec::new()));
        table.finish();
        Some(Self { fields: fields?, normalize, ignore })
    }
}

impl Read for OnMissingReference {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self { inbound: table.or("inbound", usual.inbound), outbound: table.or("outbound", usual.outbound) };
        table.finish();
        Some(read)
    }
}

impl Read for Delete {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self { policy: table.or("policy", usual.policy), conflict: table.or("conflict", usual.conflict) };
        table.finish();
        Some(read)
    }
}
