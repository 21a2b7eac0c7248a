//! How an adapter hands in updates: one, several, or a stream of lines.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Shared;
use crate::domain::change::{Inbound, Rejection};
use crate::domain::trace::TraceParent;
use crate::engine::intake::broken;
use crate::http::access::Actor;
use crate::http::{Api, BODY_MAX, Problem};
use crate::ports::broker::HandedIn;
use crate::ports::error::PortErrorKind;
use crate::ports::store::{Batch, Plan};
use crate::telemetry::Refused;
use crate::wire::{Limits, Transport, Undecodable, decode, decode_value, routing_key, strict_json};

/// How long a body may take, and how long a stream may say nothing.
const BODY_WITHIN: Duration = Duration::from_secs(60);
/// Lines of a stream that are taken in together.
const GROUP: usize = 200;
/// How long a stream waits for room before it says that there is none.
const ROOM_WITHIN: Duration = Duration::from_secs(30);

/// `POST /v1/updates`.
pub async fn take_in(State(api): Shared, actor: Actor, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let trace = parts.headers.get("traceparent").and_then(|text| text.to_str().ok()).and_then(|text| text.parse().ok());
    let sender = Sender { actor, trace };
    let kind = media_type(&parts.headers)?;
    if matches!(kind.as_str(), "application/x-ndjson" | "application/ndjson" | "application/jsonl") {
        return Ok(stream(api, sender, body));
    }
    if !kind.is_empty() && kind != "application/json" && kind != "application/cloudevents+json" {
        let detail = format!("{kind} is not understood; send application/json or application/x-ndjson");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", "Not JSON", detail));
    }
    let body = tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, BODY_MAX)).await.map_err(|_| too_slow())?;
    let body = body.map_err(|_| too_large(BODY_MAX))?;
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return several(&api, &sender, &body).await;
    }
    let (id, message) = check(&api, &sender, &body).await?;
    api.inbox.hand_in(vec![message], api.clock.now()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id, "status": "queued" }))).into_response())
}

fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(String::new()) };
    let text = value.to_str().map_err(|_| Problem::question("the content type can't be read").at("content-type"))?;
    Ok(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn too_slow() -> Problem {
    let detail = format!("the body was not there within {} seconds; send it again", BODY_WITHIN.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The body took too long", detail)
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the limit is {limit} bytes; send less at once, or a stream of lines (application/x-ndjson)");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Too much at once", detail)
}

/// Who hands in, and the trace of what names none.
#[derive(Debug)]
struct Sender {
    actor: Actor,
    trace: Option<TraceParent>,
}

/// Checks one message as the engine will read it; returns its id, and what to hand in.
async fn check(api: &Api, sender: &Sender, bytes: &[u8]) -> Result<(String, HandedIn), Problem> {
    if bytes.len() > api.settings.limits.message_bytes {
        return Err(too_large(api.settings.limits.message_bytes));
    }
    let message = decode(bytes, &Transport::default(), &api.settings.limits).map_err(|bad| Problem::from(&bad.rejection))?;
    own(api, &sender.actor, &message, bytes).await?;
    Ok((id_of(&message), sender.handed_in(&message, bytes.to_vec(), &api.settings.limits)))
}

/// Refuses a message of another system than the adapter's. It is kept as a dead letter, so that somebody can look at it.
async fn own(api: &Api, actor: &Actor, message: &Inbound, bytes: &[u8]) -> Result<(), Problem> {
    let Err(rejection) = actor.speaks_for(message) else { return Ok(()) };
    api.metrics.refused(Refused::NotYourSystem);
    tracing::warn!(detail = %rejection.detail, "a message of another system than its adapter's was refused");
    let problem = Problem { status: StatusCode::FORBIDDEN.as_u16(), ..Problem::from(&rejection) };
    let letter = broken(Undecodable::of_message(message, rejection), bytes, api.clock.now());
    let plan = Plan { dead_letters: vec![letter], ..Plan::default() };
    api.store.commit(&Batch { plans: vec![plan], ..Batch::default() }).await?;
    Err(problem)
}

impl Sender {
    fn handed_in(&self, message: &Inbound, body: Vec<u8>, limits: &Limits) -> HandedIn {
        // What would be too large with it goes without.
        let traced =
            self.trace.and_then(|trace| with_trace(&body, trace)).filter(|traced| decode(traced, &Transport::default(), limits).is_ok());
        let body = traced.unwrap_or(body);
        HandedIn { routing_key: routing_key(message), message_id: None, body }
    }
}

/// The message with what a header of the request said about it; `None` where it says itself which trace it belongs to. The
/// message was read before, so nothing of it is lost by reading it once more.
fn with_trace(body: &[u8], trace: TraceParent) -> Option<Vec<u8>> {
    let Ok(Value::Object(mut message)) = serde_json::from_slice(body) else { return None };
    let own = message.get("traceparent").and_then(Value::as_str).and_then(|own| own.parse::<TraceParent>().ok());
    if own.is_some() {
        return None;
    }
    message.insert("traceparent".to_owned(), json!(trace));
    Some(Value::Object(message).to_string().into_bytes())
}

fn id_of(message: &Inbound) -> String {
    match message {
        Inbound::Change(change) => change.update.id.as_str().to_owned(),
        Inbound::Receipt(receipt) => receipt.update.id.as_str().to_owned(),
        Inbound::ChangeSet { id, .. } => id.as_str().to_owned(),
    }
}

/// An array: all or nothing.
async fn several(api: &Api, sender: &Sender, body: &Bytes) -> Result<Response, Problem> {
    // Each of them may be as deep as one alone.
    let limits = crate::wire::Limits { message_bytes: BODY_MAX, depth: api.settings.limits.depth + 1, ..api.settings.limits };
    let Value::Array(items) = strict_json::parse(body, &limits).map_err(|rejection| of_one(&rejection))? else {
        return Err(Problem::question("the body must be one envelope or an array of them"));
    };
    let (mut messages, mut ids, mut problems) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()), Vec::new());
    let mut foreign = false;
    for (index, item) in items.into_iter().enumerate() {
        let bytes = item.to_string().into_bytes();
        let checked = if bytes.len() > api.settings.limits.message_bytes {
            Err(too_large(api.settings.limits.message_bytes))
        } else {
            decode_value(item, &Transport::default(), &api.settings.limits).map_err(|bad| Problem::from(&bad.rejection))
        };
        let checked = match checked {
            Ok(message) => own(api, &sender.actor, &message, &bytes).await.map(|()| message),
            Err(problem) => Err(problem),
        };
        match checked {
            Ok(message) => {
                ids.push(id_of(&message));
                messages.push(sender.handed_in(&message, bytes, &api.settings.limits));
            }
            Err(problem) => {
                foreign |= problem.status == StatusCode::FORBIDDEN.as_u16();
                problems.push(json!({ "index": index, "problem": problem }));
            }
        }
    }
    if !problems.is_empty() {
        let detail = format!("{} of {} messages can't be processed; none was taken", problems.len(), problems.len() + ids.len());
        let status = if foreign { StatusCode::FORBIDDEN } else { StatusCode::UNPROCESSABLE_ENTITY };
        let problem = Problem::new(status, "bad_messages", "Some messages can't be processed", detail);
        return Err(Problem { problems, ..problem });
    }
    api.inbox.hand_in(messages, api.clock.now()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "ids": ids, "status": "queued" }))).into_response())
}

