//! Work that a commit leaves behind: kept in the store until it is done, and done a page at a time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{CanonicalId, EntityType, NativeId, SystemName};

/// Something that is to be done to many records or rows, and that must not become one giant transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// The records of a type that refer to a deleted one: their references are cleared, or they are deleted, too.
    Orphans {
        /// The deleted record.
        parent: CanonicalId,
        /// The version it became by that: deleted once more, it is another task.
        version: u64,
        /// The type of the records that refer to it.
        children: EntityType,
    },
    /// The records of a type that refer to one a system has again, or under another native id: the references are sent to it
    /// again.
    Reunited {
        /// The record that is there again.
        parent: CanonicalId,
        /// Where.
        system: SystemName,
        /// Under which id.
        native_id: NativeId,
        /// For which time: let go of once more, it is another task.
        count: u32,
        /// The type of the records that refer to it.
        children: EntityType,
    },
    /// The records of a type that refer to one whose native record has another id now: the system is sent them again.
    Rekeyed {
        /// The record.
        parent: CanonicalId,
        /// Where.
        system: SystemName,
        /// What it is called there now.
        native_id: NativeId,
        /// The type of the records that refer to it.
        children: EntityType,
    },
    /// The values of a record are taken out of all that was decided about it, and out of its dead letters.
    Erase {
        /// The record.
        record: CanonicalId,
        /// The version it became by that.
        version: u64,
    },
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Erase { record, version } => write!(f, "erase:{record}:{version}"),
            Self::Reunited { parent, system, native_id, count, children } => {
                write!(f, "reunited:{parent}:{count}:{children}:{system}:{native_id}")
            }
            Self::Rekeyed { parent, system, native_id, children } => write!(f, "rekeyed:{parent}:{children}:{system}:{native_id}"),
            Self::Orphans { parent, version, children } => write!(f, "orphans:{parent}:{version}:{children}"),
        }
    }
}

/// What a commit says of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskChange {
    /// It is to be done. One that is to be done already stays so.
    Begin(Task),
    /// It is done. One that is not there is no matter.
    End(Task),
}
