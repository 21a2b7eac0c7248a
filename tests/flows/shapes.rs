//! Objects, lists and values in each other's place, and the rules of what lies within.

use serde_json::json;
use syncline::domain::change::Record;
use syncline::domain::handler::{UpdateMeta, Verdict};
use syncline::engine::acts::Request;

use crate::support::{Scene, patch, whole};

const PEOPLE: &str = r#"
[orchestration]
push_updates = true
[entities.person]
keys = [{ fields = ["mail"] }]
survivorship = { "address.city" = { rule = "source_of_truth", system = "erp", fallback = ["latest"] } }
[systems.erp.entities.person]
create = false
[systems.crm]
receipts = "required"
[systems.crm.entities.person]
create = false
"#;

/// Both have the person, and the ERP says where she lives.
fn ann(config: &str) -> Scene {
    let mut scene = Scene::with(config).start();
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "address": {"city": "Bonn", "zip": "53111"}}));
    scene.says("erp", "person", "e1", json!({"mail": "ann@x", "address": {"city": "Bonn", "zip": "53111"}}));
    scene.send(patch("erp", "person", "e1", json!({"address": {"city": "Basel"}})));
    scene.applies("crm", "c1");
    scene.skip_ahead();
    scene
}

#[test]
fn clearing_an_object_does_not_take_away_what_a_rule_keeps_in_it() {
    let mut scene = ann(PEOPLE);
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "address": null}));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 crm person c1 {"address":null,"mail":"ann@x"}
      crm:u5 partially_accepted: taken: address.zip; address.city stays 'Basel' from erp (source_of_truth: erp) | by Rule source_of_truth: erp | modified_fields: address.city
        conflict address.city: base assumed, ours "Basel" (erp), theirs null → ours (source_of_truth: erp)
        conflict address.zip: base assumed, ours "53111" (crm), theirs null → theirs (latest)
      = <person 1> v3 {"address":{"city":"Basel","zip":null},"mail":"ann@x"} [crm c1, erp e1]
      → crm: update person c1 rev 2 {"address":{"city":"Basel","zip":null},"id":"c1","mail":"ann@x"} changed: address.city
      → erp: update person e1 rev 1 {"address":{"city":"Basel","zip":null},"id":"e1","mail":"ann@x"} changed: address.zip
    "#);
}

#[test]
fn a_text_does_not_take_the_place_of_what_a_rule_keeps() {
    let mut scene = ann(PEOPLE);
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "address": "Somewhere 1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 crm person c1 {"address":"Somewhere 1","mail":"ann@x"}
      crm:u5 dropped: address stays as it is (source_of_truth: erp) | by Rule source_of_truth: erp | modified_fields: address
      → crm: update person c1 rev 2 {"address":{"city":"Basel","zip":"53111"},"id":"c1","mail":"ann@x"} changed: address, address.city, address.zip
    "#);
}

#[test]
fn a_rule_of_an_object_is_one_of_what_lies_within() {
    let mut scene = ann(&PEOPLE.replace("\"address.city\"", "address"));
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "address": {"city": "Bern", "zip": "3000"}}));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 crm person c1 {"address":{"city":"Bern","zip":"3000"},"mail":"ann@x"}
      crm:u5 dropped: address.city stays 'Basel' from erp (source_of_truth: erp) and address.zip stays '53111' from erp (source_of_truth: erp) | by Rule source_of_truth: erp | modified_fields: address.city, address.zip
      → crm: update person c1 rev 2 {"address":{"city":"Basel","zip":"53111"},"id":"c1","mail":"ann@x"} changed: address.city, address.zip
    "#);
}

#[test]
fn who_is_right_has_spoken_when_it_says_the_same() {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "address": {"city": "Bonn"}}));
    scene.says("erp", "person", "e1", json!({"mail": "ann@x", "address": {"city": "Bonn"}}));
    scene.skip_ahead();
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "address": {"city": "Bern"}}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 crm person c1 {"address":{"city":"Bern"},"mail":"ann@x"}
      crm:u3 dropped: address.city stays 'Bonn' from erp (source_of_truth: erp) | by Rule source_of_truth: erp | modified_fields: address.city
      → crm: update person c1 rev 1 {"address":{"city":"Bonn"},"id":"c1","mail":"ann@x"} changed: address.city
    "#);
}

