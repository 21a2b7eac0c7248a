//! Two records that turn out to be one thing.

use serde_json::json;

use crate::support::{Scene, patch};

/// CRM makes people, ERP is sent creates of them, HR keeps its own. Nothing but an answer can tell who is who.
fn people(more: &str) -> Scene {
    let config = "
[orchestration]
push_updates = true
create_settle = \"0s\"
[systems.crm.entities.person]
create = false
[systems.erp.entities.person]
create = true
[systems.hr.entities.person]
create = false
";
    Scene::with(&format!("{config}{more}")).start()
}

/// ERP was sent a create, and reports the person before it answers: there are two records of one person.
fn doubled(more: &str) -> Scene {
    let mut scene = people(more);
    scene.says("crm", "person", "c1", json!({"name": "Ann", "mail": "ann@crm"}));
    scene.says("erp", "person", "e1", json!({"name": "Ann", "phone": "555"}));
    scene.skip_ahead();
    scene
}

#[test]
fn an_answer_that_names_a_known_record_makes_the_two_one() {
    let mut scene = doubled("");
    scene.applies("erp", "e1");
    scene.applies("erp", "e1");
    scene.says("erp", "person", "e1", json!({"name": "Anne", "mail": "ann@crm", "phone": "555"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp receipt person e1 canonical_id=<person 1> rev=1 status=applied
      syncline:merge accepted: record <person 2> is the same thing and became part of this one: erp was sent a create of one of them and answers with e1, which is the other one
      erp:u3 unchanged: erp made the record it was sent; it was known as another one already, and the two are one now
      = <person 1> v2 {"mail":"ann@crm","name":"Ann","phone":"555"} [crm c1, erp e1]
      = <person 2> v1 {"name":"Ann","phone":"555"} []
      → crm: update person c1 rev 1 {"id":"c1","mail":"ann@crm","name":"Ann","phone":"555"} changed: phone
      → erp: update person e1 rev 2 {"id":"e1","mail":"ann@crm","name":"Ann","phone":"555"} changed: mail
    u4 erp receipt person e1 canonical_id=<person 1> rev=2 status=applied
      erp:u4 unchanged: erp applied rev 2
    u5 erp person e1 {"mail":"ann@crm","name":"Anne","phone":"555"}
      erp:u5 accepted: taken: name
      = <person 1> v3 {"mail":"ann@crm","name":"Anne","phone":"555"} [crm c1, erp e1]
      → crm: update person c1 rev 2 {"id":"c1","mail":"ann@crm","name":"Anne","phone":"555"} changed: name
    "#);
}

#[test]
fn rules_decide_the_fields_in_which_they_differ() {
    let mut scene = people("[entities.person]\nsurvivorship = { name = \"longest\" }\n");
    scene.says("crm", "person", "c1", json!({"name": "Ann Smith", "mail": "ann@crm"}));
    scene.says("erp", "person", "e1", json!({"name": "Ann", "mail": "ann@erp"}));
    scene.skip_ahead();
    scene.applies("erp", "e1");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp receipt person e1 canonical_id=<person 1> rev=1 status=applied
      syncline:merge accepted: record <person 2> is the same thing and became part of this one: erp was sent a create of one of them and answers with e1, which is the other one
        conflict mail: base none, ours "ann@crm" (crm), theirs "ann@erp" → ours (latest)
        conflict name: base none, ours "Ann Smith" (crm), theirs "Ann" → ours (longest)
      erp:u3 unchanged: erp made the record it was sent; it was known as another one already, and the two are one now
      = <person 1> v2 {"mail":"ann@crm","name":"Ann Smith"} [crm c1, erp e1]
      = <person 2> v1 {"mail":"ann@erp","name":"Ann"} []
      → erp: update person e1 rev 2 {"id":"e1","mail":"ann@crm","name":"Ann Smith"} changed: mail, name
    "#);
}

#[test]
fn the_id_of_the_one_that_is_gone_leads_to_the_other() {
    let mut scene = people(
        "[entities.order]\nreferences = { person_id = \"person\" }\n[systems.erp.entities.order]\n[systems.crm.entities.order]\ncreate = true\n",
    );
    scene.says("crm", "person", "c1", json!({"name": "Ann"}));
    scene.says("erp", "person", "e1", json!({"name": "Ann"}));
    scene.says("erp", "order", "o1", json!({"person_id": "e1"}));
    scene.receipt_with("erp", "e1", "applied", |receipt| receipt);
    scene.send(patch("erp", "order", "o1", json!({"note": "soon"})));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"name":"Ann"}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"name":"Ann"} [crm c1, erp (open create)]
      → erp: create person - rev 1 {"name":"Ann"} changed: name
    u2 erp person e1 {"name":"Ann"}
      erp:u2 accepted: a new record from erp
      = <person 2> v1 {"name":"Ann"} [erp e1]
    u3 erp order o1 {"person_id":"e1"}
      erp:u3 accepted: a new record from erp
      = <order 1> v1 {"person_id":"<person 2>"} [erp o1, crm (open create)]
    u4 erp receipt person e1 canonical_id=<person 1> rev=1 status=applied
      syncline:merge accepted: record <person 2> is the same thing and became part of this one: erp was sent a create of one of them and answers with e1, which is the other one
      erp:u4 unchanged: erp made the record it was sent; it was known as another one already, and the two are one now
      = <person 1> v2 {"name":"Ann"} [crm c1, erp e1]
      = <person 2> v1 {"name":"Ann"} []
      → crm: create order - rev 1 {"person_id":"c1"} changed: person_id
    u5 erp patch order o1 {"note":"soon"}
      erp:u5 accepted: taken: note
      = <order 1> v2 {"note":"soon","person_id":"<person 2>"} [erp o1, crm (open create)]
      → crm: create order - rev 2 {"note":"soon","person_id":"c1"} changed: note
    "#);
}

#[test]
fn keys_of_both_lead_to_the_one_that_is_left() {
    let mut scene = doubled("[entities.person]\nkeys = [{ fields = [\"mail\"] }, { fields = [\"phone\"] }]\n");
    scene.applies("erp", "e1");
    scene.says("hr", "person", "h1", json!({"phone": "555"}));
    scene.says("hr", "person", "h2", json!({"mail": "ann@crm"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp receipt person e1 canonical_id=<person 1> rev=1 status=applied
      syncline:merge accepted: record <person 2> is the same thing and became part of this one: erp was sent a create of one of them and answers with e1, which is the other one
      erp:u3 unchanged: erp made the record it was sent; it was known as another one already, and the two are one now
      = <person 1> v2 {"mail":"ann@crm","name":"Ann","phone":"555"} [crm c1, erp e1]
      = <person 2> v1 {"name":"Ann","phone":"555"} []
      → crm: update person c1 rev 1 {"id":"c1","mail":"ann@crm","name":"Ann","phone":"555"} changed: phone
      → erp: update person e1 rev 2 {"id":"e1","mail":"ann@crm","name":"Ann","phone":"555"} changed: mail
    u4 hr person h1 {"phone":"555"}
      hr:u4 unchanged: the same thing as in crm and erp: a new link, nothing new in it
      = <person 1> v2 {"mail":"ann@crm","name":"Ann","phone":"555"} [crm c1, erp e1, hr h1]
      → hr: update person h1 rev 1 {"id":"h1","mail":"ann@crm","name":"Ann","phone":"555"} changed: mail, name
    u5 hr person h2 {"mail":"ann@crm"}
      hr:u5 parked (duplicate_in_system): its key leads to record <person 1>, which this system already knows as h1; one of the two is a duplicate there
    "#);
}
