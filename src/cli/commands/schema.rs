//! `schema`: the contracts as JSON Schema.

use serde_json::{Value, json};

use crate::cli::args::{Contract, SchemaArgs};
use crate::cli::{Failure, output};

/// Runs `schema`.
pub fn run(args: &SchemaArgs) -> Result<(), Failure> {
    let document = match args.which {
        Some(Contract::Inbound) => whole("inbound", inbound()),
        Some(Contract::Outbound) => whole("outbound", outbound()),
        Some(Contract::Canonical) => whole("canonical", canonical()),
        Some(Contract::Decision) => whole("decision", decision()),
        None => json!({
            "$schema": DRAFT,
            "$defs": { "inbound": inbound(), "outbound": outbound(), "canonical": canonical(), "decision": decision() },
        }),
    };
    output::json(&document)
}

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

fn whole(name: &str, mut schema: Value) -> Value {
    schema["$schema"] = json!(DRAFT);
    schema["$id"] = json!(format!("urn:syncline:v1:{name}"));
    schema
}

fn name() -> Value {
    json!({ "type": "string", "pattern": "^[a-z0-9_-]{1,32}$" })
}

fn text(max: u64) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": max })
}

#[allow(clippy::needless_pass_by_value, reason = "schemas are put together from fresh parts")]
fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn uuid() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

/// §2.2.
fn inbound() -> Value {
    json!({
        "title": "Inbound update", "type": "object", "required": ["id", "system", "type"],
        "patternProperties": { "^x-": true }, "additionalProperties": false,
        "properties": {
            "id": text(200), "system": name(), "type": name(),
            "op": { "enum": ["upsert", "patch", "delete", "rekey", "receipt"], "default": "upsert" },
            "native_id": { "anyOf": [text(180), { "type": "integer" }, { "type": "null" }] },
            "new_native_id": { "anyOf": [text(180), { "type": "integer" }] },
            "entity": { "type": "object" },
            "base": { "type": "integer", "minimum": 0 }, "seq": count(), "seq_epoch": text(200),
            "occurred_at": time(), "canonical_id": or_null(uuid()),
            "rev": count(), "status": { "enum": ["applied", "failed", "rejected"] },
            "stored": { "type": "object" }, "reason": { "type": ["string", "null"] },
        },
        "allOf": [
            { "if": { "properties": { "op": { "enum": ["upsert", "patch"] } } }, "then": { "required": ["native_id", "entity"] } },
            { "if": { "properties": { "op": { "const": "receipt" } }, "required": ["op"] }, "then": { "required": ["rev", "status"] } },
            { "if": { "properties": { "op": { "const": "rekey" } }, "required": ["op"] }, "then": { "required": ["native_id", "new_native_id"] } },
        ],
    })
}

/// §2.3.
fn outbound() -> Value {
    json!({
        "title": "Outbound message", "type": "object",
        "required": ["id", "type", "op", "native_id", "canonical_id", "rev", "epoch", "version", "entity", "changed"],
        "properties": {
            "id": { "type": "string", "description": "{canonical_id}:{system}:{rev}" }, "type": name(),
            "op": { "enum": ["create", "update", "delete"] }, "native_id": or_null(text(180)), "canonical_id": uuid(),
            "rev": count(), "epoch": count(), "version": count(), "entity": { "type": "object" }, "changed": texts(),
        },
    })
}

/// §1.2.
fn canonical() -> Value {
    let source = json!({
        "type": "object", "required": ["system", "update", "version", "at", "by"],
        "properties": { "system": name(), "update": { "type": "string" }, "version": count(), "at": time(), "occurred_at": time(), "by": by() },
    });
    let diverging = json!({ "type": "object", "required": ["held", "sent"], "properties": { "held": true, "sent": { "type": "array" } } });
    let link = json!({
        "type": "object", "required": ["system", "native_id", "state", "rev", "delivery", "diverges"],
        "properties": {
            "system": name(), "native_id": or_null(text(180)), "state": { "enum": ["linked", "reserved", "detached"] }, "rev": count(),
            "delivery": { "enum": ["idle", "pending", "sent", "applied", "failing", "rejected", "timed_out"] },
            "diverges": { "type": "object", "additionalProperties": diverging },
        },
    });
    json!({
        "title": "Canonical record", "type": "object",
        "required": ["id", "type", "version", "created_at", "updated_at", "data", "provenance", "links", "tombstone", "merged_into"],
        "properties": {
            "id": uuid(), "type": name(), "version": count(), "created_at": time(), "updated_at": time(), "data": { "type": "object" },
            "provenance": { "type": "object", "additionalProperties": source }, "links": { "type": "array", "items": link },
            "tombstone": true, "merged_into": or_null(uuid()),
        },
    })
}

fn by() -> Value {
    json!({
        "type": "object", "required": ["kind"],
        "properties": { "kind": { "enum": ["default", "rule", "handler", "person", "timeout", "system"] }, "name": { "type": "string" } },
    })
}

/// §1.6.
fn decision() -> Value {
    let conflict = json!({
        "type": "object", "required": ["field", "ours", "theirs", "ours_from", "winner", "rule"],
        "properties": {
            "field": { "type": "string" }, "base": true, "ours": true, "theirs": true, "ours_from": or_null(name()),
            "winner": { "enum": ["ours", "theirs", "handler"] }, "rule": { "type": "string" },
        },
    });
    json!({
        "title": "Decision", "type": "object",
        "required": ["update", "timestamp", "entity_type", "source_system", "op", "decision", "reason", "decided_by", "version_before", "version_after"],
        "properties": {
            "update": { "type": "string", "description": "system:id" }, "timestamp": time(), "entity_type": name(),
            "canonical_id": or_null(uuid()), "source_system": name(), "native_id": or_null(text(180)),
            "op": { "enum": ["upsert", "patch", "delete", "rekey", "receipt", "merge", "split", "compensate", "freeze", "erase"] },
            "decision": { "enum": ["accepted", "partially_accepted", "dropped", "unchanged", "echo", "superseded", "deferred", "parked"] },
            "reason": { "type": "string" }, "decided_by": by(), "proposed_snapshot": { "type": ["object", "null"] },
            "accepted_snapshot": { "type": ["object", "null"] }, "changed": texts(), "modified_fields": texts(),
            "conflicts": { "type": "array", "items": conflict }, "version_before": count(), "version_after": count(), "attempts": count(),
            "notified": texts(), "received_at": time(), "duration_us": count(), "trace_id": { "type": ["string", "null"] },
            "config": { "type": "string" },
        },
    })
}
