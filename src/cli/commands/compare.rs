//! `compare`: where a system really differs from what it should hold.

use serde_json::Value;

use crate::cli::args::{CompareArgs, Options};
use crate::cli::client::Client;
use crate::cli::source::escaped;
use crate::cli::{Failure, output};
use crate::domain::handler::shown;

const PAGE: usize = 500;

/// Runs `compare`.
pub async fn run(args: &CompareArgs, options: &Options) -> Result<(), Failure> {
    let client = Client::new(options)?;
    let of_type = args.entity_type.as_ref().map(|name| format!("&type={}", escaped(name))).unwrap_or_default();
    let (mut rows, mut cursor, mut more): (Vec<Value>, String, bool) = (Vec::new(), String::new(), true);
    while more && rows.len() < args.limit {
        let limit = PAGE.min(args.limit - rows.len());
        let path = format!("/v1/systems/{}/compare?limit={limit}{of_type}{cursor}", escaped(&args.system));
        let mut page = client.get(&path).await?;
        rows.extend(page["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
        more = page["next"].is_string();
        cursor = format!("&cursor={}", page["next"].as_str().unwrap_or_default());
    }
    if options.json {
        return output::json(&rows);
    }
    for row in &rows {
        output::line(line(&args.system, row))?;
    }
    match (rows.is_empty(), more) {
        (true, _) => output::line(format!("{} holds everything as it should", args.system)),
        (false, true) => output::line(format!("… and more; --limit says how many are shown ({} now)", rows.len())),
        (false, false) => Ok(()),
    }
}

fn line(system: &str, row: &Value) -> String {
    let text = |field: &str| row[field].as_str().unwrap_or("?").to_owned();
    let Some(native_id) = row["native_id"].as_str() else { return format!("{} {}: {system} lacks it", text("type"), text("canonical_id")) };
    let fields: Vec<String> = row["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|field| {
            format!("{} is {} there, {} here", field["field"].as_str().unwrap_or("?"), shown(&field["held"]), shown(&field["canonical"]))
        })
        .collect();
    format!("{} {native_id}: {}", text("type"), fields.join("; "))
}
