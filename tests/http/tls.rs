//! Encryption: the orchestrator's own certificate, and those who believe it.

use std::time::Duration;

use reqwest::{Certificate, StatusCode, header, redirect};
use syncline_bms::database::{Bms, Device};
use syncline_sdk::{Credentials, Http, Transport};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::commands::{said, syncline};
use crate::guarded::{config, cookies, tokens};
use crate::support::Served;

struct Encrypted {
    served: Served,
    /// What vouches for it.
    ca: String,
    tokens: std::collections::BTreeMap<&'static str, String>,
}

impl Encrypted {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(&folder);
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        for (name, token) in &tokens {
            std::fs::write(folder.path().join(name), token).unwrap();
        }
        let config = format!("{}\n[http.tls]\ncert_file = {cert:?}\nkey_file = {key:?}\n", config(&folder));
        let mut served = Served::within(folder, &config).await;
        served.url = served.url.replace("http://", "https://");
        Self { served, ca: cert.display().to_string(), tokens }
    }

    fn file(&self, name: &str) -> String {
        self.served.folder.path().join(name).display().to_string()
    }

    fn client(&self) -> reqwest::Client {
        let ca = Certificate::from_pem(&std::fs::read(&self.ca).unwrap()).unwrap();
        reqwest::Client::builder().add_root_certificate(ca).redirect(redirect::Policy::none()).build().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_speaks_tls_to_whom_it_believes() {
    let encrypted = Encrypted::start().await;
    let (url, file) = (encrypted.served.url.as_str(), encrypted.file("vera"));
    let known = syncline(&["systems", "--url", url, "--token-file", &file, "--ca-file", &encrypted.ca], "").await;
    assert_eq!(known.status.code(), Some(0), "{}", said(&known));
    let unknown = syncline(&["systems", "--url", url, "--token-file", &file], "").await;
    assert_eq!((unknown.status.code(), said(&unknown).contains("certificate")), (Some(69), true), "{}", said(&unknown));
    let plain = url.replace("https://", "http://");
    let plain = syncline(&["systems", "--url", &plain, "--token-file", &file], "").await;
    assert_eq!(plain.status.code(), Some(69), "{}", said(&plain));
    let none = syncline(&["systems", "--url", url, "--token-file", &file, "--ca-file", &file], "").await;
    assert_eq!((none.status.code(), said(&none).contains("cannot read certificates")), (Some(64), true), "{}", said(&none));
    encrypted.served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_speaks_tls_and_says_who_it_is() {
    let encrypted = Encrypted::start().await;
    let url = encrypted.served.url.clone();
    let credentials = Credentials::default().with_token_file(encrypted.file("bms")).unwrap().with_ca_file(&encrypted.ca);
    let post = |credentials: &Credentials| {
        let http = Http::with(&url, credentials).unwrap();
        async move { http.post("/v1/systems/bms/lease", b"{}".to_vec(), Duration::from_secs(10)).await }
    };
    assert_eq!(post(&credentials).await.unwrap().status, 200);
    assert_eq!(post(&Credentials::default().with_ca_file(&encrypted.ca)).await.unwrap().status, 401);
    assert!(post(&Credentials::default().with_token("x")).await.is_err(), "it believes nobody the operating system does not");

    let bms = Bms::open(encrypted.served.folder.path().join("bms.db")).unwrap();
    let fields = syncline_bms::database::checked::<Device>(&[("serial".to_owned(), "SN-1".to_owned())]).unwrap();
    bms.find_or_add::<Device>(&fields).unwrap();
    // Nobody lets it in without its token: it ends, and what it had to report is still to be reported.
    let nobody = Credentials::default().with_ca_file(&encrypted.ca);
    let refused = tokio::time::timeout(Duration::from_secs(30), syncline_bms::run_as(&bms, &url, &nobody, std::future::pending())).await;
    let refused = refused.expect("it ends").unwrap_err().to_string();
    assert!(refused.contains("the broker does not let this adapter in (401)"), "{refused}");
    assert_eq!(bms.changes().unwrap().len(), 1);
    let (stop, told) = tokio::sync::oneshot::channel::<()>();
    let adapter = tokio::spawn(async move { syncline_bms::run_as(&bms, &url, &credentials, async { drop(told.await) }).await });
    let there = async {
        let client = encrypted.client();
        let path = format!("{}/v1/entities/device/bms:bmsD1", encrypted.served.url);
        while client.get(&path).bearer_auth(&encrypted.tokens["vera"]).send().await.unwrap().status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), there).await.expect("it was handed in");
    stop.send(()).unwrap();
    adapter.await.unwrap().unwrap();
    encrypted.served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_keeps_what_came_by_tls_for_tls() {
    let encrypted = Encrypted::start().await;
    let (client, url) = (encrypted.client(), encrypted.served.url.as_str());
    let page = client.get(format!("{url}/login")).send().await.unwrap();
    let set = page.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(set.starts_with("__Host-syncline-login=") && set.contains("; Secure"), "{set}");
    let cookie = cookies(&page).remove(0);
    let csrf = crate::guarded::hidden(&page.text().await.unwrap());
    let form = [("token", encrypted.tokens["vera"].as_str()), ("csrf", &csrf)];
    let request = client.post(format!("{url}/login")).header(header::COOKIE, cookie).header(header::ORIGIN, url).form(&form);
    let entered = request.send().await.unwrap();
    assert_eq!(entered.status(), StatusCode::SEE_OTHER);
    let cookie = cookies(&entered).remove(0);
    assert!(cookie.starts_with("__Host-syncline="));
    let status = async |cookie: &str| client.get(format!("{url}/systems")).header(header::COOKIE, cookie).send().await.unwrap().status();
    assert_eq!(status(&cookie).await, StatusCode::OK);
    assert_eq!(status(&cookie.replace("__Host-", "")).await, StatusCode::UNAUTHORIZED, "anybody's plain text could have set that one");
    encrypted.served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_holds_up_nobody() {
    let encrypted = Encrypted::start().await;
    let address = encrypted.served.orchestrator.address().unwrap();
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let asked = encrypted.client().get(format!("{}/healthz", encrypted.served.url)).timeout(Duration::from_secs(5)).send();
    assert_eq!(asked.await.unwrap().status(), StatusCode::OK);
    let mut last = silent.pop().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(15), last.read_u8()).await.expect("it is given up after a while");
    assert!(ended.is_err(), "it was told nothing");
    encrypted.served.orchestrator.stop().await.unwrap();
}
