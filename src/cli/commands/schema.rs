//! `schema`: the contracts as JSON Schema.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::cli::args::SchemaArgs;
use crate::cli::{Failure, output};
use crate::schema::{self, Contract};

/// Runs `schema`.
pub fn run(args: &SchemaArgs) -> Result<(), Failure> {
    output::json(&args.which.map_or_else(schema::all, Contract::schema))
}

impl ValueEnum for Contract {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.title()))
    }
}
