//! What was recorded and has not gone out yet: sending is paused, or the broker takes nothing.

use std::time::Duration;

use serde_json::json;
use syncline::domain::ids::{NativeId, SystemName};
use syncline::engine::acts::Request;

use crate::support::{Scene, patch};

/// BMS says what it had applied; the same device is known to OEM, whose side is filled in.
fn devices(oem: &str) -> Scene {
    let config = format!(
        "[orchestration]\npush_updates = true\n[entities.device]\nkeys = [{{ fields = [\"serial\"] }}]\n\
         [systems.bms.entities.device]\ncreate = false\n[systems.oem]\n{oem}\n[systems.oem.entities.device]\ncreate = false\n\
         [systems.erp.entities.device]\ncreate = false\n"
    );
    let mut scene = Scene::with(&config).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    // Once more: the first time it joins, the second time is what it repeats later.
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    scene.pause("oem");
    scene.skip_ahead();
    scene
}

#[test]
fn who_was_not_told_takes_nothing_back() {
    let mut scene = devices("receipts = \"none\"");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    scene.wait(Duration::from_secs(60));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    scene.wait(Duration::from_secs(60));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Pump","room":"A1","serial":"S1"}
      bms:u4 accepted: taken: name
      = <device 1> v2 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem o1]
    … 60s later
    u5 oem device o1 {"name":"Fan","room":"A1","serial":"S1"}
      oem:u5 unchanged: not applied: name 'Fan', had not seen rev 1
    … 60s later
    u6 oem device o1 {"name":"Fan","room":"A1","serial":"S1"}
      oem:u6 unchanged: not applied: name 'Fan', had not seen rev 2
    "#);
}

#[test]
fn who_was_told_a_moment_ago_takes_nothing_back() {
    let mut scene = devices("receipts = \"none\"");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    scene.wait(Duration::from_secs(60));
    scene.release("pause-out:oem");
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Pump","room":"A1","serial":"S1"}
      bms:u4 accepted: taken: name
      = <device 1> v2 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem o1]
    … 60s later
    … pause-out:oem is let go: 0 creates, 1 updates, 1 conflicts
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","room":"A1","serial":"S1"} changed: name
    u5 oem device o1 {"name":"Fan","room":"A1","serial":"S1"}
      oem:u5 unchanged: not applied: name 'Fan', had not seen rev 1
      → oem: update device o1 rev 2 {"id":"o1","name":"Pump","room":"A1","serial":"S1"} changed: name
    "#);
}

#[test]
fn every_change_of_a_silent_system_is_named() {
    let mut scene = devices("echo = false\nreceipts = \"none\"\nwrites = \"changed\"");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "B2"}));
    scene.release("pause-out:oem");
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Pump","room":"A1","serial":"S1"}
      bms:u4 accepted: taken: name
      = <device 1> v2 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem o1]
    u5 bms device b1 {"name":"Pump","room":"B2","serial":"S1"}
      bms:u5 accepted: taken: room
      = <device 1> v3 {"name":"Pump","room":"B2","serial":"S1"} [bms b1, oem o1]
    … pause-out:oem is let go: 0 creates, 1 updates, 1 conflicts
      → oem: update device o1 rev 2 {"id":"o1","name":"Pump","room":"B2","serial":"S1"} changed: name, room
    "#);
}

#[test]
fn every_change_is_named_however_many_there_were() {
    let mut scene = devices("receipts = \"none\"\nwrites = \"changed\"");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    for room in 2..=70 {
        scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": format!("A{room}")}));
    }
    scene.skip_ahead();
    scene.release("pause-out:oem");
    insta::assert_snapshot!(scene.story(), @r#"
    … pause-out:oem is let go: 0 creates, 1 updates, 1 conflicts
      → oem: update device o1 rev 70 {"id":"o1","name":"Pump","room":"A70","serial":"S1"} changed: name, room
    "#);
}

#[test]
fn a_patch_that_happens_to_say_the_last_change_hides_none_before() {
    let mut scene = devices("receipts = \"none\"");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "B2"}));
    scene.send(patch("oem", "device", "o1", json!({"room": "B2"})));
    scene.release("pause-out:oem");
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Pump","room":"A1","serial":"S1"}
      bms:u4 accepted: taken: name
      = <device 1> v2 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem o1]
    u5 bms device b1 {"name":"Pump","room":"B2","serial":"S1"}
      bms:u5 accepted: taken: room
      = <device 1> v3 {"name":"Pump","room":"B2","serial":"S1"} [bms b1, oem o1]
    u6 oem patch device o1 {"room":"B2"}
      oem:u6 echo: oem says back what it was sent
    … pause-out:oem is let go: 0 creates, 0 updates, 0 conflicts
      → oem: update device o1 rev 3 {"id":"o1","name":"Pump","room":"B2","serial":"S1"} changed: name
    "#);
}

