//! The adapter: what it sends, and what it hands to its handlers.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use syncline_contract::{OutboundOp, Record, Update};
use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};
use uuid::Uuid;

use crate::handlers::{CreateHandler, Done, Handler, Handlers, Registration, Stored, UpdateHandler, model};
use crate::outgoing::{Outgoing, Ticket};
use crate::state::{MemoryState, State};
use crate::transport::{Http, Transport};
use crate::{Credentials, Error};

/// A record as the system holds it, in its own names and with its own ids. References are its own ids too.
pub trait NativeModel: Serialize + DeserializeOwned + Send + 'static {
    /// The entity type all systems know it by: `device`.
    const TYPE: &'static str;

    /// The field that holds the record's own id (`id_field` in the configuration).
    const ID_FIELD: &'static str = "id";

    /// The record's own id.
    fn native_id(&self) -> String;

    /// The rev applied last when this was read, if the system keeps it in the record itself (written by the handler in the
    /// same transaction: exact even over a crash between the two). Usually `None`: the adapter remembers it.
    fn base(&self) -> Option<u64> {
        None
    }
}

tokio::task_local! {
    /// Set while a handler runs.
    pub(crate) static HANDLING: ();
}

/// One system's connection to the broker. Clones are the same adapter.
///
/// Everything it sends goes out in one ordered stream, and is tried again with the same id until the broker has it.
/// While a handler runs, nothing is read in between: see [`Adapter::reading`].
#[derive(Clone, Debug)]
pub struct Adapter {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub system: String,
    pub transport: Arc<dyn Transport>,
    pub state: Arc<dyn State>,
    pub handlers: Arc<Handlers>,
    pub outgoing: Outgoing,
    /// Written by who applies a message, read by who reads a record and puts it into the stream: so it is always known
    /// which messages a record had seen when it was read.
    pub gate: Arc<RwLock<()>>,
    pub stop: watch::Sender<bool>,
}

impl Adapter {
    /// The adapter of a system, at the broker with this address. What it applied is forgotten with the process unless
    /// [`Adapter::with`] is given a lasting state.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(url: &str, system: &str) -> Result<Self, Error> {
        Self::at(url, system, MemoryState::default())
    }

    /// The adapter of a system, at the broker with this address, with a state of your choice: `http://…`, with the feature
    /// `tls` also `https://…`, with the feature `amqp` also `amqp://…` and `amqps://…`. Over HTTP it shows the token of the
    /// environment, if there is one ([`Credentials::from_env`](crate::Credentials::from_env)).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn at(url: &str, system: &str, state: impl State) -> Result<Self, Error> {
        Self::known(url, system, state, &Credentials::from_env()?)
    }

    /// As [`Adapter::at`], with credentials of your choice. Over AMQP the address itself says who it is; of the credentials only the
    /// certificates it believes count.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn known(url: &str, system: &str, state: impl State, credentials: &Credentials) -> Result<Self, Error> {
        #[cfg(feature = "amqp")]
        if url.starts_with("amqp") {
            return Ok(Self::with(crate::Amqp::with(url, credentials)?, system, state));
        }
        Ok(Self::with(Http::with(url, credentials)?, system, state))
    }

    /// An adapter with a transport and a state of your choice.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn with(transport: impl Transport, system: &str, state: impl State) -> Self {
        let transport: Arc<dyn Transport> = Arc::new(transport);
        let (stop, stopped) = watch::channel(false);
        let inner = Inner {
            system: system.to_owned(),
            outgoing: Outgoing::start(transport.clone(), stopped),
            transport,
            state: Arc::new(state),
            handlers: Arc::default(),
            gate: Arc::default(),
            stop,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The system's name.
    #[must_use]
    pub fn system(&self) -> &str {
        &self.inner.system
    }

    /// Registers what applies a changed record: it makes the system's record look like the model.
    ///
    /// One handler runs at a time. It must not send; what it changes is reported by the system's change feed.
    pub fn on<T: NativeModel>(&self, handler: impl UpdateHandler<T>) -> Registration {
        let handler: Handler = Arc::new(move |message| {
            let applying = model(&message).map(|model| handler(model, message));
            Box::pin(async move {
                let Stored(stored) = applying?.await?.into();
                Ok(Done { native_id: None, stored })
            })
        });
        self.inner.handlers.add(T::TYPE, OutboundOp::Update, handler)
    }

    /// Registers what makes a new record. It returns the record's new id.
    ///
    /// It means *find or create*: a message may come again after a crash, and the record may have been made there
    /// meanwhile. Look for it by its key before making another.
    pub fn on_new<T: NativeModel>(&self, handler: impl CreateHandler<T>) -> Registration {
        let handler: Handler = Arc::new(move |message| {
            let applying = model(&message).map(|model| handler(model, message));
            Box::pin(async move { Ok(Done { native_id: Some(applying?.await?.into()), stored: None }) })
        });
        self.inner.handlers.add(T::TYPE, OutboundOp::Create, handler)
    }

    /// Registers what deletes a record, by its id. A record that is gone already is deleted.
    pub fn on_delete<T: NativeModel>(&self, handler: impl UpdateHandler<String>) -> Registration {
        let handler: Handler = Arc::new(move |message| {
            let applying = handler(message.native_id.clone().unwrap_or_default(), message);
            Box::pin(async move {
                applying.await?;
                Ok(Done::default())
            })
        });
        self.inner.handlers.add(T::TYPE, OutboundOp::Delete, handler)
    }

    /// Sends a record. Returns when the broker has it durably.
    ///
    /// The record must be what the system holds **now**: where handlers run beside, read it under [`Adapter::reading`].
    pub async fn send<T: NativeModel>(&self, model: &T) -> Result<(), Error> {
        self.reading().await?.send(model).await
    }

    /// Sends only what changed in a record, at the moment of the edit. Returns when the broker has it durably.
    pub async fn send_patch<T: NativeModel>(&self, native_id: &str, changed: impl Serialize) -> Result<(), Error> {
        self.reading().await?.send_patch::<T>(native_id, changed).await
    }

    /// Says that a record is gone. Returns when the broker has it durably.
    pub async fn delete<T: NativeModel>(&self, native_id: &str) -> Result<(), Error> {
        self.reading().await?.delete::<T>(native_id).await
    }

    /// Holds back handlers while a record is read and sent, so that the broker is told exactly what it had seen.
    ///
    /// ```
    /// # use syncline_sdk::{Adapter, Error, NativeModel, testing::Broker};
    /// # use serde::{Serialize, Deserialize};
    /// # #[derive(Serialize, Deserialize)] struct Device { id: String, name: String }
    /// # impl NativeModel for Device { const TYPE: &'static str = "device"; fn native_id(&self) -> String { self.id.clone() } }
    /// # fn read(id: &str) -> Device { Device { id: id.into(), name: "Pump".into() } }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let adapter = Broker::new().adapter("bms");
    /// let reading = adapter.reading().await?;
    /// let device = read("bmsD1"); // from the system's own database
    /// reading.send(&device).await?; // handlers go on as soon as it is in the stream
    /// # Ok(()) }
    /// ```
    ///
    /// Hold one at a time: a second one waits for handlers that wait for the first.
    pub async fn reading(&self) -> Result<Reading, Error> {
        if HANDLING.try_with(|()| ()).is_ok() {
            return Err(Error::InHandler);
        }
        Ok(Reading { gate: self.inner.gate.clone().read_owned().await, adapter: self.clone() })
    }

    /// Ends [`Adapter::run`] after the message at hand. What the broker does not take any more fails with
    /// [`Error::Stopped`].
    pub fn stop(&self) {
        self.inner.stop.send_replace(true);
    }
}

