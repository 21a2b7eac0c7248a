//! What each route does, takes and answers.

#![allow(clippy::needless_pass_by_value, reason = "a schema is put together from its parts, which nobody else needs")]

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::shapes::{asked, by, contract, count, flag, in_query, object, page, perhaps, says, sends, text};

/// One route as it is described.
pub struct Operation {
    pub method: Method,
    pub path: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub description: &'static str,
    pub parameters: Vec<Value>,
    /// Whether a body must be there, and its forms by media type.
    pub body: Option<(bool, Map<String, Value>)>,
    pub answers: Vec<Answer>,
}

/// What comes of it.
pub struct Answer {
    pub status: u16,
    pub means: &'static str,
    pub media: &'static str,
    pub schema: Value,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

impl Operation {
    fn new(method: Method, path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self { method, path, tag, summary, description: "", parameters: Vec::new(), body: None, answers: Vec::new() }
    }

    fn get(path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self::new(Method::GET, path, tag, summary)
    }

    fn post(path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self::new(Method::POST, path, tag, summary)
    }

    fn tells(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    fn with(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// It is a list.
    fn paged(self) -> Self {
        let limit = json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 });
        self.with(in_query("limit", false, limit, "How many at most.")).with(in_query(
            "cursor",
            false,
            json!({ "type": "string" }),
            "Where to go on: `next` of the page before.",
        ))
    }

    #[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn takes(self, schema: Value) -> Self {
        let content = [(JSON.to_owned(), json!({ "schema": schema }))].into_iter().collect();
        Self { body: Some((false, content)), ..self }
    }

    fn must_have(mut self) -> Self {
        self.body.iter_mut().for_each(|(required, _)| *required = true);
        self
    }

    fn gives(mut self, schema: Value) -> Self {
        self.answers.push(Answer { status: 200, means: "Done, or found.", media: JSON, schema });
        self
    }

    fn gives_text(mut self, status: u16, media: &'static str, means: &'static str) -> Self {
        self.answers.push(Answer { status, means, media, schema: json!({ "type": "string" }) });
        self
    }

    /// Events. OpenAPI 3.1 has no schema for one of them: some take what is said for the whole text, some for each event.
    fn gives_events(mut self, status: u16, means: &'static str) -> Self {
        self.answers.push(Answer { status, means, media: "text/event-stream", schema: json!({}) });
        self
    }

    /// Its name for generated clients: `get_entities_type_id`.
    pub fn id(&self) -> String {
        let path = self.path.trim_start_matches("/v1").trim_matches('/').replace(['{', '}', '.'], "").replace(['/', '-'], "_");
        format!("{}_{path}", self.method.as_str().to_lowercase())
    }
}

/// All of them.
pub fn operations() -> Vec<Operation> {
    [adapters(), records(), about_records(), decisions(), waiting(), about_waiting(), systems(), about_systems(), running()]
        .into_iter()
        .flatten()
        .collect()
}

fn adapters() -> Vec<Operation> {
    let queued = object(&[("id", text("The message's id.")), ("status", json!({ "const": "queued" }))]);
    let ids = json!({ "type": "array", "items": { "type": "string" }, "description": "The messages' ids, in order." });
    let several = object(&[("ids", ids), ("status", json!({ "const": "queued" }))]);
    let forms = json!({ "anyOf": [contract("inbound"), { "type": "array", "items": contract("inbound") }] });
    let body: Map<String, Value> = [
        (JSON.to_owned(), json!({ "schema": forms })),
        (
            "application/x-ndjson".to_owned(),
            json!({ "schema": { "type": "string", "description": "One message a line; one answer a line." } }),
        ),
    ]
    .into_iter()
    .collect();
    let lease = asked(&[
        ("max", json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100, "description": "How many messages at most." })),
        ("wait_ms", json!({ "type": "integer", "minimum": 0, "maximum": 60000, "default": 0, "description": "How long to wait for one." })),
        (
            "lease_ms",
            json!({ "type": "integer", "minimum": 1, "default": 30000, "description": "After which time they are given out again." }),
        ),
        ("ack", json!({ "enum": ["receipt", "auto"], "default": "receipt", "description": "When a message counts as delivered." })),
    ]);
    let mut updates = Operation::post("/v1/updates", "adapters", "Hand in updates")
        .tells("One envelope, several (all or none), or a stream of lines. Answered once they are durable.");
    updates.body = Some((true, body));
    let schema = json!({ "anyOf": [queued, several] });
    updates.answers.push(Answer { status: 202, means: "Durably queued.", media: JSON, schema });
    updates = updates.gives_text(200, "application/x-ndjson", "The answer to a stream: a line for each line.");
    vec![
        updates,
        Operation::post("/v1/systems/{system}/lease", "adapters", "Fetch what waits for a system")
            .tells("A receipt settles a message; what is not settled is given out again after the lease. Not with RabbitMQ, where the adapter consumes from its queue.")
            .takes(lease)
            .gives(object(&[("lease", text("The lease's id.")), ("updates", json!({ "type": "array", "items": contract("outbound") }))])),
    ]
}

