//! What people do: they review, retry, requeue and discard.

use std::time::Duration;

use serde_json::{Value, json};
use syncline::domain::change::Record;
use syncline::domain::handler::{UpdateMeta, Verdict};
use syncline::domain::ids::UpdateId;
use syncline::domain::review::{Says, Word};
use syncline::engine::acts::{Refusal, Request};

use crate::support::{Message, Scene, patch, whole};

const DEVICES: &str = r#"
[orchestration]
push_updates = true
retry_policy = { max_attempts = 1 }
[entities.device]
keys = [{ fields = ["serial"] }]
references = { parent_id = "device" }
[systems.bms.entities.device]
create = false
[systems.oem.entities.device]
create = false
rename = { name = "title" }
"#;

const DAY: Duration = Duration::from_secs(86_400);

/// Changes of a price are for a person, unless one has spoken; some prices nobody takes, and some break it.
fn careful(_: &mut Record, _: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let is_price = meta.changed().iter().any(|field| field.as_str() == "price");
    match meta.approval() {
        None if is_price => Verdict::review("a price is for a person"),
        Some(approval) if approval.by == "nobody" => Verdict::skip("nobody may approve it"),
        Some(_) | None => Verdict::accept(None),
    }
}

fn breaks(proposed: &mut Record, _: Option<&Record>, _: &UpdateMeta) -> Verdict {
    assert!(proposed.get("name") != Some(&json!("bad")), "no such name");
    Verdict::accept(None)
}

fn update(id: &str) -> UpdateId {
    UpdateId::try_from(id.to_owned()).unwrap()
}

/// What somebody does, as a story tells it.
pub fn told(request: &Request, by: &str) -> String {
    match request {
        Request::Judge { update, word, .. } => match word.as_ref().map(|word| &word.says) {
            None => format!("… {by} retries {update}"),
            Some(Says::Rejected | Says::Withdrawn { .. }) => format!("… {by} rejects {update}"),
            Some(Says::Approved { edited: None }) => format!("… {by} approves {update}"),
            Some(Says::Approved { edited: Some(edited) }) => format!("… {by} approves {update} as {}", json!(edited)),
        },
        Request::Requeue { id, edited: None } => format!("… {by} requeues {id}"),
        Request::Requeue { id, edited: Some(text) } => format!("… {by} requeues {id} as {text}"),
        Request::Discard { id } => format!("… {by} discards {id}"),
        Request::DontCreate { record, system } => format!("… {by} does not want {record} in {system}"),
        Request::Erase { record, .. } => format!("… {by} has the values of {record} erased"),
        Request::Merge { winner, loser, .. } => format!("… {by} says that {loser} is {winner}"),
        Request::Split { record, natives, .. } => {
            let natives: Vec<String> = natives.iter().map(|(system, id)| format!("{system}'s {id}")).collect();
            format!("… {by} says that {} is not {record}", natives.join(" and "))
        }
    }
}

impl Scene {
    fn judge(&mut self, id: &str, says: Option<Says>, by: &str, reason: Option<&str>) -> Result<(), Refusal> {
        let word = says.map(|says| Word { says, by: Some(by.to_owned()), at: self.now(), reason: reason.map(str::to_owned) });
        self.act(Request::Judge { update: update(id), word }, by)
    }

    pub fn approve(&mut self, id: &str, by: &str) -> Result<(), Refusal> {
        self.judge(id, Some(Says::Approved { edited: None }), by, None)
    }

    fn approve_edited(&mut self, id: &str, by: &str, edited: Value) -> Result<(), Refusal> {
        self.judge(id, Some(Says::Approved { edited: edited.as_object().cloned() }), by, None)
    }

    pub fn reject(&mut self, id: &str, by: &str, reason: &str) -> Result<(), Refusal> {
        self.judge(id, Some(Says::Rejected), by, Some(reason))
    }

    fn retry(&mut self, id: &str, by: &str) -> Result<(), Refusal> {
        self.judge(id, None, by, None)
    }

    pub fn requeue(&mut self, id: &str, by: &str, edited: Option<&Value>) -> Result<(), Refusal> {
        self.act(Request::Requeue { id: id.to_owned(), edited: edited.map(ToString::to_string) }, by)
    }

