//! Who did what: everything that changes something leaves an entry.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use syncline::http::table::{Route, table};

use crate::commands::{said, syncline_with};
use crate::guarded::Guarded;
use crate::support::{PUSH, Served, device};

impl Guarded {
    async fn act(&self, path: &str, body: Value) {
        let response = self.by("otto", Method::POST, path).json(&body).send().await.unwrap();
        let status = response.status();
        assert_eq!(status, StatusCode::OK, "{path}: {}", response.text().await.unwrap());
    }

    async fn entries(&self) -> Vec<Value> {
        self.get("ada", "/v1/audit?limit=1000").await.1["items"].as_array().unwrap().clone()
    }

    async fn comes(&self, update: Value) {
        let id = format!("/v1/decisions/{}:{}", update["system"].as_str().unwrap(), update["id"].as_str().unwrap());
        assert_eq!(self.say("ada", &update).await.0, StatusCode::ACCEPTED);
        self.until_there(&id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_changes_something_leaves_who_did_it() {
    let guarded = Guarded::by_config(|usual| usual.replace(".entities.device]\n", ".entities.device]\ncreate = false\n")).await;
    guarded.comes(device("b1", "bms", "b1", json!({"serial": "S1"}))).await;
    guarded.comes(device("o2", "oem", "o2", json!({"serial_no": "S2"}))).await;
    for (update, act) in [("p1", "approve"), ("p2", "reject"), ("p3", "retry")] {
        guarded.comes(device(update, "bms", update, json!({"serial": update, "price": 1}))).await;
        guarded.act(&format!("/v1/parked/bms:{update}/{act}"), json!({"dry_run": true})).await;
        guarded.act(&format!("/v1/parked/bms:{update}/{act}"), json!({})).await;
    }
    for (n, act) in [("x", "requeue"), ("y", "discard")] {
        assert_eq!(guarded.say("bms", &device(n, "bms", n, json!({"id": "other", "serial": n}))).await.0, 202);
        let dead = async {
            while !guarded.get("vera", "/v1/dead-letters").await.1["items"].to_string().contains(&format!("\"bms:{n}\"")) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), dead).await.unwrap();
        guarded.act(&format!("/v1/dead-letters/bms:{n}/{act}"), json!({})).await;
    }
    guarded.act("/v1/systems/oem/pause", json!({"direction": "out"})).await;
    guarded.act("/v1/brakes/pause-out:oem/release", json!({})).await;
    guarded.act("/v1/systems/oem/pause", json!({"direction": "both"})).await;
    guarded.act("/v1/systems/oem/resume", json!({"direction": "both"})).await;
    guarded.act("/v1/systems/oem/resync", json!({})).await;
    guarded.act("/v1/resync", json!({"type": "device"})).await;
    guarded.act("/v1/entities/device/bms:b1/merge", json!({"loser": "oem:o2"})).await;
    guarded.act("/v1/entities/device/bms:b1/split", json!({"links": ["oem:o2"]})).await;
    let erased = guarded.by("ada", Method::POST, "/v1/entities/device/bms:b1/erase").json(&json!({})).send().await.unwrap();
    assert_eq!(erased.status(), StatusCode::OK);
    let session = guarded.log_in("otto").await;
    let out = guarded.ask(Method::POST, "/logout").header(header::COOKIE, &session.cookie).form(&[("csrf", &session.csrf)]);
    assert_eq!(out.send().await.unwrap().status(), StatusCode::SEE_OTHER);

    let entries = guarded.entries().await;
    let expected = |act: &Value| if act == "erase" { ("ada", "admin") } else { ("otto", "operator") };
    for entry in &entries {
        let (by, role) = expected(&entry["act"]);
        assert_eq!((&entry["by"], &entry["role"]), (&json!(by), &json!(role)), "{entry}");
    }
    let ids: Vec<&str> = entries.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted_by(|one, other| one > other), "newest first");
    let acts: BTreeSet<&str> = entries.iter().map(|entry| entry["act"].as_str().unwrap()).collect();
    // What adapters do is in decisions, not here.
    let all = table().into_iter().filter(|route| route.changes() && !["/v1/updates", "/v1/systems/{system}/lease"].contains(&route.path));
    let words = all.map(|route: Route| route.path.rsplit('/').next().unwrap().replace("log", "log_").replace("login", "log_in"));
    let words: BTreeSet<String> = words.collect();
    assert_eq!(acts, words.iter().map(String::as_str).collect());
    let of = |act: &str, on: &str| {
        let entry = entries.iter().find(|entry| entry["act"] == act && entry["on"] == on).unwrap_or_else(|| panic!("{act} {on}"));
        format!("{act} {on}: {} → {}", entry["before"], entry["after"])
    };
    insta::assert_snapshot!([of("approve", "bms:p1"), of("discard", "bms:y"), of("release", "pause-out:oem"), of("resume", "oem")].join("\n"), @r#"
    approve bms:p1: {"decision":"parked","version_after":0,"version_before":0} → {"decision":"accepted","version_after":1,"version_before":0}
    discard bms:y: {"dead_letter":"id_mismatch"} → null
    release pause-out:oem: {"holds":true,"waiting":{"conflicts":0,"creates":0,"updates":0}} → {"holds":false}
    resume oem: {"pause-in:oem":true,"pause-out:oem":true} → {"pause-in:oem":false,"pause-out:oem":false,"sends":{"conflicts":0,"creates":0,"updates":0}}
    "#);
    assert_eq!(entries.iter().filter(|entry| entry["act"] == "approve").count(), 1, "what is only looked at leaves nothing");
    guarded.served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_for_admins_and_comes_in_pages() {
    let guarded = Guarded::start().await;
    for direction in ["in", "out", "both"] {
        guarded.act("/v1/systems/oem/pause", json!({"direction": direction})).await;
    }
    assert_eq!(guarded.get("otto", "/v1/audit").await.0, StatusCode::FORBIDDEN);
    let first = guarded.get("ada", "/v1/audit?limit=2").await.1;
    let second = guarded.get("ada", &format!("/v1/audit?limit=2&cursor={}", first["next"].as_str().unwrap())).await.1;
    let mut both = first["items"].as_array().unwrap().clone();
    both.extend(second["items"].as_array().unwrap().clone());
    assert_eq!((both, &second["next"]), (guarded.entries().await, &Value::Null));
    assert_eq!(guarded.get("ada", "/v1/audit?cursor=x").await.0, StatusCode::BAD_REQUEST);
    let listed =
        syncline_with(&[("SYNCLINE_TOKEN", &guarded.tokens["ada"])], &["audit", "--limit", "1", "--url", &guarded.served.url], "").await;
    let words =
        "otto (operator)  pause oem: {\"pause-in:oem\":true,\"pause-out:oem\":true} → {\"pause-in:oem\":true,\"pause-out:oem\":true}";
    assert!(said(&listed).contains(words), "{}", said(&listed));
    guarded.served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tokens_whoever_says_a_name_is_believed_and_it_lasts() {
    let served = Served::with(PUSH).await;
    served.say(&device("x", "bms", "x", json!({"serial": "x", "id": "other"}))).await;
    served.at_rest().await;
    assert_eq!(served.post("/v1/dead-letters/bms:x/discard", &json!({"by": "anna"})).await.0, 200);
    for (act, body) in
        [("pause", json!({"direction": "out", "by": "anna"})), ("resume", json!({"by": "ben"})), ("resync", json!({"by": "cleo"}))]
    {
        assert_eq!(served.post(&format!("/v1/systems/oem/{act}"), &body).await.0, 200);
        let entry = served.get("/v1/audit").await.1["items"][0].clone();
        assert_eq!((&entry["by"], &entry["act"], &entry["on"]), (&body["by"], &json!(act), &json!("oem")));
    }
    assert_eq!(served.post("/v1/systems/oem/pause", &json!({"direction": "out", "by": "a\nb"})).await.0, 400);
    assert_eq!(served.get("/v1/brakes").await.1["items"], json!([]), "nothing is done in a name that is none");
    let served = served.again(PUSH).await;
    let entry = served.get("/v1/audit").await.1["items"][3].clone();
    assert_eq!(
        (&entry["by"], &entry["role"], &entry["act"], &entry["on"]),
        (&json!("anna"), &Value::Null, &json!("discard"), &json!("bms:x"))
    );
    served.orchestrator.stop().await.unwrap();
}
