//! Scenes for the configuration: what is accepted, what it means, and what people are told.

mod accepted;
mod refused;

use super::{Config, Problem};

fn config(text: &str) -> Config {
    Config::from_toml(text, "t.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

/// The messages of a refused configuration, one per line.
fn errors(text: &str) -> String {
    Config::from_toml(text, "t.toml").expect_err("refused").to_string()
}

fn warnings(text: &str) -> Vec<String> {
    config(text).warnings.iter().map(Problem::to_string).collect()
}

fn env<'a>(variables: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (String, String)> + 'a {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
}
