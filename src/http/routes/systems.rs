//! The participating systems: their health, what they call things, what they are shown.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Shared;
use crate::domain::ids::{CanonicalId, EntityType, NativeId, NativeKey, SystemName};
use crate::http::access::Actor;
use crate::http::query::Query;
use crate::http::{Api, Problem};
use crate::views::{find, native, systems};

/// `GET /v1/systems`.
pub async fn list(State(api): Shared) -> Result<Json<Value>, Problem> {
    let (store, now) = (api.store.as_ref(), api.clock.now());
    let rows = systems::rows(store, api.inbox.as_ref(), &api.settings.rules, &store.tally().await?, now).await?;
    Ok(Json(json!({ "items": rows, "next": null })))
}

/// `GET /v1/lookup?system=&type=&native_id=`: the canonical record of a native one.
pub async fn lookup(State(api): Shared, mut query: Query) -> Result<Json<Value>, Problem> {
    let key = NativeKey {
        system: SystemName::new(query.required("system")?).map_err(|error| Problem::question(error).at("system"))?,
        entity_type: EntityType::new(query.required("type")?).map_err(|error| Problem::question(error).at("type"))?,
        native_id: NativeId::new(query.required("native_id")?).map_err(|error| Problem::question(error).at("native_id"))?,
    };
    query.finish("system, type and native_id")?;
    let id = find::linked(api.store.as_ref(), &key).await?;
    Ok(Json(json!({ "system": key.system, "type": key.entity_type, "native_id": key.native_id, "canonical_id": id })))
}

/// `GET /v1/systems/{system}/held/{type}?limit=&cursor=`: what the system is known to hold, record by record.
pub async fn held(
    State(api): Shared,
    Path((system, entity_type)): Path<(String, String)>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let system = super::resync::known(&api, system)?;
    let entity_type = EntityType::new(entity_type).map_err(Problem::question)?;
    let limit = query.limit()?;
    let place =
        |cursor: String| CanonicalId::parse(&cursor).map_err(|_| Problem::question("the cursor is not one of this list").at("cursor"));
    let after = query.take("cursor").map(place).transpose()?;
    query.finish("limit and cursor")?;
    let page = api.store.list_records(Some(&entity_type), after, limit).await?;
    let next = page.last().filter(|_| page.len() == limit).map(|versioned| versioned.record.id);
    let side = api.settings.rules.side(&system, &entity_type);
    let types = api.settings.rules.of_type(&entity_type);
    let mut items = Vec::new();
    for versioned in &page {
        if let Some((native_id, entity)) = native::held(api.store.as_ref(), &versioned.record, &system, &side, &types).await? {
            items.push(json!({ "native_id": native_id, "canonical_id": versioned.record.id, "entity": entity }));
        }
    }
    Ok(Json(json!({ "items": items, "next": next })))
}

fn takes_part(api: &Api, system: &SystemName, entity_type: &EntityType) -> bool {
    api.directory.targets(entity_type).iter().any(|target| target.system == *system)
}

/// `GET /v1/systems/{system}/view/{type}/{id}`: the record as that system would get it.
pub async fn view(
    State(api): Shared,
    actor: Actor,
    Path((system, entity_type, id)): Path<(String, String, String)>,
) -> Result<Json<Value>, Problem> {
    let system = SystemName::new(system).map_err(Problem::question)?;
    let record = find::record(api.store.as_ref(), &entity_type, &id).await?;
    let target = api.directory.target(&system, &record.entity_type);
    let is_sent = || target.side.outbound && !target.side.observed && takes_part(&api, &system, &record.entity_type);
    if actor.is_adapter() && record.native_id(&system).is_none() && !is_sent() {
        return Err(Problem::absent(format!("there is no {entity_type} {id} that {system} has or is sent")));
    }
    let types = api.settings.rules.of_type(&record.entity_type);
    Ok(Json(Value::Object(native::model(api.store.as_ref(), &record, &system, &target.side, &types).await?)))
}
