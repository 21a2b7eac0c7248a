//! What people do to updates that wait and to messages that could not be processed: approve, reject, retry, requeue,
//! discard. And what they say about records: these are one thing, these are two.
//!
//! ```text
//! HTTP ─ Acts ─ an input of its own ─▶ the pipeline ─ one commit ─▶ the answer
//! ```
//!
//! An act is decided like everything else: it is loaded, judged on top of what is canonical now, and committed in one
//! transaction with all that follows from it. Whoever asked is answered only after that commit. A crash before it leaves
//! everything as it was, and the act can be asked for again; a crash after it, and whoever asks again is told that it is
//! done already. An act that loses a race is loaded anew, so it never works on what it once read. Between the removal of a
//! dead letter and the row that takes its place there is no moment: the store has the one or the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::activity::Activity;
use super::caches::Caches;
use super::decide::Decider;
use super::directory::Directory;
use super::doing;
use super::handlers::Handlers;
use super::input::{Input, InputKind};
use super::letters;
use super::settings::Settings;
use super::unit::Unit;
use crate::domain::change::Rejection;
use crate::domain::decision::Decision;
use crate::domain::ids::{CanonicalId, NativeId, SystemName, UpdateId};
use crate::domain::review::{Says, Word};
use crate::domain::waiting::WaitingFor;
use crate::ports::clock::{Clock, Ids};
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::store::{DeadLetter, Store};
use crate::wire::Limits;

/// Bytes a look ahead may remember.
const LOOK_AHEAD_BYTES: u64 = 1 << 16;

/// What somebody wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A waiting update is judged now.
    Judge {
        /// Which.
        update: UpdateId,
        /// The last word about it; `None`: it is only looked at again.
        word: Option<Word>,
    },
    /// A dead letter is decided once more.
    Requeue {
        /// Which.
        id: String,
        /// The message to decide in its place.
        edited: Option<String>,
    },
    /// Nobody looks at a dead letter again.
    Discard {
        /// Which.
        id: String,
    },
    /// A new record that a brake keeps back is not sent to this system.
    DontCreate {
        /// The record.
        record: CanonicalId,
        /// The system.
        system: SystemName,
    },
    /// Two records are one thing.
    Merge {
        /// The one that stays.
        winner: CanonicalId,
        /// The one that becomes part of it.
        loser: CanonicalId,
        /// Why, in the person's words.
        reason: Option<String>,
    },
    /// The values of a record are erased, with all that was kept of them; it is deleted everywhere.
    Erase {
        /// The record.
        record: CanonicalId,
        /// Why, in the person's words.
        reason: Option<String>,
    },
    /// Native records are another thing than the record they are linked to.
    Split {
        /// The record.
        record: CanonicalId,
        /// The native records.
        natives: Vec<(SystemName, NativeId)>,
        /// Why, in the person's words.
        reason: Option<String>,
    },
}

/// A request on its way through the pipeline.
#[derive(Debug)]
pub struct Act {
    /// What is asked for.
    pub request: Request,
    /// Who asks.
    pub by: String,
    /// The state of what it is about that was looked at: the tag of the record, the waiting update, the dead letter.
    pub if_match: Option<String>,
    refusal: Mutex<Option<Refusal>>,
    /// The rows it brought about, where those have ids of their own.
    rows: Arc<Mutex<Vec<UpdateId>>>,
    answer: Mutex<Option<oneshot::Sender<Result<(), Refusal>>>>,
}

/// Why an act is not done.
#[derive(Debug)]
pub enum Refusal {
    /// It is not there, or not any more.
    Gone,
    /// There never was such a thing.
    Absent(String),
    /// It was decided already.
    Decided(Box<Decision>),
    /// It became a dead letter.
    IsDead(Box<DeadLetter>),
    /// It waits, but not for a person.
    WaitsOtherwise(UpdateId, WaitingFor),
    /// It is not what was looked at any more; this is its tag now.
    Changed(String),
    /// It can't be done to records as they are.
    Cannot(String),
    /// The message, or the edit, can't be processed.
    Unfit(Rejection),
    /// The edited message has another id than the dead letter.
    OtherId {
        /// The dead letter's.
        letter: String,
        /// The message's.
        message: String,
    },
    /// The store or the engine can't do it now.
    Port(PortError),
}

impl From<PortError> for Refusal {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Done {
    /// There is a row, final or not.
    Row(Box<Decision>),
    /// There are rows about each record that changed.
    Rows(Vec<Decision>),
    /// It is a dead letter now, or still.
    Dead(Box<DeadLetter>),
    /// The very same had been decided before.
    Nothing,
}

impl Act {
    /// An act and where its answer comes.
    #[must_use]
    pub fn new(request: Request, by: impl Into<String>, if_match: Option<String>) -> (Arc<Self>, oneshot::Receiver<Result<(), Refusal>>) {
        let (answer, comes) = oneshot::channel();
        let (refusal, rows) = (Mutex::default(), Arc::default());
        (Arc::new(Self { request, by: by.into(), if_match, refusal, rows, answer: Mutex::new(Some(answer)) }), comes)
    }

