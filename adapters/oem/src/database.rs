//! The system itself: a little portal database of a manufacturer. It knows nothing of other systems.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The tables, and a change feed that notes every change, whoever made it. A row that is deleted is noted before the rows that
/// referred to it, and its number is not given to another one.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS devices (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, serial_no TEXT UNIQUE COLLATE NOCASE, label TEXT, state TEXT,
        warranty_until TEXT, installed_under TEXT REFERENCES devices (id) ON DELETE SET NULL);
    CREATE TABLE IF NOT EXISTS sensors (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, plate TEXT UNIQUE COLLATE NOCASE, quantity TEXT,
        mounted_on TEXT REFERENCES devices (id) ON DELETE SET NULL);
    CREATE TABLE IF NOT EXISTS changes (n INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, id TEXT);
    CREATE TABLE IF NOT EXISTS feed (reported INTEGER);
    INSERT INTO feed SELECT 0 WHERE NOT EXISTS (SELECT * FROM feed);
    CREATE TRIGGER IF NOT EXISTS device_added AFTER INSERT ON devices BEGIN INSERT INTO changes (kind, id) VALUES ('device', NEW.id); END;
    CREATE TRIGGER IF NOT EXISTS device_edited AFTER UPDATE ON devices BEGIN INSERT INTO changes (kind, id) VALUES ('device', NEW.id); END;
    CREATE TRIGGER IF NOT EXISTS device_removed BEFORE DELETE ON devices BEGIN INSERT INTO changes (kind, id) VALUES ('device', OLD.id); END;
    CREATE TRIGGER IF NOT EXISTS sensor_added AFTER INSERT ON sensors BEGIN INSERT INTO changes (kind, id) VALUES ('sensor', NEW.id); END;
    CREATE TRIGGER IF NOT EXISTS sensor_edited AFTER UPDATE ON sensors BEGIN INSERT INTO changes (kind, id) VALUES ('sensor', NEW.id); END;
    CREATE TRIGGER IF NOT EXISTS sensor_removed BEFORE DELETE ON sensors BEGIN INSERT INTO changes (kind, id) VALUES ('sensor', OLD.id); END;
";

/// Fields of a row by name. A field that is not there stays as it is.
pub type Fields = Map<String, Value>;

/// A kind of row: its table, its ids, its columns; the first column identifies the thing in the real world.
pub trait Table: Serialize + DeserializeOwned {
    /// The table.
    const TABLE: &'static str;
    /// What its ids begin with.
    const PREFIX: &'static str;
    /// Its columns.
    const COLUMNS: &'static [&'static str];
}

/// A device that was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// `oemD1`.
    pub id: String,
    /// The number it left the works with.
    pub serial_no: Option<String>,
    /// What the customer calls it.
    pub label: Option<String>,
    /// `A` (active) or `R` (retired).
    pub state: Option<String>,
    /// Until when repairs are free.
    pub warranty_until: Option<String>,
    /// The device it is built into.
    pub installed_under: Option<String>,
}

impl Table for Device {
    const TABLE: &'static str = "devices";
    const PREFIX: &'static str = "oemD";
    const COLUMNS: &'static [&'static str] = &["serial_no", "label", "state", "warranty_until", "installed_under"];
}

/// A sensor that was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sensor {
    /// `oemS1`.
    pub id: String,
    /// The tag that hangs on it.
    pub plate: Option<String>,
    /// What it measures.
    pub quantity: Option<String>,
    /// The device it sits on.
    pub mounted_on: Option<String>,
}

impl Table for Sensor {
    const TABLE: &'static str = "sensors";
    const PREFIX: &'static str = "oemS";
    const COLUMNS: &'static [&'static str] = &["plate", "quantity", "mounted_on"];
}

/// One line of the change feed.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its position.
    pub n: i64,
    /// `device` or `sensor`.
    pub kind: String,
    /// What changed; a row that is not there any more was deleted.
    pub id: String,
}

