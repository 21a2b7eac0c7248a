//! One file per command.

pub mod check;
pub mod decision;
pub mod decisions;
pub mod entity;
pub mod history;
pub mod run;
pub mod schema;
pub mod verify;
pub mod why;
