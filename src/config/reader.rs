//! The strict reader: typed values out of the tree, every problem noted, nothing left over unnoticed.
//!
//! A value that cannot be read becomes the default, so that reading goes on and finds the next problem too.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::problem::{KeyPath, Report};
use super::suggest;
use super::tree::{Node, Table, Value};
use super::units;
use crate::domain::ids::{EntityType, InvalidId, SystemName};

/// A type with a spelling in the configuration.
pub(super) trait Read: Sized {
    /// Reads it; none if it could not be, after telling the report.
    fn read(field: &Field<'_>) -> Option<Self>;
}

/// A type that names things in the configuration: the left side of an entry.
pub(super) trait ReadKey: Sized + Ord {
    /// Reads a key; none if it is not valid, after telling the report.
    fn read_key(field: &Field<'_>, key: &str) -> Option<Self>;
}

/// One written value, where it stands and where its problems go.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    pub(super) report: &'a Report<'a>,
    pub(super) path: KeyPath,
    pub(super) node: &'a Node,
}

impl<'a> Field<'a> {
    pub(super) fn error(&self, message: impl Into<String>) {
        self.report.error(&self.node.place, &self.path, message);
    }

    /// `expected …, found …`.
    pub(super) fn mismatch<T>(&self, expected: &str) -> Option<T> {
        self.error(format!("expected {expected}, found {}", self.node.value.kind()));
        None
    }

    /// The text, if it is text. A variable's text counts even where it looks like a number.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        match (&self.node.value, &self.node.raw) {
            (Value::Text(text), _) => Some(text),
            (Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime, Some(raw)) => Some(raw),
            _ => None,
        }
    }

    /// The text; anything else is a problem.
    pub(super) fn text(&self, expected: &str) -> Option<&'a str> {
        self.as_text().or_else(|| self.mismatch(expected))
    }

    /// The table; anything else is a problem.
    pub(super) fn table(&self) -> Option<TableReader<'a>> {
        match &self.node.value {
            Value::Table(table) => Some(TableReader { field: self.clone(), table, known: Vec::new() }),
            _ => self.mismatch("a table"),
        }
    }

    /// The elements of a list; anything else is a problem.
    pub(super) fn items(&self) -> Option<Vec<Field<'a>>> {
        let Value::List(items) = &self.node.value else { return self.mismatch("a list") };
        let item = |(index, node)| Field { report: self.report, path: self.path.index(index), node };
        Some(items.iter().enumerate().map(item).collect())
    }

    fn child(&self, key: &str, node: &'a Node) -> Field<'a> {
        Field { report: self.report, path: self.path.key(key), node }
    }
}

/// One table, read key by key.
#[derive(Debug)]
pub(super) struct TableReader<'a> {
    pub(super) field: Field<'a>,
    table: &'a Table,
    known: Vec<&'static str>,
}

impl<'a> TableReader<'a> {
    /// The written value of `key`, unread.
    pub(super) fn field(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        self.table.get(key).map(|node| self.field.child(key, node))
    }

    /// The value of `key`, if written and readable.
    pub(super) fn take<T: Read>(&mut self, key: &'static str) -> Option<T> {
        T::read(&self.field(key)?)
    }

    /// The value of `key`, else the default.
    pub(super) fn or<T: Read>(&mut self, key: &'static str, default: T) -> T {
        self.take(key).unwrap_or(default)
    }

    /// As [`Self::or`] for a duration that must not be zero.
    pub(super) fn positive(&mut self, key: &'static str, default: Duration) -> Duration {
        let Some(field) = self.field(key) else { return default };
        match Duration::read(&field) {
            Some(Duration::ZERO) => {
                field.error("must be longer than zero");
                default
            }
            Some(duration) => duration,
            None => default,
        }
    }

