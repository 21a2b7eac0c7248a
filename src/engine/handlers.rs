//! The user's merge handlers: registered as plain functions or traits, erased once, run with a time limit.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lanes::Question;
use super::settings::{Settings, TimeoutVerdict};
use crate::domain::change::{Op, Record};
use crate::domain::handler::{Answer, UpdateMeta, Verdict, lay_edit_over};
use crate::domain::ids::EntityType;
use crate::domain::provenance::{ByKind, DecidedBy};

/// Plain functions that run at once. Fewer than the runtime has threads for what blocks: reading from a store needs some, too.
const THREADS: usize = 256;
/// For so many time limits a function waits for a thread: longer than all that may be set aside takes, unless calls never end.
const PATIENCE: u32 = 8;

/// Why a handler could not answer. The update is tried again, then becomes a dead letter with this text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HandlerError(String);

impl HandlerError {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// An async or stateful merge handler, registered with `on_update_with`.
///
/// It may run more than once for one update (races, retries), so it must be repeatable.
#[async_trait]
pub trait MergeHandler<T>: Send + Sync + 'static {
    /// May change `proposed`, and says what becomes of it.
    async fn on_update(&self, proposed: &mut T, current: Option<&T>, meta: &UpdateMeta) -> Result<Verdict, HandlerError>;
}

/// A merge handler as a plain function `Fn(&mut T, Option<&T>, &UpdateMeta) -> Verdict`, where `T` is any serde type,
/// or [`Record`] for untyped access.
#[diagnostic::on_unimplemented(
    message = "this is not a merge handler",
    note = "a merge handler looks like `|proposed: &mut Person, current: Option<&Person>, meta: &UpdateMeta| Verdict::accept(None)`; \
            `Person` must implement serde's Serialize and Deserialize"
)]
pub trait UpdateFn<T>: Send + Sync + 'static {
    /// Calls it.
    fn call(&self, proposed: &mut T, current: Option<&T>, meta: &UpdateMeta) -> Verdict;
}

impl<T, F> UpdateFn<T> for F
where
    F: Fn(&mut T, Option<&T>, &UpdateMeta) -> Verdict + Send + Sync + 'static,
{
    fn call(&self, proposed: &mut T, current: Option<&T>, meta: &UpdateMeta) -> Verdict {
        self(proposed, current, meta)
    }
}

/// One handler, whatever its type: records in, record and verdict out.
#[async_trait]
trait Erased: Send + Sync + 'static {
    async fn run(
        self: Arc<Self>,
        proposed: Record,
        current: Option<Record>,
        meta: Arc<UpdateMeta>,
        turn: Turn,
    ) -> Result<(Record, Record, Verdict), HandlerError>;

    /// Whether it needs a thread of its own.
    fn blocks(&self) -> bool;
}

/// The right to a thread, given back when the handler has come to its end, however late that is.
type Turn = Option<OwnedSemaphorePermit>;

/// What is asked about deletes, as a plain function `Fn(&T, &UpdateMeta) -> Verdict` of the record that would be deleted.
#[diagnostic::on_unimplemented(
    message = "this is not a handler for deletes",
    note = "it looks like `|current: &Person, meta: &UpdateMeta| Verdict::accept(None)`; `Person` must implement serde's Serialize and Deserialize"
)]
pub trait DeleteFn<T>: Send + Sync + 'static {
    /// Calls it.
    fn call(&self, current: &T, meta: &UpdateMeta) -> Verdict;
}

impl<T, F> DeleteFn<T> for F
where
    F: Fn(&T, &UpdateMeta) -> Verdict + Send + Sync + 'static,
{
    fn call(&self, current: &T, meta: &UpdateMeta) -> Verdict {
        self(current, meta)
    }
}

struct Function<F, T>(F, std::marker::PhantomData<fn(T)>);
struct Deletes<F, T>(F, std::marker::PhantomData<fn(T)>);
struct Stateful<H, T>(H, std::marker::PhantomData<fn(T)>);

fn read<T: DeserializeOwned>(record: Record, which: &str) -> Result<T, HandlerError> {
    serde_json::from_value(Value::Object(record))
        .map_err(|error| HandlerError(format!("the {which} record does not fit the handler's type: {error}")))
}

