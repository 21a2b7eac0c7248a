//! What a small transaction writes, in one command: each statement costs a way to the server and back, which is most of what a small
//! batch takes.
//!
//! The command is `bulkWrite` of MongoDB 8. It is never the first one of a transaction, and where a server does not take it,
//! statements go one by one. Of large batches they do anyway: the next one is put into its form while the server is at work.

use mongodb::bson::raw::RawArrayBuf;
use mongodb::bson::{Bson, Document, RawDocumentBuf, rawdoc};
use mongodb::error::{Error, ErrorKind};

/// The first version of the protocol that has the command: MongoDB 8.0.
const WIRE_VERSION: i32 = 25;
/// Bytes of one command: more goes in several.
const BYTES: usize = 4 << 20;
/// What a server says that does not take the command, or not here: not authorized, no such command, not supported, not in a
/// transaction, and unknown or missing fields.
const NOT_TAKEN: [i32; 6] = [13, 59, 115, 263, 40_414, 40_415];

/// Statements that go together.
#[derive(Default)]
pub(super) struct Together {
    /// The collections they are for.
    collections: Vec<String>,
    statements: RawArrayBuf,
    expected: Vec<Expected>,
    bytes: usize,
}

/// What must come of a statement.
struct Expected {
    /// The collection, by its place.
    of: usize,
    /// Whether it has to meet or make a document.
    must_meet: bool,
}

/// What a command came to.
pub(super) enum Outcome {
    /// Everything is as it should be.
    Done,
    /// A statement that should have met a document has met none.
    MetNothing,
    /// A statement was refused.
    Refused {
        /// What it was for.
        collection: String,
        /// The server's number for the reason.
        code: i32,
        /// The reason.
        message: String,
    },
}

impl Together {
    /// Adds a document.
    pub fn insert(&mut self, collection: &str, document: RawDocumentBuf) {
        let of = self.place(collection);
        self.bytes += document.as_bytes().len();
        self.statements.push(rawdoc! {"insert": of as i32, "document": document});
        self.expected.push(Expected { of, must_meet: true });
    }

    /// Changes a document or, with `upsert`, makes it.
    pub fn update(&mut self, collection: &str, must_meet: bool, filter: RawDocumentBuf, change: RawDocumentBuf, upsert: bool, many: bool) {
        let of = self.place(collection);
        self.bytes += filter.as_bytes().len() + change.as_bytes().len();
        self.statements.push(rawdoc! {"update": of as i32, "filter": filter, "updateMods": change, "upsert": upsert, "multi": many});
        self.expected.push(Expected { of, must_meet });
    }

    fn place(&mut self, collection: &str) -> usize {
        let known = self.collections.iter().position(|known| known == collection);
        known.unwrap_or_else(|| {
            self.collections.push(collection.to_owned());
            self.collections.len() - 1
        })
    }

    /// Whether there is nothing to be sent.
    pub fn is_empty(&self) -> bool {
        self.expected.is_empty()
    }

    /// Whether it has to be sent before more is added.
    pub fn is_full(&self) -> bool {
        self.bytes >= BYTES
    }

    /// The command, for the database `admin`; what it comes to is told by [`Sent::outcome`].
    pub fn command(self, database: &str) -> (RawDocumentBuf, Sent) {
        let Self { collections, statements, expected, .. } = self;
        let mut namespaces = RawArrayBuf::new();
        for collection in &collections {
            namespaces.push(rawdoc! {"ns": format!("{database}.{collection}")});
        }
        let command = rawdoc! {"bulkWrite": 1, "ops": statements, "nsInfo": namespaces, "ordered": true, "errorsOnly": false};
        (command, Sent { collections, expected })
    }
}

/// What was sent, to read the answer by.
pub(super) struct Sent {
    collections: Vec<String>,
    expected: Vec<Expected>,
}

