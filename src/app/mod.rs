//! Puts the parts together: the only place that knows which backends there are.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

mod carrier;
mod demo;
mod keeper;
mod syncline;
mod topology;

use crate::backends::embedded::{Embedded, Options};
use crate::cli::{self, Failure, Host, Opening, Orchestrating, Stage};
use crate::config::{self, BrokerKind, Config, StoreKind};
use crate::domain::ids::CanonicalId;
use crate::domain::time::Timestamp;
use crate::ports::clock::{Clock, Ids};
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::store::Store;

pub use self::syncline::{Orchestrator, StartError, Syncline};

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[allow(clippy::disallowed_methods, reason = "the one place where real time comes in")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Canonical ids as UUIDv7: time first, then chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn canonical(&self, _: Timestamp) -> CanonicalId {
        CanonicalId(uuid::Uuid::now_v7())
    }
}

fn open(folder: &Path) -> Result<Arc<dyn Store>, PortError> {
    Ok(Embedded::open(folder, &Options::default())?.store)
}

fn connect(store: config::Store, create: bool) -> Opening {
    Box::pin(async move { Ok(keeper::mongodb(&store, create).await?) })
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(errors) => errors.into(),
            StartError::Port(error) => error.into(),
            // Started again it would fail again: the configuration, or what it names there, has to change.
            StartError::Broker(error) | StartError::Store(error) if error.kind == PortErrorKind::Invalid => Self::configuration(error),
            StartError::Broker(error) | StartError::Store(error) => error.into(),
            StartError::Access(..) => Self::internal(error),
            StartError::Listen(..) => Self::unreachable(error),
            StartError::Name(..) => Self::configuration(error),
        }
    }
}

fn orchestrate(config: Config, rolling: bool) -> Orchestrating {
    Box::pin(async move {
        let store = match config.store.kind {
            StoreKind::Embedded => config.store.path.display().to_string(),
            StoreKind::Mongodb => format!("mongodb, database {}", config.store.database),
        };
        let broker = config.broker.kind;
        let scheme = if config.http.tls.is_some() { "https" } else { "http" };
        let orchestrator = Syncline::new(config).rolling(rolling).serve().await?;
        if let Some(address) = orchestrator.address() {
            let broker = match broker {
                BrokerKind::Embedded => "embedded",
                BrokerKind::Rabbitmq => "rabbitmq",
            };
            tracing::info!(http = %format!("{scheme}://{address}"), store, broker, "ready; Ctrl-C ends it");
        }
        Ok(orchestrator.until_told().await?)
    })
}

fn play(stage: Stage, stay: bool) -> Orchestrating {
    Box::pin(async move {
        demo::run(stage, stay).await.map_err(|error| match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => Failure::internal(format!("{error:#}")),
        })
    })
}

/// Runs the command line with everything it may use.
#[must_use]
pub fn main() -> ExitCode {
    cli::run(&Host {
        open,
        connect,
        orchestrate,
        demo: play,
        topology: topology::print,
        check_topology: topology::check,
        openapi: crate::http::openapi::document,
        tap: carrier::tap,
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
    })
}
