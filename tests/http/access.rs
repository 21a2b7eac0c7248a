//! Who may do what: every route that there is, by everybody who must not.

use std::path::Path;

use reqwest::{Method, RequestBuilder, header};
use serde_json::{Value, json};
use syncline::http::access::{Form, Needs};
use syncline::http::table::{Route, table};

use crate::guarded::{Guarded, Session, code};
use crate::support::device;

/// Those that take `If-Match`.
const TAGGED: [(&str, &str); 10] = [
    ("/v1/parked/{update}/approve", "{}"),
    ("/v1/parked/{update}/reject", "{}"),
    ("/v1/parked/{update}/retry", "{}"),
    ("/v1/dead-letters/{id}/requeue", "{}"),
    ("/v1/dead-letters/{id}/discard", "{}"),
    ("/v1/brakes/{id}/release", "{}"),
    ("/v1/brakes/{id}/discard", "{}"),
    ("/v1/entities/{type}/{id}/merge", r#"{"loser": "oem:o1"}"#),
    ("/v1/entities/{type}/{id}/split", r#"{"links": ["bms:b2"]}"#),
    ("/v1/entities/{type}/{id}/erase", "{}"),
];
/// Those that make something new each time, or only say how things shall be: there is no state of anything to look at before.
const UNTAGGED: [&str; 8] = [
    "/v1/updates",
    "/v1/systems/{system}/lease",
    "/v1/systems/{system}/pause",
    "/v1/systems/{system}/resume",
    "/v1/systems/{system}/resync",
    "/v1/resync",
    "/login",
    "/logout",
];

/// A path of the table with something in every place.
fn filled(route: &Route) -> String {
    let parts = [("{type}", "device"), ("{system}", "oem"), ("{update}", "bms:p"), ("{id}", "bms:b1"), ("{name}", "console.css")];
    let path = parts.iter().fold(route.path.to_owned(), |path, (part, value)| path.replace(part, value));
    assert!(!path.contains('{'), "{path} has a part this test does not know");
    path
}

/// Somebody whose role is not enough, if there is one.
fn too_little(needs: Needs) -> &'static [&'static str] {
    match needs {
        Needs::Nothing | Needs::Name => &[],
        Needs::Viewer => &["oem"],
        Needs::ViewerOrItself => &["bms"],
        Needs::Operator => &["vera", "oem"],
        Needs::Admin => &["otto", "vera", "oem"],
        Needs::Itself => &["bms", "otto", "vera"],
        Needs::Adapter => &["otto", "vera"],
    }
}

async fn refused(what: &str, request: RequestBuilder, expected: (u16, &str)) {
    let response = request.send().await.unwrap();
    let headers = response.headers().clone();
    assert_eq!(code(response).await, (expected.0, expected.1.to_owned()), "{what}");
    assert_eq!(headers.contains_key(header::WWW_AUTHENTICATE), expected.0 == 401, "{what}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!((&headers["referrer-policy"], &headers["cache-control"]), (&"same-origin".parse().unwrap(), &"no-store".parse().unwrap()));
    assert!(headers["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_that_changes_something_is_closed_to_everybody_else() {
    let guarded = Guarded::start().await;
    guarded.review().await;
    let (ada, ben) = (guarded.log_in("ada").await, guarded.log_in("ada").await);
    let changing: Vec<Route> = table().into_iter().filter(Route::changes).collect();
    assert!(changing.len() >= 17, "{}", changing.len());
    for route in &changing {
        let path = filled(route);
        let json = |request: RequestBuilder| request.json(&json!({}));
        let ask = || json(guarded.ask(Method::POST, &path));
        let anybody = route.needs == Needs::Nothing;
        if !anybody {
            refused(&path, ask(), (401, "unauthorized")).await;
            let guess = ask().bearer_auth("syncline_x_y").send().await.unwrap().status().as_u16();
            assert!([401, 429].contains(&guess), "{path}: {guess}");
            refused(&path, ask().header(header::COOKIE, "syncline=0123"), (401, "unauthorized")).await;
        }
        for name in too_little(route.needs) {
            refused(&path, json(guarded.by(name, Method::POST, &path)), (403, "forbidden")).await;
        }
        // What a form of ours says, too: it is known by what it sends along.
        let nowhere = if route.form == Form::Header { "null" } else { "file://" };
        for origin in ["https://evil.example", nowhere, "http://127.0.0.1:1"] {
            refused(&path, json(guarded.by("ada", Method::POST, &path)).header(header::ORIGIN, origin), (403, "wrong_origin")).await;
        }
        refused(&path, json(guarded.by("ada", Method::POST, &path)).header(header::HOST, "evil.example"), (403, "wrong_host")).await;
        not_from_a_page(&guarded, route, &path, [&ada, &ben]).await;
        if route.form == Form::Header {
            let request = ask().header(header::COOKIE, &ada.cookie).header("x-csrf-token", &ada.csrf);
            let status = request.send().await.unwrap().status().as_u16();
            assert!(![401, 403].contains(&status), "{path}: {status} for an admin's own page");
        }
    }
    guarded.served.orchestrator.stop().await.unwrap();
}

/// With the cookie of a browser, and without what only its page knows.
async fn not_from_a_page(guarded: &Guarded, route: &Route, path: &str, [own, other]: [&Session; 2]) {
    for wrong in ["", "0", &other.csrf, &own.csrf[..62]] {
        let request = guarded.ask(Method::POST, path).header(header::COOKIE, &own.cookie);
        match route.form {
            Form::Header => {
                refused(path, request.json(&json!({})).header("x-csrf-token", wrong), (403, "csrf")).await;
            }
            Form::Field => {
                let form: &[(&str, &str)] = if path == "/login" { &[("csrf", wrong), ("token", "x")] } else { &[("csrf", wrong)] };
                let response = request.header(header::ORIGIN, "null").form(form).send().await.unwrap();
                assert_eq!(response.status(), 403, "{path} {wrong:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_looked_at_must_still_be_so() {
    let guarded = Guarded::start().await;
    guarded.review().await;
    // Something of each kind: two records, a message that can't be processed, and what is kept back.
    for (id, native) in [("u2", "b2"), ("u3", "b3")] {
        assert_eq!(guarded.say("bms", &device(id, "bms", native, json!({"serial": native}))).await.0, 202);
        guarded.until_there(&format!("/v1/decisions/bms:{id}")).await;
    }
    guarded.say("oem", &device("u1", "oem", "o1", json!({"serial_no": "S9"}))).await;
    guarded.say("bms", &device("dead", "bms", "b4", json!({"serial": "S4", "id": "other"}))).await;
    guarded.until_there("/v1/decisions/oem:u1").await;
    guarded.until_there("/v1/dead-letters/bms:dead").await;
    assert_eq!(
        guarded.by("otto", Method::POST, "/v1/systems/oem/pause").json(&json!({"direction": "out"})).send().await.unwrap().status(),
        200
    );
    let at = |path: &str| match path {
        _ if path.starts_with("/v1/parked/") => path.replace("{update}", "bms:p"),
        _ if path.starts_with("/v1/dead-letters/") => path.replace("{id}", "bms:dead"),
        _ if path.starts_with("/v1/brakes/") => path.replace("{id}", "pause-out:oem"),
        _ => path.replace("{type}", "device").replace("{id}", "bms:b2"),
    };
    for route in table().iter().filter(|route| route.changes()) {
        let Some((_, body)) = TAGGED.iter().find(|(path, _)| *path == route.path) else {
            assert!(UNTAGGED.contains(&route.path), "{}: does it take If-Match?", route.path);
            continue;
        };
        let request = guarded.by("ada", Method::POST, &at(route.path)).header(header::IF_MATCH, "\"0123456789abcdef\"");
        let request = request.header(header::CONTENT_TYPE, "application/json").body(*body);
        assert_eq!(code(request.send().await.unwrap()).await, (412, "changed".to_owned()), "{}", route.path);
    }
    assert_eq!(guarded.get("vera", "/v1/parked/bms:p").await.0, 200, "it still waits");
    let kept = guarded.get("vera", "/v1/brakes").await.1;
    assert_eq!(kept["items"][0]["id"], "pause-out:oem", "it is still kept back");

    // With the tag of what there is, it is done.
    let letter = guarded.by("vera", Method::GET, "/v1/dead-letters/bms:dead").send().await.unwrap();
    let tags = [("/v1/dead-letters/bms:dead/discard", letter.headers()[header::ETAG].to_str().unwrap().to_owned())];
    let held = kept["items"][0]["tag"].as_str().unwrap();
    for (path, tag) in tags.into_iter().chain([("/v1/brakes/pause-out:oem/release", format!("\"{held}\""))]) {
        let request = guarded.by("otto", Method::POST, path).header(header::IF_MATCH, tag);
        assert_eq!(request.send().await.unwrap().status(), 200, "{path}");
    }
    guarded.served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_that_only_reads_is_closed_to_everybody_else() {
    let guarded = Guarded::start().await;
    for route in table().iter().filter(|route| !route.changes()) {
        let path = filled(route);
        let status = guarded.ask(Method::GET, &path).send().await.unwrap().status().as_u16();
        if route.needs == Needs::Nothing {
            assert_eq!(status, 200, "{path}");
            continue;
        }
        refused(&path, guarded.ask(Method::GET, &path), (401, "unauthorized")).await;
        refused(&path, guarded.ask(Method::HEAD, &path), (401, "")).await;
        for name in too_little(route.needs) {
            refused(&path, guarded.by(name, Method::GET, &path), (403, "forbidden")).await;
        }
        let who = if route.needs == Needs::Admin { "ada" } else { "vera" };
        let status = guarded.by(who, Method::GET, &path).send().await.unwrap().status().as_u16();
        assert!(![401, 403, 405].contains(&status), "{path}: {status} for {who}");
        if !path.starts_with("/v1/") && path != "/metrics" {
            let page = guarded.ask(Method::GET, &path).header(header::ACCEPT, "text/html").send().await.unwrap();
            assert_eq!(page.status(), 303, "{path}");
            assert!(page.headers()[header::LOCATION].to_str().unwrap().starts_with("/login?next=%2F"), "{path}");
        }
    }
    // Nor is anybody told what there is not.
    refused("/v1/nothing", guarded.ask(Method::GET, "/v1/nothing"), (401, "unauthorized")).await;
    refused("/v1/systems", guarded.ask(Method::DELETE, "/v1/systems"), (401, "unauthorized")).await;
    assert_eq!(guarded.by("bms", Method::GET, "/v1/nothing").send().await.unwrap().status(), 404);
    assert_eq!(guarded.by("bms", Method::DELETE, "/v1/systems").send().await.unwrap().status(), 405);
    guarded.served.orchestrator.stop().await.unwrap();
}

/// One table, and nothing beside it.
#[test]
fn the_table_has_every_route() {
    fn sources(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap();
                found.extend(text.matches(".route(").map(|_| path.file_name().unwrap().to_string_lossy().into_owned()));
            }
        }
    }
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    sources(&root.join("src/http"), &mut found);
    assert_eq!(found, ["mod.rs", "mod.rs"], "routes are made from the table only");
    let manual = std::fs::read_to_string(root.join("docs/http.md")).unwrap();
    for route in table().iter().filter(|route| route.path.starts_with("/v1/")) {
        let last = route.path.rsplit('/').next().unwrap();
        let documented = manual.contains(route.path) || manual.contains(&format!("`{last}`"));
        assert!(documented, "docs/http.md does not have {} {}", route.method, route.path);
    }
}

/// Who may change what, as a reviewer reads it.
#[test]
fn what_each_route_that_changes_something_needs() {
    let lines: Vec<String> =
        table().iter().filter(|route| route.changes()).map(|route| format!("{:<42} {:?}", route.path, route.needs)).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    /v1/updates                                Adapter
    /v1/systems/{system}/lease                 Itself
    /v1/parked/{update}/approve                Operator
    /v1/parked/{update}/reject                 Operator
    /v1/parked/{update}/retry                  Operator
    /v1/dead-letters/{id}/requeue              Operator
    /v1/dead-letters/{id}/discard              Operator
    /v1/entities/{type}/{id}/merge             Operator
    /v1/entities/{type}/{id}/split             Operator
    /v1/entities/{type}/{id}/erase             Admin
    /v1/systems/{system}/pause                 Operator
    /v1/brakes/{id}/release                    Operator
    /v1/brakes/{id}/discard                    Operator
    /v1/resync                                 Operator
    /v1/systems/{system}/resync                Operator
    /v1/systems/{system}/resume                Operator
    /login                                     Nothing
    /logout                                    Name
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_speaks_for_its_own_system_only() {
    let guarded = Guarded::start().await;
    let own = device("u1", "bms", "b1", json!({"serial": "S1"}));
    let foreign = device("u2", "oem", "o1", json!({"serial_no": "S2"}));
    assert_eq!(guarded.say("bms", &own).await.0, 202);
    let (status, problem) = guarded.say("bms", &foreign).await;
    assert_eq!(
        (status.as_u16(), &problem["type"], &problem["field"]),
        (403, &json!("urn:syncline:error:not_your_system"), &json!("system"))
    );
    let (status, problem) = guarded.say("bms", &json!([device("u3", "bms", "b3", json!({"serial": "S3"})), foreign])).await;
    assert_eq!((status.as_u16(), problem["problems"][0]["index"].as_u64()), (403, Some(1)), "{problem}");
    let lines = format!("{}\n{foreign}\n", device("u4", "bms", "b4", json!({"serial": "S4"})));
    let request = guarded.by("bms", Method::POST, "/v1/updates").header(header::CONTENT_TYPE, "application/x-ndjson").body(lines);
    let answers = request.send().await.unwrap().text().await.unwrap();
    let rows: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&rows[0]["status"], &rows[1]["status"], &rows[1]["problem"]["status"]), (&json!("queued"), &json!("error"), &json!(403)));

    // It is kept for somebody to look at, once for each text of it, and does not stand in the way of the system's own message.
    let letters = guarded.get("vera", "/v1/dead-letters").await.1["items"].clone();
    let letters = letters.as_array().unwrap();
    assert!(
        !letters.is_empty() && letters.iter().all(|letter| letter["reason"] == "not_your_system" && letter["system"] == "oem"),
        "{letters:?}"
    );
    assert!(letters.iter().all(|letter| letter["id"].as_str().unwrap().starts_with("oem:u2#")));
    assert_eq!(guarded.say("oem", &foreign).await.0, 202);
    guarded.until_there("/v1/decisions/oem:u2").await;
    assert_eq!(guarded.get("vera", "/v1/decisions/bms:u3").await.0, 404, "all or nothing");
    let metrics = guarded.by("vera", Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("syncline_http_refused_total{reason=\"not_your_system\"} 3"), "{metrics}");

    let lease = |name: &str, system: &str| guarded.by(name, Method::POST, &format!("/v1/systems/{system}/lease")).json(&json!({})).send();
    assert_eq!(lease("oem", "oem").await.unwrap().status(), 200);
    assert_eq!(lease("oem", "bms").await.unwrap().status(), 403);
    assert_eq!(guarded.get("oem", "/v1/systems/oem/view/device/oem:o1").await.0, 200);
    assert_eq!(guarded.get("oem", "/v1/systems/bms/view/device/oem:o1").await.0, 403);
    // A record of a type it has no part in is none of its business, whoever has it.
    let person = json!({"id": "p1", "system": "bms", "type": "person", "native_id": "7", "entity": {"name": "Anna"}});
    assert_eq!(guarded.say("bms", &person).await.0, 202);
    guarded.until_there("/v1/decisions/bms:p1").await;
    assert_eq!(guarded.get("ada", "/v1/systems/oem/view/person/bms:7").await.0, 200);
    assert_eq!(guarded.get("oem", "/v1/systems/oem/view/person/bms:7").await.0, 404);
    assert_eq!(guarded.get("oem", "/v1/systems/oem/held/device").await.0, 200);
    guarded.served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_acts_is_whose_token_it_is() {
    let guarded = Guarded::start().await;
    guarded.say("bms", &device("u1", "bms", "b1", json!({"serial": "S1", "id": "other"}))).await;
    let dead = async {
        while guarded.get("vera", "/v1/dead-letters").await.1["items"] == json!([]) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), dead).await.unwrap();
    let path = "/v1/dead-letters/bms:u1/requeue";
    let body = |by: Option<&str>| json!({"by": by, "message": device("u1", "bms", "b1", json!({"serial": "S1"}))});
    let refused = guarded.by("otto", Method::POST, path).json(&body(Some("anna"))).send().await.unwrap();
    assert_eq!(code(refused).await, (403, "not_you".to_owned()));
    let done: Value = guarded.by("otto", Method::POST, path).json(&body(None)).send().await.unwrap().json().await.unwrap();
    assert_eq!(done["decision"]["reason"], "a new record from bms (edited and requeued by otto)", "{done}");
    guarded.served.orchestrator.stop().await.unwrap();
}