#[test]
fn null_is_no_reason_not_to_fill_what_lies_within() {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("erp", "person", "e1", json!({"mail": "ann@x", "address": null}));
    scene.skip_ahead();
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "address": {"zip": "53111"}}));
    insta::assert_snapshot!(scene.story(), @r#"
    u2 crm person c1 {"address":{"zip":"53111"},"mail":"ann@x"}
      crm:u2 accepted: the same thing as in erp: crm joins it; taken: address.zip
      = <person 1> v2 {"address":{"zip":"53111"},"mail":"ann@x"} [erp e1, crm c1]
      → erp: update person e1 rev 1 {"address":{"zip":"53111"},"id":"e1","mail":"ann@x"} changed: address.zip
    "#);
}

#[test]
fn an_object_that_was_cleared_is_put_back_whole() {
    let config = PEOPLE
        .replace("survivorship = ", "#")
        .replace("[systems.crm.entities.person]", "[systems.crm.entities.person]\non_reject = \"compensate\"");
    let mut scene = ann(&config);
    scene.says("erp", "person", "e1", json!({"mail": "ann@x", "address": null}));
    scene.receipt_with("crm", "c1", "rejected", |receipt| receipt.with("reason", "an address is needed"));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 erp person e1 {"address":null,"mail":"ann@x"}
      erp:u5 accepted: taken: address
      = <person 1> v3 {"address":null,"mail":"ann@x"} [crm c1, erp e1]
      → crm: update person c1 rev 2 {"address":null,"id":"c1","mail":"ann@x"} changed: address.city, address.zip
    u6 crm receipt person c1 canonical_id=<person 1> reason=an address is needed rev=2 status=rejected
      crm:u6 unchanged: crm refuses rev 2: an address is needed; the same content is not sent again
      syncline:compensate accepted: crm refused rev 2 (an address is needed), so update erp:u5 was taken back; address is what it was
      = <person 1> v4 {"address":{"city":"Basel","zip":"53111"},"mail":"ann@x"} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"address":{"city":"Basel","zip":"53111"},"id":"e1","mail":"ann@x"} changed: address.city, address.zip
    "#);
}

#[test]
fn of_two_that_become_one_a_value_in_the_place_of_an_object_is_a_conflict() {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("erp", "person", "e1", json!({"mail": "ann@x", "address": "Basel", "phone": null}));
    scene.says("crm", "person", "c1", json!({"mail": "ann@y", "address": {"city": "Bonn"}, "phone": {"work": "1"}}));
    scene.skip_ahead();
    let (winner, loser) = (scene.id_of("person", "erp", "e1"), scene.id_of("person", "crm", "c1"));
    scene.act(Request::Merge { winner, loser, reason: None }, "anna").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    … anna says that <person 2> is <person 1>
      syncline:merge accepted: record <person 2> is the same thing and became part of this one: anna says so | by Person anna
        conflict address.city: base none, ours "Basel" (erp), theirs "Bonn" → ours (another shape)
        conflict mail: base none, ours "ann@x" (erp), theirs "ann@y" → ours (latest)
      = <person 1> v2 {"address":"Basel","mail":"ann@x","phone":{"work":"1"}} [erp e1, crm c1]
      = <person 2> v1 {"address":{"city":"Bonn"},"mail":"ann@y","phone":{"work":"1"}} []
      → crm: update person c1 rev 1 {"address":"Basel","id":"c1","mail":"ann@x","phone":{"work":"1"}} changed: address, address.city, mail
      → erp: update person e1 rev 1 {"address":"Basel","id":"e1","mail":"ann@x","phone":{"work":"1"}} changed: phone.work
    "#);
}

const TAGS: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
sets = ["tags"]
[systems.bms.entities.device]
create = false
[systems.oem.entities.device]
create = false
"#;

/// New tags are for a person.
fn tags_are_reviewed(_: &mut Record, current: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let is_first = meta.update_id().id.as_str() == "plus-b";
    if is_first && current.is_some() && meta.approval().is_none() { Verdict::review("a new tag") } else { Verdict::accept(None) }
}

