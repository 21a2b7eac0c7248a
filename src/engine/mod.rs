//! The async shell around the domain: it loads what a decision needs, runs the handlers, commits, acknowledges, sends.
//!
//! Read [`pipeline`] top to bottom and you have understood the product.

pub mod activity;
pub mod acts;
pub mod attendance;
pub mod brake;
pub mod caches;
pub mod commit;
mod cycles;
pub mod decide;
pub mod delete_brake;
mod deletes;
pub mod directory;
pub mod dispatch;
pub mod handlers;
mod identify;
pub mod input;
pub mod intake;
pub mod lanes;
mod letters;
pub mod load;
pub mod merging;
pub mod person;
pub mod pipeline;
pub mod receipts;
mod rekey;
pub mod relay;
mod resend;
pub mod resync;
pub mod settings;
mod settle;
pub mod supervisor;
mod suspects;
pub mod unit;
pub mod waiting;
