//! `send`: hands in native records.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::cli::args::{OpArg, Options, SendArgs};
use crate::cli::client::Client;
use crate::cli::{Failure, Host, output, stores};
use crate::domain::ids::{EntityType, SystemName};
use crate::ports::broker::{HandedIn, Tap};
use crate::wire::{Limits, Transport, decode, routing_key, strict_json};

/// Records of one request.
const GROUP: usize = 500;

/// Where the records go: to the message broker, where there is one; else, or with `--url`, to the orchestrator.
pub(super) enum Way {
    Orchestrator(Client),
    Broker(Arc<dyn Tap>, Limits),
}

impl Way {
    /// The way of this configuration, and the field that holds a native record's id.
    pub async fn of(system: &SystemName, options: &Options, host: &Host) -> Result<(Self, String), Failure> {
        let config = stores::config(options)?;
        let id_field = config.systems.get(system).map_or_else(|| "id".to_owned(), |system| system.id_field.clone());
        let limits = config.limits.into();
        let tap = if options.url.is_none() { (host.tap)(config).await? } else { None };
        let way = match tap {
            Some(tap) => Self::Broker(tap, limits),
            None => Self::Orchestrator(Client::new(options)?),
        };
        Ok((way, id_field))
    }
}

/// Runs `send`: one JSON record a line, in the system's own form. A line that is none is refused, and the others go on.
pub async fn run(args: &SendArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let (system, entity_type) = (SystemName::new(&args.system)?, EntityType::new(&args.entity_type)?);
    let (way, id_field) = Way::of(&system, options, host).await?;
    let mut stream = Stream::new(way);
    for (at, line) in (1_u64..).zip(reader(&args.file)?.lines()) {
        let line = line.map_err(|error| Failure::file("read", &args.file, &error))?;
        if line.trim().is_empty() {
            continue;
        }
        match envelope(&line, &system, &entity_type, args.op, &id_field) {
            Ok(envelope) => stream.add(format!("line {at}"), &envelope).await?,
            Err(why) => stream.refuse(&format!("line {at}"), &why),
        }
    }
    let (sent, refused) = stream.end().await?;
    match options.json {
        true => output::json(&json!({ "handed_in": sent, "refused": refused }))?,
        false => output::line(format!("{sent} handed in, {refused} refused"))?,
    }
    if refused > 0 { Err(Failure::absent("see above for what was refused")) } else { Ok(()) }
}

/// Messages on their way, a group at a time, with a bar that shows on a terminal only.
pub(super) struct Stream {
    way: Way,
    progress: ProgressBar,
    group: String,
    /// What each message of the group is made from.
    origins: Vec<String>,
    sent: u64,
    refused: u64,
    /// Nothing is handed in.
    counts_only: bool,
}

impl Stream {
    /// Nothing sent yet.
    pub fn new(way: Way) -> Self {
        let progress = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        Self { way, progress, group: String::new(), origins: Vec::with_capacity(GROUP), sent: 0, refused: 0, counts_only: false }
    }

    /// One that hands nothing in, and counts what it would.
    pub fn counting(way: Way) -> Self {
        Self { counts_only: true, ..Self::new(way) }
    }

    /// A message, and what it is made from: a line of a file, say.
    pub async fn add(&mut self, origin: String, message: &Value) -> Result<(), Failure> {
        self.group.push_str(&message.to_string());
        self.group.push('\n');
        self.origins.push(origin);
        if self.origins.len() < GROUP { Ok(()) } else { self.hand_in().await }
    }

    /// Counts what is not handed in, and says why.
    pub fn refuse(&mut self, origin: &str, why: &str) {
        self.refused += 1;
        output::complain(&format!("{origin}: {why}"));
    }

    /// How many were handed in so far.
    pub const fn sent(&self) -> u64 {
        if self.counts_only { 0 } else { self.sent }
    }

    /// Sends what is left; how many were handed in, and how many refused.
    pub async fn end(mut self) -> Result<(u64, u64), Failure> {
        self.hand_in().await?;
        self.progress.finish_and_clear();
        Ok((self.sent, self.refused))
    }

    async fn hand_in(&mut self) -> Result<(), Failure> {
        if self.origins.is_empty() {
            return Ok(());
        }
        let group = std::mem::take(&mut self.group);
        if self.counts_only {
            self.sent += self.origins.drain(..).len() as u64;
            return Ok(());
        }
        let outcome = match &self.way {
            Way::Orchestrator(client) => client.stream("/v1/updates", group).await.map(|answers| answers.iter().map(refusal).collect()),
            Way::Broker(tap, limits) => publish(tap.as_ref(), &group, limits).await,
        };
        let origins = std::mem::take(&mut self.origins);
        let answers: Vec<Option<String>> = outcome.inspect_err(|_| self.tell_how_far(&origins))?;
        for (answer, origin) in answers.iter().zip(&origins) {
            match answer {
                None => self.sent += 1,
                Some(why) => self.refuse(origin, why),
            }
        }
        self.progress.set_position(self.sent);
        Ok(())
    }

    /// Before the reason why it ends half-way.
    fn tell_how_far(&self, origins: &[String]) {
        if let Some(first) = origins.first().filter(|_| self.sent > 0) {
            let (sent, open) = (self.sent, origins.len());
            output::complain(&format!("{sent} were handed in. Of {open} more, from {first} on, it is not known; hand those in again."));
        }
    }
}

/// The lines of a file, or of stdin.
pub(super) fn reader(file: &Path) -> Result<BufReader<Box<dyn Read>>, Failure> {
    let source: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(|error| Failure::file("read", file, &error))?)
    };
    Ok(BufReader::new(source))
}

/// A native record as a message.
pub(super) fn envelope(line: &str, system: &SystemName, entity_type: &EntityType, op: OpArg, id_field: &str) -> Result<Value, String> {
    let read = strict_json::parse(line.as_bytes(), &Limits::LARGEST).map_err(|rejection| rejection.detail)?;
    let Value::Object(mut entity) = read else { return Err("not a JSON object".to_owned()) };
    let native_id = entity.remove(id_field).filter(|id| !id.is_null()).ok_or_else(|| format!("the record has no {id_field:?}"))?;
    let op = op.as_str();
    let mut envelope = json!({
        "id": uuid::Uuid::now_v7().to_string(), "system": system, "type": entity_type, "op": op, "native_id": native_id,
    });
    if op != "delete" {
        envelope["entity"] = Value::Object(entity);
    }
    Ok(envelope)
}

/// Why the orchestrator did not take a message, if it did not.
fn refusal(answer: &Value) -> Option<String> {
    (answer["status"] != "queued").then(|| answer["problem"]["detail"].as_str().unwrap_or("refused").to_owned())
}

/// Publishes the envelopes that can be read; says of each why it was not.
async fn publish(tap: &dyn Tap, group: &str, limits: &Limits) -> Result<Vec<Option<String>>, Failure> {
    let (mut messages, mut answers) = (Vec::new(), Vec::new());
    for line in group.lines() {
        let decoded = decode(line.as_bytes(), &Transport::default(), limits);
        answers.push(decoded.as_ref().err().map(|bad| bad.rejection.detail.clone()));
        if let Ok(message) = decoded {
            messages.push(HandedIn { routing_key: routing_key(&message), message_id: None, body: line.as_bytes().to_vec() });
        }
    }
    tap.hand_in(&messages).await?;
    Ok(answers)
}
