//! What is shown of the systems, where they lack much.

use std::time::Duration;

use syncline::backends::embedded::{Embedded, Options};
use syncline::config::Config;
use syncline::engine::settings::Settings;
use syncline::ports::store::{OutboxChange, Store};
use syncline::ports::testkit::sample::{batch, plan, record, system, write};
use syncline::views::systems::rows;

/// One system is owed more than is read at once before the other one is owed anything.
#[tokio::test]
async fn how_long_a_system_lacks_something_is_known_whatever_others_lack() {
    let folder = tempfile::tempdir().unwrap();
    let Embedded { store, broker, .. } = Embedded::open(folder.path(), &Options::default()).unwrap();
    let plans = (1..=1_500).map(|n| {
        let mut write = write(record(n, 1), None);
        let to = if n == 1_500 { "oem" } else { "bms" };
        write.outbox.push(OutboxChange::Due { system: system(to), rev: 1 });
        plan(write)
    });
    store.commit(&batch(plans.collect())).await.unwrap();
    let settings = Settings::compile(&Config::default());
    let tally = store.tally().await.unwrap();
    let now = record(1, 1).updated_at.plus(Duration::from_secs(90));
    let rows = rows(store.as_ref(), broker.as_ref(), &settings.rules, &tally, now).await.unwrap();
    let lags: Vec<_> = rows.iter().map(|row| (row.system.as_str(), row.pending, row.lag)).collect();
    assert_eq!(lags, [("bms", 1_499, 90), ("oem", 1, 90)]);
}