fn records() -> Vec<Operation> {
    let deleted = in_query("include_deleted", false, json!({ "type": "boolean" }), "Also those that are deleted, or part of another one.");
    let fields = json!({ "name": "fields", "in": "query", "required": false, "style": "form", "explode": true,
        "description": "Any other parameter is a field, and the value it must have.",
        "schema": { "type": "object", "additionalProperties": { "type": "string" } } });
    let why = object(&[
        ("id", text("The canonical id.")),
        ("type", text("The type.")),
        ("version", count("Its version.")),
        (
            "fields",
            json!({ "type": "array", "items": object(&[
                ("field", text("The field.")), ("value", json!({})), ("source", json!({})),
                ("held", json!({ "type": "object", "description": "What each system holds." })), ("text", text("The same in a sentence.")),
            ]) }),
        ),
    ]);
    vec![
        Operation::get("/v1/entities/{type}", "records", "Records of a type")
            .with(deleted)
            .with(fields)
            .paged()
            .gives(page(contract("canonical"))),
        Operation::get("/v1/entities/{type}/{id}", "records", "One record")
            .tells("Its state is named by the header `ETag`.")
            .gives(contract("canonical")),
        Operation::get("/v1/entities/{type}/{id}/history", "records", "Every decision about it, oldest first")
            .paged()
            .gives(page(contract("decision"))),
        Operation::get("/v1/entities/{type}/{id}/why", "records", "Why its fields are what they are")
            .with(in_query("field", false, json!({ "type": "string" }), "One field, or those inside it."))
            .gives(why),
        Operation::get("/v1/lookup", "records", "The canonical record of a native one")
            .with(in_query("system", true, json!({ "type": "string" }), "The system."))
            .with(in_query("type", true, json!({ "type": "string" }), "The type."))
            .with(in_query("native_id", true, json!({ "type": "string" }), "The id there."))
            .gives(object(&[
                ("system", text("The system.")),
                ("type", text("The type.")),
                ("native_id", text("The id there.")),
                ("canonical_id", text("The canonical id.")),
            ])),
    ]
}