impl Sent {
    /// What came of it, from the answer; `None`: the answer does not say.
    pub fn outcome(self, answer: &Document) -> Option<Outcome> {
        let Self { mut collections, expected } = self;
        let rows = answer.get_document("cursor").ok()?.get_array("firstBatch").ok()?;
        let mut told = 0;
        for (row, expected) in rows.iter().zip(&expected) {
            let row = row.as_document()?;
            told += 1;
            if is_zero(row, "ok") {
                let (code, message) = (row.get_i32("code").unwrap_or(0), row.get_str("errmsg").unwrap_or("no reason given").to_owned());
                return Some(Outcome::Refused { collection: collections.swap_remove(expected.of), code, message });
            }
            if expected.must_meet && is_zero(row, "n") {
                return Some(Outcome::MetNothing);
            }
        }
        (told == expected.len()).then_some(Outcome::Done)
    }
}

/// Whether a number is zero, or not there.
fn is_zero(row: &Document, field: &str) -> bool {
    match row.get(field) {
        Some(Bson::Int32(n)) => *n == 0,
        Some(Bson::Int64(n)) => *n == 0,
        Some(Bson::Double(n)) => *n == 0.0,
        Some(_) | None => true,
    }
}

/// Whether a server has the command, from its greeting.
pub(super) fn is_known_to(hello: &Document) -> bool {
    hello.get_i32("maxWireVersion").is_ok_and(|version| version >= WIRE_VERSION)
}

/// Whether an error says that the server does not take the command.
pub(super) fn is_not_taken(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if NOT_TAKEN.contains(&command.code))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    fn sent() -> Sent {
        let mut together = Together::default();
        together.insert("decisions", rawdoc! {"_id": 1});
        together.update("canonical", true, rawdoc! {"_id": 1}, rawdoc! {"x": 1}, false, false);
        together.update("waiting", false, rawdoc! {"_id": 2}, rawdoc! {"$set": {"x": 1}}, false, true);
        let (command, sent) = together.command("works");
        let command = Document::try_from(command).unwrap();
        let namespaces = [doc! {"ns": "works.decisions"}, doc! {"ns": "works.canonical"}, doc! {"ns": "works.waiting"}];
        assert_eq!(command.get_array("nsInfo").unwrap(), &namespaces.map(Bson::from));
        sent
    }

    fn came_to(rows: Vec<Document>) -> String {
        match sent().outcome(&doc! {"cursor": {"firstBatch": rows}, "ok": 1.0}) {
            None => "not said".to_owned(),
            Some(Outcome::Done) => "done".to_owned(),
            Some(Outcome::MetNothing) => "nothing met".to_owned(),
            Some(Outcome::Refused { collection, code, message }) => format!("{collection}: {message} ({code})"),
        }
    }

    #[test]
    fn every_statement_has_to_do_what_it_should() {
        let one = || doc! {"ok": 1.0, "n": 1};
        assert_eq!(came_to(vec![one(), one(), doc! {"ok": 1.0, "n": 0}]), "done", "the last one need not meet any");
        assert_eq!(came_to(vec![one(), doc! {"ok": 1.0, "n": 0_i64}, one()]), "nothing met");
        let refused = doc! {"ok": 0.0, "idx": 0, "code": 11000, "errmsg": "taken", "n": 0};
        assert_eq!(came_to(vec![refused]), "decisions: taken (11000)");
        assert_eq!(came_to(vec![one(), one()]), "not said", "what is not told of is not done");
        assert_eq!(came_to(vec![one(), doc! {"ok": 1.0}, one()]), "nothing met");
    }

    #[test]
    fn it_takes_a_server_that_has_the_command() {
        assert!(is_known_to(&doc! {"maxWireVersion": 25}) && is_known_to(&doc! {"maxWireVersion": 27}));
        assert!(!is_known_to(&doc! {"maxWireVersion": 24}) && !is_known_to(&doc! {}));
    }
}
