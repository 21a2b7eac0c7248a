//! Systems that let go of a record alone (`delete.policy = "unlink"`).

use serde_json::json;
use syncline::domain::ids::{NativeId, SystemName};
use syncline::engine::acts::{Refusal, Request};

use crate::support::{Scene, delete, patch, whole};

/// Two systems that both have the device.
fn known(more: &str) -> Scene {
    let config = format!(
        "
[orchestration]
push_updates = true
[entities.device]
keys = [{{ fields = [\"serial\"] }}]
{more}
[systems.bms.entities.device]
[systems.oem.entities.device]
"
    );
    let mut scene = Scene::with(&config).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.applies("oem", "o1");
    scene.send(whole("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"})).seq(1));
    scene.skip_ahead();
    scene
}

/// Then one of them lets go of it.
fn let_go(more: &str) -> Scene {
    let mut scene = known(&format!("delete = {{ policy = \"unlink\" }}\n{more}"));
    scene.send(delete("oem", "device", "o1").seq(2));
    scene
}

#[test]
fn a_system_can_let_go_of_a_record_alone() {
    let mut scene = let_go("");
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan 2"}));
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 oem delete device o1 seq=2
      oem:u4 unchanged: oem let go of the record; it stays as it is for all others (delete.policy = "unlink")
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone)]
    u5 bms device b1 {"name":"Fan 2","serial":"SN-1"}
      bms:u5 accepted: taken: name
      = <device 1> v2 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1 (gone)]
    u6 oem device o1 {"name":"Fan","serial":"SN-1"}
      oem:u6 dropped: the same thing as in bms: oem joins it; name stays 'Fan 2' from bms (first_contact: fill) | by Rule first_contact: fill | modified_fields: name
        conflict name: base none, ours "Fan 2" (bms), theirs "Fan" → ours (first_contact: fill)
      = <device 1> v2 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan 2","serial":"SN-1"} changed: name
    "#);
}

/// What it had let go of, and what it has instead.
fn both_there(scene: &mut Scene) {
    scene.says("oem", "device", "o2", json!({"serial": "SN-1", "name": "Fan"}));
    scene.skip_ahead();
    scene.send(whole("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"})).seq(1).id("old"));
    scene.send(whole("oem", "device", "o1", json!({"serial": "SN-1", "name": "Pump"})).seq(3));
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan 2"}));
    scene.applies("oem", "o2");
}

#[test]
fn what_is_there_again_beside_another_one_of_its_system_is_a_duplicate() {
    let mut scene = let_go("");
    both_there(&mut scene);
    // As the message says: one of the two is deleted there. The other one takes its place.
    scene.send(delete("oem", "device", "o2"));
    scene.send(whole("oem", "device", "o1", json!({"serial": "SN-1", "name": "Pump"})).seq(4));
    insta::assert_snapshot!(scene.story(), @r#"
    old oem device o1 {"name":"Fan","serial":"SN-1"} seq=1
      oem:old unchanged: an old copy: seq 1 is not after 2, the last one seen
    u6 oem device o1 {"name":"Pump","serial":"SN-1"} seq=3
      oem:u6 parked (duplicate_in_system): its key leads to record <device 1>, which this system already knows as o2; one of the two is a duplicate there
    u7 bms device b1 {"name":"Fan 2","serial":"SN-1"}
      bms:u7 accepted: taken: name
      = <device 1> v2 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2]
      → oem: update device o2 rev 2 {"id":"o2","name":"Fan 2","serial":"SN-1"} changed: name
    u8 oem receipt device o2 canonical_id=<device 1> rev=2 status=applied
      oem:u8 unchanged: oem applied rev 2
    u9 oem delete device o2
      oem:u9 unchanged: oem let go of the record; it stays as it is for all others (delete.policy = "unlink")
      oem:u6 dropped: the same thing as in bms: oem joins it; name stays 'Fan 2' from bms (first_contact: fill) | by Rule first_contact: fill | modified_fields: name | attempt 2
        conflict name: base none, ours "Fan 2" (bms), theirs "Pump" → ours (first_contact: fill)
      = <device 1> v2 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1, oem o2 (gone)]
      → oem: update device o1 rev 3 {"id":"o1","name":"Fan 2","serial":"SN-1"} changed: name
    u10 oem device o1 {"name":"Pump","serial":"SN-1"} seq=4
      oem:u10 unchanged: not applied: name 'Pump', had not seen rev 3
    "#);
}

