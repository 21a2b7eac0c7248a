//! Histories: steps made from a seed, run against the world, made smaller when one fails.

use std::time::Duration;

use serde_json::{Value, json};
use syncline::domain::canonical::CanonicalRecord;
use syncline::domain::ids::SystemName;
use syncline::domain::value::FieldPath;

use crate::check;
use crate::system::{Profile, Row, System, Traits};
use crate::world::World;

/// When a system reports what its user has deleted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tells {
    /// Before its adapter gets to what it was sent meanwhile.
    Before,
    /// After the answer to that, and before what it made.
    InBetween,
    /// Last of all.
    After,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// A user edits a record of a system.
    Edit {
        system: usize,
        record: usize,
        field: usize,
        value: usize,
    },
    /// A system makes a new thing (a known serial: the same thing as elsewhere) or a part of one.
    Create {
        system: usize,
        serial: usize,
        part: bool,
    },
    /// A system makes two new things that name each other.
    Pair {
        system: usize,
        serial: usize,
    },
    /// A user deletes a record.
    Delete {
        system: usize,
        record: usize,
    },
    /// A record its system has deleted is there again, as it was.
    Restore {
        system: usize,
        record: usize,
    },
    /// Two systems make the same thing. One of them deletes its own before it gets to the create it was sent, and makes
    /// another one by that.
    Crossed {
        maker: usize,
        deleter: usize,
        tells: Tells,
    },
    /// A record gets another id in its system.
    Rekey {
        system: usize,
        record: usize,
    },
    /// A person says that two records are one thing.
    Merge {
        winner: usize,
        loser: usize,
    },
    /// A person takes a native record out of its record.
    Split {
        record: usize,
        link: usize,
    },
    /// A system refuses the next update it is sent.
    Refuse {
        system: usize,
    },
    /// Gives a thing another serial.
    Reserial {
        system: usize,
        record: usize,
    },
    /// Gives a thing the serial of another one, which gets a new one only then, or is deleted.
    Borrow {
        system: usize,
        record: usize,
        other: usize,
        deletes: bool,
    },
    /// An adapter reads a record again and reports it, unchanged.
    Poll {
        system: usize,
        record: usize,
    },
    Publish {
        system: usize,
    },
    OldCopy {
        pick: usize,
    },
    Duplicate {
        pick: usize,
    },
    Decide {
        who: usize,
        max: usize,
    },
    Commit {
        who: usize,
        send: bool,
    },
    Kill {
        who: usize,
    },
    Scan {
        who: usize,
    },
    Apply {
        system: usize,
    },
    /// Everything comes to rest, then the window passes.
    Rest,
    /// A person pauses what a system is sent.
    Pause {
        system: usize,
    },
    /// It is sent what it lacks.
    Resume,
}

#[derive(Clone, Debug)]
pub struct History {
    pub seed: u64,
    pub systems: Vec<(&'static str, Traits)>,
    pub steps: Vec<Step>,
    /// A delete only means that its system lets go of the record (`delete.policy = "unlink"`).
    pub unlinks: bool,
    /// One orchestrator is at work, and notes some time later what it has sent.
    pub marks_later: bool,
}

impl History {
    pub fn describe(&self) -> String {
        let mut lines: Vec<String> = self.systems.iter().map(|(name, traits)| format!("{name}: {traits:?}")).collect();
        lines.push(format!("unlinks: {}, marks_later: {}", self.unlinks, self.marks_later));
        lines.extend(self.steps.iter().map(|step| format!("  {step:?}")));
        lines.join("\n")
    }
}

/// Runs a history with a fault planted, or none.
pub fn run(history: &History, fault: Option<&'static str>) -> Result<(), String> {
    let mut none = Vec::new();
    simulate(history, fault, None.or(Some(&mut none)).filter(|_| false))
}

/// [`run`], told as a timeline.
pub fn run_told(history: &History, fault: Option<&'static str>, timeline: &mut Vec<String>) -> Result<(), String> {
    simulate(history, fault, Some(timeline))
}

fn simulate(history: &History, fault: Option<&'static str>, timeline: Option<&mut Vec<String>>) -> Result<(), String> {
    syncline::domain::planted::plant(fault.unwrap_or(""));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let outcome = runtime.block_on(async {
        let mut world = World::new(history, timeline.is_some()).await;
        let outcome = play(&mut world, history).await;
        if let (Some(timeline), Some(log)) = (timeline, world.log.take()) {
            *timeline = log;
            timeline.extend(check::rows(&world).await);
        }
        outcome
    });
    syncline::domain::planted::plant("");
    outcome
}

async fn play(world: &mut World, history: &History) -> Result<(), String> {
    for step in &history.steps {
        if let Step::Edit { system, .. }
        | Step::Create { system, .. }
        | Step::Pair { system, .. }
        | Step::Reserial { system, .. }
        | Step::Borrow { system, .. } = step
        {
            world.untouched.remove(system);
        }
        take(world, *step).await?;
        // What is done in one breath stays within the window of systems that say nothing.
        world.advance(Duration::from_millis(1));
        if let Some(broken) = world.broken.take() {
            return Err(broken);
        }
    }
    settle(world).await?;
    let versions = check::versions(world).await;
    // Full echo: everyone reports what it holds once more, and nothing at all may come of it.
    for system in 0..world.systems.len() {
        for native in world.systems[system].rows.keys().cloned().collect::<Vec<_>>() {
            let kind = kind_of(&native);
            if world.systems[system].traits.profile != Profile::SilentPatches {
                world.systems[system].report(kind, &native, Some(Vec::new()));
            }
        }
    }
    rest(world).await?;
    let after = check::versions(world).await;
    if versions != after {
        return Err(format!("a full echo made new versions: {versions:?} became {after:?}"));
    }
    check::everything(world).await
}

/// Everybody is told everything, and rests.
async fn settle(world: &mut World) -> Result<(), String> {
    world.resume().await;
    rest(world).await
}

async fn rest(world: &mut World) -> Result<(), String> {
    world.tell(|| "-- everything comes to rest".to_owned());
    // What waits for answers to creates becomes a record after that time, and is created elsewhere after as long again.
    for _ in 0..3 {
        world.rest().await?;
        world.advance(Duration::from_secs(60));
    }
    world.rest().await
}

pub fn kind_of(native: &str) -> &'static str {
    if native.as_bytes()[2] == b'p' { "part" } else { "thing" }
}

