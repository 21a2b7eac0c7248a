//! What the machine itself does and takes.

use std::io::Write;
use std::time::Instant;

/// How long it takes to write a page to the disk for good, in microseconds.
pub fn fsync_us() -> f64 {
    let mut file = tempfile::tempfile_in(".").unwrap();
    let mut times: Vec<f64> = (0..200)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Private memory of this process, in MiB.
pub fn private_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// Processor time of this process's threads, in seconds: the store's writer, the store's log, all others.
pub fn processor() -> [f64; 3] {
    let mut seconds = [0.0; 3];
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        let at = if stat.contains("(store-writer)") {
            0
        } else if stat.contains("(store-log)") {
            1
        } else {
            2
        };
        seconds[at] += ticks / 100.0;
    }
    seconds
}

/// Processor time this whole machine has spent since it started, in seconds: of all programs, and of the system for them.
pub fn busy() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    // user, nice, system, idle, iowait, irq, softirq
    let ticks: Vec<f64> = stat.lines().next().unwrap().split_whitespace().skip(1).take(7).map(|ticks| ticks.parse().unwrap()).collect();
    [0, 1, 2, 5, 6].iter().map(|at| ticks[*at]).sum::<f64>() / 100.0
}
