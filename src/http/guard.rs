//! What every request must pass before its route: a page in somebody's browser must not speak for its user, and nobody
//! may open more requests than the process can bear.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::Problem;

/// Requests answered at once, at most; those that wait for messages among them.
pub const OPEN_MAX: usize = 1024;

/// Lets a request through, or says why not.
pub async fn pass(State(open): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    if let Err(problem) = from_here(request.method(), request.headers()) {
        return problem.into_response();
    }
    let Ok(_open) = open.try_acquire() else {
        let detail = format!("{OPEN_MAX} requests are being answered; try again in a moment");
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", "Too many requests at once", detail).into_response();
    };
    next.run(request).await
}

/// Without [http.auth] the edge trusts whoever reaches it on this machine. A browser reaches it too, for any page: by a
/// name that leads here (`Host`), or by a form or script of another site (`Origin`).
fn from_here(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    if !is_loopback(host) {
        let detail = format!("the request names the host {host:?}; use 127.0.0.1 or localhost");
        return Err(Problem::new(StatusCode::FORBIDDEN, "wrong_host", "Not this host", detail));
    }
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let same = |origin: &str| origin.split_once("://").is_some_and(|(_, authority)| authority == host);
    match text(header::ORIGIN) {
        Some(origin) if !reads && !same(origin) => {
            let detail = format!("a page of {origin} may not change anything here; use the command line or a program");
            Err(Problem::new(StatusCode::FORBIDDEN, "wrong_origin", "Not from another site", detail))
        }
        _ => Ok(()),
    }
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, host: &str, origin: Option<&str>) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        from_here(method, &headers).map_err(|problem| problem.kind)
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
