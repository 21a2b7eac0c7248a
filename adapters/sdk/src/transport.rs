//! How requests reach the broker.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::{Credentials, Error};

/// Largest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Longest wait the broker may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// What the broker answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// How long to wait before the next try, if it says.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there was no answer. Whether the request arrived is not known.
#[derive(Debug, thiserror::Error)]
#[error("no answer from the broker: {0}")]
pub struct NoAnswer(pub String);

/// A way to the broker: [`Http`], or the broker of [`testing`](crate::testing).
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Posts JSON and waits for the answer, no longer than `within`.
    async fn post(&self, path: &str, body: Vec<u8>, within: Duration) -> Result<Answer, NoAnswer>;
}

/// The broker's HTTP edge.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<Connector, Full<Bytes>>,
    base: Uri,
    token: Option<HeaderValue>,
}

impl Http {
    /// The broker at this address: `http://127.0.0.1:7171`; `https://…` with the feature `tls`.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::with(url, &Credentials::default())
    }

    /// The broker at this address, with a token, or with certificates of your own.
    pub fn with(url: &str, credentials: &Credentials) -> Result<Self, Error> {
        let wrong = |why: &dyn fmt::Display| Error::Address(format!("{url:?} is no address of a broker: {why}"));
        let base: Uri = url.trim_end_matches('/').parse().map_err(|error: http::uri::InvalidUri| wrong(&error))?;
        match base.scheme_str() {
            Some("http") => {}
            Some("https") if cfg!(feature = "tls") => {}
            Some("https") => return Err(wrong(&"https needs the feature tls")),
            _ => return Err(wrong(&"it must start with http://")),
        }
        if let Some(refusal) = credentials.refuse(&base) {
            return Err(refusal);
        }
        let connector = connector(base.scheme_str() == Some("https"), credentials)?;
        let http = Self { client: Client::builder(TokioExecutor::new()).build(connector), base, token: None };
        match credentials.token() {
            Some(token) => http.token(token),
            None => Ok(http),
        }
    }

    /// Sends this token with every request.
    pub fn token(mut self, token: &str) -> Result<Self, Error> {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| Error::Address("the token can't be sent".into()))?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    fn request(&self, path: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let wrong = |error: &dyn fmt::Display| NoAnswer(format!("{path} can't be requested: {error}"));
        let mut parts = self.base.clone().into_parts();
        let path_and_query = format!("{}{path}", self.base.path().trim_end_matches('/'));
        parts.path_and_query = Some(PathAndQuery::try_from(path_and_query).map_err(|error| wrong(&error))?);
        let uri = Uri::from_parts(parts).map_err(|error| wrong(&error))?;
        let mut request = Request::post(uri).header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        request.body(Full::from(body)).map_err(|error| wrong(&error))
    }
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps, reason = "with TLS it can fail")]
fn connector(_: bool, _: &Credentials) -> Result<Connector, Error> {
    Ok(HttpConnector::new())
}

#[cfg(feature = "tls")]
fn connector(encrypted: bool, credentials: &Credentials) -> Result<Connector, Error> {
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ClientConfig, RootCertStore};

    let mut roots = RootCertStore::empty();
    if let Some(path) = credentials.ca_file() {
        let wrong = |error: &dyn fmt::Display| Error::Address(format!("can't read certificates (PEM) from {}: {error}", path.display()));
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
    } else if encrypted {
        // One that can't be used vouches for nobody; the others do.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Error::Address(format!("no encryption: {error}")))?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build())
}

#[async_trait]
impl Transport for Http {
    async fn post(&self, path: &str, body: Vec<u8>, within: Duration) -> Result<Answer, NoAnswer> {
        let request = self.request(path, body)?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| NoAnswer(with_sources(&error)))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| NoAnswer(error.to_string()))?;
            let seconds = parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
            Ok(Answer { status: parts.status.as_u16(), retry_after, body: body.to_bytes().to_vec() })
        };
        let late = |_| NoAnswer(format!("nothing came within {} s", within.as_secs()));
        tokio::time::timeout(within, exchange).await.map_err(late)?
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrong_address_says_why() {
        assert!(Http::new("localhost:7171").unwrap_err().to_string().contains("it must start with http://"));
        assert!(Http::new("ftp://localhost").is_err());
    }

    #[tokio::test]
    async fn a_path_in_the_address_stays() {
        let request = Http::new("http://localhost:1/sync/").unwrap().request("/v1/updates", Vec::new()).unwrap();
        assert_eq!(request.uri().to_string(), "http://localhost:1/sync/v1/updates");
        let request = Http::new("http://localhost:1").unwrap().request("/v1/updates", Vec::new()).unwrap();
        assert_eq!(request.uri().to_string(), "http://localhost:1/v1/updates");
    }

    #[tokio::test]
    async fn a_broker_that_is_not_there_gives_no_answer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let http = Http::new(&format!("http://{address}")).unwrap();
        assert!(http.post("/v1/updates", Vec::new(), Duration::from_secs(5)).await.is_err());
    }
}
