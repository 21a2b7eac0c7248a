//! The values of a person are erased: nothing that is kept says them any more, and nobody can bring them back.

use serde_json::{Value, json};
use syncline::domain::ids::CanonicalId;
use syncline::engine::acts::Request;
use syncline::ports::store::DecisionFilter;

use crate::support::{Message, Scene, delete, patch, whole};

const PEOPLE: &str = r#"
[orchestration]
push_updates = true
create_settle = "0s"
[entities.person]
keys = [{ fields = ["mail"] }]
references = { boss_id = "person" }
delete = { conflict = "update_revives" }
[systems.crm.entities.person]
create = false
[systems.erp.entities.person]
create = false
"#;

impl Scene {
    /// Everything that is stored, as text.
    fn all_that_is_kept(&self) -> String {
        self.ask(async |store| {
            let records = store.list_records(None, None, 99).await?;
            let records: Vec<Value> = records.iter().map(|known| serde_json::to_value(known.record.as_ref()).unwrap()).collect();
            let rows = store.decisions(&DecisionFilter::default(), None, 99).await?.items;
            let letters = store.dead_letters(None, 99).await?.items;
            let waiting = store.list_waiting(None, 99).await?;
            Ok(json!({ "records": records, "rows": rows, "letters": letters, "waiting": waiting }).to_string())
        })
    }

    fn erase(&mut self, record: CanonicalId) {
        self.act(Request::Erase { record, reason: Some("she asked for it".to_owned()) }, "anna").unwrap();
    }
}

/// Two systems have her, a boss has other values, a row has a conflict, a letter is dead.
fn known() -> Scene {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c9", json!({"mail": "boss@x", "name": "The Boss"}));
    scene.says("crm", "person", "c1", json!({"mail": "grace@x", "name": "Grace Hopper", "boss_id": "c9"}));
    scene.says("erp", "person", "e1", json!({"mail": "grace@x", "name": "G. Hopper", "home": {"city": "Arlington"}, "room": null}));
    scene.send(patch("erp", "person", "e1", json!({"name": "Amazing Grace"})).base(1));
    scene.send(patch("crm", "person", "c1", json!({"boss_id": "grace-has-a-bad-boss"})).id("waits").base(1));
    scene.send(patch("crm", "person", "c1", json!({"name": "Letter"})).id("waits").base(1));
    scene.skip_ahead();
    scene
}

