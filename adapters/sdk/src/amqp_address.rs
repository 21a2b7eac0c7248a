//! Where RabbitMQ is, and who signs in there.

use std::path::Path;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::ShortString;
use lapin::uri::{AMQPUri, SASLMechanism};

use crate::{Credentials, Error};

/// The client keeps 64 times as many bytes per connection in its buffers.
const FRAME_MAX: u32 = 32 * 1024;
/// Seconds between signs of life.
const HEARTBEAT: u16 = 10;

/// An address as the client takes it. It holds a password, so it is never printed.
pub(crate) struct Address {
    pub uri: AMQPUri,
    pub tls: OwnedTLSConfig,
    /// Who signs in, and so who is said to publish. Unknown where a certificate says it.
    pub user: Option<ShortString>,
}

impl Address {
    /// Reads `amqp://user:password@host/vhost` or `amqps://…`, with `?cacertfile=…&certfile=…&keyfile=…` (PEM, the key as PKCS #8)
    /// as the orchestrator takes it. The errors never quote it.
    pub fn parse(url: &str, credentials: &Credentials) -> Result<Self, Error> {
        let wrong = |text: &str| Error::Address(text.to_owned());
        if !(url.starts_with("amqp://") || url.starts_with("amqps://")) {
            return Err(wrong("the address of RabbitMQ must start with amqp:// or amqps://"));
        }
        let mut uri: AMQPUri =
            url.parse().map_err(|_| wrong("the address of RabbitMQ can't be read; write amqp://user:password@host/vhost"))?;
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
        let parameter = |name: &str| parameter(url, name);
        let identity = match (parameter("certfile"), parameter("keyfile")) {
            (Some(pem), Some(key)) => Some(OwnedIdentity::PKCS8 { pem: read(Path::new(pem))?, key: read(Path::new(key))? }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(wrong("certfile and keyfile belong together")),
        };
        let believes = credentials.ca_file().or(parameter("cacertfile").map(Path::new));
        let cert_chain = believes.map(read).transpose()?.map(|pem| String::from_utf8_lossy(&pem).into_owned());
        // Without a name the client says "guest".
        let by_certificate = uri.query.auth_mechanism.unwrap_or_default() == SASLMechanism::External;
        let user = (!by_certificate || uri.authority.userinfo.username != "guest").then(|| uri.authority.userinfo.username.clone());
        let user = user.map(|user| ShortString::try_new(user).map_err(|_| wrong("the user in the address of RabbitMQ is too long")));
        Ok(Self { user: user.transpose()?, tls: OwnedTLSConfig { identity, cert_chain }, uri })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Address(format!("can't read the certificates in {}: {error}", path.display())))
}

fn ipv6_host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split_once(']').map(|(host, _)| host)
}

/// A parameter of the query. Paths are taken as they are written.
fn parameter<'u>(url: &'u str, name: &str) -> Option<&'u str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    fn address(url: &str) -> Address {
        Address::parse(url, &Credentials::default()).unwrap()
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        assert_eq!(address("amqp://a:b@host/").uri.vhost, "/");
        assert_eq!(address("amqp://a:b@[::1]:5673/x").uri.authority.host, "::1");
        let uri = address("amqp://localhost?heartbeat=0").uri;
        assert_eq!((uri.query.frame_max, uri.query.heartbeat), (Some(32_768), Some(10)));
    }

    #[test]
    fn it_is_known_who_signs_in() {
        let user = |url: &str| address(url).user.map(|user| user.to_string());
        assert_eq!(user("amqp://bms:secret@127.0.0.1/works").as_deref(), Some("bms"));
        assert_eq!(user("amqp://b%20ms:secret@127.0.0.1").as_deref(), Some("b ms"), "as the server knows it");
        assert_eq!(user("amqp://127.0.0.1").as_deref(), Some("guest"), "whom a name is not given for");
        assert_eq!(user("amqps://host?auth_mechanism=external"), None, "the certificate says it");
        assert_eq!(user("amqps://bms@host?auth_mechanism=external").as_deref(), Some("bms"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, part) in [
            ("amqp://bms:hunter2@host:port", "can't be read"),
            ("bms:hunter2@host", "must start with"),
            ("amqps://bms:hunter2@host?certfile=/x.pem", "belong together"),
            ("amqps://bms:hunter2@host?cacertfile=/nowhere.pem", "/nowhere.pem"),
        ] {
            let refused = Address::parse(url, &Credentials::default()).err().unwrap().to_string();
            assert!(refused.contains(part) && !refused.contains("hunter2"), "{refused}");
        }
    }
}
