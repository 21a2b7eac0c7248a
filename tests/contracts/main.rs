//! The public contracts: schemas and documents say what the decoder takes, and what stands in `docs/` is what they say.
//! What `config/` holds for those who watch it names what is measured.

#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod agree;
mod asyncapi;
mod bad;
mod documents;
mod examples;
mod observability;
mod rows;
mod support;
