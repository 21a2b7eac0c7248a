//! What did the system really change?

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use syncline::domain::handler::{UpdateMeta, Verdict};

use crate::support::{Scene, patch, whole};

const SECOND: Duration = Duration::from_secs(1);

/// Three systems that know people by e-mail; nobody says what it had applied.
const PEOPLE: &str = r#"
[orchestration]
push_updates = true
[entities.person]
keys = [{ fields = ["email"] }]
[systems.crm.entities.person]
create = false
[systems.erp.entities.person]
create = false
"#;

/// Ann, known to both with the same fields.
fn ann(config: &str) -> Scene {
    let mut scene = Scene::with(config).start();
    for (system, id) in [("crm", "c1"), ("erp", "e1")] {
        scene.says(system, "person", id, json!({"email": "ann@x.org", "name": "Jon", "phone": "1"}));
    }
    scene.skip_ahead();
    scene
}

#[test]
fn s11_a_whole_record_with_an_old_name_and_a_new_phone() {
    let mut scene = ann(PEOPLE);
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "John", "phone": "1"}));
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon", "phone": "2"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp person e1 {"email":"ann@x.org","name":"John","phone":"1"}
      erp:u3 accepted: taken: name
      = <person 1> v2 {"email":"ann@x.org","name":"John","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","name":"John","phone":"1"} changed: name
    u4 crm person c1 {"email":"ann@x.org","name":"Jon","phone":"2"}
      crm:u4 accepted: taken: phone; not applied: name 'Jon', had not seen rev 1
        conflict phone: base assumed, ours "1" (crm), theirs "2" → theirs (latest)
      = <person 1> v3 {"email":"ann@x.org","name":"John","phone":"2"} [crm c1, erp e1]
      → crm: update person c1 rev 2 {"email":"ann@x.org","id":"c1","name":"John","phone":"2"} changed: name, phone
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","name":"John","phone":"2"} changed: phone
    "#);
}

#[test]
fn s11_the_same_where_the_adapter_says_its_base() {
    let mut scene = ann(PEOPLE);
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "John", "phone": "1"}));
    // Read before rev 1 was applied.
    scene.send(whole("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon", "phone": "2"})).base(0));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp person e1 {"email":"ann@x.org","name":"John","phone":"1"}
      erp:u3 accepted: taken: name
      = <person 1> v2 {"email":"ann@x.org","name":"John","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","name":"John","phone":"1"} changed: name
    u4 crm person c1 {"email":"ann@x.org","name":"Jon","phone":"2"} base=0
      crm:u4 accepted: taken: phone; not applied: name 'Jon', had not seen rev 1
      = <person 1> v3 {"email":"ann@x.org","name":"John","phone":"2"} [crm c1, erp e1]
      → crm: update person c1 rev 2 {"email":"ann@x.org","id":"c1","name":"John","phone":"2"} changed: phone
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","name":"John","phone":"2"} changed: phone
    "#);
}

#[test]
fn s12_two_systems_change_one_field_from_the_same_base() {
    let mut scene = ann(PEOPLE);
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "John", "phone": "1"}));
    scene.send(whole("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jonathan", "phone": "1"})).base(0));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp person e1 {"email":"ann@x.org","name":"John","phone":"1"}
      erp:u3 accepted: taken: name
      = <person 1> v2 {"email":"ann@x.org","name":"John","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","name":"John","phone":"1"} changed: name
    u4 crm person c1 {"email":"ann@x.org","name":"Jonathan","phone":"1"} base=0
      crm:u4 accepted: taken: name
        conflict name: base "Jon", ours "John" (erp), theirs "Jonathan" → theirs (latest)
      = <person 1> v3 {"email":"ann@x.org","name":"Jonathan","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 2 {"email":"ann@x.org","id":"c1","name":"Jonathan","phone":"1"} changed: name
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","name":"Jonathan","phone":"1"} changed: name
    "#);
}

