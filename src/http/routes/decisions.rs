//! The decision log, what waits, and what could not be processed.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Shared;
use crate::domain::decision::Decision;
use crate::domain::ids::UpdateId;
use crate::http::query::Query;
use crate::http::{Api, Problem};
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::store::{Cursor, DeadLetter, DecisionFilter, Page};
use crate::views::find::{self, Wanted};
use crate::views::rows::ParkedRow;

/// What a list of decisions is asked by.
pub const FILTERS: &str = "entity, system, type, decision, since, until, reason, limit and cursor";

/// `GET /v1/decisions`: newest first.
pub async fn list(State(api): Shared, mut query: Query) -> Result<Json<Page<Decision>>, Problem> {
    let limit = query.limit()?;
    let cursor = query.take("cursor").map(Cursor);
    let filter = filter(&api, &mut query).await?;
    query.finish(FILTERS)?;
    Ok(Json(api.store.decisions(&filter, cursor.as_ref(), limit).await.map_err(|error| misread(error, cursor.as_ref()))?))
}

/// A cursor that can't be read is a fault of whoever asks.
pub fn misread(error: PortError, cursor: Option<&Cursor>) -> Problem {
    match error.kind {
        PortErrorKind::Invalid if cursor.is_some() => Problem::question("this is no cursor of this list").at("cursor"),
        PortErrorKind::Invalid | PortErrorKind::Unavailable | PortErrorKind::Full | PortErrorKind::Conflict(_) => error.into(),
    }
}

/// Takes the filters out of a query.
pub async fn filter(api: &Api, query: &mut Query) -> Result<DecisionFilter, Problem> {
    let names = ["entity", "system", "type", "decision", "since", "until", "reason"];
    let [entity, system, entity_type, decision, since, until, reason] = names.map(|name| query.take(name));
    let wanted = Wanted {
        entity: entity.as_deref(),
        system: system.as_deref(),
        entity_type: entity_type.as_deref(),
        decision: decision.as_deref(),
        since: since.as_deref(),
        until: until.as_deref(),
        reason: reason.as_deref(),
    };
    Ok(find::filter(api.store.as_ref(), &wanted).await?)
}

/// `GET /v1/decisions/{update}`.
pub async fn one(State(api): Shared, Path(update): Path<String>) -> Result<Json<Decision>, Problem> {
    let update = UpdateId::try_from(update).map_err(Problem::question)?;
    let row = api.store.decision(&update).await?;
    row.map(Json).ok_or_else(|| Problem::absent(format!("there is no decision about {update}")))
}

/// `GET /v1/parked`: updates that wait, in arrival order.
pub async fn parked(State(api): Shared, mut query: Query) -> Result<Json<Value>, Problem> {
    let limit = query.limit()?;
    let after = match query.take("cursor") {
        Some(text) => Some(text.parse::<u64>().map_err(|_| Problem::question("this is no cursor of this list").at("cursor"))?),
        None => None,
    };
    query.finish("limit and cursor")?;
    let rows = api.store.list_waiting(after, limit).await?;
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.arrival.to_string());
    let items: Vec<ParkedRow<'_>> = rows.iter().map(ParkedRow::with_tag).collect();
    Ok(Json(json!({ "items": items, "next": next })))
}

/// `GET /v1/dead-letters`: oldest first.
pub async fn dead_letters(State(api): Shared, mut query: Query) -> Result<Json<Page<DeadLetter>>, Problem> {
    let limit = query.limit()?;
    let cursor = query.take("cursor").map(Cursor);
    query.finish("limit and cursor")?;
    Ok(Json(api.store.dead_letters(cursor.as_ref(), limit).await.map_err(|error| misread(error, cursor.as_ref()))?))
}
