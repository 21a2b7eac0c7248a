//! "Did you mean": the known name closest to one somebody wrote.

/// Names people write for ours, by habit from elsewhere.
const ALIASES: [(&str, &str); 9] = [
    ("entitytype", "type"),
    ("source", "system"),
    ("data", "entity"),
    ("record", "entity"),
    ("payload", "entity"),
    ("operation", "op"),
    ("time", "occurred_at"),
    ("timestamp", "occurred_at"),
    ("messageid", "id"),
];

/// The known name `written` probably stands for.
pub(super) fn closest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    if written.len() > 64 {
        return None;
    }
    let plain = plain(written);
    let alias = ALIASES.iter().find(|(alias, _)| *alias == plain).map(|(_, name)| *name);
    if let Some(name) = known.iter().find(|name| Some(**name) == alias || self::plain(name) == plain) {
        return Some(name);
    }
    // One slip in a short name, two in a long one: more would suggest names that have nothing to do with it.
    let best = known.iter().map(|name| (distance(&plain, &self::plain(name)), *name)).min()?;
    let allowed = if plain.len() < 6 { 1 } else { 2 };
    (best.0 <= allowed && plain.len() > 2).then_some(best.1)
}

/// `; did you mean "native_id"?`, or nothing.
pub(super) fn hint(written: &str, known: &[&str]) -> String {
    closest(written, known).map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["id", "system", "type", "op", "native_id", "entity", "base", "seq", "occurred_at", "canonical_id"];
        for (written, name) in [
            ("nativeId", Some("native_id")),
            ("native-id", Some("native_id")),
            ("NATIVE_ID", Some("native_id")),
            ("nativ_id", Some("native_id")),
            ("sytem", Some("system")),
            ("entity_type", Some("type")),
            ("payload", Some("entity")),
            ("timestamp", Some("occurred_at")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(written, &known), name, "{written}");
        }
    }
}
