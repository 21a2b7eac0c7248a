//! The console: every page with what is really stored, as text and nothing else.

use std::collections::BTreeSet;

use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use syncline::prelude::*;

use crate::support::{PUSH, Served, device};

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// As it looks to somebody who would like it to be more than text.
const BAD: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

const REFERRING: &str = r#"
[entities.sensor]
references = { device_id = "device" }
[systems.bms.entities.sensor]
"#;

fn careful(_: &mut Record, _: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let is_price = meta.changed().iter().any(|field| field.as_str() == "price");
    if is_price && meta.approval().is_none() { Verdict::review("a price is for a person") } else { Verdict::accept(None) }
}

impl Served {
    /// A page as a browser asks for it.
    async fn page(&self, path: &str) -> (StatusCode, String) {
        let response = self.http.get(format!("{}{path}", self.url)).header(header::ACCEPT, "text/html").send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8", "{path}");
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], POLICY, "{path}");
        assert_eq!(
            (&headers["x-content-type-options"], &headers[header::CACHE_CONTROL]),
            (&"nosniff".parse().unwrap(), &"no-store".parse().unwrap())
        );
        assert_plain(path, &text);
        (status, text)
    }

    /// A page that is there.
    async fn shown(&self, path: &str) -> String {
        let (status, text) = self.page(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        text
    }
}

/// Nothing on the page is run or styled but by the files of the console.
fn assert_plain(path: &str, html: &str) {
    for tag in html.split('<').skip(1).map(|tag| tag.split('>').next().unwrap()) {
        let name = tag.split([' ', '/', '\n']).next().unwrap();
        assert!(name != "script" || tag.starts_with("script src=\"/assets/"), "{path}: <{tag}>");
        assert!(!["style", "iframe", "object", "img", "base"].contains(&name), "{path}: <{tag}>");
        let attributes = tag.split('"').step_by(2).flat_map(str::split_whitespace);
        for attribute in attributes.skip(1) {
            assert!(!attribute.starts_with("style=") && !attribute.starts_with("on"), "{path}: <{tag}>");
        }
    }
}

/// The pages a page leads to.
fn links(html: &str) -> BTreeSet<String> {
    let links = html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    links
        .filter(|link| link.starts_with('/') && !link.starts_with("/assets/"))
        .map(|link| link.replace("&#38;", "&").replace("&amp;", "&"))
        .collect()
}

