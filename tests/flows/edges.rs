//! Where two things meet: deletes and new records under the same id, merges and splits while something waits or is on its way.

use serde_json::{Value, json};
use syncline::domain::change::Record;
use syncline::domain::handler::{UpdateMeta, Verdict};
use syncline::domain::ids::{CanonicalId, NativeId, SystemName};
use syncline::domain::review::{Says, Word};
use syncline::engine::acts::Request;

use crate::support::{Message, Scene, delete, patch, whole};

/// CRM, ERP and HR keep their own; OEM is sent what it lacks.
fn devices(oem: &str) -> String {
    format!("{DEVICES}[systems.oem.entities.device]\n{oem}")
}

const DEVICES: &str = r#"
[orchestration]
push_updates = true
create_settle = "0s"
[entities.device]
keys = [{ fields = ["serial"] }]
[systems.crm.entities.device]
create = false
[systems.erp.entities.device]
create = false
[systems.hr.entities.device]
create = false
"#;

/// Names are for a person, once a record is known.
fn names_are_reviewed(_: &mut Record, current: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let is_name = meta.changed().iter().any(|field| field.as_str() == "name");
    if is_name && current.is_some() && meta.approval().is_none() {
        Verdict::review("a name is for a person")
    } else {
        Verdict::accept(None)
    }
}

impl Scene {
    fn device(&self, system: &str, native_id: &str) -> CanonicalId {
        self.id_of("device", system, native_id)
    }

    fn one_thing(&mut self, winner: (&str, &str), loser: (&str, &str)) {
        let (winner, loser) = (self.device(winner.0, winner.1), self.device(loser.0, loser.1));
        self.act(Request::Merge { winner, loser, reason: None }, "anna").unwrap();
    }

    fn another_thing(&mut self, native: (&str, &str)) {
        let record = self.device(native.0, native.1);
        let natives = vec![(SystemName::new(native.0).unwrap(), NativeId::new(native.1).unwrap())];
        self.act(Request::Split { record, natives, reason: None }, "anna").unwrap();
    }

    fn says_no(&mut self, update: &str) {
        let word = Word { says: Says::Rejected, by: Some("anna".to_owned()), at: self.now(), reason: None };
        let update = update.to_owned().try_into().unwrap();
        self.act(Request::Judge { update, word: Some(word) }, "anna").unwrap();
    }
}

fn device(system: &str, id: &str, serial: &str, name: &str) -> Message {
    whole(system, "device", id, json!({"serial": serial, "name": name}))
}

/// OEM's ids are the serials themselves.
fn natural_ids() -> Scene {
    let mut scene = Scene::with(&devices("")).start();
    scene.takes_part("oem");
    scene.send(device("crm", "c1", "S1", "Fan"));
    scene.applies("oem", "S1");
    scene.send(delete("crm", "device", "c1"));
    scene.skip_ahead();
    scene
}

impl Scene {
    /// The system is known from now on.
    fn takes_part(&mut self, system: &str) {
        self.send(whole(system, "device", "first", json!({"serial": "S0"})));
    }

    /// Answers what it was sent of a record, which need not be the last it was sent.
    fn answers_about(&mut self, system: &str, native_id: &str, record: CanonicalId, rev: u64, status: &str) {
        let body = whole(system, "device", native_id, Value::Null).with("op", "receipt").with("canonical_id", record.to_string());
        self.send(body.with("rev", rev).with("status", status).without("entity"));
    }
}

#[test]
fn the_id_of_a_deleted_record_may_be_given_again() {
    let mut scene = natural_ids();
    scene.applies("oem", "S1");
    scene.send(device("crm", "c2", "S1", "Pump"));
    scene.applies("oem", "S1");
    scene.send(patch("oem", "device", "S1", json!({"name": "Big pump"})).base(1));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 oem receipt device S1 canonical_id=<device 2> rev=2 status=applied
      oem:u5 unchanged: oem deleted the record
      = <device 2> v2 deleted {"name":"Fan","serial":"S1"} [crm c1 (gone), oem S1 (gone)]
    u6 crm device c2 {"name":"Pump","serial":"S1"}
      crm:u6 accepted: a new record from crm
      = <device 3> v1 {"name":"Pump","serial":"S1"} [crm c2, oem (open create)]
      → oem: create device - rev 1 {"name":"Pump","serial":"S1"} changed: name, serial
    u7 oem receipt device S1 canonical_id=<device 3> rev=1 status=applied
      oem:u7 unchanged: oem made the record; there it is S1
      = <device 2> v2 deleted {"name":"Fan","serial":"S1"} [crm c1 (gone), oem (not made there)]
      = <device 3> v1 {"name":"Pump","serial":"S1"} [crm c2, oem S1]
    u8 oem patch device S1 {"name":"Big pump"} base=1
      oem:u8 accepted: taken: name
      = <device 3> v2 {"name":"Big pump","serial":"S1"} [crm c2, oem S1]
      → crm: update device c2 rev 1 {"id":"c2","name":"Big pump","serial":"S1"} changed: name
    "#);
}

