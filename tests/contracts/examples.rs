//! Every message that is written down anywhere is one.

use serde_json::Value;

use crate::support::{assert_good, blocks, contract, problems, read, root, schema};

fn parsed(place: &str, text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{place}: {error}\n{text}"))
}

/// Pages cut canonical ids short; a whole one in their place.
fn whole_ids(text: &str) -> String {
    let parts: Vec<&str> = text.split('…').collect();
    let mut out = String::new();
    for (at, part) in parts.iter().enumerate() {
        let begun = at > 0;
        let part = if begun {
            part.strip_prefix('-').map_or(*part, |rest| rest.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
        } else {
            part
        };
        let cut = at + 1 < parts.len();
        let part = if cut { part.trim_end_matches(|c: char| c.is_ascii_hexdigit() || c == '-') } else { part };
        out.push_str(part);
        if cut {
            out.push_str("01a1fdd6-0000-7000-8000-00000000b928");
        }
    }
    out
}

#[test]
fn the_messages_that_stay_readable_for_ever() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("tests/compat/v1")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        assert_good(&name, &parsed(&name, &std::fs::read_to_string(&path).unwrap()));
        seen += 1;
    }
    assert!(seen >= 11, "{seen}");
}

#[test]
fn every_example_of_the_wire_reference() {
    let mut seen = Vec::new();
    for (info, text) in blocks(&read("docs/wire.md")) {
        let Some(kind) = info.strip_prefix("json") else { continue };
        let (kind, value) = (kind.trim(), parsed("docs/wire.md", &text));
        match kind {
            "lease" => value["updates"].as_array().unwrap().iter().for_each(|message| assert_good("docs/wire.md", message)),
            "answer" => {}
            _ => {
                let wanted = contract(kind);
                assert_eq!(problems(&schema(wanted), &value), [""; 0], "docs/wire.md, {kind}: {text}");
                if kind == "outbound" || kind == "inbound" || wanted.name() == crate::support::form(&value).name() {
                    assert_good("docs/wire.md", &value);
                }
            }
        }
        seen.push(kind.to_owned());
    }
    for kind in ["upsert", "patch", "delete", "rekey", "receipt", "change-set", "cloud-event", "outbound"] {
        assert!(seen.iter().any(|seen| seen == kind), "docs/wire.md has no example of {kind}");
    }
}

/// The body of a `curl`.
fn body(command: &str) -> Option<String> {
    let (_, rest) = command.split_once("-d '")?;
    Some(whole_ids(rest.rsplit_once('\'')?.0))
}

/// What answers are made of, by a part of the address that was asked.
fn rows_of(command: &str) -> Option<&'static str> {
    let rows = [
        ("/history", "decision"),
        ("/why", ""),
        ("/v1/decisions", "decision"),
        ("/v1/parked", "parked"),
        ("/v1/dead-letters", "dead-letter"),
        ("/v1/entities", "canonical"),
        ("/lease", "outbound"),
    ];
    rows.iter().find(|(part, _)| command.contains(part)).map(|(_, row)| *row).filter(|row| !row.is_empty())
}

#[test]
fn every_message_and_row_of_the_other_pages() {
    let (mut messages, mut rows) = (0, 0);
    for page in ["docs/http.md", "docs/adapter-guide.md"] {
        let blocks = blocks(&read(page));
        for (at, (info, command)) in blocks.iter().enumerate().filter(|(_, (info, _))| info == "sh") {
            assert_eq!(info, "sh");
            let answer = blocks.get(at + 1).filter(|(info, _)| info == "json").map(|(_, text)| whole_ids(text));
            let refused = answer.as_ref().is_some_and(|answer| answer.contains("urn:syncline:error"));
            if let Some(sent) = body(command).filter(|_| command.contains("/v1/updates") && !refused) {
                assert_good(page, &parsed(page, &sent));
                messages += 1;
            }
            let (Some(row), Some(answer)) = (rows_of(command), answer.filter(|_| !refused)) else { continue };
            let answer = parsed(page, &answer);
            let items = answer["items"].as_array().or_else(|| answer["updates"].as_array()).cloned().unwrap_or_else(|| vec![answer]);
            for item in items {
                assert_eq!(problems(&schema(contract(row)), &item), [""; 0], "{page}: {command}\n{item}");
                rows += 1;
            }
        }
    }
    assert!(messages >= 5 && rows >= 8, "{messages} messages, {rows} rows");
}
