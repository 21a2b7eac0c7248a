//! Tokens on the command line: made, kept in files, shown to an orchestrator.

use serde_json::Value;

use crate::commands::{said, syncline, syncline_with};
use crate::guarded::Guarded;
use crate::support::{PUSH, Served};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_made_kept_as_a_hash_and_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut lines = String::new();
    for (name, role) in [("anna", "operator"), ("the bms \"adapter\"", "adapter:bms")] {
        let made = syncline(&["token", "--name", name, "--role", role, "--json"], "").await;
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let (token, line) = (made["token"].as_str().unwrap(), made["line"].as_str().unwrap());
        assert!(token.starts_with("syncline_") && token.len() > 90 && !line.contains(token), "{line}");
        lines.push_str(&format!("{line}\n"));
        std::fs::write(path(role), format!("{token}\n")).unwrap();
    }
    let made = syncline(&["token", "--name", "anna", "--role", "operator"], "").await;
    let (out, err) = (String::from_utf8(made.stdout).unwrap(), String::from_utf8(made.stderr).unwrap());
    assert_eq!((out.lines().count(), err.lines().count()), (2, 2), "what is to be kept is on stdout: {out}");
    assert!(out.lines().nth(1).unwrap().starts_with("anna = { role = \"operator\", hash = \"$argon2id$"), "{out}");

    std::fs::write(path("tokens.toml"), lines).unwrap();
    let config = format!("{PUSH}\n[http.auth]\ntokens_file = {:?}\n", path("tokens.toml"));
    let served = Served::within(folder, &config).await;
    let file = |role: &str| served.folder.path().join(role).display().to_string();
    let systems = async |variables: &[(&str, &str)], more: &[&str]| {
        let output = syncline_with(variables, &[&["systems", "--url", &served.url], more].concat(), "").await;
        (output.status.code().unwrap(), said(&output))
    };
    let without = systems(&[], &[]).await;
    assert_eq!((without.0, without.1.contains("--token-file")), (77, true), "{}", without.1);
    assert_eq!(systems(&[], &["--token-file", &file("operator")]).await.0, 0);
    assert_eq!(systems(&[("SYNCLINE_TOKEN_FILE", &file("operator"))], &[]).await.0, 0);
    let token = std::fs::read_to_string(file("operator")).unwrap();
    assert_eq!(systems(&[("SYNCLINE_TOKEN", token.trim())], &[]).await.0, 0);
    let adapter = systems(&[], &["--token-file", &file("adapter:bms")]).await;
    let needs = "the bms \"adapter\" is adapter:bms; this needs viewer, operator or admin";
    assert_eq!((adapter.0, adapter.1.contains(needs)), (77, true), "{}", adapter.1);
    let own = file("adapter:bms");
    let send = ["send", "--url", &served.url, "--token-file", &own, "--system", "bms", "--type", "device", "-"];
    assert_eq!(said(&syncline(&send, "{\"id\": \"b1\", \"serial\": \"S1\"}\n").await), "1 handed in, 0 refused\n");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_acts_under_the_name_of_the_token() {
    let guarded = Guarded::start().await;
    guarded.review().await;
    let url = guarded.served.url.as_str();
    let token = [("SYNCLINE_TOKEN", guarded.tokens["otto"].as_str())];
    let other = syncline_with(&token, &["parked", "reject", "bms:p", "--by", "anna", "--url", url], "").await;
    assert_eq!((other.status.code(), said(&other).contains("you are otto")), (Some(77), true), "{}", said(&other));
    let done = syncline_with(&token, &["parked", "reject", "bms:p", "--url", url], "").await;
    assert!(said(&done).starts_with("bms:p is dropped: rejected by otto"), "{}", said(&done));
    guarded.served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_about_a_token_is_said_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token").display().to_string();
    std::fs::write(&file, "CANARY one\n").unwrap();
    for (arguments, code, words) in [
        (vec!["token", "--name", "anna", "--role", "operater"], 64, "did you mean \"operator\"?"),
        (vec!["token", "--name", " ", "--role", "admin"], 64, "is no name"),
        (vec!["systems", "--token-file", &file], 64, "holds no token"),
        (vec!["systems", "--token-file", "/nowhere/token"], 74, "cannot read /nowhere/token"),
    ] {
        let output = syncline(&arguments, "").await;
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(words) && !said(&output).contains("CANARY"), "{}", said(&output));
    }
    let clear = syncline_with(&[("SYNCLINE_TOKEN", "CANARY")], &["systems", "--url", "http://192.0.2.1:7171"], "").await;
    assert_eq!(clear.status.code(), Some(64));
    assert!(said(&clear).contains("leaves this machine without encryption") && !said(&clear).contains("CANARY"), "{}", said(&clear));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_looks_into_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("tokens.toml"), "anna = { role = \"boss\", hash = \"CANARY\" }\n").unwrap();
    std::fs::write(path("key.pem"), "CANARY").unwrap();
    let text = format!(
        "[http.auth]\ntokens_file = {:?}\n[http.tls]\ncert_file = {:?}\nkey_file = {:?}\n",
        path("tokens.toml"),
        path("cert.pem"),
        path("key.pem")
    );
    std::fs::write(path("syncline.toml"), text).unwrap();
    let checked = syncline(&["check", "--config", &path("syncline.toml")], "").await;
    let text = said(&checked).replace(&folder.path().display().to_string(), "");
    assert_eq!(checked.status.code(), Some(78), "{text}");
    for line in [
        "error: /tokens.toml:1: anna.role: \"boss\" is no role; there are adapter:SYSTEM, viewer, operator and admin",
        "error: /tokens.toml:1: anna.hash: is no hash in the PHC string format",
        "error: /cert.pem: cannot be read as certificates (PEM): ",
        "error: /key.pem: cannot be read as a private key (PEM): ",
        "warning: /key.pem: can be read by everybody on this machine",
    ] {
        assert!(text.lines().any(|said| said.starts_with(line)), "{line} is missing:\n{text}");
    }
    assert!(!text.contains("CANARY"), "{text}");
    std::fs::write(path("mq.url"), "amqp://anna:CANARY@mq.example.com").unwrap();
    let servers = format!(
        "[broker]\nkind = \"rabbitmq\"\nurl_file = {:?}\n[store]\nkind = \"mongodb\"\nurl_file = {:?}\n",
        path("mq.url"),
        path("db.url")
    );
    std::fs::write(path("servers.toml"), servers).unwrap();
    let servers = syncline(&["check", "--config", &path("servers.toml")], "").await;
    let text = said(&servers).replace(&folder.path().display().to_string(), "");
    assert_eq!(servers.status.code(), Some(78), "{text}");
    assert!(text.contains("[broker] url_file /mq.url: leaves this machine without encryption") && !text.contains("CANARY"), "{text}");
    assert!(text.contains("[store] url_file /db.url: No such file"), "{text}");
    let run = syncline(&["run", "--config", &path("syncline.toml"), "--store", &path("data")], "").await;
    assert_eq!(run.status.code(), Some(78), "{}", said(&run));
    assert!(!folder.path().join("data").exists(), "nothing was begun");
}
