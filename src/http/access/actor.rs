//! Who asks: what a route knows about it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::Identity;
use crate::config::{Role, checked_name};
use crate::domain::change::{DeadReason, Inbound, Rejection};
use crate::domain::ids::SystemName;
use crate::http::Problem;

/// Who asks. The door has let it in.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// Who it proved to be; `None` without [http.auth].
    pub identity: Option<Arc<Identity>>,
    /// The session it has, if it is a browser's.
    pub session: Option<Arc<str>>,
    /// What its page has to send along with whatever changes something; none for programs.
    pub csrf: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

impl Actor {
    /// The name for the decision row. Who has proved who it is can't be somebody else; without [http.auth] everybody may say
    /// a name, and is believed.
    pub fn name(&self, by: Option<String>) -> Result<String, Problem> {
        let by = by.map(|by| by.trim().to_owned()).filter(|by| !by.is_empty());
        match (&self.identity, by) {
            (Some(identity), Some(by)) if by != identity.name => {
                let detail = format!("you are {}, and only {} can say what {by} says; leave \"by\" out", identity.name, by);
                Err(Problem::new(StatusCode::FORBIDDEN, "not_you", "Not in another name", detail).at("by"))
            }
            (Some(identity), _) => Ok(identity.name.clone()),
            (None, None) => Ok("unknown".to_owned()),
            (None, Some(by)) => match checked_name(&by) {
                Ok(()) => Ok(by),
                Err(wrong) => Err(Problem::question(wrong).at("by")),
            },
        }
    }

    /// Whether it is an adapter, which sees what its system has and is sent.
    #[must_use]
    pub fn is_adapter(&self) -> bool {
        matches!(self.identity.as_ref().map(|identity| &identity.role), Some(Role::Adapter(_)))
    }

    /// Whether a message is of the system this adapter is for. Anybody else who may hand in messages answers for them.
    pub fn speaks_for(&self, message: &Inbound) -> Result<(), Rejection> {
        let Some(Role::Adapter(own)) = self.identity.as_ref().map(|identity| &identity.role) else { return Ok(()) };
        match other_system(message, own) {
            None => Ok(()),
            Some(other) => {
                let detail = format!("the message says it is from \"{other}\", but the token it came with is for \"{own}\"");
                Err(Rejection::new(DeadReason::NotYourSystem, detail).at("system"))
            }
        }
    }
}

/// A system a message is of that is not this one.
fn other_system<'a>(message: &'a Inbound, own: &SystemName) -> Option<&'a SystemName> {
    let system = match message {
        Inbound::Change(change) => &change.key.system,
        Inbound::Receipt(receipt) => receipt.system(),
        Inbound::ChangeSet { updates, .. } => return updates.iter().find_map(|update| other_system(update, own)),
    };
    (system != own).then_some(system)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Limits, Transport, decode};

    fn actor(name: &str, role: &str) -> Actor {
        let identity = Identity { name: name.to_owned(), role: role.parse().unwrap() };
        Actor { identity: Some(Arc::new(identity)), ..Actor::default() }
    }

    #[test]
    fn nobody_says_anything_in_another_name() {
        let anna = actor("anna", "operator");
        assert_eq!(anna.name(None).unwrap(), "anna");
        assert_eq!(anna.name(Some(" anna ".to_owned())).unwrap(), "anna");
        let refused = anna.name(Some("ben".to_owned())).unwrap_err();
        assert_eq!((refused.status, refused.kind.as_str()), (403, "urn:syncline:error:not_you"));
        let nobody = Actor::default();
        assert_eq!(nobody.name(Some("ben".to_owned())).unwrap(), "ben");
        assert_eq!(nobody.name(Some("  ".to_owned())).unwrap(), "unknown");
        assert_eq!(nobody.name(Some("a\nb".to_owned())).unwrap_err().status, 400);
    }

    #[test]
    fn an_adapter_speaks_for_its_own_system_only() {
        let read = |body: &str| decode(body.as_bytes(), &Transport::default(), &Limits::default()).unwrap();
        let change = |system: &str| format!(r#"{{"id": "u", "system": "{system}", "type": "device", "native_id": "1", "entity": {{}}}}"#);
        let receipt = r#"{"id": "r", "system": "oem", "type": "device", "op": "receipt", "native_id": "1", "canonical_id": "0192f0c4-7c1e-7aaa-8000-000000000001", "rev": 1, "status": "applied"}"#;
        let bms = actor("a", "adapter:bms");
        assert!(bms.speaks_for(&read(&change("bms"))).is_ok());
        for foreign in [change("oem"), receipt.to_owned()] {
            assert_eq!(bms.speaks_for(&read(&foreign)).unwrap_err().reason, DeadReason::NotYourSystem);
            assert!(actor("a", "admin").speaks_for(&read(&foreign)).is_ok());
        }
        let set = |one: &str, two: &str| {
            let two = change(two).replace("\"u\"", "\"v\"");
            format!(r#"{{"id": "s", "change_set": true, "updates": [{}, {two}]}}"#, change(one))
        };
        assert!(bms.speaks_for(&read(&set("bms", "bms"))).is_ok());
        assert!(bms.speaks_for(&read(&set("bms", "oem"))).is_err(), "one of a set is enough");
    }
}
