//! The whole way of an update on RabbitMQ and MongoDB, next to a bare loop that consumes, writes and publishes the same.
//!
//! `scripts/bench servers [updates]`, with the servers of `SYNCLINE_TEST_AMQP_URL` and `SYNCLINE_TEST_MONGODB_URL`. Each part
//! runs in a process of its own, so that memory is its own too: `part NAME COUNT DATABASE`. One is not among them all, as it takes
//! long: `part unanswered 2000 DATABASE`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_precision_loss, clippy::cast_possible_truncation, missing_docs)]

mod bare;
mod engine;
mod feeding;
#[allow(dead_code, reason = "shared with the other measurement")]
#[path = "../bench_embedded/machine.rs"]
mod machine;
mod servers;
mod turns;
#[allow(dead_code, reason = "shared with the other measurement")]
#[path = "../bench_embedded/workload.rs"]
mod workload;

use std::process::Command;

use servers::Servers;
use tokio::runtime::Runtime;

/// As the program has it.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const USUAL: u64 = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("feed") => feed(&arguments[1], &arguments[2], &arguments[3..]),
        Some("part") => part(&arguments[1], arguments[2].parse().unwrap(), &Servers::named(&arguments[3])),
        count => all(count.map_or(USUAL, |count| count.parse().expect("how many updates? a number"))),
    }
}

fn all(updates: u64) {
    println!("{updates} changes of known records, each sent to two other systems; one fsync takes {:.0} us here", machine::fsync_us());
    let names = [(); 4].map(|()| Servers::new_name());
    for (part, name) in [
        ("idle", &names[0]),
        ("engine", &names[0]),
        ("bare", &names[0]),
        ("single", &names[0]),
        ("turns", &names[2]),
        ("receipts", &names[1]),
        ("latency", &names[3]),
        ("clean", &names[0]),
        ("clean", &names[1]),
        ("clean", &names[2]),
        ("clean", &names[3]),
    ] {
        let done = Command::new(std::env::current_exe().unwrap()).args(["part", part, &updates.to_string(), name]).output().unwrap();
        print!("{}", String::from_utf8_lossy(&done.stdout));
        assert!(done.status.success(), "{part}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn feed(name: &str, system: &str, numbers: &[String]) {
    let numbers: Vec<u64> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    runtime().block_on(feeding::feed(&Servers::named(name), system, numbers.try_into().unwrap()));
}

fn part(name: &str, updates: u64, servers: &Servers) {
    runtime().block_on(async {
        match name {
            "idle" => engine::idle(servers).await,
            "engine" => engine::throughput(servers, updates, false).await,
            "receipts" => engine::throughput(servers, updates, true).await,
            "latency" => turns::latency(servers, updates).await,
            "unanswered" => engine::unanswered(servers, updates).await,
            "bare" => bare::run(servers, updates, bare::GROUP).await,
            "turns" => turns::throughput(servers, updates).await,
            "single" => bare::run(servers, (updates / 20).max(100), 1).await,
            "clean" => servers.clean().await,
            unknown => panic!("no part {unknown}"),
        }
    });
}
