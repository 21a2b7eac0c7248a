//! Time and ids that come from a seed.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::domain::ids::CanonicalId;
use crate::domain::time::Timestamp;
use crate::ports::clock::{Clock, Ids};

/// 2026-01-01T00:00:00Z.
const START_MICROS: i64 = 1_767_225_600_000_000;

/// A clock that only moves when told to.
#[derive(Debug)]
pub struct SeededClock(AtomicI64);

impl SeededClock {
    /// Starts at an instant that belongs to this seed and run.
    pub fn new(seed: u64, run: u64) -> Self {
        // A thousand days of starting points, one a second; each further run starts a day later.
        let seconds = i64::try_from(mix(seed) % 86_400_000).unwrap_or_default();
        let days = i64::try_from(run.saturating_sub(1)).unwrap_or_default();
        Self(AtomicI64::new(START_MICROS + (seconds + days * 86_400) * 1_000_000))
    }

    /// A millisecond passes.
    pub fn tick(&self) {
        self.0.fetch_add(1000, Ordering::Relaxed);
    }

    /// Jumps to a time, if that is later.
    pub fn reach(&self, time: Timestamp) {
        self.0.fetch_max(time.as_micros(), Ordering::Relaxed);
    }
}

impl Clock for SeededClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Ids that look like UUIDv7: the time, a counter, and bits of the seed.
#[derive(Debug)]
pub struct SeededIds {
    seed: u64,
    made: AtomicU64,
}

impl SeededIds {
    /// Ids of this seed and run.
    pub const fn new(seed: u64, run: u64) -> Self {
        Self { seed: mix(seed ^ mix(run)), made: AtomicU64::new(0) }
    }
}

impl Ids for SeededIds {
    fn canonical(&self, now: Timestamp) -> CanonicalId {
        let n = self.made.fetch_add(1, Ordering::Relaxed);
        let millis = u128::try_from(now.as_micros() / 1000).unwrap_or_default() & 0xffff_ffff_ffff;
        // 48 bits of time, version, 12 + 30 bits of the counter around the variant, 32 bits of chance.
        let (high, low) = (u128::from(n >> 30) & 0xfff, u128::from(n) & 0x3fff_ffff);
        let chance = u128::from(mix(self.seed ^ n) >> 32);
        let bits = millis << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low << 32 | chance;
        CanonicalId(uuid::Uuid::from_u128(bits))
    }
}

/// Spreads a number over all 64 bits (splitmix64).
const fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_ids_sort_later_and_look_like_version_seven() {
        let (clock, ids) = (SeededClock::new(7, 1), SeededIds::new(7, 1));
        let mut last = ids.canonical(clock.now());
        for n in 0..1000 {
            if n % 10 == 0 {
                clock.tick();
            }
            let next = ids.canonical(clock.now());
            assert!(next > last && next.0.get_version_num() == 7 && next.0.get_variant() == uuid::Variant::RFC4122);
            last = next;
        }
    }
}
