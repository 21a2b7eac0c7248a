//! Who did what: kept with everything that is done, and listed.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::Shared;
use crate::http::access::Actor;
use crate::http::query::Query;
use crate::http::{Api, Problem};
use crate::ports::audit::Audit;
use crate::ports::error::PortErrorKind;
use crate::ports::store::{Cursor, Page};

/// How often an entry is tried to be kept.
const TRIES: u32 = 3;
/// The time between.
const REST: Duration = Duration::from_millis(200);

/// What was done, to what, and what that changed.
#[derive(Debug)]
pub struct Act<'a> {
    /// What: the word in the route.
    pub act: &'static str,
    /// To what.
    pub on: &'a str,
    /// How it was.
    pub before: Value,
    /// How it is now.
    pub after: Value,
}

/// Keeps what somebody has just done. It is done in any case; if it can't be kept, the answer says so, and the log has it.
pub async fn note(api: &Api, actor: &Actor, by: &str, act: Act<'_>) -> Result<(), Problem> {
    let Act { act, on, before, after } = act;
    let role = actor.identity.as_ref().map(|identity| identity.role.to_string());
    let (id, at) = (Uuid::now_v7().to_string(), api.clock.now());
    let entry = Audit { id, at, by: by.to_owned(), role, act: act.to_owned(), on: on.to_owned(), before, after };
    let mut tried = 1;
    // The same entry again is the same entry.
    while let Err(error) = api.store.audit(&entry).await {
        if tried >= TRIES || error.kind != PortErrorKind::Unavailable {
            tracing::error!(error = %error, audit.by = by, audit.act = act, audit.on = on, "what somebody did could not be kept");
            let detail = format!("it was done, and who did it could not be kept: {}; it is in the log", error.message);
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "not_audited", "Done, but not noted", detail));
        }
        tried += 1;
        tokio::time::sleep(REST).await;
    }
    Ok(())
}

/// `GET /v1/audit`: newest first.
pub async fn list(State(api): Shared, mut query: Query) -> Result<Json<Page<Audit>>, Problem> {
    let limit = query.limit()?;
    let cursor = query.take("cursor").map(Cursor);
    query.finish("limit and cursor")?;
    let wrong = |_| Problem::question("this is no cursor of this list").at("cursor");
    cursor.as_ref().map(|cursor| cursor.uuid("list what was done")).transpose().map_err(wrong)?;
    Ok(Json(api.store.audits(cursor.as_ref(), limit).await?))
}
