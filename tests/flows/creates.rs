//! New records elsewhere: their own report, the answer and the key in any order end in one record.

use std::time::Duration;

use serde_json::json;

use crate::support::{Scene, patch, whole};

/// CRM makes people; ERP is sent creates of them. They have no key that could tell who is who.
fn people(more: &str) -> Scene {
    let config = "
[orchestration]
push_updates = true
[systems.crm.entities.person]
create = false
[systems.erp.entities.person]
create = true
[systems.hr.entities.person]
create = true
";
    Scene::with(&format!("{config}{more}")).start()
}

/// ERP has a create to answer.
fn created(more: &str) -> Scene {
    let mut scene = people(more);
    scene.says("crm", "person", "c1", json!({"name": "Ann"}));
    scene.skip_ahead();
    scene
}

#[test]
fn an_own_create_that_comes_back_before_its_receipt_waits_for_it() {
    let mut scene = created("");
    scene.says("erp", "person", "e1", json!({"name": "Ann"}));
    scene.applies("erp", "e1");
    insta::assert_snapshot!(scene.story(), @r#"
    u2 erp person e1 {"name":"Ann"}
      erp:u2 deferred (open_create): it may be a record of ours that this system was sent to create and has not answered yet; it waits for the answer, until 2026-01-01T00:00:30Z at most
    u3 erp receipt person e1 canonical_id=<person 1> rev=1 status=applied
      erp:u3 unchanged: erp made the record; there it is e1
      erp:u2 echo: erp says back what it was sent
      = <person 1> v1 {"name":"Ann"} [crm c1, erp e1, hr (open create)]
    "#);
}

#[test]
fn receipt_first_then_its_own_feed() {
    let mut scene = created("");
    scene.applies("erp", "e1");
    scene.says("erp", "person", "e1", json!({"name": "Ann"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u2 erp receipt person e1 canonical_id=<person 1> rev=1 status=applied
      erp:u2 unchanged: erp made the record; there it is e1
      = <person 1> v1 {"name":"Ann"} [crm c1, erp e1, hr (open create)]
    u3 erp person e1 {"name":"Ann"}
      erp:u3 echo: erp says back what it was sent
    "#);
}

#[test]
fn an_edit_made_before_the_receipt_is_an_edit() {
    let mut scene = created("");
    scene.says("erp", "person", "e1", json!({"name": "Ann", "phone": "555"}));
    scene.send(patch("erp", "person", "e1", json!({"phone": "556"})));
    scene.applies("erp", "e1");
    scene.wait(Duration::from_secs(1));
    insta::assert_snapshot!(scene.story(), @r#"
    u2 erp person e1 {"name":"Ann","phone":"555"}
      erp:u2 deferred (open_create): it may be a record of ours that this system was sent to create and has not answered yet; it waits for the answer, until 2026-01-01T00:00:30Z at most
    u3 erp patch person e1 {"phone":"556"}
      erp:u3 parked (missing_reference): queued behind erp:u2, which waits itself
    u4 erp receipt person e1 canonical_id=<person 1> rev=1 status=applied
      erp:u4 unchanged: erp made the record; there it is e1
      erp:u2 accepted: taken: phone
      erp:u3 accepted: taken: phone | attempt 2
      = <person 1> v3 {"name":"Ann","phone":"556"} [crm c1, erp e1, hr (open create)]
      → crm: update person c1 rev 1 {"id":"c1","name":"Ann","phone":"556"} changed: phone
      → hr: create person - rev 2 {"name":"Ann","phone":"556"} changed: phone
    … 1s later
    "#);
}

#[test]
fn a_thing_of_its_own_waits_no_longer_than_for_the_answers() {
    let mut scene = created("");
    scene.says("erp", "person", "e2", json!({"name": "Bob"}));
    scene.applies("erp", "e1");
    scene.wait(Duration::from_secs(1));
    insta::assert_snapshot!(scene.story(), @r#"
    u2 erp person e2 {"name":"Bob"}
      erp:u2 deferred (open_create): it may be a record of ours that this system was sent to create and has not answered yet; it waits for the answer, until 2026-01-01T00:00:30Z at most
    u3 erp receipt person e1 canonical_id=<person 1> rev=1 status=applied
      erp:u3 unchanged: erp made the record; there it is e1
      = <person 1> v1 {"name":"Ann"} [crm c1, erp e1, hr (open create)]
    … 1s later
      erp:u2 accepted: a new record from erp
      = <person 2> v1 {"name":"Bob"} [erp e2, hr (open create)]
      → hr: create person - rev 1 {"name":"Bob"} changed: name
    "#);
}

#[test]
fn without_an_answer_it_waits_for_create_settle_and_its_own_creates_as_long_again() {
    let mut scene = created("");
    scene.says("erp", "person", "e2", json!({"name": "Bob"}));
    scene.wait(Duration::from_secs(10));
    scene.says("erp", "person", "e2", json!({"name": "Bobby"}));
    for _ in 0..5 {
        scene.wait(Duration::from_secs(10));
    }
    insta::assert_snapshot!(scene.story(), @r#"
    u2 erp person e2 {"name":"Bob"}
      erp:u2 deferred (open_create): it may be a record of ours that this system was sent to create and has not answered yet; it waits for the answer, until 2026-01-01T00:00:30Z at most
    … 10s later
    u3 erp person e2 {"name":"Bobby"}
      erp:u2 superseded: overtaken by erp:u3, a newer record of the same; until then: it may be a record of ours that this system was sent to create and has not answered yet; it waits for the answer, until 2026-01-01T00:00:30Z at most
      erp:u3 deferred (open_create): it may be a record of ours that this system was sent to create and has not answered yet; it waits for the answer, until 2026-01-01T00:00:30Z at most
    … 10s later
    … 10s later
      erp:u3 accepted: a new record from erp
      = <person 2> v1 {"name":"Bobby"} [erp e2, hr (open create)]
    … 10s later
    … 10s later
    … 10s later
      → hr: create person - rev 1 {"name":"Bobby"} changed: name
    "#);
}

#[test]
fn a_system_that_answers_before_it_reports_waits_for_nothing() {
    let mut scene = created("[systems.erp]\nreceipts = \"required\"\n");
    scene.says("erp", "person", "e2", json!({"name": "Bob"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u2 erp person e2 {"name":"Bob"}
      erp:u2 accepted: a new record from erp
      = <person 2> v1 {"name":"Bob"} [erp e2, hr (open create)]
      → hr: create person - rev 1 {"name":"Bob"} changed: name
    "#);
}

#[test]
fn create_settle_can_be_switched_off() {
    if !Scene::takes_several_at_once() {
        return;
    }
    let config = "
[orchestration]
push_updates = true
create_settle = \"0s\"
[systems.crm.entities.person]
create = false
[systems.erp.entities.person]
create = true
";
    let mut scene = Scene::with(config).start();
    scene.together([whole("crm", "person", "c1", json!({"name": "Ann"}))]);
    scene.skip_ahead();
    scene.says("erp", "person", "e2", json!({"name": "Bob"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u2 erp person e2 {"name":"Bob"}
      erp:u2 accepted: a new record from erp
      = <person 2> v1 {"name":"Bob"} [erp e2]
    "#);
}

#[test]
fn the_key_comes_later_than_the_report() {
    let mut scene = created("[entities.person]\nkeys = [{ fields = [\"email\"] }]\n");
    scene.send(patch("crm", "person", "c1", json!({"email": "ann@x"})));
    scene.says("erp", "person", "e1", json!({"name": "Ann"}));
    scene.says("erp", "person", "e1", json!({"name": "Ann", "email": "ann@x"}));
    scene.applies("erp", "e1");
    scene.wait(Duration::from_secs(30));
    insta::assert_snapshot!(scene.story(), @r#"
    u2 crm patch person c1 {"email":"ann@x"}
      crm:u2 accepted: taken: email
      = <person 1> v2 {"email":"ann@x","name":"Ann"} [crm c1, erp (open create), hr (open create)]
      → erp: create person - rev 2 {"email":"ann@x","name":"Ann"} changed: email
      → hr: create person - rev 2 {"email":"ann@x","name":"Ann"} changed: email
    u3 erp person e1 {"name":"Ann"}
      erp:u3 deferred (open_create): it may be a record of ours that this system was sent to create and has not answered yet; it waits for the answer, until 2026-01-01T00:00:30Z at most
    u4 erp person e1 {"email":"ann@x","name":"Ann"}
      erp:u3 superseded: overtaken by erp:u4, a newer record of the same; until then: it may be a record of ours that this system was sent to create and has not answered yet; it waits for the answer, until 2026-01-01T00:00:30Z at most
      erp:u4 echo: erp made the record it was sent
      = <person 1> v2 {"email":"ann@x","name":"Ann"} [crm c1, erp e1, hr (open create)]
      → erp: update person e1 rev 3 {"email":"ann@x","id":"e1","name":"Ann"} changed: email
    u5 erp receipt person e1 canonical_id=<person 1> rev=3 status=applied
      erp:u5 unchanged: erp applied rev 3
    … 30s later
    "#);
}

#[test]
fn what_fails_again_and_again_is_tried_at_growing_distances() {
    let mut scene = created("");
    for status in ["failed", "failed", "failed", "applied"] {
        scene.receipt("erp", "e1", status);
        if status == "failed" {
            for _ in 0..8 {
                scene.wait(Duration::from_millis(100));
            }
        }
    }
    insta::assert_snapshot!(scene.story(), @r#"
    u2 erp receipt person e1 canonical_id=<person 1> rev=1 status=failed
      erp:u2 unchanged: erp could not apply rev 1; it is sent again
    … 100ms later
    … 100ms later
      → erp: create person - rev 1 {"name":"Ann"} changed: name
    … 100ms later
    … 100ms later
    … 100ms later
    … 100ms later
    … 100ms later
    … 100ms later
    u3 erp receipt person e1 canonical_id=<person 1> rev=1 status=failed
      erp:u3 unchanged: erp could not apply rev 1; it is sent again
    … 100ms later
    … 100ms later
    … 100ms later
    … 100ms later
      → erp: create person - rev 1 {"name":"Ann"} changed: name
    … 100ms later
    … 100ms later
    … 100ms later
    … 100ms later
    u4 erp receipt person e1 canonical_id=<person 1> rev=1 status=failed
      erp:u4 unchanged: erp could not apply rev 1; it is sent again
    … 100ms later
    … 100ms later
    … 100ms later
    … 100ms later
    … 100ms later
    … 100ms later
    … 100ms later
    … 100ms later
      → erp: create person - rev 1 {"name":"Ann"} changed: name
    u5 erp receipt person e1 canonical_id=<person 1> rev=1 status=applied
      erp:u5 unchanged: erp made the record; there it is e1
      = <person 1> v1 {"name":"Ann"} [crm c1, erp e1, hr (open create)]
    "#);
}

#[test]
fn what_a_system_had_all_along_gets_what_the_create_was_to_fill() {
    let config = "
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = [\"serial\"] }]
[systems.bms]
[systems.oem]
receipts = \"none\"
[systems.oem.entities.device]
create = true
";
    let mut scene = Scene::with(config).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    scene.skip_ahead();
    // Read before the create arrived, or never reported: nobody can tell, so the rest of it is sent once more.
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan 2"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan 2"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u2 oem device o1 {"name":"Fan","serial":"S1"}
      oem:u2 echo: oem made the record it was sent
      = <device 1> v1 {"name":"Fan","room":"A1","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","room":"A1","serial":"S1"} changed: room
    u3 oem device o1 {"name":"Fan 2","serial":"S1"}
      oem:u3 accepted: taken: name
        conflict name: base assumed, ours "Fan" (bms), theirs "Fan 2" → theirs (latest)
      = <device 1> v2 {"name":"Fan 2","room":"A1","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan 2","room":"A1","serial":"S1"} changed: name
      → oem: update device o1 rev 3 {"id":"o1","name":"Fan 2","room":"A1","serial":"S1"} changed: name
    u4 oem device o1 {"name":"Fan 2","serial":"S1"}
      oem:u4 echo: oem says back what it was sent
    "#);
}
