//! A state of a record stored as its divergence from the canonical record.
//!
//! What a system holds is mostly what the canonical record says. Only the differing fields are kept, so a converged
//! system costs nothing and what is kept is just what a person wants to see.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::flat::Flat;
use super::value::{FieldPath, Leaves, heap, is_empty_object, same_held};

/// Differences from a canonical record: the value held instead, or `None` where nothing is held. Null and absent are
/// the same here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overlay(Flat<Option<Value>>);

impl Overlay {
    /// No difference at all.
    #[must_use]
    pub const fn new() -> Self {
        Self(Flat::new())
    }

    /// A state that holds nothing of `canonical`.
    #[must_use]
    pub fn nothing(canonical: &Leaves) -> Self {
        Self(canonical.iter().filter(|(_, value)| !value.is_null()).map(|(path, _)| (path.clone(), None)).collect())
    }

    /// The value this state has at a path.
    #[must_use]
    pub fn get<'a>(&'a self, canonical: &'a Leaves, path: &FieldPath) -> Option<&'a Value> {
        match self.0.get(path) {
            Some(value) => value.as_ref(),
            None => canonical.held(path),
        }
    }

    /// Sets what this state has at a path; kept only if it differs from the canonical value.
    pub fn set(&mut self, canonical: &Leaves, path: FieldPath, value: Option<Value>) {
        let value = value.filter(|v| !v.is_null());
        if same_held(canonical.get(&path), value.as_ref()) {
            self.0.remove(&path);
        } else {
            self.0.insert(path, value);
        }
    }

    /// Writes a leaf as a system would: what lies inside or around the path goes, an empty object leaves its inside alone.
    pub fn write(&mut self, canonical: &Leaves, path: &FieldPath, value: &Value) {
        let within = self.held_inside(canonical, path);
        if is_empty_object(value) && !within.is_empty() {
            return;
        }
        for path in within {
            self.set(canonical, path, None);
        }
        for path in self.held_around(canonical, path) {
            self.set(canonical, path, None);
        }
        self.set(canonical, path.clone(), Some(value.clone()));
    }

    /// The paths properly inside `path` at which this state has a value.
    #[must_use]
    pub fn held_inside(&self, canonical: &Leaves, path: &FieldPath) -> Vec<FieldPath> {
        let mut paths: BTreeSet<FieldPath> = canonical.inside(path).into_iter().collect();
        paths.extend(self.0.inside(path).map(|(inner, _)| inner.clone()));
        paths.retain(|path| self.get(canonical, path).is_some());
        paths.into_iter().collect()
    }

    /// The paths `path` lies properly inside of and at which this state has a value.
    #[must_use]
    pub fn held_around(&self, canonical: &Leaves, path: &FieldPath) -> Vec<FieldPath> {
        let mut paths = canonical.around(path);
        paths.extend(self.0.keys().filter(|outer| *outer != path && path.is_within(outer)).cloned());
        paths.retain(|path| self.get(canonical, path).is_some());
        paths
    }

    /// Says the same state against a canonical record that moved on in `changed`.
    pub fn rebase(&mut self, old: &Leaves, new: &Leaves, changed: &[FieldPath]) {
        for path in changed {
            let value = self.get(old, path).cloned();
            self.set(new, path.clone(), value);
        }
    }

    /// Every path of this state that has a value, with it.
    pub fn all<'a>(&'a self, canonical: &'a Leaves) -> impl Iterator<Item = (&'a FieldPath, &'a Value)> {
        let same = canonical.iter().filter(|(path, value)| !value.is_null() && !self.0.contains_key(*path));
        same.chain(self.0.iter().filter_map(|(path, value)| value.as_ref().map(|value| (path, value))))
    }

    /// The differing paths and what this state has there.
    pub fn differences(&self) -> impl Iterator<Item = (&FieldPath, Option<&Value>)> {
        self.0.iter().map(|(path, value)| (path, value.as_ref()))
    }

    /// Whether this state is just the canonical record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets the differences at paths that `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&FieldPath) -> bool) {
        self.0.retain(|path, _| keep(path));
    }

    /// Gives back the memory that is kept for more differences.
    pub fn compact(&mut self) {
        self.0.compact();
    }

    /// A rough count of the bytes it keeps in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.weight() + self.0.values().flatten().map(heap).sum::<usize>()
    }
}
