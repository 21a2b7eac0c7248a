//! The library's front door: configuration and handlers in, a running orchestrator out.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use super::carrier::Carrier;
use super::keeper::{self, Folder};
use super::{RandomIds, SystemClock};
use crate::config::{Config, ConfigErrors, environment};
use crate::domain::ids::EntityType;
use crate::engine::attendance::Attendance;
use crate::engine::handlers::{DeleteFn, Handlers, MergeHandler, UpdateFn};
use crate::engine::settings::Settings;
use crate::engine::supervisor::{self, Parts, Running};
use crate::http::access::{Access, NoRandomness};
use crate::http::{self, Api, Edge, Server};
use crate::ports::broker::{HandedIn, Inbox, LocalQueues};
use crate::ports::clock::Clock;
use crate::ports::error::PortError;
use crate::ports::store::Store;
use crate::wire::{Transport, decode, routing_key};

/// Why an orchestrator did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong; every problem is named.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// A name given in code is wrong.
    #[error("on_update({0:?}): {1}")]
    Name(String, String),
    /// The HTTP edge can't listen there.
    #[error("can't listen on {0}: {1}; choose another address with [http] listen, or stop what uses it")]
    Listen(SocketAddr, std::io::Error),
    /// Nobody could be let in safely.
    #[error("{0}")]
    Access(NoRandomness),
    /// The message broker can't be used: it can't be reached, or refuses what the configuration says.
    #[error("{0}")]
    Broker(PortError),
    /// The store can't be used: it can't be reached, or is not as it must be.
    #[error("{0}")]
    Store(PortError),
    /// The store or the broker failed.
    #[error("{0}")]
    Port(#[from] PortError),
}

/// An orchestrator to be: configure it, register merge handlers, run it.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use syncline::prelude::*;
///
/// #[derive(Serialize, Deserialize)]
/// struct Person { full_name: String }
///
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("syncline.toml");
/// # std::fs::write(&file, format!("[store]\npath = {:?}\n", folder.path().join("data")))?;
/// let orchestrator = Syncline::from_config(&file)?
///     .push_updates(true)
///     .on_update("person", |proposed: &mut Person, current: Option<&Person>, meta: &UpdateMeta| {
///         if meta.source() == "legacy_crm" { return Verdict::skip("system is deprecated"); }
///         if let Some(current) = current && current.full_name.len() > proposed.full_name.len() {
///             proposed.full_name = current.full_name.clone(); // keep the better name
///         }
///         Verdict::accept("merged with existing data")
///     })
///     .start().await?; // or `.run().await?`, which goes on until Ctrl-C
/// orchestrator.stop().await?;
/// # Ok(()) }
/// ```
pub struct Syncline {
    config: Config,
    handlers: Handlers,
    handlers_version: Option<String>,
    rolling: bool,
    wrong: Option<StartError>,
}

impl fmt::Debug for Syncline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syncline").field("handlers", &self.handlers).finish_non_exhaustive()
    }
}

impl Default for Syncline {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Syncline {
    /// With a configuration at hand. `Config::default()` needs no file: an embedded store in `./syncline-data`, any
    /// type and system, no push.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, handlers: Handlers::default(), handlers_version: None, rolling: false, wrong: None }
    }

    /// With the configuration in a file, and what the environment (`SYNCLINE__A__B`) overrides.
    ///
    /// Fails with every problem of the file at once.
    pub fn from_config(path: impl AsRef<Path>) -> Result<Self, StartError> {
        Ok(Self::new(Config::load(path.as_ref(), environment())?))
    }

    /// Whether other systems are sent what changed. Overrides the configuration.
    #[must_use]
    pub fn push_updates(mut self, on: bool) -> Self {
        self.config.orchestration.push_updates = on;
        self
    }

    /// Whether it may start beside orchestrators that decide by another configuration: during an upgrade, one after the
    /// other. Default: no.
    #[must_use]
    pub const fn rolling(mut self, on: bool) -> Self {
        self.rolling = on;
        self
    }

