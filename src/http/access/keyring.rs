//! Tokens: looked at once with the dear hash they are kept by, then remembered under a name only this process can make.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use tokio::sync::Semaphore;

use super::secrets::{Digest, NoRandomness, Seal, random, random_bytes};
use super::tries::Tries;
use crate::config::{Role, Token};
use crate::domain::time::Timestamp;

/// How our tokens begin, so that people and scanners of repositories know one when they see it.
const PREFIX: &str = "syncline_";
/// Longest token, in bytes.
const TOKEN_MAX: usize = 512;
/// Tokens hashed at once, at most; each takes a thread, and some 20 MB.
const AT_ONCE: usize = 2;
/// How long a token waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(3);

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name in the file of tokens.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// What a token turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Somebody's.
    Known(Arc<Identity>),
    /// Nobody's.
    Unknown,
    /// It was not looked at; try again after this time.
    TooMany(Duration),
}

#[derive(Debug)]
struct Key {
    identity: Arc<Identity>,
    /// In the PHC string format; valid, as the configuration has checked.
    hash: String,
}

/// Every token there is, as hashes.
pub struct Keyring {
    keys: Vec<Arc<Key>>,
    seal: Seal,
    /// Right tokens that were seen, each by its name: never more than there are keys.
    known: Mutex<HashMap<Digest, Arc<Identity>>>,
    turns: Arc<Semaphore>,
    tries: Tries,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Keyring {
    /// The tokens of a file.
    pub fn new(tokens: &[Token], seal: Seal) -> Self {
        let key = |token: &Token| {
            let identity = Arc::new(Identity { name: token.name.clone(), role: token.role.clone() });
            Arc::new(Key { identity, hash: token.hash.reveal().to_owned() })
        };
        let keys = tokens.iter().map(key).collect();
        Self { keys, seal, known: Mutex::default(), turns: Arc::new(Semaphore::new(AT_ONCE)), tries: Tries::default() }
    }

    /// Whose token this is. A right one that was seen before costs next to nothing, however many wrong ones come.
    pub async fn check(&self, token: &str, peer: IpAddr, now: Timestamp) -> Checked {
        let digest = self.seal.digest("token", token);
        if let Some(identity) = self.known(&digest) {
            return Checked::Known(identity);
        }
        if let Some(wait) = self.tries.wait(peer, now) {
            return Checked::TooMany(wait);
        }
        let candidates = self.candidates(token);
        if candidates.is_empty() {
            self.tries.failed_alone(peer, now);
            return Checked::Unknown;
        }
        let Ok(Ok(turn)) = tokio::time::timeout(TURN_WITHIN, self.turns.clone().acquire_owned()).await else {
            return Checked::TooMany(Duration::from_secs(1));
        };
        // Meanwhile another request may have brought the same token, or many wrong ones.
        if let Some(identity) = self.known(&digest) {
            return Checked::Known(identity);
        }
        if let Some(wait) = self.tries.wait(peer, now) {
            return Checked::TooMany(wait);
        }
        // Whoever hangs up has tried all the same, and the hash keeps its turn to its end.
        self.tries.failed(peer, now);
        let secret = token.to_owned();
        let hash = move || {
            let _turn = turn;
            candidates.into_iter().find(|key| fits(&key.hash, &secret))
        };
        // A fault in the hash is no reason to let somebody in.
        let Ok(Some(key)) = tokio::task::spawn_blocking(hash).await else { return Checked::Unknown };
        self.tries.right(peer, now);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, key.identity.clone());
        Checked::Known(key.identity.clone())
    }

    fn known(&self, digest: &Digest) -> Option<Arc<Identity>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// The keys a token may be for: of ours, the one whose salt it names; of any other, all.
    fn candidates(&self, token: &str) -> Vec<Arc<Key>> {
        if token.is_empty() || token.len() > TOKEN_MAX {
            return Vec::new();
        }
        let salt = token.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).map(|(salt, _)| salt);
        let may = |key: &&Arc<Key>| salt.is_none_or(|salt| salt_of(&key.hash) == Some(salt));
        self.keys.iter().filter(may).cloned().collect()
    }
}

/// `$argon2id$v=19$m=…$SALT$HASH`
fn salt_of(hash: &str) -> Option<&str> {
    hash.rsplit('$').nth(1)
}

fn fits(hash: &str, token: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(token.as_bytes(), &hash).is_ok())
}

