//! From text and environment to a [`Config`], or to everything that is wrong with them.

use std::collections::BTreeMap;
use std::path::Path;

use super::not_built::NOT_BUILT;
use super::problem::{ConfigErrors, KeyPath, Problem, Report};
use super::reader::{Field, Read};
use super::tree::{self, Node};
use super::{Config, not_built, validate};

/// The environment's variables, as far as they are text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

impl Config {
    /// Reads TOML text. `origin` names it in messages: the file's path.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ConfigErrors> {
        assemble(Some(text), origin, std::iter::empty(), NOT_BUILT)
    }

    /// Reads a file and lays `SYNCLINE__SECTION__KEY=value` variables over it.
    ///
    /// Variable names are case-insensitive. A value is read as TOML where it is TOML (`true`, `["a", "b"]`) and as text otherwise.
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        let origin = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => assemble(Some(&text), &origin, env, NOT_BUILT),
            Err(error) => {
                let problem = Problem { origin, line: None, path: String::new(), message: format!("cannot be read: {error}") };
                Err(ConfigErrors { problems: vec![problem], warnings: Vec::new() })
            }
        }
    }

    /// The zero configuration with the environment's variables laid over it, as in [`Config::load`].
    pub fn from_env(env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        assemble(None, "configuration", env, NOT_BUILT)
    }
}

pub(super) fn assemble(
    text: Option<&str>,
    origin: &str,
    env: impl Iterator<Item = (String, String)>,
    not_built: &[(&str, &[&str])],
) -> Result<Config, ConfigErrors> {
    let report = Report::new(origin);
    let mut root = text.map_or_else(Node::empty, |text| tree::parse(text, &report));
    let mut config = Config::default();
    // Half a file would only add problems that are none.
    if !report.has_errors() {
        tree::overlay(&mut root, env, &report);
        config = read(&root, &report);
        not_built::refuse(not_built, &root, &report);
        validate::validate(&config, &root, &report);
    }
    let (problems, warnings) = report.into_lists();
    if !problems.is_empty() {
        return Err(ConfigErrors { problems, warnings });
    }
    config.warnings = warnings;
    Ok(config)
}

fn read(root: &Node, report: &Report<'_>) -> Config {
    Config::read(&Field { report, path: KeyPath::default(), node: root }).unwrap_or_default()
}

impl Read for Config {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            unknown_systems: table.or("unknown_systems", usual.unknown_systems),
            broker: table.or("broker", usual.broker),
            store: table.or("store", usual.store),
            http: table.or("http", usual.http),
            limits: table.or("limits", usual.limits),
            orchestration: table.or("orchestration", usual.orchestration),
            entities: table.or("entities", BTreeMap::new()),
            systems: table.or("systems", BTreeMap::new()),
            warnings: Vec::new(),
        };
        table.finish();
        Some(read)
    }
}
