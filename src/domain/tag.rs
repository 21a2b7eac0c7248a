//! Short names for states, so that whoever decides about something can say what they looked at.

use serde::Serialize;

/// Names this very state of something.
#[must_use]
pub fn state_tag(of: &impl Serialize) -> String {
    // FNV-1a: short, and the same everywhere.
    let text = serde_json::to_string(of).unwrap_or_default();
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}
