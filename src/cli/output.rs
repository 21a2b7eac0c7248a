//! Text and JSON on stdout. A reader that went away (`| head`) ends the command quietly.

use std::io::{self, Write};

use serde::Serialize;

use super::error::{DISK, Failure};

/// Writes a line to stdout.
pub fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    written(writeln!(io::stdout().lock(), "{}", text.as_ref()))
}

/// Writes a value as indented JSON.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value).map_err(Failure::internal)?)
}

fn written(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure { code: 0, message: String::new() }),
        Err(error) => Err(Failure::new(DISK, format!("cannot write to stdout: {error}"))),
    }
}
