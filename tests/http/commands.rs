//! The commands that talk to a running orchestrator.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::support::{PUSH, Served, device};

pub async fn syncline(arguments: &[&str], input: &str) -> Output {
    syncline_with(&[], arguments, input).await
}

/// With variables of the environment.
pub async fn syncline_with(variables: &[(&str, &str)], arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command.envs(variables.iter().copied()).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let run = move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_status_systems_receive() {
    let served = Served::with(PUSH).await;
    let url = served.url.as_str();
    let records = "{\"id\": \"b1\", \"serial\": \"S1\"}\n\n{\"id\": \"b2\", \"serial\": \"S2\"}\n";
    let sent = syncline(&["send", "--url", url, "--system", "bms", "--type", "device", "-"], records).await;
    assert_eq!((said(&sent).as_str(), sent.status.code()), ("2 handed in, 0 refused\n", Some(0)));
    let rest = syncline(&["status", "--url", url, "--wait-idle", "30s"], "").await;
    assert_eq!((said(&rest).as_str(), rest.status.code()), ("at rest: nothing to decide, nothing to send\n", Some(0)));
    let systems = said(&syncline(&["systems", "--url", url], "").await);
    let oem =
        systems.lines().find(|line| line.starts_with("oem")).and_then(|line| line.split_whitespace().find(|word| word.ends_with('s')));
    // How long it has lacked them depends on the machine.
    let lag = oem.expect("it is sent two");
    insta::assert_snapshot!(systems.replace(lag, "0s"), @"
    system  health       types   lag  drift  pending  unanswered  failing  queued  answers
    bms     in sync      device  0s   0      0        0           0        0       none seen
    oem     catching up  device  0s   2      0        2           0        2       none seen
    ");
    let waits = said(&syncline(&["receive", "--url", url, "--system", "oem"], "").await);
    assert_eq!(waits.lines().count(), 2, "{waits}");
    assert!(waits.starts_with("create device (a new record)  rev 1  {\"serial_no\":\"S"), "{waits}");
    let taken = said(&syncline(&["receive", "--url", url, "--system", "oem", "--ack"], "").await);
    assert_eq!(taken, waits, "looking took nothing");
    assert_eq!(said(&syncline(&["receive", "--url", url, "--system", "oem"], "").await), "nothing waits for oem\n");
    // Nobody has answered the create, so what comes after it waits.
    syncline(&["send", "--url", url, "--system", "bms", "--type", "device", "-"], "{\"id\": \"b1\", \"serial\": \"S9\"}\n").await;
    syncline(&["status", "--url", url, "--wait-idle", "30s"], "").await;
    let why = said(&syncline(&["why", "--url", url, "device", "bms:b1"], "").await);
    assert!(why.contains("rev 2 with 'S9' is to follow rev 1, which was sent and is not answered yet."), "{why}");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_with_its_exit_code() {
    let served = Served::with(PUSH).await;
    let url = served.url.as_str();
    let lines = "{\"serial\": \"S1\"}\n{\"id\": \"b2\", \"serial\": \"S2\"}\n";
    let sent = syncline(&["send", "--url", url, "--system", "bms", "--type", "device", "-"], lines).await;
    insta::assert_snapshot!(said(&sent), @r#"
    1 handed in, 1 refused
    syncline: line 1: the record has no "id"
    syncline: see above for what was refused
    "#);
    assert_eq!(sent.status.code(), Some(1), "the lines after it go on");
    let export = syncline(&["snapshot", "--url", url, "--system", "bms", "--type", "device", "-"], lines).await;
    insta::assert_snapshot!(said(&export), @r#"
    syncline: line 1: the record has no "id"; 0 records before it were handed in, and nothing was deleted. Mend the line, and run it again with the whole export.
    "#);
    assert_eq!(export.status.code(), Some(64));
    let nobody = syncline(&["systems", "--url", "http://127.0.0.1:9"], "").await;
    assert_eq!(nobody.status.code(), Some(69), "{}", said(&nobody));
    assert!(said(&nobody).contains("start one with `syncline run`"));
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_says_how_far_it_came_when_the_orchestrator_goes() {
    let served = Served::with(PUSH).await;
    let url = served.url.clone();
    let mut send = Command::new(env!("CARGO_BIN_EXE_syncline"));
    send.args(["send", "--url", &url, "--system", "bms", "--type", "device", "-"]);
    let mut send = send.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = send.stdin.take().unwrap();
    // As many as go in one request.
    for n in 1..=500 {
        writeln!(input, "{{\"id\": \"b{n}\", \"serial\": \"S{n}\"}}").unwrap();
    }
    while !syncline(&["entity", "--url", &url, "device", "bms:b500"], "").await.status.success() {}
    served.orchestrator.stop().await.unwrap();
    writeln!(input, "{{\"id\": \"b501\", \"serial\": \"S501\"}}").unwrap();
    drop(input);
    let sent = tokio::task::spawn_blocking(move || send.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(sent.status.code(), Some(69), "{}", said(&sent));
    let how_far = "syncline: 500 were handed in. Of 1 more, from line 501 on, it is not known; hand those in again.\n";
    assert!(said(&sent).starts_with(how_far), "{}", said(&sent));
}

/// The real binary: started, used, told to end, started again; nothing is lost and nothing is repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_is_ended_by_sigterm_and_goes_on_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("syncline.toml");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(&file, format!("[http]\nlisten = \"127.0.0.1:{port}\"\n[store]\npath = {:?}\n", folder.path().join("data"))).unwrap();
    let (http, url) = (reqwest::Client::new(), format!("http://127.0.0.1:{port}"));
    for round in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        let mut child = command.args(["run", "--log-format", "json", "--config"]).arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let ready = async {
            while http.get(format!("{url}/readyz")).send().await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), ready).await.unwrap();
        for n in 0..200 {
            let update = device(&format!("r{round}-{n}"), "bms", &format!("b{n}"), json!({"n": n, "round": round}));
            assert_eq!(http.post(format!("{url}/v1/updates")).json(&update).send().await.unwrap().status(), 202);
        }
        // At once, with updates still undecided.
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
        assert_eq!(tokio::time::timeout(std::time::Duration::from_secs(15), ended).await.unwrap().unwrap().code(), Some(0));
    }
    let mut config = syncline::config::Config::default();
    config.store.path = folder.path().join("data");
    let orchestrator = syncline::prelude::Syncline::new(config).start().await.unwrap();
    let all = async {
        for n in 0..200 {
            let update = syncline::domain::ids::UpdateId::try_from(format!("bms:r1-{n}")).unwrap();
            let row = loop {
                match orchestrator.store().decision(&update).await.unwrap() {
                    Some(row) => break row,
                    None => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
                }
            };
            assert_eq!((row.version_before, row.version_after), (1, 2));
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), all).await.unwrap();
    orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_export_is_handed_in_as_far_as_it_is_news() {
    let served = Served::with(PUSH).await;
    let url = served.url.as_str();
    for n in 1..=3 {
        let device = device(&format!("o{n}"), "oem", &format!("o{n}"), json!({"serial_no": format!("S{n}"), "size": {"w": n, "h": 1.0}}));
        served.say(&device).await;
    }
    served.at_rest().await;
    let export = "{\"id\": \"o1\", \"serial_no\": \"S1\", \"size\": {\"w\": 1.0, \"h\": 1}, \"note\": null}\n\
                  {\"id\": \"o2\", \"serial_no\": \"S2\", \"size\": {\"w\": 2, \"h\": 7}}\n\
                  {\"id\": \"o9\", \"serial_no\": \"S9\"}\n";
    let would = syncline(&["snapshot", "--url", url, "--system", "oem", "--type", "device", "-", "--dry-run"], export).await;
    insta::assert_snapshot!(said(&would), @"
    3 differ and would be handed in, 0 refused, 1 are as known
    1 of them as deleted: oem is known to hold them, and they are not in the export
    ");
    served.at_rest().await;
    assert!(served.get("/v1/entities/device/oem:o3").await.1["tombstone"].is_null(), "nothing was handed in");
    let output = syncline(&["snapshot", "--url", url, "--system", "oem", "--type", "device", "-"], export).await;
    insta::assert_snapshot!(said(&output), @"
    3 differ and were handed in, 0 refused, 1 are as known
    1 of them as deleted: oem is known to hold them, and they are not in the export
    ");
    served.at_rest().await;
    assert_eq!(served.get("/v1/entities/device/oem:o2").await.1["data"]["size"], json!({"w": 2, "h": 7}));
    assert_eq!(served.get("/v1/entities/device/oem:o1").await.1["version"], 1);
    assert_eq!(served.get("/v1/entities/device/oem:o3").await.1["tombstone"]["system"], "oem");
    let again = syncline(&["snapshot", "--json", "--url", url, "--system", "oem", "--type", "device", "-"], export).await;
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again, json!({"sent": 0, "refused": 0, "as_known": 3, "absent": 0, "dry_run": false}));
    served.orchestrator.stop().await.unwrap();
}
