//! Records that hold other records' ids, and records that come to be in other systems.

use serde_json::json;

use crate::support::{Scene, patch, whole};

/// Devices by serial; sensors belong to devices. Both systems answer what they are sent.
const DEVICES: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
references = { parent_id = "device" }
[entities.sensor]
keys = [{ fields = ["tag"] }]
references = { device_id = "device" }
[systems.bms]
receipts = "required"
[systems.bms.entities.device]
[systems.bms.entities.sensor]
[systems.oem]
receipts = "required"
[systems.oem.entities.sensor]
[systems.oem.entities.device]
"#;

/// The same without push.
fn quiet() -> String {
    DEVICES.replace("push_updates = true", "push_updates = false")
}

#[test]
fn s31_a_sensor_before_its_device() {
    let mut scene = Scene::with(&quiet()).start();
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsD1 (device_id), not known yet
    u2 oem device oemD1 {"serial":"SN-1"}
      oem:u2 accepted: a new record from oem
      = <device 1> v1 {"serial":"SN-1"} [oem oemD1]
    u3 bms device bmsD1 {"serial":"SN-1"}
      bms:u3 unchanged: the same thing as in oem: a new link, nothing new in it
      bms:u1 accepted: a new record from bms | attempt 2
      = <device 1> v1 {"serial":"SN-1"} [oem oemD1, bms bmsD1]
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1]
    u4 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
      bms:u4 unchanged: it says nothing new
    "#);
}

#[test]
fn s32_grandchild_child_and_parent_backwards() {
    let mut scene = Scene::with(&quiet()).start();
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD2"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-2", "parent_id": "bmsD1"}));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms sensor bmsS1 {"device_id":"bmsD2","tag":"T1"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsD2 (device_id), not known yet
    u2 bms device bmsD2 {"parent_id":"bmsD1","serial":"SN-2"}
      bms:u2 parked (missing_reference): waiting for bms's device bmsD1 (parent_id), not known yet
    u3 bms device bmsD1 {"serial":"SN-1"}
      bms:u3 accepted: a new record from bms
      bms:u2 accepted: a new record from bms | attempt 2
      bms:u1 accepted: a new record from bms | attempt 2
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
      = <device 2> v1 {"parent_id":"<device 1>","serial":"SN-2"} [bms bmsD2]
      = <sensor 1> v1 {"device_id":"<device 2>","tag":"T1"} [bms bmsS1]
    "#);
}

#[test]
fn s33_two_sensors_of_one_device_stay_two() {
    let mut scene = Scene::with(&quiet()).start();
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"}));
    scene.says("bms", "sensor", "bmsS2", json!({"tag": "T2", "device_id": "bmsD1"}));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsD1 (device_id), not known yet
    u2 bms sensor bmsS2 {"device_id":"bmsD1","tag":"T2"}
      bms:u2 parked (missing_reference): waiting for bms's device bmsD1 (device_id), not known yet
    u3 bms device bmsD1 {"serial":"SN-1"}
      bms:u3 accepted: a new record from bms
      bms:u1 accepted: a new record from bms | attempt 2
      bms:u2 accepted: a new record from bms | attempt 2
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1]
      = <sensor 2> v1 {"device_id":"<device 1>","tag":"T2"} [bms bmsS2]
    "#);
}

#[test]
fn s34_every_system_gets_its_own_ids() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"}));
    scene.says("oem", "sensor", "oemS1", json!({"tag": "T1", "device_id": "oemD1", "unit": "C"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1, oem (open create)]
      → oem: create device - rev 1 {"serial":"SN-1"} changed: serial
    u2 oem device oemD1 {"serial":"SN-1"}
      oem:u2 unchanged: oem made the record it was sent
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1, oem oemD1]
    u3 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
      bms:u3 accepted: a new record from bms
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1, oem (open create)]
      → oem: create sensor - rev 1 {"device_id":"oemD1","tag":"T1"} changed: device_id, tag
    u4 oem sensor oemS1 {"device_id":"oemD1","tag":"T1","unit":"C"}
      oem:u4 accepted: the same thing as in bms: oem joins it; taken: unit
      = <sensor 1> v2 {"device_id":"<device 1>","tag":"T1","unit":"C"} [bms bmsS1, oem oemS1]
      → bms: update sensor bmsS1 rev 1 {"device_id":"bmsD1","id":"bmsS1","tag":"T1","unit":"C"} changed: unit
    "#);
}

