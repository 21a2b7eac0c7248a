//! Where a batch's outbound messages go: one file per system, and, if asked for, an adapter that applies them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::cli::Failure;
use crate::domain::change::{Inbound, Receipt, ReceiptStatus, Record};
use crate::domain::ids::{CanonicalId, EntityType, MessageId, NativeId, NativeKey, SystemName, UpdateId};
use crate::domain::link::SendOp;
use crate::ports::broker::{Broker, Delivery, OutboundMessage};
use crate::ports::error::PortError;
use crate::ports::store::{Lookup, Store};
use crate::wire::content_hash;

/// A broker that only collects what is published.
#[derive(Debug, Default)]
pub struct Collector(Mutex<Vec<OutboundMessage>>);

impl Collector {
    /// What was published since the last call, in order.
    pub fn take(&self) -> Vec<OutboundMessage> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Broker for Collector {
    async fn receive(&self, _: usize, _: Duration) -> Result<Vec<Delivery>, PortError> {
        Ok(Vec::new())
    }

    async fn give_again(&self) -> Result<(), PortError> {
        Ok(())
    }

    async fn settle(&self, _: &[u64]) -> Result<(), PortError> {
        Ok(())
    }

    async fn publish(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), PortError>> {
        let count = messages.len();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(messages);
        (0..count).map(|_| Ok(())).collect()
    }
}

/// The files of one folder, one per system.
#[derive(Debug)]
pub struct OutboundFiles {
    folder: PathBuf,
    files: BTreeMap<SystemName, (BufWriter<File>, u64)>,
}

impl OutboundFiles {
    /// Empties the folder of earlier files. Each of `systems` gets a file, even if it is sent nothing.
    pub fn create(folder: PathBuf, systems: impl IntoIterator<Item = SystemName>) -> Result<Self, Failure> {
        std::fs::create_dir_all(&folder).map_err(|error| Failure::file("make", &folder, &error))?;
        let entries = std::fs::read_dir(&folder).map_err(|error| Failure::file("read", &folder, &error))?;
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ext| ext == "jsonl")) {
            std::fs::remove_file(&path).map_err(|error| Failure::file("remove", &path, &error))?;
        }
        let mut files = Self { folder, files: BTreeMap::new() };
        for system in systems {
            files.file(&system)?;
        }
        Ok(files)
    }

    fn path(folder: &Path, system: &SystemName) -> PathBuf {
        folder.join(format!("{system}.jsonl"))
    }

    fn file(&mut self, system: &SystemName) -> Result<&mut (BufWriter<File>, u64), Failure> {
        if !self.files.contains_key(system) {
            let path = Self::path(&self.folder, system);
            let file = File::create(&path).map_err(|error| Failure::file("write", &path, &error))?;
            self.files.insert(system.clone(), (BufWriter::with_capacity(1 << 18, file), 0));
        }
        self.files.get_mut(system).ok_or_else(|| Failure::internal("an outbound file is missing"))
    }

    /// Appends a message.
    pub fn write(&mut self, message: &OutboundMessage) -> Result<(), Failure> {
        let path = Self::path(&self.folder, &message.system);
        let (file, count) = self.file(&message.system)?;
        *count += 1;
        file.write_all(&message.body).and_then(|()| file.write_all(b"\n")).map_err(|error| Failure::file("write", &path, &error))
    }

    /// Writes everything out; returns how many messages each system was sent.
    pub fn finish(self) -> Result<BTreeMap<SystemName, u64>, Failure> {
        let mut counts = BTreeMap::new();
        for (system, (mut file, count)) in self.files {
            file.flush().map_err(|error| Failure::file("write", &Self::path(&self.folder, &system), &error))?;
            counts.insert(system, count);
        }
        Ok(counts)
    }
}

/// Applies every message and says so. Gives new records the ids `{system}-{n}`.
#[derive(Debug, Default)]
pub struct Applier {
    made: HashMap<SystemName, u64>,
    /// Ids given to creates already: a create that is sent again finds its record.
    given: HashMap<(CanonicalId, SystemName), NativeId>,
}

impl Applier {
    /// The receipts for these messages.
    pub async fn apply(&mut self, messages: &[OutboundMessage], store: &dyn Store) -> Result<Vec<Inbound>, Failure> {
        let mut receipts = Vec::with_capacity(messages.len());
        for message in messages {
            let outbound: Answered = serde_json::from_slice(&message.body).map_err(Failure::internal)?;
            if message.op == SendOp::Delete {
                self.given.remove(&(message.record, message.system.clone()));
            }
            let native_id = match outbound.native_id {
                Some(id) => id,
                None => self.native_id(message, store).await?,
            };
            receipts.push(Inbound::Receipt(receipt(message, native_id)?));
        }
        Ok(receipts)
    }

    async fn native_id(&mut self, message: &OutboundMessage, store: &dyn Store) -> Result<NativeId, Failure> {
        if let Some(id) = self.given.get(&(message.record, message.system.clone())) {
            return Ok(id.clone());
        }
        loop {
            let n = self.made.entry(message.system.clone()).or_default();
            *n += 1;
            let id = NativeId::new(format!("{}-{n}", message.system))?;
            if !taken(store, &message.system, &message.entity_type, &id).await? {
                self.given.insert((message.record, message.system.clone()), id.clone());
                return Ok(id);
            }
        }
    }
}

/// Whether the system has a record under this id already, from its own files or an earlier run.
async fn taken(store: &dyn Store, system: &SystemName, entity_type: &EntityType, id: &NativeId) -> Result<bool, Failure> {
    let key = NativeKey { system: system.clone(), entity_type: entity_type.clone(), native_id: id.clone() };
    let found = store.look_up(&Lookup { links: vec![key], ..Lookup::default() }).await?;
    Ok(!found.links.is_empty())
}

/// What the adapter needs to read of a message.
#[derive(serde::Deserialize)]
struct Answered {
    native_id: Option<NativeId>,
}

fn receipt(message: &OutboundMessage, native_id: NativeId) -> Result<Receipt, Failure> {
    let id = MessageId::new(format!("applied-{}-{}", message.record, message.rev))?;
    let mut receipt = Receipt {
        update: UpdateId::new(message.system.clone(), id),
        entity_type: message.entity_type.clone(),
        native_id: Some(native_id),
        canonical_id: Some(message.record),
        rev: message.rev,
        status: ReceiptStatus::Applied,
        stored: Record::new(),
        reason: None,
        trace: None,
        content_hash: 0,
    };
    receipt.content_hash = content_hash::of_receipt(&receipt);
    Ok(receipt)
}
