//! The participating systems: their health, what they call things, what they are shown.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Shared;
use crate::domain::ids::{EntityType, NativeId, NativeKey, SystemName};
use crate::http::Problem;
use crate::http::query::Query;
use crate::views::{find, native, systems};

/// `GET /v1/systems`.
pub async fn list(State(api): Shared) -> Result<Json<Value>, Problem> {
    let rows = systems::rows(api.store.as_ref(), api.inbox.as_ref(), &api.settings.rules).await?;
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

/// `GET /v1/systems/{system}/view/{type}/{id}`: the record as that system would get it.
pub async fn view(State(api): Shared, Path((system, entity_type, id)): Path<(String, String, String)>) -> Result<Json<Value>, Problem> {
    let system = SystemName::new(system).map_err(Problem::question)?;
    let record = find::record(api.store.as_ref(), &entity_type, &id).await?;
    let target = api.directory.target(&system, &record.entity_type);
    let types = api.settings.rules.of_type(&record.entity_type);
    Ok(Json(Value::Object(native::model(api.store.as_ref(), &record, &system, &target.side, &types).await?)))
}
