//! Encryption of the edge: the certificate and its key.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{ConfigErrors, HttpTls, Problem, open_to_all};

/// What the edge shows those who connect, and what is worth a thought about the files it is in.
pub fn server(tls: &HttpTls) -> Result<(Arc<ServerConfig>, Vec<Problem>), ConfigErrors> {
    let mut problems = Vec::new();
    let certificates = certificates(&tls.cert_file).map_err(|wrong| problems.push(wrong)).ok();
    let key = key(&tls.key_file).map_err(|wrong| problems.push(wrong)).ok();
    let warnings: Vec<Problem> = open_to_all(&tls.key_file).map(|warning| problem(&tls.key_file, warning)).into_iter().collect();
    let (Some(certificates), Some(key)) = (certificates, key) else { return Err(ConfigErrors { problems, warnings }) };
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let made = builder.and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key));
    match made {
        Ok(mut config) => {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok((Arc::new(config), warnings))
        }
        Err(error) => {
            let message = format!("and {} do not go together: {error}", tls.key_file.display());
            Err(ConfigErrors { problems: vec![problem(&tls.cert_file, message)], warnings })
        }
    }
}

fn problem(path: &Path, message: impl Display) -> Problem {
    Problem { origin: path.display().to_string(), line: None, path: String::new(), message: message.to_string() }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let wrong = |error: &dyn Display| problem(path, format!("cannot be read as certificates (PEM): {error}"));
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?.collect();
    let read = read.map_err(|error| wrong(&error))?;
    if read.is_empty() { Err(wrong(&"there is none in it")) } else { Ok(read) }
}

/// The message is made of what went wrong, never of what is in the file.
fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| problem(path, format!("cannot be read as a private key (PEM): {error}")))
}
