//! What the words mean, and the keys.

use axum::extract::State;

use super::model::Help;
use super::{Answer, Visit, frame, shown, words};
use crate::domain::decision::DecisionKind;
use crate::http::routes::Shared;

const TERMS: &[(&str, &str)] = &[
    ("system", "A participating application. Each has its own ids, its own names, and people who edit there."),
    ("canonical record", "The one merged record of a thing. Its version grows by one with every change of its data."),
    (
        "base, ours, theirs",
        "What both sides started from; the canonical value before the update; what the system says. From these three it follows what the system really changed.",
    ),
    ("holds", "What a system is known to have, field by field: what it said last, or what it was sent and answered."),
    ("rev", "Counts what a system is sent about one record. A system that says it has applied rev 7 has seen all up to it."),
    ("drift", "Records a system is not known to hold as they should be, for whatever reason."),
    ("brake", "More creates or deletes at once than configured. The rest waits until a person lets it go."),
    ("dead letter", "A message that can't be processed. It is kept whole, and nothing else is held up by it."),
];

/// `GET /help`
pub async fn page(State(api): Shared, visit: Visit) -> Answer {
    let frame = frame(&api, &visit, "Keys and words", "").await?;
    let meaning = |kind: DecisionKind| match kind {
        DecisionKind::Accepted => "Everything the system changed is canonical now.",
        DecisionKind::PartiallyAccepted => "Some of what it changed was refused or replaced, by a rule or a handler.",
        DecisionKind::Dropped => "It changed something, and none of it became canonical.",
        DecisionKind::Unchanged => "Nothing in it was new, or it was old news: the canonical record is as before.",
        DecisionKind::Echo => "The system says back what it was sent.",
        DecisionKind::Superseded => "A newer update of the same record overtook it while it waited.",
        DecisionKind::Deferred => "It waits for a time, and is looked at again by itself.",
        DecisionKind::Parked => "It waits for something else: a record it refers to, a person, a brake.",
    };
    let words = DecisionKind::ALL.into_iter().map(|kind| (words::of(kind), meaning(kind))).collect();
    Ok(shown(&Help { frame, words, terms: TERMS }))
}
