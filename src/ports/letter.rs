//! Messages that could not be processed.

use serde::{Deserialize, Serialize};

use crate::domain::change::DeadReason;
use crate::domain::ids::UpdateId;
use crate::domain::tag::state_tag;
use crate::domain::time::Timestamp;

/// What the letters of one page say comes to this many bytes at most, unless it is one letter.
pub const LETTERS_BYTES: usize = 16 << 20;

/// Counts what the letters of a page say.
#[derive(Debug, Default)]
pub struct PageBytes(Option<usize>);

impl PageBytes {
    /// Whether a letter that says so much has room on the page, too. The first one always has.
    pub fn has_room(&mut self, bytes: usize) -> bool {
        let before = self.0.replace(self.0.unwrap_or(0).saturating_add(bytes));
        before.is_none_or(|before| before.saturating_add(bytes) <= LETTERS_BYTES)
    }
}

/// A message that cannot be processed; kept whole until someone acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DeadLetter {
    /// Its id: the update's, if it has one, else made from its bytes and time of arrival.
    pub id: String,
    /// The stable code.
    pub reason: DeadReason,
    /// One sentence.
    pub detail: String,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The system, as far as it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The type, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub entity_type: Option<String>,
    /// The native id, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_id: Option<String>,
    /// The original bytes: text, or base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// `base64` if the body is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// It ends an update, of which a marker with this content hash stays. If that waited, its plan says it waits no more, and its
    /// decision row goes; otherwise nothing may be stored of it.
    #[serde(skip)]
    pub marks: Option<(UpdateId, u64)>,
}

impl DeadLetter {
    /// How many bytes it says.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.as_ref().map_or(0, String::len)
    }

    /// Names this very state of it: whoever decides about it can say which one they looked at.
    #[must_use]
    pub fn tag(&self) -> String {
        state_tag(self)
    }
}

/// A dead letter somebody has dealt with.
#[derive(Clone, Debug)]
pub struct SettledLetter {
    /// The letter as it was read: it must still be stored just so, else somebody else was faster.
    pub letter: DeadLetter,
    /// How it ends.
    pub end: LetterEnd,
}

/// How a dead letter ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterEnd {
    /// It is decided once more, by this very batch. If it left a marker for this update, that goes: it may be decided.
    Requeued(Option<UpdateId>),
    /// Nobody looks at it again. A marker with this content hash stays for the update, unless it has one already: a
    /// redelivery is harmless from now on.
    Discarded(Option<(UpdateId, u64)>),
}