#[test]
fn s35_the_device_is_created_first_and_the_sensor_held() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"}));
    scene.applies("oem", "oemD1");
    scene.applies("oem", "oemS1");
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1, oem (open create)]
      → oem: create device - rev 1 {"serial":"SN-1"} changed: serial
    u2 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
      bms:u2 accepted: a new record from bms
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1, oem (open create)]
    u3 oem receipt device oemD1 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem made the record; there it is oemD1
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1, oem oemD1]
      → oem: create sensor - rev 1 {"device_id":"oemD1","tag":"T1"} changed: device_id, tag
    u4 oem receipt sensor oemS1 canonical_id=<sensor 1> rev=1 status=applied
      oem:u4 unchanged: oem made the record; there it is oemS1
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1, oem oemS1]
    "#);
}

#[test]
fn s35_the_same_across_a_restart() {
    if !Scene::takes_several_at_once() {
        return;
    }
    let mut scene = Scene::with(DEVICES).start();
    scene.together([
        whole("bms", "device", "bmsD1", json!({"serial": "SN-1"})),
        whole("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"})),
    ]);
    scene.restart();
    scene.applies("oem", "oemD1");
    scene.restart();
    scene.applies("oem", "oemS1");
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"serial":"SN-1"}
    u2 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
      bms:u1 accepted: a new record from bms
      bms:u2 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1, oem (open create)]
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1, oem (open create)]
      → oem: create device - rev 1 {"serial":"SN-1"} changed: serial
    … restart
    u3 oem receipt device oemD1 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem made the record; there it is oemD1
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1, oem oemD1]
      → oem: create sensor - rev 1 {"device_id":"oemD1","tag":"T1"} changed: device_id, tag
    … restart
    u4 oem receipt sensor oemS1 canonical_id=<sensor 1> rev=1 status=applied
      oem:u4 unchanged: oem made the record; there it is oemS1
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1, oem oemS1]
    "#);
}

#[test]
fn s36_a_cycle_is_created_and_then_linked() {
    let mut scene = Scene::with(DEVICES).start();
    // a → b while b is unknown, then b → a: the first waits for the second, the second for the first.
    scene.says("bms", "device", "bmsA", json!({"serial": "A"}));
    scene.says("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsA"}));
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"}));
    scene.applies("oem", "oemA");
    scene.applies("oem", "oemB");
    scene.applies("oem", "oemA");
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsA {"serial":"A"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":"A"} [bms bmsA, oem (open create)]
      → oem: create device - rev 1 {"serial":"A"} changed: serial
    u2 bms device bmsB {"parent_id":"bmsA","serial":"B"}
      bms:u2 accepted: a new record from bms
      = <device 2> v1 {"parent_id":"<device 1>","serial":"B"} [bms bmsB, oem (open create)]
    u3 bms device bmsA {"parent_id":"bmsB","serial":"A"}
      bms:u3 accepted: taken: parent_id
      = <device 1> v2 {"parent_id":"<device 2>","serial":"A"} [bms bmsA, oem (open create)]
    u4 oem receipt device oemA canonical_id=<device 1> rev=1 status=applied
      oem:u4 unchanged: oem made the record; there it is oemA
      = <device 1> v2 {"parent_id":"<device 2>","serial":"A"} [bms bmsA, oem oemA]
      → oem: create device - rev 1 {"parent_id":"oemA","serial":"B"} changed: parent_id, serial
    u5 oem receipt device oemB canonical_id=<device 2> rev=1 status=applied
      oem:u5 unchanged: oem made the record; there it is oemB
      = <device 2> v1 {"parent_id":"<device 1>","serial":"B"} [bms bmsB, oem oemB]
      → oem: update device oemA rev 3 {"id":"oemA","parent_id":"oemB","serial":"A"} changed: parent_id
    u6 oem receipt device oemA canonical_id=<device 1> rev=3 status=applied
      oem:u6 unchanged: oem applied rev 3
    "#);
}

