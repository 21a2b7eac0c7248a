//! The scenes of `tests/flows`, told once more by a running orchestrator: what systems say comes in through its real
//! edges, what they are sent is fetched there. The goldens are the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::needless_pass_by_value, missing_docs)]
// What the scenes by hand need besides.
#![allow(dead_code)]

#[path = "../flows/beside.rs"]
mod beside;
#[path = "../flows/breaker.rs"]
mod breaker;
#[path = "../flows/changed.rs"]
mod changed;
#[path = "../flows/creates.rs"]
mod creates;
#[path = "../flows/cycles.rs"]
mod cycles;
#[path = "../flows/deletes.rs"]
mod deletes;
#[path = "../flows/edges.rs"]
mod edges;
#[path = "../support/engine.rs"]
mod engine;
#[path = "../flows/erasure.rs"]
mod erasure;
#[path = "../flows/faults.rs"]
mod faults;
#[path = "../flows/freed.rs"]
mod freed;
mod ground;
#[path = "../flows/holds.rs"]
mod holds;
#[path = "../flows/identity.rs"]
mod identity;
#[path = "../flows/merging.rs"]
mod merging;
#[path = "../support/message.rs"]
mod message;
#[path = "../flows/omitted.rs"]
mod omitted;
#[path = "../flows/orphans.rs"]
mod orphans;
#[path = "../flows/people.rs"]
mod people;
mod place;
#[path = "../flows/redaction.rs"]
mod redaction;
#[path = "../flows/references.rs"]
mod references;
#[path = "../flows/regroup.rs"]
mod regroup;
#[path = "../flows/rekeyed.rs"]
mod rekeyed;
#[path = "../flows/repeated.rs"]
mod repeated;
#[path = "../flows/retention.rs"]
mod retention;
#[path = "../flows/revived.rs"]
mod revived;
#[path = "../flows/rules.rs"]
mod rules;
#[path = "../flows/saga.rs"]
mod saga;
#[path = "../flows/sending.rs"]
mod sending;
#[path = "../flows/shapes.rs"]
mod shapes;
#[path = "../flows/story.rs"]
mod story;
mod support;
#[path = "../flows/undecided.rs"]
mod undecided;
#[path = "../flows/unlinking.rs"]
mod unlinking;
#[path = "../flows/unsent.rs"]
mod unsent;
