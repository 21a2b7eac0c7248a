//! Long lists, asked for a part at a time.
//!
//! A server sorts and cuts a list by way of an index; how much of it is read for that depends on the server and on what else is
//! asked for: it may be all of it, for one page. So a list is asked for in spans of what orders it, a short one first and each
//! four times as long as the one before, until there is enough.

use std::sync::atomic::{AtomicI64, Ordering};

use dashmap::DashMap;

/// How much longer each span is than the one before.
const GROWTH: i64 = 4;

/// Where a list begins, and what of it there is to expect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// The number to begin with; it belongs to the first span, and so does everything up to `dense`.
    pub first: i64,
    /// From here on it is expected to be dense.
    pub dense: i64,
    /// From here on nothing is expected any more: what comes then is one with the span before.
    pub sparse: i64,
    /// The last number.
    pub last: i64,
}

/// The spans of a list, each with its lowest and its highest number.
#[derive(Debug)]
pub(super) struct Spans {
    next: Option<i64>,
    edge: i64,
    sparse: i64,
    last: i64,
    length: i64,
    down: bool,
}

impl Spans {
    /// From low numbers to high ones.
    pub const fn up(axis: Axis, length: i64) -> Self {
        let edge = if axis.first > axis.dense { axis.first } else { axis.dense };
        Self { next: Some(axis.first), edge, sparse: axis.sparse, last: axis.last, length, down: false }
    }

    /// From high numbers to low ones.
    pub fn down(axis: Axis, length: i64) -> Self {
        let Axis { first, dense, sparse, last } = axis;
        let mirrored = Axis {
            first: first.saturating_neg(),
            dense: dense.saturating_neg(),
            sparse: sparse.saturating_neg(),
            last: last.saturating_neg(),
        };
        Self { down: true, ..Self::up(mirrored, length) }
    }

    /// All at once.
    pub const fn whole(low: i64, high: i64) -> Self {
        Self::up(Axis { first: low, dense: low, sparse: low, last: high }, 0)
    }
}

impl Iterator for Spans {
    type Item = (i64, i64);

    fn next(&mut self) -> Option<(i64, i64)> {
        let from = self.next.filter(|from| *from <= self.last)?;
        let to = self.edge.saturating_add(self.length.max(1) - 1);
        let to = if to >= self.sparse.min(self.last) { self.last } else { to };
        self.next = (to < self.last).then_some(to.saturating_add(1));
        self.edge = to.saturating_add(1);
        self.length = self.length.saturating_mul(GROWTH);
        Some(if self.down { (to.saturating_neg(), from.saturating_neg()) } else { (from, to) })
    }
}

/// How long a span was lately that held just enough.
#[derive(Debug)]
pub(super) struct Length(AtomicI64);

impl Length {
    pub const fn new(length: i64) -> Self {
        Self(AtomicI64::new(length))
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A list of everything found so many of those wanted within a length.
    pub fn learn(&self, length: i64, found: usize, wanted: usize) {
        if found >= wanted && wanted > 0 {
            self.0.store((length / found as i64).saturating_mul(wanted as i64).max(1), Ordering::Relaxed);
        }
    }
}

/// Such lengths by name, for a list that is asked for by parts: each of them lies as dense as it does.
#[derive(Debug)]
pub(super) struct Lengths {
    first: i64,
    known: DashMap<String, Length>,
}

impl Lengths {
    /// Names remembered at most; what comes later begins with the first length.
    const KNOWN: usize = 256;

    pub fn new(first: i64) -> Self {
        Self { first, known: DashMap::new() }
    }

    pub fn get(&self, name: &str) -> i64 {
        self.known.get(name).map_or(self.first, |known| known.get())
    }

    pub fn learn(&self, name: &str, length: i64, found: usize, wanted: usize) {
        if let Some(known) = self.known.get(name) {
            known.learn(length, found, wanted);
        } else if self.known.len() < Self::KNOWN {
            self.known.entry(name.to_owned()).or_insert_with(|| Length::new(self.first)).learn(length, found, wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIS: Axis = Axis { first: 0, dense: 100, sparse: 1_000, last: 5_000 };

    #[test]
    fn spans_grow_and_leave_nothing_out() {
        let up: Vec<_> = Spans::up(AXIS, 10).collect();
        assert_eq!(up, [(0, 109), (110, 149), (150, 309), (310, 949), (950, 5_000)]);
        let down = Axis { first: 5_000, dense: 1_000, sparse: 900, last: 0 };
        let down: Vec<_> = Spans::down(down, 10).collect();
        assert_eq!(down, [(991, 5_000), (951, 990), (0, 950)]);
    }

    #[test]
    fn the_ends_of_the_numbers_are_in_it() {
        let all = Axis { first: i64::MAX, dense: 0, sparse: -10, last: i64::MIN };
        let spans: Vec<_> = Spans::down(all, 1).collect();
        assert_eq!((spans[0].1, spans.last().unwrap().0), (i64::MAX, -i64::MAX));
        assert!(spans.windows(2).all(|pair| pair[0].0 == pair[1].1 + 1));
        assert_eq!(Spans::whole(i64::MIN, i64::MAX).collect::<Vec<_>>(), [(i64::MIN, i64::MAX)]);
        let beyond = Axis { first: 7_000, ..AXIS };
        assert_eq!(Spans::up(beyond, 10).count(), 0);
    }

    #[test]
    fn lengths_are_learnt_by_name() {
        let lengths = Lengths::new(1_000);
        lengths.learn("sensor", 8_000, 100, 50);
        assert_eq!((lengths.get("sensor"), lengths.get("device")), (4_000, 1_000));
        (0..2 * Lengths::KNOWN).for_each(|n| lengths.learn(&n.to_string(), 1, 1, 1));
        assert_eq!((lengths.get("sensor"), lengths.known.len()), (4_000, Lengths::KNOWN));
    }

    #[test]
    fn a_length_is_learnt_from_what_was_enough() {
        let length = Length::new(1_000);
        length.learn(8_000, 10, 50);
        assert_eq!(length.get(), 1_000);
        length.learn(8_000, 100, 50);
        assert_eq!(length.get(), 4_000);
    }
}
