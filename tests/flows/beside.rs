//! What a create makes beside the native record its system has already. Both make the device at once: what OEM says of its own is
//! taken for the answer to the create that is on its way to it, which then makes another one.

use serde_json::json;

use crate::support::{Scene, delete};

/// OEM says that the create made `o2`, after it has reported `o1`.
fn made(more: &str, before: impl FnOnce(&mut Scene)) -> Scene {
    made_of("", more, before)
}

/// The same with more about BMS.
fn made_of(bms: &str, more: &str, before: impl FnOnce(&mut Scene)) -> Scene {
    let mut scene = Scene::with(&format!(
        "
[orchestration]
push_updates = true
[entities.device]
keys = [{{ fields = [\"serial\"] }}]
{more}
[systems.bms.entities.device]
{bms}
[systems.oem]
receipts = \"required\"
[systems.oem.entities.device]
"
    ))
    .start();
    before(&mut scene);
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.skip_ahead();
    scene.receipt_with("oem", "o2", "applied", |message| message.with("rev", 1));
    scene
}

#[test]
fn what_was_made_is_deleted_with_what_its_system_had() {
    let mut scene = made_of("direction = \"in\"", "", |_| ());
    scene.send(delete("oem", "device", "o1"));
    scene.says("oem", "device", "o2", json!({"serial": "SN-1", "name": "Fan"}));
    scene.applies("oem", "o2");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem made o2 by it, beside o1, which it has as this record already
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1, oem o2 (beside)]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"SN-1"} changed: name, serial
    u4 oem delete device o1
      oem:u4 accepted: oem deleted the record: it is deleted everywhere
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
fn the_order_of_the_reports_makes_no_difference() {
    let mut scene = made_of("direction = \"in\"", "", |_| ());
    scene.says("oem", "device", "o2", json!({"serial": "SN-1", "name": "Fan"}));
    scene.send(delete("oem", "device", "o1"));
    scene.applies("oem", "o2");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem made o2 by it, beside o1, which it has as this record already
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1, oem o2 (beside)]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"SN-1"} changed: name, serial
    u4 oem device o2 {"name":"Fan","serial":"SN-1"}
      oem:u4 parked (duplicate_in_system): its key leads to record <device 1>, which this system already knows as o1; one of the two is a duplicate there
    u5 oem delete device o1
      oem:u5 accepted: oem deleted the record: it is deleted everywhere
      oem:u4 dropped: oem deleted the record (version 2); a delete wins over what comes later (delete.conflict) | modified_fields: name, serial | attempt 2
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2]
      → oem: delete device o2 rev 3 {} changed: 
    u6 oem receipt device o2 canonical_id=<device 1> rev=3 status=applied
      oem:u6 unchanged: oem deleted the record
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2 (gone)]
    "#);
}

#[test]
fn deleted_by_another_system_both_go() {
    let mut scene = made("", |_| ());
    scene.send(delete("bms", "device", "b1"));
    scene.applies("oem", "o1");
    scene.applies("oem", "o1");
    scene.applies("oem", "o2");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem made o2 by it, beside o1, which it has as this record already
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1, oem o2 (beside)]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"SN-1"} changed: name, serial
    u4 bms delete device b1
      bms:u4 accepted: bms deleted the record: it is deleted everywhere
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1, oem o2 (beside)]
    u5 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u5 unchanged: oem applied rev 2
      → oem: delete device o1 rev 3 {} changed: 
    u6 oem receipt device o1 canonical_id=<device 1> rev=3 status=applied
      oem:u6 unchanged: oem deleted the record
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone), oem o2]
      → oem: delete device o2 rev 4 {} changed: 
    u7 oem receipt device o2 canonical_id=<device 1> rev=4 status=applied
      oem:u7 unchanged: oem deleted the record
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone), oem o2 (gone)]
    "#);
}

#[test]
fn where_only_its_system_lets_go_it_has_what_was_made() {
    let mut scene = made("delete = { policy = \"unlink\" }\n", |_| ());
    scene.send(delete("oem", "device", "o1"));
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Pump"}));
    scene.applies("oem", "o2");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem made o2 by it, beside o1, which it has as this record already
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1, oem o2 (beside)]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"SN-1"} changed: name, serial
    u4 oem delete device o1
      oem:u4 unchanged: oem let go of the record; it stays as it is for all others (delete.policy = "unlink")
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2]
    u5 bms device b1 {"name":"Pump","serial":"SN-1"}
      bms:u5 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2]
      → oem: update device o2 rev 3 {"id":"o2","name":"Pump","serial":"SN-1"} changed: name
    u6 oem receipt device o2 canonical_id=<device 1> rev=3 status=applied
      oem:u6 unchanged: oem applied rev 3
    "#);
}

