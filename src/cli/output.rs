//! Text and JSON on stdout. A reader that went away (`| head`) ends the command quietly.

use std::io::{self, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
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

/// Rows for whoever reads them: on a terminal as columns that fit it, else each row as the line `plain` makes of it, which
/// programs have got used to.
pub fn rows<T, const N: usize>(rows: &[T], cells: impl Fn(&T) -> [String; N], plain: impl Fn(&T) -> String) -> Result<(), Failure> {
    let table = fitted(&rows.iter().map(cells).collect::<Vec<_>>());
    if table.is_tty() && !rows.is_empty() { line(table.trim_fmt()) } else { rows.iter().try_for_each(|row| line(plain(row))) }
}

/// Rows as columns as wide as the terminal; the last column, which is text, is broken between words.
fn fitted<const N: usize>(rows: &[[String; N]]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if column.index + 1 < N {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

fn written(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure { code: 0, message: String::new() }),
        Err(error) => Err(Failure::new(DISK, format!("cannot write to stdout: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::fitted;

    #[test]
    fn rows_fit_and_nothing_is_lost() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let long = "price rose by more than a tenth, somebody has to look at it";
        let rows = [row(["bms:1", "review", long]), row(["oem:long-id", "parked", "short"])];
        for width in [50, 80, 200] {
            let shown = fitted(&rows).set_width(width).trim_fmt();
            assert!(shown.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}:\n{shown}");
            assert!(shown.contains("oem:long-id  parked  short"), "{width}:\n{shown}");
            assert!(long.split(' ').all(|word| shown.contains(word)), "{width}:\n{shown}");
        }
        assert_eq!(fitted(&rows).set_width(200).lines().count(), 2);
    }
}
