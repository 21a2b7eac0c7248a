//! A connection that is kept up: made, watched, and made again, for ever.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::address::Address;
use super::error::{failed, too_slow};
use super::topology;
use crate::ports::error::{PortError, PortErrorKind};

const CONNECT: &str = "connect to RabbitMQ";
/// Seconds a connection may take to come about, and an answer to come.
pub(super) const ANSWER_WITHIN: u64 = 10;
/// How often is looked whether the server still answers: the client itself notices silence only after twice the heartbeat
/// and some more.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The wait before a new try, doubled up to the last one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(30);

/// How a connection is.
#[derive(Clone, Debug)]
pub(super) enum Health {
    /// Not there yet.
    Starting,
    /// It works.
    Up,
    /// It does not; made again soon.
    Down(PortErrorKind, String),
}

impl Health {
    /// An error unless it works.
    pub fn up(&self) -> Result<(), PortError> {
        match self {
            Self::Up => Ok(()),
            Self::Starting => Err(PortError::new(PortErrorKind::Unavailable, CONNECT, "not connected yet")),
            Self::Down(kind, message) => Err(PortError::new(kind.clone(), CONNECT, message)),
        }
    }
}

/// What is done with a connection, from its making to its end.
pub(super) trait Session: Debug + Send + Sync + 'static {
    /// What it is for, in log lines.
    const NAME: &'static str;

    /// Makes the connection and works with it until something fails. Says `Up` once it works. May be dropped at any time.
    fn run(&self, health: &watch::Sender<Health>) -> impl Future<Output = PortError> + Send;

    /// The connection is gone, and everything that hung on it.
    fn ended(&self);
}

/// Runs one session after the other until told to stop.
pub(super) async fn keep<S: Session>(session: std::sync::Arc<S>, health: watch::Sender<Health>, mut stop: watch::Receiver<bool>) {
    let mut wait = FIRST_WAIT;
    loop {
        let error = tokio::select! {
            error = session.run(&health) => error,
            // An error means that nobody is left who could tell, and nobody who needs it.
            _ = stop.wait_for(|stop| *stop) => {
                session.ended();
                return;
            }
        };
        session.ended();
        let before = health.borrow().clone();
        match before {
            Health::Up => {
                wait = FIRST_WAIT;
                tracing::warn!(connection = S::NAME, error = %error, "lost the connection to RabbitMQ; connecting again");
            }
            // A refusal at start is said by whoever starts.
            Health::Starting if error.kind == PortErrorKind::Invalid => {}
            Health::Starting => tracing::warn!(connection = S::NAME, error = %error, "can't connect to RabbitMQ; trying again"),
            Health::Down(..) if wait == LAST_WAIT => {
                tracing::warn!(connection = S::NAME, error = %error, "still can't connect to RabbitMQ; trying again");
            }
            Health::Down(..) => {}
        }
        health.send_replace(Health::Down(error.kind, error.message));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        wait = (wait * 2).min(LAST_WAIT);
    }
}

/// Waits until a connection works.
///
/// Fails at once if trying again changes nothing, else when the time is over.
pub(super) async fn until_up(mut health: watch::Receiver<Health>, within: Duration) -> Result<(), PortError> {
    let settled = |health: &Health| matches!(health, Health::Up | Health::Down(PortErrorKind::Invalid, _));
    // Over or not: what counts is how it is now.
    let _ = tokio::time::timeout(within, health.wait_for(settled)).await.map(|settled| settled.map(|_| ()));
    let now = health.borrow().clone();
    now.up()
}

/// Makes a connection. `silent` remembers whether the last try met somebody who said nothing: the client would wait for such a one
/// for ever, with a thread and a socket for each try, so the next time only a socket of our own does, until the server speaks.
pub(super) async fn connect(address: &Address, name: &str, silent: &AtomicBool) -> Result<Connection, PortError> {
    let (uri, tls) = address.uri();
    if silent.load(Ordering::Relaxed) && uri.scheme == AMQPScheme::AMQP {
        speaks(&uri).await.map_err(|message| PortError::new(PortErrorKind::Unavailable, CONNECT, format!("{address}: {message}")))?;
    }
    let properties = ConnectionProperties::default().with_connection_name(format!("syncline: {name}").into());
    let runtime = lapin::runtime::default_runtime().map_err(failed(CONNECT))?;
    let connecting = Connection::connect_uri_with_config(uri, properties, tls, runtime);
    let connected = tokio::time::timeout(Duration::from_secs(ANSWER_WITHIN), connecting).await;
    silent.store(connected.is_err(), Ordering::Relaxed);
    let connected = match connected {
        Ok(connected) => connected.map_err(failed(CONNECT)),
        Err(_) => Err(too_slow(CONNECT, ANSWER_WITHIN)),
    };
    connected.map_err(|error| {
        let remedy = match error.kind {
            PortErrorKind::Invalid => "check user, password and vhost in [broker] url",
            PortErrorKind::Conflict(_) | PortErrorKind::Unavailable | PortErrorKind::Full => "check that it runs there",
        };
        let message = format!("{address}: {}; {remedy}", error.message);
        PortError { message, ..error }
    })
}

/// Waits until the server answers to the first word of the protocol.
async fn speaks(uri: &AMQPUri) -> Result<(), String> {
    let greeted = async {
        let mut stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        stream.read_u8().await
    };
    match tokio::time::timeout(Duration::from_secs(ANSWER_WITHIN), greeted).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("whoever listens there has said nothing for {ANSWER_WITHIN} s")),
    }
}

/// Asks the server something now and then; returns when it does not answer any more, or the queue is gone.
///
/// While `silent` says so, it is not expected to answer.
pub(super) async fn watch_over(connection: &Connection, queue: &str, silent: impl Fn() -> bool + Send) -> PortError {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if silent() {
            continue;
        }
        match tokio::time::timeout(Duration::from_secs(ANSWER_WITHIN), topology::depth(connection, queue)).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return PortError::new(PortErrorKind::Unavailable, CONNECT, format!("queue {queue} is gone")),
            Ok(Err(error)) => return error,
            Err(_) if silent() => {}
            Err(_) => return too_slow(CONNECT, ANSWER_WITHIN),
        }
    }
}
