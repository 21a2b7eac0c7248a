//! Survivorship rules: which value stays when two systems differ.

use serde::Serialize;

use super::reader::{Field, Read, TableReader, distinct};
use super::suggest;
use super::tree::Value;
use crate::domain::ids::SystemName;

/// One declared rule for one field. Ties keep the current value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Rule {
    /// The later decision wins; where both systems' clocks are trusted, the later edit. The default of every field.
    Latest,
    /// A lower system never overrides a value that came from a higher one.
    SourcePriority {
        /// Highest first; systems that are not listed rank last. Never empty.
        sources: Vec<SystemName>,
    },
    /// One system's word counts.
    SourceOfTruth {
        /// That system.
        system: SystemName,
        /// What decides between the others: a chain, never another `source_of_truth`. Default: `latest`.
        fallback: Vec<Rule>,
    },
    /// The value that was there first stays.
    First,
    /// The smaller value.
    Min,
    /// The greater value.
    Max,
    /// The longer text.
    Longest,
    /// The shorter text.
    Shortest,
    /// Decides only where exactly one side is null or empty: the other side.
    NonEmpty,
    /// Both arrays' elements.
    Union,
    /// Adds what the source changed to the current number.
    SumDelta,
}

/// The rules of one field; the first that decides wins. Never empty.
pub type Chain = Vec<Rule>;

/// Every rule by name.
const NAMES: &[&str] =
    &["latest", "source_priority", "source_of_truth", "first", "min", "max", "longest", "shortest", "non_empty", "union", "sum_delta"];

impl Rule {
    /// The rule's name, as configured and as decisions give it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::SourcePriority { .. } => "source_priority",
            Self::SourceOfTruth { .. } => "source_of_truth",
            Self::First => "first",
            Self::Min => "min",
            Self::Max => "max",
            Self::Longest => "longest",
            Self::Shortest => "shortest",
            Self::NonEmpty => "non_empty",
            Self::Union => "union",
            Self::SumDelta => "sum_delta",
        }
    }

    fn simple(name: &str) -> Option<Self> {
        Some(match name {
            "latest" => Self::Latest,
            "first" => Self::First,
            "min" => Self::Min,
            "max" => Self::Max,
            "longest" => Self::Longest,
            "shortest" => Self::Shortest,
            "non_empty" => Self::NonEmpty,
            "union" => Self::Union,
            "sum_delta" => Self::SumDelta,
            _ => return None,
        })
    }
}

/// A rule, or a list of them.
pub(super) fn read_chain(field: &Field<'_>) -> Option<Chain> {
    match &field.node.value {
        Value::List(items) if items.is_empty() => {
            field.error("must not be empty; leave it out for \"latest\"");
            None
        }
        Value::List(_) => Some(field.items()?.iter().filter_map(Rule::read).collect()),
        _ => Rule::read(field).map(|rule| vec![rule]),
    }
}

impl Read for Rule {
    fn read(field: &Field<'_>) -> Option<Self> {
        if matches!(field.node.value, Value::Table(_)) {
            return read_table(field);
        }
        let name = field.text("a rule: its name, a table or a list of those")?;
        let rule = Self::simple(name);
        if rule.is_none() {
            field.error(match name {
                "source_priority" => "source_priority needs its sources; write { source_priority = [\"a\", \"b\"] }".to_owned(),
                "source_of_truth" => "source_of_truth needs its system; write { source_of_truth = { system = \"a\" } }".to_owned(),
                _ => format!("{name:?} is not a rule{}", suggest::hint(name, NAMES)),
            });
        }
        rule
    }
}

/// `{ rule = "…", … }` or the shorthands `{ source_priority = […] }`, `{ source_of_truth = {…} }`.
fn read_table(field: &Field<'_>) -> Option<Rule> {
    let mut table = field.table()?;
    let rule = if let Some(name) = table.field("rule") {
        read_named(&name, &mut table)
    } else if let Some(sources) = table.field("source_priority") {
        distinct(&sources).map(|sources| Rule::SourcePriority { sources })
    } else if let Some(truth) = table.field("source_of_truth") {
        read_truth(&truth)
    } else {
        field.error(
            "is neither a rule nor a list of rules; write { rule = \"longest\" }, \
             and a field inside an object as \"address.city\", in quotes",
        );
        return None;
    };
    table.finish();
    rule
}

fn read_named(name: &Field<'_>, table: &mut TableReader<'_>) -> Option<Rule> {
    match name.as_text() {
        Some("source_priority") => table.required_with("sources", distinct).map(|sources| Rule::SourcePriority { sources }),
        Some("source_of_truth") => {
            let (system, fallback) = (table.required("system"), read_fallback(table));
            Some(Rule::SourceOfTruth { system: system?, fallback })
        }
        _ => Rule::read(name).or_else(|| {
            // Whatever the rule was meant to be, its arguments are not the mistake.
            for argument in ["sources", "system", "fallback"] {
                let _ = table.field(argument);
            }
            None
        }),
    }
}

fn read_truth(field: &Field<'_>) -> Option<Rule> {
    let mut table = field.table()?;
    let (system, fallback) = (table.required("system"), read_fallback(&mut table));
    table.finish();
    Some(Rule::SourceOfTruth { system: system?, fallback })
}

fn read_fallback(table: &mut TableReader<'_>) -> Chain {
    let Some(field) = table.field("fallback") else { return vec![Rule::Latest] };
    let chain = read_chain(&field).unwrap_or_default();
    if chain.iter().any(|rule| matches!(rule, Rule::SourceOfTruth { .. })) {
        field.error("must not be source_of_truth again: there is one truth; use source_priority for an order of systems");
    }
    chain
}

impl Read for Declared {
    fn read(field: &Field<'_>) -> Option<Self> {
        read_chain(field).map(Self)
    }
}

/// [`Chain`] as a map's value; lists of rules and lists in general read differently.
pub(super) struct Declared(pub(super) Chain);