    /// As [`Self::or`] for a number within limits.
    pub(super) fn number(&mut self, key: &'static str, default: f64, least: f64, most: f64) -> f64 {
        let Some(field) = self.field(key) else { return default };
        match f64::read(&field) {
            Some(number) if (least..=most).contains(&number) => number,
            Some(number) => {
                field.error(format!("{number} is out of range; at least {least}, at most {most}"));
                default
            }
            None => default,
        }
    }

    /// The value of a key that must be there.
    pub(super) fn required<T: Read>(&mut self, key: &'static str) -> Option<T> {
        self.required_with(key, T::read)
    }

    /// As [`Self::required`], read in a way of its own.
    pub(super) fn required_with<T>(&mut self, key: &'static str, read: impl FnOnce(&Field<'_>) -> Option<T>) -> Option<T> {
        let field = self.field(key);
        if field.is_none() {
            self.field.error(format!("\"{key}\" is missing"));
        }
        read(&field?)
    }

    /// Reports every key nobody asked for.
    pub(super) fn finish(self) {
        for (key, node) in self.table.iter().filter(|(key, _)| !self.known.contains(&key.as_str())) {
            self.field.child(key, node).error(format!("unknown key{}", suggest::hint(key, &self.known)));
        }
    }
}

impl Read for String {
    fn read(field: &Field<'_>) -> Option<Self> {
        let text = field.text("text")?;
        if text.is_empty() {
            field.error("must not be empty");
            return None;
        }
        Some(text.to_owned())
    }
}

impl Read for PathBuf {
    fn read(field: &Field<'_>) -> Option<Self> {
        String::read(field).map(Self::from)
    }
}

impl Read for bool {
    fn read(field: &Field<'_>) -> Option<Self> {
        match field.node.value {
            Value::Boolean(flag) => Some(flag),
            _ => field.mismatch("true or false"),
        }
    }
}

impl Read for f64 {
    fn read(field: &Field<'_>) -> Option<Self> {
        match field.node.value {
            Value::Float(number) if number.is_finite() => Some(number),
            // Configured numbers are small; a whole one past 2^53 has no use here.
            Value::Integer(number) => Some(number as f64),
            _ => field.mismatch("a number"),
        }
    }
}

macro_rules! non_zero {
    ($($type:ty, $inner:ty;)+) => {$(
        impl Read for $type {
            fn read(field: &Field<'_>) -> Option<Self> {
                let Value::Integer(number) = field.node.value else { return field.mismatch("a whole number") };
                let read = <$inner>::try_from(number).ok().and_then(Self::new);
                if read.is_none() && number < 1 {
                    field.error(format!("{number} is out of range; at least 1"));
                } else if read.is_none() {
                    field.error(format!("{number} is out of range; at most {}", <$inner>::MAX));
                }
                read
            }
        }
    )+};
}

impl Read for u64 {
    fn read(field: &Field<'_>) -> Option<Self> {
        let Value::Integer(number) = field.node.value else { return field.mismatch("a whole number") };
        let read = Self::try_from(number).ok();
        if read.is_none() {
            field.error(format!("{number} is out of range; at least 0"));
        }
        read
    }
}

non_zero! {
    NonZeroU16, u16;
    NonZeroU32, u32;
    NonZeroUsize, usize;
}

impl Read for u32 {
    fn read(field: &Field<'_>) -> Option<Self> {
        let read = u64::read(field)?;
        Self::try_from(read).map_err(|_| field.error(format!("{read} is out of range; at most {}", Self::MAX))).ok()
    }
}

impl Read for Duration {
    fn read(field: &Field<'_>) -> Option<Self> {
        let text = field.text("a duration such as \"5s\"")?;
        let read = units::duration(text);
        if read.is_none() {
            field.error(format!("{text:?} is not a duration; write a whole number and ms, s, m, h or d, such as \"5s\""));
        }
        read
    }
}

impl Read for SystemName {
    fn read(field: &Field<'_>) -> Option<Self> {
        let text = field.text("the name of a system")?;
        name(field, text, Self::new(text))
    }
}

