//! The door of a route: lets through whoever may use it, and tells the route who that is.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::{Access, Actor, Checked, Cookie, Needs};
use crate::http::{Problem, console};
use crate::telemetry::{Metrics, Refused};

/// The header that carries what a page sends along.
const CSRF: &str = "x-csrf-token";

/// How a page proves that it came from here when it changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By a header, which the script sets.
    Header,
    /// By a field of its form, which the route looks at.
    Field,
}

/// The door of one route.
#[derive(Clone, Debug)]
pub struct Door {
    /// Who may come in at all.
    pub access: Arc<Access>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What the route needs.
    pub needs: Needs,
    /// How its page proves itself.
    pub form: Form,
}

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        // Whoever can't be told apart shares one bound.
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

/// Lets a request through, or says why not.
pub async fn pass(
    State(door): State<Door>,
    peer: Peer,
    path: Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let system = path.ok().and_then(|path| path.iter().find(|(name, _)| *name == "system").map(|(_, value)| value.to_owned()));
    match door.admit(peer, system.as_deref(), request.method(), request.headers()).await {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            let noted = matches!(door.needs, Needs::Operator | Needs::Admin) && !request.method().is_safe();
            if !noted {
                return next.run(request).await;
            }
            // What somebody does is done to its end, and noted, also if they do not wait for the answer.
            tokio::spawn(next.run(request)).await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
        Err(refusal) => {
            door.metrics.refused(refusal.counted());
            refusal.answer(&request)
        }
    }
}

/// Why somebody is not let in.
#[derive(Clone, Debug)]
enum Refusal {
    /// It did not say who it is, or is not known; true: it brought a token.
    Unknown(bool),
    /// Its role is not enough.
    Role(String),
    /// Its page did not come from here.
    Csrf,
    /// Too many wrong tokens came.
    TooMany(Duration),
}

impl Door {
    async fn admit(&self, Peer(peer): Peer, system: Option<&str>, method: &Method, headers: &HeaderMap) -> Result<Actor, Refusal> {
        if self.needs == Needs::Nothing {
            return Ok(Actor::default());
        }
        let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let csrf = headers.get(CSRF).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let proven = |session: Option<&str>| !changes || self.form == Form::Field || self.access.is_from_here(session, csrf);
        let Some(keys) = &self.access.keys else {
            // Browsers say where a page is from; other programs have none.
            let browser = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
            let csrf = Some(self.access.csrf(None));
            return if !browser || proven(None) { Ok(Actor { csrf, ..Actor::default() }) } else { Err(Refusal::Csrf) };
        };
        let now = self.access.now();
        let actor = if let Some(token) = bearer(headers) {
            match keys.check(token, peer, now).await {
                Checked::Known(identity) => Actor { identity: Some(identity), ..Actor::default() },
                Checked::Unknown => return Err(Refusal::Unknown(true)),
                Checked::TooMany(wait) => return Err(Refusal::TooMany(wait)),
            }
        } else {
            let session = Cookie::Session.read(headers, self.access.secure);
            let found = session.and_then(|id| Some((id, self.access.sessions.find(id, now)?)));
            let Some((id, identity)) = found else { return Err(Refusal::Unknown(false)) };
            // Only a browser sends cookies for somebody who does not know of it.
            if !proven(Some(id)) {
                return Err(Refusal::Csrf);
            }
            Actor { identity: Some(identity), session: Some(id.into()), csrf: Some(self.access.csrf(Some(id))) }
        };
        let Some(identity) = &actor.identity else { return Err(Refusal::Unknown(false)) };
        if !self.needs.allow(&identity.role, system) {
            let detail = format!("{} is {}; this needs {}", identity.name, identity.role, self.needs.named());
            return Err(Refusal::Role(detail));
        }
        Ok(actor)
    }
}

/// `Authorization: Bearer …`
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl Refusal {
    const fn counted(&self) -> Refused {
        match self {
            Self::Unknown(_) => Refused::Unauthorized,
            Self::Role(_) => Refused::Forbidden,
            Self::Csrf => Refused::Csrf,
            Self::TooMany(_) => Refused::TooManyTries,
        }
    }

    fn answer(self, request: &Request) -> Response {
        let page = console::is_for_people(request);
        if let (Self::Unknown(_), true, &Method::GET) = (&self, page, request.method()) {
            let next = request.uri().path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str);
            return Redirect::to(&format!("/login?next={}", console::encoded(next))).into_response();
        }
        let problem = self.problem();
        let mut response = if page { console::refused(problem) } else { problem.into_response() };
        let headers = response.headers_mut();
        match self {
            Self::Unknown(brought) => {
                let value = if brought { r#"Bearer realm="syncline", error="invalid_token""# } else { r#"Bearer realm="syncline""# };
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(value));
            }
            Self::TooMany(wait) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
            }
            Self::Role(_) | Self::Csrf => {}
        }
        response
    }

    fn problem(&self) -> Problem {
        match self {
            Self::Unknown(true) => Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "Nobody has this token",
                "send one that the file of [http.auth] knows",
            ),
            Self::Unknown(false) => {
                let detail = "send a token: Authorization: Bearer …, or log in at /login";
                Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Who are you?", detail)
            }
            Self::Role(detail) => Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not with this role", detail),
            Self::Csrf => {
                let detail = "the page was not made by this process, or for another log-in; load it again";
                Problem::new(StatusCode::FORBIDDEN, "csrf", "Not from this page", detail)
            }
            Self::TooMany(wait) => {
                let detail = format!("too many wrong tokens came; try again in {} seconds", wait.as_secs().max(1));
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", "Too many wrong tokens", detail)
            }
        }
    }
}
