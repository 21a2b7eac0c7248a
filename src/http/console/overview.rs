//! Is everything in sync, and what needs a person?

use std::collections::BTreeMap;

use axum::extract::State;

use super::model::{Need, Number, Overview, Share, SystemLine, Verdict};
use super::systems::{self, Known};
use super::{Answer, Visit, decisions, framed, shown, words};
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::time::Timestamp;
use crate::http::Api;
use crate::http::routes::Shared;
use crate::ports::hold::Hold;
use crate::ports::store::DecisionFilter;
use crate::ports::tally::Tally;
use crate::views::holds::{self, Kept};

/// Decisions the numbers are made from.
const LATELY: usize = 200;
/// Of these, so many are listed.
const LISTED: usize = 10;
/// What nothing but a person ends.
const FOR_PEOPLE: [&str; 5] = ["review", "match_collision", "duplicate_in_system", "no_identity", "brake"];

/// `GET /`
pub async fn page(State(api): Shared, visit: Visit) -> Answer {
    let now = api.clock.now();
    let tally = api.store.tally().await?;
    let all = DecisionFilter::default();
    let (kept, known, lately) =
        tokio::try_join!(async { Ok(holds::kept(api.store.as_ref()).await?) }, systems::known(&api, &tally), async {
            Ok(api.store.decisions(&all, None, LATELY).await?.items)
        },)?;
    let inbound = api.inbox.depth().await.map_or(0, |(inbound, _)| inbound);
    let needs = needs(&tally, &kept, &known, now);
    let (mix, mix_text) = mix(&lately);
    Ok(shown(&Overview {
        frame: framed(&api, &visit, ("Overview", "overview"), &tally),
        verdict: verdict(&api, &known, &needs, inbound),
        numbers: numbers(&lately, &tally, inbound, now),
        needs,
        systems: known
            .iter()
            .map(|system| SystemLine {
                name: system.row.system.to_string(),
                state: system.state,
                pending: system.row.pending,
                unanswered: system.row.unanswered,
                failing: system.row.failing,
                drift: system.row.drift,
                behind: if system.row.drift == 0 { "–".to_owned() } else { words::span(system.row.lag) },
            })
            .collect(),
        latest: lately.iter().take(LISTED).map(|row| decisions::line(row, now)).collect(),
        mix,
        mix_text,
    }))
}

/// The answer, in one sentence and a half.
fn verdict(api: &Api, known: &[Known], needs: &[Need], inbound: u64) -> Verdict {
    let verdict = |tone, icon, headline: &str, sentence: String| Verdict { tone, icon, headline: headline.to_owned(), sentence };
    let failing: Vec<&str> = known.iter().filter(|system| system.row.failing > 0).map(|system| system.row.system.as_str()).collect();
    let drift: u64 = known.iter().map(|system| system.row.drift).sum();
    let people = match needs.len() {
        0 => String::new(),
        1 => " One thing needs a person.".to_owned(),
        many => format!(" {many} things need a person."),
    };
    if !api.is_ready() {
        return verdict(
            "wait",
            "wait",
            "Syncline is starting or stopping",
            "It takes no messages now. What is shown is what is stored.".to_owned(),
        );
    }
    if known.is_empty() {
        return verdict("calm", "same", "Nothing is connected yet", "No system is configured, and none has said anything.".to_owned());
    }
    if !failing.is_empty() {
        let text = format!(
            "{} can't be told everything: {} to reach it.{people}",
            failing.join(" and "),
            words::counted(drift, "record fails", "records wait or fail")
        );
        return verdict("dead", "warn", "Not everything is in sync", text);
    }
    if !api.settings.rules.push_updates {
        let text = format!("Updates are decided, and nothing is sent on (push_updates = false).{people}");
        return verdict(if needs.is_empty() { "calm" } else { "wait" }, "same", "Nobody is sent anything", text);
    }
    if drift + inbound > 0 {
        let text = format!(
            "{} to be decided, {} on the way.{people}",
            words::counted(inbound, "update", "updates"),
            words::counted(drift, "record", "records")
        );
        return verdict(if needs.is_empty() { "part" } else { "wait" }, "part", "Catching up", text);
    }
    let all = format!(
        "{} as they should, and nothing is on its way.{people}",
        words::counted(known.len() as u64, "system holds its records", "systems hold their records")
    );
    match needs.is_empty() {
        true => verdict("ok", "ok", "Everything is in sync", all),
        false => verdict("wait", "person", "In sync, and somebody is needed", all),
    }
}

