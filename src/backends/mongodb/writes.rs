//! Write commands inside a transaction.

use mongodb::bson::raw::RawArrayBuf;
use mongodb::bson::{Document, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::error::Error;
use mongodb::options::FindOptions;
use mongodb::{ClientSession, Database};

use super::error::{failed, is_race, is_race_of, is_too_large, is_transient, of_statement};
use super::shared::{in_order, of_ids};
use super::together::{Outcome, Together, is_not_taken};
use crate::ports::error::{PortError, PortErrorKind};

/// Bytes of one command at most; MongoDB takes 16 MiB.
const COMMAND_BYTES: usize = 12 << 20;
/// Statements of one command at most; MongoDB takes 100,000.
const COMMAND_STATEMENTS: usize = 20_000;
const DOCUMENT_BYTES: usize = 16 << 20;

/// Why a transaction came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What is stored is not what the batch expects, or others write the same just now.
    Race,
    /// Nothing was written; it may be tried again as it is.
    Again(PortError),
    /// It is more than the server takes at once.
    TooLarge(PortError),
    /// The server does not take its statements in one command.
    OneByOne(PortError),
    /// It makes no sense to try again.
    Fatal(PortError),
}

impl Trouble {
    /// What an error of the driver inside a transaction means.
    pub fn of(operation: &'static str, error: Error) -> Self {
        if is_race(&error) {
            return Self::Race;
        }
        if is_too_large(&error) {
            return Self::TooLarge(failed(operation)(error));
        }
        let transient = is_transient(&error);
        let error = failed(operation)(error);
        if transient || error.kind == PortErrorKind::Unavailable { Self::Again(error) } else { Self::Fatal(error) }
    }
}

/// A document on its way to the server: written already, where there are many of them.
pub(super) enum Content {
    Plain(Document),
    Written(RawDocumentBuf),
}

impl From<Document> for Content {
    fn from(document: Document) -> Self {
        Self::Plain(document)
    }
}

impl From<RawDocumentBuf> for Content {
    fn from(document: RawDocumentBuf) -> Self {
        Self::Written(document)
    }
}

type Written = mongodb::bson::error::Result<RawDocumentBuf>;

impl Content {
    fn written(self) -> Written {
        match self {
            Self::Plain(document) => RawDocumentBuf::try_from(&document),
            Self::Written(document) => Ok(document),
        }
    }
}

/// One statement of an `update` command: what must be there, and what becomes of it.
pub(super) struct Update {
    pub filter: Content,
    /// A whole document, or operators.
    pub change: Content,
    /// If it is not there, it is made.
    pub upsert: bool,
    pub many: bool,
}

impl Update {
    /// Replaces a document that must be there.
    pub fn replace(filter: impl Into<Content>, change: impl Into<Content>) -> Self {
        Self { filter: filter.into(), change: change.into(), upsert: false, many: false }
    }

    /// Replaces the document of this id, which must be there.
    pub fn of_id(id: &str, change: impl Into<Content>) -> Self {
        Self::replace(rawdoc! {"_id": id}, change)
    }

    /// Replaces a document, or makes it. If there is one with its `_id` that the filter does not admit, it is in the way.
    pub fn put(filter: impl Into<Content>, change: impl Into<Content>) -> Self {
        Self { upsert: true, ..Self::replace(filter, change) }
    }

    fn statement(self) -> Written {
        let mut statement = RawDocumentBuf::new();
        statement.append(cstr!("q"), self.filter.written()?);
        statement.append(cstr!("u"), self.change.written()?);
        statement.append(cstr!("upsert"), self.upsert);
        statement.append(cstr!("multi"), self.many);
        Ok(statement)
    }
}

/// A transaction under way.
pub(super) struct Transaction<'s> {
    pub operation: &'static str,
    pub db: &'s Database,
    pub session: &'s mut ClientSession,
    /// What is inserted and updated waits here to go in one command, before anything else is done and at the end; `None`: it goes
    /// at once. See [`flush`](Self::flush).
    pub together: Option<Together>,
    /// The collection in which what was to be made was there already, or was just being written by others.
    pub raced_in: Option<String>,
}

#[derive(Clone, Copy)]
enum Command {
    Update,
    Delete,
}

