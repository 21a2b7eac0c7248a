//! `batch`: files in, through the very same engine, files out.

pub mod input;
mod outbound;
mod runner;
mod summary;
mod time;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::input::{InputArg, Line, Lines};
use self::outbound::OutboundFiles;
use self::runner::{Parts, RunClock, Runner};
use self::summary::Summary;
use self::time::{SeededClock, SeededIds};
use super::args::{BatchArgs, Options, RelayWhen};
use super::stores::Place;
use super::{Failure, Host, output, stores};
use crate::config::Config;
use crate::engine::attendance::{self, Attendance};
use crate::engine::input::InputKind;
use crate::ports::clock::Ids;
use crate::ports::store::Store;
use crate::wire::Limits;

/// Broken lines named on stderr; the rest is only counted there.
const BROKEN_SHOWN: u64 = 5;

/// Runs `batch`.
pub async fn run(args: &BatchArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let mut config = stores::config(options)?;
    use_id_field(&mut config, args);
    let push = config.orchestration.push_updates;
    // All files are opened before anything is written: a misspelt name must not cost the last run's output.
    for input in &args.inputs {
        std::fs::File::open(&input.path).map_err(|error| Failure::file("read", &input.path, &error))?;
    }
    std::fs::create_dir_all(&args.out).map_err(|error| Failure::file("make", &args.out, &error))?;
    let (store, shared) = open_store(args, options, host).await?;
    // What others would have to send, and by which rules, is not to be settled beside them.
    let attendance = if shared {
        attendance::alone(store.as_ref(), host.clock.as_ref()).await?;
        // Under a name of its own, so that none joins while it lasts.
        Some(Attendance::join(store.clone(), host.clock.as_ref(), &format!("batch:{}", uuid::Uuid::now_v7()), false).await?)
    } else {
        None
    };
    let run = store.count_up("run").await?;
    let started = host.clock.now();
    let (clock, ids): (RunClock, Arc<dyn Ids>) = match args.seed {
        Some(seed) => (RunClock::Seeded(Arc::new(SeededClock::new(seed, run))), Arc::new(SeededIds::new(seed, run))),
        None => (RunClock::Real(host.clock.clone()), host.ids.clone()),
    };
    let systems = if push { config.systems.keys().cloned().collect() } else { Vec::new() };
    let files = OutboundFiles::create(args.out.join("outbound"), systems)?;
    let (live, apply) = (args.relay == RelayWhen::Live, args.apply);
    let id_fields = id_fields(&config, args);
    let limits = config.limits.into();
    let mut runner = Runner::new(Parts { config, store, clock, ids, files, apply, live, run }).await?;
    for (index, (input, id_field)) in args.inputs.iter().zip(id_fields).enumerate() {
        feed(&mut runner, input, id_field, format!("r{run}-i{}-l", index + 1), limits).await?;
    }
    runner.finish(push).await?;
    let seconds = args.seed.map_or_else(|| Some(host.clock.now().since(started).as_secs_f64()), |_| None);
    let summary = write_out(runner, &args.out, seconds).await?;
    if let Some(attendance) = attendance {
        attendance.leave().await;
    }
    if options.json { output::json(&summary) } else { output::line(summary.table(&args.out)) }
}

/// `--id-field` counts for every system that is fed, in both directions.
fn use_id_field(config: &mut Config, args: &BatchArgs) {
    let Some(name) = &args.id_field else { return };
    for (system, _) in args.inputs.iter().filter_map(|input| input.of.as_ref()) {
        if let Some(system) = config.systems.get_mut(system) {
            system.id_field.clone_from(name);
        }
    }
}

fn id_fields(config: &Config, args: &BatchArgs) -> Vec<String> {
    let configured = |input: &InputArg| {
        let (system, _) = input.of.as_ref()?;
        config.systems.get(system).map(|system| system.id_field.clone())
    };
    let field = |input| args.id_field.clone().or_else(|| configured(input)).unwrap_or_else(|| "id".to_owned());
    args.inputs.iter().map(field).collect()
}

/// The store the configuration names, else one of this run's own, which starts empty; and whether orchestrators may be at work on
/// it.
async fn open_store(args: &BatchArgs, options: &Options, host: &Host) -> Result<(Arc<dyn Store>, bool), Failure> {
    match stores::configured(options)? {
        Some(Place::Folder(folder)) => return Ok(((host.open)(&folder)?, false)),
        Some(Place::Server(store)) => return Ok(((host.connect)(store, true).await?, true)),
        None => {}
    }
    let folder = args.out.join("store");
    clear(&folder)?;
    Ok(((host.open)(&folder)?, false))
}

/// Removes an earlier run's store, and nothing that is not one.
fn clear(folder: &Path) -> Result<(), Failure> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let ours = |path: &PathBuf| path.is_file() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("syncline."));
    if let Some(other) = files.iter().find(|path| !ours(path)) {
        return Err(Failure::usage(format!(
            "{} would be emptied, but {} is not a store's; choose another --out",
            folder.display(),
            other.display()
        )));
    }
    for file in files {
        std::fs::remove_file(&file).map_err(|error| Failure::file("remove", &file, &error))?;
    }
    Ok(())
}

async fn feed(runner: &mut Runner, input: &InputArg, id_field: String, prefix: String, limits: Limits) -> Result<(), Failure> {
    let mut lines = Lines::open(input, id_field, prefix, limits)?;
    let mut broken = 0;
    while let Some(line) = lines.next(runner.now())? {
        let kind = match line {
            Line::Message(message) => InputKind::Message(Arc::from(message)),
            Line::Broken(letter) => {
                broken += 1;
                if broken <= BROKEN_SHOWN {
                    eprintln!("syncline: dead letter: {} ({})", letter.detail, letter.reason);
                }
                InputKind::Broken(Arc::from(letter))
            }
        };
        runner.feed(kind).await?;
    }
    runner.end_of_input().await?;
    if broken > BROKEN_SHOWN {
        eprintln!("syncline: {}: {broken} lines became dead letters", input.path.display());
    }
    Ok(())
}

async fn write_out(runner: Runner, out: &Path, seconds: Option<f64>) -> Result<Summary, Failure> {
    let Runner { store, fed, files, .. } = runner;
    let store = store.as_ref();
    let summary = Summary {
        updates: fed.updates,
        decisions: write::decisions(store, out.join("decisions.jsonl"), seconds.is_none()).await?,
        canonical: write::canonical(store, out.join("canonical.jsonl")).await?,
        outbound: files.finish()?,
        parked: write::parked(store, out.join("parked.jsonl")).await?,
        dead_letters: write::dead_letters(store, out.join("dead_letters.jsonl")).await?,
        seconds: seconds.unwrap_or(0.0),
        updates_per_second: 0.0,
    };
    let summary = summary.with_rate();
    let path = out.join("summary.json");
    let mut text = serde_json::to_string_pretty(&summary).map_err(Failure::internal)?;
    text.push('\n');
    std::fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
    Ok(summary)
}
