//! A change that waits while a message is on its way to its system: the system keeps what it holds until somebody has decided.

use std::time::Duration;

use serde_json::json;
use syncline::domain::change::Record;
use syncline::domain::handler::{UpdateMeta, Verdict};
use syncline::domain::review::{Says, Word};
use syncline::engine::acts::Request;

use crate::support::{Scene, whole};

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

/// What the OEM calls a device is for a person.
fn names_are_reviewed(_: &mut Record, current: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let is_name = meta.source() == "oem" && meta.changed().iter().any(|field| field.as_str() == "name");
    if is_name && current.is_some() && meta.approval().is_none() {
        Verdict::review("a name is for a person")
    } else {
        Verdict::accept(None)
    }
}

/// Both systems have a fan.
fn fan(reviewed: bool) -> Scene {
    let setting = Scene::with(DEVICES);
    let setting = if reviewed { setting.handler("device", names_are_reviewed) } else { setting };
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
      oem:blower parked (review): a name is for a person | by Handler device
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
      oem:blower parked (review): a name is for a person | by Handler device
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