/// What is wrong with an array that can't be read; where it is one of its messages, with the index of that one.
fn of_one(rejection: &Rejection) -> Problem {
    let problem = Problem::from(rejection);
    let pointer = rejection.field.as_deref().and_then(|field| field.strip_prefix('/'));
    let (index, rest) = pointer.map(|pointer| pointer.split_once('/').unwrap_or((pointer, ""))).unwrap_or_default();
    let Ok(index) = index.parse::<usize>() else { return problem };
    let own = Problem { field: (!rest.is_empty()).then(|| format!("/{rest}").into_boxed_str()), ..problem.clone() };
    Problem { problems: vec![json!({ "index": index, "problem": own })], ..problem }
}

/// Lines, each answered by a line as soon as it is durably queued, or with what is wrong with it.
fn stream(api: Arc<Api>, sender: Sender, body: Body) -> Response {
    let (answers, rows) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    tokio::spawn(async move {
        let mut lines = Lines { api, sender, answers, index: 0, group: Vec::new(), rows: Vec::new() };
        let outcome = lines.read(body).await;
        // Nobody listens any more if this fails; what was answered is queued.
        if outcome.is_ok() {
            let _ = lines.flush().await;
        }
    });
    let body = Body::from_stream(ReceiverStream::new(rows));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

struct Gone;

struct Lines {
    api: Arc<Api>,
    sender: Sender,
    answers: mpsc::Sender<Result<Bytes, std::io::Error>>,
    index: u64,
    group: Vec<HandedIn>,
    /// One answer per line since the last flush; `None` where it depends on the group.
    rows: Vec<(u64, Result<String, Problem>)>,
}

impl Lines {
    async fn read(&mut self, body: Body) -> Result<(), Gone> {
        let (mut stream, mut line) = (body.into_data_stream(), Vec::new());
        // Of a line that is too long only so much is kept as to know that it is.
        let bound = self.api.settings.limits.message_bytes + 1;
        // Who says nothing for so long is gone, and its place is free.
        while let Some(chunk) = tokio::time::timeout(BODY_WITHIN, stream.next()).await.map_err(|_| Gone)? {
            let chunk = chunk.map_err(|_| Gone)?;
            for part in chunk.split_inclusive(|byte| *byte == b'\n') {
                let room = bound.saturating_sub(line.len());
                line.extend_from_slice(&part[..part.len().min(room)]);
                if part.last() == Some(&b'\n') {
                    self.line(&std::mem::take(&mut line)).await?;
                }
            }
            // Whoever sends line by line gets its answers line by line.
            self.flush().await?;
        }
        self.line(&line).await
    }

    async fn line(&mut self, line: &[u8]) -> Result<(), Gone> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let checked = check(&self.api, &self.sender, line.trim_ascii()).await.map(|(id, message)| {
            self.group.push(message);
            id
        });
        self.rows.push((self.index, checked));
        self.index += 1;
        if self.group.len() >= GROUP { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let group = std::mem::take(&mut self.group);
        let queued = if group.is_empty() { Ok(()) } else { self.hand_in(group).await };
        let mut text = String::new();
        for (index, checked) in self.rows.drain(..) {
            let row = match (checked, &queued) {
                (Ok(id), Ok(())) => json!({ "index": index, "id": id, "status": "queued" }),
                (Ok(id), Err(problem)) => json!({ "index": index, "id": id, "status": "error", "problem": problem }),
                (Err(problem), _) => json!({ "index": index, "id": null, "status": "error", "problem": problem }),
            };
            text.push_str(&row.to_string());
            text.push('\n');
        }
        self.answers.send(Ok(Bytes::from(text))).await.map_err(|_| Gone)
    }

    /// A stream is slowed down while there is no room.
    async fn hand_in(&self, group: Vec<HandedIn>) -> Result<(), Problem> {
        let until = tokio::time::Instant::now() + ROOM_WITHIN;
        loop {
            match self.api.inbox.hand_in(group.clone(), self.api.clock.now()).await {
                Err(error) if error.kind == PortErrorKind::Full && tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                outcome => return outcome.map_err(Problem::from),
            }
        }
    }
}
