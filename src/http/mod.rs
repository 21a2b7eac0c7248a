//! The HTTP edge: adapters hand in and fetch here, people and programs read. Every error of a route is a problem document
//! (RFC 9457), every error of a page is a page.

mod console;
mod guard;
mod problem;
mod query;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use crate::engine::activity::Activity;
use crate::engine::acts::Acts;
use crate::engine::caches::Caches;
use crate::engine::directory::Directory;
use crate::engine::resync::Resync;
use crate::engine::settings::Settings;
use crate::ports::broker::{Inbox, LocalQueues};
use crate::ports::clock::Clock;
use crate::ports::store::Store;
use crate::telemetry::Metrics;
use crate::wire::Limits;

pub use self::problem::Problem;

/// Largest body that is no stream, in bytes: an array of updates.
const BODY_MAX: usize = 16 * 1024 * 1024;
/// How long an answer may take; longer waits (leases, streams) have limits of their own.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long open connections may go on after a stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What the routes work with.
#[derive(Clone, Debug)]
pub struct Api {
    /// Everything that is known.
    pub store: Arc<dyn Store>,
    /// Where messages are handed in.
    pub inbox: Arc<dyn Inbox>,
    /// The queues of the systems; `None` where a message broker keeps them.
    pub queues: Option<Arc<dyn LocalQueues>>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What the engine runs by.
    pub settings: Arc<Settings>,
    /// Who takes part.
    pub directory: Arc<Directory>,
    /// What the engine remembers.
    pub caches: Arc<Caches>,
    /// What the engine does besides taking messages.
    pub activity: Arc<Activity>,
    /// Sends a system what it lacks.
    pub resync: Resync,
    /// Does what people ask for about updates that wait and about dead letters.
    pub acts: Acts,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// How big messages may be.
    pub limits: Limits,
    /// Whether the engine runs.
    pub ready: Arc<AtomicBool>,
    /// Becomes true when the server stops: those who wait for something stop waiting.
    pub stopping: watch::Receiver<bool>,
}

impl Api {
    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst) && !*self.stopping.borrow()
    }
}

fn router(api: Api) -> Router {
    let quick = Router::new()
        .route("/v1/entities/{type}", get(routes::entities::list))
        .route("/v1/entities/{type}/{id}", get(routes::entities::one))
        .route("/v1/entities/{type}/{id}/history", get(routes::entities::history))
        .route("/v1/entities/{type}/{id}/why", get(routes::entities::why))
        .route("/v1/entities/{type}/{id}/merge", post(routes::identity::merge))
        .route("/v1/entities/{type}/{id}/split", post(routes::identity::split))
        .route("/v1/entities/{type}/{id}/erase", post(routes::identity::erase))
        .route("/v1/lookup", get(routes::systems::lookup))
        .route("/v1/systems", get(routes::systems::list))
        .route("/v1/systems/{system}/view/{type}/{id}", get(routes::systems::view))
        .route("/v1/systems/{system}/held/{type}", get(routes::systems::held))
        .route("/v1/systems/{system}/compare", get(routes::resync::differences))
        .route("/v1/systems/{system}/pause", post(routes::holds::pause))
        .route("/v1/brakes", get(routes::holds::list))
        .route("/v1/decisions", get(routes::decisions::list))
        .route("/v1/events", get(routes::events::stream))
        .route("/v1/decisions/{update}", get(routes::decisions::one))
        .route("/v1/parked", get(routes::decisions::parked))
        .route("/v1/parked/{update}", get(routes::people::one))
        .route("/v1/parked/{update}/approve", post(routes::people::approve))
        .route("/v1/parked/{update}/reject", post(routes::people::reject))
        .route("/v1/parked/{update}/retry", post(routes::people::retry))
        .route("/v1/dead-letters", get(routes::decisions::dead_letters))
        .route("/v1/dead-letters/{id}/requeue", post(routes::people::requeue))
        .route("/v1/dead-letters/{id}/discard", post(routes::people::discard))
        .route("/v1/status", get(routes::health::status))
        .route("/metrics", get(routes::health::metrics))
        .route("/healthz", get(routes::health::alive))
        .route("/readyz", get(routes::health::ready))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_WITHIN));
    let slow = Router::new()
        .route("/v1/updates", post(routes::updates::take_in))
        .route("/v1/systems/{system}/lease", post(routes::lease::lease))
        .layer(DefaultBodyLimit::disable())
        // They look at every record there is.
        .route("/v1/brakes/{id}/release", post(routes::holds::release))
        .route("/v1/brakes/{id}/discard", post(routes::holds::discard))
        .route("/v1/resync", post(routes::resync::everybody))
        .route("/v1/systems/{system}/resync", post(routes::resync::resync))
        .route("/v1/systems/{system}/resume", post(routes::holds::resume));
    let header = |name: &'static str, value: &'static str| {
        SetResponseHeaderLayer::overriding(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    quick
        .merge(slow)
        .merge(console::router().layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_WITHIN)))
        .fallback(console::not_there)
        .method_not_allowed_fallback(routes::not_that_way)
        .layer(middleware::from_fn_with_state(Arc::new(Semaphore::new(guard::OPEN_MAX)), guard::pass))
        .layer(header("x-content-type-options", "nosniff"))
        .layer(SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .with_state(Arc::new(api))
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, lets the open ones end, and stops; within 5 seconds.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_WITHIN, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Starts to serve. `api.stopping` is replaced by the server's own.
pub fn serve(listener: TcpListener, api: Api) -> std::io::Result<Server> {
    let address = listener.local_addr()?;
    let (stop, stopping) = watch::channel(false);
    let mut told = stopping.clone();
    let router = router(Api { stopping, ..api });
    let stopped = async move {
        let _ = told.wait_for(|stop| *stop).await;
    };
    let task = tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await });
    Ok(Server { address, stop, task })
}
