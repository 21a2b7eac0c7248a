//! Records that are deleted, that come back, and that get another id.

use std::time::Duration;

use serde_json::{Value, json};
use syncline::prelude::*;

use crate::support::{Scene, Setting, delete, patch, rekey, whole};

/// Two systems that both have the device, and know it by its serial.
fn both(more: &str) -> Setting {
    Scene::with(&format!(
        "
[orchestration]
push_updates = true
[entities.device]
keys = [{{ fields = [\"serial\"] }}]
{more}
[systems.bms.entities.device]
[systems.oem.entities.device]
"
    ))
}

fn known(setting: Setting) -> Scene {
    let mut scene = setting.start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.applies("oem", "o1");
    scene.skip_ahead();
    scene
}

#[test]
fn s38_a_delete_leaves_a_tombstone_and_the_others_are_sent_it_under_their_own_id() {
    let mut scene = known(both(""));
    scene.send(delete("bms", "device", "b1"));
    scene.applies("oem", "o1");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms delete device b1
      bms:u3 accepted: bms deleted the record: it is deleted everywhere
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1]
      → oem: delete device o1 rev 2 {} changed: 
    u4 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u4 unchanged: oem deleted the record
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone)]
    "#);
}

#[test]
fn a_delete_reported_back_is_an_echo() {
    let mut scene = known(both(""));
    scene.send(delete("bms", "device", "b1"));
    scene.send(delete("oem", "device", "o1"));
    scene.send(delete("oem", "device", "o1").id("again"));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms delete device b1
      bms:u3 accepted: bms deleted the record: it is deleted everywhere
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1]
      → oem: delete device o1 rev 2 {} changed: 
    u4 oem delete device o1
      oem:u4 echo: oem deleted the record as it was told
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone)]
    again oem delete device o1
      oem:again unchanged: oem has let go of it before
    "#);
}

#[test]
fn deleting_what_nobody_knows_changes_nothing() {
    let mut scene = known(both(""));
    scene.send(delete("bms", "device", "b7"));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms delete device b7
      bms:u3 unchanged: nobody knows this record, so there is nothing to delete
    "#);
}

#[test]
fn s39_a_late_update_to_a_deleted_record_is_dropped_and_its_system_told_again() {
    let mut scene = known(both(""));
    scene.send(delete("bms", "device", "b1"));
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan 2"}));
    scene.applies("oem", "o1");
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan 3"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms delete device b1
      bms:u3 accepted: bms deleted the record: it is deleted everywhere
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1]
      → oem: delete device o1 rev 2 {} changed: 
    u4 oem device o1 {"name":"Fan 2","serial":"SN-1"}
      oem:u4 dropped: bms deleted the record (version 2); a delete wins over what comes later (delete.conflict) | modified_fields: name, serial
    u5 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u5 unchanged: oem applied rev 2
      → oem: delete device o1 rev 3 {} changed: 
    u6 oem device o1 {"name":"Fan 3","serial":"SN-1"}
      oem:u6 dropped: bms deleted the record (version 2); a delete wins over what comes later (delete.conflict) | modified_fields: name, serial
    "#);
}

#[test]
fn s39_or_it_brings_the_record_back_if_so_configured() {
    let mut scene = known(both("delete = { conflict = \"update_revives\" }\n"));
    scene.send(delete("bms", "device", "b1"));
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan 2"}));
    scene.applies("bms", "b2");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms delete device b1
      bms:u3 accepted: bms deleted the record: it is deleted everywhere
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1]
      → oem: delete device o1 rev 2 {} changed: 
    u4 oem device o1 {"name":"Fan","serial":"SN-1"}
      oem:u4 dropped: bms deleted the record (version 2); a delete wins over what comes later (delete.conflict) | modified_fields: name, serial
    u5 oem device o1 {"name":"Fan 2","serial":"SN-1"}
      oem:u5 accepted: the record is back: oem has it, bms had deleted it; taken: name
      = <device 1> v3 {"name":"Fan 2","serial":"SN-1"} [bms b1 (gone), oem o1, bms (open create)]
      → bms: create device - rev 1 {"name":"Fan 2","serial":"SN-1"} changed: name, serial
    u6 bms receipt device b2 canonical_id=<device 1> rev=1 status=applied
      bms:u6 unchanged: bms made the record; there it is b2
      = <device 1> v3 {"name":"Fan 2","serial":"SN-1"} [bms b1 (gone), oem o1, bms b2]
    "#);
}

