//! How the command line proves to an orchestrator who it is, and the orchestrator to it.

use std::path::Path;
use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::Failure;
use super::args::Options;
use crate::config::{Secret, refuse_address};

/// The environment's variable with the token.
const VARIABLE: &str = "SYNCLINE_TOKEN";

/// The token: of `--token-file`, else of the environment.
pub fn token(options: &Options) -> Result<Option<Secret>, Failure> {
    if let Some(path) = &options.token_file {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
        let token = text.trim();
        if token.is_empty() || token.contains(char::is_whitespace) {
            return Err(Failure::usage(format!("{} holds no token: one line with nothing else on it", path.display())));
        }
        return Ok(Some(Secret::new(token)));
    }
    let token = std::env::var(VARIABLE).unwrap_or_default();
    let token = token.trim();
    Ok((!token.is_empty()).then(|| Secret::new(token)))
}

/// Whether there is one.
pub fn has_token(options: &Options) -> bool {
    options.token_file.is_some() || std::env::var_os(VARIABLE).is_some_and(|token| !token.is_empty())
}

/// A client of the orchestrator at an address.
pub fn client(options: &Options, base: &str) -> Result<reqwest::ClientBuilder, Failure> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token(options)? {
        if let Some(refusal) = refuse_address(base, "http", "https", options.allow_plain_text) {
            return Err(Failure::usage(format!("the token is not shown to {base}, which {refusal}, or say --allow-plain-text")));
        }
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", token.reveal())).map_err(|_| Failure::usage("the token can't be sent"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let builder = reqwest::Client::builder().default_headers(headers);
    // In clear text only to the machine itself that is meant: no proxy in between.
    Ok(if base.starts_with("https://") {
        builder.use_preconfigured_tls(encryption(options.ca_file.as_deref())?)
    } else {
        builder.no_proxy()
    })
}

/// Who vouches for the orchestrator: the certificates in a file, else those of the operating system.
fn encryption(ca_file: Option<&Path>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let wrong =
            |error: &dyn std::fmt::Display| Failure::usage(format!("cannot read certificates (PEM) from {}: {error}", path.display()));
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"there is none in it"));
        }
    } else {
        // One that can't be used vouches for nobody; the others do.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let builder = builder.map_err(Failure::internal)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
