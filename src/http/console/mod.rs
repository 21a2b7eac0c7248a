//! The console: pages for the person who asks "why does this say that, and is everything in sync?".
//!
//! Each page is made here, whole, from what is stored; `model` holds what it shows, `templates/` how. The one script makes it
//! live and has its buttons use the routes every other client uses. What is stored is text on a page, never HTML.

pub mod assets;
pub mod decisions;
pub mod find;
pub mod help;
mod hidden;
pub mod letters;
pub mod log_in;
mod model;
pub mod overview;
mod picture;
pub mod record;
pub mod records;
pub mod systems;
pub mod waiting;
mod words;

use std::convert::Infallible;

use askama::Template;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use self::model::{Clock, Frame, ProblemPage};
use super::access::{Actor, Needs};
use super::{Api, Problem, routes};
use crate::ports::tally::Tally;

pub use self::words::encoded;

/// Everything comes from here, nothing is inline, and no other page may show this one.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Rows of a page.
const ROWS: usize = 50;

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
        who: None,
        csrf: None,
        may: true,
    }
}

/// Who looks at a page, and where their browser reached it.
pub struct Visit {
    actor: Actor,
    host: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
        Ok(Self { actor: Actor::from_request_parts(parts, state).await?, host })
    }
}

/// What is around a page.
async fn frame(api: &Api, visit: &Visit, title: &str, at: &'static str) -> Result<Frame, Problem> {
    Ok(framed(api, visit, (title, at), &api.store.tally().await?))
}

/// The same for a page that has counted already what is to be done; `title`, and where that is in the menu.
fn framed(api: &Api, visit: &Visit, (title, at): (&str, &'static str), tally: &Tally) -> Frame {
    let now = words::moment(api.clock.now(), api.clock.now()).full;
    let time = now.get(11..19).map_or_else(String::new, |time| format!("{time} UTC"));
    Frame {
        waiting: tally.waiting.values().sum(),
        dead: tally.dead_letters.values().sum(),
        host: visit.host.clone(),
        now: Clock { time },
        who: visit.actor.identity.as_ref().map(|identity| (identity.name.clone(), identity.role.to_string())),
        csrf: visit.actor.csrf.clone(),
        may: visit.actor.identity.as_ref().is_none_or(|identity| Needs::Operator.allow(&identity.role, None)),
        ..bare(title, at)
    }
}

/// A page with its headers.
fn shown(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => {
            let mut response = Html(html).into_response();
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            response
        }
        Err(error) => {
            tracing::error!(error = %error, "a page could not be made");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of Syncline", error).into_response()
        }
    }
}

/// Whether a request comes from somebody who wants to read a page.
pub fn is_for_people(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html")) && !request.uri().path().starts_with("/v1/")
}

/// A page that says why there is none.
pub fn refused(problem: Problem) -> Response {
    Failure(problem, String::new()).into_response()
}

/// Any path that does not exist: a page for people, a problem document for programs.
pub async fn not_there(request: Request) -> Response {
    if is_for_people(&request) {
        return refused(Problem::absent(format!("There is no page at {}.", request.uri().path())));
    }
    routes::not_there(request.uri().clone()).await.into_response()
}
