//! What a system lacks: looked at, and sent.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Shared;
use super::audit::{Act, note};
use crate::domain::ids::{CanonicalId, EntityType, SystemName};
use crate::engine::resync::Scope;
use crate::http::access::Actor;
use crate::http::query::Query;
use crate::http::{Api, Problem};
use crate::views::compare::{self, Difference};

/// Records looked at for one page of differences at most: a page of a system in order is empty, and has a next one.
const LOOKED_AT: usize = 2_000;
/// Records that are looked at together at least.
pub const LEAST: usize = 200;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Request {
    #[serde(rename = "type")]
    entity_type: Option<EntityType>,
    everything: bool,
    by: Option<String>,
    dry_run: bool,
}

/// `POST /v1/systems/{system}/resync`: answered once every send is durable, or says with `dry_run` what they would be.
pub async fn resync(State(api): Shared, actor: Actor, Path(system): Path<String>, body: Bytes) -> Result<Json<Value>, Problem> {
    let system = known(&api, system)?;
    let request: Request = if body.is_empty() { Request::default() } else { serde_json::from_slice(&body).map_err(Problem::question)? };
    let by = actor.name(request.by)?;
    let scope = Scope { system, entity_type: request.entity_type, everything: request.everything };
    if request.dry_run {
        let sends = api.resync.preview(&scope).await?;
        return Ok(Json(json!({ "dry_run": true, "sends": sends })));
    }
    may_send(&api, &scope.system)?;
    let sends = api.resync.run(&scope).await?;
    let after = json!({ "type": scope.entity_type, "everything": scope.everything, "sends": sends });
    note(&api, &actor, &by, Act { act: "resync", on: scope.system.as_str(), before: Value::Null, after }).await?;
    Ok(Json(json!({ "dry_run": false, "sends": sends })))
}

/// `POST /v1/resync`: the same for every system that records of a type are sent to, one after the other.
pub async fn everybody(State(api): Shared, actor: Actor, body: Bytes) -> Result<Json<Value>, Problem> {
    let request: Request = if body.is_empty() { Request::default() } else { serde_json::from_slice(&body).map_err(Problem::question)? };
    let by = actor.name(request.by)?;
    let asked = request.entity_type.ok_or_else(|| Problem::question("which type is meant? Name it").at("type"))?;
    if !api.settings.rules.push_updates && !request.dry_run {
        return Err(pushes_nothing());
    }
    let targets = api.directory.targets(&asked);
    let sent: Vec<_> = targets.iter().filter(|target| target.side.outbound && !target.side.observed).collect();
    if sent.is_empty() {
        return Err(Problem::absent(format!("no system is sent records of type {asked}")));
    }
    let mut systems = Map::new();
    for target in sent {
        let scope = Scope { system: target.system.clone(), entity_type: Some(asked.clone()), everything: request.everything };
        let sends = if request.dry_run { api.resync.preview(&scope).await? } else { api.resync.run(&scope).await? };
        systems.insert(target.system.to_string(), json!(sends));
    }
    if !request.dry_run {
        let after = json!({ "everything": request.everything, "systems": systems });
        note(&api, &actor, &by, Act { act: "resync", on: asked.as_str(), before: Value::Null, after }).await?;
    }
    Ok(Json(json!({ "dry_run": request.dry_run, "systems": systems })))
}

fn not_sent(detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, "not_sent", "Nothing is sent there", detail)
}

fn pushes_nothing() -> Problem {
    not_sent("push_updates is off; switch it on in [orchestration] first, or ask with dry_run".to_owned())
}

/// Refuses where nothing is ever sent, so that nobody waits for it.
fn may_send(api: &Api, system: &SystemName) -> Result<(), Problem> {
    if !api.settings.rules.push_updates {
        return Err(pushes_nothing());
    }
    let observed = |rules: &crate::domain::rules::SystemRules| rules.defaults.observed;
    if api.settings.rules.systems.get(system).is_some_and(observed) {
        return Err(not_sent(format!("{system} is only observed; set mode = \"sync\" in [systems.{system}] first, or ask with dry_run")));
    }
    Ok(())
}

/// The system, if it takes part.
pub fn known(api: &Api, system: String) -> Result<SystemName, Problem> {
    let system = SystemName::new(system).map_err(Problem::question)?;
    if api.settings.rules.knows(&system) {
        return Ok(system);
    }
    let detail = format!("no [systems.{system}] in the configuration; add it, or set unknown_systems = \"accept\"");
    Err(Problem::new(StatusCode::NOT_FOUND, "unknown_system", "Not a participating system", detail))
}

/// `GET /v1/systems/{system}/compare?type=&limit=&cursor=`: every record the system holds otherwise than it should, or
/// lacks.
pub async fn differences(State(api): Shared, Path(system): Path<String>, mut query: Query) -> Result<Json<Value>, Problem> {
    let system = known(&api, system)?;
    let entity_type = query.take("type").map(EntityType::new).transpose().map_err(|error| Problem::question(error).at("type"))?;
    let limit = query.limit()?;
    let place =
        |cursor: String| CanonicalId::parse(&cursor).map_err(|_| Problem::question("the cursor is not one of this list").at("cursor"));
    let mut after = query.take("cursor").map(place).transpose()?;
    query.finish("type, limit and cursor")?;
    let (mut items, mut looked_at, mut more): (Vec<Difference>, usize, bool) = (Vec::new(), 0, true);
    while more && looked_at < LOOKED_AT && items.len() < limit {
        // Where few of them differ, small pages would be many questions.
        let at_once = limit.max(LEAST);
        let page = api.store.list_records(entity_type.as_ref(), after, at_once).await?;
        more = page.len() == at_once;
        looked_at += page.len();
        for versioned in page {
            after = Some(versioned.record.id);
            if versioned.record.is_live() {
                items.extend(difference(&api, &versioned.record, &system));
            }
            if items.len() == limit {
                // The rest of the page is looked at by the next request.
                more = true;
                break;
            }
        }
    }
    let next: Option<CanonicalId> = after.filter(|_| more);
    Ok(Json(json!({ "items": items, "next": next })))
}

/// How a record differs there, if it does.
pub fn difference(api: &Api, record: &crate::domain::canonical::CanonicalRecord, system: &SystemName) -> Option<Difference> {
    let types = api.settings.rules.of_type(&record.entity_type);
    let takes_part = api.directory.targets(&record.entity_type).iter().any(|target| target.system == *system);
    let side = api.settings.rules.side(system, &record.entity_type);
    let creates = takes_part && api.settings.rules.creates(&side, &types);
    compare::difference(record, system, &side, &types, creates)
}
