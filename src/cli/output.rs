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

/// Says something on stderr.
pub fn complain(line: &str) {
    // If stderr is closed, nobody is listening.
    let _ = writeln!(io::stderr(), "syncline: {line}");
}

/// Rows as columns of equal width.
pub fn aligned<const N: usize>(table: &[[String; N]]) -> String {
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    table.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn written(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure { code: 0, message: String::new() }),
        Err(error) => Err(Failure::new(DISK, format!("cannot write to stdout: {error}"))),
    }
}
