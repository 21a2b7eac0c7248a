//! The console: pages for the person who asks "why does this say that, and is everything in sync?".
//!
//! Each page is made here, whole, from what is stored; `model` holds what it shows, `templates/` how. The one script makes it
//! live and has its buttons use the routes every other client uses. What is stored is text on a page, never HTML.

mod assets;
mod decisions;
mod find;
mod help;
mod letters;
mod model;
mod overview;
mod picture;
mod record;
mod records;
mod systems;
mod waiting;
mod words;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use self::model::{Clock, Frame, ProblemPage};
use super::{Api, Problem, routes};

/// Everything comes from here, nothing is inline, and no other page may show this one.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Rows of a page.
const ROWS: usize = 50;

/// The pages, under the paths people see.
pub fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/", get(overview::page))
        .route("/find", get(find::page))
        .route("/decisions", get(decisions::list))
        .route("/decisions/{update}", get(decisions::one))
        .route("/records", get(records::page))
        .route("/records/{type}/{id}", get(record::page))
        .route("/waiting", get(waiting::list))
        .route("/waiting/{update}", get(waiting::one))
        .route("/dead-letters", get(letters::list))
        .route("/dead-letters/{id}", get(letters::one))
        .route("/systems", get(systems::list))
        .route("/systems/{system}", get(systems::one))
        .route("/help", get(help::page))
        .route("/assets/{name}", get(assets::file))
}

/// Why a page can't be shown.
pub struct Failure(Problem, String);

impl<E: Into<Problem>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into(), String::new())
    }
}

impl Failure {
    /// With what was typed into the search field.
    fn sought(self, text: &str) -> Self {
        Self(self.0, text.to_owned())
    }
}

type Answer = Result<Response, Failure>;

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(problem, sought) = self;
        // No look at the store: it may be what has failed.
        let frame = Frame { sought, ..bare(problem.title, "") };
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headline = problem.title.to_owned();
        (status, shown(&ProblemPage { frame, headline, detail: problem.detail })).into_response()
    }
}

/// A frame nothing is known for.
fn bare(title: &str, at: &'static str) -> Frame {
    Frame {
        title: title.to_owned(),
        at,
        waiting: 0,
        dead: 0,
        version: env!("CARGO_PKG_VERSION"),
        build: assets::BUILD,
        host: String::new(),
        sought: String::new(),
        now: Clock { time: String::new() },
    }
}

/// What is around a page.
async fn frame(api: &Api, headers: &HeaderMap, title: &str, at: &'static str) -> Result<Frame, Problem> {
    let tally = api.store.tally().await?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let now = words::moment(api.clock.now(), api.clock.now()).full;
    let time = now.get(11..19).map_or_else(String::new, |time| format!("{time} UTC"));
    Ok(Frame {
        waiting: tally.waiting.values().sum(),
        dead: tally.dead_letters.values().sum(),
        host,
        now: Clock { time },
        ..bare(title, at)
    })
}

/// A page with its headers.
fn shown(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => {
            let mut response = Html(html).into_response();
            let headers = response.headers_mut();
            for (name, value) in [("content-security-policy", POLICY), ("referrer-policy", "no-referrer")] {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            response
        }
        Err(error) => {
            tracing::error!(error = %error, "a page could not be made");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of Syncline", error).into_response()
        }
    }
}

/// Any path that does not exist: a page for people, a problem document for programs.
pub async fn not_there(request: Request) -> Response {
    let path = request.uri().path();
    let browser =
        request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    if browser && !path.starts_with("/v1/") {
        return Failure(Problem::absent(format!("There is no page at {path}.")), String::new()).into_response();
    }
    routes::not_there(request.uri().clone()).await.into_response()
}
