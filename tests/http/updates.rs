//! Handing in, fetching, answering.

use serde_json::{Value, json};

use crate::support::{PUSH, Served, device};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_travels_and_its_receipt_settles_it() {
    let served = Served::with(PUSH).await;
    served.say(&device("u1", "bms", "b1", json!({"serial": "S1", "name": "Fan"}))).await;
    let given = served.lease("oem", json!({"wait_ms": 20_000, "lease_ms": 60_000})).await;
    assert_eq!(given.len(), 1);
    assert_eq!((&given[0]["op"], &given[0]["native_id"], &given[0]["rev"]), (&json!("create"), &Value::Null, &json!(1)));
    assert_eq!(given[0]["entity"], json!({"serial_no": "S1", "name": "Fan"}));
    assert!(served.lease("oem", json!({})).await.is_empty(), "it is leased");
    // A newer state waits until the first message is answered.
    served.say(&device("u2", "bms", "b1", json!({"serial": "S1", "name": "Fan 2"}))).await;
    served.at_rest().await;
    assert!(served.lease("oem", json!({})).await.is_empty());
    let canonical_id = given[0]["canonical_id"].clone();
    served
        .say(&json!({"id": "r1", "system": "oem", "type": "device", "op": "receipt", "native_id": "o1", "canonical_id": canonical_id,
            "rev": 1, "status": "applied"}))
        .await;
    let next = served.lease("oem", json!({"wait_ms": 20_000})).await;
    assert_eq!((&next[0]["op"], &next[0]["native_id"], &next[0]["rev"]), (&json!("update"), &json!("o1"), &json!(3)));
    assert_eq!((&next[0]["entity"]["name"], &next[0]["changed"]), (&json!("Fan 2"), &json!(["name"])));
    served.orchestrator.stop().await.unwrap();
}

