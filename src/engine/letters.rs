//! Dead letters: how they are named, and, read once more, which message is in them.

use super::decide::Decider;
use super::unit::Unit;
use crate::domain::change::{DeadReason, Inbound, Rejection};
use crate::domain::ids::UpdateId;
use crate::ports::error::PortError;
use crate::ports::store::{DeadLetter, Lookup};
use crate::wire::content_hash::of_bytes;
use crate::wire::inbound::{Transport, decode};
use crate::wire::limits::Limits;

impl Decider {
    /// Names a letter by what it says, too, if its id is that of something else already: a decision, or another letter. What is kept
    /// is not replaced by a message that only says it has that id.
    pub(super) async fn set_apart(&self, unit: &Unit, letter: &mut DeadLetter) -> Result<(), PortError> {
        let other = |known: &DeadLetter| known.id == letter.id && known.body != letter.body;
        let running = self.overlay.as_ref().and_then(|overlay| overlay.letters.get(&letter.id));
        let taken = unit.drafts.iter().flat_map(|draft| &draft.dead_letters).any(other)
            || running.is_some_and(|said| *said != said_by(letter))
            || self.store.dead_letter(&letter.id).await?.as_ref().is_some_and(other)
            || self.is_decided(unit, letter).await?;
        if taken {
            letter.id = format!("{}#{:032x}", letter.id, said_by(letter));
        }
        Ok(())
    }

    async fn is_decided(&self, unit: &Unit, letter: &DeadLetter) -> Result<bool, PortError> {
        let Ok(update) = UpdateId::try_from(letter.id.clone()) else { return Ok(false) };
        let known = |overlay: &super::commit::Overlay| overlay.markers.contains_key(&update);
        if unit.decided.contains_key(&update) || self.overlay.as_deref().is_some_and(known) {
            return Ok(true);
        }
        let lookup = Lookup { updates: vec![update.clone()], ..Lookup::default() };
        Ok(self.store.look_up(&lookup).await?.markers.get(&update).is_some_and(|marker| !marker.of_letter))
    }
}

/// Tells apart what letters say.
pub(super) fn said_by(letter: &DeadLetter) -> u128 {
    of_bytes(letter.body.as_deref().unwrap_or_default().as_bytes())
}

/// The message of a dead letter, or the one to decide in its place.
pub(super) fn read(letter: &DeadLetter, text: Option<&str>, limits: &Limits) -> Result<Inbound, Rejection> {
    let Some(text) = text.filter(|_| letter.encoding.is_none() || text != letter.body.as_deref()) else {
        let detail = "its bytes are no text; send the message as it should be, to be decided in its place";
        return Err(Rejection::new(DeadReason::NotUtf8, detail));
    };
    // What gave it its id may have stood beside the body.
    let message_id = own_name(letter).and_then(|name| name.split_once(':')).map(|(_, id)| id.to_owned());
    decode(text.as_bytes(), &Transport { message_id, ..Transport::default() }, limits).map_err(|bad| bad.rejection)
}

/// The update a message is.
pub(super) fn update_of(message: &Inbound) -> Option<&UpdateId> {
    match message {
        Inbound::Change(change) => Some(&change.update),
        Inbound::Receipt(receipt) => Some(&receipt.update),
        Inbound::ChangeSet { .. } => None,
    }
}

/// The hash of what a message says.
pub(super) fn content_hash(message: &Inbound) -> Option<u64> {
    match message {
        Inbound::Change(change) => Some(change.content_hash),
        Inbound::Receipt(receipt) => Some(receipt.content_hash),
        Inbound::ChangeSet { .. } => None,
    }
}

/// The name of a dead letter whose update was decided with other content.
pub(super) fn reused(update: &UpdateId, content_hash: u64) -> String {
    format!("{update}#{content_hash:016x}")
}

/// A message's name among dead letters.
pub(super) fn name(message: &Inbound) -> String {
    match message {
        Inbound::ChangeSet { id, .. } => format!("change set {}", id.as_str()),
        Inbound::Change(_) | Inbound::Receipt(_) => update_of(message).map(ToString::to_string).unwrap_or_default(),
    }
}

/// Whether a message may take a dead letter's place: it has its id, as far as that could be read.
pub(super) fn fits(letter: &DeadLetter, message: &Inbound) -> bool {
    let Some(own) = own_name(letter) else { return true };
    let name = name(message);
    // Whose it is could not be read; or it is a change set, which no one system sends.
    let id = own.strip_prefix("unknown:");
    own == name || id.is_some_and(|id| name.split_once([':', ' ']).is_some_and(|(_, rest)| rest == id || rest == format!("set {id}")))
}

/// The id of the message a letter is about; `None`: it has none.
fn own_name(letter: &DeadLetter) -> Option<&str> {
    if letter.id.starts_with("bytes:") {
        return None;
    }
    let suffixed =
        |end: &str| matches!(letter.reason, DeadReason::IdReuse | DeadReason::NotYourSystem) || end == format!("{:032x}", said_by(letter));
    Some(letter.id.rsplit_once('#').filter(|(_, end)| suffixed(end)).map_or(letter.id.as_str(), |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn letter(id: &str, reason: DeadReason, body: &str, encoding: Option<&str>) -> DeadLetter {
        DeadLetter {
            id: id.to_owned(),
            reason,
            detail: String::new(),
            received_at: Timestamp::from_micros(0),
            system: None,
            entity_type: None,
            native_id: None,
            body: Some(body.to_owned()),
            encoding: encoding.map(str::to_owned),
            marks: None,
        }
    }

    const CHANGE: &str = r#"{"id": "u1", "system": "bms", "type": "device", "native_id": "1", "entity": {}}"#;

    #[test]
    fn a_letter_keeps_its_id() {
        let message = read(&letter("bms:u1", DeadReason::NotJson, "{", None), Some(CHANGE), &Limits::default()).unwrap();
        let fits = |id: &str, reason| super::fits(&letter(id, reason, "{", None), &message);
        assert!(fits("bms:u1", DeadReason::NotJson));
        assert!(fits("unknown:u1", DeadReason::BadEnvelope), "whose it is was not readable");
        assert!(fits("bytes:0102", DeadReason::NotJson), "it had none");
        assert!(fits("bms:u1#00ff", DeadReason::IdReuse));
        assert!(!fits("bms:u2", DeadReason::NotJson));
        assert!(!fits("oem:u1", DeadReason::NotJson));
        assert!(!fits("bms:u1#00ff", DeadReason::NotJson), "an id may have any character");
        assert!(!fits("unknown:u2", DeadReason::BadEnvelope));
    }

    #[test]
    fn bytes_that_are_no_text_need_an_edit() {
        let bytes = letter("bytes:01", DeadReason::NotUtf8, "/wA=", Some("base64"));
        assert_eq!(read(&bytes, bytes.body.as_deref(), &Limits::default()).unwrap_err().reason, DeadReason::NotUtf8);
        assert!(read(&bytes, Some(CHANGE), &Limits::default()).is_ok());
    }

    #[test]
    fn an_id_that_stood_beside_the_body_counts() {
        let body = r#"{"system": "bms", "type": "device", "native_id": "1", "entity": {}}"#;
        let message = read(&letter("bms:m7", DeadReason::HandlerFailed, body, None), Some(body), &Limits::default()).unwrap();
        assert_eq!(name(&message), "bms:m7");
    }
}
