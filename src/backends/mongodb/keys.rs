//! The ids under which things are kept: text a person can read and write, and never the same for two things.

use crate::domain::identity::{Claim, TypedClaim};
use crate::domain::ids::{EntityType, NativeKey, SystemName};

/// `bms:device:7`. Neither a system's name nor a type holds a `:`.
pub(super) fn native(key: &NativeKey) -> String {
    key.to_string()
}

/// `device:serial:SN-001`. A key's name may hold a `:`, so it is escaped there.
pub(super) fn claim(entity_type: &EntityType, claim: &Claim) -> String {
    let key = claim.key.replace('\\', "\\\\").replace(':', "\\:");
    format!("{entity_type}:{key}:{}", claim.value)
}

pub(super) fn typed_claim(claim: &TypedClaim) -> String {
    self::claim(&claim.entity_type, &claim.claim)
}

/// `oem:device`: which creates are open.
pub(super) fn open_create(system: &SystemName, entity_type: &EntityType) -> String {
    format!("{system}:{entity_type}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::EntityType;

    #[test]
    fn different_claims_never_meet() {
        let device = EntityType::new("device").unwrap();
        let id = |key: &str, value: &str| claim(&device, &Claim { key: key.into(), value: value.to_owned() });
        assert_eq!(id("serial", "SN-1:a"), "device:serial:SN-1:a");
        let ids = [id("a", "b:c"), id("a:b", "c"), id("a\\", "b:c"), id("a\\:b", "c"), id("a", "\\:b:c")];
        for (at, one) in ids.iter().enumerate() {
            assert!(!ids[at + 1..].contains(one), "{one}");
        }
    }
}
