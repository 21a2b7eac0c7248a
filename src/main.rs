//! The `syncline` command.

fn main() {}
