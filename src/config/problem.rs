//! What is wrong with a configuration: collected, never thrown at the first, sorted by line.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// One thing to fix (or, as a warning, to think about).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, or `environment variable NAME`.
    pub origin: String,
    /// The line in that file, from 1; none for an environment variable or an unreadable file.
    pub line: Option<usize>,
    /// The key path, `systems.oem.receipts`; empty where the problem is the text itself.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that keeps a configuration from being used. Prints one problem per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The errors, in line order; at least one.
    pub problems: Vec<Problem>,
    /// What would only have been warned about, in line order.
    pub warnings: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Env(Arc<str>),
    /// Nowhere in particular: the file as a whole.
    Whole,
}

/// The way to a value through tables and lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<Step>);

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl KeyPath {
    pub(super) fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    pub(super) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    pub(super) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    let bare = !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-');
                    if bare { f.write_str(key)? } else { write!(f, "{key:?}")? }
                }
            }
        }
        Ok(())
    }
}

/// Collects problems while a configuration is read. Shared by reference, hence the cells.
#[derive(Debug)]
pub(super) struct Report<'a> {
    origin: &'a str,
    errors: RefCell<Vec<(Place, Problem)>>,
    warnings: RefCell<Vec<(Place, Problem)>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(origin: &'a str) -> Self {
        Self { origin, errors: RefCell::default(), warnings: RefCell::default() }
    }

    pub(super) fn error(&self, place: &Place, path: &KeyPath, message: impl Into<String>) {
        self.errors.borrow_mut().push((place.clone(), self.problem(place, path, message.into())));
    }

    pub(super) fn warning(&self, place: &Place, path: &KeyPath, message: impl Into<String>) {
        self.warnings.borrow_mut().push((place.clone(), self.problem(place, path, message.into())));
    }

    /// Whether something is already known to be wrong with the value at `path`.
    pub(super) fn has_error_at(&self, path: &KeyPath) -> bool {
        let path = path.to_string();
        self.errors.borrow().iter().any(|(_, problem)| problem.path == path)
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// Errors and warnings, each in line order; the environment comes after the file.
    pub(super) fn into_lists(self) -> (Vec<Problem>, Vec<Problem>) {
        (in_order(self.errors.into_inner()), in_order(self.warnings.into_inner()))
    }

    fn problem(&self, place: &Place, path: &KeyPath, message: String) -> Problem {
        let (origin, line) = match place {
            Place::Line(line) => (self.origin.to_owned(), Some(*line)),
            Place::Env(variable) => (format!("environment variable {variable}"), None),
            Place::Whole => (self.origin.to_owned(), None),
        };
        Problem { origin, line, path: path.to_string(), message }
    }
}

fn in_order(mut found: Vec<(Place, Problem)>) -> Vec<Problem> {
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found.into_iter().map(|(_, problem)| problem).collect()
}
