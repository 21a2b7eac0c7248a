//! Values that are not said, only that there is one: `{"erased": true}`, `{"redacted": true}`.

use serde_json::{Value, json};

use super::value::{FieldPath, Leaves};

/// Why a value is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// It was erased, everywhere.
    Erased,
    /// It is kept out of snapshots; the record itself has it.
    Redacted,
}

impl Mask {
    const ALL: [Self; 2] = [Self::Erased, Self::Redacted];

    const fn word(self) -> &'static str {
        match self {
            Self::Erased => "erased",
            Self::Redacted => "redacted",
        }
    }

    /// What stands in the place of a value.
    #[must_use]
    pub fn value(self) -> Value {
        json!({ self.word(): true })
    }

    /// These fields, with the mask in the place of every value that `hides` names. Null stays: it says that there is none.
    #[must_use]
    pub fn over(self, leaves: &Leaves, hides: impl Fn(&FieldPath) -> bool) -> Leaves {
        let mut left = Leaves::new();
        for (path, value) in leaves.iter() {
            if value.is_null() || is_mask(path, value) || !hides(path) {
                left.set(path.clone(), value.clone());
            } else {
                left.set(path.child(self.word()), Value::Bool(true));
            }
        }
        left
    }
}

/// Whether this leaf is what a mask is made of.
#[must_use]
pub fn is_mask(path: &FieldPath, value: &Value) -> bool {
    let last = path.segments().pop();
    *value == Value::Bool(true) && last.is_some_and(|name| Mask::ALL.iter().any(|mask| mask.word() == name))
}

/// Whether a snapshot has a mask in the place of a field.
#[must_use]
pub fn hides(snapshot: &Leaves, field: &FieldPath) -> bool {
    Mask::ALL.iter().any(|mask| snapshot.get(&field.child(mask.word())).is_some_and(|value| *value == Value::Bool(true)))
}

/// Whether a snapshot says just what these fields say, as far as it says anything.
#[must_use]
pub fn agree(data: &Leaves, snapshot: &Leaves) -> bool {
    let explained = |path: &FieldPath| hides(snapshot, path) || snapshot.get(path).is_some_and(|value| is_mask(path, value));
    data.differing(snapshot).iter().all(explained)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(value: Value) -> Leaves {
        let Value::Object(record) = value else { panic!("a record") };
        Leaves::open(record)
    }

    #[test]
    fn a_mask_says_that_there_is_a_value() {
        let said = leaves(json!({"name": "Anna", "phone": "555", "fax": null, "home": {"city": "Bonn"}}));
        let hidden = |path: &FieldPath| ["phone", "fax", "home.city"].contains(&path.as_str());
        let left = Mask::Redacted.over(&said, hidden);
        let expected = json!({"name": "Anna", "phone": {"redacted": true}, "fax": null, "home": {"city": {"redacted": true}}});
        assert_eq!(Value::Object(left.close()), expected);
        assert_eq!(Mask::Erased.over(&left, |path| path.as_str() != "name"), left, "once is enough");
        assert!(agree(&said, &left) && hides(&left, &FieldPath::name("phone")) && !hides(&left, &FieldPath::name("name")));
        assert!(!agree(&leaves(json!({"name": "Ann", "phone": "555", "home": {"city": "Bonn"}})), &left), "a name is said");
        assert!(!agree(&leaves(json!({"name": "Anna", "home": {"city": "Bonn"}, "new": 1})), &left), "a field is missing");
    }
}
