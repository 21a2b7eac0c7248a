//! Which canonical record is this?

use serde_json::json;

use crate::support::{Scene, patch, whole};

/// BMS and OEM both know devices by serial.
const DEVICES: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"], normalize = ["trim", "lowercase"], ignore = ["n/a"] }]
[systems.bms]
[systems.oem]
[systems.oem.entities.device]
create = false
[systems.bms.entities.device]
create = false
"#;

/// People, known by e-mail or phone.
const PEOPLE: &str = r#"
[entities.person]
keys = [{ fields = ["email"], normalize = ["lowercase"] }, { fields = ["phone"], normalize = ["digits"] }, { fields = ["badges"] }]
[systems.crm]
[systems.erp]
[systems.hr]
"#;

#[test]
fn s01_one_serial_two_ids_one_canonical_record() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "Air handler"}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1", "name": "Air handler", "model": "AH-7"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"name":"Air handler","serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"name":"Air handler","serial":"SN-1"} [bms bmsD1]
    u2 oem device oemD1 {"model":"AH-7","name":"Air handler","serial":"SN-1"}
      oem:u2 accepted: the same thing as in bms: oem joins it; taken: model
      = <device 1> v2 {"model":"AH-7","name":"Air handler","serial":"SN-1"} [bms bmsD1, oem oemD1]
      → bms: update device bmsD1 rev 1 {"id":"bmsD1","model":"AH-7","name":"Air handler","serial":"SN-1"} changed: model
    "#);
}

#[test]
fn s02_the_same_pair_again_changes_nothing() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "Air handler"}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1", "name": "Air handler"}));
    scene.skip_ahead();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "Air handler"}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1", "name": "Air handler"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device bmsD1 {"name":"Air handler","serial":"SN-1"}
      bms:u3 unchanged: it says nothing new
    u4 oem device oemD1 {"name":"Air handler","serial":"SN-1"}
      oem:u4 unchanged: it says nothing new
    "#);
}

#[test]
fn s03_email_then_email_and_phone_then_phone_is_one_person() {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c1", json!({"email": "Ann@x.org"}));
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "phone": "555-1234"}));
    scene.says("hr", "person", "h1", json!({"phone": "5551234"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"email":"Ann@x.org"}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"email":"Ann@x.org"} [crm c1]
    u2 erp person e1 {"email":"ann@x.org","phone":"555-1234"}
      erp:u2 partially_accepted: the same thing as in crm: erp joins it; taken: phone; email stays 'Ann@x.org' from crm (first_contact: fill) | by Rule first_contact: fill | modified_fields: email
        conflict email: base none, ours "Ann@x.org" (crm), theirs "ann@x.org" → ours (first_contact: fill)
      = <person 1> v2 {"email":"Ann@x.org","phone":"555-1234"} [crm c1, erp e1]
    u3 hr person h1 {"phone":"5551234"}
      hr:u3 dropped: the same thing as in crm and erp: hr joins it; phone stays '555-1234' from erp (first_contact: fill) | by Rule first_contact: fill | modified_fields: phone
        conflict phone: base none, ours "555-1234" (erp), theirs "5551234" → ours (first_contact: fill)
      = <person 1> v2 {"email":"Ann@x.org","phone":"555-1234"} [crm c1, erp e1, hr h1]
    "#);
}

