//! What people do about updates that wait and about dead letters. Answered once it is durable.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Shared;
use super::audit::{Act, note};
use crate::domain::change::Record;
use crate::domain::decision::Decision;
use crate::domain::explain;
use crate::domain::ids::{NativeKey, UpdateId};
use crate::domain::review::{Says, Word};
use crate::engine::acts::{Done, Refusal, Request};
use crate::http::access::Actor;
use crate::http::if_match::IfMatch;
use crate::http::{Api, Problem};
use crate::ports::store::Lookup;
use crate::views::rows::ParkedRow;
use crate::wire::strict_json;

/// Longest reason, in characters.
const REASON_MAX: usize = 2_000;

/// Who does it and why. Where people have to prove who they are, `by` can be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Judgement {
    entity: Option<Value>,
    by: Option<String>,
    reason: Option<String>,
    dry_run: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settlement {
    message: Option<Value>,
    by: Option<String>,
    dry_run: bool,
}

/// `GET /v1/parked/{update}`: one update that waits, with its tag.
pub async fn one(State(api): Shared, Path(update): Path<String>) -> Result<Response, Problem> {
    let update = UpdateId::try_from(update).map_err(Problem::question)?;
    let absent = || Problem::absent(format!("no update {update} waits"));
    let row = api.store.decision(&update).await?.ok_or_else(absent)?;
    let native_id = row.native_id.ok_or_else(absent)?;
    let key = NativeKey { system: row.source_system, entity_type: row.entity_type, native_id };
    let found = api.store.look_up(&Lookup { waiting_of: vec![key], ..Lookup::default() }).await?;
    let waiting = found.waiting.iter().find(|waiting| waiting.update == update).ok_or_else(absent)?;
    Ok(tagged(&waiting.tag(), Json(ParkedRow::with_tag(waiting))))
}

fn tagged(tag: &str, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// `GET /v1/dead-letters/{id}`: one message that can't be processed, with its tag.
pub async fn letter(State(api): Shared, Path(id): Path<String>) -> Result<Response, Problem> {
    let letter = api.store.dead_letter(&id).await?.ok_or_else(|| Problem::absent(format!("there is no dead letter {id}")))?;
    Ok(tagged(&letter.tag(), Json(&letter)))
}

/// `POST /v1/parked/{update}/approve`: takes the update, as it is or edited.
pub async fn approve(
    State(api): Shared,
    actor: Actor,
    Path(update): Path<String>,
    if_match: IfMatch,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: Judgement = read(&api, &body)?;
    let edited = asked.entity.clone().map(|entity| record(&api, entity)).transpose()?;
    judge((&api, &actor, "approve"), update, if_match, asked, Some(Says::Approved { edited })).await
}

/// `POST /v1/parked/{update}/reject`: takes nothing of it.
pub async fn reject(
    State(api): Shared,
    actor: Actor,
    Path(update): Path<String>,
    if_match: IfMatch,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: Judgement = read(&api, &body)?;
    no_entity(&asked)?;
    judge((&api, &actor, "reject"), update, if_match, asked, Some(Says::Rejected)).await
}

/// `POST /v1/parked/{update}/retry`: looks at it again now.
pub async fn retry(
    State(api): Shared,
    actor: Actor,
    Path(update): Path<String>,
    if_match: IfMatch,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: Judgement = read(&api, &body)?;
    no_entity(&asked)?;
    if asked.reason.is_some() {
        return Err(Problem::question("a retry has no reason: what becomes of it is decided anew").at("reason"));
    }
    judge((&api, &actor, "retry"), update, if_match, asked, None).await
}

/// A record, or the text of one, which is read as strictly as a message.
fn record(api: &Api, entity: Value) -> Result<Record, Problem> {
    let entity = match entity {
        Value::String(text) => {
            strict_json::parse(text.as_bytes(), &api.settings.limits).map_err(|rejection| Problem::from(&rejection).at("entity"))?
        }
        entity => entity,
    };
    match entity {
        Value::Object(record) => Ok(record),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Problem::question("a record is a JSON object").at("entity"))
        }
    }
}

fn no_entity(asked: &Judgement) -> Result<(), Problem> {
    match asked.entity {
        Some(_) => Err(Problem::question("only an approval takes an edited entity").at("entity")),
        None => Ok(()),
    }
}

