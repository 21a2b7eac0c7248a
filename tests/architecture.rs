//! The house rules, checked by reading the source. A failure says the rule and every place that breaks it.

#[path = "support/source.rs"]
mod source;

use source::{Named, Source, root, sources};

/// What each room of `src/` may name besides itself; rooms that are not listed may name every room but the backends.
const ROOMS: &[(&str, &[&str], &str)] = &[
    ("domain", &[], "domain names nothing of ours but domain: what is decided depends on nothing outside"),
    ("ports", &["domain"], "ports names only domain and ports: a port is the same whoever stands behind it"),
    ("backends", &["ports", "domain", "telemetry"], "backends names only ports and domain: it carries and keeps, it decides nothing"),
    ("engine", &["domain", "ports", "wire", "config", "telemetry"], "engine never names a backend, the command line or HTTP"),
    ("schema", &["domain", "ports", "views", "wire"], "schema names only what it describes: what is read and what is shown"),
    ("views", &["domain", "ports"], "views names only domain and ports: it shows what is stored"),
    ("wire", &["domain"], "wire names only domain and the contract: it turns messages into changes and back"),
    ("config", &["domain"], "config names only domain::ids: it is passive, and others read it"),
    ("telemetry", &["domain"], "telemetry names only domain: it is a list of names"),
];

/// The rooms that may name the contract's types.
const CONTRACT: &[&str] = &["wire", "http", "cli", "app", "schema"];

/// What is not pure: no time, no chance, no outside, no logging.
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["futures"],
    &["tracing"],
    &["log"],
    &["metrics"],
    &["rand"],
    &["std", "fs"],
    &["std", "io"],
    &["std", "net"],
    &["std", "env"],
    &["std", "process"],
    &["std", "time", "SystemTime"],
    &["std", "time", "Instant"],
    &["std", "thread", "spawn"],
    &["std", "thread", "sleep"],
];

/// Crates of one vendor each.
const VENDORS: &[&str] = &["rusqlite", "lapin", "mongodb", "bson"];

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

fn hold(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "\n\nThe rule: {rule}.\nBroken by:\n  {}\n", broken.join("\n  "));
}

fn place(source: &Source, line: usize, what: impl std::fmt::Display) -> String {
    format!("{}:{line}: {what}", source.name)
}

/// The room a file lives in; none for `lib.rs` and `main.rs`.
fn room(source: &Source) -> Option<String> {
    source.module().first().cloned()
}

/// The room a path leads to, if it is one of ours.
fn target(named: &Named) -> Option<&str> {
    let ours = ["crate", "syncline"].contains(&named.segments[0].as_str());
    named.segments.get(1).map(String::as_str).filter(|_| ours)
}

fn starts_with(named: &Named, path: &[&str]) -> bool {
    named.segments.len() >= path.len() && named.segments.iter().zip(path).all(|(segment, part)| segment == part)
}

/// Every path named in `src/` that `wrong` complains about; it is given the file's room.
fn wrong_paths(files: &[Source], wrong: impl Fn(Option<&str>, &Named) -> bool) -> Vec<String> {
    let mut broken = Vec::new();
    for source in files {
        let room = room(source);
        let paths = source.paths().into_iter().filter(|named| wrong(room.as_deref(), named));
        broken.extend(paths.map(|named| place(source, named.line, named.segments.join("::"))));
    }
    broken
}

fn crosses(room: &str, may: &[&str], named: &Named) -> bool {
    let rooms = ["domain", "ports", "backends", "engine", "wire", "http", "cli", "app", "config", "telemetry", "views", "schema"];
    target(named).is_some_and(|target| rooms.contains(&target) && target != room && !may.contains(&target))
}

#[test]
fn dependencies_point_one_way() {
    let files = sources(&["src"]);
    for (name, may, rule) in ROOMS {
        hold(rule, &wrong_paths(&files, |room, named| room == Some(*name) && crosses(name, may, named)));
    }
}

#[test]
fn config_takes_only_ids_from_the_domain() {
    let wrong = |room: Option<&str>, named: &Named| {
        room == Some("config") && target(named) == Some("domain") && named.segments.get(2).is_none_or(|s| s != "ids")
    };
    hold("config names only domain::ids", &wrong_paths(&sources(&["src"]), wrong));
}

#[test]
fn only_app_names_backends() {
    // lib.rs declares the rooms and is not asked; it holds no logic.
    let outside = |room: Option<&str>, named: &Named| !matches!(room, Some("app" | "backends")) && target(named) == Some("backends");
    let files: Vec<Source> = sources(&["src"]).into_iter().filter(|source| source.name != "src/lib.rs").collect();
    hold(
        "app is the only place that names backends, and so the only one that brings them and the engine together",
        &wrong_paths(&files, outside),
    );
}