fn write<T: Serialize>(value: &T) -> Result<Record, HandlerError> {
    match serde_json::to_value(value) {
        Ok(Value::Object(record)) => Ok(record),
        Ok(_) => Err(HandlerError("the handler's type must serialise as an object".to_owned())),
        Err(error) => Err(HandlerError(format!("the handler's record can't be serialised: {error}"))),
    }
}

#[async_trait]
impl<T, F> Erased for Function<F, T>
where
    T: Serialize + DeserializeOwned + 'static,
    F: UpdateFn<T>,
{
    async fn run(
        self: Arc<Self>,
        proposed: Record,
        current: Option<Record>,
        meta: Arc<UpdateMeta>,
        turn: Turn,
    ) -> Result<(Record, Record, Verdict), HandlerError> {
        // On a thread of its own: a function that blocks or hangs must not hold up anyone else.
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut typed: T = read(proposed, "proposed")?;
            let current: Option<T> = current.map(|current| read(current, "current")).transpose()?;
            let before = write(&typed)?;
            let verdict = self.0.call(&mut typed, current.as_ref(), &meta);
            Ok((before, write(&typed)?, verdict))
        });
        work.await.unwrap_or_else(|error| Err(panicked(error)))
    }

    fn blocks(&self) -> bool {
        true
    }
}

#[async_trait]
impl<T, F> Erased for Deletes<F, T>
where
    T: Serialize + DeserializeOwned + 'static,
    F: DeleteFn<T>,
{
    async fn run(
        self: Arc<Self>,
        _: Record,
        current: Option<Record>,
        meta: Arc<UpdateMeta>,
        turn: Turn,
    ) -> Result<(Record, Record, Verdict), HandlerError> {
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let current: T = read(current.unwrap_or_default(), "current")?;
            Ok((Record::new(), Record::new(), self.0.call(&current, &meta)))
        });
        work.await.unwrap_or_else(|error| Err(panicked(error)))
    }

    fn blocks(&self) -> bool {
        true
    }
}

#[async_trait]
impl<T, H> Erased for Stateful<H, T>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    H: MergeHandler<T>,
{
    async fn run(
        self: Arc<Self>,
        proposed: Record,
        current: Option<Record>,
        meta: Arc<UpdateMeta>,
        _: Turn,
    ) -> Result<(Record, Record, Verdict), HandlerError> {
        let work = tokio::spawn(async move {
            let mut typed: T = read(proposed, "proposed")?;
            let current: Option<T> = current.map(|current| read(current, "current")).transpose()?;
            let before = write(&typed)?;
            let verdict = self.0.on_update(&mut typed, current.as_ref(), &meta).await?;
            Ok((before, write(&typed)?, verdict))
        });
        let abort = AbortOnDrop(work.abort_handle());
        let outcome = work.await.unwrap_or_else(|error| Err(panicked(error)));
        drop(abort);
        outcome
    }

    fn blocks(&self) -> bool {
        false
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panicked(error: tokio::task::JoinError) -> HandlerError {
    let text = match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
            format!("the handler panicked: {}", text.unwrap_or_else(|| "no message".to_owned()))
        }
        Err(_) => "the handler was stopped".to_owned(),
    };
    HandlerError(text)
}

struct Named {
    name: String,
    handler: Arc<dyn Erased>,
}

impl<F, T> fmt::Debug for Function<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

/// The handlers of every type, in registration order.
pub struct Handlers {
    by_type: HashMap<EntityType, Vec<Named>>,
    for_deletes: HashMap<EntityType, Vec<Named>>,
    threads: Arc<Semaphore>,
}

impl Default for Handlers {
    fn default() -> Self {
        Self { by_type: HashMap::new(), for_deletes: HashMap::new(), threads: Arc::new(Semaphore::new(THREADS)) }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_type.iter().map(|(name, list)| (name, list.len()))).finish()
    }
}

impl Handlers {
    /// Adds a function.
    pub fn add_function<T, F>(&mut self, entity_type: EntityType, function: F)
    where
        T: Serialize + DeserializeOwned + 'static,
        F: UpdateFn<T>,
    {
        add(&mut self.by_type, entity_type, Arc::new(Function(function, std::marker::PhantomData::<fn(T)>)));
    }