#[test]
fn what_is_there_again_beside_another_one_of_its_system_may_be_a_thing_of_its_own() {
    let mut scene = let_go("duplicates = \"separate\"");
    both_there(&mut scene);
    scene.send(whole("oem", "device", "o1", json!({"serial": "SN-1", "name": "Pump 2"})).seq(4));
    insta::assert_snapshot!(scene.story(), @r#"
    old oem device o1 {"name":"Fan","serial":"SN-1"} seq=1
      oem:old unchanged: an old copy: seq 1 is not after 2, the last one seen
    u6 oem device o1 {"name":"Pump","serial":"SN-1"} seq=3
      oem:u6 accepted: a new record from oem
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o2]
      = <device 2> v1 {"name":"Pump","serial":"SN-1"} [oem o1, bms (open create)]
      → bms: create device - rev 1 {"name":"Pump","serial":"SN-1"} changed: name, serial
    u7 bms device b1 {"name":"Fan 2","serial":"SN-1"}
      bms:u7 accepted: taken: name
      = <device 1> v2 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o2]
      → oem: update device o2 rev 2 {"id":"o2","name":"Fan 2","serial":"SN-1"} changed: name
    u8 oem receipt device o2 canonical_id=<device 1> rev=2 status=applied
      oem:u8 unchanged: oem applied rev 2
    u9 oem device o1 {"name":"Pump 2","serial":"SN-1"} seq=4
      oem:u9 accepted: taken: name
      = <device 2> v2 {"name":"Pump 2","serial":"SN-1"} [oem o1, bms (open create)]
      → bms: create device - rev 2 {"name":"Pump 2","serial":"SN-1"} changed: name
    "#);
}

#[test]
fn what_its_system_has_let_go_of_is_not_taken_out_of_its_record() {
    let mut scene = let_go("");
    let record = scene.ask(async |store| store.list_records(None, None, 1).await)[0].record.id;
    let natives = vec![(SystemName::new("oem").unwrap(), NativeId::new("o1").unwrap())];
    let Err(Refusal::Cannot(why)) = scene.act(Request::Split { record, natives, reason: None }, "anna") else { panic!("it was split") };
    assert_eq!(why, "oem has let go of o1: there is nothing left of it to take out");
}

#[test]
fn what_is_there_again_under_another_key_is_another_thing() {
    let mut scene = let_go("");
    scene.says("oem", "device", "o2", json!({"serial": "SN-1", "name": "Fan"}));
    scene.send(whole("oem", "device", "o1", json!({"serial": "SN-2", "name": "Pump"})).seq(3));
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan 2"}));
    // It has applied rev 1 as what it was: what it is sent now has other numbers.
    scene.says("bms", "device", "b2", json!({"serial": "SN-2", "name": "Pump 2"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 oem delete device o1 seq=2
      oem:u4 unchanged: oem let go of the record; it stays as it is for all others (delete.policy = "unlink")
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone)]
    u5 oem device o2 {"name":"Fan","serial":"SN-1"}
      oem:u5 unchanged: the same thing as in bms: a new link, nothing new in it
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2]
    u6 oem device o1 {"name":"Pump","serial":"SN-2"} seq=3
      oem:u6 accepted: a new record from oem
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o2]
      = <device 2> v1 {"name":"Pump","serial":"SN-2"} [oem o1, bms (open create)]
      → bms: create device - rev 1 {"name":"Pump","serial":"SN-2"} changed: name, serial
    u7 bms device b1 {"name":"Fan 2","serial":"SN-1"}
      bms:u7 accepted: taken: name
      = <device 1> v2 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o2]
      → oem: update device o2 rev 2 {"id":"o2","name":"Fan 2","serial":"SN-1"} changed: name
    u8 bms device b2 {"name":"Pump 2","serial":"SN-2"}
      bms:u8 accepted: bms made the record it was sent; taken: name
      = <device 2> v2 {"name":"Pump 2","serial":"SN-2"} [oem o1, bms b2]
      → oem: update device o1 rev 2 {"id":"o1","name":"Pump 2","serial":"SN-2"} changed: name
    "#);
}

