//! The connection, and what a database must have before it is used: the right kind of server, collections, indexes, and a
//! version this Syncline knows.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use mongodb::bson::{DateTime, Document, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, DatabaseOptions, IndexOptions, ReadConcern};
use mongodb::{Client, Database, IndexModel};

use super::Options;
use super::codec::{integer, number};
use super::error::{failed, unreadable};
use super::shared::{Numbers, Pages, Shared, durable, primary};
use super::spans::{Axis, Spans};
use super::upgrade;
use crate::domain::time::Timestamp;
use crate::ports::error::{PortError, PortErrorKind};

/// Records.
pub(super) const CANONICAL: &str = "canonical";
/// Decision rows, and marks of updates that have none.
pub(super) const DECISIONS: &str = "decisions";
/// Native records and whose they are.
pub(super) const LINKS: &str = "links";
/// Key values and whose they are.
pub(super) const CLAIMS: &str = "claims";
/// Waiting updates.
pub(super) const WAITING: &str = "waiting";
/// Messages that cannot be processed.
pub(super) const DEAD_LETTERS: &str = "dead_letters";
/// What large ones of them said.
pub(super) const LETTER_PARTS: &str = "letter_parts";
/// What systems are owed, by record.
pub(super) const OWED: &str = "owed";
/// Creates that are not answered.
pub(super) const CREATES: &str = "creates";
/// What is known about systems.
pub(super) const SYSTEMS: &str = "systems";
/// What is kept back.
pub(super) const HOLDS: &str = "holds";
/// What people did.
pub(super) const AUDITS: &str = "audits";
/// Numbers that are counted up.
pub(super) const COUNTERS: &str = "counters";
/// Work that is still to be done.
pub(super) const TASKS: &str = "tasks";
/// Who is at work.
pub(super) const ORCHESTRATORS: &str = "orchestrators";
/// Who has written records lately.
pub(super) const WRITERS: &str = "writers";
/// The store itself.
pub(super) const META: &str = "meta";

const COLLECTIONS: [&str; 17] = [
    CANONICAL,
    DECISIONS,
    LINKS,
    CLAIMS,
    WAITING,
    DEAD_LETTERS,
    LETTER_PARTS,
    OWED,
    CREATES,
    SYSTEMS,
    HOLDS,
    AUDITS,
    COUNTERS,
    TASKS,
    ORCHESTRATORS,
    WRITERS,
    META,
];

/// The version of what is written. A database with a later one is refused.
pub(super) const VERSION: u64 = 3;
pub(super) const OPEN: &str = "open the store";
/// That of MongoDB 6.0.
const OLDEST_WIRE_VERSION: i32 = 17;
const NAMESPACE_EXISTS: i32 = 48;

/// Connects and makes sure of everything.
pub(super) async fn open(url: &str, database: &str, options: Options) -> Result<Shared, PortError> {
    check_name(database)?;
    let client = connect(url, options.connect).await?;
    let db_options =
        DatabaseOptions::builder().read_concern(ReadConcern::majority()).write_concern(durable()).selection_criteria(primary()).build();
    let db = client.database_with_options(database, db_options);
    let hello = greet(&db, options.connect).await?;
    if options.create {
        prepare(&db).await?;
        if let Err(error) = super::writers::sweep(&db).await {
            tracing::debug!(error = %error, "the stamps of closed stores stay until the next start");
        }
    }
    let version = check_version(&db).await?;
    if version < VERSION {
        return Err(invalid(format!(
            "the database {database:?} was written by an earlier Syncline (version {version} of its contents; this one knows {VERSION}); \
             start an orchestrator, which brings it up to date"
        )));
    }
    let mut shared = Shared {
        client,
        db,
        deadline: options.deadline,
        numbers: Numbers::after(0),
        places: std::sync::Mutex::new(0..0),
        waits: std::sync::atomic::AtomicBool::new(true),
        together: std::sync::atomic::AtomicBool::new(super::together::is_known_to(&hello)),
        swept: AtomicI64::new(-1),
        began: Timestamp::from_micros(0),
        late: AtomicI64::new(i64::MAX),
        pages: Pages::default(),
        recall: super::recall::Recall::default(),
        fresh: super::fresh::Fresh::default(),
        writers: super::writers::Writers::default(),
        holds: super::holds::Holds::default(),
        attendance: super::presence::Attendance::default(),
    };
    remember(&mut shared).await?;
    shared.numbers = Numbers::after(last_number(&shared).await?);
    let waits = !shared.find(OPEN, WAITING, Document::new()).limit(1).project(doc! {"_id": 1}).all().await?.is_empty();
    shared.waits = std::sync::atomic::AtomicBool::new(waits);
    Ok(shared)
}

