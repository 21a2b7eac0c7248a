//! The servers themselves are killed and started again, under load: servers of this test alone, as others need theirs.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::kills::{SURVEY, assert_whole, devices, edits, survey};
use crate::servers::Servers;
use crate::world::{Dice, World, setting};

/// A set of servers; they end with it.
struct Own {
    /// Where `scripts/services` notes what it has started.
    notes: TempDir,
    servers: Servers,
    /// The command that rules RabbitMQ; `None`: it runs where it can't be ruled.
    ctl: Option<String>,
}

impl Own {
    /// Starts them; `None` where there is no way to.
    fn up() -> Option<Self> {
        let notes = tempfile::tempdir().unwrap();
        let said = services(&notes, &["up", "mongodb", "rabbitmq"]);
        let of = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            line.map(|value| value.replace('\\', "").trim_matches('\'').to_owned())
        };
        let (amqp, mongodb) = (of("SYNCLINE_TEST_AMQP_URL"), of("SYNCLINE_TEST_MONGODB_URL"));
        let (Some(amqp), Some(mongodb)) = (amqp, mongodb) else {
            assert!(std::env::var_os("CI").is_none(), "scripts/services started no servers of this test's own");
            eprintln!("skipped: there is no RabbitMQ or no MongoDB here to be started and killed");
            return None;
        };
        let name = format!("test-{}", uuid::Uuid::now_v7().simple());
        Some(Self { notes, servers: Servers { amqp, mongodb, name }, ctl: of("SYNCLINE_TEST_RABBITMQCTL") })
    }

    fn restart(&self, name: &str) {
        services(&self.notes, &["restart", name]);
    }

    /// RabbitMQ takes no messages from now on, as it has no memory left, or takes them again; false: it can't be told to.
    fn short_of_memory(&self, is_short: bool) -> bool {
        let Some(ctl) = &self.ctl else { return false };
        let mut command = Command::new(ctl);
        command.args(["set_vm_memory_high_watermark", if is_short { "0.0000001" } else { "0.6" }]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        true
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        services(&self.notes, &["down"]);
    }
}

fn services(notes: &TempDir, arguments: &[&str]) -> String {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services"));
    command
        .args(arguments)
        .env("CARGO_TARGET_DIR", notes.path())
        .env_remove("SYNCLINE_TEST_AMQP_URL")
        .env_remove("SYNCLINE_TEST_MONGODB_URL");
    // To a file: what it has started would keep a pipe open.
    let (said, wrong) = (notes.path().join("said"), notes.path().join("wrong"));
    command.stdout(std::fs::File::create(&said).unwrap()).stderr(std::fs::File::create(&wrong).unwrap());
    let status = command.status().unwrap();
    assert!(status.success(), "{arguments:?}: {}", std::fs::read_to_string(wrong).unwrap());
    std::fs::read_to_string(said).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_servers_killed_under_load_nothing_is_lost_or_repeated() {
    let Some(own) = Own::up() else { return };
    let world = World::on(Some(&own.servers), SURVEY);
    let mut dice = Dice(setting("SYNCLINE_CHAOS_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (bms, oem) = (world.bms(), world.oem());
    let devices = devices(&bms, &oem);
    let mut child = world.start().await;
    let running = [world.run_bms(&bms), world.run_oem(&oem)];
    let stop = Arc::new(AtomicBool::new(false));
    let surveyor = tokio::spawn(survey(vec![world.url.clone()], stop.clone()));
    for round in 0..setting("SYNCLINE_CHAOS_RESTARTS", 1) {
        for server in ["rabbitmq", "mongodb"] {
            let length = Duration::from_millis(200 + dice.roll(500));
            edits(&mut dice, &bms, &oem, &devices, round, length).await;
            tokio::task::block_in_place(|| own.restart(server));
            eprintln!("restarted {server}");
        }
        if tokio::task::block_in_place(|| own.short_of_memory(true)) {
            let length = Duration::from_millis(200 + dice.roll(500));
            edits(&mut dice, &bms, &oem, &devices, round, length).await;
            tokio::task::block_in_place(|| own.short_of_memory(false));
            eprintln!("RabbitMQ was short of memory");
        }
    }
    let length = Duration::from_millis(500);
    edits(&mut dice, &bms, &oem, &devices, 1000, length).await;
    stop.store(true, Ordering::SeqCst);
    let accepted = surveyor.await.unwrap();
    world.quiet(&bms, &oem).await;
    assert_whole(&world, &bms, &oem, &accepted).await;
    assert!(child.try_wait().unwrap().is_none(), "it has run all the time");
    for adapter in running {
        adapter.stop().await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.verify();
}
