//! The engine and the bare loop in turns, a few seconds each, so that both meet the same machine: what one machine does differs by
//! a third from one minute to the next.

use std::ops::Range;

use crate::bare::{self, Ground};
use crate::engine::Passes;
use crate::servers::{Servers, quantiles};

/// Updates of a turn.
const EACH: u64 = 4_000;

/// Both, once the engine has left what the bare loop writes and sends: records of which each has changed once.
async fn ready(servers: &Servers, updates: u64) -> (Passes, Ground) {
    assert!(updates >= EACH, "a turn is {EACH} updates: ask for as many at least");
    let mut engine = Passes::begin(servers, updates).await;
    engine.change(servers, 0..updates, 1).await;
    let bare = Ground::of(servers, updates).await;
    (engine, bare)
}

/// The records that change in a turn.
fn of_turn(turn: u64) -> Range<u64> {
    turn * EACH..(turn + 1) * EACH
}

/// How much they get done.
pub async fn throughput(servers: &Servers, updates: u64) {
    let (mut engine, mut bare) = ready(servers, updates).await;
    let (turns, mut rates, mut costs) = (updates / EACH, Vec::new(), Vec::new());
    for turn in 0..turns {
        let own = engine.change(servers, of_turn(turn), 2).await;
        let loops = bare.pass(EACH, bare::GROUP).await;
        rates.push(own.rate / loops.rate);
        costs.push(own.cost / loops.cost);
    }
    engine.end().await;
    bare.end().await;
    println!("syncline to the bare loop, {turns} turns of {EACH} each: rate {}, processor time {}", spread(rates), spread(costs));
}

/// How long a change takes at a thousand a second.
pub async fn latency(servers: &Servers, updates: u64) {
    let (mut engine, mut bare) = ready(servers, updates).await;
    let (turns, mut own, mut loops) = (updates / EACH, Vec::new(), Vec::new());
    for turn in 0..turns {
        own.append(&mut engine.steadily(servers, of_turn(turn), 2).await);
        loops.append(&mut bare.steadily(servers, EACH).await);
    }
    engine.end().await;
    bare.end().await;
    println!("at 1,000/s, from delivery to commit and acknowledgement, {turns} turns of {EACH} each:");
    println!("  syncline:  {}", quantiles(own));
    println!("  bare loop: {}", quantiles(loops));
}

/// The median, and the least and the most.
fn spread(mut some: Vec<f64>) -> String {
    some.sort_unstable_by(f64::total_cmp);
    format!("{:.2} ({:.2} to {:.2})", some[some.len() / 2], some[0], some[some.len() - 1])
}
