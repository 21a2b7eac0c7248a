//! Whether it lives, whether it works, whether it is at rest.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Shared;
use crate::http::Problem;

/// `GET /healthz`: the process answers.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: it takes messages and decides them.
pub async fn ready(State(api): Shared) -> Result<&'static str, Problem> {
    if !api.is_ready() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready", "the engine is starting or stopping"));
    }
    api.inbox.connected()?;
    api.store.epoch().await?;
    Ok("ready\n")
}

/// What is still to be done.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Nothing is left to do by itself: no inbound message, nothing to send, no waiting update whose time has come.
    idle: bool,
    /// Inbound messages that are not decided.
    inbound: u64,
    /// (record, system) pairs about which something is to be sent now.
    pending: u64,
    /// Waiting updates that are due.
    due: u64,
}

/// Rows looked at at once.
const PAGE: usize = 1000;

/// `GET /v1/status`.
pub async fn status(State(api): Shared) -> Result<Json<Status>, Problem> {
    let (inbound, _) = api.inbox.depth().await?;
    let due = api.store.waiting_due(api.clock.now(), PAGE).await?.len() as u64;
    let (mut pending, mut after) = (0, Some(0));
    while let Some(position) = after {
        let page = api.store.owed(position, PAGE).await?;
        after = if page.len() < PAGE { None } else { page.last().map(|(position, _)| *position) };
        // What waits for an answer, or failed and waits for its next try, is at rest until then.
        let now = api.clock.now();
        pending += page.iter().filter(|(_, owed)| owed.published == 0 && owed.retry_at.is_none_or(|at| at <= now)).count() as u64;
    }
    Ok(Json(Status { idle: inbound == 0 && pending == 0 && due == 0, inbound, pending, due }))
}
