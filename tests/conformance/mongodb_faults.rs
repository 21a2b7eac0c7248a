//! The MongoDB backend when the connection is cut at the worst moment: a proxy between it and the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mongodb::bson::doc;
use syncline::backends::mongodb::{MongoStore, Options};
use syncline::domain::decision::DecisionKind;
use syncline::ports::error::PortErrorKind;
use syncline::ports::store::{Batch, DecisionFilter, Lookup, OutboxChange, Plan, RecordWrite, Store};
use syncline::ports::testkit::sample;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::mongodb::{Base, server};

/// When the connection is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// The server never hears of it.
    BeforeItArrives,
    /// The server has done it, and nobody hears of that.
    BeforeTheAnswer,
    /// It is not cut at all: nothing comes through any more, and nobody says so.
    Never,
    /// Only the command comes under another name, which no server knows.
    NotKnown,
}

/// What the proxy does.
struct Plot {
    /// The command that is cut off.
    command: &'static [u8],
    cut: Cut,
    /// How often still.
    left: AtomicUsize,
    /// All connections break.
    breaks: Notify,
}

impl Plot {
    fn strikes(&self, message: &[u8]) -> bool {
        let meant = message.windows(self.command.len()).any(|part| part == self.command);
        meant && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

/// Reads one message: its length comes first.
async fn message(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await.ok()?;
    let length = usize::try_from(i32::from_le_bytes(head)).ok()?;
    let mut message = head.to_vec();
    message.resize(length, 0);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}

fn misname(question: &mut [u8], command: &[u8]) {
    let at = question.windows(command.len()).position(|part| part == command).unwrap();
    question[at] = b'x';
}

/// Carries questions and answers in turn; after the fatal one the connection is gone.
async fn carry(client: (OwnedReadHalf, OwnedWriteHalf), server: (OwnedReadHalf, OwnedWriteHalf), plot: &Plot) -> Option<()> {
    let ((mut asks, mut hears), (mut answers, mut is_asked)) = (client, server);
    let back = async {
        loop {
            let answer = message(&mut answers).await?;
            hears.write_all(&answer).await.ok()?;
        }
        #[allow(unreachable_code)]
        Some(())
    };
    let mut struck = None;
    let there = async {
        loop {
            let mut question = message(&mut asks).await?;
            if plot.strikes(&question) {
                if plot.cut == Cut::NotKnown {
                    misname(&mut question, plot.command);
                    is_asked.write_all(&question).await.ok()?;
                    continue;
                }
                struck = Some(question);
                return Some(());
            }
            is_asked.write_all(&question).await.ok()?;
        }
    };
    tokio::select! {
        _ = back => return None,
        _ = there => {}
        () = plot.breaks.notified() => return None,
    }
    let question = struck?;
    if plot.cut == Cut::Never {
        plot.breaks.notified().await;
        return None;
    }
    if plot.cut == Cut::BeforeTheAnswer {
        is_asked.write_all(&question).await.ok()?;
        message(&mut answers).await?;
    }
    plot.breaks.notify_waiters();
    Some(())
}

/// Listens before the server; returns the address to use instead of its own.
async fn proxy(url: &str, plot: Arc<Plot>) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let authority = rest.split(['/', '?']).next().unwrap();
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let host = hosts.split(',').next().unwrap().to_owned();
    let at = if user.is_empty() { String::new() } else { format!("{user}@") };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(&host).await else { continue };
            let plot = Arc::clone(&plot);
            tokio::spawn(async move { carry(client.into_split(), server.into_split(), &plot).await });
        }
    });
    // Otherwise the driver would go where the replica set says its members are.
    format!("{scheme}://{at}127.0.0.1:{port}/?directConnection=true")
}

fn plan(n: u64) -> Plan {
    let write = RecordWrite {
        links_added: vec![sample::native(&format!("bms:{n}"))],
        claims_added: vec![sample::claim(&format!("s{n}"))],
        outbox: vec![OutboxChange::Due { system: sample::system("oem"), rev: 1 }],
        ..sample::write(sample::record(n, 1), None)
    };
    let decisions = vec![sample::row(sample::decision(&format!("bms:u{n}"), Some(n), DecisionKind::Accepted, n))];
    Plan { decisions, ..sample::plan(write) }
}