/// A trace as the header of W3C Trace Context says it, and what it is called in decisions.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_from_the_request_to_what_is_sent() {
    let served = Served::with(PUSH).await;
    let own = "00-11111111111111111111111111111111-b7ad6b7169203331-01";
    let mut second = device("u2", "bms", "b2", json!({"serial": "S2"}));
    second["traceparent"] = json!(own);
    let both = json!([device("u1", "bms", "b1", json!({"serial": "S1"})), second]);
    let request = served.http.post(format!("{}/v1/updates", served.url)).header("traceparent", TRACE).json(&both);
    assert_eq!(request.send().await.unwrap().status(), 202);
    let given = served.lease("oem", json!({"wait_ms": 20_000, "max": 2})).await;
    served.at_rest().await;
    for (serial, trace_id, update) in [("S1", TRACE_ID, "bms:u1"), ("S2", "11111111111111111111111111111111", "bms:u2")] {
        let message = given.iter().find(|message| message["entity"]["serial_no"] == serial).expect("a create of each");
        assert!(message["traceparent"].as_str().is_some_and(|text| text.contains(trace_id)), "{message}");
        assert_eq!(served.get(&format!("/v1/decisions/{update}")).await.1["trace_id"], trace_id);
    }
    // A line of a stream, and one message, likewise; a header that says nothing is none.
    for (id, header, kind, trace_id) in [
        ("u3", TRACE, "application/x-ndjson", json!(TRACE_ID)),
        ("u4", TRACE, "application/json", json!(TRACE_ID)),
        ("u5", "whatever", "application/json", Value::Null),
        ("u6", TRACE, "application/json", json!(TRACE_ID)),
        ("u7", TRACE, "application/json", json!(TRACE_ID)),
    ] {
        let mut body = device(id, "bms", "b1", json!({"serial": "S1", "name": id}));
        // A member that says nothing, as some clients write it.
        match id {
            "u6" => body["traceparent"] = Value::Null,
            "u7" => body["traceparent"] = json!("none"),
            _ => {}
        }
        let body = body.to_string();
        let request = served.http.post(format!("{}/v1/updates", served.url)).header("traceparent", header).header("content-type", kind);
        let answer = request.body(body).send().await.unwrap();
        assert!(answer.status().is_success());
        // A stream is answered line by line, as the lines are taken in.
        answer.text().await.unwrap();
        served.at_rest().await;
        assert_eq!(served.get(&format!("/v1/decisions/bms:{id}")).await.1["trace_id"], trace_id);
    }
    // What there is no room for in a message does without.
    let mut large = device("u8", "bms", "b1", json!({"serial": "S1", "name": ""}));
    let room = (1 << 20) - large.to_string().len();
    large["entity"]["name"] = json!("x".repeat(room));
    let request = served.http.post(format!("{}/v1/updates", served.url)).header("traceparent", TRACE).json(&large);
    assert_eq!(request.send().await.unwrap().status(), 202);
    served.at_rest().await;
    let row = served.get("/v1/decisions/bms:u8").await.1;
    assert_eq!((&row["decision"], &row["trace_id"]), (&json!("accepted"), &Value::Null), "{row}");
    assert_eq!(served.get("/v1/dead-letters").await.1["items"], json!([]));
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_does_not_come_in_time_is_missed() {
    for (timeout, delivery, why) in [("1ms", "timed_out", "it should have been answered by now"), ("1h", "sent", "not confirmed yet")] {
        let served =
            Served::with(&PUSH.replace("push_updates = true", &format!("push_updates = true\nanswer_timeout = \"{timeout}\""))).await;
        served.say(&device("u1", "bms", "b1", json!({"serial": "S1"}))).await;
        let given = served.lease("oem", json!({"wait_ms": 20_000})).await.remove(0);
        served.at_rest().await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let oem = async || {
            let record = served.get("/v1/entities/device/bms:b1").await.1;
            record["links"].as_array().unwrap().iter().find(|link| link["system"] == "oem").unwrap()["delivery"].clone()
        };
        assert_eq!(oem().await, delivery);
        let text = served.get("/v1/entities/device/bms:b1/why").await.1.to_string();
        assert!(text.contains(why), "{text}");
        // Late is not never.
        let receipt = json!({"id": "r1", "system": "oem", "type": "device", "op": "receipt", "native_id": "o1",
            "canonical_id": given["canonical_id"], "rev": given["rev"], "status": "applied"});
        served.say(&receipt).await;
        served.at_rest().await;
        assert_eq!(oem().await, "applied");
        served.orchestrator.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_lease_is_given_again_and_auto_needs_no_answer() {
    let served = Served::with(PUSH).await;
    served.say(&device("u1", "bms", "b1", json!({"serial": "S1"}))).await;
    let first = served.lease("oem", json!({"wait_ms": 20_000, "lease_ms": 1})).await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let again = served.lease("oem", json!({"ack": "auto"})).await;
    assert_eq!(first, again, "the same id always carries the same bytes");
    assert!(served.lease("oem", json!({"lease_ms": 1})).await.is_empty());
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_are_taken_all_or_none() {
    let served = Served::with(PUSH).await;
    let bad = json!([device("u1", "bms", "b1", json!({"serial": "S1"})), {"id": "u2", "system": "bms", "type": "device"}, 7]);
    let (status, problem) = served.post("/v1/updates", &bad).await;
    assert_eq!(status, 422);
    let indices: Vec<_> = problem["problems"].as_array().unwrap().iter().map(|problem| problem["index"].clone()).collect();
    assert_eq!(indices, [1, 2]);
    served.at_rest().await;
    assert_eq!(served.get("/v1/decisions").await.1["items"], json!([]));
    let good = json!([device("u1", "bms", "b1", json!({"serial": "S1"})), device("u2", "bms", "b2", json!({"serial": "S2"}))]);
    let (status, answer) = served.post("/v1/updates", &good).await;
    assert_eq!((status.as_u16(), answer), (202, json!({"ids": ["u1", "u2"], "status": "queued"})));
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_that_cannot_be_read_it_is_said_which() {
    let served = Served::with(PUSH).await;
    let body = r#"[{"id":"u1"},{"id":"u2","entity":{"a":1,"a":2}}]"#;
    let request = served.http.post(format!("{}/v1/updates", served.url)).header("content-type", "application/json").body(body);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 422);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["problems"][0]["index"], 1, "{problem}");
    let own = &problem["problems"][0]["problem"];
    assert_eq!((&own["type"], &own["field"]), (&json!("urn:syncline:error:duplicate_key"), &json!("/entity/a")), "{problem}");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_itself_refuses_is_a_problem_too() {
    let served = Served::with(PUSH).await;
    let url = |path: &str| format!("{}{path}", served.url);
    let large = served.http.post(url("/v1/dead-letters/x/requeue")).body("x".repeat(3 << 20)).send().await.unwrap();
    let unreadable = served.http.get(url("/v1/decisions/%ff")).send().await.unwrap();
    for (answer, status, code) in [(large, 413, "too_large"), (unreadable, 400, "bad_request")] {
        assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (status, &"application/problem+json".parse().unwrap()));
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((&problem["status"], &problem["type"]), (&json!(status), &json!(format!("urn:syncline:error:{code}"))), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_goes_on_in_both_directions_unless_one_is_named() {
    let served = Served::with(PUSH).await;
    let bodiless = |path: &str| served.http.post(format!("{}{path}", served.url)).send();
    assert_eq!(bodiless("/v1/systems/oem/pause").await.unwrap().status(), 400, "what is to stop must be said");
    assert_eq!(served.post("/v1/systems/oem/pause", &json!({"direction": "both"})).await.0, 200);
    let paused = || async { served.get("/v1/systems").await.1["items"][1]["health"].clone() };
    assert_eq!(paused().await, "paused");
    let (status, would) = served.post("/v1/systems/oem/resume", &json!({"dry_run": true})).await;
    assert_eq!((status.as_u16(), &would["ids"], paused().await), (200, &json!(["pause-in:oem", "pause-out:oem"]), json!("paused")));
    assert_eq!(bodiless("/v1/systems/oem/resume").await.unwrap().status(), 200);
    assert_eq!(paused().await, "in_sync");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_answered_line_by_line() {
    let served = Served::with(PUSH).await;
    let mut lines = String::new();
    for n in 0..1000 {
        lines.push_str(&device(&format!("u{n}"), "bms", &format!("b{n}"), json!({"serial": format!("S{n}")})).to_string());
        lines.push('\n');
        if n == 500 {
            lines.push_str("{\"id\": oops}\n\n");
        }
    }
    let request = served.http.post(format!("{}/v1/updates", served.url)).header("content-type", "application/x-ndjson").body(lines);
    let text = request.send().await.unwrap().text().await.unwrap();
    let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 1001);
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer["index"], index);
        assert_eq!(answer["status"], if index == 501 { "error" } else { "queued" });
    }
    assert_eq!(answers[501]["problem"]["type"], "urn:syncline:error:not_json");
    served.at_rest().await;
    assert_eq!(served.get("/v1/entities/device?serial=S999").await.1["items"].as_array().unwrap().len(), 1);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mistake_says_what_to_do() {
    let served = Served::with(PUSH).await;
    let mut story = String::new();
    let url = format!("{}/v1/updates", served.url);
    let json = |body: &'static str| served.http.post(&url).header("content-type", "application/json").body(body);
    let requests = [
        json("{\"id\":\"u1\",\"system\":\"bms\",\"type\":\"device\",\"native_id\":\"b1\",\"entity\":{},\"entiti\":1}"),
        json("{\"id\":\"u1\",\"system\":\"bms\",\"type\":\"device\",\"native_id\":\"b1\",\"entity\":{\"a\":1,\"a\":2}}"),
        json("[1e400]"),
        served.http.post(&url).header("content-type", "text/plain").body("hello"),
        served.http.post(format!("{}/v1/systems/hris/lease", served.url)).body("{}"),
        served.http.post(format!("{}/v1/systems/oem/lease", served.url)).body("{\"max\": 0}"),
        served.http.post(format!("{}/v1/systems/oem/lease", served.url)).body("{\"maximum\": 1}"),
        served.http.get(format!("{}/v1/entities/device/7", served.url)),
        served.http.get(format!("{}/v1/decisions?sytem=bms", served.url)),
        served.http.get(format!("{}/v1/decisions?decision=good", served.url)),
        served.http.get(format!("{}/v1/lookup?system=bms&type=device", served.url)),
        served.http.get(format!("{}/v2", served.url)),
        served.http.delete(format!("{}/v1/systems", served.url)),
    ];
    for request in requests {
        let response = request.send().await.unwrap();
        let (status, kind) = (response.status(), response.headers()["content-type"].clone());
        assert_eq!(kind, "application/problem+json");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["status"], status.as_u16());
        let code = problem["type"].as_str().unwrap().trim_start_matches("urn:syncline:error:").to_owned();
        story.push_str(&format!("{} {code}: {}\n", status.as_u16(), problem["detail"].as_str().unwrap()));
    }
    insta::assert_snapshot!(story, @r#"
    422 bad_envelope: the envelope has no field "entiti"; did you mean "entity"?
    422 duplicate_key: the key "a" appears twice in one object; send it once (line 1 column 81)
    422 number_out_of_range: a number is beyond what a double can hold; send it as text (line 1 column 6)
    415 media_type: text/plain is not understood; send application/json or application/x-ndjson
    404 unknown_system: no [systems.hris] in the configuration; add it, or set unknown_systems = "accept"
    400 bad_request: max is 1 to 1000, lease_ms at least 1
    400 bad_request: unknown field `maximum`, expected one of `max`, `wait_ms`, `lease_ms`, `ack` at line 1 column 10
    400 bad_request: "7" is no id; write a canonical id or system:native_id
    400 bad_request: there is no parameter sytem; there are entity, system, type, decision, since, until, reason, limit and cursor
    400 bad_request: there is no decision "good"; there are accepted, partially_accepted, dropped, unchanged, echo, superseded, deferred, parked
    400 bad_request: native_id is missing
    404 not_found: there is nothing at /v2
    405 method_not_allowed: /v1/systems does not take DELETE
    "#);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_is_refused_and_a_long_line_does_not_stop_a_stream() {
    let served = Served::with(PUSH).await;
    let long = device("u1", "bms", "b1", json!({"serial": "S1", "text": "x".repeat(2 << 20)}));
    assert_eq!(served.post("/v1/updates", &long).await.0, 413);
    let lines = format!("{long}\n{}\n", device("u2", "bms", "b2", json!({"serial": "S2"})));
    let request = served.http.post(format!("{}/v1/updates", served.url)).header("content-type", "application/x-ndjson").body(lines);
    let text = request.send().await.unwrap().text().await.unwrap();
    let statuses: Vec<Value> = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].clone()).collect();
    assert_eq!(statuses, ["error", "queued"]);
    served.orchestrator.stop().await.unwrap();
}

/// Hands in this many updates of one system in groups; the last answer.
async fn flood(served: &Served, from: usize, count: usize) -> reqwest::Response {
    let updates: Vec<Value> =
        (from..from + count).map(|n| device(&format!("u{n}"), "bms", &format!("b{n}"), json!({"serial": format!("S{n}")}))).collect();
    served.http.post(format!("{}/v1/updates", served.url)).json(&updates).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_inbound_full_is_refused_until_there_is_room() {
    let served = Served::with(PUSH).await;
    assert_eq!(served.post("/v1/systems/bms/pause", &json!({"direction": "in"})).await.0, 200);
    let mut sent = 0;
    let refused = loop {
        let answer = flood(&served, sent, 5_000).await;
        if answer.status() != 202 {
            break answer;
        }
        sent += 5_000;
        assert!(sent < 1_000_000, "the queue has no end");
    };
    assert_eq!(refused.status(), 429, "after {sent}");
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["type"], "urn:syncline:error:full", "{problem}");
    assert_eq!(served.post("/v1/systems/bms/resume", &json!({"direction": "in"})).await.0, 200);
    let taken = async {
        while flood(&served, sent, 1).await.status() != 202 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), taken).await.expect("there is never room again");
    served.orchestrator.stop().await.unwrap();
}
