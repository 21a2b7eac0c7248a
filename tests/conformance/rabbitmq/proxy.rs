//! A wire that can be cut, or go dead without a word.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to what is sent over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// It arrives.
    Whole,
    /// It vanishes, and nobody is told.
    Dead,
    /// The connection ends. The number tells one cut from the next.
    Cut(u64),
}

/// Stands between the broker under test and the server.
pub struct Proxy {
    address: SocketAddr,
    wire: Arc<watch::Sender<Wire>>,
}

impl Proxy {
    /// Leads to the server of this URL.
    pub async fn to(url: &str) -> Self {
        let target = authority(url).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Arc::new(watch::Sender::new(Wire::Whole));
        let state = wire.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_in, far_out, state.subscribe()));
                tokio::spawn(pass(far_in, near_out, state.subscribe()));
            }
        });
        Self { address, wire }
    }

    /// The URL by way of it.
    pub fn url(&self, url: &str) -> String {
        url.replace(authority(url), &self.address.to_string())
    }

    /// Ends every connection. New ones work.
    pub fn cut(&self) {
        self.wire.send_modify(|wire| *wire = Wire::Cut(if let Wire::Cut(n) = wire { *n + 1 } else { 0 }));
    }

    /// Swallows everything from now on.
    pub fn go_dead(&self) {
        self.wire.send_replace(Wire::Dead);
    }
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").unwrap().1;
    let authority = rest.split(['/', '?']).next().unwrap();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut wire: watch::Receiver<Wire>) {
    let started = *wire.borrow_and_update();
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let now = *wire.borrow();
        if matches!(now, Wire::Cut(_)) && now != started {
            return;
        }
        tokio::select! {
            read = from.read(&mut bytes) => {
                let Ok(count @ 1..) = read else { return };
                // What was read when the wire was dead already is lost, as everything after it.
                if *wire.borrow() != Wire::Dead && to.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
            changed = wire.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}
