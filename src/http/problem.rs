//! Errors as problem documents.

use std::fmt;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use crate::domain::change::Rejection;
use crate::ports::error::{PortError, PortErrorKind};
use crate::views::ViewError;

/// Bytes of what the server says by itself that are passed on at most.
const SAID_MAX: usize = 1_000;

/// What went wrong and what to do, as RFC 9457 has it.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// Names the kind of problem: `urn:syncline:error:` and a code that never changes.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of the kind.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, and what to do.
    pub detail: String,
    /// Which part of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Box<str>>,
    /// Each bad message of several, by its index.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Value>,
    /// What was decided already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Box<Value>>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(status: StatusCode, code: &str, title: &'static str, detail: impl fmt::Display) -> Self {
        let kind = format!("urn:syncline:error:{code}");
        Self { kind, title, status: status.as_u16(), detail: detail.to_string(), field: None, problems: Vec::new(), decision: None }
    }

    /// Something that is not there.
    pub fn absent(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not there", detail)
    }

    /// A request that makes no sense.
    pub fn question(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", "The request can't be understood", detail)
    }

    /// Says which part of the request.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into().into_boxed_str());
        self
    }

    fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code();
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Makes a problem document of every error of the interface that is none: those of the server itself, as of a body that is too large,
/// a path that can't be read, an answer that took too long.
pub(super) async fn complete(request: Request, next: Next) -> Response {
    let of_interface = request.uri().path().starts_with("/v1/");
    let response = next.run(request).await;
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !of_interface || !(status.is_client_error() || status.is_server_error()) || kind.starts_with("application/") {
        return response;
    }
    let said = axum::body::to_bytes(response.into_body(), SAID_MAX).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let (code, title, detail) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "Too much at once", "the body is too large; send less at once"),
        StatusCode::SERVICE_UNAVAILABLE => ("timeout", "It took too long", "no answer was found in time; try again later"),
        _ => ("bad_request", "The request can't be understood", said.trim()),
    };
    Problem::new(status, code, title, if detail.is_empty() { title } else { detail }).into_response()
}

impl From<&Rejection> for Problem {
    fn from(rejection: &Rejection) -> Self {
        let problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, &rejection.reason.to_string(), "The message can't be processed", &rejection.detail);
        Self { field: rejection.field.as_deref().map(Into::into), ..problem }
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        match error.kind {
            PortErrorKind::Full => Self::new(StatusCode::TOO_MANY_REQUESTS, "full", "Too much is waiting; try again later", error.message),
            PortErrorKind::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The store or the broker can't be reached; try again later",
                error.message,
            ),
            PortErrorKind::Invalid | PortErrorKind::Conflict(_) => {
                tracing::error!(error = %error, "a request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of Syncline or of its store", error.message)
            }
        }
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Absent(text) => Self::absent(text),
            ViewError::Question(text) => Self::question(text),
            ViewError::Port(error) => error.into(),
        }
    }
}
