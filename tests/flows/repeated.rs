//! What a system can only repeat, as it was told so or not told at all, is no edit.

use serde_json::{Value, json};
use syncline::engine::acts::Request;

use crate::support::{Scene, patch, whole};

/// ERP takes groups, and not the persons in them.
const GROUPS: &str = r#"
[orchestration]
push_updates = true
[entities.person]
keys = [{ fields = ["mail"] }]
[entities.group]
keys = [{ fields = ["code"] }]
references = { member_ids = "person" }
[systems.bms.entities.person]
[systems.bms.entities.group]
[systems.erp]
receipts = "required"
[systems.erp.entities.group]
[systems.erp.entities.person]
direction = "in"
"#;

fn group(members: Value) -> Value {
    json!({"code": "G", "member_ids": members})
}

#[test]
fn a_list_is_repeated_without_those_it_could_not_be_told_of() {
    let mut scene = Scene::with(GROUPS).start();
    for id in ["p1", "p2", "p3"] {
        scene.says("bms", "person", id, json!({"mail": format!("{id}@x")}));
    }
    scene.says("bms", "group", "g1", group(json!(["p1", "p2"])));
    scene.skip_ahead();
    scene.applies("erp", "e1");
    scene.says("erp", "group", "e1", group(json!([])));
    scene.says("erp", "group", "e1", json!({"code": "G", "member_ids": [], "name": "Fire wardens"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 erp receipt group e1 canonical_id=<group 1> rev=1 status=applied
      erp:u5 unchanged: erp made the record; there it is e1
      = <group 1> v1 {"code":"G","member_ids":["<person 1>","<person 2>"]} [bms g1, erp e1]
    u6 erp group e1 {"code":"G","member_ids":[]}
      erp:u6 echo: erp says back what it was sent
    u7 erp group e1 {"code":"G","member_ids":[],"name":"Fire wardens"}
      erp:u7 accepted: taken: name
      = <group 1> v2 {"code":"G","member_ids":["<person 1>","<person 2>"],"name":"Fire wardens"} [bms g1, erp e1]
      → bms: update group g1 rev 1 {"code":"G","id":"g1","member_ids":["p1","p2"],"name":"Fire wardens"} changed: name
    "#);
    // It knows one of them by now, and takes it out of what it knows.
    scene.says("erp", "person", "x1", json!({"mail": "p1@x"}));
    scene.applies("erp", "e1");
    scene.says("erp", "group", "e1", json!({"code": "G", "member_ids": ["x1"], "name": "Fire wardens"}));
    scene.says("erp", "group", "e1", json!({"code": "G", "member_ids": [], "name": "Fire wardens"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 erp receipt group e1 canonical_id=<group 1> rev=1 status=applied
      erp:u5 unchanged: erp made the record; there it is e1
      = <group 1> v1 {"code":"G","member_ids":["<person 1>","<person 2>"]} [bms g1, erp e1]
    u6 erp group e1 {"code":"G","member_ids":[]}
      erp:u6 echo: erp says back what it was sent
    u7 erp group e1 {"code":"G","member_ids":[],"name":"Fire wardens"}
      erp:u7 accepted: taken: name
      = <group 1> v2 {"code":"G","member_ids":["<person 1>","<person 2>"],"name":"Fire wardens"} [bms g1, erp e1]
      → bms: update group g1 rev 1 {"code":"G","id":"g1","member_ids":["p1","p2"],"name":"Fire wardens"} changed: name
    u8 erp person x1 {"mail":"p1@x"}
      erp:u8 unchanged: the same thing as in bms: a new link, nothing new in it
      = <person 1> v1 {"mail":"p1@x"} [bms p1, erp x1]
      → erp: update group e1 rev 2 {"code":"G","id":"e1","member_ids":["x1"],"name":"Fire wardens"} changed: member_ids
    u9 erp receipt group e1 canonical_id=<group 1> rev=2 status=applied
      erp:u9 unchanged: erp applied rev 2
    u10 erp group e1 {"code":"G","member_ids":["x1"],"name":"Fire wardens"}
      erp:u10 echo: erp says back what it was sent
    u11 erp group e1 {"code":"G","member_ids":[],"name":"Fire wardens"}
      erp:u11 accepted: taken: member_ids
      = <group 1> v3 {"code":"G","member_ids":["<person 2>"],"name":"Fire wardens"} [bms g1, erp e1]
      → bms: update group g1 rev 2 {"code":"G","id":"g1","member_ids":["p2"],"name":"Fire wardens"} changed: member_ids
    "#);
}

#[test]
fn who_has_no_section_for_a_type_was_told_of_none_of_it() {
    let config = GROUPS.replace("[systems.erp.entities.person]\ndirection = \"in\"\n", "").replace("receipts = \"required\"\n", "");
    let mut scene = Scene::with(&config).start();
    scene.says("bms", "person", "p1", json!({"mail": "p1@x"}));
    scene.says("bms", "group", "g1", group(json!(["p1"])));
    scene.skip_ahead();
    // It answers nothing, so what it has is inferred.
    scene.says("erp", "group", "e1", group(json!([])));
    scene.says("erp", "group", "e1", json!({"code": "G", "member_ids": [], "name": "Fire wardens"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp group e1 {"code":"G","member_ids":[]}
      erp:u3 echo: erp made the record it was sent
      = <group 1> v1 {"code":"G","member_ids":["<person 1>"]} [bms g1, erp e1]
    u4 erp group e1 {"code":"G","member_ids":[],"name":"Fire wardens"}
      erp:u4 accepted: taken: name
      = <group 1> v2 {"code":"G","member_ids":["<person 1>"],"name":"Fire wardens"} [bms g1, erp e1]
      → bms: update group g1 rev 1 {"code":"G","id":"g1","member_ids":["p1"],"name":"Fire wardens"} changed: name
    "#);
}

#[test]
fn an_edit_of_a_list_that_was_just_applied_keeps_what_was_left_out_of_it() {
    let mut scene = Scene::with(GROUPS).start();
    for id in ["p1", "p2", "p4"] {
        scene.says("bms", "person", id, json!({"mail": format!("{id}@x")}));
    }
    scene.says("erp", "person", "x1", json!({"mail": "p1@x"}));
    scene.says("erp", "person", "x4", json!({"mail": "p4@x"}));
    scene.says("bms", "group", "g1", group(json!(["p1"])));
    scene.applies("erp", "e1");
    scene.send(whole("erp", "group", "e1", group(json!(["x1"]))).base(1));
    scene.says("bms", "group", "g1", group(json!(["p1", "p2", "p4"])));
    scene.applies("erp", "e1");
    scene.skip_ahead();
    scene.send(whole("erp", "group", "e1", group(json!(["x1"]))).base(2));
    insta::assert_snapshot!(scene.story(), @r#"
    u11 erp group e1 {"code":"G","member_ids":["x1"]} base=2
      erp:u11 accepted: taken: member_ids
      = <group 1> v3 {"code":"G","member_ids":["<person 1>","<person 2>"]} [bms g1, erp e1]
      → bms: update group g1 rev 1 {"code":"G","id":"g1","member_ids":["p1","p2"]} changed: member_ids
    "#);
}

#[test]
fn a_reference_that_is_cleared_before_the_next_one_is_there_is_cleared() {
    let mut scene = Scene::with(&SENSORS.replace("absent = \"clear\"\n", "")).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1"}));
    scene.says("oem", "device", "d1", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "b2", json!({"serial": "SN-2"}));
    scene.says("bms", "sensor", "s1", json!({"tag": "T1", "device_id": "b1"}));
    scene.applies("oem", "o1");
    scene.says("bms", "sensor", "s1", json!({"tag": "T1", "device_id": "b2"}));
    scene.skip_ahead();
    scene.says("oem", "sensor", "o1", json!({"tag": "T1", "device_id": null}));
    insta::assert_snapshot!(scene.story(), @r#"
    u7 oem sensor o1 {"device_id":null,"tag":"T1"}
      oem:u7 accepted: taken: device_id
        conflict device_id: base "<device 1>", ours "<device 2>" (bms), theirs null → theirs (latest)
      = <sensor 1> v3 {"device_id":null,"tag":"T1"} [bms s1, oem o1]
      → bms: update sensor s1 rev 1 {"device_id":null,"id":"s1","tag":"T1"} changed: device_id
    "#);
}

const SENSORS: &str = r#"
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
absent = "clear"
[systems.oem.entities.device]
create = false
[systems.oem.entities.sensor]
"#;

#[test]
fn who_clears_what_is_absent_does_not_clear_what_it_was_never_told() {
    let mut scene = Scene::with(SENSORS).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "s1", json!({"tag": "T1", "unit": "C", "device_id": "b1"}));
    scene.skip_ahead();
    scene.applies("oem", "o1");
    scene.says("oem", "sensor", "o1", json!({"tag": "T1", "unit": "C"}));
    scene.says("oem", "sensor", "o1", json!({"tag": "T1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem receipt sensor o1 canonical_id=<sensor 1> rev=1 status=applied
      oem:u3 unchanged: oem made the record; there it is o1
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1","unit":"C"} [bms s1, oem o1]
    u4 oem sensor o1 {"tag":"T1","unit":"C"}
      oem:u4 echo: oem says back what it was sent
    u5 oem sensor o1 {"tag":"T1"}
      oem:u5 accepted: taken: unit
      = <sensor 1> v2 {"device_id":"<device 1>","tag":"T1","unit":null} [bms s1, oem o1]
      → bms: update sensor s1 rev 1 {"device_id":"b1","id":"s1","tag":"T1","unit":null} changed: unit
    "#);
}

#[test]
fn an_object_without_fields_clears_what_was_in_it_where_absent_does() {
    let mut scene = Scene::with(SENSORS).start();
    scene.says("bms", "sensor", "s1", json!({"tag": "T1", "place": {"room": "4", "floor": 2}}));
    scene.applies("oem", "o1");
    scene.skip_ahead();
    scene.says("oem", "sensor", "o1", json!({"tag": "T1", "place": {}}));
    scene.says("oem", "sensor", "o1", json!({"tag": "T1", "place": {}}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem sensor o1 {"place":{},"tag":"T1"}
      oem:u3 accepted: taken: place.floor and place.room
      = <sensor 1> v2 {"place":{"floor":null,"room":null},"tag":"T1"} [bms s1, oem o1]
      → bms: update sensor s1 rev 1 {"id":"s1","place":{"floor":null,"room":null},"tag":"T1"} changed: place.floor, place.room
    u4 oem sensor o1 {"place":{},"tag":"T1"}
      oem:u4 unchanged: it says nothing new
    "#);
}

const DEVICES: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
references = { parent_id = "device" }
[systems.bms.entities.device]
create = false
[systems.oem]
receipts = "required"
[systems.oem.entities.device]
create = false
"#;

/// Both have the device and call it a fan.
fn fan(config: &str) -> Scene {
    let mut scene = Scene::with(config).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan"}));
    scene.skip_ahead();
    scene
}

#[test]
fn who_says_its_base_may_leave_it_out() {
    let mut scene = fan(DEVICES);
    scene.send(whole("oem", "device", "o1", json!({"serial": "S1", "name": "Fan"})).base(0));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.applies("oem", "o1");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Drum"}));
    scene.skip_ahead();
    // It has applied the pump and not yet the drum; it was started anew, and does not know what it had applied.
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Pump", "phone": "555"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u7 oem device o1 {"name":"Pump","phone":"555","serial":"S1"}
      oem:u7 accepted: taken: phone; not applied: name 'Pump', had not seen rev 2
        conflict phone: base assumed, ours null, theirs "555" → theirs (latest)
      = <device 1> v4 {"name":"Drum","phone":"555","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Drum","phone":"555","serial":"S1"} changed: phone
    "#);
}

#[test]
fn a_base_beyond_what_was_ever_sent_says_nothing() {
    let mut scene = fan(DEVICES);
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.skip_ahead();
    // As after an older back-up was put back: the base is one of a store that is gone.
    scene.send(whole("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "phone": "555"})).base(57));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 oem device o1 {"name":"Fan","phone":"555","serial":"S1"} base=57
      oem:u4 accepted: taken: phone; not applied: name 'Fan', had not seen rev 1
        conflict phone: base assumed, ours null, theirs "555" → theirs (latest)
      = <device 1> v3 {"name":"Pump","phone":"555","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Pump","phone":"555","serial":"S1"} changed: phone
    "#);
}

#[test]
fn what_a_system_made_of_a_value_is_what_it_holds_until_it_has_another_one() {
    let mut scene = fan(DEVICES);
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Air handler"}));
    scene.receipt_with("oem", "o1", "applied", |receipt| receipt.with("stored", json!({"name": "Air handl"})));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.skip_ahead();
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Air handl", "phone": "555"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u6 oem device o1 {"name":"Air handl","phone":"555","serial":"S1"}
      oem:u6 accepted: taken: phone; not applied: name 'Air handl', had not seen rev 2
      = <device 1> v4 {"name":"Pump","phone":"555","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Pump","phone":"555","serial":"S1"} changed: phone
    "#);
}

#[test]
fn a_reference_to_what_became_part_of_another_record_is_the_same_reference() {
    let mut scene = fan(DEVICES);
    scene.says("bms", "device", "a", json!({"serial": "A"}));
    scene.says("oem", "device", "w", json!({"serial": "W"}));
    scene.says("bms", "device", "q", json!({"serial": "Q"}));
    scene.says("oem", "device", "oq", json!({"serial": "Q"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan", "parent_id": "a"}));
    let (winner, loser) = (scene.id_of("device", "oem", "w"), scene.id_of("device", "bms", "a"));
    scene.act(Request::Merge { winner, loser, reason: None }, "anna").unwrap();
    scene.applies("oem", "o1");
    scene.skip_ahead();
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "parent_id": "w"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan", "parent_id": "q"}));
    // It has not seen that.
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "parent_id": "w", "phone": "555"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u9 oem device o1 {"name":"Fan","parent_id":"w","serial":"S1"}
      oem:u9 echo: oem says back what it was sent
    u10 bms device b1 {"name":"Fan","parent_id":"q","serial":"S1"}
      bms:u10 accepted: taken: parent_id
      = <device 1> v3 {"name":"Fan","parent_id":"<device 4>","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","parent_id":"oq","serial":"S1"} changed: parent_id
    u11 oem device o1 {"name":"Fan","parent_id":"w","phone":"555","serial":"S1"}
      oem:u11 accepted: taken: phone; not applied: parent_id '<device 2>', had not seen rev 2
      = <device 1> v4 {"name":"Fan","parent_id":"<device 4>","phone":"555","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan","parent_id":"q","phone":"555","serial":"S1"} changed: phone
    "#);
}

#[test]
fn a_part_of_a_record_nobody_knows_waits_for_the_whole_one() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan", "phone": "222"}));
    scene.skip_ahead();
    scene.send(patch("oem", "device", "o1", json!({"serial": "S1"})));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "phone": "111"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u2 oem patch device o1 {"serial":"S1"}
      oem:u2 parked (no_base): only a part of a record nobody knows yet; waiting for a whole one
    u3 oem device o1 {"name":"Fan","phone":"111","serial":"S1"}
      oem:u2 superseded: overtaken by oem:u3, a newer record of the same; until then: only a part of a record nobody knows yet; waiting for a whole one
      oem:u3 dropped: the same thing as in bms: oem joins it; phone stays '222' from bms (first_contact: fill) | by Rule first_contact: fill | modified_fields: phone
        conflict phone: base none, ours "222" (bms), theirs "111" → ours (first_contact: fill)
      = <device 1> v1 {"name":"Fan","phone":"222","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 1 {"id":"o1","name":"Fan","phone":"222","serial":"S1"} changed: phone
    "#);
}

#[test]
fn who_is_not_configured_any_more_is_not_told_anything() {
    let mut scene = fan(DEVICES);
    scene.restart_as(
        "[orchestration]\npush_updates = true\n[entities.device]\nkeys = [{ fields = [\"serial\"] }]\n[systems.bms.entities.device]\n",
    );
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.says("bms", "device", "b2", json!({"serial": "S2"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan"}));
    insta::assert_snapshot!(scene.story(), @r#"
    … restart
    u3 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u3 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
    u4 bms device b2 {"serial":"S2"}
      bms:u4 accepted: a new record from bms
      = <device 2> v1 {"serial":"S2"} [bms b2]
    u5 oem device o1 {"name":"Fan","serial":"S1"}
      dead letter oem:u5 unknown_system: no [systems.oem] in the configuration; add it, or set unknown_systems = "accept"
    "#);
}

#[test]
fn the_id_of_one_system_is_no_field_of_another_one() {
    let config = DEVICES.replace("[systems.oem]\n", "[systems.oem]\nid_field = \"uuid\"\n").replace("create = false", "create = true");
    let mut scene = Scene::with(&config).start();
    scene.says("oem", "device", "o1", json!({"serial": "S1", "id": "a field of its own"}));
    scene.skip_ahead();
    scene.applies("bms", "b1");
    scene.says("bms", "device", "b1", json!({"id": "b1", "serial": "S1", "name": "Fan"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u2 bms receipt device b1 canonical_id=<device 1> rev=1 status=applied
      bms:u2 unchanged: bms made the record; there it is b1
      = <device 1> v1 {"id":"a field of its own","serial":"S1"} [oem o1, bms b1]
    u3 bms device b1 {"id":"b1","name":"Fan","serial":"S1"}
      bms:u3 accepted: taken: name
      = <device 1> v2 {"id":"a field of its own","name":"Fan","serial":"S1"} [oem o1, bms b1]
      → oem: update device o1 rev 1 {"id":"a field of its own","name":"Fan","serial":"S1","uuid":"o1"} changed: name
    "#);
}
