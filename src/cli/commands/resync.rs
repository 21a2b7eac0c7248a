//! `resync`: sends a system what it lacks.

use serde_json::{Value, json};

use crate::cli::args::{Options, ResyncArgs};
use crate::cli::client::Client;
use crate::cli::source::{escaped, login_name};
use crate::cli::{Failure, output};

/// Runs `resync`.
pub async fn run(args: &ResyncArgs, options: &Options) -> Result<(), Failure> {
    let client = Client::new(options)?;
    let by = login_name(args.by.as_deref(), options);
    let request = json!({ "type": args.entity_type, "everything": args.everything, "by": by, "dry_run": args.dry_run });
    let verb = if args.dry_run { "would be sent" } else { "is being sent" };
    let Some(system) = &args.system else {
        let answer = client.post("/v1/resync", &request).await?;
        if options.json {
            return output::json(&answer);
        }
        let lines = answer["systems"].as_object().into_iter().flatten().map(|(system, sends)| (system, json!({ "sends": sends })));
        return lines.map(|(system, sends)| self::sends(system, &sends, verb)).try_for_each(output::line);
    };
    let answer = client.post(&format!("/v1/systems/{}/resync", escaped(system)), &request).await?;
    if options.json { output::json(&answer) } else { output::line(sends(system, &answer, verb)) }
}

/// What goes to a system, in a sentence.
pub fn sends(system: &str, answer: &Value, verb: &str) -> String {
    let [creates, updates, conflicts] = ["creates", "updates", "conflicts"].map(|name| answer["sends"][name].as_u64().unwrap_or(0));
    if creates + updates == 0 {
        return format!("{system} {verb} nothing: it lacks nothing");
    }
    let plural = |count: u64, name: &str| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
    let replaced = match conflicts {
        0 => String::new(),
        1 => ", 1 of them replaces a value it holds".to_owned(),
        many => format!(", {many} of them replace values it holds"),
    };
    format!("{system} {verb} {} and {}{replaced}", plural(creates, "create"), plural(updates, "update"))
}