#[test]
fn a_record_that_happens_to_say_one_change_hides_no_other() {
    let mut scene = devices("receipts = \"none\"");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1", "floor": 2}));
    // Its user has corrected the name as well, and does not name the floor.
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Pump", "room": "C3"}));
    scene.release("pause-out:oem");
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"floor":2,"name":"Pump","room":"A1","serial":"S1"}
      bms:u4 accepted: taken: floor and name
      = <device 1> v2 {"floor":2,"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem o1]
    u5 oem device o1 {"name":"Pump","room":"C3","serial":"S1"}
      oem:u5 accepted: taken: room
        conflict room: base assumed, ours "A1" (bms), theirs "C3" → theirs (latest)
      = <device 1> v3 {"floor":2,"name":"Pump","room":"C3","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"floor":2,"id":"b1","name":"Pump","room":"C3","serial":"S1"} changed: room
    … pause-out:oem is let go: 0 creates, 1 updates, 0 conflicts
      → oem: update device o1 rev 2 {"floor":2,"id":"o1","name":"Pump","room":"C3","serial":"S1"} changed: floor, room
    "#);
}

#[test]
fn what_a_moved_record_was_not_sent_is_named_again() {
    let mut scene = devices("receipts = \"required\"\nwrites = \"changed\"");
    scene.says("erp", "device", "e9", json!({"serial": "S9", "name": "Pump", "room": "B2"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "B2"}));
    let (winner, loser) = (scene.id_of("device", "erp", "e9"), scene.id_of("device", "bms", "b1"));
    scene.act(Request::Merge { winner, loser, reason: None }, "anna").unwrap();
    scene.skip_ahead();
    scene.release("pause-out:oem");
    insta::assert_snapshot!(scene.story(), @r#"
    … pause-out:oem is let go: 0 creates, 1 updates, 1 conflicts
      → oem: update device o1 rev 3 {"id":"o1","name":"Pump","room":"B2","serial":"S9"} changed: name, room, serial
    "#);
}

#[test]
fn who_was_not_told_takes_nothing_back_after_a_merge() {
    let mut scene = devices("receipts = \"none\"");
    scene.says("erp", "device", "e9", json!({"serial": "S9", "name": "Pump", "room": "A1"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    scene.wait(Duration::from_secs(60));
    let (winner, loser) = (scene.id_of("device", "erp", "e9"), scene.id_of("device", "bms", "b1"));
    scene.act(Request::Merge { winner, loser, reason: None }, "anna").unwrap();
    scene.wait(Duration::from_secs(60));
    scene.skip_ahead();
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u6 oem device o1 {"name":"Fan","room":"A1","serial":"S1"}
      oem:u6 unchanged: not applied: name 'Fan', had not seen rev 2 and serial 'S1', had not seen rev 2
    "#);
}

#[test]
fn a_poll_now_and_then_fills_no_list() {
    let mut scene = devices("receipts = \"none\"");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    for _ in 0..70 {
        scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    }
    scene.skip_ahead();
    // The name was never sent, so it is not what this user has changed.
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "room": "B2"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u75 oem device o1 {"name":"Fan","room":"B2","serial":"S1"}
      oem:u75 accepted: taken: room; not applied: name 'Fan', had not seen rev 71
        conflict room: base assumed, ours "A1" (bms), theirs "B2" → theirs (latest)
      = <device 1> v3 {"name":"Pump","room":"B2","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Pump","room":"B2","serial":"S1"} changed: room
    "#);
}

#[test]
fn a_second_change_just_before_the_release_makes_the_first_no_older() {
    let mut scene = devices("receipts = \"none\"");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    scene.wait(Duration::from_secs(60));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "B2"}));
    scene.release("pause-out:oem");
    scene.skip_ahead();
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u6 oem device o1 {"name":"Fan","room":"A1","serial":"S1"}
      oem:u6 unchanged: not applied: name 'Fan', had not seen rev 2 and room 'A1', had not seen rev 2
      → oem: update device o1 rev 3 {"id":"o1","name":"Pump","room":"B2","serial":"S1"} changed: name, room
    "#);
}

/// One that is sent what BMS has, and never says anything.
const LAKE: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
[systems.bms.entities.device]
create = false
[systems.lake]
receipts = "none"
[systems.lake.entities.device]
direction = "out"
"#;

#[test]
fn of_what_goes_to_who_never_answers_one_message_is_remembered() {
    let mut scene = Scene::with(LAKE).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.says("bms", "device", "b1", json!({"serial": "S2", "name": "Pump"}));
    let id = scene.id_of("device", "bms", "b1");
    let record = scene.ask(async move |store| store.records(&[id]).await).remove(0).record;
    let link = record.links.iter().find(|link| link.system.as_str() == "lake").unwrap();
    assert_eq!(link.shadow.sends.iter().map(|sent| sent.rev).collect::<Vec<_>>(), [3]);
    // What it was sent first is no other record's obstacle.
    scene.says("bms", "device", "b2", json!({"serial": "S1", "name": "Heater"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device b1 {"name":"Fan","serial":"S1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"name":"Fan","serial":"S1"} [bms b1, lake (open create)]
      → lake: create device - rev 1 {"name":"Fan","serial":"S1"} changed: name, serial
    u2 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u2 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, lake (open create)]
      → lake: create device - rev 2 {"name":"Pump","serial":"S1"} changed: name
    u3 bms device b1 {"name":"Pump","serial":"S2"}
      bms:u3 accepted: taken: serial
      = <device 1> v3 {"name":"Pump","serial":"S2"} [bms b1, lake (open create)]
      → lake: create device - rev 3 {"name":"Pump","serial":"S2"} changed: serial
    u4 bms device b2 {"name":"Heater","serial":"S1"}
      bms:u4 accepted: a new record from bms
      = <device 2> v1 {"name":"Heater","serial":"S1"} [bms b2, lake (open create)]
      → lake: create device - rev 1 {"name":"Heater","serial":"S1"} changed: name, serial
    "#);
}

#[test]
fn an_id_that_comes_late_from_who_never_answers_is_taken() {
    let mut scene = Scene::with(LAKE).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.skip_ahead();
    // The create that it made it by is not kept any more.
    scene.receipt_with("lake", "l1", "applied", |receipt| receipt.with("rev", 1));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 lake receipt device l1 canonical_id=<device 1> rev=1 status=applied
      lake:u3 unchanged: lake made the record; there it is l1
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, lake l1]
      → lake: update device l1 rev 3 {"id":"l1","name":"Pump","serial":"S1"} changed: 
    u4 bms device b1 {"name":"Pump","room":"A1","serial":"S1"}
      bms:u4 accepted: taken: room
      = <device 1> v3 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, lake l1]
      → lake: update device l1 rev 4 {"id":"l1","name":"Pump","room":"A1","serial":"S1"} changed: room
    "#);
}

#[test]
fn whoever_is_taken_out_is_told_even_if_it_says_the_same_before() {
    let mut scene = devices("receipts = \"none\"");
    scene.release("pause-out:oem");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    scene.pause("oem");
    scene.skip_ahead();
    let natives = vec![(SystemName::new("oem").unwrap(), NativeId::new("o1").unwrap())];
    let record = scene.id_of("device", "oem", "o1");
    scene.act(Request::Split { record, natives, reason: None }, "anna").unwrap();
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    scene.release("pause-out:oem");
    insta::assert_snapshot!(scene.story(), @r#"
    … anna says that oem's o1 is not <device 1>
      syncline:split accepted: oem's o1 is another thing and is record <device 2> from now on: anna says so | by Person anna
      syncline:split accepted: oem's o1 was taken out of record <device 1>: anna says so | by Person anna
      = <device 1> v3 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem (not made there)]
      = <device 2> v1 {"name":"Pump","room":"A1","serial":"S1"} [oem o1, bms (not made there), erp (not made there)]
    u6 oem device o1 {"name":"Pump","room":"A1","serial":"S1"}
      oem:u6 echo: oem says back what it was sent
    … pause-out:oem is let go: 0 creates, 0 updates, 0 conflicts
      → oem: update device o1 rev 3 {"id":"o1","name":"Pump","room":"A1","serial":"S1"} changed: 
    "#);
}
