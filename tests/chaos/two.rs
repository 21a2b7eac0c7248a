//! Two orchestrators on the same queues and the same store: whichever is killed, the other goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::kills::{SURVEY, assert_whole, devices, edits, survey};
use crate::servers::Servers;
use crate::world::{Dice, World, free_url, setting};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_orchestrators_whichever_is_killed_the_other_goes_on_in_order() {
    let Some(servers) = Servers::any() else { return };
    let world = World::on(Some(&servers), SURVEY);
    let mut dice = Dice(setting("SYNCLINE_CHAOS_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (bms, oem) = (world.bms(), world.oem());
    let devices = devices(&bms, &oem);
    let urls = [world.url.clone(), free_url()];
    let mut children = [world.start_at(&urls[0]).await, world.start_at(&urls[1]).await];
    let running = [world.run_bms(&bms), world.run_oem(&oem)];
    let stop = Arc::new(AtomicBool::new(false));
    let surveyor = tokio::spawn(survey(urls.to_vec(), stop.clone()));
    for kill in 0..setting("SYNCLINE_CHAOS_KILLS", 6) {
        let length = Duration::from_millis(20 + dice.roll(250));
        edits(&mut dice, &bms, &oem, &devices, kill, length).await;
        // Only one of them is given messages at a time; which one it is changes with every kill of it.
        let victim = usize::try_from(dice.roll(2)).unwrap();
        children[victim].kill().unwrap();
        children[victim].wait().unwrap();
        // Nobody but the other one is there.
        edits(&mut dice, &bms, &oem, &devices, kill, length).await;
        children[victim] = world.start_at(&urls[victim]).await;
    }
    stop.store(true, Ordering::SeqCst);
    let accepted = surveyor.await.unwrap();
    world.quiet(&bms, &oem).await;
    assert_whole(&world, &bms, &oem, &accepted).await;
    for adapter in running {
        adapter.stop().await;
    }
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    world.verify();
    servers.clean().await;
}