#[test]
fn s03_one_system_adds_a_key_and_then_leaves_the_other_out() {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org"}));
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org", "phone": "5551234"}));
    scene.says("crm", "person", "c1", json!({"phone": "5551234"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"email":"ann@x.org"}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"email":"ann@x.org"} [crm c1]
    u2 crm person c1 {"email":"ann@x.org","phone":"5551234"}
      crm:u2 accepted: taken: phone
      = <person 1> v2 {"email":"ann@x.org","phone":"5551234"} [crm c1]
    u3 crm person c1 {"phone":"5551234"}
      crm:u3 unchanged: it says nothing new
    "#);
}

#[test]
fn s04_ones_email_and_anothers_phone_is_a_collision() {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org"}));
    scene.says("crm", "person", "c2", json!({"phone": "5551234"}));
    scene.says("erp", "person", "e1", json!({"email": "ann@x.org", "phone": "5551234"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"email":"ann@x.org"}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"email":"ann@x.org"} [crm c1]
    u2 crm person c2 {"phone":"5551234"}
      crm:u2 accepted: a new record from crm
      = <person 2> v1 {"phone":"5551234"} [crm c2]
    u3 erp person e1 {"email":"ann@x.org","phone":"5551234"}
      erp:u3 parked (match_collision): its key values belong to different records (email "ann@x.org" and phone "5551234"): <person 1> and <person 2>; merge them or correct a key
    "#);
}

#[test]
fn s04_a_linked_record_takes_on_anothers_key() {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c1", json!({"email": "ann@x.org"}));
    scene.says("crm", "person", "c2", json!({"email": "bob@x.org"}));
    scene.says("crm", "person", "c2", json!({"email": "ann@x.org", "city": "Bern"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"email":"ann@x.org"}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"email":"ann@x.org"} [crm c1]
    u2 crm person c2 {"email":"bob@x.org"}
      crm:u2 accepted: a new record from crm
      = <person 2> v1 {"email":"bob@x.org"} [crm c2]
    u3 crm person c2 {"city":"Bern","email":"ann@x.org"}
      crm:u3 parked (match_collision): its key values belong to different records (email "ann@x.org"): <person 2> and <person 1>; merge them or correct a key
    "#);
}

#[test]
fn s05_two_elements_of_an_array_key_lead_to_two_records() {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c1", json!({"badges": ["7", "8"]}));
    scene.says("crm", "person", "c2", json!({"badges": ["9"]}));
    scene.says("erp", "person", "e1", json!({"badges": ["8", "9"]}));
    scene.says("hr", "person", "h1", json!({"badges": ["8", "10"]}));
    // What hr holds leads to it, too.
    scene.says("erp", "person", "e2", json!({"badges": ["10"]}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"badges":["7","8"]}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"badges":["7","8"]} [crm c1]
    u2 crm person c2 {"badges":["9"]}
      crm:u2 accepted: a new record from crm
      = <person 2> v1 {"badges":["9"]} [crm c2]
    u3 erp person e1 {"badges":["8","9"]}
      erp:u3 parked (match_collision): its key values belong to different records (badges "8" and badges "9"): <person 1> and <person 2>; merge them or correct a key
    u4 hr person h1 {"badges":["8","10"]}
      hr:u4 dropped: the same thing as in crm: hr joins it; badges stays ["7","8"] from crm (first_contact: fill) | by Rule first_contact: fill | modified_fields: badges
        conflict badges: base none, ours ["7","8"] (crm), theirs ["8","10"] → ours (first_contact: fill)
      = <person 1> v1 {"badges":["7","8"]} [crm c1, hr h1]
    u5 erp person e2 {"badges":["10"]}
      erp:u5 dropped: the same thing as in crm and hr: erp joins it; badges stays ["7","8"] from crm (first_contact: fill) | by Rule first_contact: fill | modified_fields: badges
        conflict badges: base none, ours ["7","8"] (crm), theirs ["10"] → ours (first_contact: fill)
      = <person 1> v1 {"badges":["7","8"]} [crm c1, hr h1, erp e2]
    "#);
}

#[test]
fn s06_a_required_key_is_missing() {
    let mut scene = Scene::with("[entities.device]\nkeys = [{ fields = [\"serial\"], ignore = [\"n/a\"] }]\nkey_required = true").start();
    scene.says("bms", "device", "d1", json!({"name": "no serial"}));
    scene.says("bms", "device", "d2", json!({"name": "null", "serial": null}));
    scene.says("bms", "device", "d3", json!({"name": "ignored", "serial": "n/a"}));
    scene.says("bms", "device", "d1", json!({"name": "with one", "serial": "SN-1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device d1 {"name":"no serial"}
      bms:u1 parked (no_identity): it has none of the key fields that are required to know what it is
    u2 bms device d2 {"name":"null","serial":null}
      bms:u2 parked (no_identity): it has none of the key fields that are required to know what it is
    u3 bms device d3 {"name":"ignored","serial":"n/a"}
      bms:u3 parked (no_identity): it has none of the key fields that are required to know what it is
    u4 bms device d1 {"name":"with one","serial":"SN-1"}
      bms:u1 superseded: overtaken by bms:u4, a newer record of the same; until then: it has none of the key fields that are required to know what it is
      bms:u4 accepted: a new record from bms
      = <device 1> v1 {"name":"with one","serial":"SN-1"} [bms d1]
    "#);
}

#[test]
fn s07_normalised_keys_are_the_same_thing() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": " sn-1 "}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "N/A"}));
    scene.says("oem", "device", "oemD2", json!({"serial": "n/a "}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"serial":" sn-1 "}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":" sn-1 "} [bms bmsD1]
    u2 oem device oemD1 {"serial":"SN-1"}
      oem:u2 dropped: the same thing as in bms: oem joins it; serial stays ' sn-1 ' from bms (first_contact: fill) | by Rule first_contact: fill | modified_fields: serial
        conflict serial: base none, ours " sn-1 " (bms), theirs "SN-1" → ours (first_contact: fill)
      = <device 1> v1 {"serial":" sn-1 "} [bms bmsD1, oem oemD1]
      → oem: update device oemD1 rev 1 {"id":"oemD1","serial":" sn-1 "} changed: serial
    u3 bms device bmsD2 {"serial":"N/A"}
      bms:u3 accepted: a new record from bms
      = <device 2> v1 {"serial":"N/A"} [bms bmsD2]
    u4 oem device oemD2 {"serial":"n/a "}
      oem:u4 accepted: a new record from oem
      = <device 3> v1 {"serial":"n/a "} [oem oemD2]
    "#);
}

#[test]
fn s08_an_email_that_looks_like_a_phone_is_no_collision() {
    let mut scene = Scene::with(PEOPLE).start();
    scene.says("crm", "person", "c1", json!({"phone": "5551234"}));
    scene.says("erp", "person", "e1", json!({"email": "5551234"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm person c1 {"phone":"5551234"}
      crm:u1 accepted: a new record from crm
      = <person 1> v1 {"phone":"5551234"} [crm c1]
    u2 erp person e1 {"email":"5551234"}
      erp:u2 accepted: a new record from erp
      = <person 2> v1 {"email":"5551234"} [erp e1]
    "#);
}

#[test]
fn s09_two_orchestrators_meet_one_new_key_at_once() {
    if !Scene::by_hand() {
        return;
    }
    let mut scene = Scene::with(DEVICES).two_orchestrators().start();
    scene.race(
        whole("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "from bms"})),
        whole("oem", "device", "oemD1", json!({"serial": "SN-1", "model": "AH-7"})),
    );
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"name":"from bms","serial":"SN-1"}
    u2 oem device oemD1 {"model":"AH-7","serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"name":"from bms","serial":"SN-1"} [bms bmsD1]
      oem:u2 accepted: the same thing as in bms: oem joins it; taken: model
      = <device 1> v2 {"model":"AH-7","name":"from bms","serial":"SN-1"} [bms bmsD1, oem oemD1]
      → bms: update device bmsD1 rev 1 {"id":"bmsD1","model":"AH-7","name":"from bms","serial":"SN-1"} changed: model
      → oem: update device oemD1 rev 1 {"id":"oemD1","model":"AH-7","name":"from bms","serial":"SN-1"} changed: name
    "#);
}

#[test]
fn a_link_another_orchestrator_made_meanwhile_is_no_duplicate() {
    if !Scene::by_hand() {
        return;
    }
    let config = format!("{DEVICES}[entities.sensor]\nreferences = {{ device_id = \"device\" }}\n");
    let mut scene = Scene::with(&config).two_orchestrators().start();
    // The second one looks for the device for its sensor's sake; before it goes on, the first one links it.
    scene.decide_only(1, whole("bms", "sensor", "bmsS1", json!({"device_id": "bmsD1"})));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.decide_only(1, whole("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "AHU"})));
    scene.commit_only(1);
    scene.wait(std::time::Duration::from_secs(1));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms sensor bmsS1 {"device_id":"bmsD1"}
    u2 bms device bmsD1 {"serial":"SN-1"}
      bms:u2 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
    u3 bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsD1 (device_id), not known yet
      bms:u3 accepted: taken: name
      = <device 1> v2 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
    … 1s later
      bms:u1 accepted: a new record from bms | attempt 2
      = <sensor 1> v1 {"device_id":"<device 1>"} [bms bmsS1]
    "#);
}

#[test]
fn a_patch_of_a_record_another_orchestrator_has_just_linked() {
    if !Scene::by_hand() {
        return;
    }
    let config = format!("{DEVICES}[entities.sensor]\nreferences = {{ device_id = \"device\" }}\n");
    let mut scene = Scene::with(&config).two_orchestrators().start();
    scene.decide_only(1, whole("bms", "sensor", "bmsS1", json!({"device_id": "bmsD1"})));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.decide_only(1, patch("bms", "device", "bmsD1", json!({"name": "AHU"})));
    scene.commit_only(1);
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms sensor bmsS1 {"device_id":"bmsD1"}
    u2 bms device bmsD1 {"serial":"SN-1"}
      bms:u2 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
    u3 bms patch device bmsD1 {"name":"AHU"}
      bms:u1 parked (missing_reference): waiting for bms's device bmsD1 (device_id), not known yet
      bms:u3 accepted: taken: name
      = <device 1> v2 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
    "#);
}

#[test]
fn s36b_two_records_of_one_system_with_one_serial() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "first"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-1", "name": "second"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"name":"first","serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"name":"first","serial":"SN-1"} [bms bmsD1]
    u2 bms device bmsD2 {"name":"second","serial":"SN-1"}
      bms:u2 parked (duplicate_in_system): its key leads to record <device 1>, which this system already knows as bmsD1; one of the two is a duplicate there
    "#);
}

#[test]
fn s36b_two_records_of_one_system_with_one_serial_may_be_two_things() {
    let mut scene = Scene::with(&DEVICES.replace("[entities.device]", "[entities.device]\nduplicates = \"separate\"")).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "first"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-1", "name": "second"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-1", "name": "second, renamed"}));
    // The key leads to the first, until that lets go of it.
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1", "name": "first"}));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-9", "name": "first"}));
    scene.applies("oem", "oemD1");
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-9", "name": "first"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-1", "name": "second"}));
    scene.says("oem", "device", "oemD2", json!({"serial": "SN-1", "name": "second"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"name":"first","serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"name":"first","serial":"SN-1"} [bms bmsD1]
    u2 bms device bmsD2 {"name":"second","serial":"SN-1"}
      bms:u2 accepted: a new record from bms
      = <device 2> v1 {"name":"second","serial":"SN-1"} [bms bmsD2]
    u3 bms device bmsD2 {"name":"second, renamed","serial":"SN-1"}
      bms:u3 accepted: taken: name
      = <device 2> v2 {"name":"second, renamed","serial":"SN-1"} [bms bmsD2]
    u4 oem device oemD1 {"name":"first","serial":"SN-1"}
      oem:u4 unchanged: the same thing as in bms: a new link, nothing new in it
      = <device 1> v1 {"name":"first","serial":"SN-1"} [bms bmsD1, oem oemD1]
    u5 bms device bmsD1 {"name":"first","serial":"SN-9"}
      bms:u5 accepted: taken: serial
      = <device 1> v2 {"name":"first","serial":"SN-9"} [bms bmsD1, oem oemD1]
      → oem: update device oemD1 rev 1 {"id":"oemD1","name":"first","serial":"SN-9"} changed: serial
    u6 oem receipt device oemD1 canonical_id=<device 1> rev=1 status=applied
      oem:u6 unchanged: oem applied rev 1
    u7 oem device oemD1 {"name":"first","serial":"SN-9"}
      oem:u7 echo: oem says back what it was sent
    u8 bms device bmsD2 {"name":"second","serial":"SN-1"}
      bms:u8 accepted: taken: name
      = <device 2> v3 {"name":"second","serial":"SN-1"} [bms bmsD2]
    u9 oem device oemD2 {"name":"second","serial":"SN-1"}
      oem:u9 unchanged: the same thing as in bms: a new link, nothing new in it
      = <device 2> v3 {"name":"second","serial":"SN-1"} [bms bmsD2, oem oemD2]
    "#);
}

/// Sites have no key: what they are is known by link only.
const SITES: &str = r#"
[orchestration]
push_updates = true
[entities.site]
[systems.bms]
[systems.oem.entities.site]
create = true
[systems.crm.entities.site]
create = false
[systems.bms.entities.site]
create = false
"#;

#[test]
fn a_canonical_id_leads_to_an_open_create() {
    let mut scene = Scene::with(SITES).start();
    scene.says("bms", "site", "bms1", json!({"name": "North"}));
    let id = scene.ask(async |store| store.list_records(None, None, 1).await)[0].record.id.to_string();
    scene.send(whole("oem", "site", "oem1", json!({"name": "North", "area": 40})).with("canonical_id", id.clone()));
    // The adapter may keep it and send it with every update; a second record that has it is a duplicate there.
    scene.send(whole("oem", "site", "oem1", json!({"name": "North", "area": 41})).with("canonical_id", id.clone()));
    scene.send(whole("oem", "site", "oem2", json!({"name": "North"})).with("canonical_id", id));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms site bms1 {"name":"North"}
      bms:u1 accepted: a new record from bms
      = <site 1> v1 {"name":"North"} [bms bms1, oem (open create)]
      → oem: create site - rev 1 {"name":"North"} changed: name
    u2 oem site oem1 {"area":40,"name":"North"} canonical_id=<site 1>
      oem:u2 accepted: oem made the record it was sent; taken: area
      = <site 1> v2 {"area":40,"name":"North"} [bms bms1, oem oem1]
      → bms: update site bms1 rev 1 {"area":40,"id":"bms1","name":"North"} changed: area
    u3 oem site oem1 {"area":41,"name":"North"} canonical_id=<site 1>
      oem:u3 accepted: taken: area
      = <site 1> v3 {"area":41,"name":"North"} [bms bms1, oem oem1]
      → bms: update site bms1 rev 2 {"area":41,"id":"bms1","name":"North"} changed: area
    u4 oem site oem2 {"name":"North"} canonical_id=<site 1>
      oem:u4 parked (duplicate_in_system): its key leads to record <site 1>, which this system already knows as oem1; one of the two is a duplicate there
    "#);
}

#[test]
fn a_canonical_id_a_system_was_never_given_leads_nowhere() {
    let mut scene = Scene::with(SITES).start();
    scene.says("bms", "site", "bms1", json!({"name": "North"}));
    let id = scene.ask(async |store| store.list_records(None, None, 1).await)[0].record.id.to_string();
    scene.skip_ahead();
    scene.send(whole("crm", "site", "crm1", json!({"name": "South"})).with("canonical_id", id));
    scene.send(whole("crm", "site", "crm2", json!({"name": "West"})).with("canonical_id", "0192f0c4-0000-7000-8000-00000000dead"));
    insta::assert_snapshot!(scene.story(), @r#"
    u2 crm site crm1 {"name":"South"} canonical_id=<site 1>
      crm:u2 accepted: a new record from crm
      = <site 2> v1 {"name":"South"} [crm crm1, oem (open create)]
      → oem: create site - rev 1 {"name":"South"} changed: name
    u3 crm site crm2 {"name":"West"} canonical_id=0192f0c4-0000-7000-8000-00000000dead
      crm:u3 accepted: a new record from crm
      = <site 3> v1 {"name":"West"} [crm crm2, oem (open create)]
      → oem: create site - rev 1 {"name":"West"} changed: name
    "#);
}

#[test]
fn a_key_may_name_the_record_it_belongs_to() {
    let mut scene = Scene::with(
        r#"
[entities.device]
keys = [{ fields = ["serial"] }]
[entities.sensor]
keys = [{ fields = ["device_id", "tag"] }]
references = { device_id = "device" }
"#,
    )
    .start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1"}));
    scene.says("bms", "sensor", "bmsS1", json!({"device_id": "bmsD1", "tag": "T1"}));
    scene.says("oem", "sensor", "oemS1", json!({"device_id": "oemD1", "tag": "T1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
    u2 oem device oemD1 {"serial":"SN-1"}
      oem:u2 unchanged: the same thing as in bms: a new link, nothing new in it
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1, oem oemD1]
    u3 bms sensor bmsS1 {"device_id":"bmsD1","tag":"T1"}
      bms:u3 accepted: a new record from bms
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1]
    u4 oem sensor oemS1 {"device_id":"oemD1","tag":"T1"}
      oem:u4 unchanged: the same thing as in bms: a new link, nothing new in it
      = <sensor 1> v1 {"device_id":"<device 1>","tag":"T1"} [bms bmsS1, oem oemS1]
    "#);
}

#[test]
fn case_the_same_new_key_twice_in_one_batch() {
    if !Scene::takes_several_at_once() {
        return;
    }
    let mut scene = Scene::with(DEVICES).start();
    scene.together([
        whole("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "Air handler"})),
        whole("oem", "device", "oemD1", json!({"serial": "sn-1", "model": "AH-7"})),
    ]);
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"name":"Air handler","serial":"SN-1"}
    u2 oem device oemD1 {"model":"AH-7","serial":"sn-1"}
      bms:u1 accepted: a new record from bms
      oem:u2 partially_accepted: the same thing as in bms: oem joins it; taken: model; serial stays 'SN-1' from bms (first_contact: fill) | by Rule first_contact: fill | modified_fields: serial
        conflict serial: base none, ours "SN-1" (bms), theirs "sn-1" → ours (first_contact: fill)
      = <device 1> v2 {"model":"AH-7","name":"Air handler","serial":"SN-1"} [bms bmsD1, oem oemD1]
      → bms: update device bmsD1 rev 1 {"id":"bmsD1","model":"AH-7","name":"Air handler","serial":"SN-1"} changed: model
      → oem: update device oemD1 rev 1 {"id":"oemD1","model":"AH-7","name":"Air handler","serial":"SN-1"} changed: name, serial
    "#);
}

#[test]
fn a_key_that_is_let_go_can_be_taken_by_another_record() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-2"}));
    scene.says("oem", "device", "oemD9", json!({"serial": "SN-1"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
    u2 bms device bmsD1 {"serial":"SN-2"}
      bms:u2 accepted: taken: serial
      = <device 1> v2 {"serial":"SN-2"} [bms bmsD1]
    u3 oem device oemD9 {"serial":"SN-1"}
      oem:u3 accepted: a new record from oem
      = <device 2> v1 {"serial":"SN-1"} [oem oemD9]
    "#);
}

#[test]
fn case_patch_for_an_unknown_native_id_waits_for_a_whole_record() {
    let mut scene = Scene::with(DEVICES).start();
    scene.send(patch("bms", "device", "bmsD1", json!({"name": "patched"})));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "whole"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms patch device bmsD1 {"name":"patched"}
      bms:u1 parked (no_base): only a part of a record nobody knows yet; waiting for a whole one
    u2 bms device bmsD1 {"name":"whole","serial":"SN-1"}
      bms:u1 superseded: overtaken by bms:u2, a newer record of the same; until then: only a part of a record nobody knows yet; waiting for a whole one
      bms:u2 accepted: a new record from bms
      = <device 1> v1 {"name":"whole","serial":"SN-1"} [bms bmsD1]
    "#);
}

#[test]
fn an_id_inside_the_record_that_is_another_one() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"id": "bmsD1", "serial": "SN-1"}));
    scene.says("bms", "device", "bmsD2", json!({"id": "bmsD3", "serial": "SN-2"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"id":"bmsD1","serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"serial":"SN-1"} [bms bmsD1]
    u2 bms device bmsD2 {"id":"bmsD3","serial":"SN-2"}
      dead letter bms:u2 id_mismatch: the entity's own id field "id" says "bmsD3", the envelope says "bmsD2"; send the same id in both
    "#);
}

#[test]
fn a_key_that_waits_is_not_corrected_in_its_source() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-2"}));
    scene.says("oem", "device", "oemD2", json!({"serial": "SN-2"}));
    scene.skip_ahead();
    scene.send(whole("bms", "device", "bmsD2", json!({"serial": "SN-1", "name": "moved"})).base(0));
    scene.says("oem", "device", "oemD2", json!({"serial": "SN-2", "room": "B2"}));
    // A patch of something else goes on, and a corrected key ends the wait.
    scene.send(patch("bms", "device", "bmsD2", json!({"floor": 3})).base(1));
    scene.send(whole("bms", "device", "bmsD2", json!({"serial": "SN-3", "name": "moved", "room": "B2", "floor": 3})).base(1));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device bmsD2 {"name":"moved","serial":"SN-1"} base=0
      bms:u4 parked (match_collision): its key values belong to different records (serial "sn-1"): <device 2> and <device 1>; merge them or correct a key
    u5 oem device oemD2 {"room":"B2","serial":"SN-2"}
      oem:u5 accepted: taken: room
      = <device 2> v2 {"room":"B2","serial":"SN-2"} [bms bmsD2, oem oemD2]
      → bms: update device bmsD2 rev 1 {"id":"bmsD2","name":"moved","room":"B2","serial":"SN-1"} changed: room
    u6 bms patch device bmsD2 {"floor":3} base=1
      bms:u6 accepted: taken: floor
      = <device 2> v3 {"floor":3,"room":"B2","serial":"SN-2"} [bms bmsD2, oem oemD2]
      → oem: update device oemD2 rev 1 {"floor":3,"id":"oemD2","room":"B2","serial":"SN-2"} changed: floor
    u7 bms device bmsD2 {"floor":3,"name":"moved","room":"B2","serial":"SN-3"} base=1
      bms:u4 superseded: overtaken by bms:u7, a newer record of the same; until then: its key values belong to different records (serial "sn-1"): <device 2> and <device 1>; merge them or correct a key
      bms:u7 accepted: taken: serial and name
      = <device 2> v4 {"floor":3,"name":"moved","room":"B2","serial":"SN-3"} [bms bmsD2, oem oemD2]
      → oem: update device oemD2 rev 2 {"floor":3,"id":"oemD2","name":"moved","room":"B2","serial":"SN-3"} changed: name, serial
    "#);
}

#[test]
fn a_key_that_waits_is_taken_back() {
    let mut scene = Scene::with(DEVICES).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-2"}));
    scene.skip_ahead();
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-2"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device bmsD2 {"serial":"SN-1"}
      bms:u3 parked (match_collision): its key values belong to different records (serial "sn-1"): <device 2> and <device 1>; merge them or correct a key
    u4 bms device bmsD2 {"serial":"SN-1"}
      bms:u3 superseded: overtaken by bms:u4, a newer record of the same; until then: its key values belong to different records (serial "sn-1"): <device 2> and <device 1>; merge them or correct a key
      bms:u4 parked (match_collision): its key values belong to different records (serial "sn-1"): <device 2> and <device 1>; merge them or correct a key
    u5 bms device bmsD2 {"serial":"SN-2"}
      bms:u4 superseded: overtaken by bms:u5, a newer record of the same; until then: its key values belong to different records (serial "sn-1"): <device 2> and <device 1>; merge them or correct a key
      bms:u5 unchanged: it says nothing new
    "#);
}
