//! References that are left out of what a system is sent, as it has not got what they lead to.

use serde_json::json;

use crate::support::Scene;

/// OEM is sent sensors at once, without what it has no device for.
const OMITS: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
[entities.sensor]
keys = [{ fields = ["tag"] }]
references = { device_id = "device" }
on_missing_reference = { outbound = "omit" }
[systems.bms.entities.device]
[systems.bms.entities.sensor]
[systems.oem]
receipts = "required"
[systems.oem.entities.device]
create = false
[systems.oem.entities.sensor]
"#;

#[test]
fn what_was_left_out_is_not_cleared_by_who_never_had_it() {
    let mut scene = Scene::with(OMITS).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "s1", json!({"tag": "T1", "device_id": "b1"}));
    scene.skip_ahead();
    scene.applies("oem", "o1");
    scene.says("oem", "sensor", "o1", json!({"tag": "T1", "device_id": null}));
    scene.says("oem", "sensor", "o1", json!({"tag": "T1b", "device_id": null}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem receipt sensor o1 canonical_id=<sensor 1> rev=1 status=applied
      oem:u3 unchanged: oem made the record; there it is o1
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms s1, oem o1]
    u4 oem sensor o1 {"device_id":null,"tag":"T1"}
      oem:u4 echo: oem says back what it was sent
    u5 oem sensor o1 {"device_id":null,"tag":"T1b"}
      oem:u5 accepted: taken: tag
      = <sensor 1> v2 {"device_id":"<device 1>","tag":"T1b"} [bms s1, oem o1]
      → bms: update sensor s1 rev 1 {"device_id":"b1","id":"s1","tag":"T1b"} changed: tag
    "#);
}

#[test]
fn what_was_left_out_is_sent_once_there_is_something_it_leads_to() {
    let mut scene = Scene::with(OMITS).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "s1", json!({"tag": "T1", "device_id": "b1"}));
    scene.applies("oem", "o1");
    scene.skip_ahead();
    scene.says("oem", "device", "d1", json!({"serial": "SN-1"}));
    scene.applies("oem", "o1");
    scene.says("oem", "sensor", "o1", json!({"tag": "T1", "device_id": null}));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 oem device d1 {"serial":"SN-1"}
      oem:u4 unchanged: the same thing as in bms: a new link, nothing new in it
      = <device 1> v1 {"serial":"SN-1"} [bms b1, oem d1]
      → oem: update sensor o1 rev 2 {"device_id":"d1","id":"o1","tag":"T1"} changed: device_id
    u5 oem receipt sensor o1 canonical_id=<sensor 1> rev=2 status=applied
      oem:u5 unchanged: oem applied rev 2
    u6 oem sensor o1 {"device_id":null,"tag":"T1"}
      oem:u6 accepted: taken: device_id
      = <sensor 1> v2 {"device_id":null,"tag":"T1"} [bms s1, oem o1]
      → bms: update sensor s1 rev 1 {"device_id":null,"id":"s1","tag":"T1"} changed: device_id
    "#);
}

#[test]
fn a_type_a_system_is_not_sent_is_left_out_and_not_cleared() {
    let config = OMITS.replace("on_missing_reference = { outbound = \"omit\" }\n", "").replace("create = false", "direction = \"in\"");
    let mut scene = Scene::with(&config).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "s1", json!({"tag": "T1", "device_id": "b1"}));
    scene.applies("oem", "o1");
    scene.skip_ahead();
    scene.says("oem", "sensor", "o1", json!({"tag": "T1", "device_id": null}));
    scene.says("oem", "device", "d1", json!({"serial": "SN-1"}));
    scene.applies("oem", "o1");
    insta::assert_snapshot!(scene.story(), @r#"
    u4 oem sensor o1 {"device_id":null,"tag":"T1"}
      oem:u4 echo: oem says back what it was sent
    u5 oem device d1 {"serial":"SN-1"}
      oem:u5 unchanged: the same thing as in bms: a new link, nothing new in it
      = <device 1> v1 {"serial":"SN-1"} [bms b1, oem d1]
      → oem: update sensor o1 rev 2 {"device_id":"d1","id":"o1","tag":"T1"} changed: device_id
    u6 oem receipt sensor o1 canonical_id=<sensor 1> rev=2 status=applied
      oem:u6 unchanged: oem applied rev 2
    "#);
}
