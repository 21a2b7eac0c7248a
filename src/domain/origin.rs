//! Who published a message, as far as a message broker vouches for it.

use std::collections::HashMap;

use super::change::{DeadReason, Rejection};
use super::ids::{EntityType, SystemName};

/// What a message broker says about a message besides its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Under what it was published: `{system}.{type}.{native_id}`.
    pub routing_key: String,
    /// Who published it.
    pub publisher: Publisher,
}

/// Who published a message. The broker has checked it; the publisher only chooses whether it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// It did not say.
    Unknown,
    /// This user of the broker.
    User(String),
    /// Syncline itself, for a message that came in by another way and was checked there.
    Ourselves,
}

/// Which user of the broker each system's adapter signs in as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Senders {
    /// The users that are not called like their system.
    pub users: HashMap<SystemName, String>,
    /// Whether a publisher has to say who it is.
    pub required: bool,
}

impl Senders {
    /// Checks that a message which says it is from `system` and about `entity_type` was published as such.
    pub fn check(&self, origin: &Origin, system: &SystemName, entity_type: &EntityType) -> Result<(), Rejection> {
        self.check_system(origin, system)?;
        if origin.routing_key.split('.').nth(1) != Some(entity_type.as_str()) {
            let key = shortened(&origin.routing_key);
            let detail = format!("the message says it is about \"{entity_type}\", but was published with routing key {key}");
            return Err(Rejection::new(DeadReason::NotYourSystem, detail).at("type"));
        }
        Ok(())
    }

    /// Checks that a message which says it is from `system` was published as such.
    pub fn check_system(&self, origin: &Origin, system: &SystemName) -> Result<(), Rejection> {
        let refuse = |detail: String, field: &str| Err(Rejection::new(DeadReason::NotYourSystem, detail).at(field));
        if origin.routing_key.split('.').next() != Some(system.as_str()) {
            let key = shortened(&origin.routing_key);
            return refuse(format!("the message says it is from \"{system}\", but was published with routing key {key}"), "system");
        }
        let expected = self.users.get(system).map_or(system.as_str(), String::as_str);
        match &origin.publisher {
            Publisher::Ourselves => Ok(()),
            Publisher::User(user) if user == expected => Ok(()),
            Publisher::User(user) => {
                let user = shortened(user);
                refuse(
                    format!("user {user} published it, but \"{system}\" is user \"{expected}\"; see [systems.{system}] amqp_user"),
                    "system",
                )
            }
            Publisher::Unknown if self.required => {
                refuse(format!("it does not say who published it; \"{system}\" must set user_id to \"{expected}\""), "system")
            }
            Publisher::Unknown => Ok(()),
        }
    }
}

/// In quotes, and short enough for one sentence.
fn shortened(text: &str) -> String {
    let short = &text[..text.floor_char_boundary(120)];
    if short.len() < text.len() { format!("{short:?}…") } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(senders: &Senders, routing_key: &str, publisher: Publisher) -> Result<(), String> {
        let origin = Origin { routing_key: routing_key.to_owned(), publisher };
        let (system, entity_type) = (SystemName::new("bms").unwrap(), EntityType::new("device").unwrap());
        senders.check(&origin, &system, &entity_type).map_err(|rejection| rejection.detail)
    }

    #[test]
    fn a_message_is_published_under_its_own_name() {
        let usual = Senders::default();
        assert_eq!(check(&usual, "bms.device.bms.D1", Publisher::Unknown), Ok(()));
        assert_eq!(check(&usual, "bms.device", Publisher::Unknown), Ok(()), "the third part only spreads the load");
        for wrong in ["", "bms", "oem.device.D1", "bms.devices.D1", "bmsdevice", "bms-device.D1"] {
            assert!(check(&usual, wrong, Publisher::Ourselves).is_err(), "{wrong}");
        }
        let told = check(&usual, "oem.device.D1", Publisher::Unknown).unwrap_err();
        assert_eq!(told, r#"the message says it is from "bms", but was published with routing key "oem.device.D1""#);
    }

    #[test]
    fn a_publisher_speaks_for_its_own_system() {
        let user = |name: &str| Publisher::User(name.to_owned());
        let key = "bms.device.D1";
        let mut senders = Senders::default();
        assert_eq!(check(&senders, key, user("bms")), Ok(()));
        assert!(check(&senders, key, user("oem")).is_err());
        senders.users.insert(SystemName::new("bms").unwrap(), "bms-adapter".to_owned());
        assert_eq!(check(&senders, key, user("bms-adapter")), Ok(()));
        assert!(check(&senders, key, user("bms")).is_err());
        assert_eq!(check(&senders, key, Publisher::Unknown), Ok(()));
        senders.required = true;
        assert!(check(&senders, key, Publisher::Unknown).unwrap_err().contains("must set user_id to \"bms-adapter\""));
        assert_eq!(check(&senders, key, Publisher::Ourselves), Ok(()));
    }
}
