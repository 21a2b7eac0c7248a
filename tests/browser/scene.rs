//! What there is to see: one of everything.

use serde_json::{Value, json};
use syncline::prelude::*;

use crate::support::{Served, device};

pub const CONFIG: &str = r#"
[http]
listen = "127.0.0.1:0"
[orchestration]
push_updates = true
create_brake = { count = 2, window = "1h" }
[entities.device]
keys = [{ fields = ["serial"] }]
redact = ["phone"]
[entities.sensor]
references = { device_id = "device" }
[systems.bms.entities.device]
create = false
[systems.oem.entities.device]
create = false
rename = { serial = "serial_no", phone = "tel" }
[systems.cafm.entities.device]
create = true
[systems.bms.entities.sensor]
"#;

/// As it looks to somebody who would like it to be more than text.
pub const BAD: &str =
    "<script>window.pwned = 1</script>\"'><img src=x onerror=\"window.pwned = 2\"></textarea><svg onload=\"window.pwned = 3\">";

pub fn careful(_: &mut Record, _: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let price = meta.changed().iter().any(|field| field.as_str() == "price");
    if price && meta.approval().is_none() { Verdict::review("a price is for a person") } else { Verdict::accept(None) }
}

/// A device that two systems have under different serials, one that a person has to judge, a brake, a dead letter, one that
/// waits for another.
pub async fn one_of_everything() -> Served {
    let served = Served::with_handler(CONFIG, careful).await;
    let devices = [
        device("u1", "bms", "b1", json!({"serial": "S1", "name": "Fan", "phone": "555-0100"})),
        device("u2", "oem", "o1", json!({"serial_no": "S-1", "name": "Fan 200", "room": "A1"})),
        device("u3", "bms", "b2", json!({"serial": "S2", "name": "Pump", "floor": 3})),
        device("u4", "oem", "o2", json!({"serial_no": "S2", "name": "Pump P2", "floor": 4})),
        device("u5", "bms", BAD, json!({"serial": BAD, "name": BAD, BAD: {BAD: [BAD]}})),
        patch("p", "b1", json!({"price": 10})),
        patch("p2", "b2", json!({"price": 20})),
        patch("p3", BAD, json!({"price": BAD})),
        json!({"id": "s1", "system": "bms", "type": "sensor", "native_id": "t1", "entity": {"device_id": "b9"}}),
        // The same ids with other content.
        device("u3", "bms", "b2", json!({"serial": "S2", "name": "Other"})),
        device("u5", "bms", BAD, json!({"serial": BAD})),
    ];
    for update in &devices {
        served.say(update).await;
        served.at_rest().await;
    }
    served
}

fn patch(id: &str, native_id: &str, entity: Value) -> Value {
    json!({"id": id, "system": "bms", "type": "device", "native_id": native_id, "op": "patch", "entity": entity})
}
