//! `topology`: what there has to be at the message broker.

use serde_json::json;

use crate::cli::args::{Options, TopologyArgs};
use crate::cli::{Failure, Host, output, stores};
use crate::views::topology::{Permission, Topology};

/// Runs `topology`.
pub async fn run(args: &TopologyArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let config = stores::config(options)?;
    if args.check {
        let wrong = (host.check_topology)(config).await?;
        if options.json {
            output::json(&json!({ "ok": wrong.is_empty(), "problems": wrong }))?;
        } else if wrong.is_empty() {
            output::line("ok: everything is there as it should be (bindings can't be looked at)")?;
        } else {
            output::line(wrong.join("\n"))?;
        }
        return if wrong.is_empty() { Ok(()) } else { Err(Failure::absent("see above for what is missing or different")) };
    }
    let Topology { objects, permissions, .. } = (host.topology)(&config)?;
    match (args.permissions, options.json) {
        (true, true) => output::json(&permissions),
        (true, false) => permissions.iter().try_for_each(|permission| output::line(commands(permission))),
        (false, true) => output::json(&objects),
        (false, false) => objects.iter().try_for_each(|object| output::line(&object.text)),
    }
}

/// The commands that give a user what it needs, and take all else.
fn commands(permission: &Permission) -> String {
    let Permission { user, purpose, vhost, configure, write, read, topic } = permission;
    let mut text = format!(
        "# {purpose}\nrabbitmqctl set_permissions -p {} {} {} {} {}",
        quoted(vhost),
        quoted(user),
        quoted(configure),
        quoted(write),
        quoted(read)
    );
    if let Some((exchange, keys)) = topic {
        let (vhost, user, exchange, keys) = (quoted(vhost), quoted(user), quoted(exchange), quoted(keys));
        text.push_str(&format!("\nrabbitmqctl set_topic_permissions -p {vhost} {user} {exchange} {keys} '^$'"));
    }
    text
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
