//! What Syncline decides, and nothing else: pure and synchronous. No clock, no randomness, no I/O, no logging;
//! time and new ids come in as arguments, so equal inputs give equal plans.

pub mod change;
pub mod ids;
pub mod time;
