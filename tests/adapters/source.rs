//! The samples' own source: no line of them translates an id.

use std::fs;
use std::path::Path;

/// Words that code which translates ids, keeps maps of them or tells echoes apart can't do without.
const WORDS: &[&str] = &["canonical", "id_map", "mapping", "translate", "lookup", "other_system", "echo", "HashMap", "BTreeMap"];

#[test]
fn no_line_of_the_samples_translates_an_id() {
    for (own, other) in [("bms", "oem"), ("oem", "bms")] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("adapters").join(own).join("src");
        let mut files = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            for (at, line) in text.lines().enumerate() {
                let found = WORDS.iter().chain([&other]).find(|word| line.contains(**word));
                assert!(found.is_none(), "{}:{}: {line}", path.display(), at + 1);
            }
            files += 1;
        }
        assert!(files >= 4, "the samples of {own} were read");
    }
}
