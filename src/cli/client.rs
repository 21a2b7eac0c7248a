//! The command line as a client of a running orchestrator.

use std::time::Duration;

use serde_json::Value;

use super::args::Options;
use super::{Failure, stores};

/// Longest an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// A running orchestrator.
#[derive(Debug)]
pub struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    /// The orchestrator at `--url`, else where the configuration says it listens.
    pub fn new(options: &Options) -> Result<Self, Failure> {
        let base = match &options.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", stores::config(options)?.http.listen),
        };
        let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).build().map_err(Failure::internal)?;
        Ok(Self { base, http })
    }

    /// Reads something.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.answer(self.http.get(format!("{}{path}", self.base))).await
    }

    /// Asks for something to be done.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.answer(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    /// Hands in lines; returns the answer to each.
    pub async fn stream(&self, path: &str, lines: String) -> Result<Vec<Value>, Failure> {
        let request = self.http.post(format!("{}{path}", self.base)).header("content-type", "application/x-ndjson").body(lines);
        let response = self.checked(request).await?;
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        text.lines().map(|line| serde_json::from_str(line).map_err(Failure::internal)).collect()
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        self.checked(request).await?.json().await.map_err(|error| self.unreachable(&error))
    }

    async fn checked(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem: Value = response.json().await.unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no more is known");
        let text = format!("{}: {detail}", problem["title"].as_str().unwrap_or(status.as_str()));
        Err(match status.as_u16() {
            404 => Failure::absent(text),
            401 | 403 => Failure::not_allowed(text),
            400..=499 => Failure::usage(text),
            _ => Failure::unreachable(text),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let Self { base, .. } = self;
        Failure::unreachable(format!(
            "no orchestrator answers at {base} ({error}); start one with `syncline run`, or name another with --url"
        ))
    }
}