#[test]
fn a_part_of_what_its_system_has_let_go_of_waits_for_the_whole_record() {
    let mut scene = let_go("");
    scene.send(patch("oem", "device", "o1", json!({"name": "Pump"})).seq(3));
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan 2"}));
    scene.send(whole("oem", "device", "o1", json!({"serial": "SN-1", "name": "Pump"})).seq(4));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 oem delete device o1 seq=2
      oem:u4 unchanged: oem let go of the record; it stays as it is for all others (delete.policy = "unlink")
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone)]
    u5 oem patch device o1 {"name":"Pump"} seq=3
      oem:u5 parked (no_base): only a part of a record nobody knows yet; waiting for a whole one
    u6 bms device b1 {"name":"Fan 2","serial":"SN-1"}
      bms:u6 accepted: taken: name
      = <device 1> v2 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1 (gone)]
    u7 oem device o1 {"name":"Pump","serial":"SN-1"} seq=4
      oem:u5 superseded: overtaken by oem:u7, a newer record of the same; until then: only a part of a record nobody knows yet; waiting for a whole one
      oem:u7 dropped: the same thing as in bms: oem joins it; name stays 'Fan 2' from bms (first_contact: fill) | by Rule first_contact: fill | modified_fields: name
        conflict name: base none, ours "Fan 2" (bms), theirs "Pump" → ours (first_contact: fill)
      = <device 1> v2 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan 2","serial":"SN-1"} changed: name
    "#);
}

/// One of them deletes it, and a change of the other one brings it back: it is on its way to the first as a new one.
fn brought_back() -> Scene {
    let mut scene = known("delete = { conflict = \"update_revives\" }");
    scene.send(delete("oem", "device", "o1").seq(2));
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan 2"}));
    scene.skip_ahead();
    scene
}

#[test]
fn an_old_copy_of_what_is_made_anew_is_known_as_one() {
    let mut scene = brought_back();
    scene.applies("oem", "o2");
    scene.send(whole("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"})).seq(1).id("old"));
    scene.send(whole("oem", "device", "o2", json!({"serial": "SN-1", "name": "Pump"})).seq(1));
    insta::assert_snapshot!(scene.story(), @r#"
    u6 oem receipt device o2 canonical_id=<device 1> rev=2 status=applied
      oem:u6 unchanged: oem made the record; there it is o2
      = <device 1> v3 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2]
    old oem device o1 {"name":"Fan","serial":"SN-1"} seq=1
      oem:old unchanged: an old copy: seq 1 is not after 2, the last one seen
    u7 oem device o2 {"name":"Pump","serial":"SN-1"} seq=1
      oem:u7 accepted: taken: name
      = <device 1> v4 {"name":"Pump","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2]
      → bms: update device b1 rev 3 {"id":"b1","name":"Pump","serial":"SN-1"} changed: name
    "#);
}

#[test]
fn a_create_that_finds_what_is_there_again_is_answered_with_the_former_id() {
    let mut scene = brought_back();
    scene.applies("oem", "o1");
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan 3"}));
    scene.applies("oem", "o1");
    insta::assert_snapshot!(scene.story(), @r#"
    u6 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u6 unchanged: oem made the record; there it is o1
      = <device 1> v3 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1]
    u7 bms device b1 {"name":"Fan 3","serial":"SN-1"}
      bms:u7 accepted: taken: name
        conflict name: base assumed, ours "Fan 2" (bms), theirs "Fan 3" → theirs (latest)
      = <device 1> v4 {"name":"Fan 3","serial":"SN-1"} [bms b1, oem o1]
      → bms: update device b1 rev 3 {"id":"b1","name":"Fan 3","serial":"SN-1"} changed: name
      → oem: update device o1 rev 3 {"id":"o1","name":"Fan 3","serial":"SN-1"} changed: name
    u8 oem receipt device o1 canonical_id=<device 1> rev=3 status=applied
      oem:u8 unchanged: oem applied rev 3
    "#);
}

#[test]
fn what_is_there_again_before_its_create_is_answered_is_the_record() {
    let mut scene = brought_back();
    scene.send(whole("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"})).seq(3));
    scene.applies("oem", "o1");
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan 3"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u6 oem device o1 {"name":"Fan","serial":"SN-1"} seq=3
      oem:u6 dropped: the same thing as in bms: oem joins it; name stays 'Fan 2' from bms (first_contact: fill) | by Rule first_contact: fill | modified_fields: name
        conflict name: base none, ours "Fan 2" (bms), theirs "Fan" → ours (first_contact: fill)
      = <device 1> v3 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1]
    u7 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u7 unchanged: oem applied rev 2
      → oem: update device o1 rev 3 {"id":"o1","name":"Fan 2","serial":"SN-1"} changed: name, serial
    u8 bms device b1 {"name":"Fan 3","serial":"SN-1"}
      bms:u8 accepted: taken: name
        conflict name: base assumed, ours "Fan 2" (bms), theirs "Fan 3" → theirs (latest)
      = <device 1> v4 {"name":"Fan 3","serial":"SN-1"} [bms b1, oem o1]
      → bms: update device b1 rev 3 {"id":"b1","name":"Fan 3","serial":"SN-1"} changed: name
    "#);
}
