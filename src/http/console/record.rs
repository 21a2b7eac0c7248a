//! One record: what is canonical beside what every system holds, who said so, and how it came to this.

use std::collections::{BTreeSet, HashMap};

use axum::extract::{Path, State};
use serde_json::Value;

use super::model::{Cell, Event, FieldRow, Held, HolderHead, Kind, Link, RecordPage, Standing};
use super::{Answer, ROWS, Visit, frame, hidden, shown, systems, words};
use crate::domain::breaker;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::explain;
use crate::domain::handler::shown as quoted;
use crate::domain::ids::{CanonicalId, EntityType};
use crate::domain::link::{Link as SystemLink, LinkState};
use crate::domain::projection::{canonical_references, native_name};
use crate::domain::representation::Equality;
use crate::domain::rules::TypeRules;
use crate::domain::time::Timestamp;
use crate::domain::value::{FieldPath, Leaves, same_held};
use crate::http::routes::Shared;
use crate::http::{Api, Problem};
use crate::ports::store::DecisionFilter;
use crate::views::rows::OwedRows;
use crate::views::{compare, find, why};

/// Fields a record is called by, the best first.
const NAMES: [&str; 10] = ["name", "full_name", "title", "label", "display_name", "serial", "tag", "email", "code", "number"];

/// What people call a record.
pub fn title(api: &Api, record: &CanonicalRecord) -> String {
    let types = api.settings.rules.of_type(&record.entity_type);
    let named =
        NAMES.iter().filter(|name| !types.redacts(&FieldPath::name(name))).find_map(|name| match record.data.get(&FieldPath::name(name)) {
            Some(Value::String(text)) if !text.trim().is_empty() => Some(words::text(&Value::String(text.clone()))),
            Some(_) | None => None,
        });
    let native = || record.links.iter().find_map(|link| Some(format!("{} {}", record.entity_type, link.native_id.as_ref()?)));
    named.or_else(native).unwrap_or_else(|| format!("{} {}", record.entity_type, record.id))
}

/// Titles of the records others refer to.
#[derive(Default)]
pub struct Names(HashMap<String, (String, String)>);

impl Names {
    /// A value, which may be a reference.
    pub fn cell(&self, value: Option<&Value>) -> Cell {
        match value.and_then(Value::as_str).and_then(|id| self.0.get(id)) {
            Some((title, href)) => Cell::Link(title.clone(), href.clone()),
            None => words::cell(value),
        }
    }
}

/// Loads the titles of whatever is referred to there.
pub async fn names<'a>(api: &Api, data: impl Iterator<Item = &'a Leaves>, entity_type: &EntityType) -> Result<Names, Problem> {
    let types = api.settings.rules.of_type(entity_type);
    let ids: BTreeSet<CanonicalId> =
        data.flat_map(|leaves| canonical_references(leaves, &types).map(|(_, id)| id).collect::<Vec<_>>()).collect();
    if ids.is_empty() {
        return Ok(Names::default());
    }
    let ids: Vec<CanonicalId> = ids.into_iter().take(ROWS).collect();
    let found = api.store.records(&ids).await?;
    let named =
        |record: &CanonicalRecord| (record.id.to_string(), (title(api, record), format!("/records/{}/{}", record.entity_type, record.id)));
    Ok(Names(found.iter().map(|found| named(&found.record)).collect()))
}

/// How a system stands to a record.
pub fn link_state(api: &Api, record: &CanonicalRecord, link: &SystemLink, owed: &OwedRows) -> Kind {
    if link.state == LinkState::Detached {
        return if record.tombstone.is_some() { words::DELETED } else { words::LET_GO };
    }
    match owed.delivery(record.id, link) {
        "failing" => words::FAILING,
        "timed_out" => words::TIMED_OUT,
        "rejected" => words::REFUSED,
        "pending" | "sent" => words::CATCHING_UP,
        _ if link.state == LinkState::Reserved => words::CATCHING_UP,
        _ => {
            let types = api.settings.rules.of_type(&record.entity_type);
            let side = api.directory.target(&link.system, &record.entity_type).side;
            match compare::difference(record, &link.system, &side, &types, false) {
                Some(_) if side.observed => words::OBSERVED,
                Some(_) => words::DIFFERS,
                None => words::IN_SYNC,
            }
        }
    }
}

/// How a record stands with all of them.
pub fn state(api: &Api, record: &CanonicalRecord, owed: &OwedRows) -> Kind {
    if record.merged_into.is_some() {
        return words::MERGED;
    }
    let states: Vec<Kind> = record.links.iter().map(|link| link_state(api, record, link, owed)).collect();
    for worst in [words::FAILING, words::TIMED_OUT, words::REFUSED, words::CATCHING_UP, words::DIFFERS] {
        if states.iter().any(|state| state.code == worst.code) {
            return worst;
        }
    }
    if record.tombstone.is_some() { words::DELETED } else { words::IN_SYNC }
}