/// A running orchestrator with one of everything there is to show.
async fn one_of_everything() -> Served {
    let served = Served::with_handler(&format!("{PUSH}{REFERRING}"), careful).await;
    served.say(&device("u1", "bms", "b1", json!({"serial": "S1", "name": "Fan"}))).await;
    served.at_rest().await;
    served.say(&device("u2", "oem", "o1", json!({"serial_no": "S1", "name": "Fan AX", "floor": 3}))).await;
    served.at_rest().await;
    let patch = json!({"id": "p", "system": "bms", "type": "device", "native_id": "b1", "op": "patch", "entity": {"price": 10}});
    served.say(&patch).await;
    served.say(&json!({"id": "s1", "system": "bms", "type": "sensor", "native_id": "t1", "entity": {"device_id": "b9"}})).await;
    // The same id with other content.
    served.say(&device("u1", "bms", "b1", json!({"serial": "S1", "name": "Other"}))).await;
    served.at_rest().await;
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_shows_what_is_stored() {
    let served = one_of_everything().await;
    let shows = async |path: &str, words: &[&str]| {
        let html = served.shown(path).await;
        for word in words {
            assert!(html.contains(word), "{path} does not say {word:?}: {html}");
        }
    };
    shows("/", &["update waits for a person", "1 id_reuse", "oem", "bms:b1", "a price is for a person"]).await;
    shows("/decisions", &["bms:b1", "a new record from bms", "parked", "sensor"]).await;
    shows("/decisions?system=oem", &["oem:o1", "selected>oem"]).await;
    shows("/decisions/oem:u2", &["Base", "Ours", "Theirs", "Outcome", "Fan AX", "floor", "first_contact"]).await;
    shows("/records?type=device", &["Fan", "serial S1", "bms:b1", "oem:o1"]).await;
    shows("/records?type=device&field=serial&value=S2", &["No device fits"]).await;
    shows("/records/device/bms:b1", &["Fan AX", "serial_no", "bms said so on", "version 2", "differs"]).await;
    shows("/waiting", &["For a person to decide", "For a record it refers to", "bms&#39;s device b9 (device_id)"]).await;
    shows("/waiting/bms:p", &["price", "Approve", "data-match=", "/v1/parked/bms:p/"]).await;
    shows("/waiting/bms:s1", &["Look at it again now", "has to come first"]).await;
    shows("/dead-letters", &["id_reuse", "bms device b1"]).await;
    let letter = links(&served.shown("/dead-letters").await).into_iter().find(|link| link.starts_with("/dead-letters/")).unwrap();
    shows(&letter, &["&#34;Other&#34;", "Requeue", "Make ids that never repeat"]).await;
    shows("/systems", &["1 record", "Pause sending", "role=\"img\"", "Send what it lacks"]).await;
    shows("/systems/oem", &["Fan AX", "device"]).await;
    shows("/help", &["canonical record", "partially accepted"]).await;
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_corrected_any_more_is_listed() {
    let served =
        Served::with(&PUSH.replace("push_updates = true", "push_updates = true\ncircular_update_prevention = { flips_max = 1 }")).await;
    served.say(&device("u1", "bms", "b1", json!({"serial": "S1", "name": "Pump"}))).await;
    served.at_rest().await;
    let sent = served.lease("oem", json!({})).await.remove(0);
    let receipt = json!({"id": "r1", "system": "oem", "type": "device", "op": "receipt", "native_id": "o1",
        "canonical_id": sent["canonical_id"], "rev": sent["rev"], "status": "applied"});
    served.say(&receipt).await;
    served.say(&device("u2", "oem", "o1", json!({"serial_no": "S1", "name": "Pump  "}))).await;
    served.at_rest().await;
    let record = served.get("/v1/entities/device/bms:b1").await.1;
    assert_eq!((&record["links"][1]["frozen"], &record["data"]["name"]), (&json!({"name": "Pump  "}), &json!("Pump")), "{record}");
    let html = served.shown("/systems/oem").await;
    for word in ["Where it is not corrected any more", "It answers", "Pump  "] {
        assert!(html.contains(word), "{word:?}: {html}");
    }
    assert!(!served.shown("/systems/bms").await.contains("Where it is not corrected any more"));
    assert!(served.shown("/records/device/bms:b1").await.contains("not corrected any more"));
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_full_of_html_is_text_and_every_link_leads_somewhere() {
    let served = one_of_everything().await;
    let native = format!("a/../b?c#d&e {BAD}");
    served.say(&device(&format!("x/{BAD}"), "bms", &native, json!({"serial": BAD, "name": BAD, BAD: {BAD: [BAD]}, "n": null}))).await;
    let patch =
        json!({"id": format!("y{BAD}"), "system": "bms", "type": "device", "native_id": native, "op": "patch", "entity": {"price": BAD}});
    served.say(&patch).await;
    served.say(&device(&format!("x/{BAD}"), "bms", &native, json!({"serial": BAD}))).await;
    served.at_rest().await;
    let (mut open, mut seen): (Vec<String>, BTreeSet<String>) = (vec!["/".to_owned()], BTreeSet::new());
    let mut said = 0;
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        assert!(seen.len() < 300, "it goes on for ever: {seen:#?}");
        let html = served.shown(&path).await;
        said += html.matches("&#60;script&#62;alert(1)").count();
        open.extend(links(&html));
    }
    for kind in
        ["/decisions/bms:x", "/decisions/bms:y", "/records/device/", "/waiting/bms:y", "/dead-letters/bms:x", "/systems/oem", "/help"]
    {
        assert!(seen.iter().any(|path| path.starts_with(kind)), "nothing leads to {kind}: {seen:#?}");
    }
    assert!(said > 20, "it was shown {said} times");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_says_what_to_do() {
    let served = Served::with(PUSH).await;
    for (path, told) in [
        ("/nonsense", "There is no page at /nonsense."),
        ("/records/device/bms:nope", "bms is not known to have a device nope"),
        ("/decisions/bms:nope", "There is no decision about bms:nope."),
        ("/waiting/bms:nope", "No update bms:nope is known."),
        ("/dead-letters/nope", "There is no dead letter nope"),
        ("/systems/nope", "No system is called &#34;nope&#34;."),
        ("/find?q=nope", "Nothing is known as &#34;nope&#34;."),
    ] {
        let (status, html) = served.page(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(html.contains(told), "{path}: {html}");
    }
    assert_eq!(served.page("/decisions/nope").await.0, StatusCode::BAD_REQUEST);
    // A filter is answered where it was typed.
    let html = served.shown("/decisions?decision=maybe").await;
    assert!(html.contains("there is no decision &#34;maybe&#34;"), "{html}");
    // Programs get a problem document.
    let (status, problem) = served.get("/nonsense").await;
    assert_eq!((status, &problem["type"]), (StatusCode::NOT_FOUND, &json!("urn:syncline:error:not_found")));
    // With nothing stored, every page says what belongs there.
    for (path, told) in [
        ("/", "Nothing was decided yet"),
        ("/waiting", "Nothing waits"),
        ("/dead-letters", "No dead letters"),
        ("/records", "No device fits"),
    ] {
        assert!(served.shown(path).await.contains(told), "{path}");
    }
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_typed_is_found() {
    let served = one_of_everything().await;
    let (_, record) = served.get("/v1/entities/device/bms:b1").await;
    let id = record["id"].as_str().unwrap();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (typed, place) in [
        ("oem:o1", format!("/records/device/{id}")),
        (id, format!("/records/device/{id}")),
        ("bms:p", "/decisions/bms:p".to_owned()),
        (" bms:s1 ", "/decisions/bms:s1".to_owned()),
    ] {
        let response = client.get(format!("{}/find", served.url)).query(&[("q", typed)]).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{typed}");
        assert_eq!(response.headers()[header::LOCATION], place, "{typed}");
    }
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_form_of_a_page_asks_the_route_for_what_it_says() {
    let served = one_of_everything().await;
    let html = served.shown("/waiting/bms:p").await;
    let of = |name: &str| html.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let (act, tag) = (of("data-act"), of("data-match"));
    let approve =
        served.http.post(format!("{}{act}approve", served.url)).header("if-match", format!("\"{tag}\"")).json(&json!({"by": "anna"}));
    let answer: Value = approve.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
    assert_eq!(answer["decision"]["decision"], "accepted");
    let html = served.shown("/decisions/bms:p").await;
    assert!(html.contains("chosen by anna") && html.contains("version 2 → 3"), "{html}");
    assert_eq!(served.page("/waiting/bms:p").await.0, StatusCode::NOT_FOUND);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_of_the_console_are_part_of_the_program() {
    let served = Served::with(PUSH).await;
    let html = served.shown("/").await;
    for (name, kind) in
        [("console.css", "text/css; charset=utf-8"), ("console.js", "text/javascript; charset=utf-8"), ("icon.svg", "image/svg+xml")]
    {
        assert!(html.contains(&format!("\"/assets/{name}")), "{name}");
        let url = format!("{}/assets/{name}", served.url);
        let response = served.http.get(&url).send().await.unwrap();
        let headers = response.headers().clone();
        assert_eq!((response.status(), &headers[header::CONTENT_TYPE]), (StatusCode::OK, &kind.parse().unwrap()));
        let text = response.text().await.unwrap();
        assert!(!text.contains("http://") && !text.contains("https://") || name == "icon.svg", "{name} needs nothing from elsewhere");
        let again = served.http.get(&url).header(header::IF_NONE_MATCH, &headers[header::ETAG]).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }
    assert_eq!(served.http.get(format!("{}/assets/other.js", served.url)).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    served.orchestrator.stop().await.unwrap();
}
