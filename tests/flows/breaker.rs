//! Two sides that will never agree about a value.

use serde_json::json;

use crate::support::Scene;

const PUSH: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
[systems.bms.entities.device]
create = false
[systems.oem.entities.device]
create = false
"#;

fn known(config: &str) -> Scene {
    let mut scene = Scene::with(config).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan"}));
    scene.skip_ahead();
    scene
}

impl Scene {
    /// A system applies what it was sent and reports what it made of it.
    fn answers(&mut self, system: &str, id: &str, name: &str) {
        self.applies(system, id);
        self.says(system, "device", id, json!({"serial": "S1", "name": name}));
    }
}

#[test]
fn s48_one_pads_and_the_other_trims() {
    let mut scene = known(PUSH);
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    for _ in 0..2 {
        scene.answers("oem", "o1", "Pump  ");
        scene.answers("bms", "b1", "Pump");
    }
    scene.answers("oem", "o1", "Pump  ");
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Pump  ", "room": "A1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u3 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    u4 oem receipt device o1 canonical_id=<device 1> rev=1 status=applied
      oem:u4 unchanged: oem applied rev 1
    u5 oem device o1 {"name":"Pump  ","serial":"S1"}
      oem:u5 accepted: taken: name
      = <device 1> v3 {"name":"Pump  ","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Pump  ","serial":"S1"} changed: name
    u6 bms receipt device b1 canonical_id=<device 1> rev=1 status=applied
      bms:u6 unchanged: bms applied rev 1
    u7 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u7 accepted: taken: name
      = <device 1> v4 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 2 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    u8 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u8 unchanged: oem applied rev 2
    u9 oem device o1 {"name":"Pump  ","serial":"S1"}
      oem:u9 accepted: taken: name
      = <device 1> v5 {"name":"Pump  ","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 2 {"id":"b1","name":"Pump  ","serial":"S1"} changed: name
    u10 bms receipt device b1 canonical_id=<device 1> rev=2 status=applied
      bms:u10 unchanged: bms applied rev 2
    u11 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u11 accepted: taken: name
      = <device 1> v6 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 3 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    u12 oem receipt device o1 canonical_id=<device 1> rev=3 status=applied
      oem:u12 unchanged: oem applied rev 3
    u13 oem device o1 {"name":"Pump  ","serial":"S1"}
      syncline:freeze unchanged: oem was sent 'Pump' for name and said 'Pump  ', 3 times in a row; from now on 'Pump  ' counts as its way to write 'Pump', until the value changes
      oem:u13 unchanged: name is not taken: it answers what it is sent with the same other value, time and again
    u14 oem device o1 {"name":"Pump  ","room":"A1","serial":"S1"}
      oem:u14 accepted: taken: room
      = <device 1> v7 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 3 {"id":"b1","name":"Pump","room":"A1","serial":"S1"} changed: room
    "#);
}

#[test]
fn s48_a_source_that_never_takes_its_correction() {
    let mut scene =
        known(&PUSH.replace("keys =", "survivorship = { name = { rule = \"source_priority\", sources = [\"bms\", \"oem\"] } }\nkeys ="));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "FAN"}));
    for _ in 0..3 {
        scene.answers("oem", "o1", "FAN");
    }
    scene.restart();
    // A new value is worth a new try.
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.answers("oem", "o1", "PUMP");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem device o1 {"name":"FAN","serial":"S1"}
      oem:u3 dropped: name stays 'Fan' from bms (source_priority) | by Rule source_priority | modified_fields: name
      → oem: update device o1 rev 1 {"id":"o1","name":"Fan","serial":"S1"} changed: name
    u4 oem receipt device o1 canonical_id=<device 1> rev=1 status=applied
      oem:u4 unchanged: oem applied rev 1
    u5 oem device o1 {"name":"FAN","serial":"S1"}
      oem:u5 dropped: name stays 'Fan' from bms (source_priority) | by Rule source_priority | modified_fields: name
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"S1"} changed: name
    u6 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u6 unchanged: oem applied rev 2
    u7 oem device o1 {"name":"FAN","serial":"S1"}
      oem:u7 dropped: name stays 'Fan' from bms (source_priority) | by Rule source_priority | modified_fields: name
      → oem: update device o1 rev 3 {"id":"o1","name":"Fan","serial":"S1"} changed: name
    u8 oem receipt device o1 canonical_id=<device 1> rev=3 status=applied
      oem:u8 unchanged: oem applied rev 3
    u9 oem device o1 {"name":"FAN","serial":"S1"}
      syncline:freeze unchanged: oem was sent 'Fan' for name and said 'FAN', 3 times in a row; from now on 'FAN' counts as its way to write 'Fan', until the value changes
      oem:u9 unchanged: name is not taken: it answers what it is sent with the same other value, time and again
    … restart
    u10 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u10 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 4 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    u11 oem receipt device o1 canonical_id=<device 1> rev=4 status=applied
      oem:u11 unchanged: oem applied rev 4
    u12 oem device o1 {"name":"PUMP","serial":"S1"}
      oem:u12 dropped: name stays 'Pump' from bms (source_priority) | by Rule source_priority | modified_fields: name
      → oem: update device o1 rev 5 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    "#);
}

#[test]
fn who_switches_something_on_and_off_is_not_stopped() {
    let mut scene = known(PUSH);
    for _ in 0..4 {
        scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "on": true}));
        scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "on": false}));
    }
    let story = scene.story();
    assert_eq!(story.matches("taken: on").count(), 8, "{story}");
    assert!(!story.contains("freeze"), "{story}");
}

#[test]
fn the_breaker_can_be_switched_off() {
    let mut scene = known(&PUSH.replace(
        "push_updates = true",
        "push_updates = true\ncircular_update_prevention = { enabled = false, window_seconds = 5, flips_max = 3 }",
    ));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    for _ in 0..6 {
        scene.answers("oem", "o1", "Pump  ");
        scene.answers("bms", "b1", "Pump");
    }
    let story = scene.story();
    assert_eq!(story.matches("accepted: taken: name").count(), 13, "{story}");
}
