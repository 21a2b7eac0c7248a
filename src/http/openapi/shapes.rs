//! What goes in and comes out that has no type of its own.

#![allow(clippy::needless_pass_by_value, reason = "a schema is put together from its parts, which nobody else needs")]

use serde_json::{Value, json};

/// A contract by its name.
pub fn contract(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A page of these.
#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
pub fn page(item: Value) -> Value {
    object(&[
        ("items", json!({ "type": "array", "items": item })),
        ("next", json!({ "type": ["string", "null"], "description": "The cursor of the next page; null at the end." })),
    ])
}

/// An object with all of these, and perhaps more in later versions.
pub fn object(fields: &[(&str, Value)]) -> Value {
    let properties: serde_json::Map<String, Value> = fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

/// What is asked for: none of it has to be there, and nothing else may.
pub fn asked(fields: &[(&str, Value)]) -> Value {
    let properties: serde_json::Map<String, Value> = fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

pub fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

/// A text, or null for none.
pub fn perhaps(description: &str) -> Value {
    json!({ "type": ["string", "null"], "description": description })
}

pub fn flag(description: &str) -> Value {
    json!({ "type": "boolean", "default": false, "description": description })
}

pub fn count(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

/// What letting something go sends, or would send.
pub fn sends() -> Value {
    object(&[
        ("creates", count("New records.")),
        ("updates", count("Changes of records the system has.")),
        ("conflicts", count("Those of the updates that replace a value of the system by another one.")),
    ])
}

/// Who does it.
pub fn by() -> (&'static str, Value) {
    ("by", json!({ "type": ["string", "null"], "maxLength": 200, "description": "Who; with a token it is that of the token." }))
}

/// Who does it, and why: both go into the decision.
pub fn says() -> Vec<(&'static str, Value)> {
    let reason = json!({ "type": ["string", "null"], "maxLength": 2000, "description": "Why." });
    vec![by(), ("reason", reason), ("dry_run", flag("Only say what would come of it."))]
}

/// A part of a path.
pub fn in_path(name: &str) -> Value {
    let (description, pattern) = match name {
        "type" => ("An entity type.", "^[a-z][a-z0-9_-]{0,63}$"),
        "system" => ("A system.", "^[a-z][a-z0-9_-]{0,63}$"),
        "update" => ("An update: `{system}:{id}`.", "^[^/]+$"),
        _ => ("The id; of a record its canonical id, or `{system}:{native_id}`.", "^[^/]+$"),
    };
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string", "minLength": 1, "pattern": pattern } })
}

/// A parameter of the query.
#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
pub fn in_query(name: &str, required: bool, schema: Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "required": required, "description": description, "schema": schema })
}

/// What went wrong, as RFC 9457 has it.
pub fn problem() -> Value {
    json!({
        "type": "object",
        "title": "A problem",
        "description": "What went wrong and what to do (RFC 9457).",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string", "pattern": "^urn:syncline:error:", "description": "Names the kind of problem; never changes." },
            "title": { "type": "string", "description": "The same for every problem of the kind." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string", "description": "What is wrong here, and what to do." },
            "field": { "type": "string", "description": "Which part of the request." },
            "problems": { "type": "array", "description": "Each bad message of several, by its index." },
            "decision": { "description": "What was decided already." },
        },
    })
}
