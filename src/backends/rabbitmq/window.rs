//! Which deliveries are out, and what may be acknowledged of them. Pure.

use std::collections::VecDeque;

/// An acknowledgement to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    /// On which consumer's channel.
    pub lane: usize,
    /// The server's number of the delivery.
    pub delivery: u64,
    /// Everything before it, too.
    pub multiple: bool,
}

/// What the consumers have delivered and nobody has let go of yet, per consumer in the order it came.
#[derive(Debug, Default)]
pub(super) struct Windows {
    lanes: Vec<VecDeque<Entry>>,
    /// The last tag given. Tags are never given twice, so one of an earlier round is not found.
    last: u64,
    bound: usize,
}

#[derive(Debug)]
struct Entry {
    tag: u64,
    delivery: u64,
    settled: bool,
}

impl Windows {
    /// Forgets what is out and begins anew with so many consumers, which may have `bound` deliveries out each.
    pub fn begin(&mut self, lanes: usize, bound: usize) {
        self.lanes = std::iter::repeat_with(VecDeque::new).take(lanes).collect();
        self.bound = bound;
    }

    /// Notes a delivery; returns its tag.
    pub fn note(&mut self, lane: usize, delivery: u64) -> u64 {
        self.last += 1;
        if let Some(entries) = self.lanes.get_mut(lane) {
            entries.push_back(Entry { tag: self.last, delivery, settled: false });
        }
        self.last
    }

    /// How many are out.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// Lets go of deliveries, in any order; returns what can be acknowledged now.
    ///
    /// That is the unbroken row of settled ones from the oldest on, in one acknowledgement. Only where one that is not
    /// settled holds up so many others that the consumer would soon be given nothing more, these go one by one: a record
    /// whose handler thinks for long must not stop all the others.
    pub fn settle(&mut self, tags: &[u64]) -> Vec<Ack> {
        let mut acks = Vec::new();
        for (lane, entries) in self.lanes.iter_mut().enumerate() {
            for tag in tags {
                if let Ok(at) = entries.binary_search_by_key(tag, |entry| entry.tag) {
                    entries[at].settled = true;
                }
            }
            let row = entries.iter().take_while(|entry| entry.settled).count();
            if let Some(last) = entries.drain(..row).next_back() {
                acks.push(Ack { lane, delivery: last.delivery, multiple: true });
            }
            if entries.len() * 2 > self.bound {
                let single = entries.iter().filter(|entry| entry.settled);
                acks.extend(single.map(|entry| Ack { lane, delivery: entry.delivery, multiple: false }));
                entries.retain(|entry| !entry.settled);
            }
        }
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(lanes: usize, bound: usize) -> Windows {
        let mut windows = Windows::default();
        windows.begin(lanes, bound);
        windows
    }

    fn row(lane: usize, delivery: u64) -> Ack {
        Ack { lane, delivery, multiple: true }
    }

    #[test]
    fn only_an_unbroken_row_is_acknowledged() {
        let mut windows = windows(1, 100);
        let tags: Vec<u64> = (1..=5).map(|delivery| windows.note(0, delivery)).collect();
        assert_eq!(windows.settle(&[tags[2], tags[1]]), []);
        assert_eq!(windows.settle(&[tags[0]]), [row(0, 3)]);
        assert_eq!(windows.settle(&[tags[0], tags[1]]), [], "once is enough");
        assert_eq!(windows.settle(&[tags[4]]), []);
        assert_eq!(windows.len(), 2);
        assert_eq!(windows.settle(&[tags[3]]), [row(0, 5)]);
    }

    #[test]
    fn each_consumer_has_a_row_of_its_own() {
        let mut windows = windows(2, 100);
        let a = [windows.note(0, 1), windows.note(0, 2)];
        let b = [windows.note(1, 1), windows.note(1, 2)];
        assert_eq!(windows.settle(&[b[0], a[1]]), [row(1, 1)]);
        assert_eq!(windows.settle(&[a[0], b[1]]), [row(0, 2), row(1, 2)]);
    }

    #[test]
    fn tags_of_an_earlier_round_mean_nothing() {
        let mut windows = windows(1, 100);
        let old = windows.note(0, 1);
        windows.begin(1, 100);
        let new = windows.note(0, 1);
        assert_eq!(windows.settle(&[old]), []);
        assert_eq!(windows.settle(&[new]), [row(0, 1)]);
    }

    #[test]
    fn one_that_stays_out_does_not_stop_the_others() {
        let mut windows = windows(1, 4);
        let tags: Vec<u64> = (1..=4).map(|delivery| windows.note(0, delivery)).collect();
        let single = |delivery| Ack { lane: 0, delivery, multiple: false };
        assert_eq!(windows.settle(&[tags[1], tags[3]]), [single(2), single(4)]);
        assert_eq!(windows.settle(&[tags[0]]), [row(0, 1)]);
        assert_eq!(windows.settle(&[tags[2]]), [row(0, 3)]);
    }
}
