//! How an adapter fetches what waits for its system.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Shared;
use crate::domain::ids::SystemName;
use crate::http::Problem;

/// Longest a lease waits for something to come.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// When a message counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ack {
    /// When its receipt comes; until then it is given again after the lease has expired.
    Receipt,
    /// When it is given out: for adapters that send no receipts.
    Auto,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Request {
    max: usize,
    wait_ms: u64,
    lease_ms: u64,
    ack: Ack,
}

impl Default for Request {
    fn default() -> Self {
        Self { max: 100, wait_ms: 0, lease_ms: 30_000, ack: Ack::Receipt }
    }
}

/// `POST /v1/systems/{system}/lease`.
pub async fn lease(State(api): Shared, Path(system): Path<String>, body: Bytes) -> Result<Response, Problem> {
    let system = SystemName::new(system).map_err(Problem::question)?;
    let Some(queues) = &api.queues else {
        let queue = api.inbox.queue_of(&system).unwrap_or_else(|| "their queue".to_owned());
        let detail = format!("adapters of {system} consume from the queue {queue} at the message broker");
        return Err(Problem::new(StatusCode::CONFLICT, "no_leases", "There are no leases with this broker", detail));
    };
    if !api.settings.rules.knows(&system) {
        let detail = format!("no [systems.{system}] in the configuration; add it, or set unknown_systems = \"accept\"");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_system", "Not a participating system", detail));
    }
    let request: Request = if body.is_empty() { Request::default() } else { serde_json::from_slice(&body).map_err(Problem::question)? };
    if !(1..=1000).contains(&request.max) || request.lease_ms == 0 {
        return Err(Problem::question("max is 1 to 1000, lease_ms at least 1"));
    }
    let until = tokio::time::Instant::now() + Duration::from_millis(request.wait_ms).min(WAIT_MAX);
    let (mut news, mut stopping) = (queues.news(), api.stopping.clone());
    let lease = Duration::from_millis(request.lease_ms);
    let leased = loop {
        news.mark_unchanged();
        let leased = queues.lease(&system, request.max, lease, api.clock.now()).await?;
        if !leased.messages.is_empty() {
            break leased;
        }
        let came = tokio::select! {
            changed = news.changed() => changed.is_ok(),
            () = tokio::time::sleep_until(until) => false,
            _ = stopping.wait_for(|stop| *stop) => false,
        };
        if !came {
            break leased;
        }
    };
    if request.ack == Ack::Auto && !leased.messages.is_empty() {
        let given: Vec<_> = leased.messages.iter().map(|message| (message.record, message.rev)).collect();
        queues.release(&system, &given).await?;
    }
    // The messages are JSON already.
    let mut answer = format!("{{\"lease\":\"{}\",\"updates\":[", leased.id).into_bytes();
    for (at, message) in leased.messages.iter().enumerate() {
        if at > 0 {
            answer.push(b',');
        }
        answer.extend_from_slice(&message.body);
    }
    answer.extend_from_slice(b"]}");
    Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
}
