//! `status`: what is left to do; with `--wait-idle`, waits until nothing is.

use std::time::Duration;

use serde_json::Value;

use crate::cli::args::{Options, StatusArgs};
use crate::cli::client::Client;
use crate::cli::{Failure, output};

/// How often is looked again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs `status`.
pub async fn run(args: &StatusArgs, options: &Options) -> Result<(), Failure> {
    let client = Client::new(options)?;
    let until = args.wait_idle.map(|wait| tokio::time::Instant::now() + wait);
    loop {
        let status = client.get("/v1/status").await?;
        let idle = status["idle"] == Value::Bool(true);
        let over = until.is_none_or(|until| tokio::time::Instant::now() >= until);
        if idle || over {
            show(&status, options)?;
            return if idle || until.is_none() { Ok(()) } else { Err(Failure::absent("it did not come to rest in that time")) };
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn show(status: &Value, options: &Options) -> Result<(), Failure> {
    if options.json {
        return output::json(status);
    }
    let number = |field: &str| status[field].as_u64().unwrap_or(0);
    if status["idle"] == Value::Bool(true) {
        output::line("at rest: nothing to decide, nothing to send")?;
        return match number("kept_back") {
            0 => Ok(()),
            kept => output::line(format!("{kept} messages are kept back until somebody lets them go; see `syncline brakes`")),
        };
    }
    output::line(format!("{} to decide, {} to send, {} waiting updates are due", number("inbound"), number("pending"), number("due")))
}
