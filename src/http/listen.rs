//! Connections as they come in, encrypted or not.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

/// How long a connection may take to agree on its encryption.
const AGREE_WITHIN: Duration = Duration::from_secs(10);
/// Connections that agree on it at once, at most; more of them wait to be accepted.
const AGREEING: usize = 256;
/// How long nothing is accepted after that failed for want of something.
const REST: Duration = Duration::from_secs(1);

/// Where connections come in.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Plain(TcpListener),
    /// Agreed on by a task of its own: one slow connection must not hold up the others.
    Encrypted(mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>, JoinHandle<()>),
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
    pub fn new(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let way = match tls {
            None => Way::Plain(listener),
            Some(tls) => {
                let (agreed, come) = mpsc::channel(AGREEING);
                Way::Encrypted(come, tokio::spawn(encrypt(listener, tls.into(), agreed)))
            }
        };
        Ok(Self { address, way })
    }
}

async fn encrypt(listener: TcpListener, acceptor: TlsAcceptor, agreed: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>) {
    let agreeing = Arc::new(Semaphore::new(AGREEING));
    loop {
        // The semaphore is never closed.
        let Ok(place) = agreeing.clone().acquire_owned().await else { return };
        let (stream, peer) = accept(&listener).await;
        let (acceptor, agreed) = (acceptor.clone(), agreed.clone());
        tokio::spawn(async move {
            let _place = place;
            match tokio::time::timeout(AGREE_WITHIN, acceptor.accept(stream)).await {
                // It fails when the server stops.
                Ok(Ok(stream)) => drop(agreed.send((stream, peer)).await),
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

impl Listener for Listening {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match &mut self.way {
            Way::Plain(listener) => {
                let (stream, peer) = accept(listener).await;
                (Connection::Plain(stream), peer)
            }
            Way::Encrypted(come, _) => match come.recv().await {
                Some((stream, peer)) => (Connection::Encrypted(Box::new(stream)), peer),
                // The task goes on as long as this does.
                None => std::future::pending().await,
            },
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// One connection.
#[derive(Debug)]
pub enum Connection {
    /// As it is.
    Plain(TcpStream),
    /// By TLS.
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Encrypted(stream) => stream.is_write_vectored(),
        }
    }
}
