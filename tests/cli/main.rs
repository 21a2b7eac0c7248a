//! The real binary, on small files.

mod batch;
mod commands;
mod real_data;
mod support;
