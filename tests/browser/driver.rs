//! One browser with a fresh profile, and what a test asks of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::webdriver::{Logged, Session};

/// It starts nothing of its own accord and asks nobody for anything.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// What a page is looked at with.
const AUDIT: &str = include_str!("audit.js");

/// How often an element is looked for again because the page has just put another one in its place.
const REPLACED_MAX: u32 = 20;

/// How long a page may take until it shows something.
const PATIENCE_MS: u64 = 20_000;

/// The driver's process, which ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Browser {
    pub driver: Session,
    pub url: String,
    _process: Process,
    _profile: TempDir,
}

/// A program's path. Where tests must not be skipped there has to be one.
fn program(variable: &str) -> Option<String> {
    let path = std::env::var(variable).ok().filter(|path| !path.is_empty());
    assert!(path.is_some() || std::env::var_os("CI").is_none(), "{variable} is not set; scripts/services up finds a browser");
    path
}

impl Browser {
    /// One that is about to look at this address; without a browser it is said why there is none.
    pub async fn at(url: &str) -> Option<Self> {
        let (Some(driver), Some(chromium)) = (program("SYNCLINE_TEST_CHROMEDRIVER"), program("SYNCLINE_TEST_CHROMIUM")) else {
            eprintln!("skipped: SYNCLINE_TEST_CHROMEDRIVER and SYNCLINE_TEST_CHROMIUM name no browser; scripts/services up finds one");
            return None;
        };
        let (process, port) = tokio::task::spawn_blocking(move || start(&driver)).await.unwrap();
        let profile = tempfile::tempdir().unwrap();
        let own = format!("--user-data-dir={}", profile.path().display());
        let flags: Vec<&str> = FLAGS.into_iter().chain([own.as_str()]).collect();
        let wanted = json!({"goog:chromeOptions": {"binary": chromium, "args": flags}, "goog:loggingPrefs": {"browser": "ALL"}});
        let driver = Session::start(&format!("http://127.0.0.1:{port}"), wanted).await;
        driver.script_timeout(PATIENCE_MS).await;
        Some(Self { driver, url: url.to_owned(), _process: process, _profile: profile })
    }

    /// Ends it, if nothing was wrong on any page.
    pub async fn done(self) {
        self.assert_no_errors("the end").await;
        self.driver.quit().await;
    }

    pub async fn open(&self, path: &str) {
        self.driver.goto(&format!("{}{path}", self.url)).await;
    }

    /// What an expression is on the page.
    pub async fn is(&self, expression: &str) -> Value {
        self.driver.run(&format!("return ({expression});")).await
    }

    /// Waits until an expression is true on the page, whichever page it is by then.
    pub async fn until(&self, expression: &str) {
        let script = format!(
            "const done = arguments[arguments.length - 1], holds = () => {{ try {{ return !!({expression}); }} catch {{ return false; }} }};
             if (holds()) done(true);
             else {{
               const look = new MutationObserver(() => {{ if (holds()) {{ look.disconnect(); done(true); }} }});
               look.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
               addEventListener('load', () => {{ if (holds()) done(true); }});
             }}"
        );
        let begun = tokio::time::Instant::now();
        loop {
            match self.driver.wait(&script).await {
                Ok(_) => return,
                Err(error) if begun.elapsed() > Duration::from_millis(PATIENCE_MS) => {
                    let text = self.is("document.body.innerText").await;
                    panic!("never on {}: {expression}: {error}\n{text}", self.path().await);
                }
                // Another page came meanwhile: it is looked at there.
                Err(_) => {}
            }
        }
    }

    pub async fn until_at(&self, path: &str) {
        self.until(&format!("location.pathname === {path:?} && document.readyState === 'complete'")).await;
    }

    pub async fn until_says(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({text:?})")).await;
    }

    pub async fn path(&self) -> String {
        self.is("location.pathname").await.as_str().unwrap_or_default().to_owned()
    }

    pub async fn click(&self, selector: &str) {
        for _ in 0..REPLACED_MAX {
            if self.driver.find(selector).await.click().await.is_ok() {
                return;
            }
        }
        panic!("{selector} is replaced time and again");
    }

    /// Puts a text into a field, in the place of what is there.
    pub async fn fill(&self, selector: &str, text: &str) {
        for _ in 0..REPLACED_MAX {
            let found = self.driver.find(selector).await;
            if found.clear().await.is_ok() && found.send_keys(text).await.is_ok() {
                return;
            }
        }
        panic!("{selector} is replaced time and again");
    }

    /// Presses keys wherever the focus is.
    pub async fn press(&self, keys: &str) {
        self.driver.active().await.send_keys(keys).await.unwrap();
    }

    /// Answers what is asked before something is done; what would follow must have been shown.
    pub async fn confirm(&self, told: &str) {
        self.until("document.getElementById('ask').open").await;
        let text = self.is("document.getElementById('ask').innerText").await;
        assert!(text.as_str().unwrap().contains(told), "it does not say {told:?}: {text}");
        self.click("#ask button[value=yes]").await;
    }

    /// How wide and high the page is; in pixels of the page.
    pub async fn sized(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700});
        self.driver.command("Emulation.setDeviceMetricsOverride", size).await;
    }

    pub async fn themed(&self, theme: &str) {
        let features =
            json!({"features": [{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}]});
        self.driver.command("Emulation.setEmulatedMedia", features).await;
    }

    /// What the browser complains of: scripts that failed, what a policy refused, what could not be loaded.
    async fn complaints(&self) -> Vec<Logged> {
        self.driver.log().await.into_iter().filter(|entry| entry.level != "DEBUG").collect()
    }

    /// The one thing the browser may complain of, as it was meant to be.
    pub async fn complains(&self, of: &str) {
        let found = self.complaints().await;
        assert!(found.len() == 1 && found[0].message.contains(of), "{of}: {found:#?}");
    }

    /// Nothing was refused by the policy of the page, and no script failed.
    pub async fn assert_no_errors(&self, at: &str) {
        let found = self.complaints().await;
        assert!(found.is_empty(), "{at}: {found:#?}");
    }

    /// Whatever is wrong with the page: labels, headings, landmarks, contrast, width.
    pub async fn assert_sound(&self, at: &str) {
        let found = self.driver.run(&format!("{AUDIT}\nreturn audit();")).await;
        assert_eq!(found, json!([]), "{at}");
        self.assert_no_errors(at).await;
    }
}

/// Starts the driver at a port it chooses, and reads which one that is. Two that start at once may choose the same: one of them
/// ends then, and is started again.
fn start(driver: &str) -> (Process, u16) {
    (0..10).find_map(|_| try_start(driver)).expect("the driver says where it listens")
}

fn try_start(driver: &str) -> Option<(Process, u16)> {
    let mut child = Command::new(driver).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the driver starts");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let process = Process(child);
    let port = lines.find_map(|line| line.unwrap().split("successfully on port ").nth(1)?.trim_end_matches('.').parse().ok())?;
    // What it says later has to go somewhere.
    std::thread::spawn(move || lines.for_each(drop));
    Some((process, port))
}
