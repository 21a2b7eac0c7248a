//! What people and programs read.

use serde_json::{Value, json};

use crate::support::{PUSH, Served, device};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_its_history_and_its_why() {
    let served = Served::with(&PUSH.replace("push_updates = true", "")).await;
    served.say(&device("u1", "bms", "b1", json!({"serial": "S1", "name": "Fan"}))).await;
    served.say(&device("u2", "oem", "o1", json!({"serial_no": "S1", "name": "Fan AX", "floor": 3}))).await;
    served.at_rest().await;
    let (_, record) = served.get("/v1/entities/device/bms:b1").await;
    assert_eq!(record["data"], json!({"serial": "S1", "name": "Fan", "floor": 3}));
    assert_eq!(record["version"], 2);
    let id = record["id"].as_str().unwrap();
    assert_eq!(served.get(&format!("/v1/entities/device/{id}")).await.1["links"], record["links"]);
    let (_, found) = served.get("/v1/lookup?system=oem&type=device&native_id=o1").await;
    assert_eq!(found["canonical_id"], id);
    let (_, history) = served.get("/v1/entities/device/oem:o1/history").await;
    let updates: Vec<_> = history["items"].as_array().unwrap().iter().map(|row| row["update"].clone()).collect();
    assert_eq!(updates, ["bms:u1", "oem:u2"]);
    let (_, first) = served.get("/v1/entities/device/oem:o1/history?limit=1").await;
    let (_, second) = served.get(&format!("/v1/entities/device/oem:o1/history?limit=1&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!((&first["items"][0], &second["items"][0]), (&history["items"][0], &history["items"][1]));
    assert_eq!((first["items"].as_array().unwrap().len(), &second["next"]), (1, &Value::Null));
    let after = |cursor: &str| format!("/v1/entities/device/oem:o1/history?cursor={cursor}");
    let first_at = first["items"][0]["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond();
    let (_, gone) = served.get(&after(&format!("{first_at}:bms:forgotten"))).await;
    assert_eq!(gone["items"], second["items"], "a row that is not there any more does not hide another one");
    assert_eq!(served.get(&after("7")).await.0, 400);
    let (_, why) = served.get("/v1/entities/device/bms:b1/why?field=name").await;
    assert_eq!((&why["fields"][0]["value"], &why["fields"][0]["held"]), (&json!("Fan"), &json!({"bms": "Fan", "oem": "Fan AX"})));
    let text = why["fields"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("name is 'Fan'. bms said so on ") && text.contains("oem holds 'Fan AX' instead"), "{text}");
    assert_eq!(served.get("/v1/systems/oem/view/device/bms:b1").await.1, json!({"id": "o1", "serial_no": "S1", "name": "Fan", "floor": 3}));
    assert_eq!(served.get("/v1/entities/device/bms:nope").await.0, 404);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages_and_miss_nothing() {
    let served = Served::with(PUSH).await;
    for n in 0..25 {
        served.say(&device(&format!("u{n}"), "bms", &format!("b{n}"), json!({"serial": format!("S{n}"), "even": n % 2 == 0}))).await;
    }
    served.at_rest().await;
    for (path, expected) in
        [("/v1/entities/device?limit=4", 25), ("/v1/entities/device?limit=4&even=true", 13), ("/v1/decisions?limit=4", 25)]
    {
        let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), String::new());
        loop {
            let (status, page) = served.get(&format!("{path}{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            for item in page["items"].as_array().unwrap() {
                assert!(seen.insert(item.get("update").unwrap_or(&item["id"]).as_str().unwrap().to_owned()));
            }
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen.len(), expected, "{path}");
    }
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systems_say_what_is_on_its_way() {
    let served = Served::with(PUSH).await;
    served.say(&device("u1", "bms", "b1", json!({"serial": "S1"}))).await;
    served.at_rest().await;
    let (_, systems) = served.get("/v1/systems").await;
    let oem = systems["items"].as_array().unwrap().iter().find(|row| row["system"] == "oem").unwrap();
    assert_eq!(
        (&oem["configured"], &oem["queued"], &oem["pending"], &oem["types"]),
        (&json!(true), &json!(1), &json!(0), &json!(["device"]))
    );
    assert_eq!(served.http.get(format!("{}/healthz", served.url)).send().await.unwrap().text().await.unwrap(), "ok\n");
    assert_eq!(served.http.get(format!("{}/readyz", served.url)).send().await.unwrap().status(), 200);
    served.orchestrator.stop().await.unwrap();
}