#[test]
fn what_goes_on_from_a_change_that_waits_does_not_lose_it() {
    let mut scene = Scene::with(TAGS).handler("device", tags_are_reviewed).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "tags": ["a"]}));
    scene.skip_ahead();
    scene.send(patch("bms", "device", "b1", json!({"tags": ["a", "b"]})).id("plus-b"));
    scene.send(patch("bms", "device", "b1", json!({"tags": ["a", "b", "c"]})));
    insta::assert_snapshot!(scene.story(), @r#"
    plus-b bms patch device b1 {"tags":["a","b"]}
      bms:plus-b parked (review): a new tag | by Handler device
    u2 bms patch device b1 {"tags":["a","b","c"]}
      bms:u2 accepted: taken: tags | by Handler device
      = <device 1> v2 {"serial":"S1","tags":["a","b","c"]} [bms b1]
    "#);
}

#[test]
fn a_key_over_lists_has_no_more_values_than_can_be_looked_up() {
    let config = TAGS.replace("[\"serial\"]", "[\"serial\", \"tags\"]");
    let mut scene = Scene::with(&config).start();
    let many = |count: usize| (0..count).collect::<Vec<_>>();
    scene.send(whole("bms", "device", "b1", json!({"serial": many(40), "tags": many(40)})).id("many"));
    scene.send(whole("bms", "device", "b2", json!({"serial": many(10), "tags": many(10)})).id("few"));
    let story = scene.story();
    assert!(story.contains("dead letter bms:many key_too_long: the key serial+tags has 1600 values in it, the limit is 1000"), "{story}");
    assert!(story.contains("bms:few accepted"), "{story}");
}

#[test]
fn limits_are_those_of_the_configuration() {
    let mut scene = Scene::with(&format!("[limits]\nkey_value = \"16B\"\nfields = 16{TAGS}")).start();
    scene.send(whole("bms", "device", "b1", json!({"serial": "x".repeat(17)})).id("long"));
    scene.send(whole("bms", "device", "b1", json!({"serial": "x".repeat(16)})).id("fits"));
    insta::assert_snapshot!(scene.story(), @r#"
    long bms device b1 {"serial":"xxxxxxxxxxxxxxxxx"}
      dead letter bms:long key_too_long: the key serial is longer than 16 bytes; send a shorter value
    fits bms device b1 {"serial":"xxxxxxxxxxxxxxxx"}
      bms:fits accepted: a new record from bms
      = <device 1> v1 {"serial":"xxxxxxxxxxxxxxxx"} [bms b1]
    "#);
}

#[test]
fn a_message_has_as_many_fields_as_the_configuration_says() {
    if !Scene::by_hand() {
        return; // Over HTTP it is refused at once.
    }
    let mut scene = Scene::with(&format!("[limits]\nfields = 16{TAGS}")).start();
    let wide: serde_json::Map<String, serde_json::Value> = (0..17).map(|n| (n.to_string(), json!(n))).collect();
    scene.raw(whole("bms", "device", "b1", json!(wide)).id("wide").body().to_string().as_bytes());
    let story = scene.story();
    assert!(story.contains("dead letter bms:wide too_many_fields: an object has more than 16 fields"), "{story}");
}

#[test]
fn a_record_does_not_grow_without_end() {
    let mut scene = Scene::with(&format!("[limits]\nmessage = \"1KiB\"{TAGS}")).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1"}));
    scene.says("oem", "device", "o2", json!({"serial": "S2", "more": "x".repeat(800)}));
    scene.send(patch("bms", "device", "b1", json!({"a": "x".repeat(800)})).id("a"));
    scene.send(patch("bms", "device", "b1", json!({"b": "x".repeat(800)})).id("b"));
    scene.send(patch("bms", "device", "b1", json!({"c": "x".repeat(800)})).id("c"));
    scene.send(patch("bms", "device", "b1", json!({"a": "less"})).id("less"));
    scene.send(patch("bms", "device", "b1", json!({"c": "x".repeat(800)})).id("again"));
    let story = scene.story();
    assert!(story.contains("dead letter bms:c too_large: record bms:device:b1 would have "), "{story}");
    for id in ["a", "b", "less", "again"] {
        assert!(story.contains(&format!("bms:{id} accepted")), "{id}: {story}");
    }
    let (winner, loser) = (scene.id_of("device", "bms", "b1"), scene.id_of("device", "oem", "o2"));
    let refused = scene.act(Request::Merge { winner, loser, reason: None }, "anna").unwrap_err();
    assert!(format!("{refused:?}").contains("together they would have "), "{refused:?}");
}

#[test]
fn an_object_does_not_take_the_place_of_a_text_that_a_rule_keeps() {
    let config = PEOPLE.replace("\"address.city\"", "address");
    let mut scene = Scene::with(&config).start();
    scene.says("erp", "person", "e1", json!({"mail": "ann@x", "address": "Basel 1"}));
    scene.says("crm", "person", "c1", json!({"mail": "ann@x"}));
    scene.applies("crm", "c1");
    scene.skip_ahead();
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "address": {"city": "Bern"}}));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 crm person c1 {"address":{"city":"Bern"},"mail":"ann@x"}
      crm:u4 dropped: address.city is left out (source_of_truth: erp) | by Rule source_of_truth: erp | modified_fields: address.city
      → crm: update person c1 rev 2 {"address":"Basel 1","id":"c1","mail":"ann@x"} changed: address, address.city
    "#);
}

