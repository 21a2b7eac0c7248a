//! Under what a message is published: what is about one native record has one routing key, so it stays in order.

use crate::domain::change::Inbound;

/// `{system}.{type}.{native_id}`, 246 bytes at most; of a create's answer without a native id, the canonical id. A set goes with its first update.
///
/// ```
/// # use syncline::wire::{Limits, Transport, decode, routing_key};
/// let body = br#"{"id": "u-1", "system": "bms", "type": "device", "native_id": 17, "entity": {}}"#;
/// let message = decode(body, &Transport::default(), &Limits::default())?;
/// assert_eq!(routing_key(&message), "bms.device.17");
/// # Ok::<(), syncline::wire::Undecodable>(())
/// ```
#[must_use]
pub fn routing_key(message: &Inbound) -> String {
    match message {
        Inbound::Change(change) => format!("{}.{}.{}", change.key.system, change.key.entity_type, change.key.native_id),
        Inbound::Receipt(receipt) => {
            let id = receipt.native_id.as_ref().map(ToString::to_string);
            let id = id.or_else(|| receipt.canonical_id.map(|id| id.to_string())).unwrap_or_default();
            format!("{}.{}.{id}", receipt.system(), receipt.entity_type)
        }
        Inbound::ChangeSet { updates, .. } => updates.first().map(routing_key).unwrap_or_default(),
    }
}
