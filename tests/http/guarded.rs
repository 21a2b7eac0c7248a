//! An orchestrator that lets nobody in without a token.

use std::collections::BTreeMap;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header, redirect};
use serde_json::{Value, json};
use syncline::http::access::random;
use syncline::prelude::*;
use tempfile::TempDir;

use crate::support::{PUSH, Served, device};

/// Who is there, by their names, and their roles.
pub const PEOPLE: [(&str, &str); 5] =
    [("bms", "adapter:bms"), ("oem", "adapter:oem"), ("vera", "viewer"), ("otto", "operator"), ("ada", "admin")];

/// A token as `syncline token` makes it, and its line; with a hash that takes no time.
pub fn token(name: &str, role: &str) -> (String, String) {
    let salt = SaltString::encode_b64(&random().unwrap().as_bytes()[..16]).unwrap();
    let token = format!("syncline_{salt}_{}", random().unwrap());
    let params = Params::new(8, 1, 1, None).unwrap();
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password(token.as_bytes(), &salt).unwrap();
    (token, format!("{name} = {{ role = \"{role}\", hash = \"{hash}\" }}\n"))
}

/// The tokens of all [`PEOPLE`], in the folder's file.
pub fn tokens(folder: &TempDir) -> BTreeMap<&'static str, String> {
    let (mut tokens, mut file) = (BTreeMap::new(), String::new());
    for (name, role) in PEOPLE {
        let (token, line) = token(name, role);
        tokens.insert(name, token);
        file.push_str(&line);
    }
    std::fs::write(folder.path().join("tokens.toml"), file).unwrap();
    tokens
}

/// The usual configuration, with these tokens.
pub fn config(folder: &TempDir) -> String {
    format!("{PUSH}\n[http.auth]\ntokens_file = {:?}\n", folder.path().join("tokens.toml"))
}

fn careful(proposed: &mut Record, _: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let open = proposed.contains_key("price") && meta.approval().is_none();
    if open { Verdict::review("a price is for a person") } else { Verdict::accept(None) }
}

pub struct Guarded {
    pub served: Served,
    pub tokens: BTreeMap<&'static str, String>,
    pub http: reqwest::Client,
}

/// A browser that is logged in.
pub struct Session {
    pub cookie: String,
    pub csrf: String,
}

impl Guarded {
    pub async fn start() -> Self {
        Self::by_config(|usual| usual).await
    }

    /// With the usual configuration, changed.
    pub async fn by_config(change: impl Fn(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(&folder);
        let config = change(config(&folder));
        let served = Served::within_with_handler(folder, &config, careful).await;
        Self { served, tokens, http: client() }
    }

    /// Puts an update into review.
    pub async fn review(&self) {
        assert_eq!(self.say("bms", &device("p", "bms", "b1", json!({"serial": "S1", "price": 10}))).await.0, 202);
        self.until_there("/v1/parked/bms:p").await;
    }

    /// Waits until there is something.
    pub async fn until_there(&self, path: &str) {
        let there = async {
            while self.get("vera", path).await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), there).await.unwrap_or_else(|_| panic!("nothing at {path}"));
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.served.url))
    }

    /// As somebody.
    pub fn by(&self, name: &str, method: Method, path: &str) -> RequestBuilder {
        self.ask(method, path).bearer_auth(&self.tokens[name])
    }

    pub async fn say(&self, name: &str, update: &Value) -> (StatusCode, Value) {
        let response = self.by(name, Method::POST, "/v1/updates").json(update).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    pub async fn get(&self, name: &str, path: &str) -> (StatusCode, Value) {
        let response = self.by(name, Method::GET, path).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// The log-in form: its cookie, and what it sends along.
    pub async fn form(&self) -> (String, String) {
        let response = self.ask(Method::GET, "/login").send().await.unwrap();
        let cookie = cookies(&response).remove(0);
        (cookie, hidden(&response.text().await.unwrap()))
    }

    /// The answer to a log-in.
    pub async fn enter(&self, token: &str) -> Response {
        let (cookie, csrf) = self.form().await;
        let form = [("token", token), ("csrf", &csrf), ("next", "/waiting")];
        // As browsers say it for a form of a page that tells nobody where it is.
        let request = self.ask(Method::POST, "/login").header(header::COOKIE, cookie).header(header::ORIGIN, "null");
        request.form(&form).send().await.unwrap()
    }

    pub async fn log_in(&self, name: &str) -> Session {
        let response = self.enter(&self.tokens[name]).await;
        assert_eq!((response.status(), &response.headers()[header::LOCATION]), (StatusCode::SEE_OTHER, &"/waiting".parse().unwrap()));
        let cookie = cookies(&response).remove(0);
        let page = self.page(&cookie, "/").await;
        let csrf = page.split("<meta name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        Session { cookie, csrf }
    }

    /// A page for a browser with a cookie.
    pub async fn page(&self, cookie: &str, path: &str) -> String {
        let request = self.ask(Method::GET, path).header(header::COOKIE, cookie).header(header::ACCEPT, "text/html");
        request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }
}

/// One that goes nowhere by itself.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(redirect::Policy::none()).build().unwrap()
}

/// The cookies of an answer, as a browser sends them back.
pub fn cookies(response: &Response) -> Vec<String> {
    let all = response.headers().get_all(header::SET_COOKIE).iter();
    all.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned()).collect()
}

/// What a form of a page sends along.
pub fn hidden(page: &str) -> String {
    page.split("name=\"csrf\" value=\"").nth(1).unwrap_or_else(|| panic!("{page}")).split('"').next().unwrap().to_owned()
}

/// The code of a problem document.
pub async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let problem: Value = response.json().await.unwrap_or_default();
    (status, problem["type"].as_str().unwrap_or_default().trim_start_matches("urn:syncline:error:").to_owned())
}
