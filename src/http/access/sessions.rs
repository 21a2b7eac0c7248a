//! Who is logged in to the console. In memory: a restart logs everybody out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::keyring::Identity;
use super::secrets::{Digest, NoRandomness, Seal, random};
use crate::domain::time::Timestamp;

/// How long a session lasts that nobody uses.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// How long any session lasts.
const LASTS: Duration = Duration::from_secs(12 * 60 * 60);
/// Sessions of one name, at most; a new one ends the one that was used longest ago.
const OF_ONE: usize = 20;
/// Sessions at all, at most.
const OF_ALL: usize = 2_000;

#[derive(Clone, Debug)]
struct Session {
    identity: Arc<Identity>,
    began: Timestamp,
    used: Timestamp,
}

impl Session {
    fn lives(&self, now: Timestamp) -> bool {
        now.since(self.began) < LASTS && now.since(self.used) < IDLE
    }
}

/// Everybody who is logged in.
#[derive(Debug)]
pub struct Sessions {
    seal: Seal,
    /// By the name of the session's id: the id itself is in the browser's cookie and nowhere else.
    open: Mutex<HashMap<Digest, Session>>,
}

impl Sessions {
    /// Nobody yet.
    pub fn new(seal: Seal) -> Self {
        Self { seal, open: Mutex::default() }
    }

    /// Somebody has logged in; returns the id for the cookie.
    pub fn begin(&self, identity: &Arc<Identity>, now: Timestamp) -> Result<String, NoRandomness> {
        let id = random()?;
        let mut open = self.locked();
        open.retain(|_, session| session.lives(now));
        let own = |session: &Session| session.identity.name == identity.name;
        if open.values().filter(|session| own(session)).count() >= OF_ONE {
            drop_oldest(&mut open, own);
        }
        if open.len() >= OF_ALL {
            drop_oldest(&mut open, |_| true);
        }
        open.insert(self.digest(&id), Session { identity: identity.clone(), began: now, used: now });
        Ok(id)
    }

    /// Whose session this is, if it still lasts. Looking counts as use.
    pub fn find(&self, id: &str, now: Timestamp) -> Option<Arc<Identity>> {
        let digest = self.digest(id);
        let mut open = self.locked();
        let session = open.get_mut(&digest)?;
        if !session.lives(now) {
            open.remove(&digest);
            return None;
        }
        session.used = session.used.max(now);
        Some(session.identity.clone())
    }

    /// Whether a session still lasts; being asked is no use of it.
    pub fn lasts(&self, id: &str, now: Timestamp) -> bool {
        self.locked().get(&self.digest(id)).is_some_and(|session| session.lives(now))
    }

    /// Somebody has logged out.
    pub fn end(&self, id: &str) {
        self.locked().remove(&self.digest(id));
    }

    fn digest(&self, id: &str) -> Digest {
        self.seal.digest("session id", id)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Digest, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drop_oldest(open: &mut HashMap<Digest, Session>, of: impl Fn(&Session) -> bool) {
    let oldest = open.iter().filter(|(_, session)| of(session)).min_by_key(|(_, session)| session.used).map(|(digest, _)| *digest);
    if let Some(digest) = oldest {
        open.remove(&digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000).plus(Duration::from_secs(60 * minutes))
    }

    fn somebody(name: &str) -> Arc<Identity> {
        Arc::new(Identity { name: name.to_owned(), role: Role::Viewer })
    }

    #[test]
    fn a_session_ends_unused_after_half_an_hour_and_in_any_case_after_twelve() {
        let sessions = Sessions::new(Seal::new().unwrap());
        let id = sessions.begin(&somebody("anna"), at(0)).unwrap();
        assert_eq!(sessions.find(&id, at(29)).unwrap().name, "anna");
        assert!(sessions.lasts(&id, at(58)));
        assert!(sessions.find(&id, at(59)).is_none(), "30 minutes after its last use");
        let id = sessions.begin(&somebody("anna"), at(0)).unwrap();
        assert!((1..48).all(|n| sessions.find(&id, at(15 * n)).is_some()));
        assert!(sessions.find(&id, at(720)).is_none(), "however it is used");
        assert!(sessions.find("", at(0)).is_none() && sessions.find(&"0".repeat(64), at(0)).is_none());
    }

    #[test]
    fn who_logs_out_is_out() {
        let sessions = Sessions::new(Seal::new().unwrap());
        let (one, two) = (sessions.begin(&somebody("anna"), at(0)).unwrap(), sessions.begin(&somebody("anna"), at(0)).unwrap());
        sessions.end(&one);
        assert!(!sessions.lasts(&one, at(0)) && sessions.find(&one, at(0)).is_none());
        assert!(sessions.find(&two, at(0)).is_some());
    }

    #[test]
    fn nobody_pushes_anybody_else_out() {
        let sessions = Sessions::new(Seal::new().unwrap());
        let ben = sessions.begin(&somebody("ben"), at(0)).unwrap();
        let first = sessions.begin(&somebody("anna"), at(0)).unwrap();
        for _ in 0..OF_ONE {
            sessions.begin(&somebody("anna"), at(1)).unwrap();
        }
        assert!(!sessions.lasts(&first, at(1)));
        assert!(sessions.lasts(&ben, at(1)));
        assert_eq!(sessions.locked().len(), OF_ONE + 1);
        for n in 0..OF_ALL {
            sessions.begin(&somebody(&n.to_string()), at(2)).unwrap();
        }
        assert_eq!(sessions.locked().len(), OF_ALL);
    }
}