fn invalid(message: impl std::fmt::Display) -> PortError {
    PortError::new(PortErrorKind::Invalid, OPEN, message)
}

fn check_name(database: &str) -> Result<(), PortError> {
    let wrong = database.is_empty() || database.len() > 63 || database.contains(['/', '\\', '.', ' ', '"', '$', '\0']);
    if wrong { Err(invalid(format!("{database:?} can't be the name of a MongoDB database"))) } else { Ok(()) }
}

async fn connect(url: &str, within: Duration) -> Result<Client, PortError> {
    if url.starts_with("mongodb+srv:") && !cfg!(feature = "mongodb-srv") {
        return Err(invalid(
            "this build of Syncline doesn't look servers up in DNS (mongodb+srv://); name them in the connection string, \
             mongodb://HOST,HOST/?replicaSet=NAME&tls=true, or build it with the feature mongodb-srv",
        ));
    }
    let mut options = ClientOptions::parse(url).await.map_err(|error| {
        let message = format!("the connection string can't be used: {}", without_secrets(&error.kind.to_string(), url));
        let kind = if matches!(&*error.kind, ErrorKind::DnsResolve { .. }) { PortErrorKind::Unavailable } else { PortErrorKind::Invalid };
        PortError::new(kind, OPEN, message)
    })?;
    options.app_name.get_or_insert_with(|| "syncline".to_owned());
    options.server_selection_timeout.get_or_insert(within);
    options.connect_timeout.get_or_insert(within);
    // Whatever the connection string says of them: promises depend on these.
    options.write_concern = Some(durable());
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = Some(primary());
    Client::with_options(options).map_err(failed(OPEN))
}

/// A message about a connection string, unless it quotes what must not be shown.
fn without_secrets(message: &str, url: &str) -> String {
    let user_info = url.split_once("://").map_or(url, |(_, rest)| rest).rsplit_once('@').map_or("", |(user_info, _)| user_info);
    let shown = user_info.split(':').filter(|part| !part.is_empty()).any(|part| message.contains(part));
    if shown {
        "look at its user name and password; special characters in them are written as %40 for @".to_owned()
    } else {
        message.to_owned()
    }
}

/// Asks the server what it is; returns its answer.
async fn greet(db: &Database, within: Duration) -> Result<Document, PortError> {
    let (asked, hello) = (db.clone(), doc! {"hello": 1});
    let task = tokio::spawn(async move { asked.run_command(hello).await });
    let answer = tokio::time::timeout(within.saturating_add(Duration::from_secs(1)), task).await;
    let Ok(Ok(answer)) = answer else { return Err(super::error::late(OPEN, within)) };
    let hello = answer.map_err(refused)?;
    check_server(&hello)?;
    Ok(hello)
}

/// At start a wrong password is a wrong configuration; later it may be one that is just being changed.
fn refused(error: Error) -> PortError {
    let kind = matches!(&*error.kind, ErrorKind::Authentication { .. }).then_some(PortErrorKind::Invalid);
    let failed = failed(OPEN)(error);
    PortError { kind: kind.unwrap_or_else(|| failed.kind.clone()), ..failed }
}

