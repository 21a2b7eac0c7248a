//! One simulated system: its database, its users' edits, and its adapter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value, json};

/// What an adapter gives, as in the table at the end of §1.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `base`, read together with the record; receipts for creates.
    Base,
    /// Receipts in stream, before later reads.
    Receipts,
    /// Patches at the moment of the edit; never reports what it applied.
    SilentPatches,
    /// Whole records, nothing else.
    Whole,
}

/// How one simulated system behaves.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    pub profile: Profile,
    /// Reports what it applied.
    pub echoes: bool,
    /// Applies only the fields a message names.
    pub writes_changed: bool,
    /// Cuts white space around text.
    pub trims: bool,
    /// Answers creates only after it has reported what it created.
    pub late: bool,
    /// Is sent creates of things.
    pub takes_creates: bool,
    /// What it refuses is taken back everywhere.
    pub compensates: bool,
}

/// A row of its database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub fields: BTreeMap<String, Value>,
    pub canonical: Option<String>,
    pub applied: u64,
    pub seq: u64,
}

/// A message on its way to the broker, and the edit it truly carries.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub body: Value,
    /// The fields a user really changed; `None` where it can't be said (first reports).
    pub truth: Option<Vec<String>>,
}

#[derive(Debug)]
pub struct System {
    pub name: String,
    pub traits: Traits,
    pub rows: BTreeMap<String, Row>,
    /// What it has deleted.
    pub trash: BTreeMap<String, Row>,
    /// Published in order; a prefix may be still on its way.
    pub outgoing: VecDeque<Outgoing>,
    /// Delivered and not yet applied.
    pub inbox: VecDeque<Value>,
    /// Former ids of records that have another one now.
    renamed: BTreeMap<String, String>,
    next_message: u64,
    next_native: u64,
    /// Whether it refuses the next update it is sent.
    pub refuses: bool,
    /// Fields of updates it has refused, by record: there it may hold something else.
    pub refused: BTreeMap<String, BTreeSet<String>>,
    /// Messages it has refused: a copy of one is answered likewise.
    refused_messages: BTreeSet<String>,
}

impl System {
    pub fn new(name: &str, traits: Traits) -> Self {
        Self {
            name: name.into(),
            traits,
            rows: BTreeMap::new(),
            trash: BTreeMap::new(),
            outgoing: VecDeque::new(),
            inbox: VecDeque::new(),
            renamed: BTreeMap::new(),
            next_message: 0,
            next_native: 0,
            refuses: false,
            refused: BTreeMap::new(),
            refused_messages: BTreeSet::new(),
        }
    }

    fn envelope(&mut self, kind: &str, op: &str, native: &str) -> Map<String, Value> {
        self.next_message += 1;
        let id = format!("m{:04}", self.next_message);
        let body = json!({"id": id, "system": self.name, "type": kind, "op": op, "native_id": native});
        body.as_object().cloned().unwrap()
    }

    fn stored(&self, value: &Value) -> Value {
        match value {
            Value::String(text) if self.traits.trims => json!(text.trim()),
            other => other.clone(),
        }
    }