    fn discard(&mut self, id: &str, by: &str) -> Result<(), Refusal> {
        self.act(Request::Discard { id: id.to_owned() }, by)
    }
}

/// Both know the device.
fn known() -> Scene {
    let mut scene = Scene::with(DEVICES).handler("device", careful).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
    scene.says("oem", "device", "o1", json!({"serial": "S1", "title": "Fan"}));
    scene.skip_ahead();
    scene
}

fn from_oem(entity: Value) -> Message {
    whole("oem", "device", "o1", entity).base(0)
}

#[test]
fn s30_approved_with_an_edit_on_top_of_what_came_meanwhile() {
    let mut scene = known();
    scene.send(from_oem(json!({"serial": "S1", "title": "Fan AX", "price": 10})).id("p"));
    // Another update of the record passes.
    scene.send(patch("bms", "device", "b1", json!({"room": "B2"})).base(0));
    scene.approve_edited("oem:p", "anna", json!({"serial": "S1", "title": "Fan AX", "price": 12})).unwrap();
    let again = scene.approve("oem:p", "ben");
    assert!(matches!(again, Err(Refusal::Gone | Refusal::Decided(_))), "{again:?}");
    insta::assert_snapshot!(scene.story(), @r#"
    p oem device o1 {"price":10,"serial":"S1","title":"Fan AX"} base=0
      oem:p parked (review): a price is for a person | by Handler device
    u3 bms patch device b1 {"room":"B2"} base=0
      bms:u3 accepted: taken: room | by Handler device
      = <device 1> v2 {"name":"Fan","room":"B2","serial":"S1"} [bms b1, oem o1]
      → oem: update device o1 rev 1 {"id":"o1","price":10,"room":"B2","serial":"S1","title":"Fan AX"} changed: room
    … anna approves oem:p as {"price":12,"serial":"S1","title":"Fan AX"}
      oem:p partially_accepted: approved by anna, who edited price; taken: name; price becomes 12 (edited by anna) | by Person anna | modified_fields: price | attempt 2
      = <device 1> v3 {"name":"Fan AX","price":12,"room":"B2","serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan AX","price":12,"room":"B2","serial":"S1"} changed: name, price
      → oem: update device o1 rev 2 {"id":"o1","price":12,"room":"B2","serial":"S1","title":"Fan AX"} changed: price
    … ben approves oem:p
    "#);
    let source = scene.ask(async |store| store.list_records(None, None, 9).await)[0].record.provenance.of(&"price".into()).cloned();
    assert_eq!(serde_json::to_value(source.unwrap().by).unwrap(), json!({"kind": "person", "name": "anna"}));
}

#[test]
fn s30_a_rejected_update_is_corrected_at_its_source() {
    let mut scene = known();
    scene.send(from_oem(json!({"serial": "S1", "title": "Fan", "price": 10})).id("p"));
    scene.reject("oem:p", "anna", "not agreed").unwrap();
    scene.send(from_oem(json!({"serial": "S1", "title": "Fan", "price": 10})).id("p"));
    insta::assert_snapshot!(scene.story(), @r#"
    p oem device o1 {"price":10,"serial":"S1","title":"Fan"} base=0
      oem:p parked (review): a price is for a person | by Handler device
    … anna rejects oem:p
      oem:p dropped: rejected by anna: not agreed | by Person anna | modified_fields: price | attempt 2
      → oem: update device o1 rev 1 {"id":"o1","price":null,"serial":"S1","title":"Fan"} changed: price
    p oem device o1 {"price":10,"serial":"S1","title":"Fan"} base=0
      decided before: 1
    "#);
}

#[test]
fn s30_a_new_record_in_review() {
    let mut scene = Scene::with(DEVICES).handler("device", careful).start();
    scene.send(whole("oem", "device", "o1", json!({"serial": "S1", "price": 10})).id("p"));
    scene.send(whole("oem", "device", "o2", json!({"serial": "S2", "price": 10})).id("q"));
    scene.restart();
    scene.approve_edited("oem:p", "anna", json!({"serial": "S1", "title": "Fan", "price": 10})).unwrap();
    scene.reject("oem:q", "anna", "a test record").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    p oem device o1 {"price":10,"serial":"S1"}
      oem:p parked (review): a price is for a person | by Handler device
    q oem device o2 {"price":10,"serial":"S2"}
      oem:q parked (review): a price is for a person | by Handler device
    … restart
    … anna approves oem:p as {"price":10,"serial":"S1","title":"Fan"}
      oem:p partially_accepted: approved by anna, who edited name; a new record from oem | by Person anna | modified_fields: name | attempt 2
      = <device 1> v1 {"name":"Fan","price":10,"serial":"S1"} [oem o1]
      → oem: update device o1 rev 1 {"id":"o1","price":10,"serial":"S1","title":"Fan"} changed: title
    … anna rejects oem:q
      oem:q dropped: rejected by anna: a test record | by Person anna | modified_fields: price, serial | attempt 2
    "#);
}

#[test]
fn s30_a_handler_may_still_skip_what_was_approved() {
    let mut scene = known();
    scene.send(from_oem(json!({"serial": "S1", "title": "Fan", "price": 10})).id("p"));
    scene.approve("oem:p", "nobody").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    p oem device o1 {"price":10,"serial":"S1","title":"Fan"} base=0
      oem:p parked (review): a price is for a person | by Handler device
    … nobody approves oem:p
      oem:p dropped: nobody may approve it (approved by nobody) | by Handler device | modified_fields: price | attempt 2
      → oem: update device o1 rev 1 {"id":"o1","price":null,"serial":"S1","title":"Fan"} changed: price
    "#);
}

#[test]
fn s30_what_the_source_took_back_is_not_approved_any_more() {
    let mut scene = known();
    scene.send(from_oem(json!({"serial": "S1", "title": "Fan", "price": 10})).id("p"));
    // Each leaves something of it, so that it goes on waiting.
    scene.send(patch("oem", "device", "o1", json!({"price": 11})).base(0).id("q"));
    scene.approve("oem:p", "anna").unwrap();
    scene.approve("oem:q", "anna").unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    p oem device o1 {"price":10,"serial":"S1","title":"Fan"} base=0
      oem:p parked (review): a price is for a person | by Handler device
    q oem patch device o1 {"price":11} base=0
      oem:q parked (review): a price is for a person | by Handler device
    … anna approves oem:p
      oem:p unchanged: approved by anna; its fields were changed again while it waited | by Person anna | attempt 2
    … anna approves oem:q
      oem:q accepted: approved by anna; taken: price | by Person anna | attempt 2
      = <device 1> v2 {"name":"Fan","price":11,"serial":"S1"} [bms b1, oem o1]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan","price":11,"serial":"S1"} changed: price
    "#);
}

#[test]
fn nobody_reviews_it_in_time() {
    for verdict in ["skip", "accept"] {
        let timeout = format!("push_updates = true\nreview_timeout = {{ after = \"2d\", verdict = \"{verdict}\" }}");
        let mut scene = Scene::with(&DEVICES.replace("push_updates = true", &timeout)).handler("device", careful).start();
        scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
        scene.skip_ahead();
        scene.send(whole("bms", "device", "b1", json!({"serial": "S1", "name": "Fan", "price": 10})).id("p"));
        scene.wait(DAY);
        // Looking at it again does not make the time longer.
        scene.retry("bms:p", "anna").unwrap();
        scene.wait(DAY);
        match verdict {
            "skip" => insta::assert_snapshot!(scene.story(), @r#"
            p bms device b1 {"name":"Fan","price":10,"serial":"S1"}
              bms:p parked (review): a price is for a person | by Handler device
            … 86400s later
            … anna retries bms:p
              bms:p parked (review): a price is for a person (retried by anna) | by Handler device | attempt 2
            … 86400s later
              bms:p dropped: nobody reviewed it in time, so it is skipped | by Timeout  | modified_fields: price | attempt 3
              → bms: update device b1 rev 1 {"id":"b1","name":"Fan","price":null,"serial":"S1"} changed: price
            "#),
            _ => insta::assert_snapshot!(scene.story(), @r#"
            p bms device b1 {"name":"Fan","price":10,"serial":"S1"}
              bms:p parked (review): a price is for a person | by Handler device
            … 86400s later
            … anna retries bms:p
              bms:p parked (review): a price is for a person (retried by anna) | by Handler device | attempt 2
            … 86400s later
              bms:p accepted: nobody reviewed it in time, so it is accepted; taken: price | by Timeout  | attempt 3
              = <device 1> v2 {"name":"Fan","price":10,"serial":"S1"} [bms b1]
            "#),
        }
    }
}

#[test]
fn whatever_waits_can_be_retried() {
    let mut scene = Scene::with(DEVICES).handler("device", careful).start();
    scene.send(whole("bms", "device", "b2", json!({"serial": "S2", "parent_id": "b1"})).id("child"));
    scene.retry("bms:child", "anna").unwrap();
    let refused = scene.approve("bms:child", "anna");
    assert!(matches!(refused, Err(Refusal::WaitsOtherwise(..))), "{refused:?}");
    assert!(scene.retry("bms:nobody", "anna").is_err());
    insta::assert_snapshot!(scene.story(), @r#"
    child bms device b2 {"parent_id":"b1","serial":"S2"}
      bms:child parked (missing_reference): waiting for bms's device b1 (parent_id), not known yet
    … anna retries bms:child
      bms:child parked (missing_reference): waiting for bms's device b1 (parent_id), not known yet (retried by anna) | attempt 2
    … anna approves bms:child
    … anna retries bms:nobody
    "#);
}

#[test]
fn an_approval_stays_with_an_update_that_must_wait_for_something_else() {
    let mut scene = known();
    scene.says("bms", "device", "b2", json!({"serial": "S2"}));
    scene.skip_ahead();
    scene.send(from_oem(json!({"serial": "S1", "title": "Fan", "price": 10})).id("p"));
    let nowhere = json!({"serial": "S1", "title": "Fan", "price": 10, "parent_id": "o9"});
    let refused = scene.approve_edited("oem:p", "anna", nowhere);
    assert!(matches!(refused, Err(Refusal::Unfit(_))), "{refused:?}");
    // The edit makes it a thing that another record is already: somebody has to look into that first.
    scene.approve_edited("oem:p", "anna", json!({"serial": "S2", "title": "Fan", "price": 10})).unwrap();
    scene.says("bms", "device", "b2", json!({"serial": "S3"}));
    insta::assert_snapshot!(scene.story(), @r#"
    p oem device o1 {"price":10,"serial":"S1","title":"Fan"} base=0
      oem:p parked (review): a price is for a person | by Handler device
    … anna approves oem:p as {"parent_id":"o9","price":10,"serial":"S1","title":"Fan"}
    … anna approves oem:p as {"price":10,"serial":"S2","title":"Fan"}
      oem:p parked (match_collision): its key values belong to different records (serial "S2"): <device 1> and <device 2>; merge them or correct a key (approved by anna) | attempt 2
    u4 bms device b2 {"serial":"S3"}
      bms:u4 accepted: taken: serial | by Handler device
      oem:p partially_accepted: approved by anna, who edited serial; taken: price | by Person anna | modified_fields: serial | attempt 3
      = <device 1> v2 {"name":"Fan","price":10,"serial":"S2"} [bms b1, oem o1]
      = <device 2> v2 {"serial":"S3"} [bms b2]
      → bms: update device b1 rev 1 {"id":"b1","name":"Fan","price":10,"serial":"S2"} changed: price, serial
      → oem: update device o1 rev 1 {"id":"o1","price":10,"serial":"S2","title":"Fan"} changed: serial
    "#);
}

#[test]
fn s54_a_dead_letter_edited_and_requeued() {
    let mut scene = Scene::with(DEVICES).handler("device", breaks).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
    scene.skip_ahead();
    let bad = |name: &str| json!({"id": "x", "system": "bms", "type": "device", "native_id": "b1", "seq": 4, "entity": {"serial": "S1", "name": name}});
    scene.send(Message::of(bad("bad")));
    scene.requeue("bms:x", "anna", None).unwrap();
    let mut other = bad("Pump");
    other["id"] = json!("y");
    let refused = scene.requeue("bms:x", "anna", Some(&other));
    assert!(matches!(refused, Err(Refusal::OtherId { .. })), "{refused:?}");
    scene.requeue("bms:x", "anna", Some(&bad("Pump"))).unwrap();
    // Its redelivery says what was never decided.
    scene.send(Message::of(bad("Pump")));
    assert!(scene.requeue("bms:x", "anna", None).is_err());
    insta::assert_snapshot!(scene.story(), @r#"
    x bms device b1 {"name":"bad","serial":"S1"} seq=4
      dead letter bms:x handler_failed: the handler failed 1 times, the last time: the handler panicked: no such name; mend it, then requeue this message
    … anna requeues bms:x
    … anna requeues bms:x as {"entity":{"name":"Pump","serial":"S1"},"id":"y","native_id":"b1","seq":4,"system":"bms","type":"device"}
    … anna requeues bms:x as {"entity":{"name":"Pump","serial":"S1"},"id":"x","native_id":"b1","seq":4,"system":"bms","type":"device"}
      bms:x accepted: taken: name (edited and requeued by anna) | by Handler device
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1]
    x bms device b1 {"name":"Pump","serial":"S1"} seq=4
      decided before: 1
    … anna requeues bms:x
    "#);
    assert!(scene.ask(async |store| store.dead_letters(None, 9).await).items.is_empty());
}

#[test]
fn s54_one_that_failed_after_it_had_waited() {
    let config = DEVICES.replace("max_attempts = 1", "max_attempts = 2, initial = \"1s\"");
    let mut scene = Scene::with(&config).handler("device", breaks).start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
    scene.skip_ahead();
    let bad = |name: &str| whole("bms", "device", "b1", json!({"serial": "S1", "name": name})).seq(4).id("x");
    scene.send(bad("bad"));
    scene.wait(Duration::from_secs(2));
    scene.send(bad("bad"));
    scene.restart();
    scene.requeue("bms:x", "anna", Some(&bad("Pump").body())).unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    x bms device b1 {"name":"bad","serial":"S1"} seq=4
      bms:x deferred (time): the handler failed (attempt 1 of 2): the handler panicked: no such name; it is tried again
    … 2s later
      dead letter bms:x handler_failed: the handler failed 2 times, the last time: the handler panicked: no such name; mend it, then requeue this message
    x bms device b1 {"name":"bad","serial":"S1"} seq=4
      decided before: 1
    … restart
    … anna requeues bms:x as {"entity":{"name":"Pump","serial":"S1"},"id":"x","native_id":"b1","seq":4,"system":"bms","type":"device"}
      bms:x accepted: taken: name (edited and requeued by anna) | by Handler device
      = <device 1> v2 {"name":"Pump","serial":"S1"} [bms b1]
    "#);
}

#[test]
fn s54_a_discarded_one_stays_away() {
    let mut scene = Scene::with(DEVICES).handler("device", breaks).start();
    let bad = || whole("bms", "device", "b1", json!({"serial": "S1", "name": "bad"})).id("x");
    scene.send(bad());
    scene.discard("bms:x", "anna").unwrap();
    assert!(scene.discard("bms:x", "anna").is_err());
    scene.restart();
    scene.send(bad());
    insta::assert_snapshot!(scene.story(), @r#"
    x bms device b1 {"name":"bad","serial":"S1"}
      dead letter bms:x handler_failed: the handler failed 1 times, the last time: the handler panicked: no such name; mend it, then requeue this message
    … anna discards bms:x
    … anna discards bms:x
    … restart
    x bms device b1 {"name":"bad","serial":"S1"}
      decided before: 1
    "#);
    assert!(scene.ask(async |store| store.dead_letters(None, 9).await).items.is_empty());
}

#[test]
fn s54_one_that_was_never_readable() {
    // Over HTTP its sender is told at once.
    if !Scene::by_hand() {
        return;
    }
    let mut scene = Scene::with(DEVICES).start();
    scene.raw(b"\xff\xfe");
    let id = scene.ask(async |store| store.dead_letters(None, 9).await).items[0].id.clone();
    let refused = scene.requeue(&id, "anna", None);
    assert!(matches!(refused, Err(Refusal::Unfit(_))), "{refused:?}");
    let message = whole("bms", "device", "b1", json!({"serial": "S1"})).id("x").body();
    scene.requeue(&id, "anna", Some(&message)).unwrap();
    insta::assert_snapshot!(scene.story(), @r#"
    ��
      dead letter bytes:1 not_utf8: byte 0 (0xff) is not UTF-8; encode the message as UTF-8
    … anna requeues bytes:1
    … anna requeues bytes:1 as {"entity":{"serial":"S1"},"id":"x","native_id":"b1","system":"bms","type":"device"}
      bms:x accepted: a new record from bms (edited and requeued by anna)
      = <device 1> v1 {"serial":"S1"} [bms b1]
    "#);
    assert!(scene.ask(async |store| store.dead_letters(None, 9).await).items.is_empty());
}

#[test]
fn an_act_that_loses_a_race_works_on_what_is_there_then() {
    if !Scene::by_hand() {
        return;
    }
    let mut scene = Scene::with(DEVICES).handler("device", careful).two_orchestrators().start();
    scene.says("bms", "device", "b1", json!({"serial": "S1", "name": "Fan"}));
    scene.skip_ahead();
    scene.send(whole("bms", "device", "b1", json!({"serial": "S1", "name": "Fan", "price": 10})).id("p"));
    let both = scene.two_acts_at_once([("anna", Says::Approved { edited: None }), ("ben", Says::Rejected)].map(|(by, says)| {
        let word = Some(Word { says, by: Some(by.to_owned()), at: scene.now(), reason: None });
        (Request::Judge { update: update("bms:p"), word }, by)
    }));
    assert!(matches!(both, [Ok(()), Err(Refusal::Gone)]), "{both:?}");
    insta::assert_snapshot!(scene.story(), @r#"
    p bms device b1 {"name":"Fan","price":10,"serial":"S1"}
      bms:p parked (review): a price is for a person | by Handler device
    … anna approves bms:p
    … ben rejects bms:p
      bms:p accepted: approved by anna; taken: price | by Person anna | attempt 2
      = <device 1> v2 {"name":"Fan","price":10,"serial":"S1"} [bms b1]
    "#);
}

#[test]
fn s30_a_delete_in_review() {
    let config = DEVICES.replace("references =", "delete = { policy = \"review\" }\nreferences =");
    for approves in [true, false] {
        let mut scene = Scene::with(&config).start();
        scene.says("bms", "device", "b1", json!({"serial": "S1"}));
        scene.says("oem", "device", "o1", json!({"serial": "S1"}));
        scene.skip_ahead();
        scene.send(Message::of(json!({"id": "d", "system": "bms", "type": "device", "native_id": "b1", "op": "delete"})));
        let refused = scene.approve_edited("bms:d", "anna", json!({"serial": "S2"}));
        assert!(matches!(refused, Err(Refusal::Unfit(_))), "{refused:?}");
        if approves {
            scene.approve("bms:d", "anna").unwrap();
            insta::assert_snapshot!(scene.story(), @r#"
            d bms delete device b1
              bms:d parked (review): bms deleted the record; a person says whether it is deleted everywhere (delete.policy)
            … anna approves bms:d as {"serial":"S2"}
            … anna approves bms:d
              bms:d accepted: approved by anna; bms deleted the record: it is deleted everywhere | by Person anna | attempt 2
              = <device 1> v2 deleted {"serial":"S1"} [bms b1 (gone), oem o1]
              → oem: delete device o1 rev 1 {} changed:
            "#);
        } else {
            scene.reject("bms:d", "anna", "it is still there").unwrap();
            insta::assert_snapshot!(scene.story(), @r#"
            d bms delete device b1
              bms:d parked (review): bms deleted the record; a person says whether it is deleted everywhere (delete.policy)
            … anna approves bms:d as {"serial":"S2"}
            … anna rejects bms:d
              bms:d dropped: rejected by anna: it is still there | by Person anna | attempt 2
              = <device 1> v1 {"serial":"S1"} [bms b1 (gone), oem o1]
            "#);
        }
    }
}
