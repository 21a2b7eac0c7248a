//! Messages for what is measured. Another process hands them in, so that the memory and the threads of this one are its own.

use std::ops::Range;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lapin::{Channel, Connection};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bare;
use crate::servers::Servers;
use crate::workload::{message, mix, shuffled};

/// Who is named as the system where the messages are for the bare loop.
pub const BARE: &str = "bare";
/// Messages handed in together: all at once, and at a steady pace, where as many come every five milliseconds.
const PAGE: u64 = 500;
const FEW: u64 = 5;
const EVERY: Duration = Duration::from_millis(5);

/// How they come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as they are taken.
    AtOnce,
    /// A thousand a second, whatever becomes of them.
    Steady,
}

/// What one system says of record `n` in its `pass`-th state.
fn of_system(system: &str, n: u64, pass: u64) -> (String, Vec<u8>) {
    let mut body: Value = serde_json::from_slice(&message(n, pass)).unwrap();
    let native = format!("{:016x}", mix(n ^ system.len() as u64 ^ u64::from(system.as_bytes()[0])));
    body["system"] = json!(system);
    body["id"] = json!(format!("{system}-{n}-{pass}"));
    body["native_id"] = json!(native);
    (format!("{system}.device.{native}"), serde_json::to_vec(&body).unwrap())
}

/// Has another process hand in what a system says of some of all its records.
pub async fn apart(servers: &Servers, system: &str, some: Range<u64>, all: u64, pass: u64, pace: Pace) {
    let numbers = [some.start, some.end, all, pass, u64::from(pace == Pace::Steady)].map(|number| number.to_string());
    let mut feeding = Command::new(std::env::current_exe().unwrap());
    feeding.args(["feed", &servers.name, system]).args(numbers);
    let fed = tokio::task::spawn_blocking(move || feeding.status().unwrap()).await.unwrap();
    assert!(fed.success(), "the messages could not be handed in");
}

/// What that process does. The first load comes in order, changes in no order.
pub async fn feed(servers: &Servers, system: &str, [from, to, all, pass, steady]: [u64; 5]) {
    let way = Arc::new(Way::to(servers, system).await);
    let record = |i: u64| if pass == 0 { i } else { shuffled(i, all) };
    let some = |first: u64, count: u64| (first..to.min(first + count)).map(|i| of_system(system, record(i), pass)).collect();
    if steady == 0 {
        for first in (from..to).step_by(PAGE as usize) {
            way.hand_in(some(first, PAGE)).await;
        }
        return;
    }
    let (begin, mut under_way) = (Instant::now(), JoinSet::new());
    for (tick, first) in (0..).zip((from..to).step_by(FEW as usize)) {
        tokio::time::sleep_until(begin + EVERY * tick).await;
        let (way, few) = (way.clone(), some(first, FEW));
        under_way.spawn(async move { way.hand_in(few).await });
    }
    under_way.join_all().await;
}

/// To whom they are handed in: as adapters do it, over a connection of their own.
struct Way {
    channel: Channel,
    exchange: String,
    /// The loop's own queue.
    inbox: Option<String>,
    _connection: Connection,
}

impl Way {
    async fn to(servers: &Servers, system: &str) -> Self {
        let (connection, channel) = servers.channel().await;
        let inbox = (system == BARE).then(|| bare::inbox(servers));
        let exchange = if inbox.is_some() { String::new() } else { format!("{}.inbound", servers.name) };
        Self { channel, exchange, inbox, _connection: connection }
    }

    /// Hands messages in, durably.
    async fn hand_in(&self, messages: Vec<(String, Vec<u8>)>) {
        let messages = messages.into_iter().map(|(key, body)| {
            let key = self.inbox.clone().unwrap_or(key);
            (key, (bare::durable_message(), body))
        });
        bare::publish(&self.channel, &self.exchange, messages).await;
    }
}