fn needs(tally: &Tally, kept: &[Kept], known: &[Known], now: Timestamp) -> Vec<Need> {
    let need = |tone, icon, count, what: String, hint: String, href: &str| Need { tone, icon, count, what, hint, href: href.to_owned() };
    let mut needs = Vec::new();
    let people: Vec<(&str, u64)> = FOR_PEOPLE.iter().filter_map(|code| Some((*code, *tally.waiting.get(*code)?))).collect();
    let waits: u64 = people.iter().filter(|(code, _)| *code != "brake").map(|(_, count)| count).sum();
    if waits > 0 {
        let each: Vec<String> =
            people.iter().filter(|(code, _)| *code != "brake").map(|(code, count)| format!("{count} {}", code.replace('_', " "))).collect();
        needs.push(need(
            "wait",
            "person",
            waits,
            counted(waits, "update waits for a person", "updates wait for a person"),
            each.join(", "),
            "/waiting",
        ));
    }
    for row in kept {
        let since = format!("since {}", words::moment(row.since, now).full);
        let what = match &row.hold {
            Hold::CreateBrake { system, entity_type } => format!("brake holds new {entity_type} records for {system}"),
            Hold::DeleteBrake { system, entity_type } => format!("brake holds deletes of {entity_type} by {system}"),
            Hold::PauseIn { system } => format!("pause: nothing {system} says is taken"),
            Hold::PauseOut { system } => format!("pause: {system} is sent nothing"),
        };
        needs.push(need("wait", "pause", 1, what, since, "/waiting"));
    }
    let dead: u64 = tally.dead_letters.values().sum();
    if dead > 0 {
        let each: Vec<String> = tally.dead_letters.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        needs.push(need(
            "dead",
            "letters",
            dead,
            counted(dead, "message could not be processed", "messages could not be processed"),
            each.join(", "),
            "/dead-letters",
        ));
    }
    for system in known.iter().filter(|system| system.row.failing > 0) {
        let (name, count) = (&system.row.system, system.row.failing);
        let what = format!("{} to reach {name}", counted(count, "record fails", "records fail"));
        needs.push(need(
            "dead",
            "warn",
            count,
            what,
            "it answers \"failed\", or can't be reached; tried again later each time".to_owned(),
            &format!("/systems/{name}"),
        ));
    }
    needs
}

fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 { one.to_owned() } else { many.to_owned() }
}

fn numbers(lately: &[Decision], tally: &Tally, inbound: u64, now: Timestamp) -> Vec<Number> {
    let (rate, rate_hint) = rate(lately, now);
    let mut took: Vec<u64> = lately.iter().filter(|row| row.attempts <= 1).map(|row| row.duration_us).collect();
    took.sort_unstable();
    let at = |share: usize| took.get((took.len() * share / 100).min(took.len().saturating_sub(1))).copied();
    let ((middle, unit), hint) = match (at(50), at(95)) {
        (Some(middle), Some(most)) => {
            let (most, most_unit) = words::short_time(most);
            (words::short_time(middle), format!("95 of 100 within {most} {most_unit}"))
        }
        _ => (("–".to_owned(), ""), "nothing was decided yet".to_owned()),
    };
    let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    let (waiting, dead) = (sum(&tally.waiting), sum(&tally.dead_letters));
    let people: u64 = FOR_PEOPLE.iter().filter_map(|code| tally.waiting.get(*code)).sum();
    let owed: u64 = tally.owed.values().map(|owed| owed.pending + owed.failing).sum();
    let number = |what, value: u64, hint: String, tone| Number { what, value: words::grouped(value), unit: "", hint, tone };
    vec![
        Number { what: "Decided", value: rate, unit: "/min", hint: rate_hint, tone: "" },
        Number { what: "Time to decide", value: middle, unit, hint, tone: "" },
        number("To be decided", inbound, "in the inbound queue".to_owned(), ""),
        number("To be sent", owed, "records some system lacks".to_owned(), ""),
        number(
            "Waiting",
            waiting,
            if people == 0 { "all go on by themselves".to_owned() } else { format!("{people} for a person") },
            if waiting > 0 { "wait" } else { "" },
        ),
        number("Dead letters", dead, "they hold up nothing else".to_owned(), if dead > 0 { "dead" } else { "" }),
    ]
}

/// Decisions a minute, of late.
fn rate(lately: &[Decision], now: Timestamp) -> (String, String) {
    let minute = lately.iter().filter(|row| now.since(row.timestamp).as_secs() < 60).count();
    match lately.last() {
        // More than a page of them: from the time they span.
        Some(oldest) if minute == LATELY => {
            let micros = now.since(oldest.timestamp).as_micros().max(1);
            let rate = (LATELY as u128 * 60_000_000 / micros).min(u128::from(u64::MAX));
            (words::grouped(u64::try_from(rate).unwrap_or(u64::MAX)), format!("by the last {LATELY}"))
        }
        Some(_) if minute == 0 => {
            ("0".to_owned(), lately.first().map_or_else(String::new, |row| format!("the last {}", words::moment(row.timestamp, now).ago)))
        }
        _ => (minute.to_string(), "in the last minute".to_owned()),
    }
}

/// The last decisions by kind, as parts of a bar.
fn mix(lately: &[Decision]) -> (Vec<Share>, String) {
    let mut shares = Vec::new();
    let mut x = 0;
    for decision in DecisionKind::ALL {
        let count = lately.iter().filter(|row| row.decision == decision).count();
        if count > 0 {
            let width = (count * 1_000 / lately.len()).max(4);
            shares.push(Share { kind: words::of(decision), count, x, width });
            x += width;
        }
    }
    let each: Vec<String> = shares.iter().map(|share| format!("{} {}", share.count, share.kind.word)).collect();
    (shares, format!("Of the last {} decisions: {}", lately.len(), each.join(", ")))
}