#[test]
fn s36_a_cycle_that_nobody_has_yet() {
    if !Scene::by_hand() {
        return;
    }
    let mut scene = Scene::with(DEVICES).start();
    scene.pause_relay();
    scene.says("bms", "device", "bmsA", json!({"serial": "A"}));
    scene.says("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsA"}));
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"}));
    scene.skip_ahead();
    scene.resume_relay();
    scene.applies("oem", "oemA");
    scene.applies("oem", "oemB");
    scene.applies("oem", "oemA");
    insta::assert_snapshot!(scene.story(), @r#"
      → oem: create device - rev 3 {"serial":"A"} changed: serial
    u4 oem receipt device oemA canonical_id=<device 1> rev=3 status=applied
      oem:u4 unchanged: oem made the record; there it is oemA
      = <device 1> v2 {"parent_id":"<device 2>","serial":"A"} [bms bmsA, oem oemA]
      → oem: create device - rev 1 {"parent_id":"oemA","serial":"B"} changed: parent_id, serial
    u5 oem receipt device oemB canonical_id=<device 2> rev=1 status=applied
      oem:u5 unchanged: oem made the record; there it is oemB
      = <device 2> v1 {"parent_id":"<device 1>","serial":"B"} [bms bmsB, oem oemB]
      → oem: update device oemA rev 4 {"id":"oemA","parent_id":"oemB","serial":"A"} changed: parent_id
    u6 oem receipt device oemA canonical_id=<device 1> rev=4 status=applied
      oem:u6 unchanged: oem applied rev 4
    "#);
}

#[test]
fn case_parent_and_child_in_one_batch() {
    if !Scene::takes_several_at_once() {
        return;
    }
    let mut scene = Scene::with(&quiet()).start();
    scene.together([
        whole("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"})),
        whole("bms", "device", "bmsD1", json!({"serial": "SN-1"})),
        whole("bms", "sensor", "bmsS2", json!({"tag": "T2", "device_id": "bmsD1"})),
    ]);
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
    u2 bms device bmsD1 {"serial":"SN-1"}
    u3 bms sensor bmsS2 {"device_id":"bmsD1","tag":"T2"}
      bms:u2 accepted: a new record from bms
      bms:u3 accepted: a new record from bms
      bms:u1 accepted: a new record from bms | attempt 2
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T2"} [bms bmsS2]
      = <sensor 2> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1]
    "#);
}

#[test]
fn rows_of_one_batch_are_listed_in_the_order_of_their_decisions() {
    if !Scene::takes_several_at_once() {
        return;
    }
    let mut scene = Scene::with(&quiet()).start();
    scene.together([
        whole("bms", "device", "bmsD1", json!({"serial": "SN-1"})),
        whole("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"})),
        whole("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "AHU"})),
        whole("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "C", "device_id": "bmsD1"})),
    ]);
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"serial":"SN-1"}
    u2 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
    u3 bms device bmsD1 {"name":"AHU","serial":"SN-1"}
    u4 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1","unit":"C"}
      bms:u1 accepted: a new record from bms
      bms:u2 accepted: a new record from bms
      bms:u3 accepted: taken: name
      bms:u4 accepted: taken: unit
      = <device 1> v2 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
      = <sensor 1> v2 {"device_id":"<device 1>","tag":"T1","unit":"C"} [bms bmsS1]
    "#);
}

