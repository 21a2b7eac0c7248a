//! One file per subject; the paths are in [`router`](super::router).

pub mod audit;
pub mod decisions;
pub mod entities;
pub mod events;
pub mod health;
pub mod holds;
pub mod identity;
pub mod lease;
pub mod people;
pub mod resync;
pub mod systems;
pub mod updates;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};

use super::{Api, Problem};

/// The state every route gets.
pub type Shared = State<Arc<Api>>;

/// Any path that does not exist.
pub async fn not_there(uri: Uri) -> Problem {
    Problem::absent(format!("there is nothing at {}", uri.path()))
}

/// A path that exists, with another method.
pub async fn not_that_way(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Not that way", detail)
}
