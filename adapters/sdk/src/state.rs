//! What was applied last, record by record; kept over restarts.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// The last message about one record that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The canonical id.
    pub canonical_id: String,
    /// The entity type.
    #[serde(rename = "type")]
    pub entity_type: String,
    /// The id in this system; `None` once the record is deleted.
    pub native_id: Option<String>,
    /// The id it had, once the record is deleted: what comes again about it is answered with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_id: Option<String>,
    /// The epoch of the message.
    pub epoch: u64,
    /// The rev of the message: the `base` of what is read from now on.
    pub rev: u64,
}

impl Applied {
    /// The same once the record is deleted here.
    #[must_use]
    pub fn deleted(self) -> Self {
        Self { former_id: self.native_id.or(self.former_id), native_id: None, ..self }
    }
}

/// What went wrong with the state, in a sentence.
#[derive(Debug, thiserror::Error)]
#[error("the adapter's state: {0}")]
pub struct StateError(pub String);

impl From<io::Error> for StateError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Where an adapter remembers what it applied: [`MemoryState`], [`FileState`], or a table of the system's own database.
///
/// Called briefly and often: before every send and around every message.
pub trait State: fmt::Debug + Send + Sync + 'static {
    /// What was applied last of a canonical record.
    fn of_canonical(&self, canonical_id: &str) -> Result<Option<Applied>, StateError>;

    /// What was applied last of a native record.
    fn of_native(&self, entity_type: &str, native_id: &str) -> Result<Option<Applied>, StateError>;

    /// Remembers it, in place of what was known of the same canonical record. Durable when it returns.
    fn save(&self, applied: &Applied) -> Result<(), StateError>;
}

/// Forgets everything when the process ends: for tests, and for systems that are loaded anew at every start.
#[derive(Debug, Default)]
pub struct MemoryState(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    records: HashMap<String, Applied>,
    /// (type, native id) → canonical id.
    natives: HashMap<(String, String), String>,
}

