//! The updates of the measurements: records as systems have them, with random native ids.

use serde_json::json;

/// Spreads numbers: Steele, Lea and Flood's splitmix64.
pub fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The configuration: two systems, one key.
pub const CONFIG: &str = r#"
[orchestration]
create_brake = { count = 1000000000, window = "1m" }
[entities.device]
keys = [{ fields = ["serial"], normalize = ["trim", "lowercase"] }]
[systems.bms.entities.device]
[systems.oem.entities.device]
direction = "out"
"#;

/// The message that says how record `n` is in its `pass`-th state.
pub fn message(n: u64, pass: u64) -> Vec<u8> {
    let native = mix(n);
    let body = json!({
        "id": format!("{:016x}-{pass}", mix(n ^ 0xaaaa)), "system": "bms", "type": "device", "native_id": format!("{native:016x}"),
        "entity": { "serial": format!("SN-{:012x}", mix(n ^ 0x2222) >> 16), "name": format!("Air handler {n}.{pass}"), "floor": n % 40,
            "building": "north wing", "active": true, "temperature": 21.5 },
    });
    serde_json::to_vec(&body).unwrap()
}

/// The order in which known records change: far from the order they came in.
pub fn shuffled(i: u64, count: u64) -> u64 {
    // A number without a common factor with the count visits every record once.
    let mut step = mix(count) | 1;
    while gcd(step % count.max(1), count) != 1 {
        step = step.wrapping_add(2);
    }
    ((u128::from(i) * u128::from(step % count)) % u128::from(count)) as u64
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