#[test]
fn what_is_confirmed_can_still_be_taken_back() {
    let config = PEOPLE.replace("\"address.city\"", "name").replace(
        "[systems.crm]",
        "[systems.oem]\nreceipts = \"required\"\n[systems.oem.entities.person]\ncreate = false\non_reject = \"compensate\"\n[systems.crm]",
    );
    let mut scene = Scene::with(&config).start();
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "name": "Ann"}));
    scene.says("oem", "person", "o1", json!({"mail": "ann@x", "name": "Ann"}));
    scene.says("crm", "person", "c1", json!({"mail": "ann@x", "name": "Anna"}));
    scene.says("erp", "person", "e1", json!({"mail": "ann@x", "name": "Anna"}));
    scene.skip_ahead();
    scene.receipt_with("oem", "o1", "rejected", |receipt| receipt.with("reason", "no such name"));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 oem receipt person o1 canonical_id=<person 1> reason=no such name rev=1 status=rejected
      oem:u5 unchanged: oem refuses rev 1: no such name; the same content is not sent again
      syncline:compensate accepted: oem refused rev 1 (no such name), so update crm:u3 was taken back; name is 'Ann' again
      = <person 1> v3 {"mail":"ann@x","name":"Ann"} [crm c1, oem o1, erp e1]
      → crm: update person c1 rev 1 {"id":"c1","mail":"ann@x","name":"Ann"} changed: name
      → erp: update person e1 rev 1 {"id":"e1","mail":"ann@x","name":"Ann"} changed: name
    "#);
}

#[test]
fn a_key_does_not_lose_its_values_by_growing() {
    let config = TAGS.replace("[\"serial\"]", "[\"serial\", \"tags\"]");
    let mut scene = Scene::with(&config).start();
    let many = |count: usize| (0..count).collect::<Vec<_>>();
    scene.send(whole("bms", "device", "b1", json!({"serial": many(40), "tags": [1]})));
    scene.send(patch("bms", "device", "b1", json!({"tags": many(40)})).id("more"));
    scene.send(whole("oem", "device", "o1", json!({"serial": [3], "tags": [1]})).id("same"));
    let story = scene.story();
    assert!(
        story.contains("dead letter bms:more key_too_long: with this the key serial+tags has 1600 values, the limit is 1000"),
        "{story}"
    );
    assert!(story.contains("[bms b1, oem o1]"), "it is still found by its key: {story}");
}

/// The second and the fourth are for a person.
fn some_are_reviewed(_: &mut Record, current: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let asks = meta.update_id().id.as_str().starts_with("ask") && meta.approval().is_none();
    if asks && current.is_some() { Verdict::review("too much at once") } else { Verdict::accept(None) }
}

#[test]
fn a_sum_goes_on_from_what_waits_now_and_not_from_what_waited_once() {
    let config = TAGS.replace("sets = [\"tags\"]", "survivorship = { stock = \"sum_delta\" }");
    let mut scene = Scene::with(&config).handler("device", some_are_reviewed).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "stock": 10}));
    for (id, stock) in [("ask-1", 15), ("u-2", 20), ("ask-3", 25), ("u-4", 30)] {
        scene.send(patch("bms", "device", "b1", json!({"stock": stock})).id(id));
    }
    let record = scene.ask(async |store| store.list_records(None, None, 1).await)[0].record.clone();
    assert_eq!(record.data.get(&"stock".into()), Some(&json!(30)), "{}", scene.story());
}
