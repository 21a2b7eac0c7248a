//! What is kept back until a person lets it go: brakes, pauses, systems that are only watched.

use std::time::Duration;

use serde_json::json;

use crate::support::Scene;

fn devices(more: &str) -> String {
    format!(
        r#"
[orchestration]
push_updates = true
{more}
[entities.device]
keys = [{{ fields = ["serial"] }}]
[systems.bms.entities.device]
create = false
[systems.oem.entities.device]
create = true
"#
    )
}

fn makes(scene: &mut Scene, n: u32) {
    scene.says("bms", "device", &format!("b{n}"), json!({"serial": format!("S{n}")}));
}

#[test]
fn too_many_creates_wait_for_a_person() {
    let mut scene = Scene::with(&devices("create_brake = { count = 2, window = \"1m\" }")).start();
    for n in 1..=4 {
        makes(&mut scene, n);
    }
    scene.skip_ahead();
    scene.says("bms", "device", "b3", json!({"serial": "S3", "name": "AHU"}));
    insta::assert_snapshot!(scene.kept(), @r#"
    [{"id":"create:oem:device","kind":"create_brake","system":"oem","type":"device","since":"2026-01-01T00:00:00Z","waiting":{"creates":2,"updates":0,"conflicts":0}}]
    "#);
    scene.restart();
    scene.wait(Duration::from_secs(300));
    scene.release("create:oem:device");
    makes(&mut scene, 5);
    insta::assert_snapshot!(scene.story(), @r#"
    u5 bms device b3 {"name":"AHU","serial":"S3"}
      bms:u5 accepted: taken: name
      = <device 3> v2 {"name":"AHU","serial":"S3"} [bms b3, oem (open create)]
    … restart
    … 300s later
    … create:oem:device is let go: 2 creates, 0 updates, 0 conflicts
      → oem: create device - rev 1 {"serial":"S4"} changed: serial
      → oem: create device - rev 2 {"name":"AHU","serial":"S3"} changed: name, serial
    u6 bms device b5 {"serial":"S5"}
      bms:u6 accepted: a new record from bms
      = <device 5> v1 {"serial":"S5"} [bms b5, oem (open create)]
      → oem: create device - rev 1 {"serial":"S5"} changed: serial
    "#);
}

#[test]
fn creates_at_a_slow_pace_pull_no_brake() {
    let mut scene = Scene::with(&devices("create_brake = { count = 2, window = \"1m\" }")).start();
    for n in 1..=4 {
        makes(&mut scene, n);
        scene.wait(Duration::from_secs(30));
    }
    insta::assert_snapshot!(scene.kept(), @r#"
    []
    "#);
}

#[test]
fn a_paused_system_gets_everything_at_once_afterwards() {
    let mut scene = Scene::with(&devices("")).start();
    makes(&mut scene, 1);
    scene.applies("oem", "o1");
    scene.skip_ahead();
    scene.pause("oem");
    for n in 1..=3 {
        scene.says("bms", "device", "b1", json!({"serial": "S1", "name": format!("AHU {n}")}));
    }
    makes(&mut scene, 2);
    scene.restart();
    scene.wait(Duration::from_secs(10));
    insta::assert_snapshot!(scene.kept(), @r#"
    [{"id":"pause-out:oem","kind":"pause_out","system":"oem","since":"2026-01-01T00:00:00Z","waiting":{"creates":1,"updates":1,"conflicts":0}}]
    "#);
    scene.release("pause-out:oem");
    insta::assert_snapshot!(scene.story(), @r#"
    … pause-out:oem begins
    u3 bms device b1 {"name":"AHU 1","serial":"S1"}
      bms:u3 accepted: taken: name
      = <device 1> v2 {"name":"AHU 1","serial":"S1"} [bms b1, oem o1]
    u4 bms device b1 {"name":"AHU 2","serial":"S1"}
      bms:u4 accepted: taken: name
      = <device 1> v3 {"name":"AHU 2","serial":"S1"} [bms b1, oem o1]
    u5 bms device b1 {"name":"AHU 3","serial":"S1"}
      bms:u5 accepted: taken: name
      = <device 1> v4 {"name":"AHU 3","serial":"S1"} [bms b1, oem o1]
    u6 bms device b2 {"serial":"S2"}
      bms:u6 accepted: a new record from bms
      = <device 2> v1 {"serial":"S2"} [bms b2, oem (open create)]
    … restart
    … 10s later
    … pause-out:oem is let go: 1 creates, 1 updates, 0 conflicts
      → oem: update device o1 rev 4 {"id":"o1","name":"AHU 3","serial":"S1"} changed: name
      → oem: create device - rev 1 {"serial":"S2"} changed: serial
    "#);
}

#[test]
fn a_system_that_is_only_watched_is_sent_nothing() {
    let config = devices("").replace("[systems.oem.entities", "[systems.oem]\nmode = \"observe\"\n[systems.oem.entities");
    let mut scene = Scene::with(&config).start();
    makes(&mut scene, 1);
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Pump"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "AHU"}));
    makes(&mut scene, 2);
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device b1 {"serial":"S1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":"S1"} [bms b1]
    u2 oem device o1 {"name":"Pump","serial":"S1"}
      oem:u2 accepted: the same thing as in bms: oem joins it; taken: name
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Pump","serial":"S1"} changed: name
    u3 bms device b1 {"name":"AHU","serial":"S1"}
      bms:u3 accepted: taken: name
        conflict name: base assumed, ours "Pump" (oem), theirs "AHU" → theirs (latest)
      = <device 1> v3 {"name":"AHU","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 2 {"id":"b1","name":"AHU","serial":"S1"} changed: name
    u4 bms device b2 {"serial":"S2"}
      bms:u4 accepted: a new record from bms
      = <device 2> v1 {"serial":"S2"} [bms b2]
    "#);
}