    /// Names the version of the merge handlers, any text. It becomes part of what every decision carries as `config`, and
    /// orchestrators with another one do not start beside this one (see [`rolling`](Self::rolling)). Give another one whenever the
    /// handlers may decide otherwise. Default: none, and the hash is that of the configuration alone.
    #[must_use]
    pub fn handlers_version(mut self, version: impl Into<String>) -> Self {
        self.handlers_version = Some(version.into());
        self
    }

    /// Registers a merge handler for a type: a function of the proposed record, the current one, and what is known about
    /// the update. Handlers of one type are asked in the order they were registered; the first verdict other than accept
    /// ends the chain. `T` is any serde type, or [`Record`](crate::domain::change::Record).
    ///
    /// A handler may run more than once for one update, so it must be repeatable.
    #[must_use]
    pub fn on_update<T, F>(mut self, entity_type: &str, handler: F) -> Self
    where
        T: Serialize + DeserializeOwned + 'static,
        F: UpdateFn<T>,
    {
        if let Some(entity_type) = self.named(entity_type) {
            self.handlers.add_function::<T, F>(entity_type, handler);
        }
        self
    }

    /// Registers what is asked when a system deletes a record of a type, with the record as it is. Accept: what the type's
    /// `delete.policy` says becomes of it. Skip: the record stays, and the system is sent it again.
    #[must_use]
    pub fn on_delete<T, F>(mut self, entity_type: &str, handler: F) -> Self
    where
        T: Serialize + DeserializeOwned + 'static,
        F: DeleteFn<T>,
    {
        if let Some(entity_type) = self.named(entity_type) {
            self.handlers.add_for_deletes::<T, F>(entity_type, handler);
        }
        self
    }

    /// Registers an async or stateful merge handler. While it thinks, only its own record waits.
    #[must_use]
    pub fn on_update_with<T, H>(mut self, entity_type: &str, handler: H) -> Self
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        H: MergeHandler<T>,
    {
        if let Some(entity_type) = self.named(entity_type) {
            self.handlers.add_stateful::<T, H>(entity_type, handler);
        }
        self
    }

    fn named(&mut self, name: &str) -> Option<EntityType> {
        match EntityType::new(name) {
            Ok(entity_type) => Some(entity_type),
            Err(error) => {
                self.wrong.get_or_insert(StartError::Name(name.to_owned(), error.to_string()));
                None
            }
        }
    }

    /// Starts it and returns at once.
    pub async fn start(self) -> Result<Orchestrator, StartError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let mut folder = Folder::new(&self.config.store.path);
        let store = keeper::open(&self.config, &mut folder).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let settings = Settings::compile(&self.config);
        let settings = Arc::new(match &self.handlers_version {
            Some(version) => settings.with_handlers(version),
            None => settings,
        });
        let joined = Attendance::join(store.clone(), clock.as_ref(), &settings.rules.config_hash, self.rolling).await;
        let attendance = joined.map_err(StartError::Store)?;
        let seen = store.facts().await?.into_iter().map(|facts| facts.system).collect();
        let Carrier { broker, inbox, queues } = Carrier::open(&self.config, &mut folder, seen, clock.clone()).await?;
        let running = supervisor::start(Parts {
            store: store.clone(),
            broker,
            clock: clock.clone(),
            ids: Arc::new(RandomIds),
            settings: settings.clone(),
            handlers: Arc::new(self.handlers),
            others: attendance.others.clone(),
        })
        .await?;
        Ok(Orchestrator { running, attendance, store, inbox, queues, clock, settings, server: None })
    }

    /// Starts it with its HTTP edge, at the address the configuration says (port 0: any), and returns at once.
    pub async fn serve(self) -> Result<Orchestrator, StartError> {
        let address = self.config.http.listen;
        let (tokens, tls) = http::files(&self.config)?;
        let access = Access::new(tokens.as_ref(), tls.is_some(), Arc::new(SystemClock)).map_err(StartError::Access)?;
        let edge = Edge { hosts: self.config.http.allowed_hosts.clone(), tls };
        // Before the store is opened: an address that is taken is the likelier mistake, and costs nothing to find.
        let listener = TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))?;
        let mut orchestrator = self.start().await?;
        let (_, stopping) = tokio::sync::watch::channel(false);
        let api = Api {
            store: orchestrator.store.clone(),
            inbox: orchestrator.inbox.clone(),
            queues: orchestrator.queues.clone(),
            clock: orchestrator.clock.clone(),
            settings: orchestrator.settings.clone(),
            directory: orchestrator.running.directory.clone(),
            caches: orchestrator.running.caches.clone(),
            activity: orchestrator.running.activity.clone(),
            resync: orchestrator.running.resync.clone(),
            acts: orchestrator.running.acts.clone(),
            metrics: orchestrator.running.metrics.clone(),
            access: Arc::new(access),
            ready: orchestrator.running.ready.clone(),
            stopping,
        };
        orchestrator.server = Some(http::serve(listener, api, edge).map_err(|error| StartError::Listen(address, error))?);
        Ok(orchestrator)
    }

    /// Runs it with its HTTP edge until the process is told to end (Ctrl-C, SIGTERM), then stops it in order.
    pub async fn run(self) -> Result<(), StartError> {
        self.serve().await?.until_told().await
    }
}

