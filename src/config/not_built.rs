//! Keys of the specification whose feature this version does not have: refused by name, never ignored.
//!
//! To release a feature, delete its lines from [`NOT_BUILT`].

use std::time::Duration;

use super::problem::{KeyPath, Place, Report};
use super::tree::{self, Node, Value};
use super::units;

/// A key path (`*` stands for any name) and the values, as TOML, it may still have: its default, so that a configuration
/// may spell it out. No values: the key itself is refused.
pub(super) const NOT_BUILT: &[(&str, &[&str])] = &[("entities.*.duplicates", &[r#""park""#, r#""separate""#])];

/// Reports every use of what is not built: of [`NOT_BUILT`], except in tests.
pub(super) fn refuse(not_built: &[(&str, &[&str])], root: &Node, report: &Report<'_>) {
    for (pattern, values) in not_built {
        let keys: Vec<&str> = pattern.split('.').collect();
        visit(root, &keys, &KeyPath::default(), &mut |node, path| {
            let allowed = values.iter().any(|value| tree::literal(value, &Place::Whole).is_some_and(|value| same(node, &value)));
            // A value that could not be read has been explained already.
            if !allowed && !report.has_error_at(path) {
                report.error(&node.place, path, sentence(node, values));
            }
        });
    }
}

fn sentence(node: &Node, values: &[&str]) -> String {
    match (shown(node), values.first()) {
        (_, None) => "is not available in this version; leave it out".to_owned(),
        (Some(value), Some(usual)) => format!("{value} is not available in this version; leave it at {usual}"),
        (None, Some(usual)) => format!("is not available in this version; leave it at {usual}"),
    }
}

/// Keys with an allowed value hold no secrets, so theirs can be shown.
fn shown(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(format!("{text:?}")),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Datetime | Value::List(_) | Value::Table(_) => None,
    }
}

fn visit(node: &Node, keys: &[&str], path: &KeyPath, found: &mut impl FnMut(&Node, &KeyPath)) {
    let Some((first, rest)) = keys.split_first() else { return found(node, path) };
    let Value::Table(table) = &node.value else { return };
    for (key, child) in table.iter().filter(|(key, _)| *first == "*" || key == first) {
        visit(child, rest, &path.key(key), found);
    }
}

/// Equal by meaning: `5` is `5.0`, `"60s"` is `"1m"`.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Text(a), Value::Text(b)) => {
            let durations: (Option<Duration>, Option<Duration>) = (units::duration(a), units::duration(b));
            a == b || (durations.0.is_some() && durations.0 == durations.1)
        }
        (Value::Integer(a), Value::Integer(b)) => a == b,
        (Value::Float(float), Value::Integer(whole)) => *float == *whole as f64,
        (Value::Boolean(a), Value::Boolean(b)) => a == b,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => false,
    }
}