/// The database. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Oem {
    connection: Arc<Mutex<Connection>>,
    path: PathBuf,
}

impl Oem {
    /// Opens the file, or makes it.
    pub fn open(path: impl AsRef<Path>) -> anyhow::Result<Self> {
        let path = path.as_ref().to_owned();
        let connection = Connection::open(&path).with_context(|| format!("can't open {}", path.display()))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), path })
    }

    /// Where a neighbouring file belongs that ends like this.
    #[must_use]
    pub fn beside(&self, ending: &str) -> PathBuf {
        self.path.with_extension(ending)
    }

    fn sql(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row with this id, if there is one.
    pub fn find<T: Table>(&self, id: &str) -> anyhow::Result<Option<T>> {
        let sql = format!("SELECT id, {} FROM {} WHERE id = ?1", T::COLUMNS.join(", "), T::TABLE);
        let row = self.sql().query_row(&sql, [id], |row| read::<T>(row)).optional()?;
        Ok(row.map(serde_json::from_value).transpose()?)
    }

    /// The row with this id.
    pub fn get<T: Table>(&self, id: &str) -> anyhow::Result<T> {
        self.find(id)?.with_context(|| format!("there is no {id}"))
    }

    /// All rows.
    pub fn list<T: Table>(&self) -> anyhow::Result<Vec<T>> {
        let sql = format!("SELECT id, {} FROM {} ORDER BY n", T::COLUMNS.join(", "), T::TABLE);
        let connection = self.sql();
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map([], |row| read::<T>(row))?.collect::<Result<Vec<_>, _>>()?;
        rows.into_iter().map(|row| Ok(serde_json::from_value(row)?)).collect()
    }

    /// Makes a row; returns its new id.
    pub fn add<T: Table>(&self, row: &T) -> anyhow::Result<String> {
        let fields = serde_json::to_value(row)?;
        let given = fields.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        self.find_or_add::<T>(&given.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Makes a row with these fields; returns its new id. What is there already by its first column is that one, changed.
    pub fn find_or_add<T: Table>(&self, fields: &Fields) -> anyhow::Result<String> {
        let mut connection = self.sql();
        let step = connection.transaction()?;
        let key = format!("SELECT id FROM {} WHERE {} = ?1", T::TABLE, T::COLUMNS[0]);
        let found = step.query_row(&key, [text(fields, T::COLUMNS[0])], |row| row.get::<_, String>(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => {
                let last = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
                let n = step.query_row(last, [T::TABLE], |row| row.get::<_, i64>(0)).optional()?.unwrap_or(0) + 1;
                let id = format!("{}{n}", T::PREFIX);
                step.execute(&format!("INSERT INTO {} (n, id) VALUES (?1, ?2)", T::TABLE), params![n, id])?;
                id
            }
        };
        write::<T>(&step, &id, fields)?;
        step.commit()?;
        Ok(id)
    }

    /// Changes these fields of a row, and no others.
    pub fn save<T: Table>(&self, id: &str, fields: &Fields) -> anyhow::Result<()> {
        write::<T>(&self.sql(), id, fields)
    }

    /// Changes fields of a row, as a person does: `FIELD=VALUE`.
    pub fn edit(&self, id: &str, fields: &[(String, String)]) -> anyhow::Result<()> {
        if id.starts_with(Device::PREFIX) {
            self.save::<Device>(id, &checked::<Device>(fields)?)
        } else {
            self.save::<Sensor>(id, &checked::<Sensor>(fields)?)
        }
    }

    /// Deletes a row. One that is gone already is deleted.
    pub fn remove<T: Table>(&self, id: &str) -> anyhow::Result<()> {
        self.sql().execute(&format!("DELETE FROM {} WHERE id = ?1", T::TABLE), [id])?;
        Ok(())
    }

    /// Deletes a row, as a person does.
    pub fn delete(&self, id: &str) -> anyhow::Result<()> {
        if id.starts_with(Device::PREFIX) {
            self.get::<Device>(id)?;
            self.remove::<Device>(id)
        } else {
            self.get::<Sensor>(id)?;
            self.remove::<Sensor>(id)
        }
    }

    /// What changed since the last time this was asked and settled; each row once.
    pub fn changes(&self) -> anyhow::Result<Vec<Change>> {
        let sql = "SELECT max(n), kind, id FROM changes WHERE n > (SELECT reported FROM feed) GROUP BY kind, id ORDER BY max(n)";
        let connection = self.sql();
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| Ok(Change { n: row.get(0)?, kind: row.get(1)?, id: row.get(2)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Remembers that changes up to this one were reported.
    pub fn reported(&self, n: i64) -> anyhow::Result<()> {
        self.sql().execute("UPDATE feed SET reported = ?1", [n])?;
        Ok(())
    }
}

/// `FIELD=VALUE` as fields; an empty value clears the field.
pub fn checked<T: Table>(fields: &[(String, String)]) -> anyhow::Result<Fields> {
    let known = |(field, value): &(String, String)| {
        if !T::COLUMNS.contains(&field.as_str()) {
            bail!("{} have no field {field}; there are {}", T::TABLE, T::COLUMNS.join(", "));
        }
        Ok((field.clone(), if value.is_empty() { Value::Null } else { value.clone().into() }))
    };
    fields.iter().map(known).collect()
}

fn read<T: Table>(row: &rusqlite::Row<'_>) -> rusqlite::Result<Value> {
    let mut fields = Map::new();
    for (at, name) in std::iter::once(&"id").chain(T::COLUMNS).enumerate() {
        fields.insert((*name).to_owned(), row.get::<_, Option<String>>(at)?.into());
    }
    Ok(Value::Object(fields))
}

fn text(fields: &Fields, column: &str) -> Option<String> {
    match fields.get(column)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn write<T: Table>(connection: &Connection, id: &str, fields: &Fields) -> anyhow::Result<()> {
    let given: Vec<&str> = T::COLUMNS.iter().copied().filter(|column| fields.contains_key(*column)).collect();
    let columns: String = given.iter().enumerate().map(|(at, column)| format!(", {column} = ?{}", at + 2)).collect();
    let sql = format!("UPDATE {} SET id = id{columns} WHERE id = ?1", T::TABLE);
    let values = std::iter::once(Some(id.to_owned())).chain(given.iter().map(|column| text(fields, column)));
    if connection.execute(&sql, params_from_iter(values))? == 0 {
        bail!("there is no {id}");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        text.split(", ").filter_map(|part| part.split_once('=')).map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    #[test]
    fn a_deleted_device_leaves_its_parts_behind_and_its_id_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let oem = Oem::open(folder.path().join("oem.db")).unwrap();
        oem.find_or_add::<Device>(&fields("serial_no=SN-1")).unwrap();
        let part = oem.find_or_add::<Device>(&fields("serial_no=SN-2, installed_under=oemD1")).unwrap();
        let sensor = oem.find_or_add::<Sensor>(&fields("plate=T1, mounted_on=oemD2")).unwrap();
        oem.reported(oem.changes().unwrap().pop().unwrap().n).unwrap();

        oem.delete(&part).unwrap();
        assert_eq!(oem.find::<Device>(&part).unwrap(), None);
        assert_eq!(oem.get::<Sensor>(&sensor).unwrap().mounted_on, None, "the sensor stays, on nothing");
        let feed: Vec<_> = oem.changes().unwrap().into_iter().map(|change| change.id).collect();
        assert_eq!(feed, [part.clone(), sensor], "the delete before what follows from it");

        oem.remove::<Device>(&part).unwrap();
        assert_eq!(oem.delete(&part).unwrap_err().to_string(), format!("there is no {part}"), "a person is told");
        assert_eq!(oem.find_or_add::<Device>(&fields("serial_no=SN-2")).unwrap(), "oemD3", "a new thing has a new id");
    }
}