#[test]
fn s12_the_same_from_a_system_that_says_nothing() {
    let mut scene = ann(PEOPLE);
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "John", "phone": "1"}));
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jonathan", "phone": "1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp person e1 {"email":"ann@x.org","name":"John","phone":"1"}
      erp:u3 accepted: taken: name
      = <person 1> v2 {"email":"ann@x.org","name":"John","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","name":"John","phone":"1"} changed: name
    u4 crm person c1 {"email":"ann@x.org","name":"Jonathan","phone":"1"}
      crm:u4 accepted: taken: name
        conflict name: base assumed, ours "John" (erp), theirs "Jonathan" → theirs (latest)
      = <person 1> v3 {"email":"ann@x.org","name":"Jonathan","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 2 {"email":"ann@x.org","id":"c1","name":"Jonathan","phone":"1"} changed: name
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","name":"Jonathan","phone":"1"} changed: name
    "#);
}

#[test]
fn s13_an_echo_sends_nothing() {
    let mut scene = ann(PEOPLE);
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "John", "phone": "1"}));
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "John", "phone": "1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp person e1 {"email":"ann@x.org","name":"John","phone":"1"}
      erp:u3 accepted: taken: name
      = <person 1> v2 {"email":"ann@x.org","name":"John","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","name":"John","phone":"1"} changed: name
    u4 crm person c1 {"email":"ann@x.org","name":"John","phone":"1"}
      crm:u4 echo: crm says back what it was sent
    "#);
}

#[test]
fn s14_a_second_edit_by_the_same_source_a_second_later() {
    let mut scene = ann(PEOPLE);
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "John", "phone": "1"}));
    scene.wait(SECOND);
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "Johnny", "phone": "1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp person e1 {"email":"ann@x.org","name":"John","phone":"1"}
      erp:u3 accepted: taken: name
      = <person 1> v2 {"email":"ann@x.org","name":"John","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","name":"John","phone":"1"} changed: name
    … 1s later
    u4 erp person e1 {"email":"ann@x.org","name":"Johnny","phone":"1"}
      erp:u4 accepted: taken: name
      = <person 1> v3 {"email":"ann@x.org","name":"Johnny","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 2 {"email":"ann@x.org","id":"c1","name":"Johnny","phone":"1"} changed: name
    "#);
}

#[test]
fn s15_back_to_the_old_value_told_apart_by_base() {
    let mut scene = ann(PEOPLE);
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "John", "phone": "1"}));
    scene.send(whole("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon", "phone": "1"})).base(0));
    scene.send(whole("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon", "phone": "1"})).base(1));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp person e1 {"email":"ann@x.org","name":"John","phone":"1"}
      erp:u3 accepted: taken: name
      = <person 1> v2 {"email":"ann@x.org","name":"John","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","name":"John","phone":"1"} changed: name
    u4 crm person c1 {"email":"ann@x.org","name":"Jon","phone":"1"} base=0
      crm:u4 unchanged: not applied: name 'Jon', had not seen rev 1
    u5 crm person c1 {"email":"ann@x.org","name":"Jon","phone":"1"} base=1
      crm:u5 accepted: taken: name
      = <person 1> v3 {"email":"ann@x.org","name":"Jon","phone":"1"} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","name":"Jon","phone":"1"} changed: name
    "#);
}

#[test]
fn s15_back_to_the_old_value_told_apart_by_the_receipts_place() {
    let mut scene = ann(&PEOPLE.replace("[systems.crm.", "[systems.crm]\nreceipts = \"required\"\n[systems.crm."));
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "John", "phone": "1"}));
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon", "phone": "1"}));
    scene.applies("crm", "c1");
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon", "phone": "1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp person e1 {"email":"ann@x.org","name":"John","phone":"1"}
      erp:u3 accepted: taken: name
      = <person 1> v2 {"email":"ann@x.org","name":"John","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","name":"John","phone":"1"} changed: name
    u4 crm person c1 {"email":"ann@x.org","name":"Jon","phone":"1"}
      crm:u4 unchanged: not applied: name 'Jon', had not seen rev 1
    u5 crm receipt person c1 canonical_id=<person 1> rev=1 status=applied
      crm:u5 unchanged: crm applied rev 1
    u6 crm person c1 {"email":"ann@x.org","name":"Jon","phone":"1"}
      crm:u6 accepted: taken: name
      = <person 1> v3 {"email":"ann@x.org","name":"Jon","phone":"1"} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","name":"Jon","phone":"1"} changed: name
    "#);
}

