//! Decisions as they are made, as Server-Sent Events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Shared;
use super::decisions::{FILTERS, filter};
use crate::domain::decision::Decision;
use crate::domain::ids::UpdateId;
use crate::domain::time::Timestamp;
use crate::http::access::Actor;
use crate::http::query::Query;
use crate::http::{Api, Problem};
use crate::ports::error::PortError;
use crate::ports::store::DecisionFilter;

/// Streams at once, at most.
const STREAMS_MAX: usize = 64;
static STREAMS: Semaphore = Semaphore::const_new(STREAMS_MAX);

/// How often it is looked for new rows: any orchestrator on the store may have written them.
const LOOK: Duration = Duration::from_millis(500);
/// How often a line goes out in any case, so that whoever is gone is noticed.
const BEAT: Duration = Duration::from_secs(15);
/// Rows read at once: a few, as there are seldom more, then many.
const FEW: usize = 20;
const MANY: usize = 500;
/// Rows made up for after a pause, at most; who was away for longer begins anew with a snapshot.
const MADE_UP: usize = 10_000;
/// For so long a row may turn up behind newer ones: each orchestrator on the store writes at its own pace.
const LATE: Duration = Duration::from_secs(5);
/// Rows behind the newest that are looked at for late ones, at most.
const BEHIND: usize = 200;
/// Rows that are remembered as told.
const TOLD: usize = 2_000;

/// A row as it is named in `id:`. A row that waited and is replaced has another time.
type Name = (Timestamp, UpdateId);

fn name(row: &Decision) -> Name {
    (row.timestamp, row.update.clone())
}

/// `GET /v1/events`: a snapshot of the newest decisions, then each as it is made; with `Last-Event-ID`, what came since and
/// then each. Takes the filters of `/v1/decisions`.
pub async fn stream(State(api): Shared, actor: Actor, headers: HeaderMap, mut query: Query) -> Result<Response, Problem> {
    let limit = query.limit()?;
    let filter = filter(&api, &mut query).await?;
    query.finish(FILTERS)?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(read).transpose()?;
    let Ok(place) = STREAMS.try_acquire() else {
        let detail = format!("{STREAMS_MAX} streams are open; close one, or try again later");
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", "Too many streams at once", detail));
    };
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (stopping, told, out) = (api.stopping.clone(), VecDeque::new(), VecDeque::new());
    let session = actor.session;
    let tail = Tail { api, session, filter, limit, last, told, first: true, out, look, stopping, _place: place };
    let events = stream::unfold(tail, Tail::next).map(Ok::<_, Infallible>);
    Ok(sse(events).into_response())
}

fn sse<S: Stream<Item = Result<Event, Infallible>> + Send + 'static>(events: S) -> impl IntoResponse {
    Sse::new(events).keep_alive(KeepAlive::new().interval(BEAT).text("still here"))
}

/// `2026-01-31T09:30:00Z/"bms:u-1"`: as JSON in ASCII, since an id may have any character but the line may not.
fn id((at, update): &Name) -> String {
    let mut text = format!("{at}/\"");
    for unit in update.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte @ b' '..=b'~') if byte != b'"' && byte != b'\\' => text.push(byte.into()),
            // Writing to a string does not fail.
            _ => {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text.push('"');
    text
}

fn read(id: &str) -> Result<Name, Problem> {
    let unknown = || Problem::question("Last-Event-ID is no id of this stream; leave it out to begin anew").at("last-event-id");
    let (at, update) = id.split_once('/').ok_or_else(unknown)?;
    let update = serde_json::from_str(update).map_err(|_| unknown())?;
    Ok((Timestamp::parse(at).map_err(|_| unknown())?, update))
}

/// One stream.
struct Tail {
    api: Arc<Api>,
    /// Whoever listens by it hears no more once it is over.
    session: Option<Arc<str>>,
    filter: DecisionFilter,
    limit: usize,
    /// The newest row that was told.
    last: Option<Name>,
    told: VecDeque<Name>,
    /// Nothing was looked for yet.
    first: bool,
    /// Rows to tell, oldest first.
    out: VecDeque<Decision>,
    look: Interval,
    stopping: watch::Receiver<bool>,
    _place: SemaphorePermit<'static>,
}

