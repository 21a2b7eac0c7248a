//! Maps by path in one piece of memory. A record has dozens of small ones; as trees they would take several times the bytes, since
//! a tree's smallest part has room for eleven entries.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use litemap::LiteMap;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::FieldPath;

/// Values by path, in the order of the paths. To insert one in the middle moves those behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flat<V>(LiteMap<FieldPath, V>);

impl<V> Flat<V> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(LiteMap::new_vec())
    }

    /// Those that lie properly inside `path`.
    pub fn inside(&self, path: &FieldPath) -> impl Iterator<Item = (&FieldPath, &V)> {
        let outer = path.as_str();
        let from = self.0.find_index(outer).map_or_else(|at| at, |at| at + 1);
        // Everything that starts with the path's text lies together; a few of those are only longer names.
        let behind = self.0.as_slice()[from..].iter().map(|(path, value)| (path, value));
        let alike = behind.take_while(move |(inner, _)| inner.as_str().starts_with(outer));
        alike.filter(move |(inner, _)| inner.as_str().as_bytes().get(outer.len()) == Some(&b'.'))
    }

    /// The path that is kept for this text.
    #[must_use]
    pub fn key(&self, path: &str) -> Option<&FieldPath> {
        self.0.find_index(path).ok().and_then(|at| self.0.get_indexed(at)).map(|(path, _)| path)
    }

    /// Gives back the room that is kept for more.
    pub fn compact(&mut self) {
        let mut entries = std::mem::take(self).into_entries();
        entries.shrink_to_fit();
        self.0 = LiteMap::from_sorted_store_unchecked(entries);
    }

    /// How many bytes it keeps in memory, besides its own size and what the values keep. The paths are shared by many.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.len() * size_of::<(FieldPath, V)>()
    }

    /// The entries as they are.
    pub fn into_entries(self) -> Vec<(FieldPath, V)> {
        self.0.into_tuple_vec()
    }
}

impl<V> Default for Flat<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Deref for Flat<V> {
    type Target = LiteMap<FieldPath, V>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<V> DerefMut for Flat<V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<V> FromIterator<(FieldPath, V)> for Flat<V> {
    fn from_iter<I: IntoIterator<Item = (FieldPath, V)>>(entries: I) -> Self {
        let mut entries: Vec<(FieldPath, V)> = entries.into_iter().collect();
        if entries.is_sorted_by(|(path, _), (next, _)| path < next) {
            entries.shrink_to_fit();
            Self(LiteMap::from_sorted_store_unchecked(entries))
        } else {
            Self(entries.into_iter().collect())
        }
    }
}

impl<V: Serialize> Serialize for Flat<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Flat<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
    type Value = Flat<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map by path")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut access: M) -> Result<Self::Value, M::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(entries.into_iter().collect())
    }
}

/// A set of paths, in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Paths(Flat<()>);

impl Paths {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(Flat::new())
    }

    /// Whether it has a path.
    #[must_use]
    pub fn contains(&self, path: &FieldPath) -> bool {
        self.0.contains_key(path)
    }

    /// Adds a path; tells whether it was not there yet.
    pub fn insert(&mut self, path: FieldPath) -> bool {
        self.0.insert(path, ()).is_none()
    }

    /// Takes all of them out.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Takes a path out.
    pub fn remove(&mut self, path: &FieldPath) {
        self.0.remove(path);
    }

    /// Takes out what `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&FieldPath) -> bool) {
        self.0.retain(|path, ()| keep(path));
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &FieldPath> {
        self.into_iter()
    }

    /// Gives back the room that is kept for more.
    pub fn compact(&mut self) {
        self.0.compact();
    }

    /// How many bytes it keeps in memory, besides its own size.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.weight()
    }
}

impl fmt::Debug for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<FieldPath> for Paths {
    fn from_iter<I: IntoIterator<Item = FieldPath>>(paths: I) -> Self {
        Self(paths.into_iter().map(|path| (path, ())).collect())
    }
}

impl Extend<FieldPath> for Paths {
    fn extend<I: IntoIterator<Item = FieldPath>>(&mut self, paths: I) {
        self.0.extend(paths.into_iter().map(|path| (path, ())));
    }
}

impl IntoIterator for Paths {
    type Item = FieldPath;
    type IntoIter = std::iter::Map<std::vec::IntoIter<(FieldPath, ())>, fn((FieldPath, ())) -> FieldPath>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_entries().into_iter().map(|(path, ())| path)
    }
}

impl<'a> IntoIterator for &'a Paths {
    type Item = &'a FieldPath;
    type IntoIter = std::iter::Map<std::slice::Iter<'a, (FieldPath, ())>, fn(&'a (FieldPath, ())) -> &'a FieldPath>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.as_slice().iter().map(|(path, ())| path)
    }
}

impl Serialize for Paths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<FieldPath>::deserialize(deserializer).map(|paths| paths.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(paths: &[&str]) -> Flat<usize> {
        paths.iter().enumerate().map(|(n, path)| (FieldPath::from(*path), n)).collect()
    }

    #[test]
    fn it_is_in_order_and_the_last_of_two_counts() {
        let flat = numbered(&["b", "a", "c", "a"]);
        assert_eq!(serde_json::to_string(&flat).unwrap(), r#"{"a":3,"b":0,"c":2}"#);
        assert_eq!(serde_json::from_str::<Flat<usize>>(r#"{"c":2,"a":1,"b":0,"a":3}"#).unwrap(), flat);
        assert_eq!(serde_json::to_string(&Flat::<usize>::new()).unwrap(), "{}");
    }

    #[test]
    fn what_lies_inside_a_path_is_not_what_only_begins_alike() {
        let flat = numbered(&["a", "a-b", "a.b", "a.b.c", "a.d", "ab", "ab.c", "b"]);
        let inside = |path: &str| flat.inside(&path.into()).map(|(path, _)| path.to_string()).collect::<Vec<_>>();
        assert_eq!(inside("a"), ["a.b", "a.b.c", "a.d"]);
        assert_eq!(inside("a.b"), ["a.b.c"]);
        assert_eq!(inside("aa"), [""; 0]);
        assert_eq!(inside("c"), [""; 0]);
    }
}
