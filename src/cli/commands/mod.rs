//! One file per command.

pub mod check;
pub mod decision;
pub mod decisions;
pub mod demo;
pub mod entity;
pub mod history;
pub mod receive;
pub mod run;
pub mod schema;
pub mod send;
pub mod status;
pub mod systems;
pub mod topology;
pub mod verify;
pub mod why;
