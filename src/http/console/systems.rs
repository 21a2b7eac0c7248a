//! Everyone who takes part: as a picture, with numbers, and one by one.

use std::collections::BTreeSet;

use axum::extract::{Path, State};

use super::model::{Act, DifferenceLine, Kind, SystemCard, SystemPage, Systems};
use super::picture::{Drawn, pictures};
use super::{Answer, Visit, decisions, framed, hidden, record, shown, words};
use crate::domain::breaker;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::ids::{CanonicalId, EntityType, SystemName};
use crate::domain::representation::Stored;
use crate::domain::value::FieldPath;
use crate::http::query::Query;
use crate::http::routes::{Shared, resync};
use crate::http::{Api, Problem};
use crate::ports::hold::Hold;
use crate::ports::store::DecisionFilter;
use crate::ports::tally::Tally;
use crate::views::compare;
use crate::views::systems::{Health, SystemRow, rows};

/// Records looked at for one page of differences.
const LOOKED_AT: u64 = 2_000;
/// Differences of one page.
const DIFFERENCES: usize = 100;
/// Decisions shown with a system.
const LATEST: usize = 10;
/// So many records are counted one by one for the picture, without those that are deleted; more of them by the store.
const COUNTED: usize = 100;

/// A system and how it stands.
pub struct Known {
    pub row: SystemRow,
    pub state: Kind,
    pub paused_in: bool,
    pub paused_out: bool,
}

/// Everyone, by name, with what is to be done for them.
pub async fn known(api: &Api, tally: &Tally) -> Result<Vec<Known>, Problem> {
    let rows = rows(api.store.as_ref(), api.inbox.as_ref(), &api.settings.rules, tally, api.clock.now()).await?;
    let holds: Vec<Hold> = api.store.holds().await?.into_iter().filter(|row| row.holds).map(|row| row.hold).collect();
    let stands = |row: SystemRow| {
        let paused_in = holds.contains(&Hold::PauseIn { system: row.system.clone() });
        let paused_out = holds.contains(&Hold::PauseOut { system: row.system.clone() });
        let state = match row.health {
            Health::Failing => words::FAILING,
            Health::Paused => words::PAUSED,
            Health::Observed => words::OBSERVED,
            Health::CatchingUp => words::CATCHING_UP,
            Health::InSync => words::IN_SYNC,
        };
        Known { row, state, paused_in, paused_out }
    };
    Ok(rows.into_iter().map(stands).collect())
}

/// Their names.
pub async fn names(api: &Api) -> Result<Vec<String>, Problem> {
    let configured = api.settings.rules.systems.keys().cloned();
    let names: BTreeSet<SystemName> = api.directory.facts().into_iter().map(|facts| facts.system).chain(configured).collect();
    Ok(names.iter().map(ToString::to_string).collect())
}

/// The types they are configured for, or were seen with.
pub async fn types(api: &Api) -> Result<Vec<EntityType>, Problem> {
    let configured = api.settings.rules.types.keys().cloned();
    let of_systems = api.settings.rules.systems.values().flat_map(|rules| rules.types.keys().cloned());
    let seen = api.store.facts().await?.into_iter().flat_map(|facts| facts.types);
    let types: BTreeSet<EntityType> = configured.chain(of_systems).chain(seen).collect();
    Ok(types.into_iter().collect())
}

fn card(api: &Api, known: &Known) -> SystemCard {
    let row = &known.row;
    let count = |what, count: u64, tone| (what, words::grouped(count), if count > 0 { tone } else { "" });
    let queued = row.queued.map_or_else(|| "–".to_owned(), words::grouped);
    SystemCard {
        name: row.system.to_string(),
        state: known.state,
        counts: vec![
            count("to send", row.pending, "part"),
            count("unanswered", row.unanswered, "part"),
            count("failing", row.failing, "dead"),
            ("queued", queued, ""),
        ],
        note: note(api, known),
        acts: acts(api, known),
    }
}

/// How it takes part, in sentences.
fn note(api: &Api, known: &Known) -> String {
    let row = &known.row;
    let types: Vec<String> = row
        .types
        .iter()
        .map(|entity_type| {
            let side = api.settings.rules.side(&row.system, entity_type);
            match (side.inbound, side.outbound) {
                (true, true) => entity_type.to_string(),
                (true, false) => format!("{entity_type} (only says)"),
                (false, _) => format!("{entity_type} (is only told)"),
            }
        })
        .collect();
    let mut text = if types.is_empty() { "It has not said anything yet.".to_owned() } else { format!("{}.", types.join(", ")) };
    text.push_str(match (row.receipts_seen, row.base_seen) {
        (true, true) => " It answers what it is sent, and says what it had applied.",
        (true, false) => " It answers what it is sent.",
        (false, true) => " It says what it had applied.",
        (false, false) => " It has answered nothing so far.",
    });
    for (paused, said) in [
        (known.paused_in, " What it says stays in the queue: somebody paused it."),
        (known.paused_out, " What it is to be sent is kept back: somebody paused it."),
    ] {
        if paused {
            text.push_str(said);
        }
    }
    if !row.configured {
        text.push_str(" It has no section in the configuration.");
    }
    text
}

