//! "Did you mean …?"

/// The candidate a person most probably meant by `written`, if one is close enough.
pub(super) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = folded(written);
    // A third of the letters may be wrong: enough for slips, too little to turn one word into another.
    let limit = (written.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&written, &folded(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The end of a message: `; did you mean "x"?`, or the possibilities where nothing is near.
pub(super) fn hint(written: &str, candidates: &[&str]) -> String {
    match nearest(written, candidates.iter().copied()) {
        Some(candidate) => format!("; did you mean \"{candidate}\"?"),
        None if candidates.is_empty() => String::new(),
        None => format!("; expected one of {}", candidates.join(", ")),
    }
}

/// As [`hint`], saying nothing where nothing is near.
pub(super) fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, candidates).map(|candidate| format!("; did you mean \"{candidate}\"?")).unwrap_or_default()
}

fn folded(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let words = ["receipts", "writes", "echo", "trust_time"];
        for (written, meant) in [
            ("receits", Some("receipts")),
            ("reciepts", Some("receipts")),
            ("Trust-Time", Some("trust_time")),
            ("ehco", Some("echo")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, words), meant, "{written}");
        }
    }
}