/// `GET /records/{type}/{id}`
pub async fn page(State(api): Shared, visit: Visit, Path((entity_type, id)): Path<(String, String)>) -> Answer {
    let record = find::record(api.store.as_ref(), &entity_type, &id).await?;
    let owed = find::owed(api.store.as_ref(), &record).await?.at(api.clock.now());
    let types = api.settings.rules.of_type(&record.entity_type);
    let held: Vec<Leaves> = record
        .links
        .iter()
        .map(|link| link.shadow.held.all(&record.data).map(|(path, value)| (path.clone(), value.clone())).collect())
        .collect();
    let names = names(&api, held.iter().chain([&record.data]), &record.entity_type).await?;
    let now = api.clock.now();
    let paths: Vec<FieldPath> = all_fields(&record);
    let stories = why::sentences(&record, &paths, &owed);
    let fields: Vec<FieldRow> =
        paths.iter().zip(stories).map(|(path, story)| field(&api, &record, path, story, &types, &names, now)).collect();
    let differ =
        fields.iter().filter(|row| row.held.iter().any(|held| matches!(held.standing, Standing::Differs | Standing::OnItsWay))).count();
    let systems: Vec<HolderHead> = record
        .links
        .iter()
        .map(|link| HolderHead {
            name: link.system.to_string(),
            native_id: link.native_id.as_ref().map_or_else(|| "no id yet".to_owned(), ToString::to_string),
            state: link_state(&api, &record, link, &owed),
        })
        .collect();
    let filter = DecisionFilter { record: Some(record.id), ..DecisionFilter::default() };
    let page = api.store.decisions(&filter, None, ROWS).await?;
    let timeline_note = match (page.items.len(), &page.next) {
        (count, None) => words::counted(count as u64, "decision", "decisions, newest first"),
        (count, Some(_)) => format!("the newest {count} decisions"),
    };
    Ok(shown(&RecordPage {
        frame: frame(&api, &visit, &title(&api, &record), "records").await?,
        entity_type: record.entity_type.to_string(),
        id: record.id.to_string(),
        title: title(&api, &record),
        state: state(&api, &record, &owed),
        sentence: sentence(&record, &systems),
        tag: record.tag(),
        version: record.version,
        created: words::moment(record.created_at, now),
        updated: words::moment(record.updated_at, now),
        held_note: match differ {
            0 => "no field differs anywhere".to_owned(),
            _ => format!("{differ} of {} {} somewhere", fields.len(), if differ == 1 { "differs" } else { "differ" }),
        },
        systems,
        fields,
        natives: natives(&record),
        live: record.is_live(),
        resyncs: systems::resyncs(&api, &record).await?,
        timeline_note,
        timeline: page.items.iter().map(|row| event(row, now)).collect(),
    }))
}

/// Every field that is canonical or that some system holds.
fn all_fields(record: &CanonicalRecord) -> Vec<FieldPath> {
    let canonical = record.data.iter().map(|(path, _)| path);
    let held = record.links.iter().filter(|link| link.state == LinkState::Linked).flat_map(|link| link.shadow.held.differences());
    let paths: BTreeSet<&FieldPath> = canonical.chain(held.filter(|(_, value)| value.is_some()).map(|(path, _)| path)).collect();
    paths.into_iter().cloned().collect()
}

/// The native records that are part of it.
fn natives(record: &CanonicalRecord) -> Vec<String> {
    let linked = record.links.iter().filter(|link| link.state == LinkState::Linked);
    linked.filter_map(|link| Some(format!("{}:{}", link.system, link.native_id.as_ref()?))).collect()
}

