//! A secret is where it belongs and nowhere else: not in logs, errors, answers, numbers or pages.

use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::{Method, header};
use serde_json::json;

use crate::commands::{said, syncline_with};
use crate::guarded::{PEOPLE, client, cookies, hidden, token};
use crate::support::{PUSH, device};

const CANARY: &str = "cAnArY0123456789";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_in_no_log_answer_number_or_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (mut lines, mut secrets) = (String::new(), vec![CANARY.to_owned()]);
    for (name, role) in PEOPLE {
        let (token, line) = token(name, role);
        secrets.push(line.rsplit('$').next().unwrap().split('"').next().unwrap().to_owned());
        secrets.push(token);
        lines.push_str(&line);
    }
    let [ada, bms] = [10, 2].map(|at| secrets[at].clone());
    std::fs::write(path("tokens.toml"), lines).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = PUSH.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let text = format!("{config}\n[store]\npath = {:?}\n[http.auth]\ntokens_file = {:?}\n", path("data"), path("tokens.toml"));
    std::fs::write(path("syncline.toml"), text).unwrap();
    let log = std::fs::File::create(path("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command.args(["run", "--log-format", "json", "--config", &path("syncline.toml")]).env("SYNCLINE_LOG", "trace,lapin=off").stderr(log);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();

    let (http, url) = (client(), format!("http://127.0.0.1:{port}"));
    let ready = async {
        while http.get(format!("{url}/readyz")).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap();
    let mut seen = String::new();
    let mut ask = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.unwrap();
        seen.push_str(&format!("{:?}\n", response.headers()));
        seen.push_str(&response.text().await.unwrap());
    };
    for path in ["/v1/systems", "/metrics", "/v1/nothing", "/login", "/help"] {
        ask(http.get(format!("{url}{path}")).header(header::ACCEPT, "text/html").bearer_auth(&ada)).await;
        ask(http.get(format!("{url}{path}")).bearer_auth(&ada)).await;
    }
    for token in [CANARY, &format!("syncline_{CANARY}_{CANARY}")] {
        ask(http.get(format!("{url}/v1/systems")).bearer_auth(token)).await;
        ask(http.get(format!("{url}/help")).header(header::ACCEPT, "text/html").bearer_auth(token)).await;
    }
    let foreign = device("u1", "oem", "o1", json!({"serial_no": "S1"}));
    ask(http.post(format!("{url}/v1/updates")).bearer_auth(&bms).json(&foreign)).await;
    let form = http.get(format!("{url}/login")).send().await.unwrap();
    let (cookie, csrf) = (cookies(&form).remove(0), hidden(&form.text().await.unwrap()));
    for token in [CANARY, &ada] {
        let form = [("token", token), ("csrf", csrf.as_str())];
        let request = http.request(Method::POST, format!("{url}/login")).header(header::COOKIE, &cookie).form(&form);
        let response = request.send().await.unwrap();
        seen.push_str(&response.text().await.unwrap());
    }
    let file = path("syncline.toml");
    for arguments in [&["systems", "--json"][..], &["status"], &["dead-letters", "--json"], &["check"]] {
        let all = [arguments, &["--config", &file]].concat();
        for token in [ada.as_str(), CANARY] {
            seen.push_str(&said(&syncline_with(&[("SYNCLINE_TOKEN", token)], &all, "").await));
        }
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    let log = std::fs::read_to_string(path("log")).unwrap();
    assert!(log.contains("logged in") && log.contains("a log-in failed") && seen.contains("not_your_system"), "it was all done: {seen}");
    for secret in &secrets {
        for (what, text) in [("the log", &log), ("an answer", &seen)] {
            assert!(
                !text.contains(secret.as_str()),
                "{secret} is in {what}: {}",
                text.lines().find(|line| line.contains(secret.as_str())).unwrap()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_said_without_their_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (amqp, mongodb) =
        (format!("amqp://syncline:{CANARY}@127.0.0.1:9"), format!("mongodb://syncline:{CANARY}@127.0.0.1:9/?serverSelectionTimeoutMS=200"));
    std::fs::write(path("url"), &mongodb).unwrap();
    let store = format!("[store]\npath = {:?}\n", path("data"));
    let far = |url: &str| url.replace("127.0.0.1", "db.example.com");
    let configs = [
        // What can't be reached,
        format!("[broker]\nkind = \"rabbitmq\"\nurl = {amqp:?}\n{store}"),
        // what may not be reached so,
        format!("[broker]\nkind = \"rabbitmq\"\nurl = {:?}\n{store}", far(&amqp)),
        format!("[store]\nkind = \"mongodb\"\nurl = {:?}\n", far(&mongodb)),
        // what means nothing, and what is of another kind.
        format!("[broker]\nurl = {amqp:?}\n{store}"),
        format!("[store]\nkind = \"mongodb\"\nurl = [{mongodb:?}]\n"),
        format!("[store]\nkind = \"mongodb\"\nurl_file = {:?}\n[http.auth]\ntokens_file = \"/nowhere\"\n", path("url")),
    ];
    let file = path("syncline.toml");
    for (n, config) in configs.iter().enumerate() {
        std::fs::write(path("syncline.toml"), format!("[http]\nlisten = \"127.0.0.1:0\"\n{config}")).unwrap();
        for command in
            [&["run", "--log-format", "json"][..], &["check", "--json"], &["check"], &["topology", "--check"], &["topology"], &["systems"]]
        {
            if n == 0 && command[0] == "run" {
                continue;
            }
            let all = [command, &["--config", &file]].concat();
            let output = tokio::time::timeout(Duration::from_secs(60), syncline_with(&[("SYNCLINE_LOG", "debug")], &all, "")).await;
            let text = said(&output.expect("it ends"));
            assert!(!text.contains(CANARY), "{n} {command:?}: {text}");
        }
    }
}
