//! The adapter: everything that has to do with Syncline.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use syncline_sdk::{Adapter, Credentials, Error, FileState, NativeModel, Outbound, Reading, Refusal};

use crate::database::{Bms, Device, Fields, Sensor};

/// How often the change feed is looked at.
const POLL: Duration = Duration::from_millis(50);

impl NativeModel for Device {
    const TYPE: &'static str = "device";

    fn native_id(&self) -> String {
        self.id.clone()
    }
}

impl NativeModel for Sensor {
    const TYPE: &'static str = "sensor";

    fn native_id(&self) -> String {
        self.id.clone()
    }
}

/// Keeps the database in sync by way of the broker at this address, until told to stop.
pub async fn run(bms: &Bms, url: &str, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    run_as(bms, url, &Credentials::from_env()?, stop).await
}

/// As [`run`], with these credentials.
pub async fn run_as(bms: &Bms, url: &str, credentials: &Credentials, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let state: PathBuf = bms.beside("sync");
    let adapter = Adapter::known(url, "bms", FileState::open(state)?, credentials)?;
    let [one, two, three, four, five, six] = [(); 6].map(|()| bms.clone());
    adapter.on(move |device: Device, message| answer(one.save::<Device>(&device.id, &changed(&message))));
    adapter.on(move |sensor: Sensor, message| answer(two.save::<Sensor>(&sensor.id, &changed(&message))));
    adapter.on_new::<Device>(move |_, message| answer(three.find_or_add::<Device>(&message.entity)));
    adapter.on_new::<Sensor>(move |_, message| answer(four.find_or_add::<Sensor>(&message.entity)));
    adapter.on_delete::<Device>(move |id: String, _| answer(five.remove::<Device>(&id)));
    adapter.on_delete::<Sensor>(move |id: String, _| answer(six.remove::<Sensor>(&id)));
    let told = async {
        stop.await;
        adapter.stop();
        std::future::pending().await
    };
    let work = async {
        // What people edited while this was away, before anything is written over it.
        report(bms, &adapter).await?;
        tokio::select! {
            ended = adapter.run() => Ok(ended?),
            fed = feed(bms, &adapter) => fed,
        }
    };
    tokio::select! {
        done = work => done,
        never = told => never,
    }
}

/// What changed, and nothing else (`writes = "changed"`): an edit somebody made here a moment ago in another field stays.
fn changed(message: &Outbound) -> Fields {
    let value = |name: &String| message.entity.get(name).cloned().unwrap_or_default();
    message.changed.iter().map(|name| (name.clone(), value(name))).collect()
}

/// What did not work may work later.
fn answer<T>(done: anyhow::Result<T>) -> impl Future<Output = Result<T, Refusal>> {
    std::future::ready(done.map_err(Refusal::failed))
}

async fn feed(bms: &Bms, adapter: &Adapter) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(POLL);
    loop {
        tick.tick().await;
        report(bms, adapter).await?;
    }
}

/// Reports every change, also those the broker asked for: that does no harm.
async fn report(bms: &Bms, adapter: &Adapter) -> anyhow::Result<()> {
    for change in bms.changes()? {
        let reading = adapter.reading().await?;
        let sent = match change.kind.as_str() {
            "device" => tell(reading, bms.find::<Device>(&change.id)?, &change.id).await,
            _ => tell(reading, bms.find::<Sensor>(&change.id)?, &change.id).await,
        };
        match sent {
            // The next start reports it.
            Err(Error::Stopped) => return Ok(()),
            // It would be refused again; the next change goes on.
            Err(refused @ Error::Refused { .. }) => eprintln!("{}: {refused}", change.id),
            sent => sent?,
        }
        bms.reported(change.n)?;
    }
    Ok(())
}

/// The row as it is now; one that is gone was deleted.
async fn tell<T: NativeModel>(reading: Reading, row: Option<T>, id: &str) -> Result<(), Error> {
    match row {
        Some(row) => reading.send(&row).await,
        None => reading.delete::<T>(id).await,
    }
}