/// Commits three plans while a command is cut off so many times, trying again as the engine does; afterwards everything is
/// there, once.
async fn exactly_once(command: &'static [u8], cut: Cut, times: usize) {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let direct = base.open().await;
    let plot = Arc::new(Plot { command, cut, left: AtomicUsize::new(times), breaks: Notify::new() });
    let store = MongoStore::open(&proxy(&url, Arc::clone(&plot)).await, &base.name, Options::default()).await.unwrap();
    let batch = sample::batch((0..3).map(plan).collect());
    let mut tries = 0;
    loop {
        match store.commit(&batch).await {
            Ok(()) => break,
            // It was done, and the next try met it.
            Err(error) if error.kind == PortErrorKind::Conflict(vec![0, 1, 2]) && tries > 0 => break,
            Err(error) => assert_eq!(error.kind, PortErrorKind::Unavailable, "{error}"),
        }
        tries += 1;
        assert!(tries < 10, "it never comes through");
    }
    assert_eq!(plot.left.load(Ordering::SeqCst), 0, "the connection was cut");
    let ids = [0, 1, 2].map(sample::id);
    let revisions: Vec<u64> = direct.records(&ids).await.unwrap().iter().map(|found| found.revision).collect();
    assert_eq!(revisions, [1, 1, 1]);
    assert_eq!(direct.decisions(&DecisionFilter::default(), None, 9).await.unwrap().items.len(), 3);
    assert_eq!(direct.owed(0, 9).await.unwrap().len(), 3);
    let links = [0, 1, 2].map(|n| sample::native(&format!("bms:{n}"))).to_vec();
    assert_eq!(direct.look_up(&Lookup { links, ..Lookup::default() }).await.unwrap().links.len(), 3);
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_done_once() {
    for times in 1..=3 {
        exactly_once(b"commitTransaction", Cut::BeforeTheAnswer, times).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_arrives_is_tried_again() {
    for times in 1..=3 {
        exactly_once(b"commitTransaction", Cut::BeforeItArrives, times).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_in_the_middle_of_a_transaction_loses_nothing() {
    for command in [&b"insert\0\x0a\0\0\0canonical"[..], b"insert\0\x0a\0\0\0decisions", b"insert\0\x05\0\0\0owed"] {
        for cut in [Cut::BeforeItArrives, Cut::BeforeTheAnswer] {
            exactly_once(command, cut, 1).await;
        }
    }
}

/// Three records in their next state, each with a row and a message that is owed.
fn changes(version: u64) -> Batch {
    let change = |n: u64| {
        let plan = plan(n);
        let row = sample::decision(&format!("bms:u{n}-{version}"), Some(n), DecisionKind::Accepted, n);
        let outbox = vec![OutboxChange::Due { system: sample::system("oem"), rev: version }];
        let write = RecordWrite { outbox, ..sample::write(sample::record(n, version), Some(version - 1)) };
        Plan { decisions: vec![sample::row(row)], record: Some(write), ..plan }
    };
    sample::batch((0..3).map(change).collect())
}

/// Whether the server takes a small batch in one command: MongoDB 8 does. Said aloud where it does not.
async fn takes_it_in_one(base: &Base) -> bool {
    let hello = base.by_hand().await.run_command(doc! {"hello": 1}).await.unwrap();
    let known = hello.get_i32("maxWireVersion").is_ok_and(|version| version >= 25);
    if !known {
        eprintln!("skipped: this MongoDB is older than version 8");
    }
    known
}

/// A store with three records, and the same behind a proxy that strikes where a small batch is written.
struct Small {
    base: Base,
    plot: Arc<Plot>,
    store: MongoStore,
    direct: MongoStore,
}

impl Small {
    async fn with(cut: Cut, times: usize) -> Option<Self> {
        let url = server()?;
        let base = Base::new(&url);
        if !takes_it_in_one(&base).await {
            return None;
        }
        let direct = base.open().await;
        direct.commit(&sample::batch((0..3).map(plan).collect())).await.unwrap();
        let plot = Arc::new(Plot { command: b"bulkWrite", cut, left: AtomicUsize::new(times), breaks: Notify::new() });
        let store = MongoStore::open(&proxy(&url, Arc::clone(&plot)).await, &base.name, Options::default()).await.unwrap();
        Some(Self { base, plot, store, direct })
    }

    fn left(&self) -> usize {
        self.plot.left.load(Ordering::SeqCst)
    }
}

async fn stored(store: &MongoStore) -> (Vec<u64>, usize, usize) {
    let records = store.records(&[0, 1, 2].map(sample::id)).await.unwrap();
    let rows = store.decisions(&DecisionFilter::default(), None, 99).await.unwrap().items.len();
    (records.iter().map(|found| found.record.version).collect(), rows, store.owed(0, 9).await.unwrap().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_while_a_small_batch_is_written_loses_nothing() {
    for cut in [Cut::BeforeItArrives, Cut::BeforeTheAnswer] {
        let Some(small) = Small::with(cut, 1).await else { return };
        small.store.commit(&changes(2)).await.unwrap();
        assert_eq!(small.left(), 0, "the connection was cut");
        assert_eq!(stored(&small.direct).await, (vec![2, 2, 2], 6, 3));
        small.base.drop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_take_a_small_batch_in_one_command_is_given_its_statements_one_by_one() {
    let Some(small) = Small::with(Cut::NotKnown, 2).await else { return };
    for version in 2..=4 {
        small.store.commit(&changes(version)).await.unwrap();
    }
    assert_eq!(small.left(), 1, "it was tried once");
    assert_eq!(stored(&small.direct).await, (vec![4, 4, 4], 12, 3));
    small.base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_small_batch_meets_is_named() {
    let Some(small) = Small::with(Cut::NotKnown, 0).await else { return };
    let mut other = changes(2);
    other.plans.truncate(2);
    other.plans.remove(0);
    small.direct.commit(&other).await.unwrap();
    let met = small.store.commit(&changes(2)).await.unwrap_err();
    assert_eq!(met.kind, PortErrorKind::Conflict(vec![1]), "{met}");
    assert_eq!(stored(&small.direct).await, (vec![1, 2, 1], 4, 3));
    small.base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_is_noted_although_the_connection_is_cut() {
    let Some(url) = server() else { return };
    for cut in [Cut::BeforeItArrives, Cut::BeforeTheAnswer] {
        let base = Base::new(&url);
        let direct = base.open().await;
        direct.commit(&sample::batch(vec![plan(1)])).await.unwrap();
        let plot = Arc::new(Plot { command: b"commitTransaction", cut, left: AtomicUsize::new(1), breaks: Notify::new() });
        let store = MongoStore::open(&proxy(&url, Arc::clone(&plot)).await, &base.name, Options::default()).await.unwrap();
        let (record, system) = (sample::id(1), sample::system("oem"));
        let message = syncline::ports::store::Published {
            record,
            system: system.clone(),
            rev: 1,
            nothing: false,
            tried: (0, None),
            awaits_receipt: true,
            answer_by: None,
        };
        store.published(&[message]).await.unwrap();
        assert_eq!(plot.left.load(Ordering::SeqCst), 0, "the connection was cut");
        // Who has committed it just before is told that without a look; this one looks.
        assert_eq!(base.open().await.owed_of(&[(record, system)]).await.unwrap()[0].published, 1);
        base.drop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_any_more_is_noticed() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let direct = base.open().await;
    let plot = Arc::new(Plot { command: b"commitTransaction", cut: Cut::Never, left: AtomicUsize::new(1), breaks: Notify::new() });
    let options = Options { deadline: Duration::from_millis(300), ..Options::default() };
    let store = MongoStore::open(&proxy(&url, Arc::clone(&plot)).await, &base.name, options).await.unwrap();
    let batch = sample::batch(vec![plan(1)]);
    let silent = store.commit(&batch).await.unwrap_err();
    assert_eq!(silent.kind, PortErrorKind::Unavailable);
    assert!(silent.message.contains("has not answered"), "{silent}");
    plot.breaks.notify_waiters();
    // What hung may come to its end first; then the next try meets it.
    let again = loop {
        match store.commit(&batch).await {
            Err(error) if error.kind == PortErrorKind::Unavailable => {}
            outcome => break outcome.map_err(|error| error.kind),
        }
    };
    assert!(matches!(again, Ok(()) | Err(PortErrorKind::Conflict(_))), "{again:?}");
    assert_eq!(direct.records(&[sample::id(1)]).await.unwrap()[0].revision, 1);
    assert_eq!(direct.decisions(&DecisionFilter::default(), None, 9).await.unwrap().items.len(), 1);
    base.drop().await;
}
