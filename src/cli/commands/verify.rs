//! `verify`: what must hold in a store at any time.

use serde_json::json;

use crate::cli::args::Options;
use crate::cli::error::FAILED;
use crate::cli::{Failure, Host, output, stores};
use crate::domain::decision::Logging;
use crate::domain::ids::EntityType;
use crate::engine::directory::Directory;
use crate::engine::settings::Settings;
use crate::views::verify::{Declared, Findings, Kept, verify};

/// Broken things that are printed; more are only counted.
const SHOWN: usize = 100;

/// Runs `verify`.
pub async fn run(options: &Options, host: &Host) -> Result<(), Failure> {
    let settings = Settings::compile(&stores::config(options)?);
    let keep = &settings.keep;
    let kept = Kept::at(host.clock.now(), keep.others, keep.deleted, settings.rules.logging != Logging::None);
    let store = stores::open(options, host).await?;
    let directory = Directory::new(settings.rules.clone(), store.facts().await?);
    let targets = |entity_type: &EntityType| directory.targets(entity_type);
    let declared = options.config.is_some().then_some(Declared { rules: &settings.rules, targets: &targets });
    let findings = verify(store.as_ref(), declared, kept).await?;
    report(&findings, declared.is_some(), options)
}

fn report(findings: &Findings, compared: bool, options: &Options) -> Result<(), Failure> {
    let Findings { broken, frozen, records, decisions, waiting } = findings;
    let shown = |lines: &[String]| lines[..lines.len().min(SHOWN)].to_vec();
    if options.json {
        output::json(&json!({ "ok": broken.is_empty(), "records": records, "decisions": decisions, "waiting": waiting,
            "claims_checked": compared, "broken": shown(broken), "broken_count": broken.len(),
            "frozen": shown(frozen), "frozen_count": frozen.len() }))?;
    } else {
        for line in shown(broken) {
            output::line(format!("broken: {line}"))?;
        }
        for line in shown(frozen) {
            output::line(format!("frozen: {line}"))?;
        }
        if broken.is_empty() {
            let note = if compared { "" } else { " (keys were not compared with a configuration: name it with --config)" };
            output::line(format!("ok: {records} records, {decisions} decisions, {waiting} waiting{note}"))?;
        }
    }
    match broken.len() {
        0 => Ok(()),
        count => Err(Failure::new(FAILED, format!("{count} broken, in {records} records and {decisions} decisions"))),
    }
}
