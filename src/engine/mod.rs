//! The async shell around the domain: it loads what a decision needs, runs the handlers, commits, acknowledges, sends.
//!
//! Read [`pipeline`] top to bottom and you have understood the product.

use std::pin::Pin;

pub mod activity;
pub mod acts;
pub mod attendance;
pub mod brake;
mod burying;
pub mod caches;
pub mod change_sets;
mod chores;
pub mod commit;
mod compensating;
mod cycles;
pub mod decide;
pub mod delete_brake;
mod deletes;
pub mod directory;
pub mod dispatch;
mod erasing;
pub mod facts;
mod freezing;
pub mod gathering;
pub mod handlers;
mod identify;
pub mod input;
pub mod intake;
pub mod lanes;
mod letters;
pub mod load;
pub mod merging;
pub mod messages;
mod orphans;
mod parents;
pub mod person;
pub mod pipeline;
pub mod receipts;
mod regroup;
mod rekey;
pub mod relay;
mod released;
mod resend;
pub mod resync;
pub mod settings;
mod settle;
mod sizes;
mod spans;
mod splitting;
pub mod supervisor;
mod suspects;
pub mod sweep;
pub mod tasks;
pub mod unit;
mod unsent;
pub mod waiting;

/// A future without its own type. What waits for it stays small: for the process, and for the compiler, which looks through the
/// whole of every future wherever it has to know that it may move between threads.
fn doing<'a, T>(future: impl Future<Output = T> + Send + 'a) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}