#[test]
fn case_null_reference_clears_and_never_parks() {
    let mut scene = Scene::with(&quiet()).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": null}));
    scene.says("bms", "sensor", "bmsS2", json!({"tag": "T2", "device_id": null}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
    u2 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
      bms:u2 accepted: a new record from bms
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1]
    u3 bms sensor bmsS1 {"device_id":null,"tag":"T1"}
      bms:u3 accepted: taken: device_id
      = <sensor 1> v2 {"device_id":null,"tag":"T1"} [bms bmsS1]
    u4 bms sensor bmsS2 {"device_id":null,"tag":"T2"}
      bms:u4 accepted: a new record from bms
      = <sensor 2> v1 {"device_id":null,"tag":"T2"} [bms bmsS2]
    "#);
}

#[test]
fn patches_queue_behind_a_missing_reference() {
    let mut scene = Scene::with(&quiet()).start();
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "C", "device_id": "bmsD1"}));
    scene.send(patch("bms", "sensor", "bmsS1", json!({"unit": "F"})));
    scene.send(patch("bms", "sensor", "bmsS1", json!({"unit": "K"})));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1","unit":"C"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsD1 (device_id), not known yet
    u2 bms patch sensor bmsS1 {"unit":"F"}
      bms:u2 parked (missing_reference): queued behind bms:u1, which waits itself
    u3 bms patch sensor bmsS1 {"unit":"K"}
      bms:u3 parked (missing_reference): queued behind bms:u2, which waits itself
    u4 bms device bmsD1 {"serial":"SN-1"}
      bms:u4 accepted: a new record from bms
      bms:u1 accepted: a new record from bms | attempt 2
      bms:u2 accepted: taken: unit | attempt 2
      bms:u3 accepted: taken: unit | attempt 2
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
      = <sensor 1> v3 {"device_id":"<device 1>","tag":"T1","unit":"K"} [bms bmsS1]
    "#);
}

#[test]
fn a_newer_whole_record_supersedes_the_waiting_one() {
    let mut scene = Scene::with(&quiet()).start();
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "C", "device_id": "bmsD1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "F", "device_id": "bmsD2"}));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-2"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1","unit":"C"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsD1 (device_id), not known yet
    u2 bms sensor bmsS1 {"device_id":"bmsD2","tag":"T1","unit":"F"}
      bms:u1 superseded: overtaken by bms:u2, a newer record of the same; until then: waiting for bms's device bmsD1 (device_id), not known yet
      bms:u2 parked (missing_reference): waiting for bms's device bmsD2 (device_id), not known yet
    u3 bms device bmsD1 {"serial":"SN-1"}
      bms:u3 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
    u4 bms device bmsD2 {"serial":"SN-2"}
      bms:u4 accepted: a new record from bms
      bms:u2 accepted: a new record from bms | attempt 2
      = <device 2> v1 {"serial":"SN-2"} [bms bmsD2]
      = <sensor 1> v1 {"device_id":"<device 2>","tag":"T1","unit":"F"} [bms bmsS1]
    "#);
}