fn about_records() -> Vec<Operation> {
    let with = |field: (&'static str, Value)| asked(&says().into_iter().chain([field]).collect::<Vec<_>>());
    let decided = |more: &[(&str, Value)]| {
        let usual = [
            ("record", text("The record.")),
            ("dry_run", flag("Nothing was changed.")),
            ("decisions", json!({ "type": "array", "items": contract("decision") })),
        ];
        object(&usual.iter().chain(more).cloned().collect::<Vec<_>>())
    };
    let links =
        json!({ "type": "array", "items": { "type": "string" }, "description": "The native records to take out: `{system}:{native_id}`." });
    vec![
        Operation::post("/v1/entities/{type}/{id}/merge", "records", "Two records are one thing")
            .with(tag())
            .takes(with(("loser", text("The record that becomes part of this one: canonical id, or `{system}:{native_id}`."))))
            .must_have()
            .gives(decided(&[("loser", text("The other record."))])),
        Operation::post("/v1/entities/{type}/{id}/split", "records", "Native records are another thing")
            .with(tag())
            .takes(with(("links", links)))
            .must_have()
            .gives(decided(&[("split_off", perhaps("The record that was taken out."))])),
        Operation::post("/v1/entities/{type}/{id}/erase", "records", "Erase the values of a record")
            .tells("Its values go from everything that is kept about it, and it is deleted everywhere. This can't be undone.")
            .with(tag())
            .takes(asked(&says()))
            .gives(decided(&[])),
    ]
}

fn tag() -> Value {
    json!({ "name": "If-Match", "in": "header", "required": false, "schema": { "type": "string" },
        "description": "The `ETag` of what was looked at: if it has changed since, nothing is done (412)." })
}

fn filters(operation: Operation) -> Operation {
    let kinds = json!({ "enum": crate::domain::decision::DecisionKind::ALL.map(crate::domain::decision::DecisionKind::as_str) });
    let texts = [
        ("entity", "Of this record: canonical id, or `{system}:{native_id}` with `type`."),
        ("system", "From this system."),
        ("type", "Of this type."),
        ("since", "Decided at or after this time (RFC 3339)."),
        ("until", "Decided before this time (RFC 3339)."),
        ("reason", "The reason has all these words."),
    ];
    let operation = operation.with(in_query("decision", false, kinds, "Of this kind."));
    texts.into_iter().fold(operation, |operation, (name, means)| operation.with(in_query(name, false, json!({ "type": "string" }), means)))
}

fn decisions() -> Vec<Operation> {
    let last = json!({ "name": "Last-Event-ID", "in": "header", "required": false, "schema": { "type": "string" },
        "description": "The id of the last event that was heard: what came since is told first." });
    vec![
        filters(Operation::get("/v1/decisions", "decisions", "The decision log, newest first")).paged().gives(page(contract("decision"))),
        Operation::get("/v1/decisions/{update}", "decisions", "One decision").gives(contract("decision")),
        filters(Operation::get("/v1/events", "decisions", "Decisions as they are made"))
            .tells("Server-Sent Events named `decision`: the newest, then each as it is made.")
            .paged()
            .with(last)
            .gives_events(200, "The stream; it ends when the orchestrator stops."),
    ]
}

fn waiting() -> Vec<Operation> {
    let kept = object(&[
        ("id", text("As it is named where it is let go.")),
        ("kind", json!({ "enum": ["pause_in", "pause_out", "create_brake", "delete_brake"] })),
        ("system", text("The system.")),
        ("since", text("Since when.")),
        ("waiting", sends()),
        ("tag", text("Names this very state of it, for `If-Match`.")),
    ]);
    vec![
        Operation::get("/v1/parked", "waiting", "Updates that wait, in arrival order").paged().gives(page(contract("parked"))),
        Operation::get("/v1/parked/{update}", "waiting", "One update that waits")
            .tells("Its state is named by the header `ETag`.")
            .gives(contract("parked")),
        Operation::get("/v1/dead-letters", "waiting", "Messages that can't be processed, oldest first")
            .paged()
            .gives(page(contract("dead-letter"))),
        Operation::get("/v1/dead-letters/{id}", "waiting", "One message that can't be processed")
            .tells("Its state is named by the header `ETag`.")
            .gives(contract("dead-letter")),
        Operation::get("/v1/brakes", "waiting", "What is kept back until somebody lets it go").gives(page(kept)),
    ]
}

fn about_waiting() -> Vec<Operation> {
    let judged = || {
        json!({ "type": "object", "required": ["update", "dry_run"], "properties": {
            "update": text("The update."), "dry_run": flag("Nothing was changed."),
            "decision": { "description": "What became of it." }, "dead_letter": { "description": "What became of it, if it can't be processed." } } })
    };
    let entity = json!({ "type": ["object", "string", "null"], "description": "The record as it is to be taken, in the system's own names, or the text of it; left out: as it came." });
    let approve: Vec<_> = says().into_iter().chain([("entity", entity)]).collect();
    let no_reason: Vec<_> = says().into_iter().filter(|(name, _)| *name != "reason").collect();
    let message = json!({ "description": "The message to decide in its place; left out: as it came." });
    let requeue: Vec<_> = no_reason.iter().cloned().chain([("message", message)]).collect();
    let settled = json!({ "type": "object", "required": ["id", "dry_run"], "properties": {
        "id": text("The dead letter."), "dry_run": flag("Nothing was changed.") } });
    let gone =
        |what: &'static str| object(&[("id", text("What was kept back.")), ("dry_run", flag("Nothing was changed.")), (what, sends())]);
    vec![
        Operation::post("/v1/parked/{update}/approve", "waiting", "Take an update, as it is or edited")
            .with(tag())
            .takes(asked(&approve))
            .gives(judged()),
        Operation::post("/v1/parked/{update}/reject", "waiting", "Take nothing of an update")
            .with(tag())
            .takes(asked(&says()))
            .gives(judged()),
        Operation::post("/v1/parked/{update}/retry", "waiting", "Look at an update again now")
            .with(tag())
            .takes(asked(&no_reason))
            .gives(judged()),
        Operation::post("/v1/dead-letters/{id}/requeue", "waiting", "Decide a message once more, as it is or edited")
            .with(tag())
            .takes(asked(&requeue))
            .gives(settled.clone()),
        Operation::post("/v1/dead-letters/{id}/discard", "waiting", "Nobody looks at it again")
            .with(tag())
            .takes(asked(&no_reason))
            .gives(settled),
        Operation::post("/v1/brakes/{id}/release", "waiting", "What is kept back goes on")
            .with(tag())
            .takes(asked(&no_reason))
            .gives(gone("released")),
        Operation::post("/v1/brakes/{id}/discard", "waiting", "What is kept back is not done")
            .with(tag())
            .takes(asked(&no_reason))
            .gives(gone("discarded")),
    ]
}

fn systems() -> Vec<Operation> {
    let system = object(&[
        ("system", text("Its name.")),
        ("health", json!({ "enum": ["failing", "paused", "observed", "catching_up", "in_sync"] })),
        ("lag", count("For how many seconds it has lacked what it lacks longest; 0: it lacks nothing.")),
        ("drift", count("Records it is not known to hold as they should be.")),
        ("configured", json!({ "type": "boolean" })),
        ("types", json!({ "type": "array", "items": { "type": "string" } })),
        ("receipts_seen", json!({ "type": "boolean" })),
        ("base_seen", json!({ "type": "boolean" })),
        ("pending", count("Records about which it is still to be sent something.")),
        ("unanswered", count("Records about which it was sent something that it has not answered.")),
        ("failing", count("Records whose sending fails again and again.")),
        (
            "queued",
            json!({ "type": ["integer", "null"], "minimum": 0, "description": "Messages in its queue; null where that is not known." }),
        ),
    ]);
    let native = json!({ "type": "object", "description": "The record in the system's own ids, names and values." });
    let held = object(&[("native_id", text("Its id there.")), ("canonical_id", text("The record.")), ("entity", native.clone())]);
    let field = object(&[("field", text("The field.")), ("held", json!({})), ("canonical", json!({}))]);
    let differs = object(&[
        ("canonical_id", text("The record.")),
        ("type", text("Its type.")),
        ("native_id", perhaps("Its id there; null: the system does not have it.")),
        ("fields", json!({ "type": "array", "items": field })),
    ]);
    vec![
        Operation::get("/v1/systems", "systems", "Who takes part").gives(page(system)),
        Operation::get("/v1/systems/{system}/view/{type}/{id}", "systems", "A record as a system would get it").gives(native),
        Operation::get("/v1/systems/{system}/held/{type}", "systems", "What a system is known to hold").paged().gives(page(held)),
        Operation::get("/v1/systems/{system}/compare", "systems", "Where a system differs")
            .with(in_query("type", false, json!({ "type": "string" }), "Only of this type."))
            .paged()
            .gives(page(differs)),
    ]
}

fn about_systems() -> Vec<Operation> {
    let direction =
        || asked(&[("direction", json!({ "enum": ["in", "out", "both"] })), by(), ("dry_run", flag("Only say what would be sent."))]);
    let needed = || {
        let mut schema = direction();
        schema["required"] = json!(["direction"]);
        schema
    };
    let ids = || ("ids", json!({ "type": "array", "items": { "type": "string" }, "description": "What is kept back, or was." }));
    let done = || ("dry_run", flag("Nothing was changed."));
    let resync = |of_type: &'static str| {
        asked(&[
            ("type", json!({ "type": ["string", "null"], "description": of_type })),
            ("everything", flag("Also what the system is believed to hold.")),
            by(),
            ("dry_run", flag("Only say what would be sent.")),
        ])
    };
    let by_system = json!({ "type": "object", "additionalProperties": sends() });
    vec![
        Operation::post("/v1/systems/{system}/pause", "systems", "Stop taking from a system, or sending to it")
            .takes(needed())
            .must_have()
            .gives(object(&[ids(), done(), ("waiting", sends())])),
        Operation::post("/v1/systems/{system}/resume", "systems", "Go on with a system, and send what it lacks")
            .takes(direction())
            .gives(object(&[ids(), done(), ("sends", sends())])),
        Operation::post("/v1/systems/{system}/resync", "systems", "Send a system what it lacks")
            .takes(resync("Only of this type."))
            .gives(object(&[done(), ("sends", sends())])),
        Operation::post("/v1/resync", "systems", "Send every system what it lacks of a type")
            .takes(resync("The type."))
            .must_have()
            .gives(object(&[done(), ("systems", by_system)])),
    ]
}