async fn take(world: &mut World, step: Step) -> Result<(), String> {
    match step {
        Step::Edit { system, record, field, value } => {
            if let Some(native) = nth_row(world, system, record) {
                let (field, value) = (["a", "b", "n.c"][field], World::value(value));
                world.tell(|| format!("a user of {native} sets {field} to {value}"));
                let kind = kind_of(&native);
                world.systems[system].edit(kind, &native, field, &value);
            }
        }
        Step::Create { system, serial, part } => create(world, system, serial, part).await?,
        Step::Delete { system, record } => {
            // ADR 21 says what is not promised while a create of the record is open.
            settle(world).await?;
            if let Some(native) = nth_row(world, system, record) {
                world.tell(|| format!("a user deletes {native}"));
                world.systems[system].delete(kind_of(&native), &native);
            }
        }
        Step::Restore { system, record } => restore(world, system, record).await?,
        Step::Crossed { maker, deleter, tells } => crossed(world, maker, deleter, tells).await,
        Step::Rekey { system, record } => {
            // Of a record that still waits for its parent, what comes under the new id does not wait for the rekey yet.
            settle(world).await?;
            // Nobody names it: what does would have to be changed, too.
            let named = |world: &World, native: &str| {
                let mut rows = world.systems[system].rows.values();
                rows.any(|row| row.fields.values().any(|value| value.as_str() == Some(native)))
            };
            if let Some(native) = nth_row(world, system, record).filter(|native| !named(world, native)) {
                world.tell(|| format!("{native} gets another id"));
                world.systems[system].rekey(kind_of(&native), &native);
            }
        }
        Step::Merge { winner, loser } => {
            settle(world).await?;
            world.merge(winner, loser).await;
        }
        Step::Split { record, link } => {
            settle(world).await?;
            world.split(record, link).await;
            // A key value may come back by it; a user who makes a thing with that very value meanwhile makes a duplicate.
            settle(world).await?;
        }
        Step::Refuse { system } => world.refuse(system),
        Step::Pair { system, serial } => pair(world, system, serial),
        Step::Reserial { system, record } => reserial(world, system, record).await?,
        Step::Borrow { system, record, other, deletes } => borrow(world, system, record, other, deletes).await?,
        Step::Poll { system, record } => poll(world, system, record),
        Step::Publish { system } => {
            world.publish(system);
        }
        Step::Duplicate { pick } => world.duplicate(pick),
        Step::OldCopy { pick } => world.old_copy(pick),
        Step::Decide { who, max } => world.decide(who, max).await,
        Step::Commit { who, send } => world.commit(who, send).await,
        Step::Kill { who } => world.kill(who).await,
        Step::Scan { who } => {
            world.scan(who).await;
        }
        Step::Apply { system } => {
            world.apply(system);
        }
        Step::Rest => rest(world).await?,
        Step::Pause { system } => {
            settle(world).await?;
            world.pause(system).await;
        }
        Step::Resume => world.resume().await,
    }
    Ok(())
}

/// An adapter reads a record again and reports it as it is.
fn poll(world: &mut World, system: usize, record: usize) {
    let says_wholes = world.systems[system].traits.profile != Profile::SilentPatches;
    if let Some(native) = nth_row(world, system, record).filter(|_| says_wholes) {
        world.systems[system].report(kind_of(&native), &native, Some(Vec::new()));
        world.note_untouched(system);
    }
}

