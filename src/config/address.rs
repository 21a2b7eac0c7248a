//! Where connection strings lead, as far as safety needs to know.

use std::net::IpAddr;
use std::path::Path;

use super::values::Secret;

/// Why a connection string must not be used as it is, with the remedy; none if it may.
///
/// `plain` and `secure` are the schemes (`amqp`, `amqps`). Plain text is for this machine only, unless `anywhere`. The answer never
/// quotes the string, which may hold a password. Use it for strings read from a file at start, too.
#[must_use]
pub fn refuse_address(url: &str, plain: &str, secure: &str, anywhere: bool) -> Option<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some(format!("is not an address; write {secure}://host"));
    };
    if scheme == secure {
        return None;
    }
    if scheme != plain {
        return Some(format!("must begin with {plain}:// or {secure}://"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    // MongoDB asks for encryption in the query, too.
    let encrypted = plain == "mongodb" && tail.split(['?', '&']).any(|option| matches!(option, "tls=true" | "ssl=true"));
    if anywhere || encrypted || hosts.split(',').all(is_loopback) {
        return None;
    }
    let remedy = match plain {
        "mongodb" => "use mongodb+srv:// or add tls=true, or allow_plain_text = true in a network of your own".to_owned(),
        "amqp" => "use amqps://, or allow_plain_text = true in a network of your own".to_owned(),
        _ => format!("use {secure}://"),
    };
    Some(format!("leaves this machine without encryption ({plain}://); {remedy}"))
}

/// The connection string of a section, or of the file it names. What stands in the configuration itself was checked with it.
///
/// Fails with what is wrong with the file, and never quotes what is in it.
pub(super) fn read(section: &str, url: Option<&Secret>, file: Option<&Path>, schemes: (&str, &str, bool)) -> Result<Secret, String> {
    let (plain, secure, anywhere) = schemes;
    match (url, file) {
        (Some(url), _) => Ok(url.clone()),
        (None, Some(path)) => {
            let named = |what: String| format!("[{section}] url_file {}: {what}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
            let url = text.trim();
            refuse_address(url, plain, secure, anywhere).map_or_else(|| Ok(Secret::new(url)), |refusal| Err(named(refusal)))
        }
        (None, None) => Err(format!("[{section}] needs \"url\" or \"url_file\"")),
    }
}

/// `host`, `host:port`, `[::1]:port`.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::refuse_address;

    #[test]
    fn plain_text_stays_on_this_machine() {
        for (url, refused) in [
            ("amqp://localhost", false),
            ("amqp://guest:guest@127.0.0.1:5672/vhost", false),
            ("amqp://[::1]:5672", false),
            ("amqps://mq.example.com", false),
            ("amqp://mq.example.com", true),
            ("amqp://localhost@mq.example.com/", true),
            ("amqp://localhost.example.com", true),
            ("amqp://", true),
            ("http://localhost", true),
            ("localhost:5672", true),
        ] {
            assert_eq!(refuse_address(url, "amqp", "amqps", false).is_some(), refused, "{url}");
        }
        assert_eq!(refuse_address("http://127.0.0.1:7171", "http", "https", false), None);
        let refused = refuse_address("http://sync.example.com", "http", "https", false).unwrap();
        assert_eq!(refused, "leaves this machine without encryption (http://); use https://");
        assert_eq!(refuse_address("amqp://mq.example.com", "amqp", "amqps", true), None);
        assert!(refuse_address("http://mq.example.com", "amqp", "amqps", true).is_some(), "only the encryption may be missing");
        for (url, refused) in [
            ("mongodb://localhost:27017,127.0.0.1:27018/db", false),
            ("mongodb://localhost,db.example.com", true),
            ("mongodb://db.example.com/?replicaSet=rs0&tls=true", false),
            ("mongodb://db.example.com/?tls=false", true),
            ("mongodb+srv://db.example.com", false),
        ] {
            assert_eq!(refuse_address(url, "mongodb", "mongodb+srv", false).is_some(), refused, "{url}");
        }
    }
}