fn running() -> Vec<Operation> {
    let status = object(&[
        ("idle", json!({ "type": "boolean", "description": "Nothing is left to do by itself." })),
        ("inbound", count("Messages that are not decided.")),
        ("pending", count("Sends that are due.")),
        ("kept_back", count("Messages that are kept back until somebody lets them go.")),
        ("due", count("Waiting updates that are due.")),
    ]);
    let entry = object(&[
        ("id", text("A UUID that sorts by time.")),
        ("at", text("When.")),
        ("by", text("Who.")),
        ("role", perhaps("As what.")),
        ("act", text("What was done.")),
        ("on", text("To what.")),
        ("before", json!({})),
        ("after", json!({})),
    ]);
    vec![
        Operation::get("/v1/status", "running", "What is still to be done").gives(status),
        Operation::get("/v1/audit", "running", "Who did what, newest first").paged().gives(page(entry)),
        Operation::get("/metrics", "running", "Everything that is measured").gives_text(200, TEXT, "The text format of Prometheus."),
        Operation::get("/healthz", "running", "The process answers").gives_text(200, TEXT, "It does."),
        Operation::get("/readyz", "running", "It takes messages and decides them").gives_text(200, TEXT, "It does."),
        Operation::get("/openapi.json", "running", "This document").gives(json!({ "type": "object" })),
    ]
}