#[test]
fn only_the_edge_names_the_contract() {
    let inside =
        |room: Option<&str>, named: &Named| named.segments[0] == "syncline_contract" && room.is_some_and(|room| !CONTRACT.contains(&room));
    hold(
        "the contract's types are named by wire, the schemas, HTTP and the command line only; behind them everything is a domain type",
        &wrong_paths(&sources(&["src"]), inside),
    );
}

#[test]
fn vendors_are_named_by_backends_only() {
    let outside = |room: Option<&str>, named: &Named| room != Some("backends") && VENDORS.contains(&named.segments[0].as_str());
    hold("a vendor's crate is named in backends only", &wrong_paths(&sources(&["src"]), outside));
}

#[test]
fn the_domain_is_pure_and_synchronous() {
    let rule = "domain never reads the clock, never draws a number, never waits, logs or touches the outside: time and ids are arguments";
    let files = sources(&["src/domain"]);
    hold(rule, &wrong_paths(&files, |_, named| IMPURE.iter().any(|path| starts_with(named, path))));
    let mut broken = Vec::new();
    for source in &files {
        for (at, token) in source.tokens.iter().enumerate() {
            let clock =
                token.text == "::" && ["now", "new_v4", "now_v7"].contains(&source.text_at(at + 1)) && source.text_at(at + 2) == "(";
            let said = ["SystemTime", "Instant", "async", "await", "println", "eprintln"].contains(&token.text.as_str());
            if clock || said {
                broken.push(place(source, token.line, format!("{}{}", token.text, if clock { source.text_at(at + 1) } else { "" })));
            }
        }
    }
    hold(rule, &broken);
}

#[test]
fn an_adapter_is_never_a_backend() {
    let mut broken = Vec::new();
    for source in sources(&["src"]) {
        for (at, token) in source.tokens.iter().enumerate() {
            let names = ["struct", "enum", "trait", "type"].contains(&token.text.as_str());
            if names && source.text_at(at + 1).contains("Adapter") {
                broken.push(place(&source, token.line, source.text_at(at + 1)));
            }
        }
    }
    hold("\"adapter\" is the side of a participating system and lives under adapters/; what stands behind a port is a backend", &broken);
}

#[test]
fn there_is_no_unsafe() {
    let mut broken = Vec::new();
    for source in sources(&["src", "adapters"]) {
        broken.extend(source.tokens.iter().filter(|token| token.text == "unsafe").map(|token| place(&source, token.line, "unsafe")));
    }
    hold("no unsafe code", &broken);
}

#[test]
fn files_stay_small() {
    let files = sources(&["src", "adapters", "tests", "benches", "examples"]);
    let lines = |source: &Source| source.text.lines().count();
    let broken: Vec<String> = files
        .iter()
        .filter(|source| lines(source) > FILE_LINES)
        .map(|source| format!("{}: {} lines", source.name, lines(source)))
        .collect();
    hold("no file has more than 600 lines", &broken);
}

#[test]
fn functions_stay_small() {
    let mut broken = Vec::new();
    for source in sources(&["src", "adapters"]).iter().filter(|source| !source.is_test()) {
        let long = source.functions().into_iter().filter(|function| function.length > FUNCTION_LINES);
        broken.extend(long.map(|function| place(source, function.line, format!("{}, {} lines", function.name, function.length))));
    }
    hold("no function has more than 70 lines of code", &broken);
}

/// The manifests of the workspace's packages, by their path.
fn manifests() -> Vec<(String, toml::Table)> {
    let read =
        |name: &str| std::fs::read_to_string(root().join(name)).ok().map(|text| (name.to_owned(), text.parse().expect("valid TOML")));
    let mut names: Vec<String> = std::fs::read_dir(root().join("adapters"))
        .expect("adapters/")
        .map(|entry| format!("adapters/{}/Cargo.toml", entry.expect("a readable folder").file_name().to_string_lossy()))
        .collect();
    names.sort();
    names.push("Cargo.toml".to_owned());
    names.iter().filter_map(|name| read(name)).collect()
}

/// Every dependency table of a manifest, those of single targets included.
fn dependencies(manifest: &toml::Table) -> Vec<(&String, &toml::Value)> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flat_map(toml::Table::values).filter_map(toml::Value::as_table).chain([manifest]);
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table())).flat_map(toml::Table::iter).collect()
}