    /// Refuses what is not as it was looked at any more; `tag` is its tag now.
    pub(super) fn looked_at(&self, tag: String) -> Result<(), Refusal> {
        match &self.if_match {
            Some(looked_at) if *looked_at != tag => Err(Refusal::Changed(tag)),
            Some(_) | None => Ok(()),
        }
    }

    fn refusal(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It begins to be decided, perhaps once more.
    pub(super) fn begin(&self) {
        self.refusal().take();
        self.made(Vec::new());
    }

    /// It brought these rows about.
    pub(super) fn made(&self, rows: Vec<UpdateId>) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    fn rows(&self) -> Vec<UpdateId> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is not done.
    pub(super) fn refuse(&self, refusal: Refusal) {
        self.refusal().replace(refusal);
    }

    /// Whether it was refused.
    pub(super) fn is_refused(&self) -> bool {
        self.refusal().is_some()
    }

    /// Says what came of it. Only after the commit.
    pub fn answer(&self) {
        let outcome = self.refusal().take().map_or(Ok(()), Err);
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody may be waiting any more; it is done all the same.
        let _ = answer.map(|answer| answer.send(outcome));
    }
}

/// How the running pipeline is asked for acts.
#[derive(Clone, Debug)]
pub struct Acts {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    settings: Arc<Settings>,
    handlers: Arc<Handlers>,
    directory: Arc<Directory>,
    pub(super) activity: Arc<Activity>,
    again: mpsc::Sender<InputKind>,
}

impl Acts {
    /// Those of an engine that is fed by way of `again`.
    #[allow(clippy::too_many_arguments, reason = "the parts of an engine, once")]
    pub(super) fn new(
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        ids: &Arc<dyn Ids>,
        settings: &Arc<Settings>,
        handlers: &Arc<Handlers>,
        directory: &Arc<Directory>,
        activity: &Arc<Activity>,
        again: mpsc::Sender<InputKind>,
    ) -> Self {
        Self {
            store: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            settings: settings.clone(),
            handlers: handlers.clone(),
            directory: directory.clone(),
            activity: activity.clone(),
            again,
        }
    }

    /// Does it; returns once it is durable.
    pub async fn run(&self, request: Request, by: &str) -> Result<Done, Refusal> {
        self.run_if(request, by, None).await
    }

    /// Does it to what is still what was looked at; returns once it is durable.
    pub async fn run_if(&self, request: Request, by: &str, if_match: Option<String>) -> Result<Done, Refusal> {
        let name = Name::of(&request, self.store.as_ref(), &self.settings.limits).await?;
        let (act, answer) = Act::new(request.clone(), by, if_match);
        let rows = act.rows.clone();
        self.activity.begin();
        let stopping = || PortError::new(PortErrorKind::Unavailable, "act", "the engine is stopping; ask again after its start");
        // Only the pipeline has it from here on: where it is dropped undecided, no answer comes any more.
        self.again.send(InputKind::Act(act)).await.map_err(|_| stopping())?;
        match answer.await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => return Err(self.explained(refusal, &request).await?),
            Err(_) => return Err(stopping().into()),
        }
        log(&request, by);
        let rows = rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if rows.is_empty() {
            return name.became(self.store.as_ref()).await;
        }
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            found.extend(self.store.decision(row).await?);
        }
        Ok(Done::Rows(found))
    }

    /// What [`run_if`](Self::run_if) would come to. Changes nothing.
    pub async fn preview(&self, request: Request, by: &str, if_match: Option<String>) -> Result<Done, Refusal> {
        let name = Name::of(&request, self.store.as_ref(), &self.settings.limits).await?;
        let (act, _) = Act::new(request, by, if_match);
        let caches = Arc::new(Caches::new(LOOK_AHEAD_BYTES, LOOK_AHEAD_BYTES));
        let (store, clock, ids) = (self.store.clone(), self.clock.clone(), self.ids.clone());
        let mut decider = Decider::new(store, clock, ids, self.settings.clone(), self.handlers.clone(), caches, self.directory.clone());
        let mut unit = Unit::default();
        let kind = InputKind::Act(act.clone());
        doing(decider.decide(&mut unit, vec![Input { tag: None, received_at: self.clock.now(), arrival: u64::MAX, kind }])).await?;
        let refused = act.refusal().take();
        if let Some(refusal) = refused {
            return Err(self.explained(refusal, &act.request).await?);
        }
        let plans = &unit.seal(&self.settings.rules).batch.plans;
        let mut rows = plans.iter().flat_map(|plan| &plan.decisions).map(|row| &row.decision);
        let made = act.rows();
        if !made.is_empty() {
            return Ok(Done::Rows(rows.filter(|row| made.contains(&row.update)).cloned().collect()));
        }
        let dead = plans.iter().flat_map(|plan| &plan.dead_letters).next();
        match (rows.find(|row| name.update.as_ref() == Some(&row.update)), dead) {
            (Some(row), _) => Ok(Done::Row(Box::new(row.clone()))),
            (None, Some(letter)) => Ok(Done::Dead(Box::new(letter.clone()))),
            (None, None) => Ok(Done::Nothing),
        }
    }

