//! Native records that get another id.

use serde_json::json;
use syncline::engine::acts::Request;

use crate::support::{Scene, rekey, whole};

/// Sensors refer to devices; both systems have both.
const BOTH: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
[entities.sensor]
keys = [{ fields = ["tag"] }]
references = { device_id = "device" }
[systems.bms.entities.device]
[systems.bms.entities.sensor]
[systems.oem]
receipts = "required"
[systems.oem.entities.device]
[systems.oem.entities.sensor]
[systems.erp.entities.device]
create = false
"#;

/// A device and two of its sensors, which both systems hold; a third sensor refers to nothing.
fn both_have_all(config: &str) -> Scene {
    let mut scene = Scene::with(config).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1"}));
    scene.applies("oem", "d1");
    for (native_id, tag) in [("s1", "T1"), ("s2", "T2")] {
        scene.says("bms", "sensor", native_id, json!({"tag": tag, "device_id": "b1"}));
        scene.applies("oem", &format!("o-{native_id}"));
    }
    scene.says("bms", "sensor", "s3", json!({"tag": "T3", "device_id": null}));
    scene.applies("oem", "o-s3");
    scene.skip_ahead();
    scene
}

#[test]
fn who_renames_a_record_is_sent_those_that_refer_to_it_again() {
    let mut scene = both_have_all(BOTH);
    scene.send(rekey("oem", "device", "d1", "D-100"));
    insta::assert_snapshot!(scene.story(), @r#"
    u9 oem rekey device d1 new_native_id=D-100
      oem:u9 unchanged: oem calls the record D-100 now; d1 still leads to it
      = <device 1> v1 {"serial":"SN-1"} [bms b1, oem D-100]
      → oem: update sensor o-s1 rev 2 {"device_id":"D-100","id":"o-s1","tag":"T1"} changed: device_id
      → oem: update sensor o-s2 rev 2 {"device_id":"D-100","id":"o-s2","tag":"T2"} changed: device_id
    "#);
    scene.applies("oem", "o-s2");
    scene.says("oem", "sensor", "o-s1", json!({"tag": "T1", "device_id": "d1"}));
    scene.says("oem", "sensor", "o-s1", json!({"tag": "T1", "device_id": "D-100"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u9 oem rekey device d1 new_native_id=D-100
      oem:u9 unchanged: oem calls the record D-100 now; d1 still leads to it
      = <device 1> v1 {"serial":"SN-1"} [bms b1, oem D-100]
      → oem: update sensor o-s1 rev 2 {"device_id":"D-100","id":"o-s1","tag":"T1"} changed: device_id
      → oem: update sensor o-s2 rev 2 {"device_id":"D-100","id":"o-s2","tag":"T2"} changed: device_id
    u10 oem receipt sensor o-s2 canonical_id=<sensor 2> rev=2 status=applied
      oem:u10 unchanged: oem applied rev 2
    u11 oem sensor o-s1 {"device_id":"d1","tag":"T1"}
      oem:u11 echo: oem says back what it was sent
    u12 oem sensor o-s1 {"device_id":"D-100","tag":"T1"}
      oem:u12 echo: oem says back what it was sent
    "#);
}

#[test]
fn who_is_sent_what_changed_only_is_sent_the_reference() {
    let config = BOTH.replace("receipts = \"required\"", "receipts = \"required\"\nwrites = \"changed\"");
    let mut scene = both_have_all(&config);
    scene.send(rekey("oem", "device", "d1", "D-100"));
    insta::assert_snapshot!(scene.story(), @r#"
    u9 oem rekey device d1 new_native_id=D-100
      oem:u9 unchanged: oem calls the record D-100 now; d1 still leads to it
      = <device 1> v1 {"serial":"SN-1"} [bms b1, oem D-100]
      → oem: update sensor o-s1 rev 2 {"device_id":"D-100","id":"o-s1","tag":"T1"} changed: device_id
      → oem: update sensor o-s2 rev 2 {"device_id":"D-100","id":"o-s2","tag":"T2"} changed: device_id
    "#);
}

#[test]
fn without_push_a_new_id_is_all_there_is() {
    let mut scene = Scene::with(&BOTH.replace("push_updates = true", "push_updates = false")).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "s1", json!({"tag": "T1", "device_id": "b1"}));
    scene.send(rekey("bms", "device", "b1", "B-100"));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device b1 {"serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms b1]
    u2 bms sensor s1 {"device_id":"b1","tag":"T1"}
      bms:u2 accepted: a new record from bms
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms s1]
    u3 bms rekey device b1 new_native_id=B-100
      bms:u3 unchanged: bms calls the record B-100 now; b1 still leads to it
      = <device 1> v1 {"serial":"SN-1"} [bms B-100]
    "#);
}

#[test]
fn a_record_may_get_its_old_id_back() {
    let mut scene = both_have_all(BOTH);
    scene.send(rekey("oem", "device", "d1", "D-100"));
    scene.send(rekey("oem", "device", "D-100", "d1"));
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "room": "4"}));
    scene.says("oem", "device", "D-100", json!({"serial": "SN-1", "room": "4"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u9 oem rekey device d1 new_native_id=D-100
      oem:u9 unchanged: oem calls the record D-100 now; d1 still leads to it
      = <device 1> v1 {"serial":"SN-1"} [bms b1, oem D-100]
      → oem: update sensor o-s1 rev 2 {"device_id":"D-100","id":"o-s1","tag":"T1"} changed: device_id
      → oem: update sensor o-s2 rev 2 {"device_id":"D-100","id":"o-s2","tag":"T2"} changed: device_id
    u10 oem rekey device D-100 new_native_id=d1
      oem:u10 unchanged: oem calls the record d1 now; D-100 still leads to it
      = <device 1> v1 {"serial":"SN-1"} [bms b1, oem d1]
    u11 bms device b1 {"room":"4","serial":"SN-1"}
      bms:u11 accepted: taken: room
      = <device 1> v2 {"room":"4","serial":"SN-1"} [bms b1, oem d1]
      → oem: update device d1 rev 2 {"id":"d1","room":"4","serial":"SN-1"} changed: room
    u12 oem device D-100 {"room":"4","serial":"SN-1"}
      oem:u12 unchanged: agreed already: room
    "#);
}

#[test]
fn what_waits_under_the_old_id_is_known_under_the_new_one() {
    let config = BOTH.replace("keys = [{ fields = [\"serial\"] }]", "keys = [{ fields = [\"serial\"] }, { fields = [\"code\"] }]");
    let mut scene = Scene::with(&config.replace("[systems.oem.entities.device]", "[systems.oem.entities.device]\ncreate = false")).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1"}));
    scene.says("oem", "device", "o2", json!({"code": "C-2"}));
    scene.send(whole("erp", "device", "e1", json!({"serial": "SN-1", "code": "C-2"})));
    scene.send(rekey("erp", "device", "e1", "E-100"));
    let (winner, loser) = (scene.id_of("device", "bms", "b1"), scene.id_of("device", "oem", "o2"));
    scene.skip_ahead();
    scene.act(Request::Merge { winner, loser, reason: None }, "anna").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    … anna says that <device 2> is <device 1>
      syncline:merge accepted: record <device 2> is the same thing and became part of this one: anna says so | by Person anna
      erp:u3 unchanged: the same thing as in bms and oem: a new link, nothing new in it | attempt 2
      erp:u4 unchanged: erp calls the record E-100 now; e1 still leads to it | attempt 2
      = <device 1> v2 {"code":"C-2","serial":"SN-1"} [bms b1, oem o2, erp E-100]
      = <device 2> v1 {"code":"C-2"} []
      → bms: update device b1 rev 2 {"code":"C-2","id":"b1","serial":"SN-1"} changed: code
      → oem: update device o2 rev 1 {"code":"C-2","id":"o2","serial":"SN-1"} changed: serial
    "#);
}

#[test]
fn a_known_record_is_renamed_whatever_waits_of_it() {
    let mut scene = Scene::with(BOTH).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "b2", json!({"serial": "SN-2"}));
    scene.says("erp", "device", "e1", json!({"serial": "SN-1"}));
    scene.skip_ahead();
    // Its new key is another record's.
    scene.says("erp", "device", "e1", json!({"serial": "SN-2"}));
    scene.send(rekey("erp", "device", "e1", "E-100"));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 erp device e1 {"serial":"SN-2"}
      erp:u4 parked (match_collision): its key values belong to different records (serial "SN-2"): <device 1> and <device 2>; merge them or correct a key
    u5 erp rekey device e1 new_native_id=E-100
      erp:u5 unchanged: erp calls the record E-100 now; e1 still leads to it
      = <device 1> v1 {"serial":"SN-1"} [bms b1, oem (open create), erp E-100]
    "#);
}