/// The portal's edit crosses the delete it is told, and brings the record back; then it does as it was told.
fn back_while_its_delete_is_on_its_way() -> Scene {
    let mut scene = known(both("delete = { conflict = \"update_revives\" }\n"));
    scene.send(delete("bms", "device", "b1"));
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan 2"}));
    scene.skip_ahead();
    scene
}

#[test]
fn who_answers_that_it_deleted_what_is_back_by_then_is_sent_it_anew() {
    let mut scene = back_while_its_delete_is_on_its_way();
    scene.receipt_with("oem", "o1", "applied", |message| message.with("rev", 2));
    scene.applies("oem", "o2");
    insta::assert_snapshot!(scene.story(), @r#"
    u5 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u5 unchanged: oem deleted the record
      = <device 1> v3 {"name":"Fan 2","serial":"SN-1"} [bms b1 (gone), oem o1 (gone), bms (open create), oem (open create)]
      → oem: create device - rev 4 {"name":"Fan 2","serial":"SN-1"} changed: name, serial
    u6 oem receipt device o2 canonical_id=<device 1> rev=4 status=applied
      oem:u6 unchanged: oem made the record; there it is o2
      = <device 1> v3 {"name":"Fan 2","serial":"SN-1"} [bms b1 (gone), oem o1 (gone), bms (open create), oem o2]
    "#);
}

#[test]
fn who_reports_that_it_deleted_what_is_back_by_then_is_sent_it_anew() {
    let mut scene = back_while_its_delete_is_on_its_way();
    scene.send(delete("oem", "device", "o1"));
    scene.receipt_with("oem", "o1", "applied", |message| message.with("rev", 2));
    scene.applies("oem", "o2");
    insta::assert_snapshot!(scene.story(), @r#"
    u5 oem delete device o1
      oem:u5 echo: oem deleted the record as it was told before that was back
      = <device 1> v3 {"name":"Fan 2","serial":"SN-1"} [bms b1 (gone), oem o1 (gone), bms (open create), oem (open create)]
    u6 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u6 unchanged: oem applied rev 2
      → oem: create device - rev 4 {"name":"Fan 2","serial":"SN-1"} changed: name, serial
    u7 oem receipt device o2 canonical_id=<device 1> rev=4 status=applied
      oem:u7 unchanged: oem made the record; there it is o2
      = <device 1> v3 {"name":"Fan 2","serial":"SN-1"} [bms b1 (gone), oem o1 (gone), bms (open create), oem o2]
    "#);
}

#[test]
fn a_record_that_is_back_is_not_made_anew_where_nothing_is_to_be_made() {
    let mut scene = both("[systems.hr.entities.device]\ncreate = false\n").start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.says("hr", "device", "h1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.send(delete("bms", "device", "b1"));
    scene.skip_ahead();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.says("hr", "device", "h2", json!({"serial": "SN-1", "name": "Fan"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Fan","serial":"SN-1"}
      bms:u4 accepted: the record is back: bms has it, bms had deleted it; taken: name and serial
      = <device 1> v3 {"name":"Fan","serial":"SN-1"} [bms b1, oem (open create), hr h1 (gone)]
    u5 hr device h2 {"name":"Fan","serial":"SN-1"}
      hr:u5 unchanged: the same thing as in bms: a new link, nothing new in it
      = <device 1> v3 {"name":"Fan","serial":"SN-1"} [bms b1, oem (open create), hr h1 (gone), hr h2]
    "#);
}

#[test]
fn the_system_that_deleted_it_brings_it_back_by_a_whole_record_of_the_same_id() {
    let mut scene = known(both(""));
    scene.send(delete("bms", "device", "b1"));
    scene.applies("oem", "o1");
    scene.send(patch("bms", "device", "b1", json!({"name": "Fan 2"})));
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan 2"}));
    scene.applies("oem", "o2");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms delete device b1
      bms:u3 accepted: bms deleted the record: it is deleted everywhere
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1]
      → oem: delete device o1 rev 2 {} changed: 
    u4 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u4 unchanged: oem deleted the record
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone)]
    u5 bms patch device b1 {"name":"Fan 2"}
      bms:u5 dropped: bms deleted the record (version 2); it has to send the whole record to bring it back | modified_fields: name
    u6 bms device b1 {"name":"Fan 2","serial":"SN-1"}
      bms:u6 accepted: the record is back: bms has it, bms had deleted it; taken: name and serial
      = <device 1> v3 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1 (gone), oem (open create)]
      → oem: create device - rev 3 {"name":"Fan 2","serial":"SN-1"} changed: name, serial
    u7 oem receipt device o2 canonical_id=<device 1> rev=3 status=applied
      oem:u7 unchanged: oem made the record; there it is o2
      = <device 1> v3 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2]
    "#);
}

#[test]
fn s40_the_same_serial_after_a_delete_is_a_new_thing() {
    let mut scene = known(both(""));
    scene.send(delete("bms", "device", "b1"));
    scene.applies("oem", "o1");
    scene.says("bms", "device", "b2", json!({"serial": "SN-1", "name": "Pump"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms delete device b1
      bms:u3 accepted: bms deleted the record: it is deleted everywhere
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1]
      → oem: delete device o1 rev 2 {} changed: 
    u4 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u4 unchanged: oem deleted the record
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone)]
    u5 bms device b2 {"name":"Pump","serial":"SN-1"}
      bms:u5 accepted: a new record from bms
      = <device 2> v1 {"name":"Pump","serial":"SN-1"} [bms b2, oem (open create)]
      → oem: create device - rev 1 {"name":"Pump","serial":"SN-1"} changed: name, serial
    "#);
}

#[test]
fn what_would_come_back_and_has_to_wait_is_not_deleted_meanwhile() {
    let mut scene = known(both(""));
    scene.send(delete("bms", "device", "b1"));
    scene.applies("oem", "o1");
    scene.says("oem", "device", "o2", json!({"serial": "SN-1", "name": "Pump"}));
    scene.skip_ahead();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u6 bms device b1 {"name":"Fan","serial":"SN-1"}
      bms:u6 parked (match_collision): its key values belong to different records (serial "SN-1"): <device 1> and <device 2>; merge them or correct a key
    "#);
}

#[test]
fn a_delete_while_a_create_is_open_waits_for_its_receipt() {
    let mut scene = both("").start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.send(delete("bms", "device", "b1"));
    scene.applies("oem", "o1");
    scene.applies("oem", "o1");
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device b1 {"name":"Fan","serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem (open create)]
      → oem: create device - rev 1 {"name":"Fan","serial":"SN-1"} changed: name, serial
    u2 bms delete device b1
      bms:u2 accepted: bms deleted the record: it is deleted everywhere
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem (open create)]
    u3 oem receipt device o1 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem made the record; there it is o1
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1]
      → oem: delete device o1 rev 2 {} changed: 
    u4 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u4 unchanged: oem deleted the record
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone)]
    "#);
}

