//! A target refuses what was accepted; and changes that belong together.

use serde_json::{Value, json};
use syncline::domain::change::Record;
use syncline::domain::handler::{UpdateMeta, Verdict};
use syncline::engine::acts::Request;

use crate::support::{Message, Scene, delete, patch, whole};

/// OEM answers everything and may refuse it; ERP takes part without a word.
fn devices(on_reject: &str) -> String {
    format!(
        r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{{ fields = ["serial"] }}]
references = {{ parent_id = "device" }}
[systems.bms.entities.device]
create = false
[systems.oem.entities.device]
create = false
on_reject = "{on_reject}"
[systems.erp.entities.device]
create = false
"#
    )
}

/// All three know the device.
fn known(on_reject: &str) -> Scene {
    let mut scene = Scene::with(&devices(on_reject)).start();
    for (system, id) in [("bms", "b1"), ("oem", "o1"), ("erp", "e1")] {
        scene.says(system, "device", id, json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    }
    scene.skip_ahead();
    scene
}

impl Scene {
    fn refuses(&mut self, system: &str, id: &str, why: &str) {
        self.receipt_with(system, id, "rejected", |receipt| receipt.with("reason", why));
    }
}

#[test]
fn s49_a_refused_change_is_taken_back_everywhere() {
    let mut scene = known("compensate");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1", "note": "new"}));
    scene.refuses("oem", "o1", "no such name");
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Pump","note":"new","room":"A1","serial":"S1"}
      bms:u4 accepted: taken: name and note
      = <device 1> v2 {"name":"Pump","note":"new","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      → erp: update device e1 rev 1 {"id":"e1","name":"Pump","note":"new","room":"A1","serial":"S1"} changed: name, note
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","note":"new","room":"A1","serial":"S1"} changed: name, note
    u5 oem receipt device o1 canonical_id=<device 1> reason=no such name rev=1 status=rejected
      oem:u5 unchanged: oem refuses rev 1: no such name; the same content is not sent again
      syncline:compensate accepted: oem refused rev 1 (no such name), so update bms:u4 was taken back; name is 'Fan' again and note is empty again
      = <device 1> v3 {"name":"Fan","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan","note":null,"room":"A1","serial":"S1"} changed: name, note
      → erp: update device e1 rev 2 {"id":"e1","name":"Fan","note":null,"room":"A1","serial":"S1"} changed: name, note
    "#);
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan 2", "room": "A1"}));
    scene.applies("oem", "o1");
    scene.says("erp", "device", "e1", json!({"serial": "S1", "name": "Fan 2", "room": "B2"}));
    scene.refuses("oem", "o1", "no such room");
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Pump","note":"new","room":"A1","serial":"S1"}
      bms:u4 accepted: taken: name and note
      = <device 1> v2 {"name":"Pump","note":"new","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      → erp: update device e1 rev 1 {"id":"e1","name":"Pump","note":"new","room":"A1","serial":"S1"} changed: name, note
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","note":"new","room":"A1","serial":"S1"} changed: name, note
    u5 oem receipt device o1 canonical_id=<device 1> reason=no such name rev=1 status=rejected
      oem:u5 unchanged: oem refuses rev 1: no such name; the same content is not sent again
      syncline:compensate accepted: oem refused rev 1 (no such name), so update bms:u4 was taken back; name is 'Fan' again and note is empty again
      = <device 1> v3 {"name":"Fan","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan","note":null,"room":"A1","serial":"S1"} changed: name, note
      → erp: update device e1 rev 2 {"id":"e1","name":"Fan","note":null,"room":"A1","serial":"S1"} changed: name, note
    u6 bms device b1 {"name":"Fan 2","room":"A1","serial":"S1"}
      bms:u6 accepted: taken: name
        conflict name: base assumed, ours "Fan" (syncline), theirs "Fan 2" → theirs (latest)
      = <device 1> v4 {"name":"Fan 2","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 2 {"id":"b1","name":"Fan 2","note":null,"room":"A1","serial":"S1"} changed: name
      → erp: update device e1 rev 3 {"id":"e1","name":"Fan 2","note":null,"room":"A1","serial":"S1"} changed: name
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan 2","room":"A1","serial":"S1"} changed: name
    u7 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u7 unchanged: oem applied rev 2
    u8 erp device e1 {"name":"Fan 2","room":"B2","serial":"S1"}
      erp:u8 accepted: taken: room
        conflict room: base assumed, ours "A1" (bms), theirs "B2" → theirs (latest)
      = <device 1> v5 {"name":"Fan 2","room":"B2","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 3 {"id":"b1","name":"Fan 2","note":null,"room":"B2","serial":"S1"} changed: room
      → erp: update device e1 rev 4 {"id":"e1","name":"Fan 2","room":"B2","serial":"S1"} changed: room
      → oem: update device o1 rev 3 {"id":"o1","name":"Fan 2","room":"B2","serial":"S1"} changed: room
    u9 oem receipt device o1 canonical_id=<device 1> reason=no such room rev=3 status=rejected
      oem:u9 unchanged: oem refuses rev 3: no such room; the same content is not sent again
      syncline:compensate accepted: oem refused rev 3 (no such room), so update erp:u8 was taken back; room is 'A1' again
      = <device 1> v6 {"name":"Fan 2","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 4 {"id":"b1","name":"Fan 2","note":null,"room":"A1","serial":"S1"} changed: room
      → erp: update device e1 rev 5 {"id":"e1","name":"Fan 2","room":"A1","serial":"S1"} changed: room
    "#);
}

#[test]
fn s49_what_somebody_changed_since_is_left_alone() {
    // Two messages are on their way at once.
    if !Scene::by_hand() {
        return;
    }
    let mut scene = known("compensate");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "B2"}));
    scene.send(patch("erp", "device", "e1", json!({"room": "C3"})));
    scene.refuses("oem", "o1", "no such name");
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Pump","room":"B2","serial":"S1"}
      bms:u4 accepted: taken: name and room
      = <device 1> v2 {"name":"Pump","room":"B2","serial":"S1"} [bms b1, oem o1, erp e1]
      → erp: update device e1 rev 1 {"id":"e1","name":"Pump","room":"B2","serial":"S1"} changed: name, room
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","room":"B2","serial":"S1"} changed: name, room
    u5 erp patch device e1 {"room":"C3"}
      erp:u5 accepted: taken: room
        conflict room: base assumed, ours "B2" (bms), theirs "C3" → theirs (latest)
      = <device 1> v3 {"name":"Pump","room":"C3","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Pump","room":"C3","serial":"S1"} changed: room
      → erp: update device e1 rev 2 {"id":"e1","name":"Pump","room":"C3","serial":"S1"} changed: room
      → oem: update device o1 rev 2 {"id":"o1","name":"Pump","room":"C3","serial":"S1"} changed: room
    u6 oem receipt device o1 canonical_id=<device 1> reason=no such name rev=2 status=rejected
      oem:u6 unchanged: oem refuses rev 2: no such name; the same content is not sent again
      syncline:compensate accepted: oem refused rev 2 (no such name), so update erp:u5 was taken back; room is 'B2' again
      syncline:compensate accepted: oem refused rev 2 (no such name), so update bms:u4 was taken back; name is 'Fan' again and room is 'A1' again
      = <device 1> v5 {"name":"Fan","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 2 {"id":"b1","name":"Fan","room":"A1","serial":"S1"} changed: name, room
      → erp: update device e1 rev 3 {"id":"e1","name":"Fan","room":"A1","serial":"S1"} changed: name, room
      → oem: update device o1 rev 3 {"id":"o1","name":"Fan","room":"A1","serial":"S1"} changed: name, room
    "#);
}

/// OEM would have to make the device, which BMS has renamed and ERP knows.
fn a_create_that_waits() -> Scene {
    let config = devices("compensate").replace("[systems.oem.entities.device]\ncreate = false", "[systems.oem.entities.device]");
    let mut scene = Scene::with(&config).start();
    scene.pause("oem");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
    scene.says("erp", "device", "e1", json!({"serial": "S1", "name": "Fan"}));
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.skip_ahead();
    scene
}

#[test]
fn a_create_that_is_refused_takes_back_what_it_carries() {
    let mut scene = a_create_that_waits();
    scene.release("pause-out:oem");
    scene.receipt_with("oem", "-", "rejected", |receipt| receipt.without("native_id").with("reason", "no more room"));
    insta::assert_snapshot!(scene.story(), @r#"
    … pause-out:oem is let go: 1 creates, 0 updates, 0 conflicts
      → oem: create device - rev 2 {"name":"Pump","serial":"S1"} changed: name, serial
    u4 oem receipt device canonical_id=<device 1> reason=no more room rev=2 status=rejected
      oem:u4 unchanged: oem refuses rev 2: no more room; the same content is not sent again
      syncline:compensate accepted: oem refused rev 2 (no more room), so update bms:u3 was taken back; name is 'Fan' again
      syncline:compensate unchanged: oem refused rev 2 (no more room); bms:u1 made the record, which stays: only a person deletes it
      = <device 1> v3 {"name":"Fan","serial":"S1"} [bms b1, oem (open create), erp e1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan","serial":"S1"} changed: name
      → erp: update device e1 rev 2 {"id":"e1","name":"Fan","serial":"S1"} changed: name
    "#);
}

#[test]
fn a_create_that_a_person_does_not_want_takes_back_nothing() {
    let mut scene = a_create_that_waits();
    let owed = scene.ask(async |store| store.owed(0, 10).await);
    let (record, system) =
        owed.iter().map(|(_, owed)| (owed.record, owed.system.clone())).find(|(_, system)| system.as_str() == "oem").unwrap();
    scene.act(Request::DontCreate { record, system }, "anna").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    … anna does not want <device 1> in oem
      oem:discard:0192f0c4-0000-7000-8000-000000000002 unchanged: anna discarded what a brake kept back: oem is not sent this record as it is
    "#);
}

#[test]
fn s49_a_correction_is_nobodys_change() {
    let mut scene = Scene::with(&devices("compensate")).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Old"}));
    scene.refuses("oem", "o1", "read only");
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device b1 {"name":"Fan","serial":"S1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"name":"Fan","serial":"S1"} [bms b1]
    u2 oem device o1 {"name":"Old","serial":"S1"}
      oem:u2 dropped: the same thing as in bms: oem joins it; name stays 'Fan' from bms (first_contact: fill) | by Rule first_contact: fill | modified_fields: name
        conflict name: base none, ours "Fan" (bms), theirs "Old" → ours (first_contact: fill)
      = <device 1> v1 {"name":"Fan","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 1 {"id":"o1","name":"Fan","serial":"S1"} changed: name
    u3 oem receipt device o1 canonical_id=<device 1> reason=read only rev=1 status=rejected
      oem:u3 unchanged: oem refuses rev 1: read only; the same content is not sent again
    "#);
}

#[test]
fn what_a_system_refused_and_has_by_now_is_sent_to_it_again() {
    let mut scene = known("keep");
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": "A1"}));
    scene.refuses("oem", "o1", "no such name");
    scene.send(patch("oem", "device", "o1", json!({"name": "Pump"})));
    scene.send(patch("oem", "device", "o1", json!({"room": "B2"})));
    scene.send(patch("erp", "device", "e1", json!({"room": "A1"})).base(2));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Pump","room":"A1","serial":"S1"}
      bms:u4 accepted: taken: name
      = <device 1> v2 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      → erp: update device e1 rev 1 {"id":"e1","name":"Pump","room":"A1","serial":"S1"} changed: name
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","room":"A1","serial":"S1"} changed: name
    u5 oem receipt device o1 canonical_id=<device 1> reason=no such name rev=1 status=rejected
      oem:u5 unchanged: oem refuses rev 1: no such name; the same content is not sent again
    u6 oem patch device o1 {"name":"Pump"}
      oem:u6 unchanged: agreed already: name
    u7 oem patch device o1 {"room":"B2"}
      oem:u7 accepted: taken: room
      = <device 1> v3 {"name":"Pump","room":"B2","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Pump","room":"B2","serial":"S1"} changed: room
      → erp: update device e1 rev 2 {"id":"e1","name":"Pump","room":"B2","serial":"S1"} changed: room
    u8 erp patch device e1 {"room":"A1"} base=2
      erp:u8 accepted: taken: room
      = <device 1> v4 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 2 {"id":"b1","name":"Pump","room":"A1","serial":"S1"} changed: room
      → oem: update device o1 rev 2 {"id":"o1","name":"Pump","room":"A1","serial":"S1"} changed: room
    "#);
}

#[test]
fn s49_a_person_says_what_becomes_of_a_refused_change() {
    let mut scene = known("review");
    for name in ["Pump", "Pump 2"] {
        scene.says("bms", "device", "b1", json!({"serial": "S1", "name": name, "room": "A1"}));
        scene.refuses("oem", "o1", "no such name");
    }
    scene.says("oem", "device", "o1", json!({"serial": "S1", "name": "Fan", "room": "A9"}));
    scene.restart();
    scene.approve("oem:u5", "anna").unwrap();
    scene.reject("oem:u7", "anna", "OEM is right").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Pump","room":"A1","serial":"S1"}
      bms:u4 accepted: taken: name
      = <device 1> v2 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      → erp: update device e1 rev 1 {"id":"e1","name":"Pump","room":"A1","serial":"S1"} changed: name
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","room":"A1","serial":"S1"} changed: name
    u5 oem receipt device o1 canonical_id=<device 1> reason=no such name rev=1 status=rejected
      oem:u5 parked (review): oem refused rev 1 (no such name); it carries bms:u4: approve, and that stays as it is everywhere else; reject, and it is taken back everywhere
    u6 bms device b1 {"name":"Pump 2","room":"A1","serial":"S1"}
      bms:u6 accepted: taken: name
      = <device 1> v3 {"name":"Pump 2","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      → erp: update device e1 rev 2 {"id":"e1","name":"Pump 2","room":"A1","serial":"S1"} changed: name
      → oem: update device o1 rev 2 {"id":"o1","name":"Pump 2","room":"A1","serial":"S1"} changed: name
    u7 oem receipt device o1 canonical_id=<device 1> reason=no such name rev=2 status=rejected
      oem:u7 parked (review): oem refused rev 2 (no such name); it carries bms:u6: approve, and that stays as it is everywhere else; reject, and it is taken back everywhere
    u8 oem device o1 {"name":"Fan","room":"A9","serial":"S1"}
      oem:u8 accepted: taken: room; not applied: name 'Fan' (nothing new from it; here it is 'Pump 2', changed by bms since)
      = <device 1> v4 {"name":"Pump 2","room":"A9","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Pump 2","room":"A9","serial":"S1"} changed: room
      → erp: update device e1 rev 3 {"id":"e1","name":"Pump 2","room":"A9","serial":"S1"} changed: room
      → oem: update device o1 rev 3 {"id":"o1","name":"Pump 2","room":"A9","serial":"S1"} changed: name
    … restart
    … anna approves oem:u5
      oem:u5 unchanged: approved by anna; the refused change stays | by Person anna | attempt 2
    … anna rejects oem:u7
      oem:u7 unchanged: rejected by anna: OEM is right; the refused change is taken back | by Person anna | attempt 2
      syncline:compensate accepted: oem refused rev 2 (no such name), and anna does not want to keep it (OEM is right), so update bms:u6 was taken back; name is 'Pump' again | by Person anna
      = <device 1> v5 {"name":"Pump","room":"A9","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 2 {"id":"b1","name":"Pump","room":"A9","serial":"S1"} changed: name
      → erp: update device e1 rev 4 {"id":"e1","name":"Pump","room":"A9","serial":"S1"} changed: name
    "#);
}

#[test]
fn s49_a_refused_compensation_is_for_a_person() {
    let config =
        devices("compensate").replace("[systems.erp.entities.device]\n", "[systems.erp.entities.device]\non_reject = \"compensate\"\n");
    let mut scene = Scene::with(&config).start();
    for (system, id) in [("bms", "b1"), ("oem", "o1"), ("erp", "e1")] {
        scene.says(system, "device", id, json!({"serial": "S1", "name": "Fan"}));
    }
    scene.skip_ahead();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Pump"}));
    scene.applies("erp", "e1");
    scene.refuses("oem", "o1", "no such name");
    scene.refuses("erp", "e1", "too late");
    scene.approve("erp:u7", "anna").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms device b1 {"name":"Pump","serial":"S1"}
      bms:u4 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1, oem o1, erp e1]
      → erp: update device e1 rev 1 {"id":"e1","name":"Pump","serial":"S1"} changed: name
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    u5 erp receipt device e1 canonical_id=<device 1> rev=1 status=applied
      erp:u5 unchanged: erp applied rev 1
    u6 oem receipt device o1 canonical_id=<device 1> reason=no such name rev=1 status=rejected
      oem:u6 unchanged: oem refuses rev 1: no such name; the same content is not sent again
      syncline:compensate accepted: oem refused rev 1 (no such name), so update bms:u4 was taken back; name is 'Fan' again
      = <device 1> v3 {"name":"Fan","serial":"S1"} [bms b1, oem o1, erp e1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan","serial":"S1"} changed: name
      → erp: update device e1 rev 2 {"id":"e1","name":"Fan","serial":"S1"} changed: name
    u7 erp receipt device e1 canonical_id=<device 1> reason=too late rev=2 status=rejected
      erp:u7 parked (review): erp refused rev 2 (too late); it carries syncline:compensate:0192f0c4-0000-7000-8000-000000000002: approve, and that stays as it is everywhere else; reject, and it is taken back everywhere
    … anna approves erp:u7
      erp:u7 unchanged: approved by anna; the refused change stays | by Person anna | attempt 2
    "#);
}

fn set(id: &str, updates: impl IntoIterator<Item = Message>) -> Message {
    let updates: Vec<Value> = updates.into_iter().map(Message::body).collect();
    Message::of(json!({"id": id, "change_set": true, "updates": updates}))
}

fn no_attics(proposed: &mut Record, _: Option<&Record>, _: &UpdateMeta) -> Verdict {
    if proposed.get("room") == Some(&json!("attic")) { Verdict::skip("nothing is in the attic") } else { Verdict::accept(None) }
}

/// The second names the first, which is new; the last one is refused if it is in the attic.
fn three(room: &str) -> [Message; 3] {
    [
        whole("bms", "device", "b2", json!({"serial": "S2"})).id("a"),
        whole("bms", "device", "b3", json!({"serial": "S3", "parent_id": "b2"})).id("b"),
        whole("bms", "device", "b1", json!({"serial": "S1", "name": "Pump", "room": room})).id("c"),
    ]
}

#[test]
fn s50_a_change_set_is_taken_as_a_whole() {
    let mut scene = known("compensate");
    scene.send(set("set-1", three("B2")));
    scene.send(set("set-1", three("B2")));
    insta::assert_snapshot!(scene.story(), @r#"
    set-1 [{"entity":{"serial":"S2"},"id":"a","native_id":"b2","system":"bms","type":"device"},{"entity":{"parent_id":"b2","serial":"S3"},"id":"b","native_id":"b3","system":"bms","type":"device"},{"entity":{"name":"Pump","room":"B2","serial":"S1"},"id":"c","native_id":"b1","system":"bms","type":"device"}] change_set=true
      bms:a accepted: a new record from bms
      bms:b accepted: a new record from bms
      bms:c accepted: taken: name and room
      = <device 1> v2 {"name":"Pump","room":"B2","serial":"S1"} [bms b1, oem o1, erp e1]
      = <device 2> v1 {"serial":"S2"} [bms b2]
      = <device 3> v1 {"parent_id":"<device 2>","serial":"S3"} [bms b3]
      → erp: update device e1 rev 1 {"id":"e1","name":"Pump","room":"B2","serial":"S1"} changed: name, room
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","room":"B2","serial":"S1"} changed: name, room
    set-1 [{"entity":{"serial":"S2"},"id":"a","native_id":"b2","system":"bms","type":"device"},{"entity":{"parent_id":"b2","serial":"S3"},"id":"b","native_id":"b3","system":"bms","type":"device"},{"entity":{"name":"Pump","room":"B2","serial":"S1"},"id":"c","native_id":"b1","system":"bms","type":"device"}] change_set=true
      decided before: 3
    "#);
}

#[test]
fn s50_one_refused_none_applied() {
    let mut scene = Scene::with(&devices("keep")).handler("device", no_attics).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    scene.skip_ahead();
    scene.send(set("set-1", three("attic")));
    scene.send(set("set-1", three("attic")));
    insta::assert_snapshot!(scene.story(), @r#"
    set-1 [{"entity":{"serial":"S2"},"id":"a","native_id":"b2","system":"bms","type":"device"},{"entity":{"parent_id":"b2","serial":"S3"},"id":"b","native_id":"b3","system":"bms","type":"device"},{"entity":{"name":"Pump","room":"attic","serial":"S1"},"id":"c","native_id":"b1","system":"bms","type":"device"}] change_set=true
      bms:a dropped: part of change set set-1, of which bms:c was refused: nothing is in the attic | modified_fields: serial
      bms:b dropped: part of change set set-1, of which bms:c was refused: nothing is in the attic | modified_fields: parent_id, serial
      bms:c dropped: part of change set set-1, of which bms:c was refused: nothing is in the attic | modified_fields: name, room
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan","room":"A1","serial":"S1"} changed: name, room
    set-1 [{"entity":{"serial":"S2"},"id":"a","native_id":"b2","system":"bms","type":"device"},{"entity":{"parent_id":"b2","serial":"S3"},"id":"b","native_id":"b3","system":"bms","type":"device"},{"entity":{"name":"Pump","room":"attic","serial":"S1"},"id":"c","native_id":"b1","system":"bms","type":"device"}] change_set=true
      decided before: 3
    "#);
}

/// Whose value it is again decides what may replace it.
#[test]
fn what_is_taken_back_is_its_systems_value_again() {
    let config = devices("compensate")
        .replace("[entities.device]\n", "[entities.device]\nsurvivorship = { name = { rule = \"source_of_truth\", system = \"erp\" } }\n");
    let mut scene = Scene::with(&config).start();
    for (system, id) in [("erp", "e1"), ("bms", "b1"), ("oem", "o1")] {
        scene.says(system, "device", id, json!({"serial": "S1", "name": "A"}));
    }
    scene.send(patch("erp", "device", "e1", json!({"name": "B"})));
    scene.refuses("oem", "o1", "no");
    scene.skip_ahead();
    scene.send(patch("bms", "device", "b1", json!({"name": "C"})).base(2));
    let story = scene.story();
    assert!(story.contains("dropped: name stays 'A' from erp (source_of_truth: erp)"), "{story}");
}

/// The refused one is mended under another id, the others keep theirs.
#[test]
fn s50_a_set_with_what_was_dropped_before_and_another_refusal() {
    let mut scene = Scene::with(&devices("keep")).handler("device", no_attics).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan", "room": "A1"}));
    let new = || whole("bms", "device", "b2", json!({"serial": "S2"})).id("a");
    let refused = |id: &str| whole("bms", "device", "b1", json!({"serial": "S1", "room": "attic"})).id(id);
    scene.send(set("set-1", [new(), refused("c")]));
    scene.skip_ahead();
    scene.send(set("set-2", [new(), refused("c2").base(1)]));
    let story = scene.story();
    assert!(story.contains("bms:c2 dropped: part of change set set-2") && story.contains("decided before: 1"), "{story}");
    assert!(!story.contains("bms:a"), "it has its row: {story}");
}

#[test]
fn s50_a_set_that_can_not_be_decided_now_is_kept_whole() {
    let mut scene = known("keep");
    let waits = whole("bms", "device", "b3", json!({"serial": "S3", "parent_id": "b2"})).id("b");
    scene.send(set("set-1", [patch("bms", "device", "b1", json!({"name": "Pump"})).id("a"), waits]));
    scene.says("bms", "device", "b2", json!({"serial": "S2"}));
    scene.requeue("change set set-1", "anna", None).unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    set-1 [{"entity":{"name":"Pump"},"id":"a","native_id":"b1","op":"patch","system":"bms","type":"device"},{"entity":{"parent_id":"b2","serial":"S3"},"id":"b","native_id":"b3","system":"bms","type":"device"}] change_set=true
      dead letter change set set-1 change_set: bms:b can't be decided now (waiting for bms's device b2 (parent_id), not known yet), so none of the set is applied; see to that, then requeue
    u4 bms device b2 {"serial":"S2"}
      bms:u4 accepted: a new record from bms
      = <device 2> v1 {"serial":"S2"} [bms b2]
    … anna requeues change set set-1
      bms:a accepted: taken: name
      bms:b accepted: a new record from bms
      = <device 1> v2 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      = <device 3> v1 {"parent_id":"<device 2>","serial":"S3"} [bms b3]
      → erp: update device e1 rev 1 {"id":"e1","name":"Pump","room":"A1","serial":"S1"} changed: name
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","room":"A1","serial":"S1"} changed: name
    "#);
}

#[test]
fn s50_a_set_is_taken_back_as_a_whole() {
    let mut scene = known("compensate");
    scene.says("bms", "device", "b2", json!({"serial": "S2", "name": "Duct"}));
    scene.skip_ahead();
    scene.send(set(
        "set-1",
        [patch("bms", "device", "b1", json!({"name": "Pump"})).id("a"), patch("bms", "device", "b2", json!({"name": "Pipe"})).id("b")],
    ));
    scene.refuses("oem", "o1", "no such name");
    insta::assert_snapshot!(scene.story(), @r#"
    set-1 [{"entity":{"name":"Pump"},"id":"a","native_id":"b1","op":"patch","system":"bms","type":"device"},{"entity":{"name":"Pipe"},"id":"b","native_id":"b2","op":"patch","system":"bms","type":"device"}] change_set=true
      bms:a accepted: taken: name
      bms:b accepted: taken: name
      = <device 1> v2 {"name":"Pump","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      = <device 2> v2 {"name":"Pipe","serial":"S2"} [bms b2]
      → erp: update device e1 rev 1 {"id":"e1","name":"Pump","room":"A1","serial":"S1"} changed: name
      → oem: update device o1 rev 1 {"id":"o1","name":"Pump","room":"A1","serial":"S1"} changed: name
    u5 oem receipt device o1 canonical_id=<device 1> reason=no such name rev=1 status=rejected
      oem:u5 unchanged: oem refuses rev 1: no such name; the same content is not sent again
      syncline:compensate accepted: oem refused rev 1 (no such name), so update bms:b was taken back; name is 'Duct' again
      syncline:compensate accepted: oem refused rev 1 (no such name), so update bms:a was taken back; name is 'Fan' again
      = <device 1> v3 {"name":"Fan","room":"A1","serial":"S1"} [bms b1, oem o1, erp e1]
      = <device 2> v3 {"name":"Duct","serial":"S2"} [bms b2]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan","room":"A1","serial":"S1"} changed: name
      → erp: update device e1 rev 2 {"id":"e1","name":"Fan","room":"A1","serial":"S1"} changed: name
      → bms: update device b2 rev 1 {"id":"b2","name":"Duct","serial":"S2"} changed: name
    "#);
}

#[test]
fn s50_a_set_with_a_delete() {
    let mut scene = known("keep");
    scene.send(set("set-1", [whole("bms", "device", "b2", json!({"serial": "S2"})).id("a"), delete("bms", "device", "b1").id("b")]));
    insta::assert_snapshot!(scene.story(), @r#"
    set-1 [{"entity":{"serial":"S2"},"id":"a","native_id":"b2","system":"bms","type":"device"},{"id":"b","native_id":"b1","op":"delete","system":"bms","type":"device"}] change_set=true
      bms:a accepted: a new record from bms
      bms:b accepted: bms deleted the record: it is deleted everywhere
      = <device 1> v2 deleted {"name":"Fan","room":"A1","serial":"S1"} [bms b1 (gone), oem o1, erp e1]
      = <device 2> v1 {"serial":"S2"} [bms b2]
      → erp: delete device e1 rev 1 {} changed: 
      → oem: delete device o1 rev 1 {} changed:
    "#);
}
