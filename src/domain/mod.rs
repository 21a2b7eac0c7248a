//! What Syncline decides, and nothing else: pure and synchronous. No clock, no randomness, no I/O, no logging;
//! time and new ids come in as arguments, so equal inputs give equal plans.

pub mod canonical;
pub mod change;
pub mod conclude;
pub mod decide;
pub mod decision;
pub mod explain;
pub mod explain_why;
pub mod handler;
pub mod identity;
pub mod ids;
pub mod link;
pub mod origin;
pub mod overlay;
pub mod planted;
pub mod projection;
pub mod provenance;
pub mod receipt;
pub mod representation;
pub mod review;
pub mod rules;
pub mod sending;
pub mod shadow;
pub mod survivorship;
pub mod time;
pub mod value;
pub mod waiting;