/// Both make the device at once: what OEM says of its own is taken for the answer to the create that is on its way to it. Then
/// its user deletes it.
fn crossed(more: &str) -> Scene {
    let mut scene = both(&format!("{more}[systems.oem]\nreceipts = \"required\"\n")).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.send(delete("oem", "device", "o1"));
    scene.skip_ahead();
    scene
}

#[test]
fn what_a_create_makes_after_the_delete_it_crossed_is_deleted_too() {
    let mut scene = crossed("");
    scene.applies("oem", "o2");
    scene.says("oem", "device", "o2", json!({"serial": "SN-1", "name": "Fan"}));
    scene.applies("oem", "o2");
    insta::assert_snapshot!(scene.story(), @r#"
    u4 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u4 unchanged: oem made the record; there it is o2
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2]
      → oem: delete device o2 rev 3 {} changed: 
    u5 oem device o2 {"name":"Fan","serial":"SN-1"}
      oem:u5 dropped: oem deleted the record (version 2); a delete wins over what comes later (delete.conflict) | modified_fields: name, serial
    u6 oem receipt device o2 canonical_id=<device 1> rev=3 status=applied
      oem:u6 unchanged: oem deleted the record
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2 (gone)]
    "#);
}

#[test]
fn where_only_its_system_let_go_of_a_record_it_has_what_the_create_makes() {
    let mut scene = crossed("delete = { policy = \"unlink\" }\n");
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Pump"}));
    scene.applies("oem", "o2");
    scene.says("oem", "device", "o2", json!({"serial": "SN-1", "name": "Fan"}));
    scene.applies("oem", "o2");
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Pump","serial":"SN-1"}
      bms:u4 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"SN-1"} [bms b1, oem o1 (gone)]
    u5 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u5 unchanged: oem made the record; there it is o2
      = <device 1> v2 {"name":"Pump","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2]
      → oem: update device o2 rev 3 {"id":"o2","name":"Pump","serial":"SN-1"} changed: name
    u6 oem device o2 {"name":"Fan","serial":"SN-1"}
      oem:u6 unchanged: not applied: name 'Fan', had not seen rev 3
    u7 oem receipt device o2 canonical_id=<device 1> rev=3 status=applied
      oem:u7 unchanged: oem applied rev 3
    "#);
}

