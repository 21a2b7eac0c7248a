//! What people do about updates that wait and about dead letters, over HTTP and by the commands.

use reqwest::StatusCode;
use serde_json::{Value, json};
use syncline::prelude::*;

use crate::commands::{said, syncline};
use crate::support::{PUSH, Served, device};

fn careful(_: &mut Record, _: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let is_price = meta.changed().iter().any(|field| field.as_str() == "price");
    if is_price && meta.approval().is_none() { Verdict::review("a price is for a person") } else { Verdict::accept(None) }
}

/// A device with updates in review.
async fn in_review(updates: &[&str]) -> Served {
    let served = Served::with_handler(PUSH, careful).await;
    served.say(&device("u1", "bms", "b1", json!({"serial": "S1", "name": "Fan"}))).await;
    served.at_rest().await;
    for (n, update) in updates.iter().enumerate() {
        let patch = json!({"id": update, "system": "bms", "type": "device", "native_id": "b1", "op": "patch", "entity": {"price": 10 + n}});
        served.say(&patch).await;
        served.at_rest().await;
    }
    served
}

/// Two whole sentences of `syncline`, and how it ended.
pub async fn command(served: &Served, arguments: &[&str], input: &str) -> (String, Option<i32>) {
    let mut all = arguments.to_vec();
    all.extend(["--url", &served.url]);
    let output = syncline(&all, input).await;
    (said(&output), output.status.code())
}

pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_is_approved_once() {
    let served = in_review(&["p"]).await;
    let listed = served.get("/v1/parked").await.1["items"][0].clone();
    let response = served.http.get(format!("{}/v1/parked/bms:p", served.url)).send().await.unwrap();
    let tag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", text(&listed, "etag")));
    assert_eq!(response.json::<Value>().await.unwrap(), listed);

    let path = "/v1/parked/bms:p/approve";
    let (status, would_be) = served.post(path, &json!({"by": "anna", "dry_run": true})).await;
    assert_eq!((status, text(&would_be["decision"], "decision")), (StatusCode::OK, "accepted"), "{would_be}");
    assert_eq!(served.get("/v1/parked/bms:p").await.1, listed, "nothing has changed");

    let ask = |tag: &str, body: Value| served.http.post(format!("{}{path}", served.url)).header("if-match", tag).json(&body).send();
    let stale = ask("\"0123456789abcdef\"", json!({})).await.unwrap();
    assert_eq!(stale.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(text(&stale.json().await.unwrap(), "type"), "urn:syncline:error:changed");

    let edited = json!({"by": "anna", "reason": "agreed on the phone", "entity": {"price": 12}});
    let done = ask(&tag, edited).await.unwrap();
    assert_eq!(done.status(), StatusCode::OK);
    let row = done.json::<Value>().await.unwrap()["decision"].clone();
    assert_eq!(row["decided_by"], json!({"kind": "person", "name": "anna"}));
    assert_eq!((text(&row, "decision"), &row["modified_fields"]), ("partially_accepted", &json!(["price"])));
    assert_eq!(text(&row, "reason"), "approved by anna, who edited price: agreed on the phone; price becomes 12 (edited by anna)",);
    for again in ["approve", "reject", "retry"] {
        let (status, problem) = served.post(&format!("/v1/parked/bms:p/{again}"), &json!({"by": "ben"})).await;
        assert_eq!((status, text(&problem, "type")), (StatusCode::CONFLICT, "urn:syncline:error:already_decided"));
        assert!(text(&problem, "detail").starts_with("bms:p was decided already: partially_accepted by anna at "), "{problem}");
        assert_eq!(problem["decision"], row);
    }
    assert_eq!(served.get("/v1/entities/device/bms:b1").await.1["data"]["price"], 12);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let served = in_review(&["p"]).await;
    served.say(&device("u2", "oem", "o9", json!({"serial_no": "S1", "id": "other"}))).await;
    served.at_rest().await;
    let before = served.get("/v1/parked").await;
    let refused = async |path: &str, body: Value, status: u16, code: &str| {
        let (got, problem) = served.post(path, &body).await;
        assert_eq!((got.as_u16(), text(&problem, "type").trim_start_matches("urn:syncline:error:")), (status, code), "{path} {body}");
    };
    refused("/v1/parked/bms:nobody/approve", json!({}), 404, "not_found").await;
    refused("/v1/parked/oem:u2/approve", json!({}), 409, "is_dead_letter").await;
    refused("/v1/parked/nobody/approve", json!({}), 400, "bad_request").await;
    refused("/v1/parked/bms:p/reject", json!({"entity": {}}), 400, "bad_request").await;
    refused("/v1/parked/bms:p/retry", json!({"reason": "x"}), 400, "bad_request").await;
    refused("/v1/parked/bms:p/approve", json!({"by": "a\nb"}), 400, "bad_request").await;
    refused("/v1/parked/bms:p/approve", json!({"entity": {"id": "b2"}}), 422, "id_mismatch").await;
    refused("/v1/parked/bms:p/approve", json!({"whom": 1}), 400, "bad_request").await;
    refused("/v1/dead-letters/nobody/requeue", json!({}), 404, "not_found").await;
    refused("/v1/dead-letters/bms:u1/discard", json!({}), 409, "already_decided").await;
    refused("/v1/dead-letters/oem:u2/discard", json!({"message": {}}), 400, "bad_request").await;
    refused("/v1/dead-letters/oem:u2/requeue", json!({"message": "{"}), 422, "not_json").await;
    let other = device("u3", "oem", "o9", json!({"serial_no": "S1"}));
    refused("/v1/dead-letters/oem:u2/requeue", json!({"message": other}), 422, "other_id").await;
    assert_eq!(served.get("/v1/parked").await, before);
    assert_eq!(served.get("/v1/dead-letters").await.1["items"].as_array().unwrap().len(), 1);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_requeued_and_discarded() {
    let served = Served::with(PUSH).await;
    let bad = |id: &str| device(id, "bms", id, json!({"serial": id, "id": "other"}));
    for id in ["x", "y"] {
        served.say(&bad(id)).await;
    }
    served.at_rest().await;
    let (status, still) = served.post("/v1/dead-letters/bms:x/requeue", &json!({})).await;
    assert_eq!((status, text(&still["dead_letter"], "reason")), (StatusCode::OK, "id_mismatch"), "{still}");
    let good = device("x", "bms", "x", json!({"serial": "x"}));
    let letters = served.get("/v1/dead-letters").await;
    let (status, would_be) = served.post("/v1/dead-letters/bms:x/requeue", &json!({"message": good, "dry_run": true})).await;
    assert_eq!((status, text(&would_be["decision"], "decision"), &would_be["dry_run"]), (StatusCode::OK, "accepted", &json!(true)));
    assert_eq!(
        served.post("/v1/dead-letters/bms:y/discard", &json!({"by": "anna", "dry_run": true})).await,
        (StatusCode::OK, json!({"id": "bms:y", "dry_run": true, "discarded": false}))
    );
    assert_eq!(served.post("/v1/dead-letters/nobody/discard", &json!({"dry_run": true})).await.0, StatusCode::NOT_FOUND);
    let edited = good.to_string();
    let said = command(&served, &["dead-letters", "requeue", "bms:x", "--edit", "-", "--by", "anna", "--dry-run"], &edited).await;
    assert_eq!(said, ("bms:x would be accepted: a new record from bms (edited and requeued by anna)\n".to_owned(), Some(0)));
    let said = command(&served, &["dead-letters", "discard", "bms:y", "--dry-run"], "").await;
    assert_eq!(said, ("bms:y would be discarded\n".to_owned(), Some(0)));
    assert_eq!(served.get("/v1/dead-letters").await, letters, "nothing has changed");
    let (status, done) = served.post("/v1/dead-letters/bms:x/requeue", &json!({"message": good})).await;
    assert_eq!((status, text(&done["decision"], "reason")), (StatusCode::OK, "a new record from bms (edited and requeued by unknown)"));
    assert_eq!(
        served.post("/v1/dead-letters/bms:y/discard", &json!({"by": "anna"})).await,
        (StatusCode::OK, json!({"id": "bms:y", "dry_run": false, "discarded": true}))
    );
    assert_eq!(served.get("/v1/dead-letters").await.1["items"], json!([]));
    assert_eq!(served.post("/v1/dead-letters/bms:y/discard", &json!({})).await.0, StatusCode::NOT_FOUND);
    served.at_rest().await;
    assert_eq!(served.lease("oem", json!({})).await.len(), 1, "what was requeued is sent on");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands() {
    let served = in_review(&["p", "q", "r"]).await;
    let parked = command(&served, &["parked"], "").await;
    assert_eq!(command(&served, &["parked", "list"], "").await, parked);
    assert!(parked.0.starts_with("bms:p  review since "), "{}", parked.0);
    let would_be = command(&served, &["parked", "approve", "bms:p", "--by", "anna", "--dry-run"], "").await.0;
    let again = command(&served, &["parked", "retry", "bms:r", "--by", "anna"], "").await.0;
    let mine = syncline(&["parked", "reject", "bms:p", "--reason", "too much", "--url", &served.url], "").await;
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
    assert_eq!(said(&mine), format!("bms:p is dropped: rejected by {name}: too much; its fields were changed again while it waited\n"));
    let edited = command(&served, &["parked", "approve", "bms:r", "--by", "anna", "--edit", "-"], "{\"price\": 13}").await;
    let twice = command(&served, &["parked", "approve", "bms:r", "--by", "ben"], "").await;
    assert_eq!(twice.1, Some(1));
    assert!(twice.0.contains("bms:r was decided already: partially_accepted by anna"), "{}", twice.0);
    insta::assert_snapshot!(format!("{would_be}{again}{}", edited.0), @r#"
    bms:p would be unchanged: approved by anna; its fields were changed again while it waited
    bms:r is parked: a price is for a person (retried by anna)
    bms:r is partially accepted: approved by anna, who edited price; price becomes 13 (edited by anna)
    "#);

    served.say(&device("x", "bms", "x", json!({"serial": "x", "id": "other"}))).await;
    served.say(&device("y", "bms", "y", json!({"serial": "y", "id": "other"}))).await;
    served.at_rest().await;
    let still = command(&served, &["dead-letters", "requeue", "bms:x", "--by", "anna"], "").await.0;
    let good = device("x", "bms", "x", json!({"serial": "x"})).to_string();
    let done = command(&served, &["dead-letters", "requeue", "bms:x", "--by", "anna", "--edit", "-"], &good).await.0;
    let gone = command(&served, &["dead-letters", "discard", "bms:y", "--by", "anna"], "").await.0;
    let list = command(&served, &["dead-letters", "list"], "").await.0;
    for n in 0..3 {
        served.say(&device(&format!("z{n}"), "bms", "z", json!({"serial": "z", "id": "other"}))).await;
    }
    served.at_rest().await;
    let (some, _) = command(&served, &["dead-letters", "list", "--limit", "2"], "").await;
    assert_eq!((some.lines().count(), some.lines().last()), (3, Some("… and more: see --limit")), "{some}");
    let (all, _) = command(&served, &["dead-letters", "list", "--limit", "3"], "").await;
    assert_eq!((all.lines().count(), all.contains("more")), (3, false), "{all}");
    insta::assert_snapshot!(format!("{still}{done}{gone}{list}"), @r#"
    bms:x is a dead letter (id mismatch): the entity's own id field "id" says "other", the envelope says "x"; send the same id in both
    bms:x is accepted: a new record from bms (edited and requeued by anna)
    bms:y is discarded
    no dead letters
    "#);
    assert_eq!(command(&served, &["dead-letters", "discard", "bms:y"], "").await.1, Some(1));
    served.orchestrator.stop().await.unwrap();
}