    /// Says what became of a thing that is not there.
    async fn explained(&self, refusal: Refusal, request: &Request) -> Result<Refusal, PortError> {
        let Refusal::Gone = refusal else { return Ok(refusal) };
        let absent = match request {
            Request::Judge { update, .. } => {
                if let Some(row) = self.store.decision(update).await? {
                    return Ok(Refusal::Decided(Box::new(row)));
                }
                if let Some(letter) = self.store.dead_letter(&update.to_string()).await? {
                    return Ok(Refusal::IsDead(Box::new(letter)));
                }
                format!("no update {update} waits, and none was decided")
            }
            Request::Requeue { id, .. } | Request::Discard { id } => {
                if let Ok(update) = UpdateId::try_from(id.clone())
                    && let Some(row) = self.store.decision(&update).await?
                {
                    return Ok(Refusal::Decided(Box::new(row)));
                }
                format!("there is no dead letter {id}")
            }
            Request::Merge { .. } | Request::Split { .. } | Request::Erase { .. } => "there is no such record".to_owned(),
            Request::DontCreate { record, system } => format!("no create of record {record} waits for {system}"),
        };
        Ok(Refusal::Absent(absent))
    }
}

/// What an act is about, to be found again after it.
#[derive(Debug, Default)]
struct Name {
    /// The update that gets a row.
    update: Option<UpdateId>,
    /// The dead letter it may become, or still be.
    letter: Option<String>,
}

impl Name {
    async fn of(request: &Request, store: &dyn Store, limits: &Limits) -> Result<Self, Refusal> {
        Ok(match request {
            Request::Judge { update, .. } => Self { update: Some(update.clone()), letter: Some(update.to_string()) },
            Request::Requeue { id, edited } => {
                let Some(letter) = store.dead_letter(id).await? else { return Ok(Self::default()) };
                let text = edited.as_deref().or(letter.body.as_deref());
                let Ok(message) = letters::read(&letter, text, limits) else { return Ok(Self::default()) };
                let name = letters::name(&message);
                let Some(update) = letters::update_of(&message) else { return Ok(Self { update: None, letter: Some(name) }) };
                match (store.decision(update).await?, letters::content_hash(&message)) {
                    // Its id was decided before, by another message: this one can only be a dead letter still.
                    (Some(_), Some(hash)) => Self { update: None, letter: Some(letters::reused(update, hash)) },
                    (_, _) => Self { update: Some(update.clone()), letter: Some(name) },
                }
            }
            Request::Discard { .. }
            | Request::DontCreate { .. }
            | Request::Merge { .. }
            | Request::Split { .. }
            | Request::Erase { .. } => Self::default(),
        })
    }

    /// What is stored of it now: one row or one dead letter.
    async fn became(self, store: &dyn Store) -> Result<Done, Refusal> {
        if let Some(update) = &self.update
            && let Some(row) = store.decision(update).await?
        {
            return Ok(Done::Row(Box::new(row)));
        }
        let letter = match &self.letter {
            Some(id) => store.dead_letter(id).await?,
            None => None,
        };
        Ok(letter.map_or(Done::Nothing, |letter| Done::Dead(Box::new(letter))))
    }
}

/// Decisions say in their row who brought them about; a dead letter that is gone can't.
fn log(request: &Request, by: &str) {
    match request {
        Request::Judge { update, word, .. } => {
            let what = match word.as_ref().map(|word| &word.says) {
                None => "retried",
                Some(Says::Approved { .. }) => "approved",
                Some(Says::Rejected | Says::Withdrawn { .. }) => "rejected",
            };
            tracing::info!(update.id = %update, by, what, "a person decided about a waiting update");
        }
        Request::Requeue { id, edited } => {
            tracing::info!(dead_letter.id = %id, by, edited = edited.is_some(), "a dead letter was requeued");
        }
        Request::Discard { id } => tracing::info!(dead_letter.id = %id, by, "a dead letter was discarded"),
        Request::DontCreate { record, system } => {
            tracing::info!(record.id = %record, %system, by, "a create that was kept back was discarded");
        }
        Request::Merge { winner, loser, .. } => tracing::info!(record.id = %winner, loser.id = %loser, by, "two records were merged"),
        Request::Erase { record, .. } => tracing::info!(record.id = %record, by, "the values of a record were erased"),
        Request::Split { record, .. } => tracing::info!(record.id = %record, by, "a record was split"),
    }
}
