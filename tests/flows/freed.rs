//! What waits for a key that another record has goes on once that one lets go of it.

use serde_json::json;

use crate::support::{Scene, delete};

/// BMS knows devices by serial, and so does OEM, which is sent no new ones.
const DEVICES: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
[systems.bms.entities.device]
create = false
[systems.oem.entities.device]
create = false
"#;

#[test]
fn a_key_that_waits_is_taken_once_it_is_free() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-2"}));
    scene.skip_ahead();
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-1", "name": "Fan"}));
    // Whatever else becomes of the other one.
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "room": "A1"}));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-9", "room": "A1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device bmsD2 {"name":"Fan","serial":"SN-1"}
      bms:u3 parked (match_collision): its key values belong to different records (serial "SN-1"): <device 2> and <device 1>; merge them or correct a key
    u4 bms device bmsD1 {"room":"A1","serial":"SN-1"}
      bms:u4 accepted: taken: room
      = <device 1> v2 {"room":"A1","serial":"SN-1"} [bms bmsD1]
    u5 bms device bmsD1 {"room":"A1","serial":"SN-9"}
      bms:u5 accepted: taken: serial
      bms:u3 accepted: taken: name and serial | attempt 2
      = <device 1> v3 {"room":"A1","serial":"SN-9"} [bms bmsD1]
      = <device 2> v2 {"name":"Fan","serial":"SN-1"} [bms bmsD2]
    "#);
}

#[test]
fn a_double_becomes_a_record_of_its_own_once_the_other_is_deleted() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-1", "name": "Fan"}));
    scene.send(delete("bms", "device", "bmsD1"));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
    u2 bms device bmsD2 {"name":"Fan","serial":"SN-1"}
      bms:u2 parked (duplicate_in_system): its key leads to record <device 1>, which this system already knows as bmsD1; one of the two is a duplicate there
    u3 bms delete device bmsD1
      bms:u3 accepted: bms deleted the record: it is deleted everywhere
      bms:u2 accepted: a new record from bms | attempt 2
      = <device 1> v2 deleted {"serial":"SN-1"} [bms bmsD1 (gone)]
      = <device 2> v1 {"name":"Fan","serial":"SN-1"} [bms bmsD2]
    "#);
}