#[test]
fn s15_back_to_the_old_value_told_apart_by_the_window() {
    let mut scene = ann(PEOPLE);
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "John", "phone": "1"}));
    scene.wait(SECOND);
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon", "phone": "1"}));
    scene.wait(10 * SECOND);
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon", "phone": "1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp person e1 {"email":"ann@x.org","name":"John","phone":"1"}
      erp:u3 accepted: taken: name
      = <person 1> v2 {"email":"ann@x.org","name":"John","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","name":"John","phone":"1"} changed: name
    … 1s later
    u4 crm person c1 {"email":"ann@x.org","name":"Jon","phone":"1"}
      crm:u4 unchanged: not applied: name 'Jon', had not seen rev 1
      → crm: update person c1 rev 2 {"email":"ann@x.org","id":"c1","name":"John","phone":"1"} changed: name
    … 10s later
    u5 crm person c1 {"email":"ann@x.org","name":"Jon","phone":"1"}
      crm:u5 accepted: taken: name
        conflict name: base assumed, ours "John" (erp), theirs "Jon" → theirs (latest)
      = <person 1> v3 {"email":"ann@x.org","name":"Jon","phone":"1"} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","name":"Jon","phone":"1"} changed: name
    "#);
}

#[test]
fn s16_an_edit_that_crosses_our_send() {
    let mut scene = ann(&PEOPLE.replace("[systems.crm.", "[systems.crm]\nreceipts = \"required\"\n[systems.crm."));
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "John", "phone": "1"}));
    // A user edits the name before the send is applied; then the send is applied on top of it.
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jonas", "phone": "1"}));
    scene.applies("crm", "c1");
    scene.applies("crm", "c1");
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jonas", "phone": "1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp person e1 {"email":"ann@x.org","name":"John","phone":"1"}
      erp:u3 accepted: taken: name
      = <person 1> v2 {"email":"ann@x.org","name":"John","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","name":"John","phone":"1"} changed: name
    u4 crm person c1 {"email":"ann@x.org","name":"Jonas","phone":"1"}
      crm:u4 accepted: taken: name
        conflict name: base "Jon", ours "John" (erp), theirs "Jonas" → theirs (latest)
      = <person 1> v3 {"email":"ann@x.org","name":"Jonas","phone":"1"} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","name":"Jonas","phone":"1"} changed: name
    u5 crm receipt person c1 canonical_id=<person 1> rev=1 status=applied
      crm:u5 unchanged: crm applied rev 1
      → crm: update person c1 rev 2 {"email":"ann@x.org","id":"c1","name":"Jonas","phone":"1"} changed: name
    u6 crm receipt person c1 canonical_id=<person 1> rev=2 status=applied
      crm:u6 unchanged: crm applied rev 2
    u7 crm person c1 {"email":"ann@x.org","name":"Jonas","phone":"1"}
      crm:u7 echo: crm says back what it was sent
    "#);
}

#[test]
fn s17_null_clears_and_absent_leaves() {
    let mut scene = ann(PEOPLE);
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon"}));
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon", "phone": null}));
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon", "phone": null, "fax": null}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 crm person c1 {"email":"ann@x.org","name":"Jon"}
      crm:u3 unchanged: it says nothing new
    u4 crm person c1 {"email":"ann@x.org","name":"Jon","phone":null}
      crm:u4 accepted: taken: phone
      = <person 1> v2 {"email":"ann@x.org","name":"Jon","phone":null} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","name":"Jon","phone":null} changed: phone
    u5 crm person c1 {"email":"ann@x.org","fax":null,"name":"Jon","phone":null}
      crm:u5 unchanged: it says nothing new
    "#);
}

