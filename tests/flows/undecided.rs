//! A change that waits while a message is on its way to its system: the system keeps what it holds until somebody has decided.

use std::time::Duration;

use serde_json::{Value, json};
use syncline::config::Config;
use syncline::domain::change::Record;
use syncline::domain::handler::{UpdateMeta, Verdict};
use syncline::domain::ids::{EntityType, SystemName};
use syncline::domain::review::{Says, Word};
use syncline::engine::acts::Request;
use syncline::engine::settings::Settings;
use syncline::views::native;

use crate::support::{Scene, patch, whole};

const DEVICES: &str = r#"
[orchestration]
push_updates = true
create_settle = "0s"
[entities.site]
keys = [{ fields = ["code"] }]
[entities.device]
keys = [{ fields = ["serial"] }]
references = { site_id = "site" }
[systems.bms]
[systems.oem]
receipts = "required"
"#;

/// A blower is for a person, and so is how often it ran.
fn blowers_are_reviewed(proposed: &mut Record, current: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let changed = |name: &str| meta.changed().iter().any(|field| field.as_str() == name);
    let is_for_a_person = changed("name") && proposed["name"] == "Blower" || changed("runs");
    if meta.source() == "oem" && is_for_a_person && current.is_some() && meta.approval().is_none() {
        Verdict::review("is it a blower?")
    } else {
        Verdict::accept(None)
    }
}

/// Both systems have a fan.
fn fan(reviewed: bool) -> Scene {
    let setting = Scene::with(DEVICES);
    let setting = if reviewed { setting.handler("device", blowers_are_reviewed) } else { setting };
    let mut scene = setting.start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan"}));
    scene.skip_ahead();
    scene
}

impl Scene {
    fn anna_says(&mut self, update: &str, says: Says) {
        let word = Word { says, by: Some("anna".to_owned()), at: self.now(), reason: None };
        self.act(Request::Judge { update: update.to_owned().try_into().unwrap(), word: Some(word) }, "anna").unwrap();
    }
}

#[test]
fn what_waits_is_not_overwritten_by_what_was_sent_before() {
    let mut scene = fan(true);
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.send(whole("oem", "device", "o1", json!({"serial": "S1", "name": "Blower"})).id("blower"));
    // It gets our pump over its blower, and then its blower back.
    scene.applies("oem", "o1");
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Pump"}));
    scene.applies("oem", "o1");
    scene.anna_says("oem:blower", Says::Approved { edited: None });
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Blower"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u3 accepted: taken: name | by Handler device
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    blower oem device o1 {"name":"Blower","serial":"S1"}
      oem:blower parked (review): is it a blower? | by Handler device
        conflict name: base "Fan", ours "Pump" (bms), theirs "Blower" → theirs (latest)
    u4 oem receipt device o1 canonical_id=<device 1> rev=1 status=applied
      oem:u4 unchanged: oem applied rev 1
      → oem: update device o1 rev 2 {"id":"o1","name":"Blower","serial":"S1"} changed: name
    u5 oem device o1 {"name":"Pump","serial":"S1"}
      oem:u5 unchanged: it says nothing new
    u6 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u6 unchanged: oem applied rev 2
    … anna approves oem:blower
      oem:blower accepted: approved by anna; taken: name | by Person anna | attempt 2
        conflict name: base "Fan", ours "Pump" (bms), theirs "Blower" → theirs (latest)
      = <device 1> v3 {"name":"Blower","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Blower","serial":"S1"} changed: name
    u7 oem device o1 {"name":"Blower","serial":"S1"}
      oem:u7 echo: oem says back what it was sent
    "#);
}

#[test]
fn what_a_person_rejects_is_corrected_afterwards() {
    let mut scene = fan(true);
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.send(whole("oem", "device", "o1", json!({"serial": "S1", "name": "Blower"})).id("blower"));
    scene.applies("oem", "o1");
    scene.applies("oem", "o1");
    scene.anna_says("oem:blower", Says::Rejected);
    scene.applies("oem", "o1");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u3 accepted: taken: name | by Handler device
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    blower oem device o1 {"name":"Blower","serial":"S1"}
      oem:blower parked (review): is it a blower? | by Handler device
        conflict name: base "Fan", ours "Pump" (bms), theirs "Blower" → theirs (latest)
    u4 oem receipt device o1 canonical_id=<device 1> rev=1 status=applied
      oem:u4 unchanged: oem applied rev 1
      → oem: update device o1 rev 2 {"id":"o1","name":"Blower","serial":"S1"} changed: name
    u5 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u5 unchanged: oem applied rev 2
    … anna rejects oem:blower
      oem:blower dropped: rejected by anna | by Person anna | modified_fields: name | attempt 2
        conflict name: base "Fan", ours "Pump" (bms), theirs "Blower" → ours (anna)
      → oem: update device o1 rev 3 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    u6 oem receipt device o1 canonical_id=<device 1> rev=3 status=applied
      oem:u6 unchanged: oem applied rev 3
    "#);
}