#[test]
fn case_erasure_of_a_person_leaves_ids_and_no_values() {
    let mut scene = known();
    let she = scene.id_of_person("crm", "c1");
    for value in ["grace@x", "Hopper", "Amazing", "Arlington", "Letter", "bad-boss"] {
        assert!(scene.all_that_is_kept().contains(value), "{value} is known before");
    }
    scene.erase(she);
    // It was decided before: nothing of it comes back.
    scene.send(patch("erp", "person", "e1", json!({"name": "Rear Admiral"})).id("late").base(1));
    scene.send(delete("erp", "person", "e1"));
    let kept = scene.all_that_is_kept();
    for value in ["grace@x", "Hopper", "Amazing", "Arlington", "Letter", "bad-boss", "Admiral"] {
        assert!(!kept.contains(value), "{value} is still kept: {kept}");
    }
    for value in ["The Boss", "boss@x", "she asked for it", "\"erased\":true"] {
        assert!(kept.contains(value), "{value} is gone");
    }
    insta::assert_snapshot!(scene.story(), @r#"
    … anna has the values of <person 2> erased
      crm:u2 accepted: erased, with the values of the record
      erp:u3 partially_accepted: erased, with the values of the record | by Rule first_contact: fill | modified_fields: name
        conflict name: base none, ours {"erased":true} (crm), theirs {"erased":true} → ours (first_contact: fill)
      erp:u4 accepted: erased, with the values of the record
      crm:waits superseded: erased, with the values of the record
      syncline:erase accepted: its values are erased, here and in all that was decided about it; it is deleted everywhere: anna says so: she asked for it | by Person anna
      dead letter crm:waits#70d71b35ab2c6886 id_reuse: erased, with the values of the record
      = <person 2> v4 deleted {"boss_id":"<person 1>","home":{"city":{"erased":true}},"mail":{"erased":true},"name":{"erased":true}} [crm c1, erp e1]
      → crm: delete person c1 rev 4 {} changed: 
      → erp: delete person e1 rev 2 {} changed: 
    late erp patch person e1 {"name":"Rear Admiral"} base=1
      erp:late dropped: the values of the record were erased (version 4); a delete wins over what comes later (delete.conflict) | modified_fields: name
      → erp: delete person e1 rev 3 {} changed: 
    u5 erp delete person e1
      erp:u5 echo: erp deleted the record as it was told
      = <person 2> v4 deleted {"boss_id":"<person 1>","home":{"city":{"erased":true}},"mail":{"erased":true},"name":{"erased":true}} [crm c1, erp e1 (gone)]
    "#);
}

/// A letter of a change set names no record itself.
#[test]
fn what_a_set_says_of_the_person_is_erased_too() {
    let mut scene = known();
    let she = scene.id_of_person("crm", "c1");
    let renamed = json!({"id": "s1", "system": "crm", "type": "person", "native_id": "c1", "op": "patch", "entity": {"name": "Setted"}});
    let stuck = json!({"id": "s2", "system": "crm", "type": "person", "native_id": "c8", "entity": {"mail": "new@x", "boss_id": "nobody"}});
    scene.send(Message::of(json!({"id": "set", "change_set": true, "updates": [renamed, stuck]})));
    assert!(scene.all_that_is_kept().contains("Setted"));
    scene.erase(she);
    assert!(!scene.all_that_is_kept().contains("Setted"), "{}", scene.all_that_is_kept());
}

#[test]
fn the_same_person_may_come_again() {
    let mut scene = known();
    let she = scene.id_of_person("crm", "c1");
    scene.erase(she);
    scene.restart();
    scene.says("crm", "person", "c2", json!({"mail": "grace@x", "name": "Grace"}));
    assert_ne!(scene.id_of_person("crm", "c2"), she);
    let again = scene.id_of_person("crm", "c2");
    assert!(scene.all_that_is_kept().contains(&again.to_string()));
    insta::assert_snapshot!(scene.story(), @r#"
    … anna has the values of <person 2> erased
      crm:u2 accepted: erased, with the values of the record
      erp:u3 partially_accepted: erased, with the values of the record | by Rule first_contact: fill | modified_fields: name
        conflict name: base none, ours {"erased":true} (crm), theirs {"erased":true} → ours (first_contact: fill)
      erp:u4 accepted: erased, with the values of the record
      crm:waits superseded: erased, with the values of the record
      syncline:erase accepted: its values are erased, here and in all that was decided about it; it is deleted everywhere: anna says so: she asked for it | by Person anna
      dead letter crm:waits#70d71b35ab2c6886 id_reuse: erased, with the values of the record
      = <person 2> v4 deleted {"boss_id":"<person 1>","home":{"city":{"erased":true}},"mail":{"erased":true},"name":{"erased":true}} [crm c1, erp e1]
      → crm: delete person c1 rev 4 {} changed: 
      → erp: delete person e1 rev 2 {} changed: 
    … restart
    u5 crm person c2 {"mail":"grace@x","name":"Grace"}
      crm:u5 accepted: a new record from crm
      = <person 3> v1 {"mail":"grace@x","name":"Grace"} [crm c2]
    "#);
}

#[test]
fn a_record_that_is_deleted_already_is_erased_with_what_became_part_of_it() {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c1", json!({"mail": "one@x", "name": "Ada"}));
    scene.says("erp", "person", "e1", json!({"mail": "two@x", "name": "Lovelace"}));
    let (winner, loser) = (scene.id_of_person("crm", "c1"), scene.id_of_person("erp", "e1"));
    scene.act(Request::Merge { winner, loser, reason: None }, "anna").unwrap();
    scene.send(delete("crm", "person", "c1"));
    scene.skip_ahead();
    // By the id it had: that leads to the one it became part of.
    scene.erase(loser);
    let kept = scene.all_that_is_kept();
    for value in ["one@x", "two@x", "Ada", "Lovelace"] {
        assert!(!kept.contains(value), "{value} is still kept: {kept}");
    }
    insta::assert_snapshot!(scene.story(), @r#"
    … anna has the values of <person 2> erased
      crm:u1 accepted: erased, with the values of the record
      erp:u2 accepted: erased, with the values of the record
      syncline:merge accepted: erased, with the values of the record | by Person anna
        conflict mail: base none, ours {"erased":true} (crm), theirs {"erased":true} → ours (latest)
        conflict name: base none, ours {"erased":true} (crm), theirs {"erased":true} → ours (latest)
      crm:u3 accepted: erased, with the values of the record
      syncline:erase accepted: its values are erased, here and in all that was decided about it: anna says so: she asked for it | by Person anna
      = <person 1> v4 deleted {"mail":{"erased":true},"name":{"erased":true}} [crm c1 (gone), erp e1]
      = <person 2> v1 {"mail":{"erased":true},"name":{"erased":true}} []
    "#);
}

/// A double has the very values that were to go. It is for a person to say what becomes of it.
#[test]
fn what_waits_because_of_her_does_not_bring_her_back_by_itself() {
    let mut scene = known();
    scene.send(whole("crm", "person", "c2", json!({"mail": "grace@x", "name": "Grace Hopper"})).id("double"));
    let she = scene.id_of_person("crm", "c1");
    scene.skip_ahead();
    scene.erase(she);
    assert_eq!(scene.ask(async |store| store.list_waiting(None, 9).await).len(), 1);
    scene.act(Request::Judge { update: "crm:double".to_owned().try_into().unwrap(), word: None }, "anna").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    … anna has the values of <person 2> erased
      crm:u2 accepted: erased, with the values of the record
      erp:u3 partially_accepted: erased, with the values of the record | by Rule first_contact: fill | modified_fields: name
        conflict name: base none, ours {"erased":true} (crm), theirs {"erased":true} → ours (first_contact: fill)
      erp:u4 accepted: erased, with the values of the record
      crm:waits superseded: erased, with the values of the record
      syncline:erase accepted: its values are erased, here and in all that was decided about it; it is deleted everywhere: anna says so: she asked for it | by Person anna
      dead letter crm:waits#70d71b35ab2c6886 id_reuse: erased, with the values of the record
      = <person 2> v4 deleted {"boss_id":"<person 1>","home":{"city":{"erased":true}},"mail":{"erased":true},"name":{"erased":true}} [crm c1, erp e1]
      → crm: delete person c1 rev 4 {} changed: 
      → erp: delete person e1 rev 2 {} changed: 
    … anna retries crm:double
      crm:double accepted: a new record from crm (retried by anna) | attempt 2
      = <person 3> v1 {"mail":"grace@x","name":"Grace Hopper"} [crm c2]
    "#);
}
