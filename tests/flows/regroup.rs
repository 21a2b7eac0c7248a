//! A person says which records are one thing, and which are two.

use serde_json::json;
use syncline::domain::ids::{CanonicalId, EntityType, NativeId, NativeKey, SystemName};
use syncline::engine::acts::{Refusal, Request};
use syncline::ports::store::Lookup;

use crate::support::{Scene, delete, patch};

const PEOPLE: &str = r#"
[orchestration]
push_updates = true
create_settle = "0s"
[entities.person]
keys = [{ fields = ["mail"] }, { fields = ["phone"] }]
[systems.crm.entities.person]
create = false
[systems.erp.entities.person]
create = false
[systems.hr.entities.person]
create = false
"#;

impl Scene {
    /// The record of a native one.
    pub fn id_of(&self, entity_type: &str, system: &str, native_id: &str) -> CanonicalId {
        let key = NativeKey {
            system: SystemName::new(system).unwrap(),
            entity_type: EntityType::new(entity_type).unwrap(),
            native_id: NativeId::new(native_id).unwrap(),
        };
        let lookup = Lookup { links: vec![key.clone()], ..Lookup::default() };
        self.ask(async move |store| store.look_up(&lookup).await).links[&key]
    }

    /// The record of a person.
    pub fn id_of_person(&self, system: &str, native_id: &str) -> CanonicalId {
        self.id_of("person", system, native_id)
    }

    fn merge(&mut self, winner: (&str, &str), loser: (&str, &str)) -> Result<(), Refusal> {
        let (winner, loser) = (self.id_of_person(winner.0, winner.1), self.id_of_person(loser.0, loser.1));
        self.act(Request::Merge { winner, loser, reason: Some("the same face".to_owned()) }, "anna")
    }

    fn split(&mut self, native: (&str, &str)) -> Result<(), Refusal> {
        let record = self.id_of_person(native.0, native.1);
        let natives = vec![(SystemName::new(native.0).unwrap(), NativeId::new(native.1).unwrap())];
        self.act(Request::Split { record, natives, reason: Some("two people".to_owned()) }, "anna")
    }
}

/// CRM and ERP each have a person, and nothing says that they are one.
fn two() -> Scene {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c1", json!({"name": "Ann", "mail": "ann@crm", "room": "A1"}));
    scene.says("erp", "person", "e1", json!({"name": "Anna Smith", "phone": "555"}));
    scene.skip_ahead();
    scene
}

