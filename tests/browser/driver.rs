//! One browser with a fresh profile, and what a test asks of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::error::WebDriverResult;
use thirtyfour::prelude::*;
use thirtyfour::{ChromiumLikeCapabilities, LoggingPrefsLogLevel};

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

/// How long a page may take until it shows something.
const PATIENCE: Duration = Duration::from_secs(20);

/// The driver's process, which ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Browser {
    pub driver: WebDriver,
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
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(&chromium).unwrap();
        for flag in FLAGS {
            wanted.add_arg(flag).unwrap();
        }
        wanted.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
        wanted.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted).await.expect("the browser starts");
        driver.set_script_timeout(PATIENCE).await.unwrap();
        Some(Self { driver, url: url.to_owned(), _process: process, _profile: profile })
    }

    /// Ends it, if nothing was wrong on any page.
    pub async fn done(self) {
        self.assert_no_errors("the end").await;
        self.driver.quit().await.unwrap();
    }

    pub async fn open(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.url)).await.unwrap();
    }

    /// What an expression is on the page.
    pub async fn is(&self, expression: &str) -> Value {
        self.driver.execute(format!("return ({expression});"), Vec::new()).await.unwrap().json().clone()
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
        let begun = Instant::now();
        loop {
            // Another page came meanwhile: it is looked at there.
            let answer: WebDriverResult<_> = self.driver.execute_async(script.clone(), Vec::new()).await;
            match answer {
                Ok(_) => return,
                Err(error) if begun.elapsed() > PATIENCE => {
                    let text = self.is("document.body.innerText").await;
                    panic!("never on {}: {expression}: {error}\n{text}", self.path().await);
                }
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
        let found = self.driver.find(By::Css(selector.to_owned())).await.unwrap_or_else(|_| panic!("there is no {selector}"));
        found.scroll_into_view().await.unwrap();
        found.click().await.unwrap();
    }

    /// Puts a text into a field, in the place of what is there.
    pub async fn fill(&self, selector: &str, text: &str) {
        let found = self.driver.find(By::Css(selector.to_owned())).await.unwrap_or_else(|_| panic!("there is no {selector}"));
        found.clear().await.unwrap();
        found.send_keys(text).await.unwrap();
    }

    /// Presses keys wherever the focus is.
    pub async fn press(&self, keys: impl Into<TypingData>) {
        self.driver.active_element().await.unwrap().send_keys(keys).await.unwrap();
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
        self.driver.cdp().send_raw("Emulation.setDeviceMetricsOverride", size).await.unwrap();
    }

    pub async fn themed(&self, theme: &str) {
        let features =
            json!({"features": [{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}]});
        self.driver.cdp().send_raw("Emulation.setEmulatedMedia", features).await.unwrap();
    }

    /// The one thing the browser may complain of, as it was meant to be.
    pub async fn complains(&self, of: &str) {
        let log = self.driver.browser_log().await.unwrap();
        assert!(log.len() == 1 && log[0].message.contains(of), "{of}: {log:#?}");
    }

    /// Nothing was refused by the policy of the page, and no script failed.
    pub async fn assert_no_errors(&self, at: &str) {
        let log = self.driver.browser_log().await.unwrap();
        let bad: Vec<String> = log.into_iter().filter(|entry| entry.level != "DEBUG").map(|entry| entry.message).collect();
        assert!(bad.is_empty(), "{at}: {bad:#?}");
    }

    /// Whatever is wrong with the page: labels, headings, landmarks, contrast, width.
    pub async fn assert_sound(&self, at: &str) {
        let found = self.driver.execute(format!("{AUDIT}\nreturn audit();"), Vec::new()).await.unwrap().json().clone();
        assert_eq!(found, json!([]), "{at}");
        self.assert_no_errors(at).await;
    }
}

/// Starts the driver at a port it chooses, and reads which one that is.
fn start(driver: &str) -> (Process, u16) {
    let mut child = Command::new(driver).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the driver starts");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let process = Process(child);
    let port = lines.find_map(|line| line.unwrap().split("successfully on port ").nth(1)?.trim_end_matches('.').parse().ok());
    // What it says later has to go somewhere.
    std::thread::spawn(move || lines.for_each(drop));
    (process, port.expect("the driver says where it listens"))
}
