//! Where histories come from: each is made from a seed.

use crate::history::{History, Step, Tells};
use crate::system::{Profile, Traits};

/// A small generator of its own, so that seeds mean the same for ever (splitmix64, Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

impl History {
    pub fn from_seed(seed: u64) -> Self {
        let mut random = Random(seed);
        // Of its own, so that what is drawn from it moves nothing else.
        let mut more = Random(seed ^ 0x5eed_c4ea_7e5e_771e);
        let count = 2 + random.below(2);
        let mut systems: Vec<(&str, Traits)> =
            ["ax", "bx", "cx"][..count].iter().map(|name| (*name, traits(&mut random, &mut more))).collect();
        let length = 8 + random.below(40);
        let mut steps: Vec<Step> = vec![Step::Create { system: 0, serial: 0, part: false }];
        if random.chance(70) {
            steps.push(Step::Rest);
        }
        steps.extend((0..length).map(|_| step(&mut random, count)));
        // What people say about records.
        while more.chance(25) {
            let at = 1 + more.below(steps.len());
            let (one, other) = (more.below(6), more.below(6));
            let says = if more.chance(50) { Step::Merge { winner: one, loser: other } } else { Step::Split { record: one, link: other } };
            steps.insert(at, says);
        }
        let mut policies = Random(seed ^ 0x0c0f_fee0_0dec_1de5);
        for (_, traits) in &mut systems {
            traits.compensates = policies.chance(25);
        }
        let mut refusals = Random(seed ^ 0x0bad_a115_0be7_0000);
        while refusals.chance(25) {
            let at = 1 + refusals.below(steps.len());
            steps.insert(at, Step::Refuse { system: refusals.below(count) });
        }
        // Who has changes taken back is likely to refuse some, and so is whoever made them.
        while systems.iter().any(|(_, traits)| traits.compensates) && policies.chance(50) {
            let at = 1 + policies.below(steps.len());
            steps.insert(at, Step::Refuse { system: policies.below(count) });
        }
        let mut crossings = Random(seed ^ 0xc055_ed0c_4ea7_e500);
        let mut feeds = Random(seed ^ 0x5100_feed_0000_0000);
        while crossings.chance(20) {
            let at = 1 + crossings.below(steps.len());
            let tells = [Tells::Before, Tells::InBetween, Tells::After][feeds.below(3)];
            steps.insert(at, Step::Crossed { maker: crossings.below(count), deleter: crossings.below(count), tells });
        }
        let mut partings = Random(seed ^ 0x0bad_1e77_1290_0000);
        let unlinks = partings.chance(20);
        while unlinks && partings.chance(80) {
            let at = 1 + partings.below(steps.len());
            let (system, record) = (partings.below(count), partings.below(3));
            steps.insert(at, if partings.chance(50) { Step::Delete { system, record } } else { Step::Restore { system, record } });
        }
        let mut returns = Random(seed ^ 0xba5e_ba11_0000_0000);
        while !unlinks && returns.chance(20) {
            let at = 1 + returns.below(steps.len());
            steps.insert(at, Step::Restore { system: returns.below(count), record: returns.below(3) });
            steps.insert(1 + returns.below(at), Step::Delete { system: returns.below(count), record: returns.below(3) });
        }
        let marks_later = Random(seed ^ 0x0ca7_4e25_0000_0000).chance(25);
        if marks_later {
            // Who is not alone does not gather.
            for step in &mut steps {
                if let Step::Decide { who, .. } | Step::Commit { who, .. } | Step::Kill { who } | Step::Scan { who } = step {
                    *who = 0;
                }
            }
        }
        Self { seed, systems, steps, unlinks, marks_later }
    }

    /// The same, where systems are paused for a while, and some that say nothing of what they had applied write only what is named.
    pub fn with_pauses(seed: u64) -> Self {
        let mut history = Self::from_seed(seed);
        let mut writers = Random(seed ^ 0x0fee_1d50_0000_0000);
        let inexact = |traits: &Traits| matches!(traits.profile, Profile::SilentPatches | Profile::Whole);
        for (_, traits) in history.systems.iter_mut().filter(|(_, traits)| inexact(traits)) {
            traits.writes_changed = writers.chance(40);
        }
        pauses(seed, history.systems.len(), &mut history.steps);
        history
    }
}

impl History {
    /// The same, where things are given keys that others have still.
    pub fn with_borrowed_keys(seed: u64) -> Self {
        let mut history = Self::from_seed(seed);
        let mut random = Random(seed ^ 0x0b02_2011_3d00_0000);
        loop {
            let at = 1 + random.below(history.steps.len());
            let (record, other) = (random.below(4), random.below(4));
            let step = Step::Borrow { system: random.below(history.systems.len()), record, other, deletes: random.chance(30) };
            history.steps.insert(at, step);
            if !random.chance(60) {
                return history;
            }
        }
    }
}

/// A system is paused, once or more: others go on, time passes, and it says what it holds.
fn pauses(seed: u64, count: usize, steps: &mut Vec<Step>) {
    let mut random = Random(seed ^ 0x9a05_ed00_0000_0000);
    loop {
        let (system, record, other) = (random.below(count), random.below(3), random.below(count));
        let edit = Step::Edit { system: other, record, field: random.below(3), value: random.below(5) };
        let poll = Step::Poll { system, record };
        let mut at = 1 + random.below(steps.len());
        for step in [Step::Pause { system }, edit, poll, Step::Rest, poll, Step::Rest, Step::Resume, poll] {
            steps.insert(at.min(steps.len()), step);
            at += 1 + random.below(2);
        }
        if !random.chance(30) {
            return;
        }
    }
}

fn traits(random: &mut Random, more: &mut Random) -> Traits {
    let profile = match random.below(5) {
        0 | 1 => Profile::Base,
        2 => Profile::Receipts,
        3 => Profile::SilentPatches,
        _ => Profile::Whole,
    };
    let exact = matches!(profile, Profile::Base | Profile::Receipts);
    Traits {
        profile,
        echoes: profile == Profile::Whole || exact && random.chance(60),
        writes_changed: exact && random.chance(30),
        trims: exact && random.chance(25),
        late: profile == Profile::Base && more.chance(40),
        compensates: false,
        takes_creates: exact || profile == Profile::Whole && more.chance(50),
    }
}

fn step(random: &mut Random, systems: usize) -> Step {
    let system = random.below(systems);
    let record = random.below(3);
    let who = random.below(2);
    match random.below(100) {
        0..=1 => Step::Delete { system, record },
        2 => Step::Rekey { system, record },
        3..=23 => Step::Edit { system, record, field: random.below(3), value: random.below(5) },
        24 => Step::Pair { system, serial: random.below(3) },
        25..=30 => Step::Create { system, serial: random.below(3), part: random.chance(40) },
        31..=32 => Step::Reserial { system, record },
        33..=38 => Step::Poll { system, record },
        39..=52 => Step::Publish { system },
        53..=55 => Step::Duplicate { pick: random.below(50) },
        56 => Step::OldCopy { pick: random.below(50) },
        57..=66 => Step::Decide { who, max: 1 + random.below(4) },
        67..=76 => Step::Commit { who, send: random.chance(80) },
        77..=79 => Step::Kill { who },
        80..=83 => Step::Scan { who },
        84..=95 => Step::Apply { system },
        _ => Step::Rest,
    }
}