#[test]
fn where_deletes_are_ignored_what_was_made_is_a_duplicate() {
    let mut scene = made("delete = { policy = \"ignore\" }\n", |_| ());
    scene.send(delete("oem", "device", "o1"));
    scene.says("oem", "device", "o2", json!({"serial": "SN-1", "name": "Pump"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem made o2 by it, beside o1, which it has as this record already
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1, oem o2 (beside)]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"SN-1"} changed: name, serial
    u4 oem delete device o1
      oem:u4 dropped: deletes of this type are ignored (delete.policy = "ignore")
    u5 oem device o2 {"name":"Pump","serial":"SN-1"}
      oem:u5 parked (duplicate_in_system): its key leads to record <device 1>, which this system already knows as o1; one of the two is a duplicate there
    "#);
}

#[test]
fn a_duplicate_that_is_deleted_takes_nobodys_place() {
    let mut scene = made("delete = { policy = \"unlink\" }\n", |_| ());
    scene.send(delete("oem", "device", "o2"));
    scene.send(delete("oem", "device", "o1"));
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Pump"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem made o2 by it, beside o1, which it has as this record already
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1, oem o2 (beside)]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"SN-1"} changed: name, serial
    u4 oem delete device o2
      oem:u4 unchanged: oem had made it beside the one it has
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1, oem o2 (gone)]
    u5 oem delete device o1
      oem:u5 unchanged: oem let go of the record; it stays as it is for all others (delete.policy = "unlink")
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2 (gone)]
    u6 bms device b1 {"name":"Pump","serial":"SN-1"}
      bms:u6 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2 (gone)]
    "#);
}

#[test]
fn once_the_first_one_is_heard_of_again_the_second_one_is_one_more() {
    let mut scene = made("", |_| ());
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan 2"}));
    scene.send(delete("oem", "device", "o1"));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem made o2 by it, beside o1, which it has as this record already
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1, oem o2 (beside)]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"SN-1"} changed: name, serial
    u4 oem device o1 {"name":"Fan 2","serial":"SN-1"}
      oem:u4 accepted: taken: name
      = <device 1> v2 {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1, oem o2 (gone)]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan 2","serial":"SN-1"} changed: name
    u5 oem delete device o1
      oem:u5 accepted: oem deleted the record: it is deleted everywhere
      = <device 1> v3 deleted {"name":"Fan 2","serial":"SN-1"} [bms b1, oem o1 (gone), oem o2 (gone)]
      → bms: delete device b1 rev 2 {} changed: 
    "#);
}

#[test]
fn if_both_stay_a_person_says_what_becomes_of_it() {
    let mut scene = made("", |_| ());
    scene.says("oem", "device", "o2", json!({"serial": "SN-1", "name": "Fan"}));
    scene.receipt_with("oem", "o2", "applied", |message| message.with("rev", 1));
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Pump"}));
    scene.applies("oem", "o1");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem made o2 by it, beside o1, which it has as this record already
      = <device 1> v1 {"name":"Fan","serial":"SN-1"} [bms b1, oem o1, oem o2 (beside)]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"SN-1"} changed: name, serial
    u4 oem device o2 {"name":"Fan","serial":"SN-1"}
      oem:u4 parked (duplicate_in_system): its key leads to record <device 1>, which this system already knows as o1; one of the two is a duplicate there
    u5 oem receipt device o2 canonical_id=<device 1> rev=1 status=applied
      oem:u5 unchanged: oem applied rev 1
    u6 bms device b1 {"name":"Pump","serial":"SN-1"}
      bms:u6 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"SN-1"} [bms b1, oem o1, oem o2 (beside)]
    u7 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u7 unchanged: oem applied rev 2
      → oem: update device o1 rev 3 {"id":"o1","name":"Pump","serial":"SN-1"} changed: name
    "#);
}

#[test]
fn what_was_found_and_is_another_thing_is_left_alone() {
    let mut scene = made("", |scene| {
        scene.says("oem", "device", "o2", json!({"serial": "SN-2", "name": "Pump"}));
        scene.applies("bms", "b2");
    });
    scene.send(delete("oem", "device", "o1"));
    scene.applies("bms", "b1");
    insta::assert_snapshot!(scene.story(), @r#"
    u5 oem receipt device o2 canonical_id=<device 2> rev=1 status=applied
      oem:u5 unchanged: oem made no record of its own of what it has already: it found one that is record <device 1>
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"SN-1"} changed: name, serial
    u6 oem delete device o1
      oem:u6 accepted: oem deleted the record: it is deleted everywhere
      = <device 2> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1, oem o1 (gone)]
      → bms: delete device b1 rev 1 {} changed: 
    u7 bms receipt device b1 canonical_id=<device 2> rev=1 status=applied
      bms:u7 unchanged: bms deleted the record
      = <device 2> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone)]
    "#);
}
