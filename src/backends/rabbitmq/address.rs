//! Where RabbitMQ is, and how to sign in. Prints without what must stay secret.

use std::fmt;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPUri, SASLMechanism};

use crate::ports::error::{PortError, PortErrorKind};

const READ: &str = "read the address of RabbitMQ";
/// The client keeps 64 times as many bytes per connection in its buffers.
const FRAME_MAX: u32 = 32 * 1024;
/// Seconds between signs of life.
const HEARTBEAT: u16 = 10;

/// The address of a RabbitMQ server: `amqps://user:password@host:port/vhost`.
///
/// Certificates are given as in every client of RabbitMQ: `?cacertfile=…&certfile=…&keyfile=…`, PEM files. Without them the
/// system's own authorities are trusted.
#[derive(Clone)]
pub struct Address {
    uri: AMQPUri,
    tls: OwnedTLSConfig,
}

impl Address {
    /// Reads it.
    ///
    /// Fails with [`Invalid`](PortErrorKind::Invalid) if it is no address, or names files that cannot be read. The message
    /// never quotes it.
    pub fn parse(url: &str) -> Result<Self, PortError> {
        let url = url.trim();
        let invalid = |message: String| PortError::new(PortErrorKind::Invalid, READ, message);
        let mut uri: AMQPUri = url.parse().map_err(|_| invalid("it is none; write amqps://user:password@host/vhost".to_owned()))?;
        // The client takes a literal IPv6 address for none at all.
        if let Some(host) = ipv6_host(url) {
            host.clone_into(&mut uri.authority.host);
        }
        // `amqp://host/` is meant as `amqp://host`: nobody has a vhost without a name.
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        uri.query.frame_max = Some(uri.query.frame_max.unwrap_or(FRAME_MAX));
        uri.query.heartbeat = Some(uri.query.heartbeat.filter(|seconds| (1..=HEARTBEAT).contains(seconds)).unwrap_or(HEARTBEAT));
        let file = |name: &str| parameter(url, name).map(|path| read(name, &path)).transpose();
        let identity = match (file("certfile")?, file("keyfile")?) {
            (Some(pem), Some(key)) => Some(OwnedIdentity::PKCS8 { pem, key }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(invalid("certfile and keyfile belong together".to_owned())),
        };
        let chain = file("cacertfile")?.map(|pem| String::from_utf8_lossy(&pem).into_owned());
        Ok(Self { uri, tls: OwnedTLSConfig { identity, cert_chain: chain } })
    }

    /// The user it signs in as; none where a certificate says who it is, and the address does not say it, too.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        let by_certificate = self.uri.query.auth_mechanism.unwrap_or_default() == SASLMechanism::External;
        // What stands there if nobody was named.
        let named = self.uri.authority.userinfo.username.as_str();
        (!by_certificate || named != "guest").then_some(named)
    }

    /// The virtual host.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    pub(super) fn uri(&self) -> (AMQPUri, OwnedTLSConfig) {
        (self.uri.clone(), self.tls.clone())
    }
}

impl fmt::Display for Address {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        let host = &authority.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        write!(f, "{scheme}://{host}:{}/{}", authority.port, if vhost == "/" { "" } else { vhost })
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn ipv6_host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split_once(']').map(|(host, _)| host)
}

/// A parameter of the query. Paths are taken as they are written.
fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

fn read(name: &str, path: &str) -> Result<Vec<u8>, PortError> {
    std::fs::read(path).map_err(|error| PortError::new(PortErrorKind::Invalid, READ, format!("{name} {path}: {error}")).because(error))
}

#[cfg(test)]
mod tests {
    use super::Address;

    fn address(url: &str) -> Address {
        Address::parse(url).unwrap()
    }

    #[test]
    fn it_prints_without_credentials() {
        let address = address("amqps://bob:hunter2@mq.example.com/flow?cacertfile=/dev/null");
        assert_eq!(format!("{address} {address:?}"), "amqps://mq.example.com:5671/flow amqps://mq.example.com:5671/flow");
        for bad in ["bob:hunter2", "http://bob:hunter2@host", "amqp://bob:hunter2@host:port"] {
            let error = Address::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let error = Address::parse("amqps://bob:hunter2@host?cacertfile=/nowhere").unwrap_err();
        assert!(error.to_string().contains("cacertfile /nowhere") && !error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        assert_eq!(address("amqp://localhost").to_string(), "amqp://localhost:5672/");
        assert_eq!(address("amqp://localhost/").uri().0.vhost, "/");
        assert_eq!(address("amqp://a:b@[::1]:5673/x").to_string(), "amqp://[::1]:5673/x");
        let (uri, _) = address("amqp://localhost?heartbeat=0").uri();
        assert_eq!((uri.query.frame_max, uri.query.heartbeat), (Some(32_768), Some(10)));
        assert_eq!(address("amqp://localhost?heartbeat=2").uri().0.query.heartbeat, Some(2));
    }
}
