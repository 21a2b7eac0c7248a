//! The configuration as written: a tree of values that know their line, with the environment laid over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{KeyPath, Place, Report, Step};

/// Prefix of the environment variables that override the file.
const ENV_PREFIX: &str = "SYNCLINE__";

/// Keys of one table, sorted.
pub(super) type Table = BTreeMap<String, Node>;

/// One value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    /// The text of an environment variable, for keys that want text whatever it looks like.
    pub(super) raw: Option<String>,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime,
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// For messages: `expected …, found {this}`. Never shows the value, which may be a secret.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Datetime => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// The empty document.
    pub(super) fn empty() -> Self {
        Self { place: Place::Whole, value: Value::Table(Table::new()), raw: None }
    }

    /// Where `path`, or as much of it as was written, stands.
    pub(super) fn place_of(&self, path: &KeyPath) -> Place {
        let mut node = self;
        for step in path.steps() {
            let next = match (&node.value, step) {
                (Value::Table(table), Step::Key(key)) => table.get(key),
                (Value::List(list), Step::Index(index)) => list.get(*index),
                _ => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
        node.place.clone()
    }
}

/// Reads TOML text. Syntax errors go to the report, all of them.
pub(super) fn parse(text: &str, report: &Report<'_>) -> Node {
    let lines = Lines::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = error.span().map_or(Place::Whole, |span| Place::Line(lines.of(span.start)));
        report.error(&place, &KeyPath::default(), format!("not valid TOML: {}", error.message().replace('\n', " ")));
    }
    let at = |offset| Place::Line(lines.of(offset));
    let mut root = Node { place: Place::Whole, value: Value::Table(table(root.get_ref(), &at, &KeyPath::default(), report)), raw: None };
    root.place = Place::Line(1);
    root
}

fn table(from: &DeTable<'_>, at: &impl Fn(usize) -> Place, path: &KeyPath, report: &Report<'_>) -> Table {
    from.iter()
        .map(|(key, value)| {
            let name = key.get_ref().to_string();
            // The key's own line: a list or table may begin further down.
            let node = node(value, at(key.span().start), at, &path.key(&name), report);
            (name, node)
        })
        .collect()
}

fn node(from: &Spanned<DeValue<'_>>, place: Place, at: &impl Fn(usize) -> Place, path: &KeyPath, report: &Report<'_>) -> Node {
    let value = match from.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or_else(|_| {
            report.error(&place, path, "the number is too large");
            0
        })),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::List(
            items.iter().enumerate().map(|(index, item)| node(item, at(item.span().start), at, &path.index(index), report)).collect(),
        ),
        DeValue::Table(entries) => Value::Table(table(entries, at, path, report)),
    };
    Node { place, value, raw: None }
}

/// A TOML literal, for comparisons; none if it is not one.
pub(super) fn literal(text: &str, place: &Place) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let report = Report::new("");
    let node = node(&value, place.clone(), &|_| place.clone(), &KeyPath::default(), &report);
    (!report.has_errors()).then_some(node)
}

/// Lays `SYNCLINE__A__B=value` over the tree, in the order of the variables' names.
///
/// Names are case-insensitive: a segment means the key already written that way in any case, else its lower-case form.
/// A value is read as TOML where it is TOML and as text otherwise, so `5s` needs no quotes.
pub(super) fn overlay(root: &mut Node, env: impl Iterator<Item = (String, String)>, report: &Report<'_>) {
    let mut variables: Vec<_> = env.filter(|(name, _)| has_prefix(name)).collect();
    variables.sort();
    for (name, text) in variables {
        let place = Place::Env(Arc::from(name.as_str()));
        let segments: Vec<&str> = name[ENV_PREFIX.len()..].split("__").collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            report.error(&place, &KeyPath::default(), "names no key; write SYNCLINE__SECTION__KEY=value");
            continue;
        }
        let mut value =
            literal(&text, &place).unwrap_or_else(|| Node { place: place.clone(), value: Value::Text(text.clone()), raw: None });
        value.raw = Some(text);
        put(root, &segments, value, &KeyPath::default(), report);
    }
}

fn has_prefix(name: &str) -> bool {
    name.get(..ENV_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(ENV_PREFIX))
}

fn put(under: &mut Node, segments: &[&str], value: Node, path: &KeyPath, report: &Report<'_>) {
    let Some((first, rest)) = segments.split_first() else { return };
    let Value::Table(table) = &mut under.value else {
        report.error(&value.place, path, format!("is {}, so nothing can be set below it", under.value.kind()));
        return;
    };
    let key = table.keys().find(|key| key.to_lowercase() == first.to_lowercase()).cloned().unwrap_or_else(|| first.to_lowercase());
    let path = path.key(&key);
    if !rest.is_empty() {
        let place = value.place.clone();
        let next = table.entry(key).or_insert_with(|| Node { place, value: Value::Table(Table::new()), raw: None });
        put(next, rest, value, &path, report);
        return;
    }
    match table.get(&key) {
        Some(Node { place: Place::Env(other), .. }) => {
            report.error(&value.place, &path, format!("also set by environment variable {other}; keep one"));
        }
        _ => {
            table.insert(key, value);
        }
    }
}

/// Byte offsets to line numbers.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset).collect())
    }

    fn of(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}