/// Only replica sets and sharded clusters have transactions. Before MongoDB 6 what is read after a fail-over may be older than what
/// was acknowledged.
fn check_server(hello: &Document) -> Result<(), PortError> {
    if hello.get_i32("maxWireVersion").is_ok_and(|version| version < OLDEST_WIRE_VERSION) {
        return Err(invalid("this MongoDB is older than version 6; use a newer one"));
    }
    let replicated = hello.get_str("setName").is_ok() || hello.get_str("msg").is_ok_and(|message| message == "isdbgrid");
    if replicated {
        return Ok(());
    }
    Err(invalid(
        "this MongoDB is a standalone server, which has no transactions; make it a replica set, of one node if need be: \
         start mongod with --replSet rs0 and run rs.initiate() once in mongosh",
    ))
}

async fn check_version(db: &Database) -> Result<u64, PortError> {
    let found = db.collection::<RawDocumentBuf>(META).find_one(doc! {"_id": "store"}).await.map_err(failed(OPEN))?;
    let name = db.name();
    let Some(store) = found else { return Err(invalid(format!("there is no store in the database {name:?}"))) };
    let version = number(&store, "version").map_err(|error| unreadable(OPEN, "version", error))?;
    if version > VERSION {
        return Err(invalid(format!(
            "the database {name:?} was written by a newer Syncline (version {version} of its contents; this one knows {VERSION})"
        )));
    }
    Ok(version)
}

/// Makes what is missing: collections, indexes, the store's own document.
async fn prepare(db: &Database) -> Result<(), PortError> {
    let error = failed(OPEN);
    let there = db.list_collection_names().await.map_err(error)?;
    for name in COLLECTIONS.iter().filter(|name| !there.iter().any(|known| known == *name)) {
        let made = db.create_collection(*name).await;
        // Another orchestrator may start at the same time.
        let exists = |error: &Error| matches!(&*error.kind, ErrorKind::Command(c) if c.code == NAMESPACE_EXISTS);
        made.or_else(|error| if exists(&error) { Ok(()) } else { Err(error) }).map_err(error)?;
    }
    let store = doc! {"$setOnInsert": {"version": VERSION as i64, "epoch": 1, "late": 0_i64, "created_at": DateTime::now()}};
    db.collection::<Document>(META).update_one(doc! {"_id": "store"}, store).upsert(true).await.map_err(error)?;
    // Not before it is sure that this Syncline may write here.
    let version = check_version(db).await?;
    upgrade::from_earlier(db, version).await?;
    for (collection, indexes) in indexes() {
        db.collection::<Document>(collection).create_indexes(indexes).await.map_err(error)?;
    }
    Ok(())
}

fn indexes() -> Vec<(&'static str, Vec<IndexModel>)> {
    let plain = |keys: Document| IndexModel::builder().keys(keys).build();
    // Marks of updates without a row have no place in any list.
    let listed = |keys: Document| {
        let options = IndexOptions::builder().partial_filter_expression(doc! {"place": {"$exists": true}}).build();
        IndexModel::builder().keys(keys).options(options).build()
    };
    let options = IndexOptions::builder().partial_filter_expression(doc! {"decided": {"$exists": true}}).build();
    let spent = IndexModel::builder().keys(doc! {"decided": 1}).options(options).build();
    // Most records refer to nothing.
    let refers = IndexOptions::builder().partial_filter_expression(doc! {"refers_to": {"$exists": true}}).build();
    let referring = IndexModel::builder().keys(doc! {"refers_to": 1, "type": 1, "_id": 1}).options(refers).build();
    let options = IndexOptions::builder().partial_filter_expression(doc! {"deleted_at": {"$exists": true}}).build();
    let deleted = IndexModel::builder().keys(doc! {"deleted_at": 1, "_id": 1}).options(options).build();
    let options = IndexOptions::builder().partial_filter_expression(doc! {"records": {"$exists": true}}).build();
    let in_the_way = IndexModel::builder().keys(doc! {"records": 1}).options(options).build();
    vec![
        (CANONICAL, vec![plain(doc! {"type": 1, "_id": 1}), referring, deleted]),
        (
            DECISIONS,
            vec![
                listed(doc! {"place": -1, "_id": -1}),
                listed(doc! {"canonical_id": 1, "place": -1, "_id": -1}),
                listed(doc! {"decision": 1, "place": -1, "_id": -1}),
                listed(doc! {"source_system": 1, "place": -1, "_id": -1}),
                spent,
            ],
        ),
        (
            WAITING,
            vec![
                plain(doc! {"key": 1}),
                plain(doc! {"refs": 1}),
                plain(doc! {"behind": 1}),
                in_the_way,
                plain(doc! {"due": 1}),
                plain(doc! {"ready": 1, "arrival": 1}),
                plain(doc! {"arrival": 1, "_id": 1}),
            ],
        ),
        (OWED, vec![plain(doc! {"position": 1})]),
        (CREATES, vec![plain(doc! {"of": 1})]),
        (DEAD_LETTERS, vec![plain(doc! {"place": 1, "_id": 1})]),
    ]
}

