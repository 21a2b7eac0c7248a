//! The HTTP edge: adapters hand in and fetch here, people and programs read. Every error of a route is a problem document
//! (RFC 9457), every error of a page is a page.

pub mod access;
mod console;
mod guard;
mod if_match;
mod listen;
pub mod openapi;
mod problem;
mod query;
mod routes;
mod serving;
pub mod table;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ServerConfig;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use crate::config::{Config, ConfigErrors, Tokens};
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

use self::access::{Access, Door, Form, Needs};
use self::guard::{Guard, Hosts};
use self::listen::Listening;
use self::table::Route;

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
    /// Who may come in.
    pub access: Arc<Access>,
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

fn router(api: Api, hosts: Hosts) -> Router {
    let door = |needs, form| {
        let door = Door { access: api.access.clone(), metrics: api.metrics.clone(), needs, form };
        middleware::from_fn_with_state(door, access::pass)
    };
    let (mut quick, mut slow) = (Router::new(), Router::new());
    for Route { path, needs, quick: is_quick, form, handler, .. } in table::table() {
        let handler = handler.route_layer(door(needs, form));
        if is_quick {
            quick = quick.route(path, handler);
        } else {
            slow = slow.route(path, handler);
        }
    }
    let header = |name: &'static str, value: &'static str| {
        SetResponseHeaderLayer::overriding(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let usual = |name: HeaderName, value: &'static str| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    quick
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_WITHIN))
        .merge(slow)
        .fallback(any(console::not_there).layer(door(Needs::Name, Form::Header)))
        .method_not_allowed_fallback(any(routes::not_that_way).layer(door(Needs::Name, Form::Header)))
        .layer(middleware::from_fn(problem::complete))
        .layer(middleware::from_fn_with_state(Arc::new(Guard::new(hosts, api.metrics.clone())), guard::pass))
        .layer(header("x-content-type-options", "nosniff"))
        // Not "no-referrer": by that, browsers keep back where a form of our own is from, too.
        .layer(header("referrer-policy", "same-origin"))
        // A page says more; what is no page loads nothing and is shown in none.
        .layer(usual(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .layer(usual(CACHE_CONTROL, "no-store"))
        .with_state(Arc::new(api))
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
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

/// What the files of `[http]` hold: who may come in, and how connections are encrypted. What is worth a thought is logged.
pub fn files(config: &Config) -> Result<(Option<Tokens>, Option<Arc<ServerConfig>>), ConfigErrors> {
    let tls = config.http.tls.as_ref().map(tls::server).transpose();
    // Both are looked at, whichever is wrong: each may have something to report.
    let (tokens, tls) = match (config.tokens(), tls) {
        (Ok(tokens), Ok(tls)) => (tokens, tls),
        (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => return Err(errors),
        (Err(mut errors), Err(more)) => {
            errors.problems.extend(more.problems);
            errors.warnings.extend(more.warnings);
            return Err(errors);
        }
    };
    let warnings = tokens.iter().flat_map(|tokens| &tokens.warnings).chain(tls.iter().flat_map(|(_, warnings)| warnings));
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok((tokens, tls.map(|(tls, _)| tls)))
}

/// How a server is reached.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    /// Names it may be asked for by, besides its addresses and `localhost`.
    pub hosts: Vec<String>,
    /// How its connections are encrypted, if they are.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Starts to serve. `api.stopping` is replaced by the server's own.
pub fn serve(listener: TcpListener, api: Api, edge: Edge) -> std::io::Result<Server> {
    let address = listener.local_addr()?;
    let (stop, stopping) = watch::channel(false);
    let told = stopping.clone();
    let forms = table::table().into_iter().filter(|route| route.form == Form::Field).map(|route| route.path).collect();
    let hosts = Hosts::new(api.access.is_guarded(), &edge.hosts, forms);
    let router = router(Api { stopping, ..api }, hosts);
    let listening = Listening::new(listener, edge.tls);
    let task = tokio::spawn(serving::serve(listening, router, told));
    Ok(Server { address, stop, task })
}