#[test]
fn a_create_that_crossed_a_delete_and_was_refused_is_not_sent_again() {
    for (status, said) in [("failed", "could not apply"), ("rejected", "refuses")] {
        let mut scene = crossed("");
        scene.receipt_with("oem", "", status, |message| message.without("native_id"));
        scene.wait(Duration::from_secs(60));
        let told = format!(
            "u4 oem receipt device canonical_id=<device 1> rev=1 status={status}
  oem:u4 unchanged: oem {said} rev 1; it has let go of the record, so nothing is sent again
… 60s later"
        );
        assert_eq!(scene.story().trim_end(), told);
    }
}

#[test]
fn a_create_that_crossed_a_delete_and_found_another_thing_leaves_that_alone() {
    let mut scene = crossed("");
    scene.says("oem", "device", "o2", json!({"serial": "SN-1", "name": "Pump"}));
    scene.receipt_with("oem", "o2", "applied", |message| message);
    insta::assert_snapshot!(scene.story(), @r#"
    u4 oem device o2 {"name":"Pump","serial":"SN-1"}
      oem:u4 accepted: a new record from oem
      = <device 2> v1 {"name":"Pump","serial":"SN-1"} [oem o2, bms (open create)]
      → bms: create device - rev 1 {"name":"Pump","serial":"SN-1"} changed: name, serial
    u5 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u5 unchanged: oem made no record of its own of what is deleted by now: it found one that is record <device 2>
    "#);
}

#[test]
fn deletes_can_be_ignored() {
    let mut scene = known(both("delete = { policy = \"ignore\" }\n"));
    scene.send(delete("oem", "device", "o1"));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem delete device o1
      oem:u3 dropped: deletes of this type are ignored (delete.policy = "ignore")
    "#);
}

#[test]
fn deletes_can_be_left_to_a_person() {
    let mut scene = known(both("delete = { policy = \"review\" }\n"));
    scene.send(delete("oem", "device", "o1"));
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem delete device o1
      oem:u3 parked (review): oem deleted the record; a person says whether it is deleted everywhere (delete.policy)
    u4 oem device o1 {"name":"Fan","serial":"SN-1"}
      oem:u3 superseded: overtaken by oem:u4, a newer record of the same; until then: waiting for a person
      oem:u4 echo: oem says back what it was sent
    "#);
}

#[test]
fn a_handler_may_refuse_a_delete_and_its_system_gets_the_record_again() {
    let refuse = |current: &Record, meta: &UpdateMeta| match (meta.source(), current["name"] == "Fan") {
        ("oem", true) => Verdict::skip("fans stay"),
        (_, _) => Verdict::accept("as you like"),
    };
    let mut scene = known(both("").on_delete::<Record, _>("device", refuse));
    scene.send(delete("oem", "device", "o1"));
    scene.applies("oem", "o2");
    scene.send(delete("bms", "device", "b1"));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem delete device o1
      oem:u3 dropped: fans stay | by Handler device
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone), oem (open create)]
      → oem: create device - rev 2 {"name":"Fan","serial":"SN-1"} changed: name, serial
    u4 oem receipt device o2 canonical_id=<device 1> rev=2 status=applied
      oem:u4 unchanged: oem made the record; there it is o2
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2]
    u5 bms delete device b1
      bms:u5 accepted: as you like; bms deleted the record: it is deleted everywhere | by Handler device
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone), oem o2]
      → oem: delete device o2 rev 3 {} changed:
    "#);
}

