//! Where everything is in the picture of systems: the canonical records in the middle, each system with one way in and one
//! way out. Once for a wide screen, once for a telephone.

use super::model::{Flow, Picture, Spoke};

/// What is known of one system for the picture.
pub struct Drawn {
    pub name: String,
    pub tone: &'static str,
    pub state: &'static str,
    pub note: String,
    /// Tone of what it says, and whether it is stopped.
    pub into: (&'static str, bool),
    /// Of what it is sent.
    pub out: (&'static str, bool),
}

const BOX_H: i32 = 74;
const STEP: i32 = 104;

/// The two pictures.
pub fn pictures(systems: &[Drawn], hub_note: &str) -> Vec<Picture> {
    vec![wide(systems, hub_note), narrow(systems, hub_note)]
}

fn described(systems: &[Drawn]) -> String {
    let each: Vec<String> = systems.iter().map(|system| format!("{}: {}, {}", system.name, system.state, system.note)).collect();
    format!("The systems and how they stand. {}", each.join(". "))
}

/// A curve that leaves and arrives level, with the tip of an arrow at its end; `from` and `to` are (x, y), `lead` how far it goes
/// straight.
fn flow(from: (i32, i32), to: (i32, i32), (tone, stopped): (&'static str, bool)) -> Flow {
    let lead = (to.0 - from.0) / 2;
    let back = if to.0 > from.0 { -9 } else { 9 };
    let path = format!("M{} {}C{} {} {} {} {} {}", from.0, from.1, from.0 + lead, from.1, to.0 - lead, to.1, to.0 + back, to.1);
    let tip = format!("M{} {}l{} -6v12z", to.0, to.1, back + back / 3);
    Flow { path, tip, tone, stopped }
}

fn spoke(system: &Drawn, (x, y, w): (i32, i32, i32), into: Flow, out: Flow) -> Spoke {
    let (name, note) = (system.name.clone(), system.note.clone());
    Spoke { name, x, y, w, tone: system.tone, state: system.state, note, into, out }
}

/// Layers that bend downwards, as rock does in a syncline.
fn strata(x: i32, y: i32, w: i32) -> Vec<(&'static str, String)> {
    let layer = |at: i32| format!("M{x} {}c{} 0 {} 20 {} 20s{} -20 {} -20", y + at, w / 4, w / 4, w / 2, w / 4, w / 2);
    ["s1", "s2", "s3"].into_iter().zip([0, 13, 26].map(layer)).collect()
}

/// The systems left and right of the hub.
fn wide(systems: &[Drawn], hub_note: &str) -> Picture {
    let (width, box_w, hub_w, hub_h) = (1120, 286, 216, 158);
    let (left, right) = (systems.len().div_ceil(2), systems.len() / 2);
    let rows = i32::try_from(left.max(1)).unwrap_or(1);
    let height = (rows * STEP - (STEP - BOX_H) + 48).max(hub_h + 48);
    let (hub_x, hub_y) = ((width - hub_w) / 2, (height - hub_h) / 2);
    let top = |count: usize| (height - (i32::try_from(count).unwrap_or(1) * STEP - (STEP - BOX_H))) / 2;
    let spokes = systems.iter().enumerate().map(|(at, system)| {
        let (on_left, row) = (at % 2 == 0, i32::try_from(at / 2).unwrap_or(0));
        let y = top(if on_left { left } else { right }) + row * STEP;
        let (x, edge, hub) = if on_left { (24, 24 + box_w, hub_x) } else { (width - 24 - box_w, width - 24 - box_w, hub_x + hub_w) };
        let (out, gap) = if on_left { (edge + 8, hub - 8) } else { (edge - 8, hub + 8) };
        let count = if on_left { left } else { right };
        let level = hub_y + hub_h / 2 + (row * 2 - i32::try_from(count).unwrap_or(1) + 1) * (hub_h - 56) / (2 * rows.max(2));
        let into = flow((out, y + 25), (gap, level - 9), system.into);
        let sent = flow((gap, level + 9), (out, y + 49), system.out);
        spoke(system, (x, y, box_w), into, sent)
    });
    let spokes = spokes.collect();
    let text = described(systems);
    Picture {
        trunks: Vec::new(),
        tips: Vec::new(),
        class: "wide",
        width,
        height,
        middle: width / 2,
        hub_x,
        hub_y,
        hub_w,
        hub_h,
        hub_text: hub_y + 106,
        hub_note: hub_note.to_owned(),
        strata: strata(hub_x + 48, hub_y + 26, hub_w - 96),
        spokes,
        text,
    }
}

/// The hub on top, the systems below each other on a common trunk.
fn narrow(systems: &[Drawn], hub_note: &str) -> Picture {
    let (width, hub_h) = (360, 128);
    let count = i32::try_from(systems.len()).unwrap_or(0);
    let spokes = systems.iter().enumerate().map(|(at, system)| {
        let y = hub_h + 44 + i32::try_from(at).unwrap_or(0) * (STEP - 12);
        let (down, up) = (y + 49, y + 25);
        let out = Flow {
            path: format!("M38 {}q0 12 12 12", down - 12),
            tip: format!("M60 {down}l-12 -6v12z"),
            tone: system.out.0,
            stopped: system.out.1,
        };
        let into = Flow { path: format!("M56 {up}H36q-12 0 -12 -12"), tip: String::new(), tone: system.into.0, stopped: system.into.1 };
        spoke(system, (62, y, width - 62 - 8), into, out)
    });
    let spokes = spokes.collect();
    let last = hub_h + 44 + (count - 1).max(0) * (STEP - 12);
    let trunks = vec![format!("M38 {}V{}", hub_h + 12, last + 37), format!("M24 {}V{}m0 -9", last + 13, hub_h + 22)];
    Picture {
        trunks,
        tips: vec![format!("M24 {}l-6 12h12z", hub_h + 12)],
        class: "narrow",
        width,
        height: hub_h + 40 + count * (STEP - 12),
        middle: width / 2,
        hub_x: 8,
        hub_y: 8,
        hub_w: width - 16,
        hub_h,
        hub_text: 98,
        hub_note: hub_note.to_owned(),
        strata: strata(120, 26, 120),
        spokes,
        text: described(systems),
    }
}