#[test]
fn a_message_says_what_was_recorded_of_it() {
    if !Scene::by_hand() {
        return;
    }
    let mut scene = fan(false);
    scene.pause_relay();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Blower", "site_id": "os1"}));
    scene.resume_relay();
    scene.applies("oem", "o1");
    // It has what it said, so that this is no edit.
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Blower", "site_id": "os1"}));
    scene.says("oem", "site", "os1", json!({"code": "S"}));
    scene.wait(Duration::from_secs(1));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u3 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
    u4 oem device o1 {"name":"Blower","serial":"S1","site_id":"os1"}
      oem:u4 parked (missing_reference): waiting for oem's site os1 (site_id), not known yet
      → oem: update device o1 rev 2 {"id":"o1","name":"Blower","serial":"S1","site_id":"os1"} changed: name, site_id
    u5 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u5 unchanged: oem applied rev 2
    u6 oem device o1 {"name":"Blower","serial":"S1","site_id":"os1"}
      oem:u4 superseded: overtaken by oem:u6, a newer record of the same; until then: waiting for oem's site os1 (site_id), not known yet
      oem:u6 parked (missing_reference): waiting for oem's site os1 (site_id), not known yet
    u7 oem site os1 {"code":"S"}
      oem:u7 accepted: a new record from oem
      oem:u6 accepted: taken: name and site_id | attempt 2
        conflict name: base "Fan", ours "Pump" (bms), theirs "Blower" → theirs (latest)
      = <device 1> v3 {"name":"Blower","serial":"S1","site_id":"<site 1>"} [bms b1, oem o1]
      = <site 1> v1 {"code":"S"} [oem os1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Blower","serial":"S1"} changed: name
    … 1s later
    "#);
}

#[test]
fn a_newer_word_about_a_field_is_the_one_that_counts() {
    let mut scene = fan(true);
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.send(patch("oem", "device", "o1", json!({"name": "Blower", "room": "A1"})).id("blower"));
    scene.send(patch("oem", "device", "o1", json!({"name": "Drum"})));
    scene.applies("oem", "o1");
    scene.applies("oem", "o1");
    scene.anna_says("oem:blower", Says::Approved { edited: None });
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u3 accepted: taken: name | by Handler device
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    blower oem patch device o1 {"name":"Blower","room":"A1"}
      oem:blower parked (review): is it a blower? | by Handler device
        conflict name: base "Fan", ours "Pump" (bms), theirs "Blower" → theirs (latest)
    u4 oem patch device o1 {"name":"Drum"}
      oem:u4 accepted: taken: name | by Handler device
        conflict name: base "Fan", ours "Pump" (bms), theirs "Drum" → theirs (latest)
      = <device 1> v3 {"name":"Drum","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Drum","serial":"S1"} changed: name
    u5 oem receipt device o1 canonical_id=<device 1> rev=1 status=applied
      oem:u5 unchanged: oem applied rev 1
      → oem: update device o1 rev 3 {"id":"o1","name":"Drum","room":"A1","serial":"S1"} changed: name, room
    u6 oem receipt device o1 canonical_id=<device 1> rev=3 status=applied
      oem:u6 unchanged: oem applied rev 3
    … anna approves oem:blower
      oem:blower accepted: approved by anna; taken: room | by Person anna | attempt 2
      = <device 1> v4 {"name":"Drum","room":"A1","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 2 {"id":"b1","name":"Drum","room":"A1","serial":"S1"} changed: room
    "#);
}

#[test]
fn a_reference_that_waits_is_not_taken_back_by_what_was_sent_before() {
    let mut scene = fan(false);
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "site_id": "os1"}));
    scene.applies("oem", "o1");
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Pump"}));
    scene.applies("oem", "o1");
    scene.says("oem", "site", "os1", json!({"code": "S"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u3 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    u4 oem device o1 {"name":"Fan","serial":"S1","site_id":"os1"}
      oem:u4 parked (missing_reference): waiting for oem's site os1 (site_id), not known yet
    u5 oem receipt device o1 canonical_id=<device 1> rev=1 status=applied
      oem:u5 unchanged: oem applied rev 1
      → oem: update device o1 rev 2 {"id":"o1","name":"Pump","serial":"S1","site_id":"os1"} changed: site_id
    u6 oem device o1 {"name":"Pump","serial":"S1"}
      oem:u6 echo: oem says back what it was sent
    u7 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u7 unchanged: oem applied rev 2
    u8 oem site os1 {"code":"S"}
      oem:u8 accepted: a new record from oem
      oem:u4 accepted: taken: site_id | attempt 2
      = <device 1> v3 {"name":"Pump","serial":"S1","site_id":"<site 1>"} [bms b1, oem o1]
      = <site 1> v1 {"code":"S"} [oem os1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Pump","serial":"S1"} changed:
    "#);
}

#[test]
fn what_a_system_changes_with_every_message_does_not_go_to_and_fro() {
    let mut scene = fan(true);
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "runs": 1}));
    for runs in 2..6 {
        scene.applies("oem", "o1");
        scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Pump", "runs": runs}));
    }
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u3 accepted: taken: name | by Handler device
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    u4 oem device o1 {"name":"Fan","runs":1,"serial":"S1"}
      oem:u4 parked (review): is it a blower? | by Handler device
    u5 oem receipt device o1 canonical_id=<device 1> rev=1 status=applied
      oem:u5 unchanged: oem applied rev 1
      → oem: update device o1 rev 2 {"id":"o1","name":"Pump","runs":1,"serial":"S1"} changed: runs
    u6 oem device o1 {"name":"Pump","runs":2,"serial":"S1"}
      oem:u4 superseded: overtaken by oem:u6, a newer record of the same; until then: waiting for a person
      oem:u6 parked (review): is it a blower? | by Handler device
    u7 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u7 unchanged: oem applied rev 2
      → oem: update device o1 rev 3 {"id":"o1","name":"Pump","runs":2,"serial":"S1"} changed: runs
    u8 oem device o1 {"name":"Pump","runs":3,"serial":"S1"}
      oem:u6 superseded: overtaken by oem:u8, a newer record of the same; until then: waiting for a person
      oem:u8 parked (review): is it a blower? | by Handler device
    u9 oem receipt device o1 canonical_id=<device 1> rev=3 status=applied
      oem:u9 unchanged: oem applied rev 3
      → oem: update device o1 rev 4 {"id":"o1","name":"Pump","runs":3,"serial":"S1"} changed: runs
    u10 oem device o1 {"name":"Pump","runs":4,"serial":"S1"}
      oem:u8 superseded: overtaken by oem:u10, a newer record of the same; until then: waiting for a person
      oem:u10 parked (review): is it a blower? | by Handler device
    u11 oem receipt device o1 canonical_id=<device 1> rev=4 status=applied
      oem:u11 unchanged: oem applied rev 4
    u12 oem device o1 {"name":"Pump","runs":5,"serial":"S1"}
      oem:u10 superseded: overtaken by oem:u12, a newer record of the same; until then: waiting for a person
      oem:u12 parked (review): is it a blower? | by Handler device
    "#);
}