    /// A new native record, reported whole.
    pub fn create(&mut self, kind: &str, fields: &[(&str, Value)]) -> String {
        self.next_native += 1;
        let native = format!("{}{}{}", self.name, &kind[..1], self.next_native);
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), self.stored(value))).collect();
        self.rows.insert(native.clone(), Row { fields, ..Row::default() });
        self.report(kind, &native, None);
        native
    }

    /// Two new native records that hold each other's id, reported one after the other.
    pub fn create_pair(&mut self, kind: &str, serials: [Value; 2]) {
        let native = |n: u64| format!("{}{}{n}", self.name, &kind[..1]);
        let peers = [native(self.next_native + 2), native(self.next_native + 1)];
        for (serial, peer) in serials.into_iter().zip(peers) {
            self.create(kind, &[("serial", serial), ("peer_id", json!(peer))]);
        }
    }

    /// A user's edit, reported as the adapter does.
    pub fn edit(&mut self, kind: &str, native: &str, field: &str, value: &Value) {
        let value = self.stored(value);
        let Some(row) = self.rows.get_mut(native) else { return };
        let old = row.fields.insert(field.to_owned(), value.clone());
        let changed = old.as_ref() != Some(&value) && !(old.as_ref().is_none_or(Value::is_null) && value.is_null());
        let truth = if changed { vec![field.to_owned()] } else { Vec::new() };
        if self.traits.profile == Profile::SilentPatches {
            let mut body = self.envelope(kind, "patch", native);
            body.insert("entity".into(), json!({ field: value }));
            let says = !value.is_null() || old.is_some_and(|old| !old.is_null());
            // Clearing what is not there may or may not cross a message that fills it.
            let truth = says.then(|| vec![field.to_owned()]);
            self.outgoing.push_back(Outgoing { body: Value::Object(body), truth });
        } else {
            self.report(kind, native, Some(truth));
        }
    }

    /// A user deletes a record, or the adapter does because it was told to and reports it.
    pub fn delete(&mut self, kind: &str, native: &str) {
        let Some(mut row) = self.rows.remove(native) else { return };
        row.seq += 1;
        let mut body = self.envelope(kind, "delete", native);
        if self.traits.profile != Profile::SilentPatches {
            body.insert("seq".into(), json!(row.seq));
        }
        self.trash.insert(native.to_owned(), row);
        self.outgoing.push_back(Outgoing { body: Value::Object(body), truth: None });
    }

    /// What was deleted is there again, and reported whole.
    pub fn restore(&mut self, kind: &str, native: &str) {
        let Some(row) = self.trash.remove(native) else { return };
        self.rows.insert(native.to_owned(), row);
        self.report(kind, native, None);
    }

    /// A record gets another id.
    pub fn rekey(&mut self, kind: &str, native: &str) {
        let Some(mut row) = self.rows.remove(native) else { return };
        self.next_native += 1;
        let new = format!("{}{}{}", self.name, &kind[..1], self.next_native);
        row.seq += 1;
        let mut body = self.envelope(kind, "rekey", native);
        body.insert("new_native_id".into(), json!(new));
        if self.traits.profile != Profile::SilentPatches {
            body.insert("seq".into(), json!(row.seq));
        }
        self.outgoing.push_back(Outgoing { body: Value::Object(body), truth: None });
        self.rows.insert(new.clone(), row);
        if let Some(refused) = self.refused.remove(native) {
            self.refused.insert(new.clone(), refused);
        }
        self.renamed.insert(native.to_owned(), new);
    }

    /// Reads the record and queues it whole.
    pub fn report(&mut self, kind: &str, native: &str, truth: Option<Vec<String>>) {
        let Some(row) = self.rows.get_mut(native) else { return };
        row.seq += 1;
        let row = row.clone();
        let mut body = self.envelope(kind, "upsert", native);
        body.insert("entity".into(), json!(row.fields));
        if self.traits.profile == Profile::Base {
            body.insert("base".into(), json!(row.applied));
        }
        body.insert("seq".into(), json!(row.seq));
        self.outgoing.push_back(Outgoing { body: Value::Object(body), truth });
    }

    /// Applies the next delivered message, answers it, and reports what it applied if its feed does.
    pub fn apply(&mut self) -> Option<String> {
        let message = self.inbox.pop_front()?;
        let (canonical, rev) = (message["canonical_id"].as_str().unwrap_or_default().to_owned(), message["rev"].as_u64().unwrap_or(0));
        let kind = message["type"].as_str().unwrap_or_default().to_owned();
        let entity = message["entity"].as_object().cloned().unwrap_or_default();
        let native = self.native_of(&message, &canonical, &kind, &entity)?;
        let trims = self.traits.trims;
        let gone = message["op"] != "create" && !self.rows.contains_key(&native);
        if self.refuse(&message, &native) {
            return Some(native);
        }
        if message["op"] == "delete" {
            let applied = self.rows.remove(&native).is_some_and(|row| rev > row.applied);
            if applied && self.traits.echoes {
                let body = self.envelope(&kind, "delete", &native);
                self.outgoing.push_back(Outgoing { body: Value::Object(body), truth: None });
            }
        }
        let mut nowhere = Row::default();
        // What a user has deleted is not made again by an update that crossed it.
        let row = if gone || message["op"] == "delete" { &mut nowhere } else { self.rows.entry(native.clone()).or_default() };
        // A rev counts within its record: what was applied of another one says nothing.
        if row.canonical.replace(canonical.clone()).is_some_and(|earlier| earlier != canonical) {
            row.applied = 0;
        }
        if rev > row.applied {
            row.applied = rev;
            let changed = message["changed"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let changed: Vec<String> = changed.map(|path| path.replace("\\.", ".")).collect();
            for (name, value) in &entity {
                let written = !self.traits.writes_changed || message["op"] == "create" || changed.contains(name);
                if name != "id" && written {
                    let value = if trims { value.as_str().map_or(value.clone(), |text| json!(text.trim())) } else { value.clone() };
                    row.fields.insert(name.clone(), value);
                }
            }
        }
        if matches!(self.traits.profile, Profile::Base | Profile::Receipts) {
            let mut body = self.envelope(&kind, "receipt", &native);
            body.extend(json!({"canonical_id": canonical, "rev": rev, "status": "applied"}).as_object().cloned().unwrap());
            let receipt = Outgoing { body: Value::Object(body), truth: None };
            if self.traits.late {
                if self.traits.echoes || message["op"] == "create" {
                    self.report(&kind, &native, Some(Vec::new()));
                }
                self.outgoing.push_back(receipt);
                return Some(native);
            }
            self.outgoing.push_back(receipt);
        }
        // Of what is gone there is nothing to report.
        if self.traits.echoes {
            self.report(&kind, &native, Some(Vec::new()));
        }
        Some(native)
    }

    /// Refuses an update if it is to refuse one; its adapter must be one that answers.
    fn refuse(&mut self, message: &Value, native: &str) -> bool {
        let answers = matches!(self.traits.profile, Profile::Base | Profile::Receipts);
        let newer = |row: &Row| row.canonical.as_deref() == message["canonical_id"].as_str() && message["rev"].as_u64() > Some(row.applied);
        let Some(row) = self.rows.get(native).filter(|row| newer(row)) else { return false };
        if self.refused_messages.contains(&message["id"].to_string()) {
            self.say_no(message, native);
            return true;
        }
        if !self.refuses || !answers || message["op"] != "update" {
            return false;
        }
        // Besides what the message names it would have undone whatever a rule had not taken from here.
        let named = message["changed"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|path| path.replace("\\.", "."));
        let entity = message["entity"].as_object().into_iter().flatten();
        let undone = entity.filter(|(name, value)| row.fields.get(*name).unwrap_or(&Value::Null) != *value).map(|(name, _)| name.clone());
        let fields: Vec<String> = if self.traits.writes_changed { named.collect() } else { named.chain(undone).collect() };
        // Where a key value is kept that is gone elsewhere, it is not free for another thing.
        if fields.iter().any(|field| field == "serial") {
            return false;
        }
        self.refuses = false;
        // Where a refusal takes the change back, everybody is equal again.
        if !self.traits.compensates {
            self.refused.entry(native.to_owned()).or_default().extend(fields);
        }
        self.refused_messages.insert(message["id"].to_string());
        self.say_no(message, native);
        true
    }

    fn say_no(&mut self, message: &Value, native: &str) {
        let mut body = self.envelope(message["type"].as_str().unwrap_or_default(), "receipt", native);
        let answer = json!({"canonical_id": message["canonical_id"], "rev": message["rev"], "status": "rejected", "reason": "not here"});
        body.extend(answer.as_object().cloned().unwrap());
        self.outgoing.push_back(Outgoing { body: Value::Object(body), truth: None });
    }

    /// The record a message is about: find or create.
    fn native_of(&mut self, message: &Value, canonical: &str, kind: &str, entity: &Map<String, Value>) -> Option<String> {
        if let Some(native) = message["native_id"].as_str() {
            let mut native = native;
            while let Some(new) = self.renamed.get(native) {
                native = new;
            }
            return Some(native.to_owned());
        }
        let same_key = |row: &Row| kind == "thing" && row.fields.contains_key("serial") && row.fields.get("serial") == entity.get("serial");
        let known = self.rows.iter().find(|(native, row)| {
            row.canonical.as_deref() == Some(canonical) || native.starts_with(&format!("{}{}", self.name, &kind[..1])) && same_key(row)
        });
        if let Some((native, _)) = known {
            return Some(native.clone());
        }
        self.next_native += 1;
        Some(format!("{}{}{}", self.name, &kind[..1], self.next_native))
    }
}