impl Command {
    fn raw(self, collection: &str, statements: RawArrayBuf) -> RawDocumentBuf {
        match self {
            Self::Update => rawdoc! {"update": collection, "ordered": true, "updates": statements},
            Self::Delete => rawdoc! {"delete": collection, "ordered": true, "deletes": statements},
        }
    }
}

impl<'s> Transaction<'s> {
    /// One in which nothing was done yet.
    pub const fn new(operation: &'static str, db: &'s Database, session: &'s mut ClientSession) -> Self {
        Self { operation, db, session, together: None, raced_in: None }
    }

    /// Adds documents; one whose `_id` is taken is a race.
    pub async fn insert(&mut self, collection: &str, documents: Vec<impl Into<Content>>) -> Result<(), Trouble> {
        if documents.is_empty() {
            return Ok(());
        }
        let fit = |document| self.fit(collection, document);
        let documents: Vec<RawDocumentBuf> = documents.into_iter().map(|new| fit(new.into().written())).collect::<Result<_, _>>()?;
        if self.together.is_some() {
            for document in documents {
                self.add(|together| together.insert(collection, document)).await?;
            }
            return Ok(());
        }
        // The driver's way to send many of them, as it spares the server to read them out of a command.
        let inserted = self.db.collection::<RawDocumentBuf>(collection).insert_many(documents).session(&mut *self.session).await;
        inserted.map(drop).map_err(|error| self.trouble_in(collection, Trouble::of(self.operation, error)))
    }

    /// Changes documents; if one is not as the filter says, it is a race.
    pub async fn update(&mut self, collection: &str, updates: Vec<Update>) -> Result<(), Trouble> {
        if self.together.is_some() {
            return self.add_updates(collection, updates, true).await;
        }
        let expected = updates.len() as i64;
        let met = self.run(Command::Update, collection, updates.into_iter().map(Update::statement).collect()).await?;
        if met == expected { Ok(()) } else { Err(Trouble::Race) }
    }

    /// Changes all documents the filters admit, be they none.
    pub async fn update_any(&mut self, collection: &str, updates: Vec<Update>) -> Result<(), Trouble> {
        if self.together.is_some() {
            return self.add_updates(collection, updates, false).await;
        }
        self.run(Command::Update, collection, updates.into_iter().map(Update::statement).collect()).await.map(|_| ())
    }

    /// Takes away all documents the filters admit; returns how many there were.
    pub async fn delete(&mut self, collection: &str, filters: Vec<Document>) -> Result<i64, Trouble> {
        let statements = filters.into_iter().map(|filter| RawDocumentBuf::try_from(&doc! {"q": filter, "limit": 0})).collect();
        self.run(Command::Delete, collection, statements).await
    }

    /// Reads the documents of some ids as this transaction sees them.
    pub async fn find_ids(&mut self, collection: &str, ids: Vec<String>, projection: Document) -> Result<Vec<RawDocumentBuf>, Trouble> {
        let options = FindOptions::builder().sort(in_order()).projection(projection).build();
        self.find(collection, of_ids(ids), options).await
    }

    /// The same, of those a filter admits.
    pub async fn find(&mut self, collection: &str, filter: Document, mut options: FindOptions) -> Result<Vec<RawDocumentBuf>, Trouble> {
        self.flush().await?;
        let trouble = |error| Trouble::of(self.operation, error);
        let collection = self.db.collection::<RawDocumentBuf>(collection);
        options.batch_size = Some(10_000);
        let mut cursor = collection.find(filter).with_options(options).session(&mut *self.session).await.map_err(trouble)?;
        let mut documents = Vec::new();
        while cursor.advance(self.session).await.map_err(trouble)? {
            documents.push(cursor.current().to_owned());
        }
        Ok(documents)
    }

    async fn add_updates(&mut self, collection: &str, updates: Vec<Update>, must_meet: bool) -> Result<(), Trouble> {
        for Update { filter, change, upsert, many } in updates {
            let (filter, change) = (self.fit(collection, filter.written())?, self.fit(collection, change.written())?);
            self.add(|together| together.update(collection, must_meet, filter, change, upsert, many)).await?;
        }
        Ok(())
    }