#[test]
fn an_old_copy_of_a_delete_overtakes_nothing_that_waits() {
    let review = |proposed: &mut Record, _: Option<&Record>, meta: &UpdateMeta| match (meta.source(), proposed["name"] == "Pump") {
        ("oem", true) => Verdict::review("is it a pump now?"),
        (_, _) => Verdict::accept(None),
    };
    let mut scene = known(both("").handler::<Record, _>("device", review));
    scene.send(whole("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"})).seq(4));
    scene.send(whole("oem", "device", "o1", json!({"serial": "SN-1", "name": "Pump"})).seq(5));
    scene.send(delete("oem", "device", "o1").seq(3));
    scene.send(delete("oem", "device", "o7").seq(1));
    let waiting = scene.ask(async |store| store.list_waiting(None, 9).await);
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem device o1 {"name":"Fan","serial":"SN-1"} seq=4
      oem:u3 echo: oem says back what it was sent
    u4 oem device o1 {"name":"Pump","serial":"SN-1"} seq=5
      oem:u4 parked (review): is it a pump now? | by Handler device
    u5 oem delete device o1 seq=3
      oem:u5 unchanged: an old copy: seq 3 is not after 5, the last one seen
    u6 oem delete device o7 seq=1
      oem:u6 unchanged: nobody knows this record, so there is nothing to delete
    "#);
}

#[test]
fn an_ignored_delete_overtakes_nothing_either() {
    let review = |_: &mut Record, _: Option<&Record>, meta: &UpdateMeta| match meta.is_new() {
        true => Verdict::accept(None),
        false => Verdict::review("look at it"),
    };
    let mut scene = known(both("delete = { policy = \"ignore\" }\n").handler::<Record, _>("device", review));
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Pump"}));
    scene.send(delete("oem", "device", "o1"));
    let waiting = scene.ask(async |store| store.list_waiting(None, 9).await);
    assert_eq!(waiting.len(), 1, "{waiting:?}");
}

#[test]
fn a_rejected_delete_is_not_sent_again() {
    let mut scene = known(both(""));
    scene.send(delete("bms", "device", "b1"));
    scene.receipt("oem", "o1", "rejected");
    scene.wait(Duration::from_secs(5));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms delete device b1
      bms:u3 accepted: bms deleted the record: it is deleted everywhere
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1]
      → oem: delete device o1 rev 2 {} changed: 
    u4 oem receipt device o1 canonical_id=<device 1> rev=2 status=rejected
      oem:u4 unchanged: oem refuses rev 2; the same content is not sent again
    … 5s later
    "#);
}

