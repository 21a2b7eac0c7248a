//! Coming in and going out: a token is exchanged for a session.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::Value;

use super::model::LogInPage;
use super::{Answer, assets, shown};
use crate::http::access::{Actor, Cookie, LogIn, Peer, random};
use crate::http::query::Query;
use crate::http::routes::Shared;
use crate::http::routes::audit::{Act, note};
use crate::http::{Api, Problem};
use crate::telemetry::Refused;

/// What the log-in form says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entering {
    token: String,
    csrf: String,
    #[serde(default)]
    next: String,
}

/// What the log-out form says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaving {
    csrf: String,
}

/// `GET /login?next=`
pub async fn page(State(api): Shared, headers: HeaderMap, mut query: Query) -> Answer {
    let next = local(query.take("next").as_deref().unwrap_or("/"));
    if !api.access.is_guarded() {
        return Ok(Redirect::to(&next).into_response());
    }
    Ok(form(&api, &headers, &next, None)?)
}

/// `POST /login`
pub async fn enter(State(api): Shared, peer: Peer, headers: HeaderMap, said: Result<Form<Entering>, FormRejection>) -> Answer {
    let Form(said) = said.map_err(Problem::question)?;
    let next = local(&said.next);
    if !api.access.is_log_in_form(&headers, &said.csrf) {
        api.metrics.refused(Refused::Csrf);
        let detail = "the page was too old; try again";
        return Ok((StatusCode::FORBIDDEN, form(&api, &headers, &next, Some(detail.to_owned()))?).into_response());
    }
    let (status, why) = match api.access.log_in(said.token.trim(), peer.0).await {
        Ok((identity, session)) => {
            if let Some(old) = Cookie::Session.read(&headers, api.access.secure) {
                api.access.log_out(old);
            }
            tracing::info!(person = %identity.name, role = %identity.role, "logged in");
            let actor = Actor { identity: Some(identity.clone()), session: Some(session.as_str().into()), csrf: None };
            if let Err(problem) = note(&api, &actor, &identity.name, console("log_in")).await {
                api.access.log_out(&session);
                return Err(problem.into());
            }
            let cookies = [Cookie::Session.set(&session, api.access.secure), Cookie::LogIn.clear(api.access.secure)];
            return Ok(with(Redirect::to(&next).into_response(), cookies));
        }
        Err(LogIn::Wrong) => (StatusCode::UNAUTHORIZED, "Nobody has this token.".to_owned()),
        Err(LogIn::Adapter) => (StatusCode::FORBIDDEN, "This is the token of an adapter, for which there are no pages.".to_owned()),
        Err(LogIn::TooMany(wait)) => {
            api.metrics.refused(Refused::TooManyTries);
            let seconds = wait.as_secs().max(1);
            let why = format!("Too many wrong tokens came. Try again in {seconds} seconds.");
            let mut response = (StatusCode::TOO_MANY_REQUESTS, form(&api, &headers, &next, Some(why))?).into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            return Ok(response);
        }
        Err(LogIn::Failed) => return Err(no_randomness().into()),
    };
    api.metrics.refused(Refused::Unauthorized);
    tracing::warn!(peer = %peer.0, "a log-in failed");
    Ok((status, form(&api, &headers, &next, Some(why))?).into_response())
}

/// `POST /logout`
pub async fn leave(State(api): Shared, actor: Actor, said: Result<Form<Leaving>, FormRejection>) -> Answer {
    let Form(said) = said.map_err(Problem::question)?;
    if !api.access.is_from_here(actor.session.as_deref(), &said.csrf) {
        api.metrics.refused(Refused::Csrf);
        let detail = "the page was not made for this log-in; load it again";
        return Err(Problem::new(StatusCode::FORBIDDEN, "csrf", "Not from this page", detail).into());
    }
    if let Some(session) = &actor.session {
        api.access.log_out(session);
        note(&api, &actor, &actor.name(None)?, console("log_out")).await?;
    }
    Ok(with(Redirect::to("/login").into_response(), [Cookie::Session.clear(api.access.secure), None]))
}

/// Coming in and going out are done to nothing else.
const fn console(act: &'static str) -> Act<'static> {
    Act { act, on: "console", before: Value::Null, after: Value::Null }
}

/// The form, bound to the browser it is shown to.
fn form(api: &Api, headers: &HeaderMap, next: &str, wrong: Option<String>) -> Result<Response, Problem> {
    let (cookie, new) = match Cookie::LogIn.read(headers, api.access.secure) {
        Some(cookie) => (cookie.to_owned(), false),
        None => (random().map_err(|_| no_randomness())?, true),
    };
    let csrf = api.access.log_in_csrf(&cookie);
    let page = LogInPage { build: assets::BUILD, version: env!("CARGO_PKG_VERSION"), csrf, next: next.to_owned(), wrong };
    let set = if new { Cookie::LogIn.set(&cookie, api.access.secure) } else { None };
    Ok(with(shown(&page), [set, None]))
}

fn with(mut response: Response, cookies: [Option<HeaderValue>; 2]) -> Response {
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn no_randomness() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of this machine", "it gives no random numbers")
}

/// A place of ours to go on at: never of another site.
fn local(next: &str) -> String {
    let ours = next.starts_with('/') && !next.starts_with("//") && !next.chars().any(|c| c == '\\' || c.is_control());
    if ours && !next.starts_with("/login") { next.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn a_log_in_leads_nowhere_else() {
        for ours in ["/", "/waiting/bms:p?x=1", "/records?type=device&field=a"] {
            assert_eq!(local(ours), ours);
        }
        for elsewhere in
            ["", "//evil.example", "https://evil.example", "/\\evil.example", "/\nevil", "javascript:alert(1)", "/login?next=/login"]
        {
            assert_eq!(local(elsewhere), "/", "{elsewhere:?}");
        }
    }
}
