//! The two cookies there are: of a session, and of a log-in that is under way.

use axum::http::{HeaderMap, HeaderValue, header};

/// A cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// Of somebody who is logged in.
    Session,
    /// Of a browser that was shown the log-in page.
    LogIn,
}

impl Cookie {
    /// With TLS the name makes browsers insist that it came so, and from this very host.
    const fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Session, true) => "__Host-syncline",
            (Self::Session, false) => "syncline",
            (Self::LogIn, true) => "__Host-syncline-login",
            (Self::LogIn, false) => "syncline-login",
        }
    }

    /// Its value in a request, if it is there once.
    pub fn read(self, headers: &HeaderMap, secure: bool) -> Option<&str> {
        let name = self.name(secure);
        let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
        let mut own = all.filter_map(|pair| pair.trim().split_once('=')).filter(|(key, _)| *key == name).map(|(_, value)| value);
        let value = own.next().filter(|value| !value.is_empty())?;
        // Two of one name: somebody else may have put one there.
        own.next().is_none().then_some(value)
    }

    /// As it is given to a browser: until the browser ends, for this site only, out of reach of every script.
    pub fn set(self, value: &str, secure: bool) -> Option<HeaderValue> {
        self.header(value, secure, "")
    }

    /// Takes it away again.
    pub fn clear(self, secure: bool) -> Option<HeaderValue> {
        self.header("", secure, "; Max-Age=0")
    }

    fn header(self, value: &str, secure: bool, more: &str) -> Option<HeaderValue> {
        let only = if secure { "; Secure" } else { "" };
        let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Strict{only}{more}", self.name(secure));
        let mut header = HeaderValue::from_str(&text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str], secure: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, line.parse().unwrap());
        }
        Cookie::Session.read(&headers, secure).map(str::to_owned)
    }

    #[test]
    fn a_cookie_is_found_among_others_and_never_guessed() {
        assert_eq!(read(&["a=b; syncline=abc; syncline-login=x"], false).as_deref(), Some("abc"));
        assert_eq!(read(&["a=b", "__Host-syncline=abc"], true).as_deref(), Some("abc"));
        assert_eq!(read(&["syncline=abc"], true), None, "another site of this machine could have set it");
        assert_eq!(read(&["syncline=abc; syncline=def"], false), None);
        assert_eq!(read(&["syncline=", "xsyncline=1"], false), None);
    }

    #[test]
    fn a_cookie_is_for_this_site_and_no_script() {
        let plain = Cookie::Session.set("abc", false).unwrap();
        assert_eq!(plain.to_str().unwrap(), "syncline=abc; Path=/; HttpOnly; SameSite=Strict");
        let secure = Cookie::LogIn.clear(true).unwrap();
        assert_eq!(secure.to_str().unwrap(), "__Host-syncline-login=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0");
        assert!(!format!("{plain:?}").contains("abc"));
    }
}
