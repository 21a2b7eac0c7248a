//! The whole way of an update through an orchestrator in one process, next to a bare SQLite loop of the same rows.
//!
//! `scripts/bench embedded [updates]`. Each part runs in a process of its own, so that memory is its own too.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_precision_loss, clippy::cast_possible_truncation, missing_docs)]

mod bare;
mod engine;
#[allow(dead_code, reason = "shared with the other measurement")]
mod machine;
mod workload;

use std::process::Command;

/// As the program has it.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const USUAL: u64 = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("part") => {
            let updates = arguments[2].parse().unwrap();
            part(&arguments[1], updates);
        }
        count => {
            let updates: u64 = count.map_or(USUAL, |count| count.parse().expect("how many updates? a number"));
            all(updates);
        }
    }
}

fn all(updates: u64) {
    println!("{updates} records, random native ids, one key each; one fsync takes {:.0} us here", machine::fsync_us());
    for name in ["idle", "bare", "batch", "queue", "latency", "batch"] {
        let part = Command::new(std::env::current_exe().unwrap()).args(["part", name, &updates.to_string()]).output().unwrap();
        print!("{}", String::from_utf8_lossy(&part.stdout));
        assert!(part.status.success(), "{name}: {}", String::from_utf8_lossy(&part.stderr));
    }
}

fn part(name: &str, updates: u64) {
    let folder = tempfile::TempDir::new_in(".").unwrap();
    match name {
        "bare" => bare::run(folder.path(), updates),
        other => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                match other {
                    "idle" => engine::idle(folder.path()).await,
                    "batch" => engine::batch_path(folder.path(), updates).await,
                    "queue" => engine::queue_path(folder.path(), updates).await,
                    "latency" => engine::latency(folder.path()).await,
                    unknown => panic!("no part {unknown}"),
                }
            });
        }
    }
}