#[test]
fn a_known_record_that_moves_to_an_unknown_parent() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "C", "device_id": "bmsD1"}));
    scene.applies("oem", "oemS1");
    scene.skip_ahead();
    // The sensor was moved and renamed; while that waits, oem renames it, too.
    scene.send(whole("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "F", "device_id": "bmsD2"})));
    scene.says("oem", "sensor", "oemS1", json!({"tag": "T1", "unit": "K", "device_id": "oemD1"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-2"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 bms sensor bmsS1 {"device_id":"bmsD2","tag":"T1","unit":"F"}
      bms:u5 parked (missing_reference): waiting for bms's device bmsD2 (device_id), not known yet
    u6 oem sensor oemS1 {"device_id":"oemD1","tag":"T1","unit":"K"}
      oem:u6 accepted: taken: unit
      = <sensor 1> v2 {"device_id":"<device 1>","tag":"T1","unit":"K"} [bms bmsS1, oem oemS1]
    u7 bms device bmsD2 {"serial":"SN-2"}
      bms:u7 accepted: a new record from bms
      bms:u5 accepted: taken: device_id and unit | attempt 2
        conflict unit: base "C", ours "K" (oem), theirs "F" → theirs (latest)
      = <sensor 1> v3 {"device_id":"<device 2>","tag":"T1","unit":"F"} [bms bmsS1, oem oemS1]
      = <device 2> v1 {"serial":"SN-2"} [bms bmsD2, oem (open create)]
      → oem: create device - rev 1 {"serial":"SN-2"} changed: serial
    "#);
}

#[test]
fn a_reference_that_waits_is_not_corrected_in_its_source() {
    let mut scene = Scene::with(&DEVICES.replace("receipts = \"required\"", "")).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "C", "device_id": "bmsD1"}));
    scene.says("oem", "sensor", "oemS1", json!({"tag": "T1", "unit": "C", "device_id": "oemD1"}));
    scene.skip_ahead();
    scene.send(whole("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "C", "device_id": "bmsD2"})).base(0));
    scene.says("oem", "sensor", "oemS1", json!({"tag": "T1", "unit": "K", "device_id": "oemD1"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-2"}));
    scene.says("oem", "device", "oemD2", json!({"serial": "SN-2"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 bms sensor bmsS1 {"device_id":"bmsD2","tag":"T1","unit":"C"} base=0
      bms:u5 parked (missing_reference): waiting for bms's device bmsD2 (device_id), not known yet
    u6 oem sensor oemS1 {"device_id":"oemD1","tag":"T1","unit":"K"}
      oem:u6 accepted: taken: unit
      = <sensor 1> v2 {"device_id":"<device 1>","tag":"T1","unit":"K"} [bms bmsS1, oem oemS1]
      → bms: update sensor bmsS1 rev 1 {"device_id":"bmsD2","id":"bmsS1","tag":"T1","unit":"K"} changed: unit
    u7 bms device bmsD2 {"serial":"SN-2"}
      bms:u7 accepted: a new record from bms
      bms:u5 accepted: taken: device_id | attempt 2
      = <sensor 1> v3 {"device_id":"<device 2>","tag":"T1","unit":"K"} [bms bmsS1, oem oemS1]
      = <device 2> v1 {"serial":"SN-2"} [bms bmsD2, oem (open create)]
      → oem: create device - rev 1 {"serial":"SN-2"} changed: serial
    u8 oem device oemD2 {"serial":"SN-2"}
      oem:u8 echo: oem made the record it was sent
      = <device 2> v1 {"serial":"SN-2"} [bms bmsD2, oem oemD2]
      → oem: update sensor oemS1 rev 2 {"device_id":"oemD2","id":"oemS1","tag":"T1","unit":"K"} changed: device_id
    "#);
}

#[test]
fn a_reference_that_waits_may_look_like_a_canonical_id() {
    let (known, unknown) = ("6f1c2f9e-0c1d-4f6e-9d58-3f5f0d6f0a01", "6f1c2f9e-0c1d-4f6e-9d58-3f5f0d6f0a02");
    let mut scene = Scene::with(&DEVICES.replace("receipts = \"required\"", "")).start();
    scene.says("bms", "device", known, json!({"serial": "SN-1"}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "C", "device_id": known}));
    scene.says("oem", "sensor", "oemS1", json!({"tag": "T1", "unit": "C", "device_id": "oemD1"}));
    scene.skip_ahead();
    scene.send(whole("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "C", "device_id": unknown})).base(0));
    scene.says("oem", "sensor", "oemS1", json!({"tag": "T1", "unit": "K", "device_id": "oemD1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 bms sensor bmsS1 {"device_id":"6f1c2f9e-0c1d-4f6e-9d58-3f5f0d6f0a02","tag":"T1","unit":"C"} base=0
      bms:u5 parked (missing_reference): waiting for bms's device 6f1c2f9e-0c1d-4f6e-9d58-3f5f0d6f0a02 (device_id), not known yet
    u6 oem sensor oemS1 {"device_id":"oemD1","tag":"T1","unit":"K"}
      oem:u6 accepted: taken: unit
      = <sensor 1> v2 {"device_id":"<device 1>","tag":"T1","unit":"K"} [bms bmsS1, oem oemS1]
      → bms: update sensor bmsS1 rev 1 {"device_id":"6f1c2f9e-0c1d-4f6e-9d58-3f5f0d6f0a02","id":"bmsS1","tag":"T1","unit":"K"} changed: unit
    "#);
}

#[test]
fn a_newer_record_does_not_name_the_reference_that_waits() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"}));
    scene.skip_ahead();
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "C", "device_id": "bmsD2"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "unit": "C"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms sensor bmsS1 {"device_id":"bmsD2","tag":"T1","unit":"C"}
      bms:u3 parked (missing_reference): waiting for bms's device bmsD2 (device_id), not known yet
    u4 bms sensor bmsS1 {"tag":"T1","unit":"C"}
      bms:u3 superseded: overtaken by bms:u4, a newer record of the same; until then: waiting for bms's device bmsD2 (device_id), not known yet
      bms:u4 accepted: taken: unit
      = <sensor 1> v2 {"device_id":"<device 1>","tag":"T1","unit":"C"} [bms bmsS1, oem (open create)]
      → bms: update sensor bmsS1 rev 1 {"device_id":"bmsD1","id":"bmsS1","tag":"T1","unit":"C"} changed: device_id
    "#);
}

#[test]
fn a_missing_reference_may_be_taken_as_null() {
    let config = quiet().replace("[entities.sensor]", "[entities.sensor]\non_missing_reference = { inbound = \"null\" }");
    let mut scene = Scene::with(&config).start();
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"}));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
      bms:u1 accepted: a new record from bms
      = <sensor 1> v1 {"device_id":null,"tag":"T1"} [bms bmsS1]
    u2 bms device bmsD1 {"serial":"SN-1"}
      bms:u2 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
    u3 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
      bms:u3 accepted: taken: device_id
      = <sensor 1> v2 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1]
    "#);
}

#[test]
fn a_target_that_does_not_take_the_parent_gets_no_reference() {
    let config = format!("{DEVICES}direction = \"in\"\n");
    let mut scene = Scene::with(&config).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "device_id": "bmsD1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
    u2 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
      bms:u2 accepted: a new record from bms
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1, oem (open create)]
      → oem: create sensor - rev 1 {"tag":"T1"} changed: tag
    "#);
}

#[test]
fn why_a_field_was_filled_by_a_record_that_joined() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "room": null}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1", "room": "B2"}));
    let record = scene.ask(async |store| store.list_records(None, None, 1).await).remove(0).record;
    let why = syncline::domain::explain_why::field(&record, &"room".into(), &std::collections::BTreeMap::new());
    insta::assert_snapshot!(why, @"room is 'B2'. oem said so on 2026-01-01T00:00:00Z, in update oem:u2 (version 2), when its record joined this one, which had no value there. bms holds no value; rev 1 with 'B2' was sent 2026-01-01T00:00:00Z, not confirmed yet. oem holds the same; rev 2 with 'B2' was sent 2026-01-01T00:00:00Z, not confirmed yet.");
}

#[test]
fn s36a_a_stale_system_joins_existing_records() {
    let mut scene = Scene::with(&DEVICES.replace("[systems.oem.entities.device]", "[systems.oem.entities.device]\ncreate = false")).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "Air handler", "room": null}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1", "name": "Old name", "room": "B2", "owner": "Facility"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"name":"Air handler","room":null,"serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"name":"Air handler","room":null,"serial":"SN-1"} [bms bmsD1]
    u2 oem device oemD1 {"name":"Old name","owner":"Facility","room":"B2","serial":"SN-1"}
      oem:u2 partially_accepted: the same thing as in bms: oem joins it; taken: owner and room; name stays 'Air handler' from bms (first_contact: fill) | by Rule first_contact: fill | modified_fields: name
        conflict name: base none, ours "Air handler" (bms), theirs "Old name" → ours (first_contact: fill)
      = <device 1> v2 {"name":"Air handler","owner":"Facility","room":"B2","serial":"SN-1"} [bms bmsD1, oem oemD1]
      → bms: update device bmsD1 rev 1 {"id":"bmsD1","name":"Air handler","owner":"Facility","room":"B2","serial":"SN-1"} changed: owner, room
      → oem: update device oemD1 rev 1 {"id":"oemD1","name":"Air handler","owner":"Facility","room":"B2","serial":"SN-1"} changed: name
    "#);
}

#[test]
fn s37_a_create_is_answered_and_linked() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "Air handler"}));
    scene.applies("oem", "oemD9");
    scene.says("oem", "device", "oemD9", json!({"serial": "SN-1", "name": "Air handler"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"name":"Air handler","serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"name":"Air handler","serial":"SN-1"} [bms bmsD1, oem (open create)]
      → oem: create device - rev 1 {"name":"Air handler","serial":"SN-1"} changed: name, serial
    u2 oem receipt device oemD9 canonical_id=<device 1> rev=1 status=applied
      oem:u2 unchanged: oem made the record; there it is oemD9
      = <device 1> v1 {"name":"Air handler","serial":"SN-1"} [bms bmsD1, oem oemD9]
    u3 oem device oemD9 {"name":"Air handler","serial":"SN-1"}
      oem:u3 echo: oem says back what it was sent
    "#);
}

#[test]
fn s37_its_own_feed_is_faster_than_the_receipt() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "Air handler"}));
    scene.says("oem", "device", "oemD9", json!({"serial": "SN-1", "name": "Air handler"}));
    scene.applies("oem", "oemD9");
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"name":"Air handler","serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"name":"Air handler","serial":"SN-1"} [bms bmsD1, oem (open create)]
      → oem: create device - rev 1 {"name":"Air handler","serial":"SN-1"} changed: name, serial
    u2 oem device oemD9 {"name":"Air handler","serial":"SN-1"}
      oem:u2 unchanged: oem made the record it was sent
      = <device 1> v1 {"name":"Air handler","serial":"SN-1"} [bms bmsD1, oem oemD9]
    u3 oem receipt device oemD9 canonical_id=<device 1> rev=1 status=applied
      oem:u3 unchanged: oem applied rev 1
      → oem: update device oemD9 rev 2 {"id":"oemD9","name":"Air handler","serial":"SN-1"} changed: name, serial
    "#);
}

/// Another configuration reads the id of a record from another field, and what waits was sent by the earlier one.
#[test]
fn what_waits_and_can_not_be_read_any_more_is_a_dead_letter_and_nothing_else() {
    let mut scene = Scene::with(&quiet()).start();
    scene.says("bms", "sensor", "bmsS1", json!({"tag": "T1", "code": "S-1", "device_id": "bmsD1"}));
    scene.restart_as(&quiet().replace("[systems.bms]", "[systems.bms]\nid_field = \"code\""));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.restart();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-2"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms sensor bmsS1 {"code":"S-1","device_id":"bmsD1","tag":"T1"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsD1 (device_id), not known yet
    … restart
    u2 bms device bmsD1 {"serial":"SN-1"}
      bms:u2 accepted: a new record from bms
      dead letter bms:u1 id_mismatch: the entity's own id field "code" says "S-1", the envelope says "bmsS1"; send the same id in both
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
    … restart
    u3 bms device bmsD1 {"serial":"SN-2"}
      bms:u3 accepted: taken: serial
      = <device 1> v2 {"serial":"SN-2"} [bms bmsD1]
    "#);
    assert!(scene.ask(async |store| store.list_waiting(None, 9).await).is_empty());
}
