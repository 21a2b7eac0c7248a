//! Values that are kept out of decisions.

use serde_json::json;
use syncline::domain::handler::{UpdateMeta, Verdict};
use syncline::domain::ids::{NativeId, SystemName};
use syncline::engine::acts::Request;
use syncline::ports::store::DecisionFilter;

use crate::support::{Scene, patch};

const PEOPLE: &str = r#"
[orchestration]
push_updates = true
create_settle = "0s"
[entities.person]
keys = [{ fields = ["mail"] }, { fields = ["phone"] }]
redact = ["phone", "home"]
[systems.crm.entities.person]
create = false
[systems.erp.entities.person]
create = false
on_reject = "compensate"
[systems.hr.entities.person]
create = false
"#;

impl Scene {
    fn decisions_as_text(&self) -> String {
        let rows = self.ask(async |store| store.decisions(&DecisionFilter::default(), None, 99).await).items;
        json!(rows).to_string()
    }
}

fn known() -> Scene {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "name": "Ann", "phone": "555-1", "home": {"city": "Bonn"}}));
    scene.says("erp", "person", "e1", json!({"mail": "ann@x", "name": "Ann", "phone": "555-2"}));
    scene
}

/// A handler's type that does not fit says which value does not.
#[test]
fn what_a_handler_stumbles_over_is_not_quoted() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Person {
        phone: u64,
    }
    let accept = |_: &mut Person, _: Option<&Person>, _: &UpdateMeta| Verdict::accept(None);
    let mut scene = Scene::with(PEOPLE).handler("person", accept).start();
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "phone": "555-7"}));
    for _ in 0..3 {
        scene.wait(std::time::Duration::from_secs(10));
    }
    let letters = scene.ask(async |store| store.dead_letters(None, 9).await).items;
    assert!(letters.len() == 1 && letters[0].detail.contains("does not fit"), "{letters:?}");
    assert!(!scene.story().contains("\"555-7\", expected") && !letters[0].detail.contains("555-7"), "{}", scene.story());
}

