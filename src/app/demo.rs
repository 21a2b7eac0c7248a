//! `demo`: an orchestrator and the two sample adapters, really talking to each other, and the story of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use syncline_bms::{self as bms, Bms};
use syncline_oem::{self as oem, Oem};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Orchestrator, Syncline};
use crate::cli::Stage;
use crate::config::Config;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::Op;
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::explain;
use crate::domain::value::FieldPath;
use crate::ports::store::DecisionFilter;
use crate::views::{find, why};

/// The demo's configuration; it ships with the project.
const CONFIG: &str = include_str!("../../config/demo.toml");
/// Longest any step may take.
const STEP_WITHIN: Duration = Duration::from_secs(30);

/// An adapter at work.
struct Working {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Working {
    fn start<F>(run: impl FnOnce(watch::Receiver<bool>) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (stop, told) = watch::channel(false);
        Self { stop, task: tokio::spawn(run(told)) }
    }

    async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await?
    }
}

async fn told(mut stop: watch::Receiver<bool>) {
    // An error means that nobody is left who could tell.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What oem's people do.
struct OemEdit {
    column: &'static str,
    value: &'static str,
}

/// Everything that plays a part.
struct Play {
    orchestrator: Orchestrator,
    url: String,
    bms: Bms,
    oem: Oem,
    stage: Stage,
}

/// Plays it; with `stay`, goes on until the process is told to end.
pub async fn run(stage: Stage, stay: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::from_toml(CONFIG, "config/demo.toml")?;
    config.store.path = folder.path().join("syncline-data");
    if !stay {
        config.http.listen.set_port(0);
    }
    let orchestrator = Syncline::new(config).serve().await?;
    let url = format!("http://{}", orchestrator.address().context("it listens")?);
    let play =
        Play { orchestrator, url, bms: Bms::open(folder.path().join("bms.db"))?, oem: Oem::open(folder.path().join("oem.db"))?, stage };
    let adapters = play.act().await?;
    if stay {
        play.stage.say(&format!("\nThe orchestrator stays up at {}, and so do both adapters; their databases are in", play.url))?;
        play.stage.say(&format!("{}. Ctrl-C ends it.", folder.path().display()))?;
        play.orchestrator.until_told().await?;
    } else {
        play.orchestrator.stop().await?;
    }
    for adapter in adapters {
        adapter.stop().await?;
    }
    Ok(())
}

impl Play {
    async fn act(&self) -> Result<[Working; 2]> {
        let stage = &self.stage;
        stage.say("One orchestrator, two systems: bms runs a building, oem is a manufacturer's portal.")?;
        stage.say("Each has its own database, its own ids, its own field names. Neither knows of the other.")?;

        stage.scene("1. Two systems meet")?;
        self.bms.add(&bms::Device { serial: text("SN-001"), name: text("Air handler"), location: text("roof"), ..<_>::default() })?;
        self.oem.add(&oem::Device {
            serial_no: text("SN-001"),
            label: text("AHU"),
            warranty_until: text("2029-06-30"),
            ..<_>::default()
        })?;
        let (bms, url) = (self.bms.clone(), self.url.clone());
        let first = Working::start(|stop| async move { bms::run(&bms, &url, told(stop)).await });
        self.until("bms's device to be known", async || Ok(self.record("device", "bms:bmsD1").await.is_some())).await?;
        let second = self.start_oem();
        self.until("both to know of each other", async || Ok(self.oem.get::<oem::Device>("oemD1")?.label == text("Air handler"))).await?;
        self.rest().await?;
        stage.say("bms reported bmsD1, oem reported oemD1. Their serial is the same, so they are one thing; the building's")?;
        stage.say("name for it was preferred, and what each lacked it was sent, in its own words:")?;
        self.rows()?;

        stage.scene("2. An edit travels, and its echo does not")?;
        let before = self.decisions().await?.len();
        self.bms.edit("bmsD1", &[field("name", "Air handler 1")])?;
        self.until("the new name in oem", async || Ok(self.oem.get::<oem::Device>("oemD1")?.label == text("Air handler 1"))).await?;
        self.rest().await?;
        self.told_since(before).await?;
        self.rows()?;

        stage.scene("3. Both edit the same field at once")?;
        let label = OemEdit { column: "label", value: "AHU roof" };
        let second = self.while_away(second, "Air handler north", &label, &[]).await?;
        self.rows()?;
        stage.say("Why is the name what it is?")?;
        self.why("name").await?;

        stage.scene("4. A new device with a sensor: parents first, everyone with their own ids")?;
        let device =
            self.bms.add(&bms::Device { serial: text("SN-002"), name: text("Pump"), parent_id: text("bmsD1"), ..<_>::default() })?;
        self.bms.add(&bms::Sensor { tag: text("T-7"), kind: text("temperature"), device_id: Some(device), ..<_>::default() })?;
        self.until("the sensor in oem", async || Ok(!self.oem.list::<oem::Sensor>()?.is_empty())).await?;
        self.rest().await?;
        self.rows()?;

        stage.scene("5. A stale record undoes nothing")?;
        let warranty = OemEdit { column: "warranty_until", value: "2031-06-30" };
        let story = [
            "While oem's adapter was away, the building renamed the device. Then an export of oem arrives: the whole",
            "record, with a new warranty, and with the old name, since oem has not heard of the new one.",
        ];
        let second = self.while_away(second, "Air handler south", &warranty, &story).await?;
        self.rows()?;

        self.count().await?;
        Ok([first, second])
    }

    /// How many updates came to what.
    async fn count(&self) -> Result<()> {
        self.stage.scene("What became of every update")?;
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for row in self.decisions().await? {
            *kinds.entry(row.decision.as_str()).or_default() += 1;
        }
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {}", kind.replace('_', " "))).collect();
        Ok(self.stage.say(&kinds.join(", "))?)
    }

    /// While oem's adapter is away, bms renames the device and oem edits its own copy, which it exports as a whole: as it
    /// was when oem had not heard of the new name. Then the adapter comes back.
    async fn while_away(&self, adapter: Working, name: &str, edit: &OemEdit, story: &[&str]) -> Result<Working> {
        adapter.stop().await?;
        let base = self.rev("oem").await.context("oem is linked")?;
        let before = self.decisions().await?.len();
        self.bms.edit("bmsD1", &[field("name", name)])?;
        self.until("bms's edit to be decided", async || Ok(self.value("name").await == text(name))).await?;
        self.oem.edit("oemD1", &[field(edit.column, edit.value)])?;
        let decided = self.decisions().await?.len();
        self.orchestrator.submit(&[export(&self.oem.get::<oem::Device>("oemD1")?, base)]).await?;
        self.until("oem's export to be decided", async || Ok(self.decisions().await?.len() > decided)).await?;
        for line in story {
            self.stage.say(line)?;
        }
        self.told_since(before).await?;
        let adapter = self.start_oem();
        self.until("the new name in oem", async || Ok(self.oem.get::<oem::Device>("oemD1")?.label == text(name))).await?;
        self.rest().await?;
        Ok(adapter)
    }

    fn start_oem(&self) -> Working {
        let (oem, url) = (self.oem.clone(), self.url.clone());
        Working::start(|stop| async move { oem::run(&oem, &url, told(stop)).await })
    }

    /// Waits until something holds.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let until = tokio::time::Instant::now() + STEP_WITHIN;
        while !holds().await? {
            if tokio::time::Instant::now() > until {
                bail!("waited too long for {what}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until nothing is left to decide, to send, or to report.
    async fn rest(&self) -> Result<()> {
        let store = self.orchestrator.store();
        self.until("everything to come to rest", async || {
            let (inbound, outbound) = self.orchestrator.inbox().depth().await?;
            let waits = outbound.iter().any(|(_, depth)| *depth > 0);
            let fed = self.bms.changes()?.is_empty() && self.oem.changes()?.is_empty();
            Ok(inbound == 0 && !waits && fed && store.owed(0, 1).await?.is_empty())
        })
        .await
    }

    async fn record(&self, entity_type: &str, id: &str) -> Option<std::sync::Arc<CanonicalRecord>> {
        find::record(self.orchestrator.store().as_ref(), entity_type, id).await.ok()
    }

    async fn value(&self, field: &str) -> Option<String> {
        let record = self.record("device", "bms:bmsD1").await?;
        record.data.get(&FieldPath::name(field))?.as_str().map(str::to_owned)
    }

    /// The last rev a system was sent of the first device.
    async fn rev(&self, system: &str) -> Option<u64> {
        let record = self.record("device", "bms:bmsD1").await?;
        record.links.iter().find(|link| link.system.as_str() == system).map(|link| link.rev)
    }

    /// Every decision, oldest first.
    async fn decisions(&self) -> Result<Vec<Decision>> {
        let page = self.orchestrator.store().decisions(&DecisionFilter::default(), None, 1000).await?;
        Ok(page.items.into_iter().rev().collect())
    }

    async fn told_since(&self, before: usize) -> Result<()> {
        for row in self.decisions().await?.iter().skip(before) {
            // What an adapter answers to a message is no news.
            if row.op != Op::Receipt {
                let kind = row.decision.as_str().replace('_', " ");
                let good = matches!(row.decision, DecisionKind::Accepted | DecisionKind::PartiallyAccepted);
                self.stage.decision(&kind, good, &explain::decision(row))?;
            }
        }
        Ok(())
    }

    async fn why(&self, field: &str) -> Result<()> {
        let store = self.orchestrator.store().as_ref();
        let record = self.record("device", "bms:bmsD1").await.context("it is known")?;
        let owed = find::owed(store, &record).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        for sentence in why::sentences(&record, &[FieldPath::name(field)], &owed) {
            self.stage.quote(&sentence)?;
        }
        Ok(())
    }

    /// What is in both databases.
    fn rows(&self) -> Result<()> {
        let mut rows = Vec::new();
        for device in self.bms.list::<bms::Device>()? {
            rows.push(row("bms", &device)?);
        }
        for sensor in self.bms.list::<bms::Sensor>()? {
            rows.push(row("bms", &sensor)?);
        }
        for device in self.oem.list::<oem::Device>()? {
            rows.push(row("oem", &device)?);
        }
        for sensor in self.oem.list::<oem::Sensor>()? {
            rows.push(row("oem", &sensor)?);
        }
        Ok(self.stage.table(&rows)?)
    }
}

/// A row of one of the databases: the system, its id, and its fields.
fn row(system: &str, row: &impl serde::Serialize) -> Result<[String; 3]> {
    let serde_json::Value::Object(mut fields) = serde_json::to_value(row)? else { bail!("a row is an object") };
    let id = fields.remove("id").and_then(|id| id.as_str().map(str::to_owned)).unwrap_or_default();
    let fields: Vec<String> = fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or("?")))
        .collect();
    Ok([system.to_owned(), id, fields.join("  ")])
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// A whole record of oem, read when it had applied so much.
fn export(device: &oem::Device, base: u64) -> serde_json::Value {
    serde_json::json!({
        "id": format!("export-{base}"), "system": "oem", "type": "device", "native_id": device.id, "base": base, "entity": device,
    })
}