#[test]
fn s10_merged_records_lead_to_one_and_a_split_brings_the_other_back() {
    let mut scene = two();
    scene.merge(("crm", "c1"), ("erp", "e1")).unwrap();
    scene.says("hr", "person", "h1", json!({"phone": "555"}));
    scene.send(patch("erp", "person", "e1", json!({"name": "Anna Smith-Jones"})).base(1));
    scene.send(patch("crm", "person", "c1", json!({"room": "B2"})).base(2));
    scene.restart();
    scene.split(("erp", "e1")).unwrap();
    scene.says("erp", "person", "e1", json!({"name": "Anna Smith-Jones", "phone": "555", "mail": null, "room": null}));
    insta::assert_snapshot!(scene.story(), @r#"
    … anna says that <person 2> is <person 1>
      syncline:merge accepted: record <person 2> is the same thing and became part of this one: anna says so: the same face | by Person anna
        conflict name: base none, ours "Ann" (crm), theirs "Anna Smith" → ours (latest)
      = <person 1> v2 {"mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} [crm c1, erp e1]
      = <person 2> v1 {"name":"Anna Smith","phone":"555"} []
      → crm: update person c1 rev 1 {"id":"c1","mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} changed: phone
      → erp: update person e1 rev 1 {"id":"e1","mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} changed: mail, name, room
    u3 hr person h1 {"phone":"555"}
      hr:u3 unchanged: the same thing as in crm and erp: a new link, nothing new in it
      = <person 1> v2 {"mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} [crm c1, erp e1, hr h1]
      → hr: update person h1 rev 1 {"id":"h1","mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} changed: mail, name, room
    u4 erp patch person e1 {"name":"Anna Smith-Jones"} base=1
      erp:u4 accepted: taken: name
      = <person 1> v3 {"mail":"ann@crm","name":"Anna Smith-Jones","phone":"555","room":"A1"} [crm c1, erp e1, hr h1]
      → crm: update person c1 rev 2 {"id":"c1","mail":"ann@crm","name":"Anna Smith-Jones","phone":"555","room":"A1"} changed: name
      → hr: update person h1 rev 2 {"id":"h1","mail":"ann@crm","name":"Anna Smith-Jones","phone":"555","room":"A1"} changed: name
    u5 crm patch person c1 {"room":"B2"} base=2
      crm:u5 accepted: taken: room
      = <person 1> v4 {"mail":"ann@crm","name":"Anna Smith-Jones","phone":"555","room":"B2"} [crm c1, erp e1, hr h1]
      → erp: update person e1 rev 2 {"id":"e1","mail":"ann@crm","name":"Anna Smith-Jones","phone":"555","room":"B2"} changed: room
      → hr: update person h1 rev 3 {"id":"h1","mail":"ann@crm","name":"Anna Smith-Jones","phone":"555","room":"B2"} changed: room
    … restart
    … anna says that erp's e1 is not <person 1>
      syncline:split accepted: erp's e1 is another thing and is record <person 2> from now on: anna says so: two people | by Person anna
      syncline:split accepted: erp's e1 was taken out of record <person 1>: anna says so: two people | by Person anna
      = <person 1> v5 {"mail":"ann@crm","name":"Ann","room":"B2"} [crm c1, hr h1, erp (not made there)]
      = <person 2> v2 {"name":"Anna Smith-Jones","phone":"555"} [erp e1, crm (not made there), hr (not made there)]
      → crm: update person c1 rev 3 {"id":"c1","mail":"ann@crm","name":"Ann","phone":null,"room":"B2"} changed: name, phone
      → hr: update person h1 rev 4 {"id":"h1","mail":"ann@crm","name":"Ann","phone":null,"room":"B2"} changed: name, phone
      → erp: update person e1 rev 3 {"id":"e1","mail":null,"name":"Anna Smith-Jones","phone":"555","room":null} changed: mail, room
    u6 erp person e1 {"mail":null,"name":"Anna Smith-Jones","phone":"555","room":null}
      erp:u6 echo: erp says back what it was sent
    "#);
}

#[test]
fn s10_what_somebody_changed_since_the_merge_is_not_taken_back() {
    let mut scene = two();
    scene.merge(("crm", "c1"), ("erp", "e1")).unwrap();
    scene.send(patch("crm", "person", "c1", json!({"phone": "777"})).base(1));
    scene.split(("erp", "e1")).unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    … anna says that <person 2> is <person 1>
      syncline:merge accepted: record <person 2> is the same thing and became part of this one: anna says so: the same face | by Person anna
        conflict name: base none, ours "Ann" (crm), theirs "Anna Smith" → ours (latest)
      = <person 1> v2 {"mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} [crm c1, erp e1]
      = <person 2> v1 {"name":"Anna Smith","phone":"555"} []
      → crm: update person c1 rev 1 {"id":"c1","mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} changed: phone
      → erp: update person e1 rev 1 {"id":"e1","mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} changed: mail, name, room
    u3 crm patch person c1 {"phone":"777"} base=1
      crm:u3 accepted: taken: phone
      = <person 1> v3 {"mail":"ann@crm","name":"Ann","phone":"777","room":"A1"} [crm c1, erp e1]
      → erp: update person e1 rev 2 {"id":"e1","mail":"ann@crm","name":"Ann","phone":"777","room":"A1"} changed: phone
    … anna says that erp's e1 is not <person 1>
      syncline:split accepted: erp's e1 is another thing and is record <person 2> from now on: anna says so: two people | by Person anna
      syncline:split accepted: erp's e1 was taken out of record <person 1>: anna says so: two people | by Person anna
      = <person 1> v4 {"mail":"ann@crm","name":"Ann","phone":"777","room":"A1"} [crm c1, erp (not made there)]
      = <person 2> v2 {"name":"Anna Smith","phone":"555"} [erp e1]
      → erp: update person e1 rev 3 {"id":"e1","mail":null,"name":"Anna Smith","phone":"555","room":null} changed: mail, name, phone, room
    "#);
}

#[test]
fn what_waited_because_they_were_two_goes_on() {
    let mut scene = two();
    scene.says("hr", "person", "h1", json!({"mail": "ann@crm", "phone": "555", "desk": 7}));
    scene.merge(("crm", "c1"), ("erp", "e1")).unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    u3 hr person h1 {"desk":7,"mail":"ann@crm","phone":"555"}
      hr:u3 parked (match_collision): its key values belong to different records (mail "ann@crm" and phone "555"): <person 1> and <person 2>; merge them or correct a key
    … anna says that <person 2> is <person 1>
      syncline:merge accepted: record <person 2> is the same thing and became part of this one: anna says so: the same face | by Person anna
        conflict name: base none, ours "Ann" (crm), theirs "Anna Smith" → ours (latest)
      hr:u3 accepted: the same thing as in crm and erp: hr joins it; taken: desk | attempt 2
      = <person 1> v3 {"desk":7,"mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} [crm c1, erp e1, hr h1]
      = <person 2> v1 {"name":"Anna Smith","phone":"555"} []
      → crm: update person c1 rev 1 {"desk":7,"id":"c1","mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} changed: desk, phone
      → erp: update person e1 rev 1 {"desk":7,"id":"e1","mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} changed: desk, mail, name, room
      → hr: update person h1 rev 1 {"desk":7,"id":"h1","mail":"ann@crm","name":"Ann","phone":"555","room":"A1"} changed: name, room
    "#);
}

/// Declared or not, the later decision wins, whichever of the two stays.
#[test]
fn what_was_decided_later_survives_a_merge() {
    for (rule, winner, loser) in [("\"latest\"", ("crm", "c1"), ("erp", "e1")), ("\"latest\"", ("erp", "e1"), ("crm", "c1"))] {
        let mut scene =
            Scene::with(&PEOPLE.replace("[entities.person]\n", &format!("[entities.person]\nsurvivorship = {{ name = {rule} }}\n")))
                .start();
        scene.says("crm", "person", "c1", json!({"name": "Old", "mail": "a@x"}));
        scene.wait(std::time::Duration::from_secs(60));
        scene.says("erp", "person", "e1", json!({"name": "New", "phone": "555"}));
        scene.merge(winner, loser).unwrap();
        assert!(scene.story().contains(r#""name":"New","phone""#), "{}", scene.story());
    }
}

#[test]
fn two_people_with_one_phone_are_two_once_a_person_said_so() {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c1", json!({"name": "Ann", "phone": "555"}));
    scene.says("erp", "person", "e1", json!({"name": "Bob", "phone": "555", "desk": 7}));
    scene.split(("erp", "e1")).unwrap();
    scene.says("erp", "person", "e1", json!({"name": "Bob", "phone": "555", "desk": 8}));
    scene.says("crm", "person", "c1", json!({"name": "Ann", "phone": "555", "desk": 1}));
    scene.says("hr", "person", "h1", json!({"phone": "555"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"name":"Ann","phone":"555"}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"name":"Ann","phone":"555"} [crm c1]
    u2 erp person e1 {"desk":7,"name":"Bob","phone":"555"}
      erp:u2 partially_accepted: the same thing as in crm: erp joins it; taken: desk; name stays 'Ann' from crm (first_contact: fill) | by Rule first_contact: fill | modified_fields: name
        conflict name: base none, ours "Ann" (crm), theirs "Bob" → ours (first_contact: fill)
      = <person 1> v2 {"desk":7,"name":"Ann","phone":"555"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"desk":7,"id":"c1","name":"Ann","phone":"555"} changed: desk
      → erp: update person e1 rev 1 {"desk":7,"id":"e1","name":"Ann","phone":"555"} changed: name
    … anna says that erp's e1 is not <person 1>
      syncline:split accepted: erp's e1 is another thing and is record <person 2> from now on: anna says so: two people | by Person anna
      syncline:split accepted: erp's e1 was taken out of record <person 1>: anna says so: two people | by Person anna
      = <person 1> v3 {"name":"Ann","phone":"555"} [crm c1, erp (not made there)]
      = <person 2> v1 {"desk":7,"name":"Bob","phone":"555"} [erp e1, crm (not made there), hr (not made there)]
      → crm: update person c1 rev 2 {"desk":null,"id":"c1","name":"Ann","phone":"555"} changed: desk
      → erp: update person e1 rev 2 {"desk":7,"id":"e1","name":"Bob","phone":"555"} changed: name
    u3 erp person e1 {"desk":8,"name":"Bob","phone":"555"}
      erp:u3 accepted: taken: desk
        conflict desk: base assumed, ours 7 (erp), theirs 8 → theirs (latest)
      = <person 2> v2 {"desk":8,"name":"Bob","phone":"555"} [erp e1, crm (not made there), hr (not made there)]
      → erp: update person e1 rev 3 {"desk":8,"id":"e1","name":"Bob","phone":"555"} changed: desk
    u4 crm person c1 {"desk":1,"name":"Ann","phone":"555"}
      crm:u4 accepted: taken: desk
        conflict desk: base assumed, ours null, theirs 1 → theirs (latest)
      = <person 1> v4 {"desk":1,"name":"Ann","phone":"555"} [crm c1, erp (not made there)]
      → crm: update person c1 rev 3 {"desk":1,"id":"c1","name":"Ann","phone":"555"} changed: desk
    u5 hr person h1 {"phone":"555"}
      hr:u5 unchanged: the same thing as in crm: a new link, nothing new in it
      = <person 1> v4 {"desk":1,"name":"Ann","phone":"555"} [crm c1, erp (not made there), hr h1]
      → hr: update person h1 rev 1 {"desk":1,"id":"h1","name":"Ann","phone":"555"} changed: desk, name
    "#);
}

#[test]
fn a_split_off_record_is_made_elsewhere_under_later_revs() {
    let mut scene = Scene::with(&PEOPLE.replace("[systems.hr.entities.person]\ncreate = false", "[systems.hr.entities.person]")).start();
    scene.says("crm", "person", "c1", json!({"name": "Ann", "mail": "ann@crm"}));
    scene.applies("hr", "h1");
    scene.says("erp", "person", "e1", json!({"name": "Bob", "phone": "555"}));
    scene.merge(("crm", "c1"), ("erp", "e1")).unwrap();
    scene.split(("erp", "e1")).unwrap();
    scene.applies("hr", "h2");
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"mail":"ann@crm","name":"Ann"}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"mail":"ann@crm","name":"Ann"} [crm c1, hr (open create)]
      → hr: create person - rev 1 {"mail":"ann@crm","name":"Ann"} changed: mail, name
    u2 hr receipt person h1 canonical_id=<person 1> rev=1 status=applied
      hr:u2 unchanged: hr made the record; there it is h1
      = <person 1> v1 {"mail":"ann@crm","name":"Ann"} [crm c1, hr h1]
    u3 erp person e1 {"name":"Bob","phone":"555"}
      erp:u3 accepted: a new record from erp
      = <person 2> v1 {"name":"Bob","phone":"555"} [erp e1, hr (open create)]
      → hr: create person - rev 1 {"name":"Bob","phone":"555"} changed: name, phone
    … anna says that <person 2> is <person 1>
      syncline:merge accepted: record <person 2> is the same thing and became part of this one: anna says so: the same face | by Person anna
        conflict name: base none, ours "Ann" (crm), theirs "Bob" → ours (latest)
      = <person 1> v2 {"mail":"ann@crm","name":"Ann","phone":"555"} [crm c1, hr h1, erp e1]
      = <person 2> v1 {"name":"Bob","phone":"555"} []
      → crm: update person c1 rev 1 {"id":"c1","mail":"ann@crm","name":"Ann","phone":"555"} changed: phone
      → erp: update person e1 rev 1 {"id":"e1","mail":"ann@crm","name":"Ann","phone":"555"} changed: mail, name
      → hr: update person h1 rev 2 {"id":"h1","mail":"ann@crm","name":"Ann","phone":"555"} changed: phone
    … anna says that erp's e1 is not <person 1>
      syncline:split accepted: erp's e1 is another thing and is record <person 2> from now on: anna says so: two people | by Person anna
      syncline:split accepted: erp's e1 was taken out of record <person 1>: anna says so: two people | by Person anna
      = <person 1> v3 {"mail":"ann@crm","name":"Ann"} [crm c1, hr h1, erp (not made there)]
      = <person 2> v2 {"name":"Bob","phone":"555"} [erp e1, hr (open create)]
      → crm: update person c1 rev 2 {"id":"c1","mail":"ann@crm","name":"Ann","phone":null} changed: phone
      → erp: update person e1 rev 2 {"id":"e1","mail":null,"name":"Bob","phone":"555"} changed: mail, name
      → hr: create person - rev 2 {"name":"Bob","phone":"555"} changed: name, phone
    u4 hr receipt person h2 canonical_id=<person 2> rev=2 status=applied
      hr:u4 unchanged: hr made the record; there it is h2
      = <person 2> v2 {"name":"Bob","phone":"555"} [erp e1, hr h2]
    "#);
}

#[test]
fn a_system_taken_out_and_merged_in_again_is_sent_later_revs() {
    let mut scene = Scene::with(&PEOPLE.replace("[systems.hr.entities.person]\ncreate = false", "[systems.hr.entities.person]")).start();
    scene.says("crm", "person", "c1", json!({"name": "Ann", "mail": "ann@crm"}));
    scene.applies("hr", "h1");
    scene.split(("hr", "h1")).unwrap();
    scene.says("hr", "person", "h2", json!({"name": "Ann", "phone": "555"}));
    scene.merge(("crm", "c1"), ("hr", "h2")).unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"mail":"ann@crm","name":"Ann"}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"mail":"ann@crm","name":"Ann"} [crm c1, hr (open create)]
      → hr: create person - rev 1 {"mail":"ann@crm","name":"Ann"} changed: mail, name
    u2 hr receipt person h1 canonical_id=<person 1> rev=1 status=applied
      hr:u2 unchanged: hr made the record; there it is h1
      = <person 1> v1 {"mail":"ann@crm","name":"Ann"} [crm c1, hr h1]
    … anna says that hr's h1 is not <person 1>
      syncline:split accepted: hr's h1 is another thing and is record <person 2> from now on: anna says so: two people | by Person anna
      syncline:split accepted: hr's h1 was taken out of record <person 1>: anna says so: two people | by Person anna
      = <person 1> v2 {"mail":"ann@crm","name":"Ann"} [crm c1, hr (not made there)]
      = <person 2> v1 {"mail":"ann@crm","name":"Ann"} [hr h1, crm (not made there), erp (not made there)]
      → hr: update person h1 rev 2 {"id":"h1","mail":"ann@crm","name":"Ann"} changed: 
    u3 hr person h2 {"name":"Ann","phone":"555"}
      hr:u3 accepted: a new record from hr
      = <person 3> v1 {"name":"Ann","phone":"555"} [hr h2]
    … anna says that <person 3> is <person 1>
      syncline:merge accepted: record <person 3> is the same thing and became part of this one: anna says so: the same face | by Person anna
      = <person 1> v3 {"mail":"ann@crm","name":"Ann","phone":"555"} [crm c1, hr (not made there), hr h2]
      = <person 3> v1 {"name":"Ann","phone":"555"} []
      → crm: update person c1 rev 1 {"id":"c1","mail":"ann@crm","name":"Ann","phone":"555"} changed: phone
      → hr: update person h2 rev 2 {"id":"h2","mail":"ann@crm","name":"Ann","phone":"555"} changed: mail
    "#);
}

#[test]
fn what_can_not_be_done_changes_nothing() {
    let mut scene = two();
    scene.says("erp", "person", "e2", json!({"name": "Cid", "phone": "777"}));
    scene.skip_ahead();
    let mut refused = Vec::new();
    let mut note = |done: Result<(), Refusal>| match done {
        Err(Refusal::Cannot(text)) => refused.push(text),
        other => panic!("{other:?}"),
    };
    note(scene.merge(("erp", "e1"), ("erp", "e2")));
    note(scene.merge(("erp", "e1"), ("erp", "e1")));
    note(scene.split(("erp", "e1")));
    let record = scene.id_of_person("crm", "c1");
    let natives = vec![(SystemName::new("hr").unwrap(), NativeId::new("h9").unwrap())];
    note(scene.act(Request::Split { record, natives, reason: None }, "anna"));
    note(scene.act(Request::Split { record, natives: Vec::new(), reason: None }, "anna"));
    scene.send(delete("erp", "person", "e2"));
    note(scene.merge(("crm", "c1"), ("erp", "e2")));
    insta::assert_snapshot!(scene.story(), @r#"
    … anna says that <person 3> is <person 2>
    … anna says that <person 2> is <person 2>
    … anna says that erp's e1 is not <person 2>
    … anna says that hr's h9 is not <person 1>
    … anna says that  is not <person 1>
    u4 erp delete person e2
      erp:u4 accepted: erp deleted the record: it is deleted everywhere
      = <person 3> v2 deleted {"name":"Cid","phone":"777"} [erp e2 (gone)]
    … anna says that <person 3> is <person 1>
    "#);
    let ids = refused.join("\n").replace(&record.to_string(), "<crm's>");
    insta::assert_snapshot!(ids, @r"
    erp has both, as e1 and as e2; merge them there first: delete one of the two in erp
    they are one record already
    this would take out every native record; one has to stay
    the record is not known in hr as h9
    name at least one native record to take out, as system:native_id
    record 0192f0c4-0000-7000-8000-000000000003 is deleted
    ");
}