#[test]
fn what_it_holds_by_an_id_nobody_knows_is_shown_as_that() {
    if !Scene::by_hand() {
        return;
    }
    let mut scene = fan(false);
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Blower", "site_id": "os1"}));
    let rules = Settings::compile(&Config::from_toml(DEVICES, "scene.toml").unwrap()).rules;
    let (oem, device) = (SystemName::new("oem").unwrap(), EntityType::new("device").unwrap());
    let (side, types) = (rules.side(&oem, &device), rules.of_type(&device));
    let record = scene.ask(async |store| store.list_records(None, None, 1).await)[0].record.clone();
    let held = scene.ask(async |store| Ok(native::held(store, &record, &oem, &side, &types).await.unwrap()));
    let (_, entity) = held.unwrap();
    assert_eq!(Value::Object(entity), json!({"id": "o1", "serial": "S1", "name": "Blower", "site_id": "os1"}));
}

/// Another configuration reads the id of a record from another field, and what waits was sent by the earlier one.
#[test]
fn nothing_waits_for_an_update_that_can_not_be_read_any_more() {
    let mut scene = fan(false);
    scene
        .send(whole("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "code": "C1", "tag": "T1", "site_id": "H1"})).id("moved"));
    scene.restart_as(&DEVICES.replace("[systems.oem]", "[systems.oem]\nid_field = \"tag\""));
    scene.says("oem", "site", "H1", json!({"code": "H1"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan", "code": "C2"}));
    scene.restart_as(DEVICES);
    scene.act(Request::Requeue { id: "oem:moved".to_owned(), edited: None }, "anna").unwrap();
    // What it said is corrected meanwhile, and compared afresh when it comes again.
    insta::assert_snapshot!(scene.story(), @r#"
    moved oem device o1 {"code":"C1","name":"Fan","serial":"S1","site_id":"H1","tag":"T1"}
      oem:moved parked (missing_reference): waiting for oem's site H1 (site_id), not known yet
    … restart
    u3 oem site H1 {"code":"H1"}
      oem:u3 accepted: a new record from oem
      dead letter oem:moved id_mismatch: the entity's own id field "tag" says "T1", the envelope says "o1"; send the same id in both
      = <site 1> v1 {"code":"H1"} [oem H1]
    u4 bms device b1 {"code":"C2","name":"Fan","serial":"S1"}
      bms:u4 accepted: taken: code
      = <device 1> v2 {"code":"C2","name":"Fan","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 1 {"code":"C2","name":"Fan","serial":"S1","tag":"o1"} changed: code
    … restart
    … anna requeues oem:moved
      oem:moved accepted: taken: code, site_id and tag (requeued by anna)
        conflict code: base none, ours "C2" (bms), theirs "C1" → theirs (latest)
      = <device 1> v3 {"code":"C1","name":"Fan","serial":"S1","site_id":"<site 1>","tag":"T1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"code":"C1","id":"b1","name":"Fan","serial":"S1","tag":"T1"} changed: code, tag
    "#);
}
