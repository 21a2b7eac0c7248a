//! A story on the terminal: coloured and aligned there, plain in a pipe.

use std::io::IsTerminal;

use super::{Failure, output};

/// Where a story is told.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    coloured: bool,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

impl Stage {
    /// Stdout.
    #[must_use]
    pub fn stdout() -> Self {
        Self { coloured: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A line.
    pub fn say(&self, text: &str) -> Result<(), Failure> {
        output::line(text)
    }

    /// The heading of what comes.
    pub fn scene(&self, title: &str) -> Result<(), Failure> {
        output::line(format!("\n{}", self.paint(BOLD, title)))
    }

    /// A decision in a sentence.
    pub fn decision(&self, kind: &str, taken: bool, sentence: &str) -> Result<(), Failure> {
        let kind = self.paint(if taken { GREEN } else { YELLOW }, &format!("{kind:<18}"));
        output::line(format!("  {kind}  {}", sentence.replace('\n', "\n                      ")))
    }

    /// Something Syncline says.
    pub fn quote(&self, sentence: &str) -> Result<(), Failure> {
        output::line(format!("  {}", self.paint(CYAN, sentence)))
    }

    /// Rows: whose, which, what.
    pub fn table(&self, rows: &[[String; 3]]) -> Result<(), Failure> {
        for line in output::aligned(rows).lines() {
            output::line(format!("  {}", self.paint(DIM, line)))?;
        }
        Ok(())
    }
}