fn act(system: &SystemName, what: &str, body: &str, verb: &str, ask: String) -> Act {
    Act { path: format!("/v1/systems/{system}/{what}"), body: body.to_owned(), verb: verb.to_owned(), ask }
}

/// Whether it can be sent what it lacks.
fn is_sent(api: &Api, known: &Known) -> bool {
    api.settings.rules.push_updates && !known.paused_out && known.state.code != words::OBSERVED.code
}

fn acts(api: &Api, known: &Known) -> Vec<Act> {
    let system = &known.row.system;
    let mut acts = Vec::new();
    if known.paused_in || known.paused_out {
        acts.push(act(system, "resume", r#"{"direction":"both"}"#, "Resume", format!("Let {system} go on?")));
    } else {
        let ask = format!("Pause {system}? What it says stays in the queue, and it is sent nothing.");
        acts.push(act(system, "pause", r#"{"direction":"both"}"#, "Pause", ask));
        let ask = format!("Send nothing to {system} for now? What it says is decided all the same.");
        acts.push(act(system, "pause", r#"{"direction":"out"}"#, "Pause sending", ask));
    }
    if is_sent(api, known) {
        acts.push(act(system, "resync", "{}", "Send what it lacks", format!("Send {system} what it lacks?")));
    }
    acts
}

/// Sends whoever a record is sent to what it lacks of its type.
pub async fn resyncs(api: &Api, record: &CanonicalRecord) -> Result<Vec<Act>, Problem> {
    let entity_type = &record.entity_type;
    let targets = api.directory.targets(entity_type);
    let takes = |system: &SystemName| targets.iter().any(|target| target.system == *system && target.side.outbound);
    let one = |known: &Known| {
        let system = &known.row.system;
        let body = serde_json::json!({ "type": entity_type }).to_string();
        act(
            system,
            "resync",
            &body,
            &format!("Send {system} what it lacks"),
            format!("Send {system} every {entity_type} as it should hold it?"),
        )
    };
    Ok(known(api, &api.store.tally().await?)
        .await?
        .iter()
        .filter(|known| is_sent(api, known) && takes(&known.row.system))
        .map(one)
        .collect())
}

fn drawn(known: &Known) -> Drawn {
    let row = &known.row;
    let parts: Vec<String> = [(row.failing, "failing"), (row.pending, "to send"), (row.unanswered, "unanswered")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", words::grouped(count)))
        .collect();
    let types: Vec<&str> = row.types.iter().map(EntityType::as_str).collect();
    let mut note = if parts.is_empty() { types.join(", ") } else { parts.join(", ") };
    if note.chars().count() > 34 {
        note = note.chars().take(33).chain(['…']).collect();
    }
    let out = match () {
        () if known.paused_out => ("wait", true),
        () if row.failing > 0 => ("dead", false),
        () if row.drift > 0 => ("part", false),
        () => ("calm", false),
    };
    let into = if known.paused_in { ("wait", true) } else { ("calm", false) };
    Drawn { name: row.system.to_string(), tone: known.state.tone, state: known.state.word, note, into, out }
}

/// `GET /systems`
pub async fn list(State(api): Shared, visit: Visit) -> Answer {
    let tally = api.store.tally().await?;
    let known = known(&api, &tally).await?;
    let drawn: Vec<Drawn> = known.iter().map(drawn).collect();
    let records = records(&api).await?;
    let lede = if api.settings.rules.push_updates {
        "Everyone who takes part: what they say is decided, and what they lack is sent to them."
    } else {
        "Everyone who takes part. What they say is decided; nothing is sent on (push_updates = false)."
    };
    Ok(shown(&Systems {
        frame: framed(&api, &visit, ("Systems", "systems"), &tally),
        lede: lede.to_owned(),
        pictures: pictures(&drawn, &records),
        rows: known.iter().map(|known| card(&api, known)).collect(),
    }))
}

/// How many records there are: a few are counted, of many it is told about how many.
async fn records(api: &Api) -> Result<String, Problem> {
    let stored = api.store.count_records().await?;
    if stored > COUNTED as u64 {
        return Ok(format!("about {} records", words::grouped(stored)));
    }
    let all = api.store.list_records(None, None, COUNTED + 1).await?;
    if all.len() > COUNTED {
        return Ok(format!("more than {COUNTED} records"));
    }
    Ok(words::counted(all.iter().filter(|versioned| versioned.record.is_live()).count() as u64, "record", "records"))
}

/// `GET /systems/{system}?cursor`
pub async fn one(State(api): Shared, visit: Visit, Path(system): Path<String>, mut query: Query) -> Answer {
    let after = query.take("cursor").map(|text| CanonicalId::parse(&text).map_err(Problem::question)).transpose()?;
    query.finish("cursor")?;
    let tally = api.store.tally().await?;
    let all = known(&api, &tally).await?;
    let Some(known) = all.iter().find(|known| known.row.system.as_str() == system) else {
        return Err(Problem::absent(format!("No system is called {system:?}.")).into());
    };
    let name = &known.row.system;
    let Found { differences, frozen, looked_at, next } = differences(&api, name, after).await?;
    let filter = DecisionFilter { system: Some(name.clone()), ..DecisionFilter::default() };
    let now = api.clock.now();
    let latest = api.store.decisions(&filter, None, LATEST).await?.items;
    let scope = if next.is_some() { format!("of {} records looked at", words::grouped(looked_at)) } else { "of all records".to_owned() };
    Ok(shown(&SystemPage {
        frame: framed(&api, &visit, (name.as_str(), "systems"), &tally),
        row: card(&api, known),
        differences_note: scope,
        differences,
        frozen,
        next: next.map(|id| format!("/systems/{name}?cursor={id}")),
        latest: latest.iter().map(|row| decisions::line(row, now)).collect(),
    }))
}

/// What a look through the records found.
#[derive(Default)]
struct Found {
    differences: Vec<DifferenceLine>,
    frozen: Vec<DifferenceLine>,
    looked_at: u64,
    /// Where to go on.
    next: Option<CanonicalId>,
}

/// Where it differs, and where it is not corrected any more.
async fn differences(api: &Api, system: &SystemName, after: Option<CanonicalId>) -> Result<Found, Problem> {
    let mut found = Found { next: after, ..Found::default() };
    while found.looked_at < LOOKED_AT && found.differences.len() + found.frozen.len() < DIFFERENCES {
        let page = api.store.list_records(None, found.next, 500).await?;
        found.looked_at += page.len() as u64;
        found.next = page.last().map(|versioned| versioned.record.id);
        for record in page.iter().map(|versioned| &versioned.record).filter(|record| record.is_live()) {
            let differs = resync::difference(api, record, system);
            found.differences.extend(differs.map(|differs| difference_lines(api, record, &differs)).unwrap_or_default());
            found.frozen.extend(frozen_lines(api, record, system));
        }
        if page.len() < 500 {
            return Ok(Found { next: None, ..found });
        }
    }
    Ok(found)
}

/// The fields in which a system answers what it is sent with the same other value, time and again (§1.8).
fn frozen_lines(api: &Api, record: &CanonicalRecord, system: &SystemName) -> Vec<DifferenceLine> {
    let types = api.settings.rules.of_type(&record.entity_type);
    let links = record.links.iter().filter(|link| link.system == *system);
    let line = |(path, stored): (&FieldPath, &Stored)| {
        let cell = |value| if types.redacts(path) { hidden::cell() } else { words::cell(Some(value)) };
        DifferenceLine {
            href: format!("/records/{}/{}", record.entity_type, record.id),
            record: record::title(api, record),
            field: path.to_string(),
            held: cell(&stored.stored),
            canonical: cell(&stored.sent),
        }
    };
    links.flat_map(|link| breaker::frozen(link).map(line)).collect()
}

fn difference_lines(api: &Api, record: &CanonicalRecord, found: &compare::Difference) -> Vec<DifferenceLine> {
    let types = api.settings.rules.of_type(&record.entity_type);
    let line = |field: &str, held, canonical| DifferenceLine {
        href: format!("/records/{}/{}", record.entity_type, record.id),
        record: record::title(api, record),
        field: field.to_owned(),
        held,
        canonical,
    };
    if found.fields.is_empty() {
        return vec![line("all of it", words::cell(None), words::cell(None))];
    }
    found
        .fields
        .iter()
        .map(|field| {
            let cell = |value| if types.redacts(&field.field) { hidden::cell() } else { words::cell(Some(value)) };
            line(field.field.as_str(), cell(&field.held), cell(&field.canonical))
        })
        .collect()
}
