//! The adapter author's functions, by entity type and what they do.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use syncline_contract::{Outbound, OutboundOp, Record};

use crate::NativeModel;

/// Why a handler did not apply a message. What it returns an error for must not have changed anything.
///
/// Any error becomes "failed" by `?`; [`Refusal::rejected`] says that the same content will never be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not now; the broker sends it again.
    Failed(String),
    /// Never in this form; the broker does not send the same content again.
    Rejected(String),
}

impl Refusal {
    /// Not now, for this reason.
    pub fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }

    /// Never in this form, for this reason.
    pub fn rejected(reason: impl fmt::Display) -> Self {
        Self::Rejected(reason.to_string())
    }
}

impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}

/// The fields a system keeps in another form than it was sent: cut off, rounded. `()` means none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored(pub Option<Record>);

impl From<()> for Stored {
    fn from((): ()) -> Self {
        Self(None)
    }
}

impl From<Record> for Stored {
    fn from(fields: Record) -> Self {
        Self(Some(fields))
    }
}

/// What applies a changed record: `async` functions and closures of a model and its message.
///
/// ```
/// # use syncline_sdk::{Adapter, NativeModel, Refusal, testing::Broker};
/// # use serde::{Serialize, Deserialize};
/// # #[derive(Serialize, Deserialize)] struct Device { id: String, name: String }
/// # impl NativeModel for Device { const TYPE: &'static str = "device"; fn native_id(&self) -> String { self.id.clone() } }
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let adapter = Broker::new().adapter("bms");
/// let registration = adapter.on(async |device: Device, _| {
///     if device.name.is_empty() { return Err(Refusal::rejected("a device needs a name")); }
///     std::fs::write(std::env::temp_dir().join("device"), device.name)?; // an error means: not now, send it again
///     Ok(())
/// });
/// registration.cancel();
/// # }
/// ```
pub trait UpdateHandler<T>: Fn(T, Outbound) -> Self::Applying + Send + Sync + 'static {
    /// Its future.
    type Applying: Future<Output = Result<Self::Stored, Refusal>> + Send + 'static;
    /// `()`, or the fields that are stored in another form.
    type Stored: Into<Stored>;
}

impl<T, F, R, S> UpdateHandler<T> for F
where
    F: Fn(T, Outbound) -> R + Send + Sync + 'static,
    R: Future<Output = Result<S, Refusal>> + Send + 'static,
    S: Into<Stored>,
{
    type Applying = R;
    type Stored = S;
}

/// What makes a new record and returns its id: see [`UpdateHandler`].
pub trait CreateHandler<T>: Fn(T, Outbound) -> Self::Creating + Send + Sync + 'static {
    /// Its future.
    type Creating: Future<Output = Result<Self::NativeId, Refusal>> + Send + 'static;
    /// The new id.
    type NativeId: Into<String>;
}

impl<T, F, R, I> CreateHandler<T> for F
where
    F: Fn(T, Outbound) -> R + Send + Sync + 'static,
    R: Future<Output = Result<I, Refusal>> + Send + 'static,
    I: Into<String>,
{
    type Creating = R;
    type NativeId = I;
}

/// What a handler came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Done {
    /// The new native id, from a create.
    pub native_id: Option<String>,
    /// What is kept in another form.
    pub stored: Option<Record>,
}

pub(crate) type Applying = Pin<Box<dyn Future<Output = Result<Done, Refusal>> + Send>>;
pub(crate) type Handler = Arc<dyn Fn(Outbound) -> Applying + Send + Sync>;

type Key = (&'static str, OutboundOp);

#[derive(Default)]
pub(crate) struct Handlers(Mutex<Registered>);

#[derive(Default)]
struct Registered {
    last: u64,
    by_key: HashMap<Key, (u64, Handler)>,
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.locked().by_key.keys()).finish()
    }
}

impl Handlers {
    fn locked(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a handler, in place of an earlier one for the same.
    pub fn add(self: &Arc<Self>, entity_type: &'static str, op: OutboundOp, handler: Handler) -> Registration {
        let mut registered = self.locked();
        registered.last += 1;
        let number = registered.last;
        registered.by_key.insert((entity_type, op), (number, handler));
        drop(registered);
        Registration { handlers: self.clone(), key: (entity_type, op), number }
    }

    /// The handler for a message, if there is one.
    pub fn of(&self, entity_type: &str, op: OutboundOp) -> Option<Handler> {
        let registered = self.locked();
        let found = registered.by_key.iter().find(|((name, of), _)| *name == entity_type && *of == op);
        found.map(|(_, (_, handler))| handler.clone())
    }
}

/// Ends a handler: see [`Registration::cancel`]. Dropping it leaves the handler where it is.
#[derive(Debug)]
pub struct Registration {
    handlers: Arc<Handlers>,
    key: Key,
    number: u64,
}

impl Registration {
    /// The handler is called no more. What it would have been given is answered with `failed`, so the broker keeps it and
    /// sends it again when there is a handler.
    pub fn cancel(self) {
        let mut registered = self.handlers.locked();
        if registered.by_key.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            registered.by_key.remove(&self.key);
        }
    }
}

/// Reads the message's entity as a model, with its id.
pub(crate) fn model<T: NativeModel>(message: &Outbound) -> Result<T, Refusal> {
    let unreadable = |error| Refusal::rejected(format!("the entity is no {} of this adapter: {error}", T::TYPE));
    let mut entity = message.entity.clone();
    if let Some(native_id) = &message.native_id {
        entity.entry(T::ID_FIELD).or_insert_with(|| native_id.clone().into());
    }
    serde_json::from_value(serde_json::Value::Object(entity)).map_err(unreadable)
}