impl Orchestrator {
    /// Goes on until the process is told to end (Ctrl-C, SIGTERM), then stops in order.
    pub async fn until_told(mut self) -> Result<(), StartError> {
        let orchestrator = &mut self;
        tokio::select! {
            outcome = orchestrator.running.ended() => outcome,
            () = told_to_end() => Ok(()),
        }?;
        self.stop().await
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn told_to_end() {
    let interrupt = tokio::signal::ctrl_c();
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(error) => {
            tracing::warn!(error = %error, "can't listen for SIGTERM; Ctrl-C ends it");
            let _ = interrupt.await;
        }
    }
}

/// A running orchestrator in this process.
#[derive(Debug)]
pub struct Orchestrator {
    running: Running,
    attendance: Attendance,
    store: Arc<dyn Store>,
    inbox: Arc<dyn Inbox>,
    queues: Option<Arc<dyn LocalQueues>>,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    server: Option<Server>,
}

impl Orchestrator {
    /// Where its HTTP edge listens, if it has one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Server::address)
    }

    /// Takes messages in, durably and all or none: envelopes as adapters send them. Returns before they are decided.
    ///
    /// Fails with [`Full`](crate::ports::error::PortErrorKind::Full) when too many wait already.
    pub async fn submit<M: Serialize>(&self, messages: &[M]) -> Result<(), PortError> {
        let invalid = |error: serde_json::Error| PortError::new(crate::ports::error::PortErrorKind::Invalid, "submit", error);
        let handed_in = |body: Vec<u8>| {
            // What can't be read goes to its dead letter like everything else; the key only says what it stays in order with.
            let message = decode(&body, &Transport::default(), &self.settings.limits);
            let routing_key = message.map_or_else(|_| "unknown".to_owned(), |message| routing_key(&message));
            HandedIn { routing_key, message_id: None, body }
        };
        let messages: Result<Vec<_>, _> = messages.iter().map(|message| serde_json::to_vec(message).map(handed_in)).collect();
        self.inbox.hand_in(messages.map_err(invalid)?, self.clock.now()).await
    }

    /// The broker, to hand in messages and to see how many wait.
    #[must_use]
    pub fn inbox(&self) -> &Arc<dyn Inbox> {
        &self.inbox
    }

    /// The queues of the systems, to lease from; `None` where a message broker keeps them.
    #[must_use]
    pub const fn queues(&self) -> Option<&Arc<dyn LocalQueues>> {
        self.queues.as_ref()
    }

    /// Everything that is known.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What the engine itself shows.
    #[must_use]
    pub const fn engine(&self) -> &Running {
        &self.running
    }

    /// Stops taking messages, finishes what is decided, sends what is due; within about 10 seconds.
    pub async fn stop(self) -> Result<(), StartError> {
        self.running.ready.store(false, Ordering::SeqCst);
        if let Some(server) = self.server {
            server.stop().await;
        }
        self.running.stop().await?;
        self.attendance.leave().await;
        Ok(())
    }
}
