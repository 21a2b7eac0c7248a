//! Records of one type, as a list.

use std::collections::BTreeSet;

use axum::extract::State;
use serde_json::Value;

use super::model::{RecordLine, Records};
use super::{Answer, ROWS, Visit, frame, record, shown, systems, words};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::ids::{CanonicalId, EntityType};
use crate::domain::link::LinkState;
use crate::domain::rules::TypeRules;
use crate::domain::value::{FieldPath, same};
use crate::http::query::Query;
use crate::http::routes::Shared;
use crate::http::{Api, Problem};
use crate::views::find;

/// Records looked at for one page of a filtered list at most.
const LOOKED_AT: usize = 20_000;
/// Records read at once.
const PAGE: usize = 500;

/// `GET /records?type&field&value&deleted&cursor`
pub async fn page(State(api): Shared, visit: Visit, mut query: Query) -> Answer {
    let names = ["type", "field", "value", "deleted", "cursor"];
    let [wanted, field, value, deleted, cursor] = names.map(|name| query.take(name).unwrap_or_default());
    query.finish("type, field, value, deleted and cursor")?;
    let types = systems::types(&api).await?;
    let entity_type = if wanted.is_empty() { types.first().cloned() } else { Some(EntityType::new(&wanted).map_err(Problem::question)?) };
    let deleted = deleted == "true";
    let after = if cursor.is_empty() { None } else { Some(CanonicalId::parse(&cursor).map_err(Problem::question)?) };
    let (found, after) = match &entity_type {
        Some(entity_type) => look(&api, entity_type, (&field, &value), deleted, after).await?,
        None => (Vec::new(), None),
    };
    let now = api.clock.now();
    let mut rows = Vec::with_capacity(found.len());
    let records: Vec<&CanonicalRecord> = found.iter().map(AsRef::as_ref).collect();
    let owed = find::owed_of_all(api.store.as_ref(), &records).await?.at(api.clock.now());
    for record in &found {
        rows.push(RecordLine {
            id: record.id.to_string(),
            href: format!("/records/{}/{}", record.entity_type, record.id),
            title: record::title(&api, record),
            subtitle: subtitle(&api, record),
            natives: natives(record),
            state: record::state(&api, record, &owed),
            version: record.version,
            updated: words::moment(record.updated_at, now),
        });
    }
    let fields: BTreeSet<String> = found.iter().flat_map(|record| record.data.iter().map(|(path, _)| path.to_string())).collect();
    let name = entity_type.map_or_else(String::new, |entity_type| entity_type.to_string());
    let next = after.map(|id| {
        let more = [("field", &field), ("value", &value)].map(|(name, value)| format!("&{name}={}", words::encoded(value))).concat();
        format!("/records?type={name}{more}{}&cursor={id}", if deleted { "&deleted=true" } else { "" })
    });
    Ok(shown(&Records {
        frame: frame(&api, &visit, "Records", "records").await?,
        types: types.iter().map(ToString::to_string).collect(),
        entity_type: name,
        fields: fields.into_iter().collect(),
        field,
        value,
        deleted,
        rows,
        next,
    }))
}

/// A page of records, and where the next one starts.
async fn look(
    api: &Api,
    entity_type: &EntityType,
    (field, value): (&str, &str),
    deleted: bool,
    mut after: Option<CanonicalId>,
) -> Result<(Vec<std::sync::Arc<CanonicalRecord>>, Option<CanonicalId>), Problem> {
    let (mut found, mut seen) = (Vec::new(), 0);
    let types = api.settings.rules.of_type(entity_type);
    let page = if value.is_empty() { ROWS } else { PAGE };
    loop {
        let records = api.store.list_records(Some(entity_type), after, page).await?;
        let full = records.len() == page;
        for versioned in records {
            seen += 1;
            after = Some(versioned.record.id);
            if (deleted || versioned.record.is_live()) && fits(&versioned.record, field, value, &types) {
                found.push(versioned.record);
            }
            if found.len() == ROWS {
                return Ok((found, after));
            }
        }
        if !full || seen >= LOOKED_AT {
            return Ok((found, after.filter(|_| full)));
        }
    }
}

/// Whether some field, or the one that is named, has this value. Nobody finds out by guessing what is redacted.
fn fits(record: &CanonicalRecord, field: &str, wanted: &str, types: &TypeRules) -> bool {
    let is = |value: &Value| match value {
        Value::String(text) => text == wanted,
        other => serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| same(&wanted, other)),
    };
    match (wanted.is_empty(), field.is_empty()) {
        (true, _) => true,
        (false, true) => record.data.iter().any(|(path, value)| !types.redacts(path) && is(value)),
        (false, false) => {
            let path = FieldPath::escaped(field);
            !types.redacts(&path) && record.data.get(&path).is_some_and(is)
        }
    }
}

/// The key it is recognised by.
fn subtitle(api: &Api, record: &CanonicalRecord) -> String {
    let types = api.settings.rules.of_type(&record.entity_type);
    let title = record::title(api, record);
    let part = |path: &FieldPath| Some(format!("{path} {}", words::text(record.data.get(path).filter(|value| !value.is_null())?)));
    let parts: Vec<String> = types
        .keys
        .iter()
        .flat_map(|key| &key.fields)
        .filter(|path| !types.redacts(path))
        .filter_map(part)
        .filter(|part| !part.ends_with(&title))
        .collect();
    parts.join(", ")
}

/// Its ids, system by system.
fn natives(record: &CanonicalRecord) -> Vec<String> {
    let links = record.links.iter().filter(|link| link.state != LinkState::Detached);
    links.map(|link| format!("{}:{}", link.system, link.native_id.as_ref().map_or("…", |id| id.as_str()))).collect()
}