fn sentence(record: &CanonicalRecord, systems: &[HolderHead]) -> String {
    if let Some(into) = record.merged_into {
        return format!("It became part of {into}.");
    }
    if let Some(tombstone) = &record.tombstone {
        return format!(
            "{} deleted it on {}, in update {}; it is kept for a while, so that what comes late is known to be about it.",
            tombstone.system, tombstone.at, tombstone.update
        );
    }
    let of = |code: &str| -> Vec<&str> {
        systems.iter().filter(|system| system.state.code == code).map(|system| system.name.as_str()).collect()
    };
    let said = |names: Vec<&str>, one: &str, many: &str| match names.as_slice() {
        [] => None,
        [name] => Some(format!("{name} {one}")),
        _ => Some(format!("{} {many}", explain::list(&names))),
    };
    let parts = [
        said(of("in_sync"), "holds it as it should", "hold it as they should"),
        said(of("catching_up"), "is being sent what it lacks", "are being sent what they lack"),
        said(of("differs"), "holds something else", "hold something else"),
        said(of("failing"), "can't be told", "can't be told"),
        said(of("timed_out"), "was told and has not answered in time", "were told and have not answered in time"),
        said(of("refused"), "does not take it", "do not take it"),
        said(of("observed"), "is only observed and differs", "are only observed and differ"),
        said(of("let_go"), "has let go of it", "have let go of it"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "No system holds it.".to_owned() } else { format!("{}.", parts.join("; ")) }
}

fn event(row: &crate::domain::decision::Decision, now: Timestamp) -> Event {
    let native = row.native_id.as_ref().map_or_else(String::new, |id| format!(":{id}"));
    let fields = if row.changed.is_empty() { String::new() } else { format!(" · {}", words::fields(&row.changed)) };
    Event {
        href: words::decision_href(&row.update),
        kind: words::of(row.decision),
        from: format!("{}{native} · {}{fields}", row.source_system, row.op.as_str()),
        version: if row.version_after == row.version_before { String::new() } else { format!("version {}", row.version_after) },
        reason: row.reason.clone(),
        at: words::moment(row.timestamp, now),
    }
}

fn field(
    api: &Api,
    record: &CanonicalRecord,
    path: &FieldPath,
    story: String,
    types: &TypeRules,
    names: &Names,
    now: Timestamp,
) -> FieldRow {
    let source = record.provenance.of(path);
    let said = source.map_or_else(
        || "not canonical".to_owned(),
        |source| {
            let by = source.by.name.as_ref().map_or_else(String::new, |name| format!(", by {name}"));
            format!("{}, {}{by}", source.system, words::moment(source.at, now).ago)
        },
    );
    let hides = types.redacts(path);
    FieldRow {
        field: path.to_string(),
        value: if hides { hidden::cell() } else { names.cell(record.data.get(path)) },
        said,
        story: if hides { "Its value is not shown (redact).".to_owned() } else { story },
        update: source.map(|source| Link { text: source.update.to_string(), href: words::decision_href(&source.update) }),
        held: record.links.iter().map(|link| held(api, record, link, path, types, names)).collect(),
    }
}

/// What a system holds of a field.
fn held(api: &Api, record: &CanonicalRecord, link: &SystemLink, path: &FieldPath, types: &TypeRules, names: &Names) -> Held {
    let side = api.directory.target(&link.system, &record.entity_type).side;
    let (native, hides) = (native_name(path, &side), types.redacts(path));
    let native_name = if native == path.as_str() { String::new() } else { native };
    let (there, canonical) = (link.shadow.held.get(&record.data, path), record.data.get(path));
    let cell = |standing, value: Option<&Value>, note: String| Held {
        system: link.system.to_string(),
        standing,
        value: if hides && value.is_some() { hidden::cell() } else { names.cell(value) },
        native_name: native_name.clone(),
        note,
    };
    match link.state {
        LinkState::Detached if link.spare => return cell(Standing::Outside, None, "was made beside the one it had".to_owned()),
        LinkState::Detached => return cell(Standing::Outside, None, "has let go of it".to_owned()),
        LinkState::Reserved => return cell(Standing::Outside, None, "is being made there".to_owned()),
        LinkState::Linked => {}
    }
    let equality = Equality { types, side: &side, stored: &link.shadow.stored };
    let newest = link.shadow.sends.iter().rev().find(|sent| sent.writes(path, equality));
    if !side.takes(path) {
        return cell(Standing::Outside, None, "not shared".to_owned());
    }
    if same_held(there, canonical) {
        return cell(Standing::Same, there, String::new());
    }
    if equality.holds(path, there, canonical) {
        let is_frozen = breaker::frozen(link).any(|(frozen, _)| frozen == path);
        let note = if is_frozen { "its answer whatever it is sent: not corrected any more" } else { "means the same there" };
        return cell(Standing::Meant, there, note.to_owned());
    }
    if let Some(sent) = newest {
        let value = sent.values.get(&record.data, path).unwrap_or(&Value::Null);
        let sends = if hides { hidden::HIDDEN.to_owned() } else { quoted(value) };
        return cell(Standing::OnItsWay, there, format!("is sent {sends} (rev {})", sent.rev));
    }
    if link.waits.iter().any(|waits| waits.fields.contains(path)) {
        return cell(Standing::OnItsWay, there, "its change waits to be decided".to_owned());
    }
    let note = if link.rejected.is_some() { "it does not take what it was sent" } else { "differs" };
    cell(Standing::Differs, there, note.to_owned())
}