#[test]
fn adapters_never_depend_on_the_broker() {
    let mut broken = Vec::new();
    for (name, manifest) in manifests().iter().filter(|(name, _)| name.starts_with("adapters/")) {
        let root = |key: &str, value: &toml::Value| value.get("package").and_then(toml::Value::as_str).unwrap_or(key) == "syncline";
        broken.extend(dependencies(manifest).iter().filter(|(key, value)| root(key, value)).map(|(key, _)| format!("{name}: {key}")));
    }
    hold("adapters depend on the contract and the SDK, never on the package syncline", &broken);
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let manifests = manifests();
    let takes =
        |manifest: &toml::Table| manifest.get("lints").and_then(|lints| lints.get("workspace")) == Some(&toml::Value::Boolean(true));
    let broken: Vec<String> = manifests.iter().filter(|(_, manifest)| !takes(manifest)).map(|(name, _)| name.clone()).collect();
    hold("every package has `[lints] workspace = true`, which asks for documented public items and forbids unsafe code", &broken);
    let (_, workspace) = manifests.last().expect("the root's manifest");
    let lint = |name: &str| workspace["workspace"]["lints"]["rust"].get(name).and_then(toml::Value::as_str);
    assert_eq!((lint("missing_docs"), lint("unsafe_code")), (Some("warn"), Some("forbid")));
}

/// `NotJson` → `not_json`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// The variants of `enum DeadReason`, as codes.
fn dead_letter_codes() -> Vec<String> {
    let files = sources(&["src/domain"]);
    let source = files.iter().find(|source| source.name == "src/domain/change.rs").expect("src/domain/change.rs");
    let start = source.tokens.windows(2).position(|pair| pair[0].text == "enum" && pair[1].text == "DeadReason").expect("enum DeadReason");
    let body = source.tokens[start + 3..].iter().map(|token| token.text.as_str()).take_while(|text| *text != "}");
    body.filter(|text| *text != ",").map(snake_case).collect()
}

#[test]
fn every_dead_letter_code_has_a_page() {
    let index = std::fs::read_to_string(root().join("docs/errors/README.md")).expect("docs/errors/README.md");
    let codes = dead_letter_codes();
    let page = |code: &String| root().join(format!("docs/errors/{code}.md")).is_file() && index.contains(&format!("({code}.md)"));
    let mut broken: Vec<String> = codes.iter().filter(|code| !page(code)).cloned().collect();
    let pages = std::fs::read_dir(root().join("docs/errors")).expect("docs/errors");
    let names = pages.map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().trim_end_matches(".md").to_owned());
    broken.extend(names.filter(|name| name != "README" && !codes.contains(name)).map(|name| format!("{name}: no such code")));
    hold("every dead-letter code has a page docs/errors/CODE.md that the index lists", &broken);
}

/// The reader itself: a rule that never fails is no rule.
mod reader {
    use super::*;

    fn paths(name: &str, text: &str) -> Vec<String> {
        Source::new(name, text).paths().iter().map(|named| named.segments.join("::")).collect()
    }

    #[test]
    fn takes_groups_apart() {
        let text = "pub use crate::{domain::ids::{A, B as C}, ports::*};\nlet x = crate::engine::run::<u8>();";
        let expected = ["crate::domain::ids::A", "crate::domain::ids::B", "crate::ports::*", "crate::engine::run"];
        assert_eq!(paths("src/wire/mod.rs", text), expected);
    }

    #[test]
    fn follows_super_out_of_the_room() {
        let text = "use super::super::engine::run;\nmod inner { use super::super::ids::X; }\nuse super::value::Y;";
        assert_eq!(paths("src/domain/a.rs", text), ["crate::engine::run", "crate::domain::ids::X", "crate::domain::value::Y"]);
    }

    #[test]
    fn overlooks_comments_and_text() {
        let text = "// crate::a::b\n/* crate::c /* crate::d */ */ let x = \"crate::e \\\" crate::f\"; r#\"crate::g\"#; '\"'; b'\\''; crate::h::<'a>;";
        assert_eq!(paths("src/app.rs", text), ["crate::h"]);
    }

    #[test]
    fn measures_functions_by_their_lines_of_code() {
        let text = "fn long(x: [u8; 2]) {\n    // why\n    a();\n\n    b(\"\n    text\n\");\n}\nfn declared();\n#[cfg(test)]\nmod tests {\n fn t() { }\n}\n";
        let functions = Source::new("src/a.rs", text).functions();
        assert_eq!(functions.iter().map(|f| (f.name.as_str(), f.line, f.length)).collect::<Vec<_>>(), [("long", 1, 4)]);
    }

    #[test]
    fn sees_a_rule_broken() {
        let files = [Source::new("src/domain/x.rs", "use crate::engine::lanes;"), Source::new("src/domain/y.rs", "use super::ids::A;")];
        let broken = wrong_paths(&files, |_, named| crosses("domain", &[], named));
        assert_eq!(broken, ["src/domain/x.rs:1: crate::engine::lanes"]);
    }
}

/// What stands in the README is what is compiled and run.
#[test]
fn the_programs_in_the_readme_are_the_examples() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let readme = read("README.md");
    let blocks: Vec<&str> = readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    for name in ["examples/consolidate.rs", "examples/keep_in_sync.rs"] {
        let program = read(name);
        let code = program.split_once("\n\n").map_or("", |(_, code)| code).trim();
        assert!(blocks.iter().any(|block| block.trim().ends_with(code)), "README.md does not show {name} as it is");
    }
}
