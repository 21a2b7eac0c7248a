//! Connections as they come in, encrypted or not.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

/// How long a connection may take to agree on its encryption.
const AGREE_WITHIN: Duration = Duration::from_secs(10);
/// Connections that agree on it at once, at most; more of them wait to be accepted.
const AGREEING: usize = 256;
/// Connections at once, at most; the operating system keeps some more waiting.
const OPEN_MAX: usize = 4096;
/// How long nothing is accepted after that failed for want of something.
const REST: Duration = Duration::from_secs(1);

/// Where connections come in.
#[derive(Debug)]
pub struct Listening {
    way: Way,
    open: Arc<Semaphore>,
}

/// A connection that was agreed on, with its place among those that are open.
type Agreed = (TlsStream<TcpStream>, SocketAddr, OwnedSemaphorePermit);

#[derive(Debug)]
enum Way {
    Plain(TcpListener),
    /// Agreed on by a task of its own: one slow connection must not hold up the others.
    Encrypted(mpsc::Receiver<Agreed>, JoinHandle<()>),
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Way::Encrypted(_, task) = &self.way {
            task.abort();
        }
    }
}

impl Listening {
    /// Accepts what comes, encrypted if it is said how.
    pub fn new(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Self {
        let open = Arc::new(Semaphore::new(OPEN_MAX));
        let way = match tls {
            None => Way::Plain(listener),
            Some(tls) => {
                let (agreed, come) = mpsc::channel(AGREEING);
                Way::Encrypted(come, tokio::spawn(encrypt(listener, tls.into(), open.clone(), agreed)))
            }
        };
        Self { way, open }
    }
}

async fn encrypt(listener: TcpListener, acceptor: TlsAcceptor, open: Arc<Semaphore>, agreed: mpsc::Sender<Agreed>) {
    let agreeing = Arc::new(Semaphore::new(AGREEING));
    loop {
        // The semaphores are never closed.
        let Ok(turn) = agreeing.clone().acquire_owned().await else { return };
        let Ok(place) = open.clone().acquire_owned().await else { return };
        let (stream, peer) = accept(&listener).await;
        let (acceptor, agreed) = (acceptor.clone(), agreed.clone());
        tokio::spawn(async move {
            let _turn = turn;
            match tokio::time::timeout(AGREE_WITHIN, acceptor.accept(stream)).await {
                // It fails when the server stops.
                Ok(Ok(stream)) => drop(agreed.send((stream, peer, place)).await),
                Ok(Err(error)) => tracing::debug!(error = %error, "a connection was not encrypted as it must be"),
                Err(_) => tracing::debug!("a connection took too long to be encrypted"),
            }
        });
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // Whoever called has hung up.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::error!(error = %error, "no connection can be accepted; trying again");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

impl Listening {
    /// The next connection that is ready to be answered. May be dropped while it waits.
    pub async fn accept(&mut self) -> (Connection, SocketAddr) {
        match &mut self.way {
            Way::Plain(listener) => {
                // The semaphore is never closed.
                let Ok(place) = self.open.clone().acquire_owned().await else { return std::future::pending().await };
                let (stream, peer) = accept(listener).await;
                (Connection { stream: Stream::Plain(stream), _place: place }, peer)
            }
            Way::Encrypted(come, _) => match come.recv().await {
                Some((stream, peer, place)) => (Connection { stream: Stream::Encrypted(Box::new(stream)), _place: place }, peer),
                // The task goes on as long as this does.
                None => std::future::pending().await,
            },
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Stream::Encrypted(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Encrypted(stream) => stream.is_write_vectored(),
        }
    }
}