    async fn add(&mut self, statement: impl FnOnce(&mut Together)) -> Result<(), Trouble> {
        let together = self.together.get_or_insert_default();
        statement(together);
        if together.is_full() { self.flush().await } else { Ok(()) }
    }

    /// Sends what waits to go together.
    pub async fn flush(&mut self) -> Result<(), Trouble> {
        let Some(together) = self.together.as_mut().filter(|together| !together.is_empty()) else { return Ok(()) };
        let (command, sent) = std::mem::take(together).command(self.db.name());
        let answer = self.db.client().database("admin").run_raw_command(command).session(&mut *self.session).await;
        let answer = answer.map_err(|error| {
            let not_taken = is_not_taken(&error);
            match Trouble::of(self.operation, error) {
                Trouble::Fatal(error) if not_taken => Trouble::OneByOne(error),
                trouble => trouble,
            }
        })?;
        match sent.outcome(&answer) {
            Some(Outcome::Done) => Ok(()),
            Some(Outcome::MetNothing) => Err(Trouble::Race),
            Some(Outcome::Refused { collection, code, message }) => {
                Err(self.trouble_in(&collection, refused(self.operation, code, &message)))
            }
            None => {
                let what = "the answer to a bulkWrite does not tell of all its statements";
                Err(Trouble::OneByOne(PortError::new(PortErrorKind::Invalid, self.operation, what)))
            }
        }
    }

    fn trouble_in(&mut self, collection: &str, trouble: Trouble) -> Trouble {
        if matches!(trouble, Trouble::Race) {
            self.raced_in = Some(collection.to_owned());
        }
        trouble
    }

    /// Runs a command, in as many parts as it takes; returns how many documents were met or made.
    async fn run(&mut self, command: Command, collection: &str, statements: Vec<Written>) -> Result<i64, Trouble> {
        let (mut met, mut part, mut bytes, mut count) = (0, RawArrayBuf::new(), 0, 0);
        for statement in statements {
            let raw = self.fit(collection, statement)?;
            let size = raw.as_bytes().len();
            if bytes + size > COMMAND_BYTES || count == COMMAND_STATEMENTS {
                met += self.send(command.raw(collection, std::mem::take(&mut part))).await?;
                (bytes, count) = (0, 0);
            }
            part.push(raw);
            bytes += size;
            count += 1;
        }
        if count > 0 {
            met += self.send(command.raw(collection, part)).await?;
        }
        Ok(met)
    }

    /// What can be sent.
    fn fit(&self, collection: &str, written: Written) -> Result<RawDocumentBuf, Trouble> {
        let raw = written.map_err(|error| self.unfit(collection, &error.to_string()))?;
        if raw.as_bytes().len() > DOCUMENT_BYTES {
            return Err(self.unfit(collection, "it is larger than the 16 MiB MongoDB takes"));
        }
        Ok(raw)
    }

    fn unfit(&self, collection: &str, why: &str) -> Trouble {
        Trouble::Fatal(PortError::new(
            PortErrorKind::Invalid,
            self.operation,
            format!("a document for {collection} can't be written: {why}"),
        ))
    }

    async fn send(&mut self, command: RawDocumentBuf) -> Result<i64, Trouble> {
        self.flush().await?;
        let answer = self.db.run_raw_command(command).session(&mut *self.session).await;
        met(self.operation, &answer.map_err(|error| Trouble::of(self.operation, error))?)
    }
}

/// What the refusal of a statement means.
fn refused(operation: &'static str, code: i32, message: &str) -> Trouble {
    if is_race_of(code, message) {
        return Trouble::Race;
    }
    let error = of_statement(operation, code, message);
    if error.kind == PortErrorKind::Unavailable { Trouble::Again(error) } else { Trouble::Fatal(error) }
}

/// How many documents a write command met or made, from its answer.
fn met(operation: &'static str, answer: &Document) -> Result<i64, Trouble> {
    if let Some(error) = answer.get_array("writeErrors").ok().and_then(|errors| errors.first()?.as_document()) {
        let (code, message) = (error.get_i32("code").unwrap_or(0), error.get_str("errmsg").unwrap_or("no reason given"));
        return Err(refused(operation, code, message));
    }
    let n = answer.get("n");
    Ok(n.and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from))).unwrap_or(0))
}
