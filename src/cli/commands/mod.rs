//! One file per command.

pub mod asyncapi;
pub mod brakes;
pub mod check;
pub mod compare;
pub mod dead_letters;
pub mod decision;
pub mod decisions;
pub mod demo;
pub mod entity;
pub mod history;
pub mod parked;
pub mod pause;
pub mod receive;
pub mod resync;
pub mod run;
pub mod schema;
pub mod send;
pub mod snapshot;
pub mod status;
pub mod systems;
pub mod topology;
pub mod verify;
pub mod why;
