//! Traces: what was decided and sent, as spans of the trace that the update came with.
//!
//! Only what names a `traceparent` is told. A decision is a span under the one the adapter named, each message that follows from it
//! a span under the decision. They are told with the feature `otel`, to where the standard variables of the environment say
//! (`OTEL_EXPORTER_OTLP_ENDPOINT` …); without one of them nobody is asked and nothing is told.

use crate::domain::time::Timestamp;
use crate::domain::trace::TraceParent;

/// Something that was done because of an update.
#[derive(Clone, Debug)]
pub struct Span {
    /// Itself.
    pub own: TraceParent,
    /// What it follows from.
    pub parent: TraceParent,
    /// What was done.
    pub name: &'static str,
    /// Whether it comes from outside, or goes there.
    pub inbound: bool,
    /// When it began.
    pub start: Timestamp,
    /// When it was done.
    pub end: Timestamp,
    /// What is known about it; no value of a record.
    pub attributes: Vec<(&'static str, String)>,
}

#[cfg(feature = "otel")]
pub use self::told::Spans;

/// Tells nobody.
#[cfg(not(feature = "otel"))]
#[derive(Debug)]
pub struct Spans;

#[cfg(not(feature = "otel"))]
#[expect(clippy::unused_async, reason = "as it is where somebody is told")]
impl Spans {
    /// Whether anybody is to be told.
    #[must_use]
    pub const fn are_wanted() -> bool {
        false
    }

    /// Begins to tell, if anybody is to be told.
    #[must_use]
    pub const fn start() -> Option<Self> {
        None
    }

    /// Notes a span.
    pub fn tell(&self, _: Span) {}

    /// Waits until what was noted is told.
    pub async fn told(&self) {}
}

#[cfg(feature = "otel")]
mod told {
    use std::time::Duration;

    use async_trait::async_trait;
    use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
    use opentelemetry::{InstrumentationScope, KeyValue};
    use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
    use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
    use tokio::sync::{mpsc, oneshot};

    use super::Span;
    use crate::domain::time::Timestamp;
    use crate::domain::trace::TraceParent;

    const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    /// Spans that may wait to be told. What comes on top of that is left out: traces never hold up an update.
    const WAITING_MAX: usize = 8192;
    /// Spans told at once.
    const AT_ONCE: usize = 512;
    /// How long a span may wait for others.
    const GATHER: Duration = Duration::from_millis(500);
    /// How long the end waits for the last ones.
    const END_WITHIN: Duration = Duration::from_secs(3);

    enum Message {
        Span(Box<Span>),
        Flush(oneshot::Sender<()>),
    }

    /// Tells a collector by OTLP over HTTP.
    #[derive(Debug)]
    pub struct Spans(mpsc::Sender<Message>);

    impl Spans {
        /// Whether the environment says who is to be told.
        #[must_use]
        pub fn are_wanted() -> bool {
            VARIABLES.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
        }

        /// Begins to tell, if the environment says whom.
        #[must_use]
        pub fn start() -> Option<Self> {
            if !Self::are_wanted() {
                return None;
            }
            let exporter = Client::new().and_then(|client| Ok(SpanExporter::builder().with_http().with_http_client(client).build()?));
            let mut exporter = match exporter {
                Ok(exporter) => exporter,
                Err(error) => {
                    tracing::error!(error = %error, "traces can't be told; going on without");
                    return None;
                }
            };
            let named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
            let resource = Resource::builder();
            exporter.set_resource(&if named { resource } else { resource.with_service_name("syncline") }.build());
            let (to, from) = mpsc::channel(WAITING_MAX);
            tokio::spawn(tell_all(exporter, from));
            Some(Self(to))
        }

        /// Notes a span. One that nobody records, or for which there is no room, is left out.
        pub fn tell(&self, span: Span) {
            if span.own.is_sampled() && self.0.try_send(Message::Span(Box::new(span))).is_err() {
                tracing::debug!("a span was left out; the collector is too slow");
            }
        }

        /// Waits until what was noted is told, for three seconds at most.
        pub async fn told(&self) {
            let (done, told) = oneshot::channel();
            let flush = async {
                if self.0.send(Message::Flush(done)).await.is_ok() {
                    let _ = told.await;
                }
            };
            let _ = tokio::time::timeout(END_WITHIN, flush).await;
        }
    }

    async fn tell_all(exporter: SpanExporter, mut from: mpsc::Receiver<Message>) {
        let mut wrong = false;
        while let Some(first) = from.recv().await {
            let (mut spans, mut flushed) = (Vec::new(), Vec::new());
            let until = tokio::time::Instant::now() + GATHER;
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Span(span) => spans.push(data(*span)),
                    Message::Flush(done) => {
                        flushed.push(done);
                        break;
                    }
                }
                if spans.len() >= AT_ONCE {
                    break;
                }
                next = tokio::time::timeout_at(until, from.recv()).await.unwrap_or_default();
            }
            if !spans.is_empty() {
                let outcome = exporter.export(spans).await;
                if let Some(error) = outcome.as_ref().err().filter(|_| !wrong) {
                    tracing::warn!(error = %error, "the collector does not take traces; this is said once until it does");
                }
                wrong = outcome.is_err();
            }
            for done in flushed {
                let _ = done.send(());
            }
        }
    }

    fn data(span: Span) -> SpanData {
        SpanData {
            span_context: context(span.own),
            parent_span_id: SpanId::from(span.parent.span()),
            parent_span_is_remote: span.inbound,
            span_kind: if span.inbound { SpanKind::Consumer } else { SpanKind::Producer },
            name: span.name.into(),
            start_time: time(span.start),
            end_time: time(span.end),
            attributes: span.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("syncline").with_version(env!("CARGO_PKG_VERSION")).build(),
        }
    }

    fn context(span: TraceParent) -> SpanContext {
        SpanContext::new(TraceId::from(span.trace()), SpanId::from(span.span()), TraceFlags::SAMPLED, false, TraceState::NONE)
    }

    fn time(at: Timestamp) -> std::time::SystemTime {
        std::time::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or_default())
    }

    /// The client that is there anyway.
    #[derive(Debug)]
    struct Client(reqwest::Client);

    impl Client {
        fn new() -> Result<Self, anyhow::Error> {
            let mut builder = reqwest::Client::builder();
            for certificate in rustls_native_certs::load_native_certs().certs {
                builder = builder.add_root_certificate(reqwest::Certificate::from_der(&certificate)?);
            }
            Ok(Self(builder.timeout(Duration::from_secs(10)).build()?))
        }
    }

    #[async_trait]
    impl HttpClient for Client {
        async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
            // An address may have a password in it.
            let answer = self.0.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut response = Response::builder().status(status).body(answer.bytes().await?)?;
            *response.headers_mut() = headers;
            Ok(response)
        }
    }
}
