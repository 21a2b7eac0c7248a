//! The engine and the bare loop in turns, a few seconds each, so that both meet the same machine: what one machine does differs by
//! a third from one minute to the next.

use crate::bare::{self, Ground};
use crate::engine::Passes;
use crate::servers::Servers;

/// Updates of a turn.
const EACH: u64 = 4_000;

pub async fn run(servers: &Servers, updates: u64) {
    let turns = updates / EACH;
    assert!(turns > 0, "a turn is {EACH} updates: ask for as many at least");
    let mut engine = Passes::begin(servers, updates).await;
    // The bare loop writes and sends what the engine has written and sent.
    engine.change(servers, 0..updates, 1).await;
    let mut bare = Ground::of(servers, updates).await;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        let own = engine.change(servers, turn * EACH..(turn + 1) * EACH, 2).await;
        let loops = bare.pass(EACH, bare::GROUP).await;
        rates.push(own.rate / loops.rate);
        costs.push(own.cost / loops.cost);
    }
    engine.end().await;
    bare.end().await;
    println!("syncline to the bare loop, {turns} turns of {EACH} each: rate {}, processor time {}", spread(rates), spread(costs));
}

/// The median, and the least and the most.
fn spread(mut some: Vec<f64>) -> String {
    some.sort_unstable_by(f64::total_cmp);
    format!("{:.2} ({:.2} to {:.2})", some[some.len() / 2], some[0], some[some.len() - 1])
}