impl Tail {
    /// The next event; `None` when the server stops, or the store fails: whoever listens comes again and resumes.
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            if let Some(row) = self.out.pop_front() {
                let event = event(&row)?;
                self.remember(&row);
                return Some((event, self));
            }
            let Some(last) = self.last.clone() else {
                let snapshot = self.snapshot().await.ok()?;
                return Some((snapshot, self));
            };
            tokio::select! {
                _ = self.look.tick() => {}
                _ = self.stopping.wait_for(|stop| *stop) => return None,
            }
            if self.session.as_ref().is_some_and(|session| !self.api.access.lasts(session)) {
                return None;
            }
            match self.since(&last).await.ok()? {
                Some(rows) => self.out.extend(rows),
                None => (self.last, self.first) = (None, true),
            }
        }
    }

    async fn snapshot(&mut self) -> Result<Event, PortError> {
        let (mut rows, mut after) = (Vec::<Decision>::new(), None);
        while rows.len() < self.limit {
            let page = self.api.store.decisions(&self.filter, after.as_ref(), self.limit - rows.len()).await?;
            rows.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // Nothing there yet is a place, too: before everything that will be.
        self.last = UpdateId::try_from("syncline:nothing".to_owned()).ok().map(|update| (Timestamp::from_micros(0), update));
        rows.iter().rev().for_each(|row| self.remember(row));
        let event = Event::default().event("snapshot").json_data(json!({ "items": rows })).unwrap_or_default();
        Ok(match &self.last {
            Some(last) => event.id(id(last)),
            None => event,
        })
    }

    /// What came after a row, oldest first, with what turned up late behind it; `None`: too much.
    async fn since(&mut self, last: &Name) -> Result<Option<Vec<Decision>>, PortError> {
        let quiet = self.api.clock.now().since(last.0) > LATE;
        // What is older was seen, and need not be looked through for what fits.
        let from = last.0.minus(LATE);
        let filter = DecisionFilter { since: Some(self.filter.since.map_or(from, |since| since.max(from))), ..self.filter.clone() };
        let (mut rows, mut after, mut size) = (Vec::<Decision>::new(), None, FEW);
        let mut behind: Option<usize> = None;
        'all: loop {
            let page = self.api.store.decisions(&filter, after.as_ref(), size).await?;
            for row in page.items {
                let here = name(&row);
                if last.0.since(here.0) > LATE || behind.is_some_and(|count| count == BEHIND || (quiet && !self.first)) {
                    break 'all;
                }
                behind = behind.map(|count| count + 1).or((here == *last).then_some(0));
                if self.told.contains(&here) {
                    continue;
                }
                match behind {
                    // Whoever comes with this place has seen what is behind it.
                    Some(_) if self.first => self.tell(here),
                    Some(0) => {}
                    Some(_) | None => rows.push(row),
                }
            }
            (after, size) = (page.next, MANY);
            if rows.len() > MADE_UP {
                return Ok(None);
            }
            if after.is_none() {
                break;
            }
        }
        // The row somebody saw last may have been replaced since. What is older was seen before it.
        if self.first && behind.is_none() {
            let (seen, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.timestamp < last.0);
            rows = new;
            seen.iter().for_each(|row| self.tell(name(row)));
        }
        self.first = false;
        rows.reverse();
        Ok(Some(rows))
    }

    fn tell(&mut self, row: Name) {
        self.told.push_back(row);
        if self.told.len() > TOLD {
            self.told.pop_front();
        }
    }

    fn remember(&mut self, row: &Decision) {
        self.last = Some(name(row));
        self.tell(name(row));
    }
}

fn event(row: &Decision) -> Option<Event> {
    Event::default().event("decision").id(id(&name(row))).json_data(row).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_any_row_fits_on_a_line_and_is_read_back() {
        for text in ["bms:u-1", "bms:a/b \"c\" \\ d", "bms:line\r\nbreak\u{2028}", "bms:Größe 🌍"] {
            let named = (Timestamp::from_micros(1_790_000_000_000_001), UpdateId::try_from(text.to_owned()).unwrap());
            let line = id(&named);
            assert!(line.is_ascii() && !line.contains(['\r', '\n']), "{line}");
            assert_eq!(read(&line).unwrap(), named);
        }
        for wrong in ["", "7", "yesterday/\"bms:u\"", "2026-01-31T09:30:00Z/bms:u", "2026-01-31T09:30:00Z/\"u\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
