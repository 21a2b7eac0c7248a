//! `[http]`: the API and the console.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::reader::{Field, Read};

/// The API and the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Address and port to listen on. Default: `127.0.0.1:7171`. Any address but this machine's own needs `[http.auth]`.
    pub listen: SocketAddr,
    /// Names of this machine that requests may ask for (`Host`), besides its addresses and `localhost`. Default: none.
    pub allowed_hosts: Vec<String>,
    /// Whether other machines may be served without encryption, because something before this one encrypts. Default: no.
    pub allow_plain_text: bool,
    /// Who may do what. Default: none; everybody on this machine may do everything.
    pub auth: Option<HttpAuth>,
    /// Encryption. Default: none; plain HTTP.
    pub tls: Option<HttpTls>,
}

/// `[http.auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAuth {
    /// The file with the tokens and their roles. No default.
    pub tokens_file: PathBuf,
}

/// `[http.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTls {
    /// The certificate chain, PEM. No default.
    pub cert_file: PathBuf,
    /// Its private key, PEM. No default.
    pub key_file: PathBuf,
}

impl Default for Http {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 7171));
        Self { listen, allowed_hosts: Vec::new(), allow_plain_text: false, auth: None, tls: None }
    }
}

impl Read for Http {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let usual = Self::default();
        let read = Self {
            listen: table.or("listen", usual.listen),
            allowed_hosts: table.or("allowed_hosts", usual.allowed_hosts),
            allow_plain_text: table.or("allow_plain_text", usual.allow_plain_text),
            auth: table.take("auth"),
            tls: table.take("tls"),
        };
        table.finish();
        Some(read)
    }
}

impl Read for HttpAuth {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let tokens_file = table.required("tokens_file");
        table.finish();
        Some(Self { tokens_file: tokens_file? })
    }
}

impl Read for HttpTls {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let (cert_file, key_file) = (table.required("cert_file"), table.required("key_file"));
        table.finish();
        Some(Self { cert_file: cert_file?, key_file: key_file? })
    }
}

impl Read for SocketAddr {
    fn read(field: &Field<'_>) -> Option<Self> {
        let text = field.text("an address and port such as \"127.0.0.1:7171\"")?;
        let read = text.parse().ok();
        if read.is_none() {
            field.error(format!("{text:?} is not an IP address with a port; write one such as \"127.0.0.1:7171\""));
        }
        read
    }
}
