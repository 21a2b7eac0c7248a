//! Reads the files a batch is fed with: one JSON text a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::cli::Failure;
use crate::domain::change::{DeadReason, Inbound, Rejection};
use crate::domain::ids::{EntityType, SystemName};
use crate::domain::time::Timestamp;
use crate::ports::store::DeadLetter;
use crate::wire::{Limits, Transport, Undecodable, body_json, decode_value, strict_json};

/// One `--input`.
#[derive(Clone, Debug)]
pub struct InputArg {
    /// Whose native records they are; `None`: whole envelopes.
    pub of: Option<(SystemName, EntityType)>,
    /// The file.
    pub path: PathBuf,
}

impl FromStr for InputArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write SYSTEM:TYPE:FILE.jsonl or envelopes:FILE.jsonl";
        let (first, rest) = text.split_once(':').ok_or(FORM)?;
        if first == "envelopes" {
            return Ok(Self { of: None, path: PathBuf::from(rest) });
        }
        let (entity_type, path) = rest.split_once(':').ok_or(FORM)?;
        let system = SystemName::new(first).map_err(|error| error.to_string())?;
        let entity_type = EntityType::new(entity_type).map_err(|error| error.to_string())?;
        if path.is_empty() {
            return Err(FORM.to_owned());
        }
        Ok(Self { of: Some((system, entity_type)), path: PathBuf::from(path) })
    }
}

/// One line, read.
#[derive(Debug)]
pub enum Line {
    /// It says this.
    Message(Box<Inbound>),
    /// It can't be read.
    Broken(Box<DeadLetter>),
}

/// The lines of one file.
#[derive(Debug)]
pub struct Lines {
    arg: InputArg,
    id_field: String,
    /// `r1-i2-l`: run and position of the file.
    prefix: String,
    reader: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    limits: Limits,
}

impl Lines {
    /// Opens a file. `id_field` holds the native ids; `prefix` starts the ids of its updates.
    pub fn open(arg: &InputArg, id_field: String, prefix: String, limits: Limits) -> Result<Self, Failure> {
        let file = File::open(&arg.path).map_err(|error| Failure::file("read", &arg.path, &error))?;
        let reader = BufReader::with_capacity(1 << 18, file);
        Ok(Self { arg: arg.clone(), id_field, prefix, reader, line: Vec::new(), number: 0, limits })
    }

    /// The next line that is not blank; `None` at the end.
    pub fn next(&mut self, now: Timestamp) -> Result<Option<Line>, Failure> {
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            if self.line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                break;
            }
        }
        let id = format!("{}{:07}", self.prefix, self.number);
        let read = match &self.arg.of {
            None => self.envelope(),
            Some((system, entity_type)) => self.native(&id, system, entity_type),
        };
        Ok(Some(match read {
            Ok(message) => Line::Message(Box::new(message)),
            Err(undecodable) => Line::Broken(Box::new(self.dead_letter(&id, *undecodable, now))),
        }))
    }

    /// Reads a line, but not more of it than a message may have.
    fn read_line(&mut self) -> Result<bool, Failure> {
        self.line.clear();
        let path = self.arg.path.clone();
        let failed = |error: std::io::Error| Failure::file("read", &path, &error);
        let bound = self.limits.message_bytes as u64 + 2;
        let read = self.reader.by_ref().take(bound).read_until(b'\n', &mut self.line).map_err(failed)?;
        if read as u64 == bound && self.line.last() != Some(&b'\n') {
            self.reader.skip_until(b'\n').map_err(failed)?;
        }
        while matches!(self.line.last(), Some(b'\n' | b'\r')) {
            self.line.pop();
        }
        self.number += u64::from(read > 0);
        Ok(read > 0)
    }

    fn envelope(&self) -> Result<Inbound, Box<Undecodable>> {
        crate::wire::decode(&self.line, &Transport::default(), &self.limits).map_err(Box::new)
    }

    fn native(&self, id: &str, system: &SystemName, entity_type: &EntityType) -> Result<Inbound, Box<Undecodable>> {
        let refused = |rejection| {
            let (system, entity_type) = (Some(system.to_string()), Some(entity_type.to_string()));
            Box::new(Undecodable { rejection, system, entity_type, native_id: None, id: None })
        };
        let value = strict_json::parse(&self.line, &self.limits).map_err(refused)?;
        let Value::Object(mut entity) = value else {
            return Err(refused(Rejection::new(DeadReason::BadEnvelope, "a native record is one JSON object")));
        };
        let Some(native_id) = entity.remove(&self.id_field).filter(|id| !id.is_null()) else {
            let detail = format!("the record has no {:?}; name the field that holds its id with --id-field", self.id_field);
            return Err(refused(Rejection::new(DeadReason::BadId, detail).at(self.id_field.clone())));
        };
        let mut envelope = Map::new();
        envelope.insert("id".to_owned(), Value::from(id));
        envelope.insert("system".to_owned(), Value::from(system.as_str()));
        envelope.insert("type".to_owned(), Value::from(entity_type.as_str()));
        envelope.insert("native_id".to_owned(), native_id);
        envelope.insert("entity".to_owned(), Value::Object(entity));
        decode_value(Value::Object(envelope), &Transport::default(), &self.limits).map_err(Box::new)
    }

    fn dead_letter(&self, id: &str, undecodable: Undecodable, now: Timestamp) -> DeadLetter {
        let Undecodable { rejection, system, entity_type, native_id, .. } = undecodable;
        let (body, encoding) = body_json(&self.line);
        DeadLetter {
            id: format!("{}:{id}", system.as_deref().unwrap_or("envelopes")),
            reason: rejection.reason,
            detail: format!("{} line {}: {}", self.arg.path.display(), self.number, rejection.detail),
            received_at: now,
            system,
            entity_type,
            native_id,
            body: Some(body),
            encoding: encoding.map(str::to_owned),
            marks: None,
        }
    }
}