fn nth_row(world: &World, system: usize, record: usize) -> Option<String> {
    let rows = &world.systems[system].rows;
    (!rows.is_empty()).then(|| rows.keys().nth(record % rows.len()).cloned()).flatten()
}

async fn create(world: &mut World, system: usize, serial: usize, part: bool) -> Result<(), String> {
    // A key that a merge takes from a system is free once that one has been told; who comes before waits for a person.
    if world.merged {
        settle(world).await?;
    }
    let name = world.systems[system].name.clone();
    if part {
        // A system that lets go of a thing is sent references to it as null. If it takes the thing up again, its null is not
        // told from one that somebody entered.
        if world.split || world.unlinks {
            return Ok(());
        }
        // The thing may not even be reported yet: that is the point.
        // What is deleted is sent as null, too, and may be back when that null is reported.
        let comes_back = |row: &Row| row.fields["serial"].as_str().is_some_and(|serial| serial.starts_with('X'));
        let mut rows = world.systems[system].rows.iter();
        let thing = rows.find(|(native, row)| kind_of(native) == "thing" && !comes_back(row)).map(|(native, _)| native.clone());
        let Some(thing) = thing else { return Ok(()) };
        world.tell(|| format!("{name} makes a part of {thing}"));
        world.systems[system].create("part", &[("thing_id", json!(thing)), ("a", json!("x"))]);
        // Parts travel on their own: their messages may overtake the thing's.
        if let Some(last) = world.systems[system].outgoing.pop_back() {
            world.systems[system].outgoing.push_front(last);
        }
        return Ok(());
    }
    // What a silent system was sent is never known to be held, so a serial that a merge took from it is never free.
    if world.merged && world.systems.iter().any(|system| system.traits.profile == Profile::SilentPatches) {
        return Ok(());
    }
    let serial = format!("S{serial}");
    let has = world.systems[system].rows.values().any(|row| row.fields.get("serial") == Some(&json!(serial)));
    if !has {
        world.tell(|| format!("{name} makes thing {serial}"));
        world.systems[system].create("thing", &[("serial", json!(serial)), ("a", json!("x"))]);
    }
    Ok(())
}

/// A record comes back from where its system keeps what is deleted. Not if its serial may be another thing's by now: that is for a
/// person to say.
async fn restore(world: &mut World, system: usize, record: usize) -> Result<(), String> {
    settle(world).await?;
    let trash = &world.systems[system].trash;
    let Some((native, row)) = trash.iter().nth(record % trash.len().max(1)).map(|(native, row)| (native.clone(), row.clone())) else {
        return Ok(());
    };
    let serial = row.fields.get("serial");
    let twice = world.systems[system].rows.values().any(|other| other.fields.get("serial") == serial);
    let moved = world.merged || world.reserialed || !world.unlinks;
    let name = SystemName::new(&world.systems[system].name).unwrap();
    let another_one = |record: &CanonicalRecord| record.native_id(&name).is_some_and(|id| id.as_str() != native);
    let unknown = |record: &CanonicalRecord| record.native_keys().all(|key| key.system != name || key.native_id.as_str() != native);
    let others = |record: &CanonicalRecord| another_one(record) || unknown(record);
    // A system may have the key value still that the record had before.
    let value = serial.and_then(Value::as_str).unwrap_or_default();
    let claims = |record: &CanonicalRecord| record.claims.iter().any(|claim| claim.value == value);
    let has = |record: &CanonicalRecord| record.is_live() && (record.data.get(&FieldPath::name("serial")) == serial || claims(record));
    let another = twice || moved && check::records(world).await.iter().any(|record| has(record) && others(record));
    if kind_of(&native) == "thing" && !another {
        world.tell(|| format!("{native} is there again"));
        world.brought_back |= !world.unlinks;
        world.systems[system].restore("thing", &native);
        if moved {
            // Whoever makes a thing with that serial meanwhile leaves it to a person which of the two it is.
            settle(world).await?;
        }
    }
    Ok(())
}

