//! What no page shows: values of the fields a type redacts, whatever a system calls them.

use serde_json::{Map, Value};

use super::model::Cell;
use crate::domain::ids::{EntityType, SystemName};
use crate::domain::masks::Mask;
use crate::domain::projection::native_name;
use crate::domain::rules::{Rules, Side, TypeRules};
use crate::domain::value::{FieldPath, Leaves};

/// What stands in the place of a value that is not shown.
pub const HIDDEN: &str = "hidden";
/// What stands in the place of a sentence that may quote one.
pub const UNTOLD: &str = "What it says is not shown: some of it may be redacted.";

/// A cell without its value.
pub fn cell() -> Cell {
    Cell::Word(HIDDEN.to_owned())
}

/// A message as it may be shown.
pub struct Told {
    pub message: Value,
    said: Vec<Value>,
}

impl Told {
    /// Whether something was taken out.
    pub const fn hides(&self) -> bool {
        !self.said.is_empty()
    }

    /// A sentence about it, without what was taken out.
    pub fn sentence(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in &self.said {
            for quoted in [value.to_string(), value.as_str().unwrap_or_default().to_owned()] {
                if !quoted.is_empty() {
                    text = text.replace(&quoted, "…");
                }
            }
        }
        text
    }
}

/// Whether anything is redacted at all.
fn redacts(rules: &Rules) -> bool {
    rules.types.values().any(|types| !types.redact.is_empty())
}

/// A message as it may be shown; `None` if nobody can tell what of it is redacted.
pub fn told(rules: &Rules, message: &Value, about: (Option<&str>, Option<&str>)) -> Option<Told> {
    if !redacts(rules) {
        return Some(Told { message: message.clone(), said: Vec::new() });
    }
    let envelope = message.as_object()?;
    let mut said = Vec::new();
    let message = masked(rules, envelope, about, &mut said)?;
    Some(Told { message, said })
}

fn masked(rules: &Rules, envelope: &Map<String, Value>, about: (Option<&str>, Option<&str>), said: &mut Vec<Value>) -> Option<Value> {
    let mut shown = envelope.clone();
    if let Some(updates) = envelope.get("updates") {
        let each = |update: &Value| masked(rules, update.as_object()?, (None, None), said);
        shown.insert("updates".to_owned(), updates.as_array()?.iter().map(each).collect::<Option<Vec<Value>>>()?.into());
        return Some(shown.into());
    }
    let text = |name: &str, known| envelope.get(name).and_then(Value::as_str).or(known);
    let entity_type = EntityType::new(text("type", about.1)?).ok()?;
    let types = rules.of_type(&entity_type);
    if types.redact.is_empty() {
        return Some(shown.into());
    }
    let system = SystemName::new(text("system", about.0)?).ok()?;
    let names = names(&types, &rules.side(&system, &entity_type));
    for part in shown.values_mut() {
        if let Value::Object(record) = part {
            *part = without(record, &names, said);
        }
    }
    Some(shown.into())
}

/// What the redacted fields are called: here, and there.
fn names(types: &TypeRules, side: &Side) -> Vec<FieldPath> {
    let native = types.redact.iter().map(|field| FieldPath::escaped(&native_name(field, side)));
    // A field of a redacted one may stand somewhere else there.
    let inside = side.rename.iter().filter(|(canonical, _)| types.redacts(canonical)).map(|(_, native)| native.clone());
    types.redact.iter().cloned().chain(native).chain(inside).collect()
}

fn without(record: &Map<String, Value>, names: &[FieldPath], said: &mut Vec<Value>) -> Value {
    let leaves = Leaves::open(record.clone());
    let hides = |path: &FieldPath| names.iter().any(|name| path == name || path.is_within(name) || name.is_within(path));
    said.extend(leaves.iter().filter(|(path, value)| !value.is_null() && hides(path)).map(|(_, value)| value.clone()));
    Value::Object(Mask::Redacted.over(&leaves, hides).close())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::domain::rules::SystemRules;

    fn rules() -> Rules {
        let path = FieldPath::escaped;
        let types = TypeRules { redact: [path("phone"), path("home")].into(), ..TypeRules::default() };
        let side = Side { rename: [(path("phone"), path("tel.private")), (path("home.city"), path("town"))].into(), ..Side::default() };
        let systems = SystemRules { defaults: Arc::new(side), ..SystemRules::default() };
        Rules {
            types: [(EntityType::new("person").unwrap(), Arc::new(types))].into(),
            systems: [(SystemName::new("hr").unwrap(), systems)].into(),
            ..Rules::default()
        }
    }

    #[test]
    fn a_message_hides_what_its_type_redacts_under_the_names_of_its_system() {
        let update = json!({"system": "hr", "type": "person", "native_id": "7",
            "entity": {"name": "Ann", "tel": {"private": "555", "work": "777"}, "town": "Bonn", "home": {"street": "Weg"}, "phone": null}});
        let mask = json!({"redacted": true});
        let expected =
            json!({"name": "Ann", "tel": {"private": mask, "work": "777"}, "town": mask, "home": {"street": mask}, "phone": null});
        let one = told(&rules(), &update, (None, None)).unwrap();
        assert_eq!(one.message["entity"], expected);
        assert!(one.hides());
        assert_eq!(one.sentence("tel.private holds \"555\", not 777"), "tel.private holds …, not 777");
        let set = told(&rules(), &json!({"change_set": true, "updates": [update]}), (None, None)).unwrap();
        assert_eq!(set.message["updates"][0]["entity"], expected);
    }

    #[test]
    fn what_nobody_can_tell_is_not_shown_at_all() {
        let read = |message: Value, about| told(&rules(), &message, about).map(|told| told.hides());
        let entity = json!({"phone": "555"});
        assert_eq!(read(json!({"entity": entity}), (None, None)), None);
        assert_eq!(read(json!({"type": "person", "entity": entity}), (None, None)), None, "its names are not known");
        assert_eq!(read(json!({"entity": entity}), (Some("crm"), Some("person"))), Some(true));
        assert_eq!(read(json!({"type": "device", "entity": entity}), (None, None)), Some(false));
        assert_eq!(read(json!("555"), (None, None)), None);
        assert_eq!(told(&Rules::default(), &json!("555"), (None, None)).map(|told| told.message), Some(json!("555")));
    }
}
