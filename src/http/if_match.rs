//! The state whoever asks has looked at: the header `If-Match`.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use super::Problem;

/// A tag from an `ETag`; `None` where nothing was said, or any state will do (`*`).
#[derive(Clone, Debug)]
pub struct IfMatch(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().map_err(|_| Problem::question("the tag can't be read").at("if-match"))?.trim();
        Ok(Self((text != "*").then(|| text.trim_start_matches("W/").trim_matches('"').to_owned())))
    }
}