impl Read for EntityType {
    fn read(field: &Field<'_>) -> Option<Self> {
        let text = field.text("an entity type")?;
        name(field, text, Self::new(text))
    }
}

impl ReadKey for SystemName {
    fn read_key(field: &Field<'_>, key: &str) -> Option<Self> {
        name(field, key, Self::new(key))
    }
}

impl ReadKey for EntityType {
    fn read_key(field: &Field<'_>, key: &str) -> Option<Self> {
        name(field, key, Self::new(key))
    }
}

fn name<T>(field: &Field<'_>, written: &str, read: Result<T, InvalidId>) -> Option<T> {
    read.map_err(|invalid| {
        let lower = written.to_lowercase().replace([' ', '.'], "_");
        let hint = if SystemName::new(&lower).is_ok() { format!("; did you mean \"{lower}\"?") } else { String::new() };
        field.error(format!("{invalid}{hint}"));
    })
    .ok()
}

impl<T: Read> Read for Vec<T> {
    fn read(field: &Field<'_>) -> Option<Self> {
        // An unreadable element is reported and left out; the list as a whole still counts as read.
        Some(field.items()?.iter().filter_map(T::read).collect())
    }
}

impl<T: Read + Ord> Read for BTreeSet<T> {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut set = Self::new();
        for item in field.items()? {
            if let Some(value) = T::read(&item)
                && !set.insert(value)
            {
                item.error("is listed twice; remove one");
            }
        }
        Some(set)
    }
}

impl<K: ReadKey, V: Read> Read for BTreeMap<K, V> {
    fn read(field: &Field<'_>) -> Option<Self> {
        let table = field.table()?.table;
        let mut map = Self::new();
        for (key, node) in table {
            let child = field.child(key, node);
            // Both sides are read, whichever fails: each may have something to report.
            if let (Some(key), Some(value)) = (K::read_key(&child, key), V::read(&child)) {
                map.insert(key, value);
            }
        }
        Some(map)
    }
}

/// A list, in order, without repetitions and with at least one element.
pub(super) fn distinct<T: Read + PartialEq>(field: &Field<'_>) -> Option<Vec<T>> {
    let mut list = Vec::new();
    let items = field.items()?;
    if items.is_empty() {
        field.error("must not be empty");
        return None;
    }
    for item in items {
        match T::read(&item) {
            Some(value) if list.contains(&value) => item.error("is listed twice; remove one"),
            Some(value) => list.push(value),
            None => {}
        }
    }
    Some(list)
}

/// A closed set of words: the enum, its texts and its strict reader. A `bool` part lets `true` and `false` stand for two of them.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal,)+ }
        $(bool { true => $yes:ident, false => $no:ident })?) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
        pub enum $name {
            $($(#[$inner])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every spelling.
            pub const TEXTS: &[&str] = &[$($text),+];

            /// How it is written in the configuration.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::config::reader::Read for $name {
            fn read(field: &$crate::config::reader::Field<'_>) -> Option<Self> {
                $(if let $crate::config::tree::Value::Boolean(flag) = field.node.value {
                    return Some(if flag { Self::$yes } else { Self::$no });
                })?
                $crate::config::reader::word(field, &[$(($text, Self::$variant)),+])
            }
        }
    };
}
pub(super) use choice;

/// The value whose text was written.
pub(super) fn word<T: Copy>(field: &Field<'_>, words: &[(&str, T)]) -> Option<T> {
    let texts: Vec<&str> = words.iter().map(|(text, _)| *text).collect();
    let written = field.text(&format!("one of {}", texts.join(", ")))?;
    let found = words.iter().find(|(text, _)| *text == written).map(|(_, value)| *value);
    if found.is_none() {
        field.error(format!("{written:?} is not one of {}{}", texts.join(", "), suggest::did_you_mean(written, texts.iter().copied())));
    }
    found
}
