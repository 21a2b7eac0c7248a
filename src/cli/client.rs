//! The command line as a client of a running orchestrator.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;

use super::args::Options;
use super::source::escaped;
use super::{Failure, credentials, stores};
use crate::config::Http;

/// Longest an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// Longest a stream may take: a year.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// Rows asked for at once at most.
const PAGE: usize = 1000;

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
            None => configured(&stores::config(options)?.http),
        };
        let http = credentials::client(options, &base)?.timeout(ANSWER_WITHIN).build().map_err(Failure::internal)?;
        Ok(Self { base, http })
    }

    /// Reads something.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.answer(self.http.get(format!("{}{path}", self.base))).await
    }

    /// Reads the first rows of a list, page by page; with them whether there are more.
    pub async fn list(&self, path: &str, limit: usize) -> Result<(Vec<Value>, bool), Failure> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = (limit - rows.len()).clamp(1, PAGE);
            let mut answer = self.get(&format!("{path}?limit={page}{cursor}")).await?;
            let items = answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
            rows.extend(items);
            let Some(next) = answer["next"].as_str() else { return Ok((rows, false)) };
            if rows.len() >= limit {
                return Ok((rows, true));
            }
            cursor = format!("&cursor={}", escaped(next));
        }
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

    /// Listens to a stream of events as long as it goes on; `each` gets the name and the data of every one.
    pub async fn listen(&self, path: &str, mut each: impl FnMut(&str, Value) -> Result<(), Failure>) -> Result<(), Failure> {
        let request = self.http.get(format!("{}{path}", self.base)).timeout(FOR_EVER);
        let mut stream = self.checked(request).await?.bytes_stream();
        let (mut left, mut name, mut data) = (Vec::new(), String::new(), String::new());
        while let Some(bytes) = stream.next().await {
            left.extend_from_slice(&bytes.map_err(|error| self.unreachable(&error))?);
            while let Some(end) = left.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = left.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches(['\n', '\r']);
                if let Some(text) = line.strip_prefix("event:") {
                    text.trim().clone_into(&mut name);
                } else if let Some(text) = line.strip_prefix("data:") {
                    data.push_str(text.trim_start());
                } else if line.is_empty() && !data.is_empty() {
                    each(&name, serde_json::from_str(&data).map_err(Failure::internal)?)?;
                    data.clear();
                }
            }
        }
        Ok(())
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
        let text = match status.as_u16() {
            401 => format!("{text}; name the file that holds your token with --token-file, or put the token into SYNCLINE_TOKEN"),
            _ => text,
        };
        Err(match status.as_u16() {
            404 => Failure::absent(text),
            401 | 403 => Failure::not_allowed(text),
            // What was to be done can't be done as things are, or are by now.
            409 | 412 => Failure::absent(text),
            429 => Failure::unreachable(text),
            400..=499 => Failure::usage(text),
            500 => Failure::internal(text),
            _ => Failure::unreachable(text),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let Self { base, .. } = self;
        let error = with_sources(error);
        Failure::unreachable(format!(
            "no orchestrator answers at {base} ({error}); start one with `syncline run`, or name another with --url"
        ))
    }
}

/// Where a configuration says that it listens: by its name where it has one, as certificates do.
fn configured(http: &Http) -> String {
    let scheme = if http.tls.is_some() { "https" } else { "http" };
    match (http.allowed_hosts.first(), http.listen.ip()) {
        (Some(name), _) if http.tls.is_some() => format!("{scheme}://{name}:{}", http.listen.port()),
        (_, IpAddr::V4(ip)) if ip.is_unspecified() => format!("{scheme}://127.0.0.1:{}", http.listen.port()),
        (_, IpAddr::V6(ip)) if ip.is_unspecified() => format!("{scheme}://[::1]:{}", http.listen.port()),
        _ => format!("{scheme}://{}", http.listen),
    }
}

/// With what lies behind it: a certificate nobody vouches for, say.
fn with_sources(error: &reqwest::Error) -> String {
    let (mut text, mut source) = (error.to_string(), std::error::Error::source(error));
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpTls;

    #[test]
    fn an_orchestrator_is_asked_where_it_says_it_is() {
        let mut http = Http::default();
        assert_eq!(configured(&http), "http://127.0.0.1:7171");
        http.listen = "[::]:8443".parse().unwrap();
        assert_eq!(configured(&http), "http://[::1]:8443");
        http.listen = "0.0.0.0:8443".parse().unwrap();
        http.tls = Some(HttpTls { cert_file: "c".into(), key_file: "k".into() });
        assert_eq!(configured(&http), "https://127.0.0.1:8443");
        http.allowed_hosts = vec!["sync.example.com".to_owned()];
        assert_eq!(configured(&http), "https://sync.example.com:8443");
    }
}