/// No message is applied while it lives; made by [`Adapter::reading`]. Read, then send.
#[derive(Debug)]
pub struct Reading {
    adapter: Adapter,
    gate: OwnedRwLockReadGuard<()>,
}

impl Reading {
    /// Sends a record that was read since. Returns when the broker has it durably.
    pub async fn send<T: NativeModel>(self, model: &T) -> Result<(), Error> {
        let ticket = self.put_model(model).await?;
        self.settled([ticket]).await
    }

    /// Sends records that were read since, in this order. Returns when the broker has them durably.
    pub async fn send_all<T: NativeModel>(self, models: &[T]) -> Result<(), Error> {
        let mut tickets = Vec::with_capacity(models.len());
        for model in models {
            tickets.push(self.put_model(model).await?);
        }
        self.settled(tickets).await
    }

    /// Sends only what changed in a record. Returns when the broker has it durably.
    pub async fn send_patch<T: NativeModel>(self, native_id: &str, changed: impl Serialize) -> Result<(), Error> {
        let update = Update::patch(new_id(), &self.adapter.inner.system, T::TYPE, native_id, record(&changed)?);
        let ticket = self.put(update, None).await?;
        self.settled([ticket]).await
    }

    /// Says that a record is gone. Returns when the broker has it durably.
    pub async fn delete<T: NativeModel>(self, native_id: &str) -> Result<(), Error> {
        let update = Update::delete(new_id(), &self.adapter.inner.system, T::TYPE, native_id);
        let ticket = self.put(update, None).await?;
        // Should the broker want it back, it sends a create: that must not be taken for a change of the record that is gone.
        let state = &self.adapter.inner.state;
        if let Some(applied) = state.of_native(T::TYPE, native_id)? {
            state.save(&applied.deleted())?;
        }
        self.settled([ticket]).await
    }

    async fn put_model<T: NativeModel>(&self, model: &T) -> Result<Ticket, Error> {
        let update = Update::upsert(new_id(), &self.adapter.inner.system, T::TYPE, model.native_id(), record(model)?);
        self.put(update, model.base()).await
    }

    /// Puts an update into the stream, with what was applied last.
    async fn put(&self, update: Update, base: Option<u64>) -> Result<Ticket, Error> {
        let inner = &self.adapter.inner;
        let native_id = update.native_id.as_deref().unwrap_or_default();
        let applied = inner.state.of_native(&update.entity_type, native_id)?;
        let base = base.or(applied.as_ref().map(|applied| applied.rev));
        let canonical_id = applied.map(|applied| applied.canonical_id);
        inner.outgoing.put(&Update { base, canonical_id, ..update }).await
    }

    /// Lets handlers go on, and waits for the broker.
    async fn settled(self, tickets: impl IntoIterator<Item = Ticket>) -> Result<(), Error> {
        drop(self.gate);
        for ticket in tickets {
            ticket.await.unwrap_or(Err(Error::Stopped))?;
        }
        Ok(())
    }
}

/// An id no other message has.
pub(crate) fn new_id() -> String {
    Uuid::now_v7().to_string()
}

fn record(fields: &impl Serialize) -> Result<Record, Error> {
    match serde_json::to_value(fields) {
        Ok(Value::Object(record)) => Ok(record),
        Ok(other) => Err(Error::Model(format!("it must be a JSON object, not {other}"))),
        Err(error) => Err(Error::Model(error.to_string())),
    }
}