/// A new token and the hash to keep. The token names the hash's salt, which is no secret: so whoever brings one is compared
/// with one hash, not with all.
pub fn new_token() -> Result<(String, String), NoRandomness> {
    let salt = argon2::password_hash::SaltString::encode_b64(&random_bytes::<16>()?).map_err(|_| NoRandomness)?;
    let token = format!("{PREFIX}{salt}_{}", random()?);
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default());
    let hash = hasher.hash_password(token.as_bytes(), &salt).map_err(|_| NoRandomness)?.to_string();
    Ok((token, hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn now() -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000)
    }

    fn keyring() -> (Keyring, Vec<String>) {
        let made: Vec<_> = (0..2).map(|_| new_token().unwrap()).collect();
        let names = ["anna", "bms"];
        let roles = [Role::Operator, "adapter:bms".parse().unwrap()];
        let token = |n: usize| Token { name: names[n].to_owned(), role: roles[n].clone(), hash: Secret::new(made[n].1.clone()) };
        (Keyring::new(&[token(0), token(1)], Seal::new().unwrap()), made.into_iter().map(|(token, _)| token).collect())
    }

    #[tokio::test]
    async fn a_token_is_somebodys_and_is_remembered() {
        let (keyring, tokens) = keyring();
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        for (token, name) in tokens.iter().zip(["anna", "bms"]) {
            for _ in 0..2 {
                let Checked::Known(identity) = keyring.check(token, peer, now()).await else { panic!("{name} is known") };
                assert_eq!(identity.name, name);
            }
        }
        assert_eq!(keyring.known.lock().unwrap().len(), 2);
        let wrong = format!("{}0", &tokens[0][..tokens[0].len() - 1]);
        let other_salt = tokens[0].replace(&tokens[0][9..12], "abc");
        for wrong in [wrong.as_str(), &other_salt, "", "a word", &"x".repeat(600)] {
            if wrong != tokens[0] {
                assert_eq!(keyring.check(wrong, peer, now()).await, Checked::Unknown, "{wrong}");
            }
        }
        assert_eq!(keyring.known.lock().unwrap().len(), 2, "wrong tokens are not remembered");
    }

    #[tokio::test]
    async fn wrong_tokens_end_in_a_wait_and_right_ones_that_are_known_go_on() {
        let (keyring, tokens) = keyring();
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(matches!(keyring.check(&tokens[0], peer, now()).await, Checked::Known(_)));
        let mut answers = Vec::new();
        for n in 0..12 {
            answers.push(keyring.check(&format!("{PREFIX}nobody_{n}"), peer, now()).await);
        }
        assert_eq!(answers.iter().filter(|answer| **answer == Checked::Unknown).count(), 10);
        assert!(matches!(answers[11], Checked::TooMany(_)));
        assert!(matches!(keyring.check(&tokens[0], peer, now()).await, Checked::Known(_)));
        assert!(matches!(keyring.check(&tokens[1], peer, now()).await, Checked::TooMany(_)), "one that was never seen has to wait");
    }

    #[tokio::test]
    async fn whoever_hangs_up_has_tried_all_the_same() {
        let (keyring, tokens) = keyring();
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        for n in 0..10 {
            drop(keyring.turns.acquire().await);
            let wrong = format!("of no make at all {n}");
            // The hash has begun, and nobody waits for it.
            let hung_up = tokio::time::timeout(Duration::from_millis(1), keyring.check(&wrong, peer, now())).await;
            assert!(hung_up.is_err(), "a hash takes longer");
            assert!(keyring.turns.available_permits() < AT_ONCE, "it keeps its turn");
        }
        assert!(matches!(keyring.check(&tokens[0], peer, now()).await, Checked::TooMany(_)));
    }

    #[tokio::test]
    async fn a_right_token_does_not_count_as_tried() {
        let (keyring, tokens) = keyring();
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        for n in 0..9 {
            assert_eq!(keyring.check(&format!("{PREFIX}nobody_{n}"), peer, now()).await, Checked::Unknown);
        }
        for token in &tokens {
            assert!(matches!(keyring.check(token, peer, now()).await, Checked::Known(_)));
        }
        assert_eq!(keyring.check(&format!("{PREFIX}nobody_9"), peer, now()).await, Checked::Unknown);
    }

    /// As another program makes them.
    #[tokio::test]
    async fn a_token_of_other_make_is_taken() {
        let salt = argon2::password_hash::SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let params = Params::new(8 * 1024, 1, 1, None).unwrap();
        let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password(b"correct horse", &salt).unwrap().to_string();
        let token = Token { name: "anna".to_owned(), role: Role::Viewer, hash: Secret::new(hash) };
        let keyring = Keyring::new(&[token], Seal::new().unwrap());
        let peer: IpAddr = "::1".parse().unwrap();
        assert!(matches!(keyring.check("correct horse", peer, now()).await, Checked::Known(_)));
        assert_eq!(keyring.check("battery staple", peer, now()).await, Checked::Unknown);
    }
}
