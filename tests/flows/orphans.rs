//! Records whose parent is deleted: they stay, lose their reference, go with it, or a person is asked.

use serde_json::json;
use syncline::domain::ids::{EntityType, UpdateId};
use syncline::domain::review::{Says, Word};
use syncline::engine::acts::Request;

use crate::support::{Scene, delete, patch};

/// Sites, devices that stand there, and sensors in devices; two systems know all of them.
fn places(device: &str, sensor: &str) -> Scene {
    let config = format!(
        "
[orchestration]
push_updates = true
[entities.site]
keys = [{{ fields = [\"code\"] }}]
[entities.device]
keys = [{{ fields = [\"serial\"] }}]
references = {{ site_id = \"site\" }}
on_parent_delete = \"{device}\"
[entities.sensor]
keys = [{{ fields = [\"serial\"] }}]
references = {{ device_id = \"device\" }}
on_parent_delete = \"{sensor}\"
[systems.bms.entities]
site = {{}}
device = {{}}
sensor = {{}}
[systems.oem.entities]
site = {{}}
device = {{}}
sensor = {{}}
"
    );
    let mut scene = Scene::with(&config).start();
    scene.says("bms", "site", "s1", json!({"code": "N"}));
    scene.applies("oem", "os1");
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "site_id": "s1"}));
    scene.applies("oem", "o1");
    scene.says("bms", "sensor", "t1", json!({"serial": "T-1", "device_id": "b1"}));
    scene.applies("oem", "ot1");
    scene.skip_ahead();
    scene
}

#[test]
fn the_reference_to_a_deleted_parent_is_cleared() {
    let mut scene = places("clear", "clear");
    scene.send(delete("bms", "site", "s1"));
    scene.applies("oem", "o1");
    // It never heard of it: what it says is old news.
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "site_id": "s1", "name": "Fan"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u7 bms delete site s1
      bms:u7 accepted: bms deleted the record: it is deleted everywhere
      syncline:clear accepted: site <site 1> is deleted: site_id does not refer to it any more (on_parent_delete = "clear") | by Rule on_parent_delete: clear
      = <site 1> v2 deleted {"code":"N"} [bms s1 (gone), oem os1]
      = <device 1> v2 {"serial":"SN-1","site_id":null} [bms b1, oem o1]
      → oem: delete site os1 rev 2 {} changed: 
      → bms: update device b1 rev 1 {"id":"b1","serial":"SN-1","site_id":null} changed: site_id
      → oem: update device o1 rev 2 {"id":"o1","serial":"SN-1","site_id":null} changed: site_id
    u8 oem receipt device o1 canonical_id=<device 1> rev=2 status=applied
      oem:u8 unchanged: oem applied rev 2
    u9 bms device b1 {"name":"Fan","serial":"SN-1","site_id":"s1"}
      bms:u9 accepted: taken: name; not applied: site_id '<site 1>', had not seen rev 1
        conflict name: base assumed, ours null, theirs "Fan" → theirs (latest)
      = <device 1> v3 {"name":"Fan","serial":"SN-1","site_id":null} [bms b1, oem o1]
      → bms: update device b1 rev 2 {"id":"b1","name":"Fan","serial":"SN-1","site_id":null} changed: site_id
      → oem: update device o1 rev 3 {"id":"o1","name":"Fan","serial":"SN-1","site_id":null} changed: name
    "#);
}

#[test]
fn a_parent_that_is_back_is_sent_again_to_who_was_told_of_none() {
    let mut scene = places("keep", "keep");
    scene.send(delete("bms", "site", "s1"));
    scene.applies("oem", "os1");
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "site_id": null}));
    scene.says("bms", "site", "s1", json!({"code": "N"}));
    // It was read before the site was there again.
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "site_id": null, "name": "Fan"}));
    scene.applies("oem", "os2");
    scene.says("oem", "device", "o1", json!({"serial": "SN-1", "site_id": "os2", "name": "Fan"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u7 bms delete site s1
      bms:u7 accepted: bms deleted the record: it is deleted everywhere
      = <site 1> v2 deleted {"code":"N"} [bms s1 (gone), oem os1]
      → oem: delete site os1 rev 2 {} changed: 
    u8 oem receipt site os1 canonical_id=<site 1> rev=2 status=applied
      oem:u8 unchanged: oem deleted the record
      = <site 1> v2 deleted {"code":"N"} [bms s1 (gone), oem os1 (gone)]
    u9 oem device o1 {"serial":"SN-1","site_id":null}
      oem:u9 echo: oem says back what it was sent
    u10 bms site s1 {"code":"N"}
      bms:u10 accepted: the record is back: bms has it, bms had deleted it; taken: code
      = <site 1> v3 {"code":"N"} [bms s1, oem os1 (gone), oem (open create)]
      → oem: create site - rev 3 {"code":"N"} changed: code
      → bms: update device b1 rev 1 {"id":"b1","serial":"SN-1","site_id":"s1"} changed: site_id
    u11 oem device o1 {"name":"Fan","serial":"SN-1","site_id":null}
      oem:u11 accepted: taken: name
      = <device 1> v2 {"name":"Fan","serial":"SN-1","site_id":"<site 1>"} [bms b1, oem o1]
      → bms: update device b1 rev 2 {"id":"b1","name":"Fan","serial":"SN-1","site_id":"s1"} changed: name
    u12 oem receipt site os2 canonical_id=<site 1> rev=3 status=applied
      oem:u12 unchanged: oem made the record; there it is os2
      = <site 1> v3 {"code":"N"} [bms s1, oem os1 (gone), oem os2]
      → oem: update device o1 rev 2 {"id":"o1","name":"Fan","serial":"SN-1","site_id":"os2"} changed: site_id
    u13 oem device o1 {"name":"Fan","serial":"SN-1","site_id":"os2"}
      oem:u13 unchanged: agreed already: site_id
    "#);
}

#[test]
fn so_it_is_where_the_parent_was_not_deleted_but_counted_as_deleted() {
    let mut scene = places("keep", "keep");
    scene.send(delete("bms", "site", "s1"));
    scene.receipt_with("oem", "os1", "rejected", |message| message);
    scene.send(patch("bms", "device", "b1", json!({"name": "Fan"})));
    scene.applies("oem", "o1");
    scene.skip_ahead();
    scene.says("bms", "site", "s1", json!({"code": "N"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u11 bms site s1 {"code":"N"}
      bms:u11 accepted: the record is back: bms has it, bms had deleted it; taken: code
      = <site 1> v3 {"code":"N"} [bms s1, oem os1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan","serial":"SN-1","site_id":"s1"} changed: site_id
      → oem: update device o1 rev 3 {"id":"o1","name":"Fan","serial":"SN-1","site_id":"os1"} changed: site_id
    "#);
}

#[test]
fn why_a_reference_is_gone_can_be_asked() {
    let mut scene = places("clear", "keep");
    scene.send(delete("bms", "site", "s1"));
    let device = EntityType::new("device").unwrap();
    let records = scene.ask(async |store| store.list_records(Some(&device), None, 9).await);
    let source = records[0].record.provenance.of(&"site_id".into()).unwrap();
    assert_eq!((source.system.as_str(), source.by.name.as_deref()), ("syncline", Some("on_parent_delete: clear")));
    assert!(source.update.to_string().starts_with("syncline:clear:"), "{}", source.update);
    assert_eq!(source.version, records[0].record.version);
}

#[test]
fn children_are_deleted_with_their_parent_and_theirs_with_them() {
    let mut scene = places("cascade", "cascade");
    scene.send(delete("bms", "site", "s1"));
    insta::assert_snapshot!(scene.story(), @r#"
    u7 bms delete site s1
      bms:u7 accepted: bms deleted the record: it is deleted everywhere
      syncline:delete accepted: site <site 1> is deleted: this record referred to it (site_id) and is deleted, too (on_parent_delete = "cascade") | by Rule on_parent_delete: cascade
      syncline:delete accepted: device <device 1> is deleted: this record referred to it (device_id) and is deleted, too (on_parent_delete = "cascade") | by Rule on_parent_delete: cascade
      = <site 1> v2 deleted {"code":"N"} [bms s1 (gone), oem os1]
      = <device 1> v2 deleted {"serial":"SN-1","site_id":"<site 1>"} [bms b1, oem o1]
      = <sensor 1> v2 deleted {"device_id":"<device 1>","serial":"T-1"} [bms t1, oem ot1]
      → oem: delete site os1 rev 2 {} changed: 
      → bms: delete device b1 rev 1 {} changed: 
      → oem: delete device o1 rev 2 {} changed: 
      → bms: delete sensor t1 rev 1 {} changed: 
      → oem: delete sensor ot1 rev 2 {} changed:
    "#);
}

#[test]
fn what_a_system_says_of_a_child_that_went_along_is_dropped() {
    let mut scene = places("cascade", "keep");
    scene.send(delete("bms", "site", "s1"));
    scene.skip_ahead();
    scene.send(patch("bms", "device", "b1", json!({"name": "Fan"})));
    scene.says("bms", "device", "b2", json!({"serial": "SN-1", "site_id": null}));
    insta::assert_snapshot!(scene.story(), @r#"
    u8 bms patch device b1 {"name":"Fan"}
      bms:u8 dropped: the record went with one it referred to (version 2); a delete wins over what comes later (delete.conflict) | modified_fields: name
      → bms: delete device b1 rev 2 {} changed: 
    u9 bms device b2 {"serial":"SN-1","site_id":null}
      bms:u9 accepted: a new record from bms
      = <device 2> v1 {"serial":"SN-1","site_id":null} [bms b2, oem (open create)]
      → oem: create device - rev 1 {"serial":"SN-1","site_id":null} changed: serial
    "#);
}

#[test]
fn each_type_has_its_own_way() {
    let mut scene = places("cascade", "clear");
    scene.send(delete("bms", "site", "s1"));
    insta::assert_snapshot!(scene.story(), @r#"
    u7 bms delete site s1
      bms:u7 accepted: bms deleted the record: it is deleted everywhere
      syncline:delete accepted: site <site 1> is deleted: this record referred to it (site_id) and is deleted, too (on_parent_delete = "cascade") | by Rule on_parent_delete: cascade
      syncline:clear accepted: device <device 1> is deleted: device_id does not refer to it any more (on_parent_delete = "clear") | by Rule on_parent_delete: clear
      = <site 1> v2 deleted {"code":"N"} [bms s1 (gone), oem os1]
      = <device 1> v2 deleted {"serial":"SN-1","site_id":"<site 1>"} [bms b1, oem o1]
      = <sensor 1> v2 {"device_id":null,"serial":"T-1"} [bms t1, oem ot1]
      → oem: delete site os1 rev 2 {} changed: 
      → bms: delete device b1 rev 1 {} changed: 
      → oem: delete device o1 rev 2 {} changed: 
      → bms: update sensor t1 rev 1 {"device_id":null,"id":"t1","serial":"T-1"} changed: device_id
      → oem: update sensor ot1 rev 2 {"device_id":null,"id":"ot1","serial":"T-1"} changed: device_id
    "#);
}

#[test]
fn a_parent_with_children_is_only_deleted_with_a_persons_word() {
    let mut scene = places("review", "keep");
    scene.send(delete("bms", "site", "s1").id("del"));
    let update = UpdateId::try_from("bms:del".to_owned()).unwrap();
    let word = Word { says: Says::Approved { edited: None }, by: Some("anna".to_owned()), at: scene.now(), reason: None };
    scene.act(Request::Judge { update, word: Some(word) }, "anna").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    del bms delete site s1
      bms:del parked (review): bms deleted the record, and there are records of type device that refer to it; a person says whether it is deleted (on_parent_delete)
    … anna approves bms:del
      bms:del accepted: approved by anna; bms deleted the record: it is deleted everywhere | by Person anna | attempt 2
      = <site 1> v2 deleted {"code":"N"} [bms s1 (gone), oem os1]
      → oem: delete site os1 rev 2 {} changed:
    "#);
}

#[test]
fn a_person_may_keep_the_parent() {
    let mut scene = places("review", "keep");
    scene.send(delete("bms", "site", "s1").id("del"));
    let update = UpdateId::try_from("bms:del".to_owned()).unwrap();
    let word = Word { says: Says::Rejected, by: Some("anna".to_owned()), at: scene.now(), reason: Some("it is still used".to_owned()) };
    scene.act(Request::Judge { update, word: Some(word) }, "anna").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    del bms delete site s1
      bms:del parked (review): bms deleted the record, and there are records of type device that refer to it; a person says whether it is deleted (on_parent_delete)
    … anna rejects bms:del
      bms:del dropped: rejected by anna: it is still used | by Person anna | attempt 2
      = <site 1> v1 {"code":"N"} [bms s1 (gone), oem os1, bms (open create)]
      → bms: create site - rev 1 {"code":"N"} changed: code
    "#);
}

#[test]
fn a_parent_without_children_asks_nobody() {
    let mut scene = places("review", "review");
    scene.send(delete("bms", "sensor", "t1"));
    scene.send(delete("bms", "device", "b1"));
    scene.send(delete("bms", "site", "s1"));
    insta::assert_snapshot!(scene.story(), @r#"
    u7 bms delete sensor t1
      bms:u7 accepted: bms deleted the record: it is deleted everywhere
      = <sensor 1> v2 deleted {"device_id":"<device 1>","serial":"T-1"} [bms t1 (gone), oem ot1]
      → oem: delete sensor ot1 rev 2 {} changed: 
    u8 bms delete device b1
      bms:u8 accepted: bms deleted the record: it is deleted everywhere
      = <device 1> v2 deleted {"serial":"SN-1","site_id":"<site 1>"} [bms b1 (gone), oem o1]
      → oem: delete device o1 rev 2 {} changed: 
    u9 bms delete site s1
      bms:u9 accepted: bms deleted the record: it is deleted everywhere
      = <site 1> v2 deleted {"code":"N"} [bms s1 (gone), oem os1]
      → oem: delete site os1 rev 2 {} changed:
    "#);
}

#[test]
fn a_child_that_has_moved_away_is_not_touched() {
    let mut scene = places("cascade", "keep");
    scene.says("bms", "site", "s2", json!({"code": "S"}));
    scene.applies("oem", "os2");
    scene.send(patch("oem", "device", "o1", json!({"site_id": "os2"})));
    scene.skip_ahead();
    scene.send(delete("bms", "site", "s1"));
    insta::assert_snapshot!(scene.story(), @r#"
    u10 bms delete site s1
      bms:u10 accepted: bms deleted the record: it is deleted everywhere
      = <site 1> v2 deleted {"code":"N"} [bms s1 (gone), oem os1]
      → oem: delete site os1 rev 2 {} changed:
    "#);
}

#[test]
fn only_one_reference_of_a_list_goes() {
    let config = "
[entities.site]
[entities.device]
references = { site_ids = \"site\" }
on_parent_delete = \"clear\"
";
    let mut scene = Scene::with(config).start();
    scene.says("bms", "site", "s1", json!({}));
    scene.says("bms", "site", "s2", json!({}));
    scene.says("bms", "device", "b1", json!({"site_ids": ["s1", "s2"]}));
    scene.skip_ahead();
    scene.send(delete("bms", "site", "s1"));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 bms delete site s1
      bms:u4 accepted: bms deleted the record: it is deleted everywhere
      syncline:clear accepted: site <site 1> is deleted: site_ids does not refer to it any more (on_parent_delete = "clear") | by Rule on_parent_delete: clear
      = <site 1> v2 deleted {} [bms s1 (gone)]
      = <device 1> v2 {"site_ids":["<site 2>"]} [bms b1]
    "#);
}

#[test]
fn more_children_than_one_transaction_takes() {
    let config = "
[orchestration]
delete_brake = { count = 5 }
[entities.site]
[entities.device]
references = { site_id = \"site\" }
on_parent_delete = \"cascade\"
";
    let mut scene = Scene::with(config).start();
    scene.says("bms", "site", "s1", json!({}));
    let device = |n: usize| crate::support::whole("bms", "device", &format!("b{n}"), json!({"site_id": "s1"}));
    if Scene::takes_several_at_once() {
        scene.together((0..450).map(device));
    } else {
        (0..450).for_each(|n| scene.send(device(n)));
    }
    scene.send(delete("bms", "site", "s1"));
    let (deleted, tasks) = scene.ask(async |store| {
        let device = EntityType::new("device").unwrap();
        let devices = store.list_records(Some(&device), None, 1000).await?;
        let deleted = devices.iter().filter(|device| device.record.tombstone.is_some()).count();
        Ok((deleted, store.tasks(9).await?))
    });
    assert_eq!((deleted, tasks), (450, Vec::new()));
}

#[test]
fn what_a_restart_interrupts_goes_on_after_it() {
    if !Scene::by_hand() {
        return;
    }
    let mut scene = places("cascade", "cascade");
    scene.decide_only(0, delete("bms", "site", "s1"));
    scene.commit_and_end(0);
    scene.restart();
    insta::assert_snapshot!(scene.story(), @r#"
    u7 bms delete site s1
    … restart
      bms:u7 accepted: bms deleted the record: it is deleted everywhere
      syncline:delete accepted: site <site 1> is deleted: this record referred to it (site_id) and is deleted, too (on_parent_delete = "cascade") | by Rule on_parent_delete: cascade
      syncline:delete accepted: device <device 1> is deleted: this record referred to it (device_id) and is deleted, too (on_parent_delete = "cascade") | by Rule on_parent_delete: cascade
      = <site 1> v2 deleted {"code":"N"} [bms s1 (gone), oem os1]
      = <device 1> v2 deleted {"serial":"SN-1","site_id":"<site 1>"} [bms b1, oem o1]
      = <sensor 1> v2 deleted {"device_id":"<device 1>","serial":"T-1"} [bms t1, oem ot1]
      → oem: delete site os1 rev 2 {} changed: 
      → bms: delete device b1 rev 1 {} changed: 
      → oem: delete device o1 rev 2 {} changed: 
      → bms: delete sensor t1 rev 1 {} changed: 
      → oem: delete sensor ot1 rev 2 {} changed:
    "#);
}
