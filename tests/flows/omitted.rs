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
    insta::assert_snapshot!(scene.story(), @"");
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
    insta::assert_snapshot!(scene.story(), @"");
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
    insta::assert_snapshot!(scene.story(), @"");
}
