//! As much of the WebDriver protocol as the tests need: a dozen calls of JSON over HTTP.
//!
//! Its own, and no library: the one there is has `serde_json` keep the order of fields (`preserve_order`) for everything that is
//! compiled together with it, and Syncline does not (`scripts/check`).

use reqwest::Method;
use serde_json::{Value, json};

/// What an element is named by.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub const ENTER: &str = "\u{E007}";
pub const TAB: &str = "\u{E004}";
pub const ESCAPE: &str = "\u{E00C}";

/// One session with a driver.
pub struct Session {
    http: reqwest::Client,
    url: String,
}

/// An element of the page that is shown.
pub struct Element<'a> {
    session: &'a Session,
    id: String,
}

/// What the browser has written to its log.
#[derive(Debug)]
pub struct Logged {
    pub level: String,
    pub message: String,
}

impl Session {
    pub async fn start(driver: &str, capabilities: Value) -> Self {
        let mut session = Self { http: reqwest::Client::new(), url: driver.to_owned() };
        let wanted = json!({"capabilities": {"alwaysMatch": capabilities}});
        let started = session.ask(Method::POST, "/session", wanted).await.expect("the browser starts");
        session.url = format!("{driver}/session/{}", started["sessionId"].as_str().unwrap());
        session
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Result<Value, String> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        if method == Method::POST {
            request = request.json(&body);
        }
        let mut answer: Value = request.send().await.expect("the driver answers").json().await.unwrap();
        let value = answer["value"].take();
        match value.get("error") {
            Some(error) => Err(format!("{error}: {}", value["message"])),
            None => Ok(value),
        }
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, String> {
        self.ask(Method::POST, path, body).await
    }

    pub async fn goto(&self, url: &str) {
        self.post("/url", json!({"url": url})).await.unwrap();
    }

    pub async fn source(&self) -> String {
        self.ask(Method::GET, "/source", Value::Null).await.unwrap().as_str().unwrap().to_owned()
    }

    pub async fn script_timeout(&self, milliseconds: u64) {
        self.post("/timeouts", json!({"script": milliseconds})).await.unwrap();
    }

    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []})).await.unwrap()
    }

    /// Runs a script that calls back when it is done.
    pub async fn wait(&self, script: &str) -> Result<Value, String> {
        self.post("/execute/async", json!({"script": script, "args": []})).await
    }

    pub async fn find(&self, selector: &str) -> Element<'_> {
        let found = self.post("/element", json!({"using": "css selector", "value": selector})).await;
        self.element(&found.unwrap_or_else(|error| panic!("there is no {selector}: {error}")))
    }

    /// Where the focus is.
    pub async fn active(&self) -> Element<'_> {
        self.element(&self.ask(Method::GET, "/element/active", Value::Null).await.unwrap())
    }

    fn element(&self, value: &Value) -> Element<'_> {
        Element { session: self, id: value[ELEMENT].as_str().unwrap().to_owned() }
    }

    /// What was logged since it was asked last.
    pub async fn log(&self) -> Vec<Logged> {
        let entries = self.post("/se/log", json!({"type": "browser"})).await.unwrap();
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        entries.as_array().unwrap().iter().map(|entry| Logged { level: text(entry, "level"), message: text(entry, "message") }).collect()
    }

    /// Speaks to the browser itself.
    pub async fn command(&self, name: &str, params: Value) {
        self.post("/goog/cdp/execute", json!({"cmd": name, "params": params})).await.unwrap();
    }

    pub async fn quit(&self) {
        self.ask(Method::DELETE, "", Value::Null).await.unwrap();
    }
}

/// The page has put another one in its place since it was found.
#[derive(Debug)]
pub struct Replaced;

impl Element<'_> {
    async fn post(&self, what: &str, body: Value) -> Result<(), Replaced> {
        let path = format!("/element/{}/{what}", self.id);
        match self.session.post(&path, body).await {
            Ok(_) => Ok(()),
            Err(error) if error.contains("stale element") => Err(Replaced),
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Clicks it, where it is on the screen.
    pub async fn click(&self) -> Result<(), Replaced> {
        self.post("click", json!({})).await
    }

    pub async fn clear(&self) -> Result<(), Replaced> {
        self.post("clear", json!({})).await
    }

    pub async fn send_keys(&self, text: &str) -> Result<(), Replaced> {
        self.post("value", json!({"text": text})).await
    }
}
