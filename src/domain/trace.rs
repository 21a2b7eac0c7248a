//! Where an update stands in a distributed trace, as the `traceparent` of W3C Trace Context (level 1) says it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::UpdateId;

/// A trace, and the span in it that caused what follows.
///
/// ```
/// # use syncline::domain::trace::TraceParent;
/// let parent: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?;
/// assert_eq!(parent.trace_id(), "0af7651916cd43dd8448eb211c80319c");
/// assert_eq!(parent.to_string(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
/// assert!("00-00000000000000000000000000000000-b7ad6b7169203331-01".parse::<TraceParent>().is_err());
/// # Ok::<(), syncline::domain::trace::NoTrace>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

/// The text is no `traceparent`. Who gets one like that goes on as if there were none: so the standard says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: version, 32 and 16 hexadecimal digits that are not all 0, and flags, joined by dashes")]
pub struct NoTrace;

impl TraceParent {
    /// The trace, as 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span that caused what follows.
    #[must_use]
    pub const fn span(&self) -> u64 {
        self.span
    }

    /// The number of the trace.
    #[must_use]
    pub const fn trace(&self) -> u128 {
        self.trace
    }

    /// Whether whoever began the trace records it.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// What follows from the decision about an update. Whenever that is made, even twice, it is the same span.
    #[must_use]
    pub fn decided(&self, update: &UpdateId) -> Self {
        self.child(&update.to_string())
    }

    /// A span under this one, known by what it is about.
    #[must_use]
    pub fn child(&self, about: &str) -> Self {
        let span = xxhash_rust::xxh3::xxh3_64_with_seed(about.as_bytes(), self.span);
        Self { span: span.max(1), ..*self }
    }
}

impl FromStr for TraceParent {
    type Err = NoTrace;

    fn from_str(text: &str) -> Result<Self, NoTrace> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            let lower_hex = |part: &&str| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            parts.next().filter(lower_hex).ok_or(NoTrace)
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // Version 0 ends here; a later one may go on with parts of its own.
        if version == "ff" || version == "00" && parts.next().is_some() {
            return Err(NoTrace);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| NoTrace)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| NoTrace)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NoTrace)?;
        if trace == 0 || span == 0 { Err(NoTrace) } else { Ok(Self { trace, span, flags }) }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags & 1)
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::MessageId;
    use crate::domain::ids::SystemName;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_no_traceparent() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(NoTrace), "{text}");
        }
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-what-will-come";
        assert_eq!(later.parse::<TraceParent>().map(|parent| parent.to_string()).as_deref(), Ok(TEXT));
    }

    #[test]
    fn a_decision_is_one_span_of_the_same_trace() {
        let parent: TraceParent = TEXT.parse().expect("valid");
        let update = |id: &str| UpdateId::new(SystemName::new("bms").expect("valid"), MessageId::new(id).expect("valid"));
        let one = parent.decided(&update("u1"));
        assert_eq!(one.trace_id(), parent.trace_id());
        assert!(one.is_sampled());
        assert_ne!(one.span(), parent.span());
        assert_eq!(one, parent.decided(&update("u1")));
        assert_ne!(one, parent.decided(&update("u2")));
    }
}
