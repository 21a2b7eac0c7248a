//! The adapter: everything that has to do with Syncline.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use syncline_sdk::{Adapter, Error, FileState, Http, NativeModel, Refusal};

use crate::database::{Device, Oem, Sensor};

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
pub async fn run(oem: &Oem, url: &str, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let state: PathBuf = oem.beside("sync");
    let adapter = Adapter::with(Http::new(url)?, "oem", FileState::open(state)?);
    let [one, two, three, four] = [(); 4].map(|()| oem.clone());
    adapter.on(move |device: Device, _| answer(one.save(&device.id, &device)));
    adapter.on(move |sensor: Sensor, _| answer(two.save(&sensor.id, &sensor)));
    adapter.on_new(move |device: Device, _| answer(three.add(&device)));
    adapter.on_new(move |sensor: Sensor, _| answer(four.add(&sensor)));
    let told = async {
        stop.await;
        adapter.stop();
        std::future::pending().await
    };
    tokio::select! {
        ended = adapter.run() => Ok(ended?),
        fed = feed(oem, &adapter) => fed,
        never = told => never,
    }
}

/// What did not work may work later.
fn answer<T>(done: anyhow::Result<T>) -> impl Future<Output = Result<T, Refusal>> {
    std::future::ready(done.map_err(Refusal::failed))
}

/// Reports every change, also those the broker asked for: that does no harm.
async fn feed(oem: &Oem, adapter: &Adapter) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(POLL);
    loop {
        tick.tick().await;
        for change in oem.changes()? {
            let reading = adapter.reading().await?;
            let sent = match change.kind.as_str() {
                "device" => reading.send(&oem.get::<Device>(&change.id)?).await,
                _ => reading.send(&oem.get::<Sensor>(&change.id)?).await,
            };
            match sent {
                // It will be refused again; the next change goes on.
                Err(refused @ Error::Refused { .. }) => eprintln!("{}: {refused}", change.id),
                sent => sent?,
            }
            oem.reported(change.n)?;
        }
    }
}
