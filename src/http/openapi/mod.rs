//! The HTTP interface as an OpenAPI 3.1 document, made from the table of routes and from the types that are read and written.
//! A route that is not described, or a description without a route, fails the tests.

mod operations;
mod shapes;

use std::sync::OnceLock;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use self::operations::{Answer, Operation, operations};
use super::access::Needs;
use super::table::{Route, table};
use crate::schema::Contract;

/// `GET /openapi.json`
pub async fn served() -> impl IntoResponse {
    // It is the same as long as the process lives, and anybody may ask for it.
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| Bytes::from(document().to_string()));
    ([(CONTENT_TYPE, "application/json")], document.clone())
}

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let routes = table();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let route = routes.iter().find(|route| route.method == operation.method && route.path == operation.path);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = described(&operation, route.map_or(Needs::Admin, |route| route.needs));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Syncline",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Bidirectional multi-master synchronisation",
            "description": "How adapters hand in and fetch updates without a message broker, and how people and programs read and \
                            decide. Every list is paged by `limit` and `cursor`, and says in `next` where it goes on. Every error is a \
                            problem document (RFC 9457). The guide to it is docs/http.md.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "adapters", "description": "Handing in updates and fetching what waits." },
            { "name": "records", "description": "What is canonical, how it came to that, and what people say about it." },
            { "name": "decisions", "description": "What became of each update." },
            { "name": "waiting", "description": "Updates that wait, dead letters, brakes: what people decide about." },
            { "name": "systems", "description": "Who takes part, and what they lack." },
            { "name": "running", "description": "Whether it works." },
        ],
        "paths": paths,
        "components": { "schemas": components(), "securitySchemes": {
            "token": { "type": "http", "scheme": "bearer", "description": "A token of `[http.auth] tokens_file`; without that section none is needed." },
        } },
    })
}

/// The routes that programs use: pages and their files are for browsers.
#[must_use]
pub fn is_described(route: &Route) -> bool {
    route.path.starts_with("/v1/") || ["/healthz", "/readyz", "/metrics", "/openapi.json"].contains(&route.path)
}

fn components() -> Map<String, Value> {
    let place = "#/components/schemas/";
    let mut schemas: Map<String, Value> = Contract::ALL.iter().map(|contract| (contract.name().to_owned(), contract.body(place))).collect();
    schemas.insert("problem".to_owned(), shapes::problem());
    schemas
}

fn described(operation: &Operation, needs: Needs) -> Value {
    let mut answers = Map::new();
    for Answer { status, means, media, schema } in &operation.answers {
        answers.insert(status.to_string(), json!({ "description": means, "content": { *media: { "schema": schema } } }));
    }
    let problem = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/problem" } } });
    answers.insert("default".to_owned(), json!({ "description": "A problem, with what to do about it.", "content": problem }));
    let open = matches!(needs, Needs::Nothing);
    let role = if open { String::new() } else { format!(" With [http.auth] it needs the role {}.", needs.named()) };
    let mut described = json!({
        "operationId": operation.id(),
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": format!("{}{role}", operation.description),
        "parameters": parameters(operation),
        "responses": answers,
        "security": if open { json!([]) } else { json!([{ "token": [] }, {}]) },
    });
    if let Some((required, content)) = &operation.body {
        described["requestBody"] = json!({ "required": required, "content": content });
    }
    described
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let in_path = operation.path.split('{').skip(1).filter_map(|part| part.split('}').next());
    let mut parameters: Vec<Value> = in_path.map(shapes::in_path).collect();
    parameters.extend(operation.parameters.iter().cloned());
    parameters
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    #[test]
    fn every_route_is_described_once_and_nothing_else_is() {
        let name = |method: &Method, path: &str| format!("{method} {path}");
        let mut routes: Vec<String> =
            table().iter().filter(|route| is_described(route)).map(|route| name(&route.method, route.path)).collect();
        let mut told: Vec<String> = operations().iter().map(|operation| name(&operation.method, operation.path)).collect();
        routes.sort();
        told.sort();
        assert_eq!(told, routes);
    }

    #[test]
    fn operations_have_names_of_their_own_and_what_is_referred_to_is_there() {
        let mut ids: Vec<String> = operations().iter().map(Operation::id).collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "{ids:?}");
        let document = document();
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let place = part.split('"').next().unwrap_or_default();
            assert!(document.pointer(place).is_some(), "{place} is not there");
        }
    }
}
