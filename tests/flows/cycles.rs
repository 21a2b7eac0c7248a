//! Records that name each other before any of them is known.

use std::time::Duration;

use serde_json::json;
use syncline::domain::change::Record;
use syncline::domain::handler::{UpdateMeta, Verdict};

use crate::support::{Scene, patch, whole};

/// Devices may have a parent and a main sensor, sensors belong to a device.
const DEVICES: &str = r#"
[orchestration]
push_updates = false
[entities.device]
keys = [{ fields = ["serial"] }]
references = { parent_id = "device", sensor_id = "sensor" }
[entities.sensor]
keys = [{ fields = ["tag"] }]
references = { device_id = "device" }
[systems.bms]
receipts = "required"
[systems.bms.entities.device]
[systems.oem]
receipts = "required"
[systems.oem.entities.device]
"#;

#[test]
fn s36_two_records_that_name_each_other() {
    let mut scene = Scene::with(&DEVICES.replace("push_updates = false", "push_updates = true")).start();
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"}));
    scene.says("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsA"}));
    scene.applies("oem", "oemB");
    scene.applies("oem", "oemA");
    scene.applies("oem", "oemB");
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsA {"parent_id":"bmsB","serial":"A"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsB (parent_id), not known yet
    u2 bms device bmsB {"parent_id":"bmsA","serial":"B"}
      bms:u1 accepted: a new record from bms | attempt 2
      bms:u2 accepted: a new record from bms
      = <device 1> v1 {"parent_id":"<device 2>","serial":"A"} [bms bmsA, oem (open create)]
      = <device 2> v1 {"parent_id":"<device 1>","serial":"B"} [bms bmsB, oem (open create)]
      → oem: create device - rev 2 {"serial":"B"} changed: serial
    u3 oem receipt device oemB canonical_id=<device 2> rev=2 status=applied
      oem:u3 unchanged: oem made the record; there it is oemB
      = <device 2> v1 {"parent_id":"<device 1>","serial":"B"} [bms bmsB, oem oemB]
      → oem: create device - rev 1 {"parent_id":"oemB","serial":"A"} changed: parent_id, serial
    u4 oem receipt device oemA canonical_id=<device 1> rev=1 status=applied
      oem:u4 unchanged: oem made the record; there it is oemA
      = <device 1> v1 {"parent_id":"<device 2>","serial":"A"} [bms bmsA, oem oemA]
      → oem: update device oemB rev 3 {"id":"oemB","parent_id":"oemA","serial":"B"} changed: parent_id
    u5 oem receipt device oemB canonical_id=<device 2> rev=3 status=applied
      oem:u5 unchanged: oem applied rev 3
    u6 bms device bmsA {"parent_id":"bmsB","serial":"A"}
      bms:u6 unchanged: it says nothing new
    "#);
}

#[test]
fn s36_three_records_in_one_batch_and_a_patch_behind() {
    if !Scene::takes_several_at_once() {
        return;
    }
    let mut scene = Scene::with(DEVICES).start();
    scene.together([
        whole("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"})),
        patch("bms", "device", "bmsA", json!({"name": "patched"})),
        whole("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsC"})),
        whole("bms", "device", "bmsC", json!({"serial": "C", "parent_id": "bmsA"})),
    ]);
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsA {"parent_id":"bmsB","serial":"A"}
    u2 bms patch device bmsA {"name":"patched"}
    u3 bms device bmsB {"parent_id":"bmsC","serial":"B"}
    u4 bms device bmsC {"parent_id":"bmsA","serial":"C"}
      bms:u1 accepted: a new record from bms | attempt 2
      bms:u3 accepted: a new record from bms | attempt 2
      bms:u4 accepted: a new record from bms
      bms:u2 accepted: taken: name | attempt 2
      = <device 1> v2 {"name":"patched","parent_id":"<device 2>","serial":"A"} [bms bmsA]
      = <device 2> v1 {"parent_id":"<device 3>","serial":"B"} [bms bmsB]
      = <device 3> v1 {"parent_id":"<device 1>","serial":"C"} [bms bmsC]
    "#);
}

