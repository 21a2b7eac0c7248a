//! Canonical records: lists, one, its history, its why.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::ETAG;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::Shared;
use super::resync::LEAST;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::ids::{CanonicalId, EntityType};
use crate::domain::time::Timestamp;
use crate::domain::value::{FieldPath, same};
use crate::http::Problem;
use crate::http::query::Query;
use crate::views::rows::CanonicalRow;
use crate::views::{find, why as whys};

/// Records looked at for one page of a filtered list at most; the cursor goes on from there.
const LOOKED_AT: usize = 20_000;

/// `GET /v1/entities/{type}?limit&cursor&include_deleted&FIELD=VALUE…`: records in the order they were made; those that are
/// deleted or became part of another one only if they are asked for.
pub async fn list(State(api): Shared, Path(entity_type): Path<String>, mut query: Query) -> Result<Json<Value>, Problem> {
    let entity_type = EntityType::new(entity_type).map_err(Problem::question)?;
    let limit = query.limit()?;
    let mut after = match query.take("cursor") {
        Some(text) => Some(CanonicalId::parse(&text).map_err(|error| Problem::question(error).at("cursor"))?),
        None => None,
    };
    let all = query.take("include_deleted").is_some_and(|text| text == "true");
    let wanted = query.rest();
    let (mut found, mut seen) = (Vec::new(), 0);
    let next = 'pages: loop {
        // Where few of them fit, small pages would be many questions.
        let at_once = limit.max(LEAST);
        let page = api.store.list_records(Some(&entity_type), after, at_once).await?;
        let full = page.len() == at_once;
        for versioned in page {
            seen += 1;
            after = Some(versioned.record.id);
            if (all || versioned.record.is_live()) && fits(&versioned.record, &wanted) {
                found.push(versioned.record);
            }
            if found.len() == limit {
                break 'pages after;
            }
        }
        if !full || seen >= LOOKED_AT {
            break after.filter(|_| full);
        }
    };
    let records: Vec<&CanonicalRecord> = found.iter().map(AsRef::as_ref).collect();
    let owed = find::owed_of_all(api.store.as_ref(), &records).await?.at(api.clock.now());
    let row = |record| serde_json::to_value(CanonicalRow::new(record, &owed)).unwrap_or_default();
    let items: Vec<Value> = records.into_iter().map(row).collect();
    Ok(Json(json!({ "items": items, "next": next })))
}

/// Whether a record has these values; a number or a truth value may be written as it is in JSON.
fn fits(record: &CanonicalRecord, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(field, text)| match record.data.get(&FieldPath::escaped(field)) {
        Some(Value::String(value)) => value == text,
        Some(value) => serde_json::from_str::<Value>(text).is_ok_and(|wanted| same(&wanted, value)),
        None => false,
    })
}

/// `GET /v1/entities/{type}/{id}`: with its tag, for `If-Match`.
pub async fn one(State(api): Shared, Path((entity_type, id)): Path<(String, String)>) -> Result<impl IntoResponse, Problem> {
    let record = find::record(api.store.as_ref(), &entity_type, &id).await?;
    let owed = find::owed(api.store.as_ref(), &record).await?.at(api.clock.now());
    let row = Json(serde_json::to_value(CanonicalRow::new(&record, &owed)).unwrap_or_default());
    Ok(([(ETAG, format!("\"{}\"", record.tag()))], row))
}

/// `GET /v1/entities/{type}/{id}/history?limit=&cursor=`: every decision about it, oldest first; all of them, unless `limit` says how
/// many.
pub async fn history(
    State(api): Shared,
    Path((entity_type, id)): Path<(String, String)>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let limit = query.limit_if_any()?.unwrap_or(usize::MAX);
    let after = query.take("cursor").map(|cursor| last_told(&cursor)).transpose()?;
    query.finish("limit and cursor")?;
    let record = find::record(api.store.as_ref(), &entity_type, &id).await?;
    let rows = find::history(api.store.as_ref(), record.id).await?;
    let from = after.map_or(0, |(at, update)| {
        // It may have been forgotten meanwhile, or decided anew, and then stands elsewhere.
        let same = rows.iter().position(|row| row.update.to_string() == update && row.timestamp == at);
        same.map_or_else(|| rows.iter().position(|row| row.timestamp > at).unwrap_or(rows.len()), |same| same + 1)
    });
    let more = from.saturating_add(limit) < rows.len();
    let rows: Vec<_> = rows.into_iter().skip(from).take(limit).collect();
    let next = rows.last().filter(|_| more).map(|row| format!("{}:{}", row.timestamp.as_micros(), row.update));
    Ok(Json(json!({ "items": rows, "next": next })))
}

/// The row a page of a history ends with.
fn last_told(cursor: &str) -> Result<(Timestamp, String), Problem> {
    let parts = cursor.split_once(':').and_then(|(at, update)| Some((Timestamp::from_micros(at.parse().ok()?), update.to_owned())));
    parts.ok_or_else(|| Problem::question("the cursor is not one of this list").at("cursor"))
}

/// `GET /v1/entities/{type}/{id}/why?field`.
pub async fn why(State(api): Shared, Path((entity_type, id)): Path<(String, String)>, mut query: Query) -> Result<Json<Value>, Problem> {
    let field = query.take("field");
    query.finish("field")?;
    let record = find::record(api.store.as_ref(), &entity_type, &id).await?;
    let owed = find::owed(api.store.as_ref(), &record).await?.at(api.clock.now());
    let fields = whys::fields(&record, field.as_deref())?;
    Ok(Json(whys::rows(&record, &fields, &owed)))
}
