//! `[store]`: where records, links and decisions are kept.

use std::path::PathBuf;

use super::address;
use super::reader::{Field, Read, choice};
use super::values::Secret;

choice! {
    /// Which database.
    StoreKind {
        /// One SQLite file on this machine.
        #[default]
        Embedded = "embedded",
        /// A MongoDB replica set.
        Mongodb = "mongodb",
    }
}

/// Where records, links and decisions are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Which database. Default: `embedded`.
    pub kind: StoreKind,
    /// Directory of the embedded store and of the embedded broker's queues; made at the first start. Default: `syncline-data` in the working directory.
    pub path: PathBuf,
    /// MongoDB connection string. Default: none; with `mongodb`, this or `url_file` is needed.
    pub url: Option<Secret>,
    /// A file that holds the connection string. Default: none.
    pub url_file: Option<PathBuf>,
    /// MongoDB database. Default: `syncline`.
    pub database: String,
    /// Whether a server on another machine may be spoken to without encryption: in a network of your own. Default: false.
    pub allow_plain_text: bool,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            path: PathBuf::from("syncline-data"),
            url: None,
            url_file: None,
            database: "syncline".to_owned(),
            allow_plain_text: false,
        }
    }
}

impl Store {
    /// Where MongoDB is, read from the file that says it, if that is how it is said.
    ///
    /// Fails with what is wrong with it, in words that hold no secret.
    pub fn address(&self) -> Result<Secret, String> {
        address::read("store", self.url.as_ref(), self.url_file.as_deref(), ("mongodb", "mongodb+srv", self.allow_plain_text))
    }
}

impl Read for Store {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            kind: table.or("kind", usual.kind),
            path: table.or("path", usual.path),
            url: table.take("url"),
            url_file: table.take("url_file"),
            database: table.or("database", usual.database),
            allow_plain_text: table.or("allow_plain_text", usual.allow_plain_text),
        };
        table.finish();
        Some(read)
    }
}
