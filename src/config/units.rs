//! Quantities with their unit, as people write them: `"5ms"`, `"400d"`, `"forever"`, `"16MiB"`.

use std::time::Duration;

use serde::Serialize;

use super::reader::{Field, Read};

/// A time after which something happens, or never.
///
/// Written as a duration, or as `"never"` or, where something is kept, `"forever"`; the two words mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Expiry {
    /// It never ends.
    Never,
    /// It ends after this long.
    After(Duration),
}

impl Expiry {
    /// The duration, if there is an end.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(duration) => Some(duration),
        }
    }
}

impl Read for Expiry {
    fn read(field: &Field<'_>) -> Option<Self> {
        match field.text("a duration such as \"90d\", or \"never\" or \"forever\"")? {
            "never" | "forever" => Some(Self::Never),
            text => {
                let read = duration(text);
                if read.is_none() {
                    field.error(format!(
                        "{text:?} is not a duration; write a whole number and ms, s, m, h or d, such as \"90d\", \
                         or \"never\" or \"forever\""
                    ));
                }
                read.map(Self::After)
            }
        }
    }
}

/// An amount of memory in bytes. Written with a unit: `"512KiB"`, `"16MiB"`, `"1GiB"`, `"0B"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// So many MiB (1,048,576 bytes each).
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl Read for ByteSize {
    fn read(field: &Field<'_>) -> Option<Self> {
        let text = field.text("a size such as \"16MiB\"")?;
        let read = byte_size(text);
        if read.is_none() {
            field.error(format!("{text:?} is not a size; write a whole number and B, KiB, MiB or GiB, such as \"16MiB\""));
        }
        read.map(Self)
    }
}

/// `5ms`, `200ms`, `2s`, `1m`, `10h`, `90d`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn byte_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..unit].parse().ok()?, text[unit..].trim_start()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{byte_size, duration};

    #[test]
    fn durations_and_sizes_need_a_number_and_a_unit() {
        for (text, millis) in [
            ("5ms", Some(5)),
            ("200ms", Some(200)),
            ("2s", Some(2_000)),
            ("1m", Some(60_000)),
            ("3h", Some(10_800_000)),
            ("90d", Some(7_776_000_000)),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("1.5s", None),
            ("5 minutes", None),
            ("99999999999999999999d", None),
            ("999999999999999999d", None),
        ] {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        }
        for (text, bytes) in [("0B", Some(0)), ("1KiB", Some(1024)), ("16MiB", Some(16_777_216)), ("16MB", None), ("16", None)] {
            assert_eq!(byte_size(text), bytes, "{text}");
        }
    }
}