impl Known {
    fn put(&mut self, applied: Applied) {
        let native = |applied: &Applied| Some((applied.entity_type.clone(), applied.native_id.clone()?));
        let (id, new) = (applied.canonical_id.clone(), native(&applied));
        let old = self.records.insert(id.clone(), applied).and_then(|old| native(&old)).filter(|old| Some(old) != new.as_ref());
        if let Some(old) = old.filter(|old| self.natives.get(old) == Some(&id)) {
            self.natives.remove(&old);
        }
        if let Some(new) = new {
            // It was known as another record: that one is known as nothing any more.
            let known = self.natives.insert(new, id.clone()).filter(|known| *known != id);
            if let Some(known) = known.and_then(|known| self.records.get_mut(&known)) {
                known.native_id = None;
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State for MemoryState {
    fn of_canonical(&self, canonical_id: &str) -> Result<Option<Applied>, StateError> {
        Ok(locked(&self.0).records.get(canonical_id).cloned())
    }

    fn of_native(&self, entity_type: &str, native_id: &str) -> Result<Option<Applied>, StateError> {
        let known = locked(&self.0);
        let id = known.natives.get(&(entity_type.to_owned(), native_id.to_owned()));
        Ok(id.and_then(|id| known.records.get(id)).cloned())
    }

    fn save(&self, applied: &Applied) -> Result<(), StateError> {
        locked(&self.0).put(applied.clone());
        Ok(())
    }
}

/// Appended lines that are not worth a rewrite.
const LINES_SPARED: usize = 1000;

/// A file of JSON lines: each save is appended and flushed to disk; now and then the file is written anew.
///
/// One process at a time may have it open.
#[derive(Debug)]
pub struct FileState {
    path: PathBuf,
    memory: MemoryState,
    file: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    file: File,
    count: usize,
}

impl FileState {
    /// Opens the file, or makes it. A last line that a crash cut off is left out.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StateError> {
        let path = path.as_ref().to_owned();
        let named = |error: io::Error| StateError(format!("{}: {error}", path.display()));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(named(error)),
        };
        let memory = MemoryState::default();
        // A crash may have cut the last line off within a character.
        let end = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        let whole = str::from_utf8(&bytes[..end]).map_err(|error| named(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        for (at, line) in whole.lines().enumerate() {
            let applied = serde_json::from_str(line);
            let applied = applied.map_err(|error| StateError(format!("{}, line {}: {error}", path.display(), at + 1)))?;
            locked(&memory.0).put(applied);
        }
        let lines = rewrite(&path, &locked(&memory.0)).map_err(named)?;
        Ok(Self { path, memory, file: Mutex::new(lines) })
    }
}

/// Writes the file anew; until the last step the old one is there.
fn rewrite(path: &Path, known: &Known) -> io::Result<Lines> {
    let mut text = Vec::new();
    for applied in known.records.values() {
        serde_json::to_writer(&mut text, applied)?;
        text.push(b'\n');
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    let mut file = File::create(&fresh)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(Lines { file: OpenOptions::new().append(true).open(path)?, count: known.records.len() })
}

impl State for FileState {
    fn of_canonical(&self, canonical_id: &str) -> Result<Option<Applied>, StateError> {
        self.memory.of_canonical(canonical_id)
    }

    fn of_native(&self, entity_type: &str, native_id: &str) -> Result<Option<Applied>, StateError> {
        self.memory.of_native(entity_type, native_id)
    }

    fn save(&self, applied: &Applied) -> Result<(), StateError> {
        let mut line = serde_json::to_vec(applied).map_err(|error| StateError(error.to_string()))?;
        line.push(b'\n');
        let mut lines = locked(&self.file);
        let length = lines.file.metadata()?.len();
        let written = lines.file.write_all(&line).and_then(|()| lines.file.sync_data());
        if let Err(error) = written {
            // Half a line must not become the beginning of the next one.
            lines.file.set_len(length)?;
            return Err(error.into());
        }
        lines.count += 1;
        self.memory.save(applied)?;
        let known = locked(&self.memory.0);
        if lines.count > known.records.len() * 2 + LINES_SPARED {
            *lines = rewrite(&self.path, &known)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(canonical: &str, native: Option<&str>, rev: u64) -> Applied {
        Applied {
            canonical_id: canonical.into(),
            entity_type: "device".into(),
            native_id: native.map(Into::into),
            former_id: None,
            epoch: 1,
            rev,
        }
    }

    #[test]
    fn a_restart_forgets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let state = FileState::open(&path).unwrap();
        for rev in 1..=1500 {
            state.save(&applied("c1", Some("d1"), rev)).unwrap();
        }
        state.save(&applied("c2", Some("d2"), 1)).unwrap();
        assert!(fs::read_to_string(&path).unwrap().lines().count() < 1000, "written anew on the way");
        drop(state);
        // A crash in the middle of a line.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"canonical_id\": \"c3").unwrap();
        let state = FileState::open(&path).unwrap();
        assert_eq!(state.of_native("device", "d1").unwrap(), Some(applied("c1", Some("d1"), 1500)));
        assert_eq!(state.of_canonical("c2").unwrap(), Some(applied("c2", Some("d2"), 1)));
        assert_eq!(state.of_canonical("c3").unwrap(), None);
    }

    #[test]
    fn a_deleted_record_is_not_found_by_its_native_id() {
        let state = MemoryState::default();
        state.save(&applied("c1", Some("d1"), 1)).unwrap();
        state.save(&applied("c1", None, 2)).unwrap();
        assert_eq!(state.of_native("device", "d1").unwrap(), None);
        assert_eq!(state.of_canonical("c1").unwrap(), Some(applied("c1", None, 2)));
    }

    #[test]
    fn a_record_that_is_known_as_another_one_is_that_one_after_any_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let state = FileState::open(&path).unwrap();
        state.save(&applied("c1", Some("d1"), 5)).unwrap();
        state.save(&applied("c2", Some("d1"), 6)).unwrap();
        drop(state);
        // Each start writes the file anew, in any order.
        for _ in 0..8 {
            let state = FileState::open(&path).unwrap();
            assert_eq!(state.of_native("device", "d1").unwrap(), Some(applied("c2", Some("d1"), 6)));
            assert_eq!(state.of_canonical("c1").unwrap(), Some(applied("c1", None, 5)));
        }
    }

    #[test]
    fn what_is_no_state_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::write(&path, "hello\n").unwrap();
        assert!(FileState::open(&path).unwrap_err().to_string().contains("line 1"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello\n");
    }
}