#[test]
fn s17_absent_clears_where_the_system_means_it() {
    let mut scene = ann(&PEOPLE.replace("[systems.crm.", "[systems.crm]\nabsent = \"clear\"\n[systems.crm."));
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "name": "Jon", "phone": "1", "city": "Bern"}));
    scene.send(whole("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon"})).base(0));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 erp person e1 {"city":"Bern","email":"ann@x.org","name":"Jon","phone":"1"}
      erp:u3 accepted: taken: city
      = <person 1> v2 {"city":"Bern","email":"ann@x.org","name":"Jon","phone":"1"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"city":"Bern","email":"ann@x.org","id":"c1","name":"Jon","phone":"1"} changed: city
    u4 crm person c1 {"email":"ann@x.org","name":"Jon"} base=0
      crm:u4 accepted: taken: phone
      = <person 1> v3 {"city":"Bern","email":"ann@x.org","name":"Jon","phone":null} [crm c1, erp e1]
      → crm: update person c1 rev 2 {"city":"Bern","email":"ann@x.org","id":"c1","name":"Jon","phone":null} changed: phone
      → erp: update person e1 rev 1 {"city":"Bern","email":"ann@x.org","id":"e1","name":"Jon","phone":null} changed: phone
    "#);
}

#[test]
fn s18_values_come_out_as_they_went_in() {
    let mut scene = Scene::with(
        "[orchestration]\npush_updates = true\n[entities.thing]\nkeys = [{ fields = [\"k\"] }]\n[systems.a]\n[systems.b.entities.thing]",
    )
    .start();
    let odd = r#"{"k":"1","int":1,"float":1.0,"big":9007199254740993,"max":18446744073709551615,"min":-9223372036854775808,"minus":-0.0,"tiny":5e-324,"third":0.1,
        "yes":true,"no":false,"nested":{"a":{"b":[]},"empty":{}},"list":[1,"x",null,{"y":[1.50]}],"text":"","emoji":"🙂é\u0000","$set":{"$a":1},"a.b":"dotted","a":{"b":"nested"},"back\\slash":1,"u\u0301":"not the same as ú"}"#;
    scene.raw(format!(r#"{{"id":"u1","system":"a","type":"thing","native_id":"a1","entity":{odd}}}"#).as_bytes());
    scene.raw(format!(r#"{{"id":"u2","system":"a","type":"thing","native_id":"a1","entity":{odd}}}"#).as_bytes());
    // Other spellings of the same numbers are no change.
    let same = odd.replace("\"int\":1,", "\"int\":1.0,").replace("-0.0", "0");
    scene.raw(format!(r#"{{"id":"u3","system":"a","type":"thing","native_id":"a1","entity":{same}}}"#).as_bytes());
    // One that a double can't tell apart is one.
    let other = odd.replace("9007199254740993", "9007199254740992");
    scene.raw(format!(r#"{{"id":"u4","system":"a","type":"thing","native_id":"a1","entity":{other}}}"#).as_bytes());
    insta::assert_snapshot!(scene.story(), @r#"
    {"id":"u1","system":"a","type":"thing","native_id":"a1","entity":{"k":"1","int":1,"float":1.0,"big":… (440 bytes)
      a:u1 accepted: a new record from a
      = <thing 1> v1 {"$set":{"$a":1},"a":{"b":"nested"},"a.b":"dotted","back\\slash":1,"big":9007199254740993,"emoji":"🙂é\u0000","float":1.0,"int":1,"k":"1","list":[1,"x",null,{"y":[1.5]}],"max":18446744073709551615,"min":-9223372036854775808,"minus":-0.0,"nested":{"a":{"b":[]},"empty":{}},"no":false,"text":"","third":0.1,"tiny":5e-324,"ú":"not the same as ú","yes":true} [a a1, b (open create)]
      → b: create thing - rev 1 {"$set":{"$a":1},"a":{"b":"nested"},"a.b":"dotted","back\\slash":1,"big":9007199254740993,"emoji":"🙂é\u0000","float":1.0,"int":1,"k":"1","list":[1,"x",null,{"y":[1.5]}],"max":18446744073709551615,"min":-9223372036854775808,"minus":-0.0,"nested":{"a":{"b":[]},"empty":{}},"no":false,"text":"","third":0.1,"tiny":5e-324,"ú":"not the same as ú","yes":true} changed: $set.$a, a.b, a\.b, back\\slash, big, emoji, float, int, k, list, max, min, minus, nested.a.b, nested.empty, no, text, third, tiny, ú, yes
    {"id":"u2","system":"a","type":"thing","native_id":"a1","entity":{"k":"1","int":1,"float":1.0,"big":… (440 bytes)
      a:u2 unchanged: it says nothing new
    {"id":"u3","system":"a","type":"thing","native_id":"a1","entity":{"k":"1","int":1.0,"float":1.0,"big… (439 bytes)
      a:u3 unchanged: it says nothing new
    {"id":"u4","system":"a","type":"thing","native_id":"a1","entity":{"k":"1","int":1,"float":1.0,"big":… (440 bytes)
      a:u4 accepted: taken: big
      = <thing 1> v2 {"$set":{"$a":1},"a":{"b":"nested"},"a.b":"dotted","back\\slash":1,"big":9007199254740992,"emoji":"🙂é\u0000","float":1.0,"int":1,"k":"1","list":[1,"x",null,{"y":[1.5]}],"max":18446744073709551615,"min":-9223372036854775808,"minus":-0.0,"nested":{"a":{"b":[]},"empty":{}},"no":false,"text":"","third":0.1,"tiny":5e-324,"ú":"not the same as ú","yes":true} [a a1, b (open create)]
      → b: create thing - rev 2 {"$set":{"$a":1},"a":{"b":"nested"},"a.b":"dotted","back\\slash":1,"big":9007199254740992,"emoji":"🙂é\u0000","float":1.0,"int":1,"k":"1","list":[1,"x",null,{"y":[1.5]}],"max":18446744073709551615,"min":-9223372036854775808,"minus":-0.0,"nested":{"a":{"b":[]},"empty":{}},"no":false,"text":"","third":0.1,"tiny":5e-324,"ú":"not the same as ú","yes":true} changed: big
    "#);
}

#[test]
fn s19_nested_fields_edited_on_two_sides_are_both_kept() {
    let mut scene = Scene::with(PEOPLE).start();
    let address = |city: &str, zip: &str| json!({"email": "ann@x.org", "address": {"city": city, "zip": zip}});
    scene.says("crm", "person", "c1", address("Bern", "3000"));
    scene.says("erp", "person", "e1", address("Bern", "3000"));
    scene.skip_ahead();
    scene.send(whole("crm", "person", "c1", address("Basel", "3000")).base(0));
    scene.send(whole("erp", "person", "e1", address("Bern", "4000")).base(0));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 crm person c1 {"address":{"city":"Basel","zip":"3000"},"email":"ann@x.org"} base=0
      crm:u3 accepted: taken: address.city
      = <person 1> v2 {"address":{"city":"Basel","zip":"3000"},"email":"ann@x.org"} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"address":{"city":"Basel","zip":"3000"},"email":"ann@x.org","id":"e1"} changed: address.city
    u4 erp person e1 {"address":{"city":"Bern","zip":"4000"},"email":"ann@x.org"} base=0
      erp:u4 accepted: taken: address.zip; not applied: address.city 'Bern', had not seen rev 1
      = <person 1> v3 {"address":{"city":"Basel","zip":"4000"},"email":"ann@x.org"} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"address":{"city":"Basel","zip":"4000"},"email":"ann@x.org","id":"c1"} changed: address.zip
      → erp: update person e1 rev 2 {"address":{"city":"Basel","zip":"4000"},"email":"ann@x.org","id":"e1"} changed: address.zip
    "#);
}

#[derive(Serialize, Deserialize)]
struct Person {
    email: String,
    name: String,
}

#[test]
fn s20_a_typed_handler_that_does_not_know_a_field() {
    let shout = |proposed: &mut Person, _: Option<&Person>, _: &UpdateMeta| {
        proposed.name = proposed.name.to_uppercase();
        Verdict::accept("names are shouted")
    };
    let mut scene = Scene::with(PEOPLE).handler("person", shout).start();
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "name": "Jon", "shoe": {"size": 42}, "hat": null}));
    scene.send(patch("crm", "person", "c1", json!({"shoe": {"size": 43}})));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"email":"ann@x.org","hat":null,"name":"Jon","shoe":{"size":42}}
      crm:u1 partially_accepted: names are shouted; a new record from crm; name becomes 'JON' (handler person) | by Handler person | modified_fields: name
      = <person 1> v1 {"email":"ann@x.org","hat":null,"name":"JON","shoe":{"size":42}} [crm c1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","hat":null,"id":"c1","name":"JON","shoe":{"size":42}} changed: name
    u2 crm patch person c1 {"shoe":{"size":43}}
      crm:u2 accepted: names are shouted; taken: shoe.size | by Handler person
        conflict shoe.size: base assumed, ours 42 (crm), theirs 43 → theirs (latest)
      = <person 1> v2 {"email":"ann@x.org","hat":null,"name":"JON","shoe":{"size":43}} [crm c1]
      → crm: update person c1 rev 2 {"email":"ann@x.org","hat":null,"id":"c1","name":"JON","shoe":{"size":43}} changed: shoe.size
    "#);
}

#[test]
fn sets_merge_element_by_element() {
    let mut scene = Scene::with(&PEOPLE.replace("keys =", "sets = [\"tags\"]\nkeys =")).start();
    let tags = |tags: serde_json::Value| json!({"email": "ann@x.org", "tags": tags});
    scene.says("crm", "person", "c1", tags(json!(["a", "b"])));
    scene.says("erp", "person", "e1", tags(json!(["b", "a"])));
    scene.send(whole("crm", "person", "c1", tags(json!(["a", "b", "c"]))).base(0));
    scene.send(whole("erp", "person", "e1", tags(json!(["d", "b"]))).base(0));
    // Another order is the same set.
    scene.send(whole("erp", "person", "e1", tags(json!(["c", "d", "b"]))).base(1));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"email":"ann@x.org","tags":["a","b"]}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"email":"ann@x.org","tags":["a","b"]} [crm c1]
    u2 erp person e1 {"email":"ann@x.org","tags":["b","a"]}
      erp:u2 unchanged: the same thing as in crm: erp joins it; agreed already: tags
        conflict tags: base none, ours ["a","b"] (crm), theirs ["b","a"] → ours (first_contact: fill)
      = <person 1> v1 {"email":"ann@x.org","tags":["a","b"]} [crm c1, erp e1]
    u3 crm person c1 {"email":"ann@x.org","tags":["a","b","c"]} base=0
      crm:u3 accepted: taken: tags
      = <person 1> v2 {"email":"ann@x.org","tags":["a","b","c"]} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","tags":["a","b","c"]} changed: tags
    u4 erp person e1 {"email":"ann@x.org","tags":["d","b"]} base=0
      erp:u4 accepted: taken: tags
        conflict tags: base ["b","a"], ours ["a","b","c"] (crm), theirs ["b","c","d"] → theirs (latest)
      = <person 1> v3 {"email":"ann@x.org","tags":["b","c","d"]} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","tags":["b","c","d"]} changed: tags
      → erp: update person e1 rev 2 {"email":"ann@x.org","id":"e1","tags":["b","c","d"]} changed: tags
    u5 erp person e1 {"email":"ann@x.org","tags":["c","d","b"]} base=1
      erp:u5 accepted: taken: tags
      = <person 1> v4 {"email":"ann@x.org","tags":["c","d","b"]} [crm c1, erp e1]
    "#);
}

#[test]
fn arrays_are_whole_values() {
    let mut scene = Scene::with(PEOPLE).start();
    let tags = |tags: serde_json::Value| json!({"email": "ann@x.org", "tags": tags});
    scene.says("crm", "person", "c1", tags(json!(["a"])));
    scene.says("erp", "person", "e1", tags(json!(["a"])));
    scene.skip_ahead();
    scene.send(whole("crm", "person", "c1", tags(json!(["a", "b"]))).base(0));
    scene.send(whole("erp", "person", "e1", tags(json!(["a", "c"]))).base(0));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 crm person c1 {"email":"ann@x.org","tags":["a","b"]} base=0
      crm:u3 accepted: taken: tags
      = <person 1> v2 {"email":"ann@x.org","tags":["a","b"]} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","tags":["a","b"]} changed: tags
    u4 erp person e1 {"email":"ann@x.org","tags":["a","c"]} base=0
      erp:u4 accepted: taken: tags
        conflict tags: base ["a"], ours ["a","b"] (crm), theirs ["a","c"] → theirs (latest)
      = <person 1> v3 {"email":"ann@x.org","tags":["a","c"]} [crm c1, erp e1]
      → crm: update person c1 rev 1 {"email":"ann@x.org","id":"c1","tags":["a","c"]} changed: tags
      → erp: update person e1 rev 2 {"email":"ann@x.org","id":"e1","tags":["a","c"]} changed: tags
    "#);
}

#[test]
fn an_old_copy_is_known_by_its_seq() {
    let mut scene = ann(PEOPLE);
    let named = |name: &str| whole("crm", "person", "c1", json!({"email": "ann@x.org", "name": name, "phone": "1"}));
    scene.send(named("Anna").seq(7));
    scene.send(named("Jon").seq(6));
    scene.send(named("Annabel").seq(7));
    scene.send(named("Anni").seq(1).with("seq_epoch", "reinstalled"));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 crm person c1 {"email":"ann@x.org","name":"Anna","phone":"1"} seq=7
      crm:u3 accepted: taken: name
      = <person 1> v2 {"email":"ann@x.org","name":"Anna","phone":"1"} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","name":"Anna","phone":"1"} changed: name
    u4 crm person c1 {"email":"ann@x.org","name":"Jon","phone":"1"} seq=6
      crm:u4 unchanged: an old copy: seq 6 is not after 7, the last one seen
    u5 crm person c1 {"email":"ann@x.org","name":"Annabel","phone":"1"} seq=7
      dead letter crm:u5 seq_conflict: seq 7 of crm:person:c1 came before with other content; number every change of a record anew
    u6 crm person c1 {"email":"ann@x.org","name":"Anni","phone":"1"} seq=1 seq_epoch=reinstalled
      crm:u6 accepted: taken: name
      = <person 1> v3 {"email":"ann@x.org","name":"Anni","phone":"1"} [crm c1, erp e1]
      → erp: update person e1 rev 2 {"email":"ann@x.org","id":"e1","name":"Anni","phone":"1"} changed: name
    "#);
}

#[test]
fn a_patch_says_only_what_it_says() {
    let mut scene = ann(PEOPLE);
    scene.send(patch("crm", "person", "c1", json!({"phone": "2"})));
    scene.send(patch("crm", "person", "c1", json!({"phone": null})));
    scene.send(patch("crm", "person", "c1", json!({})));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 crm patch person c1 {"phone":"2"}
      crm:u3 accepted: taken: phone
      = <person 1> v2 {"email":"ann@x.org","name":"Jon","phone":"2"} [crm c1, erp e1]
      → erp: update person e1 rev 1 {"email":"ann@x.org","id":"e1","name":"Jon","phone":"2"} changed: phone
    u4 crm patch person c1 {"phone":null}
      crm:u4 accepted: taken: phone
      = <person 1> v3 {"email":"ann@x.org","name":"Jon","phone":null} [crm c1, erp e1]
      → erp: update person e1 rev 2 {"email":"ann@x.org","id":"e1","name":"Jon","phone":null} changed: phone
    u5 crm patch person c1 {}
      crm:u5 unchanged: it says nothing new
    "#);
}