/// The create is on its way when the system's own report is taken for its answer, and is applied after the delete of what was
/// reported. Only where answers come before reports: elsewhere what the create makes is a new thing (ADR 21).
async fn crossed(world: &mut World, maker: usize, deleter: usize, tells: Tells) {
    let traits = world.systems[deleter].traits;
    let answers = matches!(traits.profile, Profile::Base | Profile::Receipts) && !traits.late && traits.takes_creates;
    if maker == deleter || !answers {
        return;
    }
    let serial = json!(format!("X{}", world.published.len()));
    let (one, other) = (world.systems[maker].name.clone(), world.systems[deleter].name.clone());
    world.tell(|| format!("{one} and {other} make thing {serial}; {other} deletes it before it is told of the other's"));
    let fields = [("serial", serial), ("a", json!("x"))];
    world.systems[maker].create("thing", &fields);
    decided(world, maker).await;
    let native = world.systems[deleter].create("thing", &fields);
    decided(world, deleter).await;
    world.systems[deleter].delete("thing", &native);
    if tells != Tells::Before {
        let delete = world.systems[deleter].outgoing.pop_back();
        while world.apply(deleter) {}
        if tells == Tells::After {
            decided(world, deleter).await;
        }
        let outgoing = &mut world.systems[deleter].outgoing;
        let reports = outgoing.iter().position(|said| said.body["op"] == "upsert").unwrap_or(outgoing.len());
        delete.into_iter().for_each(|delete| outgoing.insert(reports, delete));
    }
    decided(world, deleter).await;
}

/// What a system has to say is published, decided and committed, and what follows is sent.
async fn decided(world: &mut World, system: usize) {
    while world.publish(system) {}
    world.decide(0, usize::MAX).await;
    world.commit(0, true).await;
}

/// Neither is known when the first is reported. Only where every system is sent what it lacks: elsewhere a record whose
/// peer never comes to be is held for ever.
fn pair(world: &mut World, system: usize, serial: usize) {
    let answers = |system: &System| matches!(system.traits.profile, Profile::Base | Profile::Receipts);
    let serials = [serial, (serial + 1) % 3].map(|serial| json!(format!("S{serial}")));
    let has = world.systems[system].rows.values().any(|row| row.fields.get("serial").is_some_and(|serial| serials.contains(serial)));
    if has || world.unlinks || !world.systems.iter().all(answers) {
        return;
    }
    let name = world.systems[system].name.clone();
    world.tell(|| format!("{name} makes things {serials:?} that name each other"));
    world.systems[system].create_pair("thing", serials);
}

/// A thing gets a serial nobody has; afterwards the old one is free for a new thing.
async fn reserial(world: &mut World, system: usize, record: usize) -> Result<(), String> {
    // What a silent system was sent is never known to be held, so its old serial is never free.
    if world.systems.iter().any(|system| system.traits.profile == Profile::SilentPatches) {
        return Ok(());
    }
    settle(world).await?;
    let Some(native) = nth_row(world, system, record).filter(|native| kind_of(native) == "thing") else { return Ok(()) };
    let old = world.systems[system].rows[&native].fields.get("serial").cloned();
    let fresh = json!(format!("{}-{}", old.as_ref().and_then(|old| old.as_str()).unwrap_or("S"), world.published.len()));
    world.tell(|| format!("a user of {native} sets serial to {fresh}"));
    world.reserialed = true;
    world.systems[system].edit("thing", &native, "serial", &fresh);
    settle(world).await?;
    Ok(())
}

/// A thing gets a serial that another one has. It waits for that one to let go of it.
async fn borrow(world: &mut World, system: usize, record: usize, other: usize, deletes: bool) -> Result<(), String> {
    // As with any serial that is to be free again; and whose a serial is after a merge or a split is for a person to say.
    let silent = world.systems.iter().any(|system| system.traits.profile == Profile::SilentPatches);
    if silent || world.merged || world.split {
        return Ok(());
    }
    settle(world).await?;
    let thing = |record: usize| nth_row(world, system, record).filter(|native| kind_of(native) == "thing");
    let (Some(one), Some(other)) = (thing(record), thing(other)) else { return Ok(()) };
    let serial = world.systems[system].rows[&other].fields["serial"].clone();
    if one == other || !serial.is_string() {
        return Ok(());
    }
    world.tell(|| format!("a user of {one} sets serial to {serial}, which {other} has"));
    world.reserialed = true;
    world.systems[system].edit("thing", &one, "serial", &serial);
    settle(world).await?;
    let fresh = json!(format!("{}-{}", serial.as_str().unwrap_or("S"), world.published.len()));
    // What its system only lets go of is there all the same.
    if deletes && !world.unlinks {
        world.tell(|| format!("a user deletes {other}"));
        world.systems[system].delete("thing", &other);
    } else {
        world.tell(|| format!("a user of {other} sets serial to {fresh}"));
        world.systems[system].edit("thing", &other, "serial", &fresh);
    }
    settle(world).await
}

/// Takes steps out as long as the history still fails.
pub fn shrink(history: History, broken: String, fault: Option<&'static str>) -> (History, String) {
    let (mut best, mut reason) = (history, broken);
    let mut size = best.steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < best.steps.len() {
            let mut smaller = best.clone();
            smaller.steps.drain(at..(at + size).min(smaller.steps.len()));
            match run(&smaller, fault) {
                Err(broken) => (best, reason) = (smaller, broken),
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    (best, reason)
}
