//! Copies, broken messages, restarts, and things that come at another time.

use std::time::Duration;

use serde_json::json;
use syncline::domain::change::{DeadReason, Record};
use syncline::domain::handler::{UpdateMeta, Verdict};
use syncline::engine::acts::Request;
use syncline::ports::store::DeadLetter;

use crate::support::{Message, Scene, patch, whole};

const SECOND: Duration = Duration::from_secs(1);

const DEVICES: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
[systems.bms.entities.device]
[systems.oem.entities.device]
create = false
"#;

fn device(name: &str) -> Message {
    whole("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": name}))
}

#[test]
fn s51_a_thousand_copies_are_one_decision() {
    let mut scene = Scene::with(DEVICES).start();
    scene.send(device("AHU").id("x"));
    scene.skip_ahead();
    let bytes = br#"{"id":"x","system":"bms","type":"device","native_id":"bmsD1","entity":{"serial":"SN-1","name":"AHU"}}"#;
    for _ in 0..999 {
        scene.raw(bytes);
    }
    let story = scene.story();
    assert_eq!(story.lines().filter(|line| line.contains("decided before: 1")).count(), 999);
    assert_eq!(story.lines().count(), 2 * 999, "nothing else happened");
}

#[test]
fn s51_copies_within_one_batch() {
    if !Scene::takes_several_at_once() {
        return;
    }
    let mut scene = Scene::with(DEVICES).start();
    scene.together([device("AHU").id("x"), device("AHU").id("x"), device("AHU").id("x")]);
    insta::assert_snapshot!(scene.story(), @r#"
    x bms device bmsD1 {"name":"AHU","serial":"SN-1"}
    x bms device bmsD1 {"name":"AHU","serial":"SN-1"}
    x bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      decided before: 2
      bms:x accepted: a new record from bms
      = <device 1> v1 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
    "#);
}

#[test]
fn s51_copies_in_two_orchestrators_at_once() {
    if !Scene::by_hand() {
        return;
    }
    let mut scene = Scene::with(DEVICES).two_orchestrators().start();
    scene.race(device("AHU").id("x"), device("AHU").id("x"));
    insta::assert_snapshot!(scene.story(), @r#"
    x bms device bmsD1 {"name":"AHU","serial":"SN-1"}
    x bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      bms:x accepted: a new record from bms
      = <device 1> v1 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
      decided before: 1
    "#);
}

#[test]
fn s52_the_same_id_with_other_content() {
    let mut scene = Scene::with(DEVICES).start();
    scene.send(device("AHU").id("x"));
    scene.send(device("Fan").id("x"));
    // Another order of the fields, and what only the transport says, is the same content.
    scene.raw(
        br#"{"seq":1,"entity":{"name":"AHU","serial":"SN-1"},"native_id":"bmsD1","type":"device","system":"bms","op":"upsert","id":"x"}"#,
    );
    // Another system may use the same id.
    scene.send(whole("oem", "device", "oemD1", json!({"serial": "SN-1", "name": "AHU"})).id("x"));
    insta::assert_snapshot!(scene.story(), @r#"
    x bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      bms:x accepted: a new record from bms
      = <device 1> v1 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
    x bms device bmsD1 {"name":"Fan","serial":"SN-1"}
      dead letter bms:x#7491dfa0edfd62ad id_reuse: bms:x was decided before with other content; give every change an id of its own
    {"seq":1,"entity":{"name":"AHU","serial":"SN-1"},"native_id":"bmsD1","type":"device","system":"bms",… (123 bytes)
      decided before: 1
    x oem device oemD1 {"name":"AHU","serial":"SN-1"}
      oem:x unchanged: the same thing as in bms: a new link, nothing new in it
      = <device 1> v1 {"name":"AHU","serial":"SN-1"} [bms bmsD1, oem oemD1]
    "#);
}

#[test]
fn a_receipt_under_an_id_that_was_used_before() {
    let mut scene = Scene::with(DEVICES).start();
    scene.send(device("AHU").id("x"));
    scene.send(whole("oem", "device", "oemD1", json!({"serial": "SN-1", "name": "AHU"})).id("x"));
    scene.send(device("Fan").id("y"));
    scene.receipt_with("oem", "oemD1", "applied", |message| message.id("x"));
    scene.receipt_with("oem", "oemD1", "applied", |message| message.id("r"));
    scene.receipt_with("oem", "oemD1", "applied", |message| message.id("r"));
    insta::assert_snapshot!(scene.story(), @r#"
    x bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      bms:x accepted: a new record from bms
      = <device 1> v1 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
    x oem device oemD1 {"name":"AHU","serial":"SN-1"}
      oem:x unchanged: the same thing as in bms: a new link, nothing new in it
      = <device 1> v1 {"name":"AHU","serial":"SN-1"} [bms bmsD1, oem oemD1]
    y bms device bmsD1 {"name":"Fan","serial":"SN-1"}
      bms:y accepted: taken: name
      = <device 1> v2 {"name":"Fan","serial":"SN-1"} [bms bmsD1, oem oemD1]
      → oem: update device oemD1 rev 1 {"id":"oemD1","name":"Fan","serial":"SN-1"} changed: name
    x oem receipt device oemD1 canonical_id=<device 1> rev=1 status=applied
      dead letter oem:x#9674203d64960e6d id_reuse: oem:x was said before with other content; give every receipt an id of its own
    r oem receipt device oemD1 canonical_id=<device 1> rev=1 status=applied
      oem:r unchanged: oem applied rev 1
    r oem receipt device oemD1 canonical_id=<device 1> rev=1 status=applied
      decided before: 1
    "#);
}

#[test]
fn what_was_a_dead_letter_is_decided_no_more() {
    let mut scene = Scene::with(DEVICES).start();
    scene.send(device("AHU").id("1").seq(5));
    scene.send(device("Fan").id("2").seq(5));
    scene.send(device("Pump").id("3").seq(6));
    scene.send(device("Fan").id("2").seq(5));
    insta::assert_snapshot!(scene.story(), @r#"
    1 bms device bmsD1 {"name":"AHU","serial":"SN-1"} seq=5
      bms:1 accepted: a new record from bms
      = <device 1> v1 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
    2 bms device bmsD1 {"name":"Fan","serial":"SN-1"} seq=5
      dead letter bms:2 seq_conflict: seq 5 of bms:device:bmsD1 came before with other content; number every change of a record anew
    3 bms device bmsD1 {"name":"Pump","serial":"SN-1"} seq=6
      bms:3 accepted: taken: name
      = <device 1> v2 {"name":"Pump","serial":"SN-1"} [bms bmsD1]
    2 bms device bmsD1 {"name":"Fan","serial":"SN-1"} seq=5
      decided before: 1
    "#);
}

#[test]
fn s53_what_cannot_be_read_is_kept_and_the_next_is_processed() {
    // Over HTTP its sender is told at once; see tests/http/updates.rs.
    if !Scene::by_hand() {
        return;
    }
    let mut scene = Scene::with(DEVICES).start();
    scene.raw(b"not json");
    scene.raw(b"\xff\xfe");
    scene.raw(
        format!(r#"{{"id":"deep","system":"bms","type":"device","native_id":"d","entity":{{"a":{}{}}}}}"#, "[".repeat(80), "]".repeat(80))
            .as_bytes(),
    );
    scene.raw(
        format!(r#"{{"id":"big","system":"bms","type":"device","native_id":"d","entity":{{"a":"{}"}}}}"#, "x".repeat(1 << 20)).as_bytes(),
    );
    scene.raw(br#"{"id":"op","system":"bms","type":"device","native_id":"d","op":"upsrt","entity":{}}"#);
    scene.raw(br#"{"id":"no-native","system":"bms","type":"device","entity":{}}"#);
    scene.raw(br#"{"system":"bms","type":"device","native_id":"d","entity":{}}"#);
    scene.raw(br#"{"id":"twice","system":"bms","type":"device","native_id":"d","entity":{"a":1,"a":2}}"#);
    scene.raw(br#"{"id":"huge","system":"bms","type":"device","native_id":"d","entity":{"a":1e400}}"#);
    scene.send(device("AHU"));
    insta::assert_snapshot!(scene.story(), @r#"
    not json
      dead letter bytes:1 not_json: the message is not JSON: expected ident, at line 1 column 2
    ��
      dead letter bytes:2 not_utf8: byte 0 (0xff) is not UTF-8; encode the message as UTF-8
    {"id":"deep","system":"bms","type":"device","native_id":"d","entity":{"a":[[[[[[[[[[[[[[[[[[[[[[[[[[… (236 bytes)
      dead letter bms:deep too_deep: the message nests deeper than 64 objects and arrays; flatten it (line 1 column 137)
    {"id":"big","system":"bms","type":"device","native_id":"d","entity":{"a":"xxxxxxxxxxxxxxxxxxxxxxxxxx… (1048653 bytes)
      dead letter bms:big too_large: the message has 1048653 bytes, the limit is 1048576; send less, or raise [limits] message
    {"id":"op","system":"bms","type":"device","native_id":"d","op":"upsrt","entity":{}}
      dead letter bms:op unknown_op: op "upsrt" is not one of upsert, patch, delete, rekey, receipt; did you mean "upsert"?
    {"id":"no-native","system":"bms","type":"device","entity":{}}
      dead letter bms:no-native bad_envelope: native_id is missing; send the record's id in the sending system
    {"system":"bms","type":"device","native_id":"d","entity":{}}
      dead letter bytes:7 no_id: the message has no id; send id, the same one when you send the message again
    {"id":"twice","system":"bms","type":"device","native_id":"d","entity":{"a":1,"a":2}}
      dead letter bms:twice duplicate_key: the key "a" appears twice in one object; send it once (line 1 column 83)
    {"id":"huge","system":"bms","type":"device","native_id":"d","entity":{"a":1e400}}
      dead letter bms:huge number_out_of_range: a number is beyond what a double can hold; send it as text (line 1 column 79)
    u1 bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      bms:u1 accepted: a new record from bms
      = <device 1> v1 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
    "#);
    let dead = scene.ask(async |store| store.dead_letters(None, 100).await).items;
    assert_eq!(dead.len(), 9);
    assert_eq!((dead[0].body.as_deref(), dead[0].encoding.as_deref()), (Some("not json"), None));
    assert_eq!((dead[1].body.as_deref(), dead[1].encoding.as_deref()), (Some("//4="), Some("base64")));
    assert_eq!(dead[3].body.as_deref().map(str::len), Some((1 << 20) + 77));
}

/// Each message that its system has not confirmed says what the record was when it was made.
#[test]
fn a_record_that_no_store_could_keep_holds_up_nothing_else() {
    if !Scene::by_hand() {
        return;
    }
    let away = DEVICES.replace("[systems.oem.entities.device]", "[systems.oem]\nreceipts = \"required\"\n[systems.oem.entities.device]");
    let mut scene = Scene::with(&away).start();
    let large =
        |n: u32| whole("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": n, "plan": format!("{n}{}", "x".repeat(400_000))}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1"}));
    let mut taken = 0;
    let refused = (1..100).find_map(|n| {
        scene.send(large(n).id(&format!("large{n}")));
        taken += 1;
        scene.ask(async |store| store.dead_letters(None, 9).await).items.pop()
    });
    let refused = refused.expect("it can't go on for ever");
    assert!(taken > 10, "{taken}");
    assert_eq!(refused.reason, DeadReason::TooLarge);
    assert!(refused.detail.contains("messages to oem that it has not confirmed"), "{}", refused.detail);
    scene.skip_ahead();
    scene.says("bms", "device", "bmsD2", json!({"serial": "SN-2"}));
    // Once it has answered what it was sent, and the newest of what came after that, the same can be said.
    scene.applies("oem", "oemD1");
    scene.applies("oem", "oemD1");
    scene.act(Request::Requeue { id: refused.id.clone(), edited: None }, "ann").unwrap();
    let story = scene.story();
    assert!(story.contains("accepted: a new record from bms"), "{story}");
    assert!(story.contains(&format!("{} accepted: taken: name and plan", refused.id)), "{story}");
}

#[test]
fn what_cannot_be_read_takes_nobodys_place() {
    if !Scene::by_hand() {
        return;
    }
    let mut scene = Scene::with(DEVICES).start();
    scene.send(device("AHU").id("u1"));
    let broken = |id: &str, op: &str| format!(r#"{{"id":"{id}","system":"bms","type":"device","native_id":"d","op":"{op}"}}"#);
    // An id that was decided, then one of a letter; the same bytes twice are one message.
    for (id, op) in [("u1", "upsrt"), ("u2", "upsrt"), ("u2", "delte"), ("u2", "delte"), ("u2", "upsrt")] {
        scene.raw(broken(id, op).as_bytes());
    }
    let dead = scene.ask(async |store| store.dead_letters(None, 100).await).items;
    let name = |letter: &DeadLetter| letter.id.split_once('#').map_or(letter.id.clone(), |(name, hash)| format!("{name}#{}", hash.len()));
    let mut shown: Vec<_> = dead.iter().map(|letter| (name(letter), letter.body.clone().unwrap())).collect();
    shown.sort();
    assert_eq!(
        shown,
        [
            ("bms:u1#32".to_owned(), broken("u1", "upsrt")),
            ("bms:u2".to_owned(), broken("u2", "upsrt")),
            ("bms:u2#32".to_owned(), broken("u2", "delte"))
        ]
    );
    // It can be mended, under the id it has.
    let apart = dead.iter().find(|letter| letter.id.starts_with("bms:u2#")).unwrap();
    let mended = json!({"id": "u2", "system": "bms", "type": "device", "native_id": "d", "entity": {"serial": "SN-2"}});
    scene.skip_ahead();
    scene.act(Request::Requeue { id: apart.id.clone(), edited: Some(mended.to_string()) }, "ann").unwrap();
    assert!(scene.story().contains("bms:u2 accepted: a new record from bms"), "{}", scene.story());
}

fn wait_for_approval(_: &mut Record, _: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    if meta.attempt() == 1 && meta.changed().iter().any(|field| field.as_str() == "name") {
        return Verdict::defer("the price list is not there yet", Duration::from_secs(2));
    }
    Verdict::accept(None)
}

#[test]
fn s26_deferred_for_two_seconds() {
    let mut scene = Scene::with(DEVICES).handler("device", wait_for_approval).start();
    scene.send(device("AHU"));
    scene.wait(SECOND);
    scene.wait(SECOND);
    scene.wait(SECOND);
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      bms:u1 deferred (time): the price list is not there yet | by Handler device
    … 1s later
    … 1s later
      bms:u1 accepted: a new record from bms | by Handler device | attempt 2
      = <device 1> v1 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
    … 1s later
    "#);
}

#[test]
fn s26_the_same_with_a_restart_in_between() {
    let mut scene = Scene::with(DEVICES).handler("device", wait_for_approval).start();
    scene.send(device("AHU"));
    scene.restart();
    scene.wait(2 * SECOND);
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      bms:u1 deferred (time): the price list is not there yet | by Handler device
    … restart
    … 2s later
      bms:u1 accepted: a new record from bms | by Handler device | attempt 2
      = <device 1> v1 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
    "#);
}

#[test]
fn s26_a_field_that_waits_is_not_corrected_and_is_judged_again() {
    let mut scene = Scene::with(DEVICES).handler("device", wait_for_approval).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "room": "B1"}));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1", "room": "B1"}));
    scene.skip_ahead();
    scene.send(device("AHU").base(0));
    scene.send(patch("oem", "device", "oemD1", json!({"room": "B2"})).base(0));
    scene.wait(2 * SECOND);
    insta::assert_snapshot!(scene.story(), @r#"
    u3 bms device bmsD1 {"name":"AHU","serial":"SN-1"} base=0
      bms:u3 deferred (time): the price list is not there yet | by Handler device
    u4 oem patch device oemD1 {"room":"B2"} base=0
      oem:u4 accepted: taken: room | by Handler device
      = <device 1> v2 {"room":"B2","serial":"SN-1"} [bms bmsD1, oem oemD1]
      → bms: update device bmsD1 rev 1 {"id":"bmsD1","name":"AHU","room":"B2","serial":"SN-1"} changed: room
    … 2s later
      bms:u3 accepted: taken: name | by Handler device | attempt 2
      = <device 1> v3 {"name":"AHU","room":"B2","serial":"SN-1"} [bms bmsD1, oem oemD1]
      → oem: update device oemD1 rev 1 {"id":"oemD1","name":"AHU","room":"B2","serial":"SN-1"} changed: name
    "#);
}

#[test]
fn s26_a_newer_record_overtakes_the_deferred_one() {
    let mut scene = Scene::with(DEVICES).handler("device", wait_for_approval).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.skip_ahead();
    scene.send(device("AHU"));
    scene.send(device("Fan"));
    scene.wait(2 * SECOND);
    insta::assert_snapshot!(scene.story(), @r#"
    u2 bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      bms:u2 deferred (time): the price list is not there yet | by Handler device
    u3 bms device bmsD1 {"name":"Fan","serial":"SN-1"}
      bms:u2 superseded: overtaken by bms:u3, a newer record of the same; until then: waiting for its time
      bms:u3 deferred (time): the price list is not there yet | by Handler device
    … 2s later
      bms:u3 accepted: taken: name | by Handler device | attempt 2
      = <device 1> v2 {"name":"Fan","serial":"SN-1"} [bms bmsD1]
    "#);
}

#[test]
fn s26_a_newer_record_that_says_the_same_leaves_the_deferred_one_alone() {
    let mut scene = Scene::with(DEVICES).handler("device", wait_for_approval).start();
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1"}));
    scene.skip_ahead();
    scene.send(device("AHU"));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "AHU", "room": "B2"}));
    scene.wait(2 * SECOND);
    insta::assert_snapshot!(scene.story(), @r#"
    u2 bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      bms:u2 deferred (time): the price list is not there yet | by Handler device
    u3 bms device bmsD1 {"name":"AHU","room":"B2","serial":"SN-1"}
      bms:u3 accepted: taken: room; not applied: name 'AHU' (nothing new from it; here it is nothing) | by Handler device
      = <device 1> v2 {"room":"B2","serial":"SN-1"} [bms bmsD1]
    … 2s later
      bms:u2 accepted: taken: name | by Handler device | attempt 2
      = <device 1> v3 {"name":"AHU","room":"B2","serial":"SN-1"} [bms bmsD1]
    "#);
}

#[test]
fn s26_a_newer_record_overtakes_a_deferred_new_one() {
    let mut scene = Scene::with(DEVICES).handler("device", wait_for_approval).start();
    scene.send(device("AHU"));
    scene.says("bms", "device", "bmsD1", json!({"serial": "SN-1", "name": "Fan", "room": "B2"}));
    scene.wait(2 * SECOND);
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      bms:u1 deferred (time): the price list is not there yet | by Handler device
    u2 bms device bmsD1 {"name":"Fan","room":"B2","serial":"SN-1"}
      bms:u1 superseded: overtaken by bms:u2, a newer record of the same; until then: waiting for its time
      bms:u2 deferred (time): the price list is not there yet | by Handler device
    … 2s later
      bms:u2 accepted: a new record from bms | by Handler device | attempt 2
      = <device 1> v1 {"name":"Fan","room":"B2","serial":"SN-1"} [bms bmsD1]
    "#);
}

#[test]
fn an_old_copy_does_not_overtake_what_waits() {
    let config = format!("{DEVICES}[entities.sensor]\nreferences = {{ device_id = \"device\" }}\n");
    let sensor = |unit: &str| whole("bms", "sensor", "bmsS1", json!({"unit": unit, "device_id": "bmsD1"}));
    let mut scene = Scene::with(&config).start();
    scene.send(sensor("F").seq(2));
    scene.send(sensor("C").seq(1));
    scene.send(device("AHU"));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 bms sensor bmsS1 {"device_id":"bmsD1","unit":"F"} seq=2
      bms:u1 parked (missing_reference): waiting for bms's device bmsD1 (device_id), not known yet
    u2 bms sensor bmsS1 {"device_id":"bmsD1","unit":"C"} seq=1
      bms:u2 parked (missing_reference): waiting for bms's device bmsD1 (device_id), not known yet
    u3 bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      bms:u3 accepted: a new record from bms
      bms:u1 accepted: a new record from bms | attempt 2
      bms:u2 unchanged: an old copy: seq 1 is not after 2, the last one seen | attempt 2
      = <device 1> v1 {"name":"AHU","serial":"SN-1"} [bms bmsD1]
      = <sensor 1> v1 {"device_id":"<device 1>","unit":"F"} [bms bmsS1]
    "#);
}

#[test]
fn s56_the_whole_input_again_changes_nothing() {
    if !Scene::takes_several_at_once() {
        return;
    }
    let mut scene = Scene::with(DEVICES).start();
    let input = || {
        [
            device("AHU").id("1"),
            whole("oem", "device", "oemD1", json!({"serial": "SN-1", "name": "Fan", "room": "B2"})).id("2"),
            device("Air handler").id("3"),
            patch("oem", "device", "oemD1", json!({"room": null})).id("4"),
            patch("oem", "device", "oemD7", json!({"room": "B7"})).id("5"),
        ]
    };
    for message in input() {
        scene.send(message);
    }
    scene.skip_ahead();
    scene.restart();
    for message in input() {
        scene.send(message);
    }
    scene.together(input());
    insta::assert_snapshot!(scene.story(), @r#"
    … restart
    1 bms device bmsD1 {"name":"AHU","serial":"SN-1"}
      decided before: 1
    2 oem device oemD1 {"name":"Fan","room":"B2","serial":"SN-1"}
      decided before: 1
    3 bms device bmsD1 {"name":"Air handler","serial":"SN-1"}
      decided before: 1
    4 oem patch device oemD1 {"room":null}
      decided before: 1
    5 oem patch device oemD7 {"room":"B7"}
      decided before: 1
    1 bms device bmsD1 {"name":"AHU","serial":"SN-1"}
    2 oem device oemD1 {"name":"Fan","room":"B2","serial":"SN-1"}
    3 bms device bmsD1 {"name":"Air handler","serial":"SN-1"}
    4 oem patch device oemD1 {"room":null}
    5 oem patch device oemD7 {"room":"B7"}
      decided before: 5
    "#);
}

#[test]
fn a_restart_sends_what_was_due_and_not_yet_sent() {
    if !Scene::by_hand() {
        return;
    }
    let mut scene = Scene::with(DEVICES).start();
    scene.send(device("AHU"));
    scene.says("oem", "device", "oemD1", json!({"serial": "SN-1", "name": "AHU"}));
    scene.pause_relay();
    scene.send(device("Air handler"));
    scene.skip_ahead();
    scene.restart();
    scene.resume_relay();
    scene.restart();
    insta::assert_snapshot!(scene.story(), @r#"
    … restart
      → oem: update device oemD1 rev 1 {"id":"oemD1","name":"Air handler","serial":"SN-1"} changed: name
    … restart
    "#);
}