#[test]
fn a_system_that_does_not_delete_may_take_its_record_for_the_new_one() {
    let mut scene = natural_ids();
    scene.receipt_with("oem", "S1", "rejected", |receipt| receipt.with("reason", "it is in use"));
    scene.send(device("crm", "c2", "S1", "Pump"));
    scene.applies("oem", "S1");
    insta::assert_snapshot!(scene.story(), @r#"
    u5 oem receipt device S1 canonical_id=<device 2> reason=it is in use rev=2 status=rejected
      oem:u5 unchanged: oem refuses rev 2: it is in use; the same content is not sent again
    u6 crm device c2 {"name":"Pump","serial":"S1"}
      crm:u6 accepted: a new record from crm
      = <device 3> v1 {"name":"Pump","serial":"S1"} [crm c2, oem (open create)]
      → oem: create device - rev 1 {"name":"Pump","serial":"S1"} changed: name, serial
    u7 oem receipt device S1 canonical_id=<device 3> rev=1 status=applied
      oem:u7 unchanged: oem made the record; there it is S1
      = <device 2> v2 deleted {"name":"Fan","serial":"S1"} [crm c1 (gone), oem (not made there)]
      = <device 3> v1 {"name":"Pump","serial":"S1"} [crm c2, oem S1]
    "#);
}

#[test]
fn a_create_that_meets_a_delete_on_its_way_is_sent_again_later() {
    let mut scene = natural_ids();
    let old = scene.device("crm", "c1");
    scene.send(device("crm", "c2", "S1", "Pump"));
    let new = scene.device("crm", "c2");
    scene.answers_about("oem", "S1", new, 1, "applied");
    scene.answers_about("oem", "S1", old, 2, "applied");
    scene.wait(std::time::Duration::from_secs(10));
    scene.answers_about("oem", "S1", new, 1, "applied");
    scene.send(patch("oem", "device", "S1", json!({"name": "Big pump"})).base(1));
    insta::assert_snapshot!(scene.story(), @r#"
    u5 crm device c2 {"name":"Pump","serial":"S1"}
      crm:u5 accepted: a new record from crm
      = <device 3> v1 {"name":"Pump","serial":"S1"} [crm c2, oem (open create)]
      → oem: create device - rev 1 {"name":"Pump","serial":"S1"} changed: name, serial
    u6 oem receipt device S1 canonical_id=<device 3> rev=1 status=applied
      oem:u6 unchanged: oem found a record for it that it is told to delete; it is sent the create again later
    u7 oem receipt device S1 canonical_id=<device 2> rev=2 status=applied
      oem:u7 unchanged: oem deleted the record
      = <device 2> v2 deleted {"name":"Fan","serial":"S1"} [crm c1 (gone), oem S1 (gone)]
    … 10s later
      → oem: create device - rev 1 {"name":"Pump","serial":"S1"} changed: name, serial
    u8 oem receipt device S1 canonical_id=<device 3> rev=1 status=applied
      oem:u8 unchanged: oem made the record; there it is S1
      = <device 2> v2 deleted {"name":"Fan","serial":"S1"} [crm c1 (gone), oem (not made there)]
      = <device 3> v1 {"name":"Pump","serial":"S1"} [crm c2, oem S1]
    u9 oem patch device S1 {"name":"Big pump"} base=1
      oem:u9 accepted: taken: name
      = <device 3> v2 {"name":"Big pump","serial":"S1"} [crm c2, oem S1]
      → crm: update device c2 rev 1 {"id":"c2","name":"Big pump","serial":"S1"} changed: name
    "#);
}

#[test]
fn a_refused_create_proves_nothing() {
    let mut scene = Scene::with(&devices("")).start();
    scene.send(device("oem", "o7", "S7", "Drum"));
    scene.send(device("crm", "c1", "S1", "Fan"));
    let fan = scene.device("crm", "c1");
    scene.skip_ahead();
    scene.answers_about("oem", "o7", fan, 1, "rejected");
    insta::assert_snapshot!(scene.story(), @r#"
    u3 oem receipt device o7 canonical_id=<device 2> rev=1 status=rejected
      oem:u3 unchanged: oem refuses rev 1; the same content is not sent again
    "#);
}

#[test]
fn a_person_is_asked_about_a_refused_create_too() {
    let mut scene = Scene::with(&devices("on_reject = \"review\"\n")).start();
    scene.send(device("oem", "o7", "S7", "Drum"));
    scene.send(device("crm", "c1", "S1", "Fan"));
    scene.send(device("erp", "e1", "S1", "Fan"));
    scene.send(patch("crm", "device", "c1", json!({"name": "Pump"})));
    let fan = scene.device("crm", "c1");
    scene.skip_ahead();
    let refusal = whole("oem", "device", "x", Value::Null).with("op", "receipt").with("canonical_id", fan.to_string());
    scene.send(
        refusal.with("rev", 2).with("status", "rejected").with("reason", "no more room").without("entity").without("native_id").id("no"),
    );
    scene.says_no("oem:no");
    insta::assert_snapshot!(scene.story(), @r#"
    no oem receipt device canonical_id=<device 2> reason=no more room rev=2 status=rejected
      oem:no parked (review): oem refused rev 2 (no more room); it carries crm:u2 and crm:u4: approve, and that stays as it is everywhere else; reject, and it is taken back everywhere
    … anna rejects oem:no
      oem:no unchanged: rejected by anna; the refused change is taken back | by Person anna | attempt 2
      syncline:compensate accepted: oem refused rev 2 (no more room), and anna does not want to keep it, so update crm:u4 was taken back; name is 'Fan' again | by Person anna
      syncline:compensate unchanged: oem refused rev 2 (no more room), and anna does not want to keep it; crm:u2 made the record, which stays: only a person deletes it | by Person anna
      = <device 2> v3 {"name":"Fan","serial":"S1"} [crm c1, oem (open create), erp e1]
      → crm: update device c1 rev 1 {"id":"c1","name":"Fan","serial":"S1"} changed: name
      → erp: update device e1 rev 2 {"id":"e1","name":"Fan","serial":"S1"} changed: name
    "#);
}

#[test]
fn a_refusal_that_names_only_the_native_id_is_decided_too() {
    let mut scene = Scene::with(&devices("on_reject = \"review\"\n")).start();
    scene.send(device("oem", "o1", "S1", "Fan"));
    scene.send(device("crm", "c1", "S1", "Fan"));
    scene.send(patch("crm", "device", "c1", json!({"name": "Pump"})));
    scene.skip_ahead();
    let refusal = whole("oem", "device", "o1", Value::Null).with("op", "receipt").without("entity");
    scene.send(refusal.with("rev", 1).with("status", "rejected").id("no"));
    scene.restart();
    scene.says_no("oem:no");
    insta::assert_snapshot!(scene.story(), @r#"
    no oem receipt device o1 rev=1 status=rejected
      oem:no parked (review): oem refused rev 1; it carries crm:u3: approve, and that stays as it is everywhere else; reject, and it is taken back everywhere
    … restart
    … anna rejects oem:no
      oem:no unchanged: rejected by anna; the refused change is taken back | by Person anna | attempt 2
      syncline:compensate accepted: oem refused rev 1, and anna does not want to keep it, so update crm:u3 was taken back; name is 'Fan' again | by Person anna
      = <device 1> v3 {"name":"Fan","serial":"S1"} [oem o1, crm c1]
      → crm: update device c1 rev 1 {"id":"c1","name":"Fan","serial":"S1"} changed: name
    "#);
}

#[test]
fn a_merge_loses_nothing_that_is_still_to_be_sent() {
    if !Scene::by_hand() {
        return;
    }
    let config =
        format!("{}[entities.device.survivorship]\nname = {{ rule = \"source_priority\", sources = [\"crm\", \"erp\"] }}\n", devices(""));
    let mut scene = Scene::with(&config).start();
    scene.send(device("oem", "o1", "S1", "Fan"));
    scene.send(device("crm", "c1", "S1", "Fan"));
    scene.send(device("erp", "e2", "S2", "Drum 1"));
    for n in 2..5 {
        scene.send(device("erp", "e2", "S2", &format!("Drum {n}")));
    }
    scene.send(patch("crm", "device", "c1", json!({"name": "Pump"})));
    scene.pause_relay();
    scene.send(patch("crm", "device", "c1", json!({"name": "Big pump", "serial": "S2-new"})));
    scene.skip_ahead();
    scene.one_thing(("crm", "c1"), ("erp", "e2"));
    scene.resume_relay();
    scene.restart();
    insta::assert_snapshot!(scene.story(), @r#"
    … anna says that <device 2> is <device 1>
      syncline:merge accepted: record <device 2> is the same thing and became part of this one: anna says so | by Person anna
        conflict name: base none, ours "Big pump" (crm), theirs "Drum 4" → ours (source_priority)
        conflict serial: base none, ours "S2-new" (crm), theirs "S2" → ours (latest)
      = <device 1> v4 {"name":"Big pump","serial":"S2-new"} [oem o1, crm c1, erp e2]
      = <device 2> v4 {"name":"Drum 4","serial":"S2"} []
      → erp: update device e2 rev 1 {"id":"e2","name":"Big pump","serial":"S2-new"} changed: name, serial
      → oem: update device o1 rev 5 {"id":"o1","name":"Big pump","serial":"S2-new"} changed: name, serial
    … restart
    "#);
}

#[test]
fn what_waits_is_overtaken_in_the_record_it_belongs_to_by_now() {
    let mut scene = Scene::with(&devices("")).handler("device", names_are_reviewed).start();
    scene.send(device("crm", "c1", "S1", "Fan"));
    scene.send(device("erp", "e2", "S2", "Drum"));
    scene.send(device("erp", "e2", "S2", "Reel").id("first"));
    scene.one_thing(("crm", "c1"), ("erp", "e2"));
    scene.skip_ahead();
    scene.send(device("erp", "e2", "S2", "Spool").id("second"));
    scene.says_no("erp:second");
    scene.send(patch("crm", "device", "c1", json!({"room": "A1"})));
    insta::assert_snapshot!(scene.story(), @r#"
    second erp device e2 {"name":"Spool","serial":"S2"}
      erp:first superseded: overtaken by erp:second, a newer record of the same; until then: waiting for a person
      erp:second parked (review): a name is for a person | by Handler device
        conflict name: base assumed, ours "Fan" (crm), theirs "Spool" → theirs (latest)
      → erp: update device e2 rev 2 {"id":"e2","name":"Spool","serial":"S1"} changed: name, serial
    … anna rejects erp:second
      erp:second dropped: rejected by anna | by Person anna | modified_fields: name | attempt 2
        conflict name: base assumed, ours "Fan" (crm), theirs "Spool" → ours (anna)
      → erp: update device e2 rev 3 {"id":"e2","name":"Fan","serial":"S1"} changed: name
    u3 crm patch device c1 {"room":"A1"}
      crm:u3 accepted: taken: room | by Handler device
      = <device 1> v3 {"name":"Fan","room":"A1","serial":"S1"} [crm c1, oem (open create), erp e2]
      → erp: update device e2 rev 4 {"id":"e2","name":"Fan","room":"A1","serial":"S1"} changed: room
      → oem: create device - rev 3 {"name":"Fan","room":"A1","serial":"S1"} changed: room
    "#);
}

#[test]
fn a_split_takes_nothing_for_granted_that_waits_for_a_person() {
    let mut scene = Scene::with(&devices("")).handler("device", names_are_reviewed).start();
    scene.send(device("crm", "c1", "S1", "Fan"));
    scene.send(device("erp", "e1", "S1", "Fan"));
    scene.send(device("erp", "e1", "S1", "Pump").id("pump"));
    scene.skip_ahead();
    scene.another_thing(("erp", "e1"));
    scene.says_no("erp:pump");
    insta::assert_snapshot!(scene.story(), @r#"
    … anna says that erp's e1 is not <device 1>
      syncline:split accepted: erp's e1 is another thing and is record <device 2> from now on: anna says so | by Person anna
      syncline:split accepted: erp's e1 was taken out of record <device 1>: anna says so | by Person anna
      = <device 1> v2 {"name":"Fan","serial":"S1"} [crm c1, oem (open create), erp (not made there)]
      = <device 2> v1 {"name":"Fan","serial":"S1"} [erp e1, crm (not made there), hr (not made there), oem (not made there)]
    … anna rejects erp:pump
      erp:pump dropped: rejected by anna | by Person anna | modified_fields: name | attempt 2
      → erp: update device e1 rev 1 {"id":"e1","name":"Fan","serial":"S1"} changed: name
    "#);
}

#[test]
fn a_change_that_is_taken_back_leaves_a_key_to_its_new_owner() {
    let mut scene = Scene::with(&devices("on_reject = \"compensate\"\nfields = { exclude = [\"serial\"] }\n")).start();
    scene.takes_part("oem");
    scene.send(device("crm", "c1", "S1", "Fan"));
    scene.applies("oem", "o1");
    scene.send(device("crm", "c1", "S2", "Pump"));
    scene.send(device("hr", "h1", "S1", "Drum"));
    scene.skip_ahead();
    let fan = scene.device("crm", "c1");
    scene.answers_about("oem", "o1", fan, 2, "rejected");
    scene.send(patch("crm", "device", "c1", json!({"room": "A1"})));
    insta::assert_snapshot!(scene.story(), @r#"
    u6 oem receipt device o1 canonical_id=<device 2> rev=2 status=rejected
      oem:u6 unchanged: oem refuses rev 2; the same content is not sent again
      syncline:compensate accepted: oem refused rev 2, so update crm:u4 was taken back; name is 'Fan' again; what serial was before belongs to another record by now, so it stays
      = <device 2> v3 {"name":"Fan","serial":"S2"} [crm c1, oem o1]
      → crm: update device c1 rev 1 {"id":"c1","name":"Fan","serial":"S2"} changed: name
    u7 crm patch device c1 {"room":"A1"}
      crm:u7 accepted: taken: room
        conflict room: base assumed, ours null, theirs "A1" → theirs (latest)
      = <device 2> v4 {"name":"Fan","room":"A1","serial":"S2"} [crm c1, oem o1]
      → oem: update device o1 rev 3 {"id":"o1","name":"Fan","room":"A1"} changed: room
    "#);
}

#[test]
fn a_change_set_is_not_refused_for_a_letter_of_another_update() {
    let mut scene = Scene::with(&devices("")).start();
    let set = |id: &str, serial: &str| device("crm", id, serial, "Fan").id(if id == "c1" { "1" } else { "2" }).body();
    let sent = Message::of(json!({"id": "set", "change_set": true, "updates": [set("c1", "S1"), set("c2", "S2")]}));
    scene.together([device("crm", "c9", &"long".repeat(300), "Fan").id("10"), sent]);
    insta::assert_snapshot!(scene.story().replace("long", ""), @r#"
    10 crm device c9 {"name":"Fan","serial":""}
    set [{"entity":{"name":"Fan","serial":"S1"},"id":"1","native_id":"c1","system":"crm","type":"device"},{"entity":{"name":"Fan","serial":"S2"},"id":"2","native_id":"c2","system":"crm","type":"device"}] change_set=true
      crm:1 accepted: a new record from crm
      crm:2 accepted: a new record from crm
      dead letter crm:10 key_too_: the key serial is er than 1024 bytes; send a shorter value
      = <device 1> v1 {"name":"Fan","serial":"S1"} [crm c1, oem (open create)]
      = <device 2> v1 {"name":"Fan","serial":"S2"} [crm c2, oem (open create)]
      → oem: create device - rev 1 {"name":"Fan","serial":"S1"} changed: name, serial
      → oem: create device - rev 1 {"name":"Fan","serial":"S2"} changed: name, serial
    "#);
}

#[test]
fn what_was_refused_is_sent_again_in_the_place_of_what_came_after_it() {
    let mut scene = Scene::with(&devices("")).start();
    scene.takes_part("oem");
    scene.send(device("crm", "c1", "S1", "Fan"));
    scene.applies("oem", "o1");
    let fan = scene.device("crm", "c1");
    scene.send(device("crm", "c1", "S1", "Pump"));
    scene.receipt_with("oem", "o1", "rejected", |receipt| receipt.with("reason", "no pumps"));
    scene.send(device("crm", "c1", "S1", "Valve"));
    scene.skip_ahead();
    // The valve is on its way: nothing but another message makes it a pump again.
    scene.send(device("crm", "c1", "S1", "Pump"));
    scene.answers_about("oem", "o1", fan, 3, "applied");
    scene.applies("oem", "o1");
    insta::assert_snapshot!(scene.story(), @r#"
    u7 crm device c1 {"name":"Pump","serial":"S1"}
      crm:u7 accepted: taken: name
      = <device 2> v4 {"name":"Pump","serial":"S1"} [crm c1, oem o1]
    u8 oem receipt device o1 canonical_id=<device 2> rev=3 status=applied
      oem:u8 unchanged: oem applied rev 3
      → oem: update device o1 rev 4 {"id":"o1","name":"Pump","serial":"S1"} changed: name
    u9 oem receipt device o1 canonical_id=<device 2> rev=4 status=applied
      oem:u9 unchanged: oem applied rev 4
    "#);
}
