//! Who may come in, and what they may do there: tokens for programs, sessions for people at the console.
//!
//! Each route of the [table](super::table) has a door, which knows what the route needs. Without [http.auth] every door is
//! open, and only what a browser sends is looked at: a page must have come from here to change anything.

mod actor;
mod cookie;
mod door;
mod keyring;
mod needs;
mod secrets;
mod sessions;
mod tries;

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;

use crate::config::{Role, Tokens};
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;

use self::secrets::Seal;
use self::sessions::Sessions;

pub use self::actor::Actor;
pub use self::cookie::Cookie;
pub use self::door::{Door, Form, Peer, pass};
pub use self::keyring::{Checked, Identity, Keyring, new_token};
pub use self::needs::Needs;
pub use self::secrets::{NoRandomness, random};

/// What signatures of forms are for.
const FORM: &str = "form";
/// What the signature of a log-in form is for.
const LOG_IN: &str = "log-in";
/// What a form is bound to where nobody logs in.
const OPEN: &str = "everybody";

/// Who may come in.
#[derive(Debug)]
pub struct Access {
    keys: Option<Keyring>,
    sessions: Sessions,
    seal: Seal,
    clock: Arc<dyn Clock>,
    /// Whether browsers reach this by TLS.
    pub secure: bool,
}

impl Access {
    /// Those with a token; everybody, without.
    pub fn new(tokens: Option<&Tokens>, secure: bool, clock: Arc<dyn Clock>) -> Result<Self, NoRandomness> {
        let seal = Seal::new()?;
        let keys = tokens.map(|tokens| Keyring::new(&tokens.tokens, seal.clone()));
        Ok(Self { keys, sessions: Sessions::new(seal.clone()), seal, clock, secure })
    }

    /// Whether somebody has to prove who they are.
    #[must_use]
    pub const fn is_guarded(&self) -> bool {
        self.keys.is_some()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the pages of a browser send along with whatever changes something.
    fn csrf(&self, session: Option<&str>) -> String {
        self.seal.sign(FORM, session.unwrap_or(OPEN))
    }

    /// Whether a page sent what it should.
    #[must_use]
    pub fn is_from_here(&self, session: Option<&str>, csrf: &str) -> bool {
        self.seal.is_signed(FORM, session.unwrap_or(OPEN), csrf)
    }

    /// What the log-in form sends along, for a browser with this cookie.
    #[must_use]
    pub fn log_in_csrf(&self, cookie: &str) -> String {
        self.seal.sign(LOG_IN, cookie)
    }

    /// Whether the log-in form was shown to the browser that sends it.
    #[must_use]
    pub fn is_log_in_form(&self, headers: &HeaderMap, csrf: &str) -> bool {
        Cookie::LogIn.read(headers, self.secure).is_some_and(|cookie| self.seal.is_signed(LOG_IN, cookie, csrf))
    }

    /// Begins a session with a token; returns whose it is and the session's id.
    pub async fn log_in(&self, token: &str, peer: IpAddr) -> Result<(Arc<Identity>, String), LogIn> {
        let Some(keys) = &self.keys else { return Err(LogIn::Wrong) };
        let now = self.now();
        match keys.check(token, peer, now).await {
            Checked::Known(identity) if matches!(identity.role, Role::Adapter(_)) => Err(LogIn::Adapter),
            Checked::Known(identity) => {
                let id = self.sessions.begin(&identity, now)?;
                Ok((identity, id))
            }
            Checked::Unknown => Err(LogIn::Wrong),
            Checked::TooMany(wait) => Err(LogIn::TooMany(wait)),
        }
    }

    /// Ends a session.
    pub fn log_out(&self, session: &str) {
        self.sessions.end(session);
    }

    /// Whether a session that once was let in still lasts.
    #[must_use]
    pub fn lasts(&self, session: &str) -> bool {
        self.sessions.lasts(session, self.now())
    }
}

/// Why somebody is not logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogIn {
    /// Nobody has this token.
    Wrong,
    /// It is an adapter's, for which there is no page.
    Adapter,
    /// Too many were wrong; again after this time.
    TooMany(std::time::Duration),
    /// There is no session for it.
    Failed,
}

impl From<NoRandomness> for LogIn {
    fn from(_: NoRandomness) -> Self {
        Self::Failed
    }
}
