//! How an adapter proves to the broker who it is, and the broker to the adapter.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Error;

/// The environment's variables: the token, or a file with it; certificates; whether a token may be sent in the clear.
const TOKEN: &str = "SYNCLINE_TOKEN";
const TOKEN_FILE: &str = "SYNCLINE_TOKEN_FILE";
const CA_FILE: &str = "SYNCLINE_CA_FILE";

/// How an adapter proves who it is, and whom it believes. Default: it does not, and it believes whom the operating system does.
///
/// ```no_run
/// use syncline_sdk::{Adapter, Credentials, Http, MemoryState};
///
/// # fn main() -> Result<(), syncline_sdk::Error> {
/// let credentials = Credentials::from_env()?.with_token_file("/etc/syncline/bms.token")?;
/// let adapter = Adapter::with(Http::with("http://127.0.0.1:7171", &credentials)?, "bms", MemoryState::default());
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Credentials {
    token: Option<String>,
    ca_file: Option<PathBuf>,
    allow_plain_text: bool,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, ca_file, allow_plain_text } = self;
        let token = token.as_ref().map(|_| "***");
        f.debug_struct("Credentials").field("token", &token).field("ca_file", ca_file).field("allow_plain_text", allow_plain_text).finish()
    }
}

impl Credentials {
    /// Those of the environment: `SYNCLINE_TOKEN` or `SYNCLINE_TOKEN_FILE`, and `SYNCLINE_CA_FILE`.
    pub fn from_env() -> Result<Self, Error> {
        let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut credentials = Self { ca_file: given(CA_FILE).map(PathBuf::from), ..Self::default() };
        if let Some(path) = given(TOKEN_FILE) {
            credentials = credentials.with_token_file(PathBuf::from(path))?;
        } else if let Some(token) = given(TOKEN) {
            let token = token.into_string().map_err(|_| Error::Address(format!("{TOKEN} is no text")))?;
            credentials.token = Some(token.trim().to_owned());
        }
        Ok(credentials)
    }

    /// With this token.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// With the token in a file: one line with nothing else on it.
    pub fn with_token_file(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::Address(format!("can't read the token in {}: {error}", path.display())))?;
        Ok(self.with_token(text.trim()))
    }

    /// Believes whom the certificates (PEM) in this file vouch for, and nobody else. Needs the feature `tls`, or `amqp` for RabbitMQ.
    #[must_use]
    pub fn with_ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self { ca_file: Some(path.into()), ..self }
    }

    /// Whether the token may be sent to another machine without encryption. Default: no.
    #[must_use]
    pub const fn allow_plain_text(mut self, allow: bool) -> Self {
        self.allow_plain_text = allow;
        self
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    #[cfg(any(feature = "tls", feature = "amqp"))]
    pub(crate) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Why the token must not be sent there, if so.
    pub(crate) fn refuse(&self, base: &http::Uri) -> Option<Error> {
        let host = base.host().unwrap_or_default().trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let clear = self.token.is_some() && base.scheme_str() == Some("http") && !here && !self.allow_plain_text;
        clear.then(|| {
            Error::Address(format!("the token would leave this machine without encryption; use https://{host}, or allow plain text"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown_and_not_sent_in_the_clear() {
        let credentials = Credentials::default().with_token("canary");
        assert!(!format!("{credentials:?}").contains("canary"));
        let refused = |url: &str, credentials: &Credentials| credentials.refuse(&url.parse().unwrap()).is_some();
        assert!(refused("http://sync.example.com", &credentials));
        assert!(refused("http://192.168.0.7:7171", &credentials));
        for url in ["http://127.0.0.1:7171", "http://[::1]:7171", "http://localhost", "https://sync.example.com"] {
            assert!(!refused(url, &credentials), "{url}");
        }
        assert!(!refused("http://sync.example.com", &Credentials::default()));
        assert!(!refused("http://sync.example.com", &credentials.allow_plain_text(true)));
    }
}
