//! Dead letters: which there are, and one of them with what its code means.

use axum::extract::{Path, State};
use serde_json::Value;

use super::model::{Letter, LetterLine, Letters};
use super::{Answer, ROWS, Visit, frame, hidden, shown, words};
use crate::domain::change::DeadReason;
use crate::http::query::Query;
use crate::http::routes::Shared;
use crate::http::{Api, Problem};
use crate::ports::store::{Cursor, DeadLetter};

/// Pages of the documentation by their codes.
macro_rules! pages {
    ($($code:literal)*) => {
        [$(($code, include_str!(concat!("../../../docs/errors/", $code, ".md")))),*]
    };
}

const PAGES: [(&str, &str); 25] = pages! {
    "not_json" "not_utf8" "too_large" "too_deep" "too_many_fields" "bad_field_name" "duplicate_key" "number_out_of_range"
    "bad_envelope" "unknown_op" "no_id" "bad_id" "id_mismatch" "unknown_system" "not_taken" "not_your_system" "id_reuse"
    "seq_conflict" "unknown_receipt" "bad_reference" "key_too_long" "handler_failed" "change_set" "not_supported" "poison"
};

/// The page of the documentation about a code.
fn documented(reason: DeadReason) -> &'static str {
    let code = reason.to_string();
    PAGES.iter().find(|(known, _)| *known == code).map_or("", |(_, page)| page)
}

/// A page of the documentation as headings and paragraphs, without its marks.
fn explained(reason: DeadReason) -> Vec<(String, String)> {
    let parts = documented(reason).split("\n\n").filter(|part| !part.starts_with('#') && !part.trim().is_empty());
    let split = |part: &str| match part.strip_prefix("**").and_then(|rest| rest.split_once("**")) {
        Some((head, text)) => (head.to_owned(), plain(text)),
        None => (String::new(), plain(part)),
    };
    parts.map(split).collect()
}

/// Markdown as text: `code` and [links](there) by what they show.
fn plain(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        match after.split_once("](").and_then(|(shown, link)| Some((shown, link.split_once(')')?.1))) {
            Some((shown, left)) => {
                out.push_str(shown);
                rest = left;
            }
            None => {
                out.push('[');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out.replace('`', "").trim().to_owned()
}

fn from(letter: &DeadLetter) -> String {
    let parts: Vec<&str> = [&letter.system, &letter.entity_type, &letter.native_id].into_iter().flatten().map(String::as_str).collect();
    if parts.is_empty() { "nobody can tell".to_owned() } else { parts.join(" ") }
}

/// `GET /dead-letters?cursor`
pub async fn list(State(api): Shared, visit: Visit, mut query: Query) -> Answer {
    let cursor = query.take("cursor").map(Cursor);
    query.finish("cursor")?;
    let page = api.store.dead_letters(cursor.as_ref(), ROWS).await?;
    let now = api.clock.now();
    let line = |letter: &DeadLetter| LetterLine {
        id: letter.id.clone(),
        href: format!("/dead-letters/{}", words::encoded(&letter.id)),
        reason: letter.reason.to_string(),
        from: from(letter),
        detail: told(&api, letter).detail,
        at: words::moment(letter.received_at, now),
    };
    Ok(shown(&Letters {
        frame: frame(&api, &visit, "Dead letters", "letters").await?,
        rows: page.items.iter().map(line).collect(),
        next: page.next.map(|Cursor(next)| format!("/dead-letters?cursor={}", words::encoded(&next))),
    }))
}

/// `GET /dead-letters/{id}`
pub async fn one(State(api): Shared, visit: Visit, Path(id): Path<String>) -> Answer {
    let letter = api.store.dead_letter(&id).await?;
    let letter = letter
        .ok_or_else(|| Problem::absent(format!("There is no dead letter {id}: somebody has dealt with it, or there never was one.")))?;
    let Message { body, detail, hidden } = told(&api, &letter);
    let hint = if letter.encoding.is_some() {
        "It is no text, so it can't be edited here. Requeued, it is tried once more as it came."
    } else {
        "Edit it and requeue it; it keeps its id. Left as it is, it is tried once more as it came."
    };
    Ok(shown(&Letter {
        frame: frame(&api, &visit, &format!("Dead letter {id}"), "letters").await?,
        id_path: words::encoded(&id),
        title: match (&letter.system, &letter.native_id) {
            (Some(system), Some(native)) => format!("A message of {system} about {native}"),
            (Some(system), None) => format!("A message of {system}"),
            (None, _) => "A message nobody can tell the sender of".to_owned(),
        },
        reason: letter.reason.to_string(),
        detail,
        from: letter.system.clone().unwrap_or_default(),
        at: words::moment(letter.received_at, api.clock.now()),
        body,
        hidden,
        tag: letter.tag(),
        encoding: letter.encoding,
        hint,
        explained: explained(letter.reason),
        id,
    }))
}

/// A message and what is wrong with it, as far as they may be shown.
struct Message {
    body: String,
    detail: String,
    hidden: bool,
}

fn told(api: &Api, letter: &DeadLetter) -> Message {
    let body = letter.body.as_deref().unwrap_or_default();
    let read = if letter.encoding.is_none() { serde_json::from_str(body).unwrap_or_default() } else { Value::Null };
    match hidden::told(&api.settings.rules, &read, (letter.system.as_deref(), letter.entity_type.as_deref())) {
        None => Message { body: hidden::UNTOLD.to_owned(), detail: hidden::UNTOLD.to_owned(), hidden: true },
        Some(told) if told.hides() => Message {
            body: serde_json::to_string_pretty(&told.message).unwrap_or_default(),
            detail: told.sentence(&letter.detail),
            hidden: true,
        },
        Some(_) => Message { body: readable(letter), detail: letter.detail.clone(), hidden: false },
    }
}

/// The message; JSON on one line is set out, which changes nothing of what it says.
fn readable(letter: &DeadLetter) -> String {
    let body = letter.body.clone().unwrap_or_default();
    let one_line = letter.encoding.is_none() && !body.trim().contains('\n');
    // Numbers and repeated names must stay just as they came; where they would not, so does the text.
    match serde_json::from_str::<serde_json::Value>(&body) {
        Ok(value) if one_line && value.to_string().len() == body.trim().len() => serde_json::to_string_pretty(&value).unwrap_or(body),
        Ok(_) | Err(_) => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_of_a_code_is_read_as_text() {
        let parts = explained(DeadReason::IdReuse);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].0, "What it means.");
        assert!(parts[0].1.starts_with("This system has sent another update under this id."), "{parts:?}");
        assert_eq!(plain("see [the page](wire.md#x), `a[0]` and [b"), "see the page, a[0] and [b");
    }
}
