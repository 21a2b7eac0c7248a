//! What is over goes after a while, and nothing is mistaken by that.

use std::time::Duration;

use serde_json::json;
use syncline::ports::store::DecisionFilter;

use crate::support::{Scene, delete, whole};

const DAY: Duration = Duration::from_secs(86_400);

impl Scene {
    /// Every decision there is a row of, oldest first.
    fn rows(&self) -> Vec<String> {
        let rows = self.ask(async |store| store.decisions(&DecisionFilter::default(), None, 99).await).items;
        rows.iter().rev().map(|row| format!("{} {}", row.update, row.decision.as_str())).collect()
    }
}

fn device(name: &str) -> crate::support::Message {
    whole("bms", "device", "b1", json!({"name": name}))
}

#[test]
fn case_retention_forgets_decisions_and_not_what_was_decided() {
    let mut scene = Scene::with("[orchestration]\nretention = { default = \"30d\", unchanged = \"7d\" }\n").start();
    scene.send(device("Fan").id("one"));
    scene.send(device("Fan").id("two"));
    scene.wait(DAY * 8);
    assert_eq!(scene.rows(), ["bms:one accepted"]);
    scene.send(device("Pump").id("three"));
    scene.wait(DAY * 23);
    assert_eq!(scene.rows(), ["bms:three accepted"]);
    scene.skip_ahead();
    // Both messages come once more: neither is news.
    scene.send(device("Fan").id("one"));
    scene.send(device("Fan").id("two"));
    // The same id with other content is still found out.
    scene.send(device("Drum").id("two"));
    insta::assert_snapshot!(scene.story(), @r#"
    one bms device b1 {"name":"Fan"}
      decided before: 1
    two bms device b1 {"name":"Fan"}
      decided before: 1
    two bms device b1 {"name":"Drum"}
      dead letter bms:two#14f2de8cfe187bfe id_reuse: bms:two was decided before with other content; give every change an id of its own
    "#);
}

#[test]
fn an_update_may_be_forgotten_altogether() {
    let keep = "retention = { default = \"30d\" }\ndedup_retention = \"60d\"\n";
    let mut scene = Scene::with(&format!("[orchestration]\n{keep}")).start();
    scene.send(device("Fan").id("one"));
    scene.send(device("Pump").id("two"));
    scene.wait(DAY * 59);
    scene.send(device("Fan").id("one"));
    scene.wait(DAY * 2);
    scene.send(device("Fan").id("one"));
    insta::assert_snapshot!(scene.story(), @r#"
    one bms device b1 {"name":"Fan"}
      bms:one accepted: a new record from bms
      = <device 1> v1 {"name":"Fan"} [bms b1]
    two bms device b1 {"name":"Pump"}
      bms:two accepted: taken: name
      = <device 1> v2 {"name":"Pump"} [bms b1]
    … 5097600s later
    one bms device b1 {"name":"Fan"}
      decided before: 1
    … 172800s later
    one bms device b1 {"name":"Fan"}
      bms:one accepted: taken: name
      = <device 1> v3 {"name":"Fan"} [bms b1]
    "#);
}

#[test]
fn only_changes_need_a_row() {
    let mut scene = Scene::with("[orchestration]\ndecision_logging = \"changes\"\n").start();
    scene.send(device("Fan").id("one"));
    scene.send(device("Fan").id("two"));
    scene.send(device("Pump").id("three"));
    assert_eq!(scene.rows(), ["bms:one accepted", "bms:three accepted"]);
    scene.send(device("Fan").id("two"));
    insta::assert_snapshot!(scene.story(), @r#"
    one bms device b1 {"name":"Fan"}
      bms:one accepted: a new record from bms
      = <device 1> v1 {"name":"Fan"} [bms b1]
    two bms device b1 {"name":"Fan"}
    three bms device b1 {"name":"Pump"}
      bms:three accepted: taken: name
      = <device 1> v2 {"name":"Pump"} [bms b1]
    two bms device b1 {"name":"Fan"}
      decided before: 1
    "#);
}

#[test]
fn without_any_row_nothing_is_decided_twice() {
    let config = "
[orchestration]
decision_logging = \"none\"
[entities.sensor]
references = { device_id = \"device\" }
";
    let mut scene = Scene::with(config).start();
    scene.send(whole("bms", "sensor", "t1", json!({"device_id": "b1"})).id("child"));
    assert_eq!(scene.rows(), ["bms:child parked"], "what waits has a row as long as it does");
    scene.send(device("Fan").id("one"));
    scene.send(device("Fan").id("one"));
    assert_eq!(scene.rows(), Vec::<String>::new());
    insta::assert_snapshot!(scene.story(), @r#"
    child bms sensor t1 {"device_id":"b1"}
      bms:child parked (missing_reference): waiting for bms's device b1 (device_id), not known yet
    one bms device b1 {"name":"Fan"}
      = <device 1> v1 {"name":"Fan"} [bms b1]
      = <sensor 1> v1 {"device_id":"<device 1>"} [bms t1]
    one bms device b1 {"name":"Fan"}
      decided before: 1
    "#);
}

/// Two systems that have a device, which one of them deletes.
fn deleted(more: &str) -> Scene {
    let config = "
[orchestration]
push_updates = true
tombstone_retention = \"30d\"
[entities.device]
keys = [{ fields = [\"serial\"] }]
[systems.bms.entities.device]
[systems.oem.entities.device]
";
    let mut scene = Scene::with(&format!("{config}{more}")).start();
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.applies("oem", "o1");
    scene.send(delete("bms", "device", "b1"));
    scene.skip_ahead();
    scene
}

#[test]
fn a_deleted_record_is_forgotten_and_a_late_update_makes_a_new_thing() {
    let mut scene = deleted("");
    scene.applies("oem", "o1");
    scene.wait(DAY * 29);
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"}));
    scene.wait(DAY * 2);
    // The delete it was told again is answered.
    scene.applies("oem", "o1");
    scene.wait(DAY);
    let records = scene.ask(async |store| store.list_records(None, None, 9).await);
    assert_eq!(records.len(), 0);
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Old fan"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u4 unchanged: oem deleted the record
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone)]
    … 2505600s later
    u5 oem device o1 {"name":"Fan","serial":"SN-1"}
      oem:u5 dropped: bms deleted the record (version 2); a delete wins over what comes later (delete.conflict) | modified_fields: name, serial
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1]
      → oem: delete device o1 rev 3 {} changed: 
    … 172800s later
    u6 oem receipt device o1 canonical_id=<device 1> rev=3 status=applied
      oem:u6 unchanged: oem deleted the record
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone)]
    … 86400s later
    u7 oem device o1 {"name":"Old fan","serial":"SN-1"}
      oem:u7 accepted: a new record from oem
      = <device 2> v1 {"name":"Old fan","serial":"SN-1"} [oem o1, bms (open create)]
      → bms: create device - rev 1 {"name":"Old fan","serial":"SN-1"} changed: name, serial
    "#);
}

#[test]
fn a_delete_that_somebody_still_has_to_hear_of_is_remembered() {
    let mut scene = deleted("");
    scene.wait(DAY * 400);
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "name": "Fan"}));
    // It answers the first delete, and then the one it was sent because of what it said.
    scene.applies("oem", "o1");
    scene.applies("oem", "o1");
    scene.wait(DAY);
    let records = scene.ask(async |store| store.list_records(None, None, 9).await);
    assert_eq!(records.len(), 0);
    insta::assert_snapshot!(scene.story(), @r#"
    … 34560000s later
    u4 oem device o1 {"name":"Fan","serial":"SN-1"}
      oem:u4 dropped: bms deleted the record (version 2); a delete wins over what comes later (delete.conflict) | modified_fields: name, serial
    u5 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u5 unchanged: oem applied rev 2
      → oem: delete device o1 rev 3 {} changed: 
    u6 oem receipt device o1 canonical_id=<device 1> rev=3 status=applied
      oem:u6 unchanged: oem deleted the record
      = <device 1> v2 deleted {"name":"Fan","serial":"SN-1"} [bms b1 (gone), oem o1 (gone)]
    … 86400s later
    "#);
}

#[test]
fn a_deleted_parent_is_remembered_as_long_as_it_has_children() {
    let mut scene = deleted("[entities.sensor]\nreferences = { device_id = \"device\" }\n[systems.bms.entities.sensor]\n");
    scene.says("bms", "device", "b2", json!({"serial": "SN-2"}));
    scene.applies("oem", "o2");
    scene.says("bms", "sensor", "t1", json!({"device_id": "b2"}));
    scene.send(delete("bms", "device", "b2"));
    scene.applies("oem", "o2");
    scene.wait(DAY * 31);
    scene.send(delete("bms", "sensor", "t1"));
    scene.skip_ahead();
    scene.wait(DAY * 31);
    scene.wait(DAY);
    let left = scene.ask(async |store| store.list_records(None, None, 9).await);
    let left: Vec<_> = left.iter().map(|left| left.record.entity_type.as_str().to_owned()).collect();
    assert_eq!(left, ["device"], "the first one, whose delete oem has not answered");
}

#[test]
fn what_a_record_absorbed_goes_with_it() {
    let config = "[orchestration]\npush_updates = true\ncreate_settle = \"0s\"\n[systems.crm.entities.person]\n[systems.erp.entities.person]\ncreate = true\n";
    let mut scene = Scene::with(config).start();
    scene.says("crm", "person", "c1", json!({"name": "Ann"}));
    scene.says("erp", "person", "e1", json!({"phone": "555"}));
    scene.applies("erp", "e1");
    // What the two records came to, and then the delete.
    scene.applies("erp", "e1");
    scene.send(delete("crm", "person", "c1"));
    scene.applies("erp", "e1");
    assert_eq!(scene.ask(async |store| store.list_records(None, None, 9).await).len(), 2);
    scene.wait(DAY * 91);
    assert_eq!(scene.ask(async |store| store.list_records(None, None, 9).await).len(), 0);
}
