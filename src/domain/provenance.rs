//! Who gave a canonical field its value.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::flat::Flat;
use super::ids::{SystemName, UpdateId};
use super::time::Timestamp;
use super::value::FieldPath;

/// Who chose: the default, a declared rule, a handler, a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ByKind {
    /// Nothing was declared: the later decision wins.
    Default,
    /// A survivorship rule.
    Rule,
    /// A merge handler.
    Handler,
    /// A person, through approve or reject.
    Person,
    /// A time-out with a declared verdict.
    Timeout,
    /// Syncline itself: identity, duplicates, waiting.
    System,
}

/// Who chose, by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DecidedBy {
    /// The kind.
    pub kind: ByKind,
    /// The rule, handler or person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl DecidedBy {
    /// Nothing declared.
    pub const DEFAULT: Self = Self { kind: ByKind::Default, name: None };
    /// Syncline itself.
    pub const SYSTEM: Self = Self { kind: ByKind::System, name: None };

    /// A named rule, handler or person.
    pub fn named(kind: ByKind, name: impl Into<String>) -> Self {
        Self { kind, name: Some(name.into()) }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Source {
    /// The system whose update brought it.
    pub system: SystemName,
    /// That update.
    pub update: UpdateId,
    /// The canonical version it came with.
    pub version: u64,
    /// When that was decided.
    pub at: Timestamp,
    /// When it happened in the source, if a trusted clock says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// Who chose it.
    pub by: DecidedBy,
}

/// The source of every field of one record. Fields that came together share one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    sources: Vec<Arc<Source>>,
    fields: Arc<Flat<usize>>,
}

impl Provenance {
    /// The source of a field.
    #[must_use]
    pub fn of(&self, path: &FieldPath) -> Option<&Source> {
        self.fields.get(path).and_then(|index| self.sources.get(*index)).map(Arc::as_ref)
    }

    /// Every field with its source.
    pub fn iter(&self) -> impl Iterator<Item = (&FieldPath, &Source)> {
        self.fields.iter().filter_map(|(path, index)| self.sources.get(*index).map(|source| (path, source.as_ref())))
    }

    /// Says that these fields now come from `source`.
    pub fn set(&mut self, paths: impl IntoIterator<Item = FieldPath>, source: &Source) {
        let index = self.sources.iter().position(|known| **known == *source).unwrap_or_else(|| {
            self.sources.push(Arc::new(source.clone()));
            self.sources.len() - 1
        });
        let fields = Arc::make_mut(&mut self.fields);
        fields.extend(paths.into_iter().map(|path| (path, index)));
    }

    /// Forgets fields that are gone, and sources no field has any more.
    pub fn retain(&mut self, keep: impl Fn(&FieldPath) -> bool) {
        if !self.fields.keys().all(&keep) {
            Arc::make_mut(&mut self.fields).retain(|path, _| keep(path));
        }
        let mut used = vec![false; self.sources.len()];
        for index in self.fields.values() {
            if let Some(slot) = used.get_mut(*index) {
                *slot = true;
            }
        }
        if used.iter().all(|used| *used) {
            return;
        }
        let mut renumbered = Vec::with_capacity(used.len());
        let mut next = 0;
        for used in &used {
            renumbered.push(next);
            next += usize::from(*used);
        }
        let mut position = 0;
        self.sources.retain(|_| {
            position += 1;
            used[position - 1]
        });
        for (_, index) in Arc::make_mut(&mut self.fields).iter_mut() {
            *index = renumbered[*index];
        }
    }

    /// Gives back the memory that is kept for more sources.
    pub fn compact(&mut self) {
        self.sources.shrink_to_fit();
    }

    /// A rough count of the bytes it keeps in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        80 + self.sources.len() * (size_of::<Source>() + 80) + self.fields.weight()
    }
}
