//! Merges, splits, and what a person makes of a brake, over HTTP and by the commands.

use reqwest::StatusCode;
use serde_json::json;

use crate::people::{command, text};
use crate::support::{PUSH, Served, device};

const NO_CREATES: &str = r#"
[http]
listen = "127.0.0.1:0"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
[systems.bms.entities.device]
create = false
[systems.oem.entities.device]
create = false
"#;

/// BMS and OEM each have a device, under different serials.
async fn two() -> Served {
    let served = Served::with(NO_CREATES).await;
    served.say(&device("u1", "bms", "b1", json!({"serial": "S1", "name": "Fan"}))).await;
    served.say(&device("u2", "oem", "o1", json!({"serial": "s-1", "name": "Fan 200", "room": "A1"}))).await;
    served.at_rest().await;
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_records_become_one_and_two_again() {
    let served = two().await;
    let record = |id: &str| format!("/v1/entities/device/{id}");
    let (bms, oem) = (served.get(&record("bms:b1")).await.1, served.get(&record("oem:o1")).await.1);
    let merge = record("bms:b1/merge");

    let asked = json!({"loser": "oem:o1", "by": "anna", "reason": "same fan", "dry_run": true});
    let (status, would_be) = served.post(&merge, &asked).await;
    assert_eq!((status, &would_be["decisions"][0]["version_after"]), (StatusCode::OK, &json!(2)), "{would_be}");
    assert_eq!(served.get(&record("oem:o1")).await.1, oem, "nothing has changed");

    let (status, done) = served.post(&merge, &json!({"loser": "oem:o1", "by": "anna", "reason": "same fan"})).await;
    assert_eq!(status, StatusCode::OK, "{done}");
    assert!(text(&done["decisions"][0], "reason").ends_with("became part of this one: anna says so: same fan"), "{done}");
    assert_eq!(done["decisions"][0]["decided_by"], json!({"kind": "person", "name": "anna"}));
    for id in ["oem:o1", text(&oem, "id")] {
        assert_eq!(served.get(&record(id)).await.1["id"], bms["id"], "{id} leads to the one that is left");
    }
    let (status, again) = served.post(&merge, &json!({"loser": "oem:o1"})).await;
    assert_eq!((status, text(&again, "detail")), (StatusCode::CONFLICT, "they are one record already"));

    let (status, done) = served.post(&record("bms:b1/split"), &json!({"links": ["oem:o1"], "by": "ben"})).await;
    assert_eq!((status, &done["split_off"]), (StatusCode::OK, &oem["id"]), "{done}");
    let (bms_again, oem_again) = (served.get(&record("bms:b1")).await.1, served.get(&record("oem:o1")).await.1);
    assert_eq!((&bms_again["data"], &oem_again["data"]), (&bms["data"], &oem["data"]));
    served.at_rest().await;
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_erased_on_request() {
    let served = two().await;
    let erase = "/v1/entities/device/oem:o1/erase";
    let (status, would_be) = served.post(erase, &json!({"by": "anna", "dry_run": true})).await;
    assert_eq!((status, &would_be["decisions"][0]["op"]), (StatusCode::OK, &json!("erase")), "{would_be}");
    assert_eq!(served.get("/v1/entities/device/oem:o1").await.1["data"]["room"], "A1", "nothing has changed");
    let (output, code) = command(&served, &["erase", "device", "oem:o1", "--by", "anna", "--reason", "asked for it"], "").await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("its values are erased"), "{output}");
    assert!(output.contains("anna says so: asked for it (no field changes; told: oem)"), "{output}");
    served.at_rest().await;
    let (_, record) = served.get("/v1/entities/device/oem:o1").await;
    assert_eq!(record["data"]["room"], json!({"erased": true}), "{record}");
    for path in ["/v1/entities/device/oem:o1/history", "/v1/decisions?system=oem"] {
        let rows = served.get(path).await.1.to_string();
        assert!(!rows.contains("A1") && rows.contains("erased"), "{path}: {rows}");
    }
    assert_eq!(served.post("/v1/entities/device/oem:o9/erase", &json!({})).await.0, StatusCode::NOT_FOUND);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_looked_at_is_merged_split_or_erased() {
    let served = two().await;
    let url = |what: &str| format!("{}/v1/entities/device/{what}", served.url);
    let tag = served.http.get(url("bms:b1")).send().await.unwrap().headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag, "\"v1\"");
    served.say(&device("u3", "bms", "b1", json!({"serial": "S1", "name": "Pump"}))).await;
    served.at_rest().await;
    let bodies = [("merge", json!({"loser": "oem:o1"})), ("split", json!({"links": ["bms:b1"]})), ("erase", json!({}))];
    for (act, body) in &bodies {
        for dry_run in [true, false] {
            let mut body = body.clone();
            body["dry_run"] = json!(dry_run);
            let answer = served.http.post(url(&format!("bms:b1/{act}"))).header("if-match", &tag).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::PRECONDITION_FAILED, "{act}");
            let problem: serde_json::Value = answer.json().await.unwrap();
            assert!(text(&problem, "detail").contains("its tag is \"v2\" now"), "{act}: {problem}");
        }
    }
    let merge = served.http.post(url("bms:b1/merge")).header("if-match", "\"v2\"").json(&bodies[0].1).send().await.unwrap();
    assert_eq!(merge.status(), StatusCode::OK);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused() {
    let served = two().await;
    let post = async |what: &str, body| {
        let (status, problem) = served.post(&format!("/v1/entities/device/{what}"), &body).await;
        format!("{} {}", status.as_u16(), text(&problem, "detail"))
    };
    let answers = [
        post("bms:b1/merge", json!({})).await,
        post("bms:b1/merge", json!({"loser": "oem:o9"})).await,
        post("bms:b9/merge", json!({"loser": "oem:o1"})).await,
        post("bms:b1/split", json!({"links": ["oem"]})).await,
        post("bms:b1/split", json!({"links": []})).await,
        post("bms:b1/split", json!({"links": ["bms:b1"]})).await,
        post("bms:b1/split", json!({"link": "bms:b1"})).await,
    ];
    insta::assert_snapshot!(answers.join("\n"), @r#"
    400 name the record that becomes part of this one: its canonical id, or system:native_id
    404 oem is not known to have a device o9
    404 bms is not known to have a device b9
    400 "oem" is no native record; write system:native_id
    409 name at least one native record to take out, as system:native_id
    409 this would take out every native record; one has to stay
    400 unknown field `link`, expected one of `links`, `by`, `reason`, `dry_run`
    "#);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands() {
    let served = two().await;
    let id = async |native: &str| text(&served.get(&format!("/v1/entities/device/{native}")).await.1, "id").to_owned();
    let (bms, oem) = (id("bms:b1").await, id("oem:o1").await);
    let said = [
        command(&served, &["merge", "device", "bms:b1", "oem:o1", "--by", "anna", "--dry-run"], "").await.0,
        command(&served, &["merge", "device", "bms:b1", "oem:o1", "--by", "anna", "--reason", "same fan"], "").await.0,
        command(&served, &["split", "device", "bms:b1", "oem:o1", "--by", "anna"], "").await.0,
    ];
    let said = said.join("").replace(&bms, "<bms>").replace(&oem, "<oem>");
    insta::assert_snapshot!(said, @r"
    nothing was changed; it would come to this:
    device <bms> version 2: record <oem> is the same thing and became part of this one: anna says so (changed: name, room, serial; told: bms)
    device <bms> version 2: record <oem> is the same thing and became part of this one: anna says so: same fan (changed: name, room, serial; told: bms)
    device <bms> version 3: oem's o1 is another thing and is record <oem> from now on: anna says so (changed: name, room, serial; told: bms)
    device <oem> version 2: oem's o1 was taken out of record <bms>: anna says so (no field changes; nobody is told)
    ");
    assert_eq!(command(&served, &["split", "device", "bms:b1", "oem:o1"], "").await.1, Some(1));
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_brake_keeps_back_can_be_put_away() {
    let brakes =
        "push_updates = true\ncreate_brake = { count = 1, window = \"1h\" }\ndelete_brake = { count = 1, percent = 100, window = \"1h\" }";
    let served = Served::with(&PUSH.replace("push_updates = true", brakes)).await;
    for n in 0..3 {
        served.say(&device(&format!("u{n}"), "bms", &format!("b{n}"), json!({"serial": format!("S{n}")}))).await;
    }
    served.at_rest().await;
    assert_eq!(served.lease("oem", json!({"ack": "auto"})).await.len(), 1);
    let would_be = command(&served, &["brakes", "discard", "create:oem:device", "--by", "anna", "--dry-run"], "").await.0;
    let creates = command(&served, &["brakes", "discard", "create:oem:device", "--by", "anna"], "").await.0;
    served.at_rest().await;
    assert_eq!(served.lease("oem", json!({"ack": "auto"})).await.len(), 0, "they are not sent any more");

    for n in 0..3 {
        served.say(&json!({"id": format!("d{n}"), "system": "bms", "type": "device", "native_id": format!("b{n}"), "op": "delete"})).await;
    }
    served.at_rest().await;
    assert_eq!(served.get("/v1/parked").await.1["items"].as_array().unwrap().len(), 2);
    let deletes = command(&served, &["brakes", "discard", "delete:bms:device", "--by", "anna"], "").await.0;
    assert_eq!(served.get("/v1/parked").await.1["items"], json!([]));
    let row = served.get("/v1/decisions/bms:d1").await.1;
    assert_eq!((text(&row, "decision"), text(&row, "reason")), ("dropped", "rejected by anna"));
    let none = command(&served, &["brakes", "discard", "delete:bms:device"], "").await;
    assert_eq!(none.1, Some(1), "{}", none.0);
    insta::assert_snapshot!(format!("{would_be}{creates}{deletes}"), @r"
    create:oem:device would be discarded: 2 creates and 0 updates to send
    create:oem:device is discarded: 2 creates and 0 updates to send
    delete:bms:device is discarded: 2 deletes to decide
    ");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_that_come_while_others_are_put_away_are_not_followed_either() {
    let brakes = "push_updates = true\ndelete_brake = { count = 1, percent = 100, window = \"1h\" }";
    let served = Served::with(&PUSH.replace("push_updates = true", brakes)).await;
    for n in 0..60 {
        served.say(&device(&format!("u{n}"), "bms", &format!("b{n}"), json!({"serial": format!("S{n}")}))).await;
    }
    let delete = |n: u32| json!({"id": format!("d{n}"), "system": "bms", "type": "device", "native_id": format!("b{n}"), "op": "delete"});
    for n in 0..5 {
        served.say(&delete(n)).await;
    }
    served.at_rest().await;
    let more = async {
        for n in 5..60 {
            served.say(&delete(n)).await;
        }
    };
    let ((), put_away) = tokio::join!(more, command(&served, &["brakes", "discard", "delete:bms:device", "--by", "anna"], ""));
    assert_eq!(put_away.1, Some(0), "{}", put_away.0);
    served.at_rest().await;
    let rows = served.get("/v1/decisions?decision=accepted&limit=500").await.1;
    let deletes = rows["items"].as_array().unwrap().iter().filter(|row| row["op"] == "delete").count();
    // One before the brake was pulled, one after it was taken off: that one counts anew.
    assert!((1..=2).contains(&deletes), "{deletes}");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_that_are_let_go_go_at_once() {
    let brakes = "push_updates = true\ndelete_brake = { count = 1, percent = 100, window = \"1h\" }";
    let served = Served::with(&PUSH.replace("push_updates = true", brakes)).await;
    for n in 0..3 {
        served.say(&device(&format!("u{n}"), "bms", &format!("b{n}"), json!({"serial": format!("S{n}")}))).await;
    }
    served.at_rest().await;
    for n in 0..3 {
        served.say(&json!({"id": format!("d{n}"), "system": "bms", "type": "device", "native_id": format!("b{n}"), "op": "delete"})).await;
    }
    served.at_rest().await;
    let (status, released) = served.post("/v1/brakes/delete:bms:device/release", &json!({"by": "anna"})).await;
    assert_eq!((status, &released["released"]["deletes"]), (StatusCode::OK, &json!(2)), "{released}");
    let row = served.get("/v1/decisions/bms:d2").await.1;
    assert_eq!(text(&row, "decision"), "accepted", "{row}");
    assert_eq!(text(&row, "reason"), "bms deleted the record: it is deleted everywhere (anna let go of it)");
    served.orchestrator.stop().await.unwrap();
}
