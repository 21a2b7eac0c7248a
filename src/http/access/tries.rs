//! How often somebody may try a wrong token, so that nobody guesses for long and nobody keeps the processor busy.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::time::Timestamp;

/// Wrong tokens of one address within a window, at most.
const OF_ONE: u32 = 10;
/// Wrong tokens of everybody within a window, at most.
const OF_ALL: u32 = 200;
/// How long they count.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are told apart.
const ADDRESSES: usize = 10_000;

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Timestamp,
    failed: u32,
}

impl Window {
    /// How long it still lasts; `None`: it is over.
    fn rest(self, now: Timestamp) -> Option<Duration> {
        // A clock that was set back must not keep anybody out for longer than a window.
        if now < self.since {
            return None;
        }
        WINDOW.checked_sub(now.since(self.since)).filter(|rest| !rest.is_zero())
    }
}

/// Who has tried how often lately.
#[derive(Debug, Default)]
pub struct Tries(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    each: HashMap<IpAddr, Window>,
    all: Option<Window>,
}

impl Tries {
    /// How long this address has to wait before it may try again; `None`: not at all.
    pub fn wait(&self, peer: IpAddr, now: Timestamp) -> Option<Duration> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |window: Option<&Window>, most: u32| window.filter(|window| window.failed >= most)?.rest(now);
        over(counted.each.get(&network(peer)), OF_ONE).or_else(|| over(counted.all.as_ref(), OF_ALL))
    }

    /// A token of this address is tried, and counts as wrong until it is known to be [`right`](Self::right).
    pub fn failed(&self, peer: IpAddr, now: Timestamp) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.all = Some(more(counted.all, now));
        drop(counted);
        self.failed_alone(peer, now);
    }

    /// It was right.
    pub fn right(&self, peer: IpAddr, now: Timestamp) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = &mut *counted;
        for window in counted.all.iter_mut().chain(counted.each.get_mut(&network(peer))).filter(|window| window.rest(now).is_some()) {
            window.failed = window.failed.saturating_sub(1);
        }
    }

    /// A token of this address was wrong at first sight: it cost nothing, so it keeps nobody else out.
    pub fn failed_alone(&self, peer: IpAddr, now: Timestamp) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = network(peer);
        if counted.each.len() >= ADDRESSES && !counted.each.contains_key(&peer) {
            counted.each.retain(|_, window| window.rest(now).is_some());
        }
        // Too many to be told apart: what all of them may do together bounds them.
        if counted.each.len() < ADDRESSES || counted.each.contains_key(&peer) {
            let window = more(counted.each.get(&peer).copied(), now);
            counted.each.insert(peer, window);
        }
    }
}

/// One more, in the window that lasts or in a new one.
fn more(window: Option<Window>, now: Timestamp) -> Window {
    match window.filter(|window| window.rest(now).is_some()) {
        Some(window) => Window { failed: window.failed + 1, ..window },
        None => Window { since: now, failed: 1 },
    }
}

/// Whoever has one address of an IPv6 network has all of them.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ten_wrong_tokens_and_then_a_minute_of_rest() {
        let (tries, bad, good) = (Tries::default(), address("10.0.0.1"), address("10.0.0.2"));
        for n in 0..OF_ONE {
            assert_eq!(tries.wait(bad, at(0)), None, "{n}");
            tries.failed(bad, at(0));
        }
        assert_eq!(tries.wait(bad, at(20)), Some(Duration::from_secs(40)));
        assert_eq!(tries.wait(good, at(20)), None);
        assert_eq!(tries.wait(bad, at(60)), None);
        tries.failed(bad, at(60));
        assert_eq!(tries.wait(bad, at(60)), None, "a window begins anew");
    }

    #[test]
    fn a_network_counts_as_one_and_all_of_them_are_bounded() {
        let tries = Tries::default();
        for n in 0..OF_ONE {
            tries.failed(address(&format!("2001:db8::{n:x}")), at(0));
        }
        assert!(tries.wait(address("2001:db8::ffff"), at(0)).is_some());
        assert!(tries.wait(address("2001:db8:0:1::1"), at(0)).is_none());
        for n in 0..OF_ALL {
            tries.failed(address(&format!("10.1.{}.{}", n / 250, n % 250)), at(0));
        }
        assert!(tries.wait(address("192.0.2.1"), at(0)).is_some());
        assert!(tries.wait(address("192.0.2.1"), at(61)).is_none());
        let counted = ADDRESSES + 10;
        for n in 0..u32::try_from(counted).unwrap() {
            tries.failed(IpAddr::V4(n.into()), at(100));
        }
        assert_eq!(tries.0.lock().unwrap().each.len(), ADDRESSES);
    }
}
