//! The `syncline` command.

use std::process::ExitCode;

/// What is decided, read and written lies in many small pieces, made by one thread and freed by another (ADR 38).
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    syncline::app::main()
}
