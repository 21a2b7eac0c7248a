//! What is kept back: brakes, and paused systems.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::audit::{Act, note};
use super::people::read;
use super::resync::known;
use crate::domain::sending::SendCounts;
use crate::engine::acts::Refusal;
use crate::engine::resync::Scope;
use crate::http::access::Actor;
use crate::http::if_match::IfMatch;
use crate::http::{Api, Problem};
use crate::ports::hold::{Hold, HoldRow};
use crate::views::holds;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Direction {
    In,
    Out,
    Both,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Request {
    direction: Option<Direction>,
    by: Option<String>,
    dry_run: bool,
}

/// `GET /v1/brakes`: everything that waits for a person to let it go, with what that would send.
pub async fn list(State(api): Shared) -> Result<Json<Value>, Problem> {
    let kept = holds::kept(api.store.as_ref()).await?;
    let item = |kept: &holds::Kept| {
        let mut item = json!(kept);
        item["tag"] = json!(kept.tag);
        item
    };
    Ok(Json(json!({ "items": kept.iter().map(item).collect::<Vec<_>>(), "next": null })))
}

/// Who lets go, and whether only to look.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LetGo {
    by: Option<String>,
    dry_run: bool,
}

/// `POST /v1/brakes/{id}/release`: what it keeps back goes on.
pub async fn release(
    State(api): Shared,
    actor: Actor,
    Path(id): Path<String>,
    if_match: IfMatch,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    settle(&api, &actor, id, if_match, &body, Settled::Released).await
}

/// `POST /v1/brakes/{id}/discard`: what it keeps back is not done.
pub async fn discard(
    State(api): Shared,
    actor: Actor,
    Path(id): Path<String>,
    if_match: IfMatch,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    settle(&api, &actor, id, if_match, &body, Settled::Discarded).await
}

/// What becomes of what a brake keeps back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    Released,
    Discarded,
}

async fn settle(api: &Api, actor: &Actor, id: String, if_match: IfMatch, body: &Bytes, settled: Settled) -> Result<Json<Value>, Problem> {
    let asked: LetGo = read(api, body)?;
    let (by, row) = (actor.name(asked.by)?, looked_at(api, &id, if_match).await?);
    let kept = holds::counts(api.store.as_ref(), &row.hold).await?;
    let (act, said) = match settled {
        Settled::Released => ("release", "released"),
        Settled::Discarded => ("discard", "discarded"),
    };
    if !asked.dry_run {
        match settled {
            Settled::Released => api.acts.release(row, &by).await?,
            Settled::Discarded => api.acts.put_away(row, &by).await?,
        };
        api.activity.look();
        let before = json!({ "holds": true, "waiting": kept });
        note(api, actor, &by, Act { act, on: &id, before, after: json!({ "holds": false }) }).await?;
    }
    Ok(Json(json!({ "id": id, "dry_run": asked.dry_run, said: kept })))
}

/// What is kept back under a name, if it is what whoever acts has looked at.
async fn looked_at(api: &Api, id: &str, if_match: IfMatch) -> Result<HoldRow, Problem> {
    let row = holds::held(api.store.as_ref(), id).await?;
    match if_match.0.filter(|looked_at| *looked_at != row.tag()) {
        Some(_) => Err(Refusal::Changed(row.tag()).into()),
        None => Ok(row),
    }
}

/// `POST /v1/systems/{system}/pause`.
pub async fn pause(State(api): Shared, actor: Actor, Path(system): Path<String>, body: Bytes) -> Result<Json<Value>, Problem> {
    let (asked, request) = asked(&api, system.clone(), &body, None)?;
    let by = actor.name(request.by.clone())?;
    let before = held(&api, &asked).await?;
    let mut waiting = SendCounts::default();
    for hold in &asked {
        if !request.dry_run {
            holds::begin(api.store.as_ref(), hold.clone(), api.clock.now()).await?;
        }
        waiting += holds::counts(api.store.as_ref(), hold).await?;
    }
    if !request.dry_run {
        let after = held(&api, &asked).await?;
        note(&api, &actor, &by, Act { act: "pause", on: &system, before, after }).await?;
    }
    Ok(Json(json!({ "ids": ids(&asked), "dry_run": request.dry_run, "waiting": waiting })))
}

/// `POST /v1/systems/{system}/resume`: sends what was kept back and what the system lacks besides, or says with `dry_run`
/// what that would be. Both directions, unless it says which.
pub async fn resume(State(api): Shared, actor: Actor, Path(system): Path<String>, body: Bytes) -> Result<Json<Value>, Problem> {
    let (asked, request) = asked(&api, system.clone(), &body, Some(Direction::Both))?;
    let by = actor.name(request.by.clone())?;
    let before = held(&api, &asked).await?;
    let held_now: Vec<Hold> = api.store.holds().await?.into_iter().filter(|row| row.holds).map(|row| row.hold).collect();
    let mut sends = SendCounts::default();
    for hold in &asked {
        let mut lacks = SendCounts::default();
        if let Hold::PauseOut { system } = hold {
            let scope = Scope { system: system.clone(), entity_type: None, everything: false };
            lacks = if request.dry_run { api.resync.preview(&scope).await? } else { api.resync.run(&scope).await? };
        }
        if request.dry_run {
            lacks += holds::counts(api.store.as_ref(), hold).await?;
        } else if held_now.contains(hold) {
            // What it lacked is recorded by now, so it is among what was kept back.
            lacks = holds::release(api.store.as_ref(), &hold.to_string(), api.clock.now()).await?;
        }
        sends += lacks;
    }
    api.activity.look();
    if !request.dry_run {
        let mut after = held(&api, &asked).await?;
        after["sends"] = json!(sends);
        note(&api, &actor, &by, Act { act: "resume", on: &system, before, after }).await?;
    }
    Ok(Json(json!({ "ids": ids(&asked), "dry_run": request.dry_run, "sends": sends })))
}

/// Which of these hold now.
async fn held(api: &Api, asked: &[Hold]) -> Result<Value, Problem> {
    let rows = api.store.holds().await?;
    let holds = |hold: &Hold| rows.iter().any(|row| row.holds && row.hold == *hold);
    Ok(Value::Object(asked.iter().map(|hold| (hold.to_string(), json!(holds(hold)))).collect()))
}

fn ids(holds: &[Hold]) -> Vec<String> {
    holds.iter().map(ToString::to_string).collect()
}

/// What is asked for; `usual`: the direction that is meant where none is said, if it need not be.
fn asked(api: &Api, system: String, body: &Bytes, usual: Option<Direction>) -> Result<(Vec<Hold>, Request), Problem> {
    let system = known(api, system)?;
    let request: Request = if body.is_empty() { Request::default() } else { serde_json::from_slice(body).map_err(Problem::question)? };
    let direction = request.direction.or(usual);
    let direction = direction.ok_or_else(|| Problem::question("missing field `direction`: in, out or both").at("direction"))?;
    let (inward, outward) = (Hold::PauseIn { system: system.clone() }, Hold::PauseOut { system });
    let asked = match direction {
        Direction::In => vec![inward],
        Direction::Out => vec![outward],
        Direction::Both => vec![inward, outward],
    };
    Ok((asked, request))
}
