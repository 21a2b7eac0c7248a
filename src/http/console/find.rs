//! Finds what somebody typed: a record by any of its ids, or an update.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect};

use super::{Answer, Failure, words};
use crate::domain::ids::{CanonicalId, EntityType, NativeId, NativeKey, SystemName, UpdateId};
use crate::http::query::Query;
use crate::http::routes::Shared;
use crate::http::{Api, Problem};
use crate::ports::store::Lookup;

/// `GET /find?q=`
pub async fn page(State(api): Shared, mut query: Query) -> Answer {
    let text = query.take("q").unwrap_or_default();
    let text = text.trim();
    match place(&api, text).await {
        Ok(Some(href)) => Ok(Redirect::to(&href).into_response()),
        Ok(None) => {
            let detail = format!(
                "Nothing is known as {text:?}. Write a canonical id, a system's id as system:id, or an update as system:id; for a value, \
                 look through the records of its type."
            );
            Err(Failure::from(Problem::absent(detail)).sought(text))
        }
        Err(problem) => Err(Failure::from(problem).sought(text)),
    }
}

async fn place(api: &Api, text: &str) -> Result<Option<String>, Problem> {
    if let Ok(id) = CanonicalId::parse(text) {
        let found = api.store.records(&[id]).await?;
        return Ok(found.first().map(|versioned| format!("/records/{}/{id}", versioned.record.entity_type)));
    }
    let Some((system, rest)) = text.split_once(':') else { return Ok(None) };
    if let Ok(system) = SystemName::new(system)
        && let Ok(native_id) = NativeId::new(rest)
    {
        let types: Vec<EntityType> = super::systems::types(api).await?;
        let key = |entity_type: EntityType| NativeKey { system: system.clone(), entity_type, native_id: native_id.clone() };
        let asked = Lookup { links: types.into_iter().map(key).collect(), ..Lookup::default() };
        let found = if asked.is_empty() {
            None
        } else {
            api.store.look_up(&asked).await?.links.into_iter().min_by(|one, other| one.0.cmp(&other.0))
        };
        if let Some((key, id)) = found {
            return Ok(Some(format!("/records/{}/{id}", key.entity_type)));
        }
    }
    if let Ok(update) = UpdateId::try_from(text.to_owned())
        && api.store.decision(&update).await?.is_some()
    {
        return Ok(Some(words::decision_href(&update)));
    }
    let letter = api.store.dead_letter(text).await?;
    Ok(letter.map(|letter| format!("/dead-letters/{}", words::encoded(&letter.id))))
}