#[test]
fn s36_three_records_one_by_one_with_a_restart() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"}));
    scene.says("bms", "device", "bmsC", json!({"serial": "C", "parent_id": "bmsA"}));
    scene.restart();
    scene.says("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsC"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsA {"parent_id":"bmsB","serial":"A"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsB (parent_id), not known yet
    u2 bms device bmsC {"parent_id":"bmsA","serial":"C"}
      bms:u2 parked (missing_reference): waiting for bms's device bmsA (parent_id), not known yet
    … restart
    u3 bms device bmsB {"parent_id":"bmsC","serial":"B"}
      bms:u1 accepted: a new record from bms | attempt 2
      bms:u2 accepted: a new record from bms | attempt 2
      bms:u3 accepted: a new record from bms
      = <device 1> v1 {"parent_id":"<device 3>","serial":"A"} [bms bmsA]
      = <device 2> v1 {"parent_id":"<device 1>","serial":"C"} [bms bmsC]
      = <device 3> v1 {"parent_id":"<device 2>","serial":"B"} [bms bmsB]
    "#);
}

#[test]
fn a_record_that_names_itself() {
    let mut scene = Scene::with(&DEVICES.replace("push_updates = false", "push_updates = true")).start();
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsA"}));
    scene.applies("oem", "oemA");
    scene.applies("oem", "oemA");
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsA {"parent_id":"bmsA","serial":"A"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"parent_id":"<device 1>","serial":"A"} [bms bmsA, oem (open create)]
      → oem: create device - rev 2 {"serial":"A"} changed: serial
    u2 oem receipt device oemA canonical_id=<device 1> rev=2 status=applied
      oem:u2 unchanged: oem made the record; there it is oemA
      = <device 1> v1 {"parent_id":"<device 1>","serial":"A"} [bms bmsA, oem oemA]
      → oem: update device oemA rev 3 {"id":"oemA","parent_id":"oemA","serial":"A"} changed: parent_id
    u3 oem receipt device oemA canonical_id=<device 1> rev=3 status=applied
      oem:u3 unchanged: oem applied rev 3
    "#);
}

#[test]
fn a_cycle_through_two_types_and_a_record_somebody_else_has() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("oem", "device", "oemA", json!({"serial": "A", "room": "B2"}));
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "sensor_id": "bmsS"}));
    scene.says("bms", "sensor", "bmsS", json!({"tag": "T1", "device_id": "bmsA"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 oem device oemA {"room":"B2","serial":"A"}
      oem:u1 accepted: a new record from oem
      = <device 1> v1 {"room":"B2","serial":"A"} [oem oemA]
    u2 bms device bmsA {"sensor_id":"bmsS","serial":"A"}
      bms:u2 parked (missing_reference): waiting for bms's sensor bmsS (sensor_id), not known yet
    u3 bms sensor bmsS {"device_id":"bmsA","tag":"T1"}
      bms:u2 accepted: the same thing as in oem: bms joins it; taken: sensor_id | attempt 2
      bms:u3 accepted: a new record from bms
      = <device 1> v2 {"room":"B2","sensor_id":"<sensor 1>","serial":"A"} [oem oemA, bms bmsA]
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS]
    "#);
}

#[test]
fn a_cycle_that_also_waits_for_somebody_else() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"}));
    scene.says("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsA", "sensor_id": "bmsS"}));
    scene.says("bms", "sensor", "bmsS", json!({"tag": "T1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsA {"parent_id":"bmsB","serial":"A"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsB (parent_id), not known yet
    u2 bms device bmsB {"parent_id":"bmsA","sensor_id":"bmsS","serial":"B"}
      bms:u2 parked (missing_reference): waiting for bms's device bmsA (parent_id) and bms's sensor bmsS (sensor_id), not known yet
    u3 bms sensor bmsS {"tag":"T1"}
      bms:u3 accepted: a new record from bms
      bms:u1 accepted: a new record from bms | attempt 2
      bms:u2 accepted: a new record from bms | attempt 2
      = <sensor 1> v1 {"tag":"T1"} [bms bmsS]
      = <device 1> v1 {"parent_id":"<device 2>","serial":"A"} [bms bmsA]
      = <device 2> v1 {"parent_id":"<device 1>","sensor_id":"<sensor 1>","serial":"B"} [bms bmsB]
    "#);
}

#[test]
fn a_cycle_one_of_whose_records_is_put_off() {
    let later = |proposed: &mut Record, _: Option<&Record>, meta: &UpdateMeta| {
        if proposed.get("serial") == Some(&json!("A")) && meta.attempt() < 3 {
            return Verdict::defer("not yet", Duration::from_secs(2));
        }
        Verdict::accept(None)
    };
    let mut scene = Scene::with(DEVICES).handler("device", later).start();
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"}));
    scene.says("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsA"}));
    scene.wait(Duration::from_secs(2));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsA {"parent_id":"bmsB","serial":"A"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsB (parent_id), not known yet
    u2 bms device bmsB {"parent_id":"bmsA","serial":"B"}
      bms:u1 deferred (time): not yet | by Handler device | attempt 2
      bms:u2 parked (missing_reference): waiting for bms's device bmsA (parent_id), not known yet
    … 2s later
      bms:u1 accepted: a new record from bms | by Handler device | attempt 3
      bms:u2 accepted: a new record from bms | by Handler device | attempt 2
      = <device 1> v1 {"parent_id":"<device 2>","serial":"A"} [bms bmsA]
      = <device 2> v1 {"parent_id":"<device 1>","serial":"B"} [bms bmsB]
    "#);
}

#[test]
fn a_cycle_one_of_whose_records_is_not_wanted() {
    let unwanted = |proposed: &mut Record, _: Option<&Record>, _: &UpdateMeta| {
        if proposed.get("serial") == Some(&json!("B")) { Verdict::skip("not that one") } else { Verdict::accept(None) }
    };
    let mut scene = Scene::with(DEVICES).handler("device", unwanted).start();
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"}));
    scene.says("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsA"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsA {"parent_id":"bmsB","serial":"A"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsB (parent_id), not known yet
    u2 bms device bmsB {"parent_id":"bmsA","serial":"B"}
      bms:u2 dropped: not that one | by Handler device | modified_fields: parent_id, serial
    "#);
}

#[test]
fn a_cycle_in_two_orchestrators_at_once() {
    if !Scene::by_hand() {
        return;
    }
    let mut scene = Scene::with(DEVICES).two_orchestrators().start();
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"}));
    scene.race(
        whole("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsA"})),
        whole("oem", "device", "oemA", json!({"serial": "A", "room": "B2"})),
    );
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsA {"parent_id":"bmsB","serial":"A"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsB (parent_id), not known yet
    u2 bms device bmsB {"parent_id":"bmsA","serial":"B"}
    u3 oem device oemA {"room":"B2","serial":"A"}
      bms:u1 accepted: a new record from bms | attempt 2
      bms:u2 accepted: a new record from bms
      = <device 1> v1 {"parent_id":"<device 2>","serial":"A"} [bms bmsA]
      = <device 2> v1 {"parent_id":"<device 1>","serial":"B"} [bms bmsB]
      oem:u3 accepted: the same thing as in bms: oem joins it; taken: room
      = <device 1> v2 {"parent_id":"<device 2>","room":"B2","serial":"A"} [bms bmsA, oem oemA]
    "#);
}

#[test]
fn a_cycle_and_newer_records_of_it_in_one_batch() {
    if !Scene::takes_several_at_once() {
        return;
    }
    let mut scene = Scene::with(DEVICES).start();
    scene.together([
        whole("oem", "device", "oemB", json!({"serial": "B"})),
        whole("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"})),
        whole("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsA"})),
        whole("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB", "name": "y"})),
        whole("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsA", "name": "z"})),
    ]);
    insta::assert_snapshot!(scene.story(), @r#"
    u1 oem device oemB {"serial":"B"}
    u2 bms device bmsA {"parent_id":"bmsB","serial":"A"}
    u3 bms device bmsB {"parent_id":"bmsA","serial":"B"}
    u4 bms device bmsA {"name":"y","parent_id":"bmsB","serial":"A"}
    u5 bms device bmsB {"name":"z","parent_id":"bmsA","serial":"B"}
      oem:u1 accepted: a new record from oem
      bms:u2 accepted: a new record from bms | attempt 2
      bms:u3 accepted: the same thing as in oem: bms joins it; taken: parent_id
      bms:u4 accepted: taken: name
      bms:u5 accepted: taken: name
      = <device 1> v3 {"name":"z","parent_id":"<device 2>","serial":"B"} [oem oemB, bms bmsB]
      = <device 2> v2 {"name":"y","parent_id":"<device 1>","serial":"A"} [bms bmsA]
    "#);
}

#[test]
fn a_create_on_its_way_is_remembered_when_a_cycle_makes_another_one_necessary() {
    let config = DEVICES.replace("push_updates = false", "push_updates = true").replace("receipts = \"required\"\n", "");
    let mut scene = Scene::with(&config).start();
    scene.says("bms", "device", "bmsA", json!({"serial": "A"}));
    scene.says("bms", "device", "bmsB", json!({"serial": "B", "parent_id": "bmsA"}));
    scene.says("bms", "device", "bmsA", json!({"serial": "A", "parent_id": "bmsB"}));
    let id = scene.ask(async |store| store.list_records(None, None, 1).await)[0].record.id.to_string();
    scene.send(whole("oem", "device", "oemA", json!({"serial": "A"})).with("canonical_id", id).base(1));
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
      → oem: create device - rev 3 {"serial":"A"} changed: 
    u4 oem device oemA {"serial":"A"} base=1 canonical_id=<device 1>
      oem:u4 echo: oem made the record it was sent
      = <device 1> v2 {"parent_id":"<device 2>","serial":"A"} [bms bmsA, oem oemA]
      → oem: create device - rev 1 {"parent_id":"oemA","serial":"B"} changed: parent_id, serial
    "#);
}
