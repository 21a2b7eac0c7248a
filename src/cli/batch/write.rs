//! Writes what a store holds into the files of a batch, a page at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::Failure;
use crate::domain::decision::DecisionKind;
use crate::domain::ids::{CanonicalId, EntityType, SystemName};
use crate::ports::store::{DecisionFilter, Store};
use crate::views::rows::{CanonicalRow, OwedRows, ParkedRow};

const PAGE: usize = 1000;

/// A file of JSON lines.
struct Rows {
    path: PathBuf,
    file: BufWriter<File>,
    count: u64,
}

impl Rows {
    fn create(path: PathBuf) -> Result<Self, Failure> {
        let file = File::create(&path).map_err(|error| Failure::file("write", &path, &error))?;
        Ok(Self { path, file: BufWriter::with_capacity(1 << 18, file), count: 0 })
    }

    fn write(&mut self, row: &impl Serialize) -> Result<(), Failure> {
        self.count += 1;
        serde_json::to_writer(&mut self.file, row)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|error| Failure::file("write", &self.path, &error))
    }

    fn finish(mut self) -> Result<u64, Failure> {
        self.file.flush().map_err(|error| Failure::file("write", &self.path, &error))?;
        Ok(self.count)
    }
}

/// `canonical.jsonl`: every record by id. Returns how many there are of each type.
pub async fn canonical(store: &dyn Store, path: PathBuf) -> Result<BTreeMap<EntityType, u64>, Failure> {
    let mut rows = Rows::create(path)?;
    let mut counts = BTreeMap::new();
    let mut after: Option<CanonicalId> = None;
    loop {
        let page = store.list_records(None, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.record.id);
        let sent: Vec<(CanonicalId, SystemName)> = page
            .iter()
            .flat_map(|versioned| {
                versioned.record.links.iter().filter(|link| link.rev > 0).map(|link| (versioned.record.id, link.system.clone()))
            })
            .collect();
        let owed = OwedRows::new(if sent.is_empty() { Vec::new() } else { store.owed_of(&sent).await? });
        for versioned in &page {
            *counts.entry(versioned.record.entity_type.clone()).or_default() += 1;
            rows.write(&CanonicalRow::new(&versioned.record, &owed))?;
        }
    }
    rows.finish()?;
    Ok(counts)
}

/// `decisions.jsonl`: every row, oldest first. Returns how many there are of each kind.
///
/// The store lists the newest first, so pages are set aside in a file and copied from its end.
pub async fn decisions(store: &dyn Store, path: PathBuf, timeless: bool) -> Result<BTreeMap<DecisionKind, u64>, Failure> {
    let mut counts: BTreeMap<DecisionKind, u64> = DecisionKind::ALL.into_iter().map(|kind| (kind, 0)).collect();
    let aside = path.with_extension("jsonl.tmp");
    let failed = |error: std::io::Error| Failure::file("write", &aside, &error);
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&aside).map_err(failed)?;
    let mut lengths: Vec<usize> = Vec::new();
    let mut after = None;
    let mut bytes = Vec::new();
    loop {
        let page = store.decisions(&DecisionFilter::default(), after.as_ref(), PAGE).await?;
        bytes.clear();
        for mut decision in page.items.into_iter().rev() {
            if timeless {
                decision.duration_us = 0;
            }
            *counts.entry(decision.decision).or_default() += 1;
            serde_json::to_writer(&mut bytes, &decision).map_err(Failure::internal)?;
            bytes.push(b'\n');
        }
        file.write_all(&bytes).map_err(failed)?;
        lengths.push(bytes.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    copy_from_end(&mut file, &lengths, &path).map_err(|error| Failure::file("write", &path, &error))?;
    drop(file);
    std::fs::remove_file(&aside).map_err(failed)?;
    Ok(counts)
}

fn copy_from_end(from: &mut File, lengths: &[usize], path: &Path) -> std::io::Result<()> {
    let mut to = File::create(path)?;
    let mut position: usize = lengths.iter().sum();
    let mut bytes = Vec::new();
    for length in lengths.iter().rev() {
        position -= length;
        bytes.resize(*length, 0);
        from.seek(SeekFrom::Start(position as u64))?;
        from.read_exact(&mut bytes)?;
        to.write_all(&bytes)?;
    }
    Ok(())
}

/// `parked.jsonl`: what waits, in arrival order. Returns how many.
pub async fn parked(store: &dyn Store, path: PathBuf) -> Result<u64, Failure> {
    let mut rows = Rows::create(path)?;
    let mut after = None;
    loop {
        let page = store.list_waiting(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.arrival);
        for waiting in &page {
            rows.write(&ParkedRow::from(waiting))?;
        }
    }
    rows.finish()
}

/// `dead_letters.jsonl`, oldest first. Returns how many.
pub async fn dead_letters(store: &dyn Store, path: PathBuf) -> Result<u64, Failure> {
    let mut rows = Rows::create(path)?;
    let mut after = None;
    loop {
        let page = store.dead_letters(after.as_ref(), PAGE).await?;
        for letter in &page.items {
            rows.write(letter)?;
        }
        after = page.next;
        if after.is_none() {
            return rows.finish();
        }
    }
}