#[test]
fn a_child_of_a_deleted_parent_is_sent_without_it() {
    let config = "
[orchestration]
push_updates = true
[entities.site]
keys = [{ fields = [\"code\"] }]
[entities.device]
keys = [{ fields = [\"serial\"] }]
references = { site_id = \"site\" }
[systems.bms.entities.site]
[systems.bms.entities.device]
[systems.oem.entities.site]
[systems.oem.entities.device]
";
    let mut scene = Scene::with(config).start();
    scene.says("bms", "site", "s1", json!({"code": "N"}));
    scene.applies("oem", "os1");
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "site_id": "s1"}));
    scene.applies("oem", "o1");
    scene.skip_ahead();
    scene.send(delete("bms", "site", "s1"));
    scene.applies("oem", "os1");
    scene.send(patch("bms", "device", "b1", json!({"name": "Fan"})));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 bms delete site s1
      bms:u5 accepted: bms deleted the record: it is deleted everywhere
      = <site 1> v2 deleted {"code":"N"} [bms s1 (gone), oem os1]
      → oem: delete site os1 rev 2 {} changed: 
    u6 oem receipt site os1 canonical_id=<site 1> rev=2 status=applied
      oem:u6 unchanged: oem deleted the record
      = <site 1> v2 deleted {"code":"N"} [bms s1 (gone), oem os1 (gone)]
    u7 bms patch device b1 {"name":"Fan"}
      bms:u7 accepted: taken: name
      = <device 1> v2 {"name":"Fan","serial":"SN-1","site_id":"<site 1>"} [bms b1, oem o1]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"SN-1","site_id":null} changed: name
    "#);
}

#[test]
fn s41_many_deletes_at_once_wait_for_a_person() {
    let mut scene = both("").start();
    let serial = |n: u32| json!({"serial": format!("SN-{n}")});
    for n in 0..60 {
        scene.says("bms", "device", &format!("b{n}"), serial(n));
    }
    scene.skip_ahead();
    for n in 0..12 {
        scene.send(delete("bms", "device", &format!("b{n}")));
    }
    let story = scene.story();
    let told: Vec<&str> = story.lines().filter(|line| line.contains("b:")).collect();
    assert!(told.is_empty(), "{told:?}");
    let decisions: Vec<Value> = story.lines().filter(|line| line.starts_with("  bms:u")).map(|line| json!(line)).collect();
    assert!(decisions[..10].iter().all(|line| line.as_str().unwrap().contains("accepted")), "{decisions:#?}");
    assert!(decisions[10..].iter().all(|line| line.as_str().unwrap().contains("(brake)")), "{decisions:#?}");
    scene.skip_ahead();
    scene.release("delete:bms:device");
    scene.wait(Duration::from_secs(2));
    insta::assert_snapshot!(scene.story(), @r#"
    … delete:bms:device is let go: 0 creates, 0 updates, 0 conflicts
    … 2s later
      bms:u71 accepted: bms deleted the record: it is deleted everywhere
      bms:u72 accepted: bms deleted the record: it is deleted everywhere
      = <device 11> v2 deleted {"serial":"SN-10"} [bms b10 (gone), oem (open create)]
      = <device 12> v2 deleted {"serial":"SN-11"} [bms b11 (gone), oem (open create)]
    "#);
}

#[test]
fn s42_a_new_id_and_the_old_one_lead_to_the_same_record() {
    let mut scene = known(both(""));
    scene.send(rekey("bms", "device", "b1", "B-100"));
    scene.says("bms", "device", "B-100", json!({"serial": "SN-1", "name": "Fan 2"}));
    scene.send(patch("bms", "device", "b1", json!({"name": "Fan 3"})));
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan 4"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms rekey device b1 new_native_id=B-100
      bms:u3 unchanged: bms calls the record B-100 now; b1 still leads to it
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms B-100, oem o1]
    u4 bms device B-100 {"name":"Fan 2","serial":"SN-1"}
      bms:u4 accepted: taken: name
      = <device 1> v2 {"name":"Fan 2","serial":"SN-1"} [bms B-100, oem o1]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan 2","serial":"SN-1"} changed: name
    u5 bms patch device b1 {"name":"Fan 3"}
      bms:u5 accepted: taken: name
      = <device 1> v3 {"name":"Fan 3","serial":"SN-1"} [bms B-100, oem o1]
    u6 oem device o1 {"name":"Fan 4","serial":"SN-1"}
      oem:u6 accepted: taken: name
        conflict name: base "Fan", ours "Fan 3" (bms), theirs "Fan 4" → theirs (latest)
      = <device 1> v4 {"name":"Fan 4","serial":"SN-1"} [bms B-100, oem o1]
      → bms: update device B-100 rev 1 {"id":"B-100","name":"Fan 4","serial":"SN-1"} changed: name
    "#);
}

#[test]
fn a_record_seen_under_its_new_id_first_waits_for_the_rekey() {
    let mut scene = known(both(""));
    scene.says("bms", "device", "B-100", json!({"serial": "SN-1", "name": "Fan 2"}));
    scene.send(rekey("bms", "device", "b1", "B-100"));
    scene.send(rekey("bms", "device", "b1", "B-100").id("again"));
    scene.send(rekey("bms", "device", "b7", "b8"));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device B-100 {"name":"Fan 2","serial":"SN-1"}
      bms:u3 parked (duplicate_in_system): its key leads to record <device 1>, which this system already knows as b1; one of the two is a duplicate there
    u4 bms rekey device b1 new_native_id=B-100
      bms:u4 unchanged: bms calls the record B-100 now; b1 still leads to it
      bms:u3 accepted: taken: name | attempt 2
      = <device 1> v2 {"name":"Fan 2","serial":"SN-1"} [bms B-100, oem o1]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan 2","serial":"SN-1"} changed: name
    again bms rekey device b1 new_native_id=B-100
      bms:again unchanged: B-100 leads to this record already
    u5 bms rekey device b7 new_native_id=b8
      bms:u5 unchanged: nobody knows this record; it becomes known by the first whole one under its new id
    "#);
}

#[test]
fn an_id_that_another_record_has_is_not_taken_from_it() {
    let mut scene = known(both(""));
    scene.says("bms", "device", "b2", json!({"serial": "SN-2"}));
    scene.skip_ahead();
    scene.send(rekey("bms", "device", "b1", "b2"));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms rekey device b1 new_native_id=b2
      bms:u4 parked (match_collision): its key values belong to different records (the id b2): <device 1> and <device 2>; merge them or correct a key
    "#);
}
