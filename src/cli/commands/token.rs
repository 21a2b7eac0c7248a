//! `token`: a new token, and the line that lets it in.

use serde_json::json;

use crate::cli::args::{Options, TokenArgs};
use crate::cli::{Failure, output};
use crate::config::checked_name;
use crate::http::access::new_token;

/// Runs `token`.
pub fn run(args: &TokenArgs, options: &Options) -> Result<(), Failure> {
    checked_name(&args.name).map_err(Failure::usage)?;
    let (token, hash) = new_token().map_err(Failure::internal)?;
    let line = format!("{} = {{ role = \"{}\", hash = \"{hash}\" }}", key(&args.name), args.role);
    if options.json {
        return output::json(&json!({ "name": args.name, "role": args.role.to_string(), "token": token, "line": line }));
    }
    output::complain("the token, which is shown only now:");
    output::line(&token)?;
    output::complain("the line to add to the file that [http.auth] tokens_file names:");
    output::line(line)
}

/// A name as TOML has it.
fn key(name: &str) -> String {
    let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if bare { name.to_owned() } else { toml::Value::String(name.to_owned()).to_string() }
}
