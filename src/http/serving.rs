//! Connections, answered one by one until the server stops.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service;

use super::access::Peer;
use super::listen::{Connection, Listening};

/// How long a request may take to say what it wants; also, how long a connection is kept that wants nothing.
const HEAD_WITHIN: Duration = Duration::from_secs(60);

/// Answers whatever comes. Once it is told to stop it takes nothing new, and returns when all that is open has ended.
pub async fn serve(mut listening: Listening, router: Router, mut stop: watch::Receiver<bool>) {
    let mut open = JoinSet::new();
    loop {
        let (connection, peer) = tokio::select! {
            accepted = listening.accept() => accepted,
            Some(_) = open.join_next() => continue,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        open.spawn(answer(connection, Peer(peer.ip()), router.clone(), stop.clone()));
    }
    drop(listening);
    while open.join_next().await.is_some() {}
}

async fn answer(connection: Connection, peer: Peer, router: Router, mut stop: watch::Receiver<bool>) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (mut router, mut request) = (router.clone(), request.map(Body::new));
        request.extensions_mut().insert(peer);
        async move {
            let answered: Result<Response, Infallible> = router.call(request).await;
            answered
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let mut answering = pin!(http.serve_connection(TokioIo::new(connection), service));
    let told = async { drop(stop.wait_for(|stop| *stop).await) };
    let ended = tokio::select! {
        ended = answering.as_mut() => Some(ended),
        () = told => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            answering.as_mut().graceful_shutdown();
            answering.await
        }
    };
    // It is the other end's business how it hangs up.
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;

    /// Time passes as soon as nobody has anything to do.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_is_given_up_and_a_whole_one_is_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, told) = watch::channel(false);
        let router = Router::new().route("/", get(|peer: Peer| async move { peer.0.to_string() }));
        let serving = tokio::spawn(serve(Listening::new(listener, None), router, told));

        let mut whole = TcpStream::connect(address).await.unwrap();
        whole.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        whole.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("127.0.0.1"), "{answer}");

        let (mut endless, began) = (TcpStream::connect(address).await.unwrap(), Instant::now());
        endless.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let mut answer = String::new();
        endless.read_to_string(&mut answer).await.unwrap();
        assert!(!answer.contains("200 OK") && began.elapsed() >= HEAD_WITHIN, "{answer} after {:?}", began.elapsed());
        assert!(began.elapsed() < 2 * HEAD_WITHIN);

        stop.send_replace(true);
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "nothing new is taken");
    }
}