async fn judge(
    (api, actor, act): (&Api, &Actor, &'static str),
    update: String,
    if_match: IfMatch,
    asked: Judgement,
    says: Option<Says>,
) -> Result<Json<Value>, Problem> {
    let update = UpdateId::try_from(update).map_err(Problem::question)?;
    let by = actor.name(asked.by)?;
    let reason = given(asked.reason)?;
    let word = says.map(|says| Word { says, by: Some(by.clone()), at: api.clock.now(), reason });
    let request = Request::Judge { update: update.clone(), word };
    let about = json!({ "update": update, "dry_run": asked.dry_run });
    if asked.dry_run {
        return Ok(Json(answer(&about, api.acts.preview(request, &by, if_match.0).await?)));
    }
    let before = api.store.decision(&update).await?.map_or(Value::Null, |row| told(&row));
    let done = api.acts.run_if(request, &by, if_match.0).await?;
    note(api, actor, &by, Act { act, on: &update.to_string(), before, after: became(&done) }).await?;
    Ok(Json(answer(&about, done)))
}

/// `POST /v1/dead-letters/{id}/requeue`: decides the message once more, as it is or edited.
pub async fn requeue(
    State(api): Shared,
    actor: Actor,
    Path(id): Path<String>,
    if_match: IfMatch,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: Settlement = read(&api, &body)?;
    let edited = asked.message.map(|message| match message {
        Value::String(text) => text,
        message @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => message.to_string(),
    });
    let by = actor.name(asked.by)?;
    let request = Request::Requeue { id: id.clone(), edited };
    let about = json!({ "id": id, "dry_run": asked.dry_run });
    if asked.dry_run {
        return Ok(Json(answer(&about, api.acts.preview(request, &by, if_match.0).await?)));
    }
    let before = api.store.dead_letter(&id).await?.map_or(Value::Null, |letter| json!({ "dead_letter": letter.reason }));
    let done = api.acts.run_if(request, &by, if_match.0).await?;
    note(&api, &actor, &by, Act { act: "requeue", on: &id, before, after: became(&done) }).await?;
    Ok(Json(answer(&about, done)))
}

/// `POST /v1/dead-letters/{id}/discard`: nobody looks at it again.
pub async fn discard(
    State(api): Shared,
    actor: Actor,
    Path(id): Path<String>,
    if_match: IfMatch,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: Settlement = read(&api, &body)?;
    if asked.message.is_some() {
        return Err(Problem::question("what is discarded takes no message").at("message"));
    }
    let by = actor.name(asked.by)?;
    let request = Request::Discard { id: id.clone() };
    if asked.dry_run {
        api.acts.preview(request, &by, if_match.0).await?;
        return Ok(Json(json!({ "id": id, "dry_run": true, "discarded": false })));
    }
    let before = api.store.dead_letter(&id).await?.map_or(Value::Null, |letter| json!({ "dead_letter": letter.reason }));
    api.acts.run_if(request, &by, if_match.0).await?;
    note(&api, &actor, &by, Act { act: "discard", on: &id, before, after: Value::Null }).await?;
    Ok(Json(json!({ "id": id, "dry_run": false, "discarded": true })))
}

/// A decision, as far as the audit log tells it: no value of a record.
fn told(row: &Decision) -> Value {
    json!({ "decision": row.decision, "version_before": row.version_before, "version_after": row.version_after })
}

/// What became of an act, likewise.
pub(super) fn became(done: &Done) -> Value {
    match done {
        Done::Row(row) => told(row),
        Done::Rows(rows) => rows.iter().map(|row| json!({ "record": row.canonical_id, "version": row.version_after })).collect(),
        Done::Dead(letter) => json!({ "dead_letter": letter.reason }),
        Done::Nothing => Value::Null,
    }
}

/// A body as strict as a message: nothing of an edited record is read otherwise than it is written.
pub(super) fn read<T: DeserializeOwned + Default>(api: &Api, body: &Bytes) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    // A message within the body has its own limit; the text of one may need twice its bytes.
    let limits = crate::wire::Limits {
        message_bytes: 2 * api.settings.limits.message_bytes + 4096,
        depth: api.settings.limits.depth + 1,
        ..api.settings.limits
    };
    let value = strict_json::parse(body, &limits).map_err(|rejection| Problem::from(&rejection))?;
    serde_json::from_value(value).map_err(Problem::question)
}

/// A reason in a person's words, if there is one.
pub(super) fn given(reason: Option<String>) -> Result<Option<String>, Problem> {
    let reason = reason.filter(|reason| !reason.trim().is_empty());
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_MAX) {
        return Err(Problem::question(format!("a reason has {REASON_MAX} characters at most")).at("reason"));
    }
    Ok(reason)
}

fn answer(about: &Value, done: Done) -> Value {
    let mut answer = about.clone();
    match done {
        Done::Row(row) => answer["decision"] = json!(row),
        Done::Rows(rows) => answer["decisions"] = json!(rows),
        Done::Dead(letter) => answer["dead_letter"] = json!(letter),
        // The same update had been decided before, with the same content.
        Done::Nothing => answer["decision"] = Value::Null,
    }
    answer
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Gone => Self::absent("it is not there any more"),
            Refusal::Absent(text) => Self::absent(text),
            Refusal::Decided(row) => already(&row),
            Refusal::IsDead(letter) => {
                let detail = format!("{} is a dead letter ({}): requeue or discard that", letter.id, letter.reason);
                Self::new(StatusCode::CONFLICT, "is_dead_letter", "It does not wait any more", detail)
            }
            Refusal::WaitsOtherwise(update, waiting_for) => {
                let detail = format!("{update} is not in review: {}; retry looks at it again", explain::waiting(&waiting_for));
                Self::new(StatusCode::CONFLICT, "not_in_review", "It does not wait for a person", detail)
            }
            Refusal::Changed(tag) => {
                let detail = format!("it is not what was looked at any more; look again, its tag is \"{tag}\" now");
                Self::new(StatusCode::PRECONDITION_FAILED, "changed", "It has changed meanwhile", detail)
            }
            Refusal::Cannot(text) => Self::new(StatusCode::CONFLICT, "cannot", "That can't be done to these records", text),
            Refusal::Unfit(rejection) => Self::from(&rejection),
            Refusal::OtherId { letter, message } => {
                let detail = format!("the message is {message}; a dead letter keeps its id, {letter}: send another change as an update");
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "other_id", "The message has another id", detail).at("id")
            }
            Refusal::Port(error) => error.into(),
        }
    }
}

/// It is done already: what was decided, by whom.
fn already(row: &Decision) -> Problem {
    let by = row.decided_by.name.as_ref().map(|name| format!(" by {name}")).unwrap_or_default();
    let verb = if row.decision.is_waiting() { "waits again" } else { "was decided already" };
    let detail = format!("{} {verb}: {}{by} at {}: {}", row.update, row.decision.as_str(), row.timestamp, row.reason);
    let problem = Problem::new(StatusCode::CONFLICT, "already_decided", "It is decided already", detail);
    Problem { decision: serde_json::to_value(row).ok().map(Box::new), ..problem }
}