/// Reads what the store says of itself.
async fn remember(shared: &mut Shared) -> Result<(), PortError> {
    let store = shared.find(OPEN, META, doc! {"_id": "store"}).limit(1).all().await?;
    let store = store.into_iter().next().unwrap_or_default();
    let began = store.get_datetime("created_at").map_or(0, |at| at.timestamp_millis().saturating_mul(1_000));
    shared.began = Timestamp::from_micros(began);
    // Where it was never noted it is not known.
    shared.late = AtomicI64::new(integer(&store, "late").unwrap_or(i64::MAX));
    Ok(())
}

/// The last number given out to a row.
async fn last_number(shared: &Shared) -> Result<i64, PortError> {
    let mut last = 0;
    for collection in [DECISIONS, DEAD_LETTERS] {
        let axis = Axis { first: i64::MAX, dense: shared.numbers.latest(), sparse: shared.began.as_micros(), last: i64::MIN };
        for (low, high) in Spans::down(axis, shared.pages.decisions.get()) {
            let newest = shared.find(OPEN, collection, doc! {"place": {"$gte": low, "$lte": high}}).sort(doc! {"place": -1, "_id": -1});
            let newest = newest.limit(1).project(doc! {"place": 1}).all().await?;
            if let Some(row) = newest.first() {
                last = last.max(integer(row, "place").unwrap_or(0));
                break;
            }
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standalone_server_is_refused_with_the_remedy() {
        let refused = check_server(&doc! {"isWritablePrimary": true, "maxWireVersion": 25}).unwrap_err();
        assert_eq!(refused.kind, PortErrorKind::Invalid);
        assert!(refused.message.contains("--replSet rs0") && refused.message.contains("rs.initiate()"), "{refused}");
        check_server(&doc! {"setName": "rs0", "maxWireVersion": 17}).unwrap();
        let old = check_server(&doc! {"setName": "rs0", "maxWireVersion": 13}).unwrap_err();
        assert!(old.kind == PortErrorKind::Invalid && old.message.contains("older than version 6"), "{old}");
        check_server(&doc! {"msg": "isdbgrid"}).unwrap();
    }

    #[test]
    fn a_message_never_quotes_the_password() {
        let url = "mongodb://anna:s3cret@db.example.com/?x=1";
        assert_eq!(without_secrets("unknown option x", url), "unknown option x");
        for quoting in ["invalid host s3cret@db", "anna:s3cret is wrong", "user anna"] {
            assert!(!without_secrets(quoting, url).contains("s3cret"), "{quoting}");
        }
    }

    #[test]
    fn names_of_databases_are_checked() {
        assert!(check_name("syncline").is_ok());
        for wrong in ["", "a.b", "a b", "$x", "a/b"] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
