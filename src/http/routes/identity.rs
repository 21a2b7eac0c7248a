//! Which records are one thing, which are two, and which are to be forgotten: what people say about it. Answered once it is
//! durable.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::audit::{Act, note};
use super::people::{became, given, read};
use crate::domain::ids::{CanonicalId, NativeId, SystemName};
use crate::engine::acts::{Done, Request};
use crate::http::access::Actor;
use crate::http::if_match::IfMatch;
use crate::http::{Api, Problem};
use crate::views::find;

/// The other record, and who says so.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Merge {
    loser: Option<String>,
    by: Option<String>,
    reason: Option<String>,
    dry_run: bool,
}

/// The native records that are another thing, and who says so.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Split {
    links: Vec<String>,
    by: Option<String>,
    reason: Option<String>,
    dry_run: bool,
}

/// Who wants the values of a record erased, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Erase {
    by: Option<String>,
    reason: Option<String>,
    dry_run: bool,
}

/// `POST /v1/entities/{type}/{id}/erase`: takes the values out of this record and of all that is kept about it.
pub async fn erase(
    State(api): Shared,
    actor: Actor,
    Path((entity_type, id)): Path<(String, String)>,
    if_match: IfMatch,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: Erase = read(&api, &body)?;
    let found = find::record(api.store.as_ref(), &entity_type, &id).await?;
    let record = found.id;
    let by = actor.name(asked.by)?;
    let request = Request::Erase { record, reason: given(asked.reason)? };
    let done = act(&api, request, &by, if_match, asked.dry_run).await?;
    if !asked.dry_run {
        let before = json!([{ "record": record, "version": found.version }]);
        note(&api, &actor, &by, Act { act: "erase", on: &record.to_string(), before, after: became(&done) }).await?;
    }
    Ok(Json(json!({ "record": record, "dry_run": asked.dry_run, "decisions": rows(&done) })))
}

/// `POST /v1/entities/{type}/{id}/merge`: the record named `loser` becomes part of this one.
pub async fn merge(
    State(api): Shared,
    actor: Actor,
    Path((entity_type, id)): Path<(String, String)>,
    if_match: IfMatch,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: Merge = read(&api, &body)?;
    let Some(loser) = asked.loser else {
        return Err(Problem::question("name the record that becomes part of this one: its canonical id, or system:native_id").at("loser"));
    };
    let stays = find::record(api.store.as_ref(), &entity_type, &id).await?;
    let goes = find::record(api.store.as_ref(), &entity_type, &loser).await.map_err(|error| Problem::from(error).at("loser"))?;
    let (winner, loser) = (stays.id, goes.id);
    let by = actor.name(asked.by)?;
    let request = Request::Merge { winner, loser, reason: given(asked.reason)? };
    let done = act(&api, request, &by, if_match, asked.dry_run).await?;
    if !asked.dry_run {
        let before = [&stays, &goes].map(|record| json!({ "record": record.id, "version": record.version }));
        note(&api, &actor, &by, Act { act: "merge", on: &winner.to_string(), before: json!(before), after: became(&done) }).await?;
    }
    Ok(Json(json!({ "record": winner, "loser": loser, "dry_run": asked.dry_run, "decisions": rows(&done) })))
}

/// `POST /v1/entities/{type}/{id}/split`: the named native records are taken out of this one, with what came from them.
pub async fn split(
    State(api): Shared,
    actor: Actor,
    Path((entity_type, id)): Path<(String, String)>,
    if_match: IfMatch,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let asked: Split = read(&api, &body)?;
    let natives = asked.links.iter().map(|text| native(text)).collect::<Result<Vec<_>, _>>()?;
    let found = find::record(api.store.as_ref(), &entity_type, &id).await?;
    let record = found.id;
    let by = actor.name(asked.by)?;
    let request = Request::Split { record, natives, reason: given(asked.reason)? };
    let done = act(&api, request, &by, if_match, asked.dry_run).await?;
    let out = taken_out(&done, record);
    if !asked.dry_run {
        let before = json!([{ "record": record, "version": found.version }]);
        note(&api, &actor, &by, Act { act: "split", on: &record.to_string(), before, after: became(&done) }).await?;
    }
    Ok(Json(json!({ "record": record, "split_off": out, "dry_run": asked.dry_run, "decisions": rows(&done) })))
}

async fn act(api: &Api, request: Request, by: &str, if_match: IfMatch, dry_run: bool) -> Result<Done, Problem> {
    let done = if dry_run { api.acts.preview(request, by, if_match.0).await } else { api.acts.run_if(request, by, if_match.0).await };
    Ok(done?)
}

fn native(text: &str) -> Result<(SystemName, NativeId), Problem> {
    let Some((system, native_id)) = text.split_once(':') else {
        return Err(Problem::question(format!("{text:?} is no native record; write system:native_id")).at("links"));
    };
    let wrong = |error: &dyn std::fmt::Display| Problem::question(format!("{text:?}: {error}")).at("links");
    let system = SystemName::new(system).map_err(|error| wrong(&error))?;
    let native_id = NativeId::new(native_id).map_err(|error| wrong(&error))?;
    Ok((system, native_id))
}

fn rows(done: &Done) -> Value {
    match done {
        Done::Rows(rows) => json!(rows),
        Done::Row(row) => json!([row]),
        Done::Dead(_) | Done::Nothing => json!([]),
    }
}

fn taken_out(done: &Done, record: CanonicalId) -> Option<CanonicalId> {
    let Done::Rows(rows) = done else { return None };
    rows.iter().filter_map(|row| row.canonical_id).find(|id| *id != record)
}
