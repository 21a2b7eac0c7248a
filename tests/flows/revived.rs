//! Deleted records that a system has again, where somebody decides otherwise.

use serde_json::json;
use syncline::domain::change::Record;
use syncline::domain::handler::{UpdateMeta, Verdict};
use syncline::domain::review::{Says, Word};
use syncline::engine::acts::Request;

use crate::support::{Scene, delete, whole};

const PEOPLE: &str = r#"
[orchestration]
push_updates = true
[entities.person]
keys = [{ fields = ["mail"] }]
references = { boss_id = "person" }
[systems.crm.entities.person]
[systems.erp]
receipts = "required"
[systems.erp.entities.person]
[systems.legacy.entities.person]
"#;

fn legacy_is_over(_: &mut Record, _: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    if meta.source() == "legacy" { Verdict::skip("system is deprecated") } else { Verdict::accept(None) }
}

fn ask_about_legacy(_: &mut Record, _: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let asks = meta.source() == "legacy" && meta.approval().is_none();
    if asks { Verdict::review("is it really there again?") } else { Verdict::accept(None) }
}

/// The CRM made it, the old system has it, too, and has deleted it everywhere.
fn deleted(setting: crate::support::Setting) -> Scene {
    let mut scene = setting.start();
    scene.says("crm", "person", "c1", json!({"mail": "ann@x"}));
    scene.applies("erp", "e1");
    scene.applies("legacy", "l1");
    scene.send(delete("legacy", "person", "l1"));
    scene.applies("crm", "c1");
    scene.applies("erp", "e1");
    scene.skip_ahead();
    scene
}

#[test]
fn a_handler_that_skips_leaves_it_deleted() {
    let mut scene = deleted(Scene::with(PEOPLE).handler("person", legacy_is_over));
    scene.says("legacy", "person", "l1", json!({"mail": "ann@x", "phone": "555"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u7 legacy person l1 {"mail":"ann@x","phone":"555"}
      legacy:u7 dropped: system is deprecated | by Handler person | modified_fields: mail, phone
      = <person 1> v2 deleted {"mail":"ann@x"} [crm c1 (gone), erp e1 (gone), legacy l1]
      → legacy: delete person l1 rev 2 {} changed:
    "#);
}

#[test]
fn while_a_person_is_asked_it_stays_deleted_and_it_is_back_when_they_say_so() {
    let mut scene = deleted(Scene::with(PEOPLE).handler("person", ask_about_legacy));
    scene.send(whole("legacy", "person", "l1", json!({"mail": "ann@x", "phone": "555"})).id("again"));
    insta::assert_snapshot!(scene.story(), @r#"
    again legacy person l1 {"mail":"ann@x","phone":"555"}
      legacy:again parked (review): is it really there again? | by Handler person
    "#);
    let update = "legacy:again".to_owned().try_into().unwrap();
    let says = Some(Word { says: Says::Approved { edited: None }, by: Some("anna".to_owned()), at: scene.now(), reason: None });
    scene.act(Request::Judge { update, word: says }, "anna").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    again legacy person l1 {"mail":"ann@x","phone":"555"}
      legacy:again parked (review): is it really there again? | by Handler person
    … anna approves legacy:again
      legacy:again accepted: approved by anna; the record is back: legacy has it, legacy had deleted it; taken: mail and phone | by Person anna | attempt 2
      = <person 1> v3 {"mail":"ann@x","phone":"555"} [crm c1 (gone), erp e1 (gone), legacy l1, crm (open create), erp (open create)]
      → crm: create person - rev 2 {"mail":"ann@x","phone":"555"} changed: mail, phone
      → erp: create person - rev 3 {"mail":"ann@x","phone":"555"} changed: mail, phone
    "#);
}

#[test]
fn what_a_person_rejects_stays_deleted() {
    let mut scene = deleted(Scene::with(PEOPLE).handler("person", ask_about_legacy));
    scene.send(whole("legacy", "person", "l1", json!({"mail": "ann@x", "phone": "555"})).id("again"));
    scene.skip_ahead();
    let update = "legacy:again".to_owned().try_into().unwrap();
    let says = Some(Word { says: Says::Rejected, by: Some("anna".to_owned()), at: scene.now(), reason: None });
    scene.act(Request::Judge { update, word: says }, "anna").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    … anna rejects legacy:again
      legacy:again dropped: rejected by anna | by Person anna | modified_fields: mail, phone | attempt 2
      = <person 1> v2 deleted {"mail":"ann@x"} [crm c1 (gone), erp e1 (gone), legacy l1]
      → legacy: delete person l1 rev 2 {} changed:
    "#);
}

#[test]
fn while_it_waits_for_a_reference_it_stays_deleted() {
    let mut scene = deleted(Scene::with(PEOPLE));
    scene.says("legacy", "person", "l1", json!({"mail": "ann@x", "boss_id": "l9"}));
    scene.says("crm", "person", "c2", json!({"mail": "ann@x"}));
    scene.says("legacy", "person", "l9", json!({"mail": "boss@x"}));
    scene.wait(std::time::Duration::from_secs(31));
    insta::assert_snapshot!(scene.story(), @r#"
    u7 legacy person l1 {"boss_id":"l9","mail":"ann@x"}
      legacy:u7 parked (missing_reference): waiting for legacy's person l9 (boss_id), not known yet
    u8 crm person c2 {"mail":"ann@x"}
      crm:u8 accepted: a new record from crm
      = <person 2> v1 {"mail":"ann@x"} [crm c2, erp (open create), legacy (open create)]
      → erp: create person - rev 1 {"mail":"ann@x"} changed: mail
      → legacy: create person - rev 1 {"mail":"ann@x"} changed: mail
    u9 legacy person l9 {"mail":"boss@x"}
      legacy:u9 deferred (open_create): it may be a record of ours that this system was sent to create and has not answered yet; it waits for the answer, until 2026-01-01T00:00:30Z at most
    … 31s later
      legacy:u9 accepted: a new record from legacy
      legacy:u7 parked (match_collision): its key values belong to different records (mail "ann@x"): <person 1> and <person 2>; merge them or correct a key | attempt 2
      = <person 3> v1 {"mail":"boss@x"} [legacy l9, crm (open create), erp (open create)]
    "#);
}
