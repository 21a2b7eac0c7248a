//! What every request must pass before its route: a page in somebody's browser must not speak for its user, and nobody
//! may open more requests than the process can bear.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::Problem;
use crate::telemetry::{Metrics, Refused};

/// Requests answered at once, at most; those that wait for messages among them.
pub const OPEN_MAX: usize = 1024;

/// What every request must pass.
#[derive(Debug)]
pub struct Guard {
    open: Semaphore,
    hosts: Hosts,
    metrics: Arc<Metrics>,
}

impl Guard {
    /// With room for [`OPEN_MAX`] requests.
    pub fn new(hosts: Hosts, metrics: Arc<Metrics>) -> Self {
        Self { open: Semaphore::new(OPEN_MAX), hosts, metrics }
    }
}

/// Lets a request through, or says why not.
pub async fn pass(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if let Err((counted, problem)) = guard.hosts.check(request.method(), request.uri().path(), request.headers()) {
        guard.metrics.refused(counted);
        return problem.into_response();
    }
    // Whoever looks whether the process lives is answered also while all places are taken.
    if matches!(request.uri().path(), "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    let Ok(_open) = guard.open.try_acquire() else {
        let detail = format!("{OPEN_MAX} requests are being answered; try again in a moment");
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", "Too many requests at once", detail).into_response();
    };
    next.run(request).await
}

/// What is counted, and what is said.
type Refusal = (Refused, Box<Problem>);

/// The names requests may ask for.
///
/// A browser reaches this edge for any page: by a name that leads here (`Host`), or by a form or script of another site
/// (`Origin`). Without [http.auth] the edge trusts whoever reaches it on this machine, so that only this machine's own names
/// count. With it an address does, too: what a browser keeps for one is not sent because another site's name leads here.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    addresses: bool,
    names: Vec<String>,
    /// Where pages of ours post forms to. As these pages tell nobody where they are (`Referrer-Policy`), browsers say `null`
    /// for them, too; each of these forms has a signature that is bound to a cookie of this site only.
    forms: Vec<&'static str>,
}

impl Hosts {
    /// This machine's own, and these.
    pub fn new(addresses: bool, names: &[String], forms: Vec<&'static str>) -> Self {
        Self { addresses, names: names.to_vec(), forms }
    }

    fn allow(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let name = authority.host().trim_matches(['[', ']']);
        match name.parse::<IpAddr>() {
            Ok(address) => self.addresses || address.is_loopback(),
            Err(_) => ["localhost"].into_iter().chain(self.names.iter().map(String::as_str)).any(|own| name.eq_ignore_ascii_case(own)),
        }
    }

    fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if !self.allow(host) {
            let remedy =
                if self.addresses { "use its address, or list the name in [http] allowed_hosts" } else { "use 127.0.0.1 or localhost" };
            let problem = Problem::new(
                StatusCode::FORBIDDEN,
                "wrong_host",
                "Not this host",
                format!("the request names the host {host:?}; {remedy}"),
            );
            return Err((Refused::WrongHost, Box::new(problem)));
        }
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let same = |origin: &str| origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
        // One that can't be read is no origin of ours.
        let origin = headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("null"));
        match origin {
            Some("null") if self.forms.contains(&path) => Ok(()),
            Some(origin) if !reads && !same(origin) => {
                let detail = format!("a page of {origin} may not change anything here; use the command line or a program");
                let problem = Problem::new(StatusCode::FORBIDDEN, "wrong_origin", "Not from another site", detail);
                Err((Refused::WrongOrigin, Box::new(problem)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, host: &str, origin: Option<&str>) -> Result<(), String> {
        asked_at(method, "/v1/updates", host, origin)
    }

    fn asked_at(method: &Method, path: &str, host: &str, origin: Option<&str>) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        Hosts::new(false, &[], vec!["/login"]).check(method, path, &headers).map_err(|(_, problem)| problem.kind)
    }

    #[test]
    fn with_tokens_addresses_and_listed_names_are_this_host_too() {
        let hosts = Hosts::new(true, &["syncline.example.com".to_owned()], Vec::new());
        for host in ["192.168.0.7:7171", "[2001:db8::1]:7171", "Syncline.Example.com", "localhost:1"] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in ["evil.example", "syncline.example.com.evil.example", "syncline", "", "a@127.0.0.1"] {
            assert!(!hosts.allow(host), "{host}");
        }
        assert!(!Hosts::new(false, &[], Vec::new()).allow("192.168.0.7"));
    }

    #[test]
    fn programs_and_the_own_pages_pass() {
        for host in ["127.0.0.1:7171", "localhost:7171", "[::1]:7171", "localhost"] {
            assert_eq!(asked(&Method::POST, host, None), Ok(()));
            assert_eq!(asked(&Method::POST, host, Some(&format!("http://{host}"))), Ok(()));
        }
        assert_eq!(asked(&Method::GET, "127.0.0.1:7171", Some("https://evil.example")), Ok(()), "reading is up to the browser's own rules");
    }

    #[test]
    fn a_form_of_ours_comes_from_nowhere() {
        let host = "127.0.0.1:7171";
        assert_eq!(asked_at(&Method::POST, "/login", host, Some("null")), Ok(()));
        for (path, origin) in [("/login", "https://evil.example"), ("/v1/updates", "null"), ("/login/", "null")] {
            assert_eq!(asked_at(&Method::POST, path, host, Some(origin)), Err("urn:syncline:error:wrong_origin".to_owned()));
        }
    }

    #[test]
    fn other_sites_and_other_names_do_not() {
        let wrong_origin = Err("urn:syncline:error:wrong_origin".to_owned());
        for origin in ["https://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:7171"] {
            assert_eq!(asked(&Method::POST, "127.0.0.1:7171", Some(origin)), wrong_origin);
        }
        for host in ["evil.example", "127.0.0.1.evil.example:7171", "192.168.0.7:7171", ""] {
            assert_eq!(asked(&Method::GET, host, None), Err("urn:syncline:error:wrong_host".to_owned()));
        }
    }
}