#[test]
fn decisions_say_that_a_redacted_field_changed_and_not_to_what() {
    let mut scene = known();
    scene.send(patch("erp", "person", "e1", json!({"phone": "555-3", "room": "A1"})).base(1));
    // A number, and a text too long for a sentence.
    scene.send(patch("crm", "person", "c1", json!({"phone": 5557, "home": {"street": "x".repeat(80)}})));
    scene.send(patch("erp", "person", "e1", json!({"phone": 5558})).base(1));
    scene.says("hr", "person", "h2", json!({"mail": "ann@x", "phone": 5559}));
    // Two people, one phone: who is in the way is told, by which number is not.
    scene.says("hr", "person", "h1", json!({"mail": "bob@x", "phone": "555-9"}));
    scene.says("hr", "person", "h1", json!({"mail": "bob@x", "phone": 5558}));
    let rows = scene.decisions_as_text();
    assert!(!rows.contains("555") && !rows.contains("Bonn") && !rows.contains("xxx"), "{rows}");
    assert!(rows.contains(r#""phone":{"redacted":true}"#) && rows.contains(r#""home":{"city":{"redacted":true}}"#), "{rows}");
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"home":{"city":"Bonn"},"mail":"ann@x","name":"Ann","phone":"555-1"}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"home":{"city":"Bonn"},"mail":"ann@x","name":"Ann","phone":"555-1"} [crm c1]
    u2 erp person e1 {"mail":"ann@x","name":"Ann","phone":"555-2"}
      erp:u2 dropped: the same thing as in crm: erp joins it; phone stays … from crm (first_contact: fill) | by Rule first_contact: fill | modified_fields: phone
        conflict phone: base none, ours {"redacted":true} (crm), theirs {"redacted":true} → ours (first_contact: fill)
      = <person 1> v1 {"home":{"city":"Bonn"},"mail":"ann@x","name":"Ann","phone":"555-1"} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"home":{"city":"Bonn"},"id":"e1","mail":"ann@x","name":"Ann","phone":"555-1"} changed: home.city, phone
    u3 erp patch person e1 {"phone":"555-3","room":"A1"} base=1
      erp:u3 accepted: taken: phone and room
      = <person 1> v2 {"home":{"city":"Bonn"},"mail":"ann@x","name":"Ann","phone":"555-3","room":"A1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"home":{"city":"Bonn"},"id":"c1","mail":"ann@x","name":"Ann","phone":"555-3","room":"A1"} changed: phone, room
    u4 crm patch person c1 {"home":{"street":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"phone":5557}
      crm:u4 accepted: taken: home.street and phone
        conflict home.street: base assumed, ours {"redacted":true}, theirs {"redacted":true} → theirs (latest)
        conflict phone: base assumed, ours {"redacted":true} (erp), theirs {"redacted":true} → theirs (latest)
      = <person 1> v3 {"home":{"city":"Bonn","street":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"mail":"ann@x","name":"Ann","phone":5557,"room":"A1"} [crm c1, erp e1]
      → crm: update person c1 rev 2 {"home":{"city":"Bonn","street":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"id":"c1","mail":"ann@x","name":"Ann","phone":5557,"room":"A1"} changed: phone
      → erp: update person e1 rev 2 {"home":{"city":"Bonn","street":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"id":"e1","mail":"ann@x","name":"Ann","phone":5557,"room":"A1"} changed: home.street, phone
    u5 erp patch person e1 {"phone":5558} base=1
      erp:u5 accepted: taken: phone
        conflict phone: base {"redacted":true}, ours {"redacted":true} (crm), theirs {"redacted":true} → theirs (latest)
      = <person 1> v4 {"home":{"city":"Bonn","street":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"mail":"ann@x","name":"Ann","phone":5558,"room":"A1"} [crm c1, erp e1]
      → crm: update person c1 rev 3 {"home":{"city":"Bonn","street":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"id":"c1","mail":"ann@x","name":"Ann","phone":5558,"room":"A1"} changed: phone
      → erp: update person e1 rev 3 {"home":{"city":"Bonn","street":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"id":"e1","mail":"ann@x","name":"Ann","phone":5558,"room":"A1"} changed: phone
    u6 hr person h2 {"mail":"ann@x","phone":5559}
      hr:u6 dropped: the same thing as in crm and erp: hr joins it; phone stays … from erp (first_contact: fill) | by Rule first_contact: fill | modified_fields: phone
        conflict phone: base none, ours {"redacted":true} (erp), theirs {"redacted":true} → ours (first_contact: fill)
      = <person 1> v4 {"home":{"city":"Bonn","street":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"mail":"ann@x","name":"Ann","phone":5558,"room":"A1"} [crm c1, erp e1, hr h2]
      → hr: update person h2 rev 1 {"home":{"city":"Bonn","street":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"id":"h2","mail":"ann@x","name":"Ann","phone":5558,"room":"A1"} changed: home.city, home.street, name, phone, room
    u7 hr person h1 {"mail":"bob@x","phone":"555-9"}
      hr:u7 accepted: a new record from hr
      = <person 2> v1 {"mail":"bob@x","phone":"555-9"} [hr h1]
    u8 hr person h1 {"mail":"bob@x","phone":5558}
      hr:u8 parked (match_collision): its key values belong to different records (phone): <person 2> and <person 1>; merge them or correct a key
    "#);
}

#[test]
fn what_is_not_told_can_still_be_taken_back_as_far_as_it_is_known() {
    let mut scene = known();
    scene.applies("erp", "e1");
    scene.send(patch("crm", "person", "c1", json!({"name": "Anna", "phone": "555-4"})).base(1));
    scene.skip_ahead();
    scene.receipt_with("erp", "e1", "rejected", |receipt| receipt.with("reason", "no such person"));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 erp receipt person e1 canonical_id=<person 1> reason=no such person rev=2 status=rejected
      erp:u5 unchanged: erp refuses rev 2: no such person; the same content is not sent again
      syncline:compensate accepted: erp refused rev 2 (no such person), so update crm:u4 was taken back; name is 'Ann' again and phone is … again
      = <person 1> v3 {"home":{"city":"Bonn"},"mail":"ann@x","name":"Ann","phone":"555-1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"home":{"city":"Bonn"},"id":"c1","mail":"ann@x","name":"Ann","phone":"555-1"} changed: name, phone
    "#);
}

#[test]
fn a_split_does_not_take_a_mask_for_a_value() {
    let mut scene = known();
    scene.send(patch("erp", "person", "e1", json!({"phone": "555-5"})).base(1));
    scene.skip_ahead();
    let record = scene.id_of_person("crm", "c1");
    let natives = vec![(SystemName::new("erp").unwrap(), NativeId::new("e1").unwrap())];
    scene.act(Request::Split { record, natives, reason: None }, "anna").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    … anna says that erp's e1 is not <person 1>
      syncline:split accepted: erp's e1 is another thing and is record <person 2> from now on: anna says so | by Person anna
      syncline:split accepted: erp's e1 was taken out of record <person 1>: anna says so | by Person anna
      = <person 1> v3 {"home":{"city":"Bonn"},"mail":"ann@x","name":"Ann","phone":"555-1"} [crm c1, erp (not made there)]
      = <person 2> v1 {"home":{"city":"Bonn"},"mail":"ann@x","name":"Ann","phone":"555-5"} [erp e1, crm (not made there), hr (not made there)]
      → crm: update person c1 rev 2 {"home":{"city":"Bonn"},"id":"c1","mail":"ann@x","name":"Ann","phone":"555-1"} changed: phone
      → erp: update person e1 rev 2 {"home":{"city":"Bonn"},"id":"e1","mail":"ann@x","name":"Ann","phone":"555-5"} changed: 
    "#);
}