    /// Adds a function that is asked about deletes.
    pub fn add_for_deletes<T, F>(&mut self, entity_type: EntityType, function: F)
    where
        T: Serialize + DeserializeOwned + 'static,
        F: DeleteFn<T>,
    {
        add(&mut self.for_deletes, entity_type, Arc::new(Deletes(function, std::marker::PhantomData::<fn(T)>)));
    }

    /// Adds a stateful handler.
    pub fn add_stateful<T, H>(&mut self, entity_type: EntityType, handler: H)
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        H: MergeHandler<T>,
    {
        add(&mut self.by_type, entity_type, Arc::new(Stateful(handler, std::marker::PhantomData::<fn(T)>)));
    }

    /// Whether a type has any.
    #[must_use]
    pub fn has(&self, entity_type: &EntityType) -> bool {
        self.by_type.get(entity_type).is_some_and(|list| !list.is_empty())
    }

    /// Whether a type has any that are asked about deletes.
    #[must_use]
    pub fn has_for_deletes(&self, entity_type: &EntityType) -> bool {
        self.for_deletes.get(entity_type).is_some_and(|list| !list.is_empty())
    }

    /// Waits for a thread, if one is needed. That is no time of the handler's.
    async fn turn(&self, named: &Named, settings: &Settings) -> Result<Turn, HandlerError> {
        if !named.handler.blocks() {
            return Ok(None);
        }
        let patience = settings.handler_timeout.saturating_mul(PATIENCE);
        match tokio::time::timeout(patience, self.threads.clone().acquire_owned()).await {
            // It is never closed.
            Ok(turn) => Ok(turn.ok()),
            Err(_) => Err(HandlerError(format!("all {THREADS} threads for handlers are taken by calls that do not come back"))),
        }
    }

    /// Asks the handlers of the type, one after the other; the first verdict other than accept ends the chain.
    pub async fn ask(&self, question: &Question, settings: &Settings) -> Result<Answer, HandlerError> {
        let mut answer = Answer::nobody(question.proposed.clone());
        let meta = Arc::new(question.meta.clone());
        let asked = if question.meta.op() == Op::Delete { &self.for_deletes } else { &self.by_type };
        for named in asked.get(question.meta.entity_type()).into_iter().flatten() {
            let proposed: Map<String, Value> = answer.record.close();
            let turn = self.turn(named, settings).await?;
            let run = named.handler.clone().run(proposed, question.current.clone(), meta.clone(), turn);
            let (kind, (before, after, verdict)) = match tokio::time::timeout(settings.handler_timeout, run).await {
                Ok(outcome) => (ByKind::Handler, outcome?),
                Err(_) => (ByKind::Timeout, (Record::new(), Record::new(), timed_out(settings)?)),
            };
            answer.record = lay_edit_over(&answer.record, &before, &after);
            let earlier = std::mem::replace(&mut answer.verdict, verdict);
            answer.by = Some(DecidedBy::named(kind, named.name.clone()));
            match &mut answer.verdict {
                Verdict::Accept { reason } => {
                    if let (None, Verdict::Accept { reason: earlier }) = (&reason, earlier) {
                        *reason = earlier;
                    }
                }
                Verdict::Skip { .. } | Verdict::Defer { .. } | Verdict::Review { .. } => break,
            }
        }
        Ok(answer)
    }
}

fn add(to: &mut HashMap<EntityType, Vec<Named>>, entity_type: EntityType, handler: Arc<dyn Erased>) {
    let first = entity_type.to_string();
    let list = to.entry(entity_type).or_default();
    let name = if list.is_empty() { first } else { format!("{first}#{}", list.len() + 1) };
    list.push(Named { name, handler });
}

fn timed_out(settings: &Settings) -> Result<Verdict, HandlerError> {
    let text = format!("the handler took longer than {:?}", settings.handler_timeout);
    match settings.handler_timeout_verdict {
        None => Err(HandlerError(text)),
        Some(TimeoutVerdict::Accept) => Ok(Verdict::Accept { reason: Some(text) }),
        Some(TimeoutVerdict::Skip) => Ok(Verdict::Skip { reason: text }),
        Some(TimeoutVerdict::Review) => Ok(Verdict::Review { reason: text }),
    }
}
