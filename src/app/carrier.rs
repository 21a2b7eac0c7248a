//! What carries the messages, as the configuration says.

use std::sync::Arc;

use super::keeper::Folder;
use super::{StartError, SystemClock};
use crate::backends::rabbitmq::{Address, Options, RabbitBroker, RabbitTap};
use crate::cli::Tapping;
use crate::config::{self, BrokerKind, Config, Secret};
use crate::domain::ids::SystemName;
use crate::ports::broker::{Broker, Inbox, LocalQueues, Tap};
use crate::ports::clock::Clock;
use crate::ports::error::{PortError, PortErrorKind};

/// A broker, from each of its sides.
pub(super) struct Carrier {
    pub broker: Arc<dyn Broker>,
    pub inbox: Arc<dyn Inbox>,
    /// Where it is a queue server itself.
    pub queues: Option<Arc<dyn LocalQueues>>,
}

impl Carrier {
    /// Opens it. `seen`: systems that took part before.
    pub async fn open(config: &Config, folder: &mut Folder, seen: Vec<SystemName>, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        match config.broker.kind {
            BrokerKind::Embedded => {
                let own = folder.open()?.broker;
                Ok(Self { broker: own.clone(), inbox: own.clone(), queues: Some(own) })
            }
            BrokerKind::Rabbitmq => {
                let mut options = options(config, clock).map_err(StartError::Broker)?;
                options.systems.extend(seen);
                options.systems.sort();
                options.systems.dedup();
                let broker = Arc::new(RabbitBroker::open(options).await.map_err(StartError::Broker)?);
                Ok(Self { broker: broker.clone(), inbox: broker, queues: None })
            }
        }
    }
}

/// The message broker without an orchestrator in between; `None` where the orchestrator is the broker.
pub(super) fn tap(config: Config) -> Tapping {
    Box::pin(async move {
        match config.broker.kind {
            BrokerKind::Embedded => Ok(None),
            BrokerKind::Rabbitmq => {
                let options = options(&config, Arc::new(SystemClock)).map_err(StartError::Broker)?;
                let tap = RabbitTap::open(options).await.map_err(StartError::Broker)?;
                Ok(Some(Arc::new(tap) as Arc<dyn Tap>))
            }
        }
    })
}

/// What the configuration says about RabbitMQ.
pub(super) fn options(config: &Config, clock: Arc<dyn Clock>) -> Result<Options, PortError> {
    let address = Address::parse(url(&config.broker)?.reveal())?;
    shaped(config, address, clock)
}

fn url(broker: &config::Broker) -> Result<Secret, PortError> {
    broker.address().map_err(|wrong| PortError::new(PortErrorKind::Invalid, "read the address of RabbitMQ", wrong))
}

/// …with the server given.
pub(super) fn shaped(config: &Config, address: Address, clock: Arc<dyn Clock>) -> Result<Options, PortError> {
    let broker = &config.broker;
    if broker.require_user_id && address.user().is_none() {
        let message = "a certificate says who signs in; name that user in [broker] url, too (amqps://USER@host/…): with \
                       require_user_id = true, what comes in over HTTP is published in its name";
        return Err(PortError::new(PortErrorKind::Invalid, "read the address of RabbitMQ", message));
    }
    let mut options = Options::new(address, &broker.prefix, clock)?;
    options.partitions = broker.partitions.get();
    options.prefetch = broker.prefetch.get();
    options.push_updates = config.orchestration.push_updates;
    options.events = config.orchestration.events;
    options.systems = config.systems.keys().cloned().collect();
    Ok(options)
}
