//! What is random, and what is signed with a key this process makes for itself at its start and tells nobody.

use std::fmt::Write as _;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of whatever must not be guessed.
const BYTES: usize = 32;

/// The name of something secret, by which it can be found and from which it can't be made.
pub type Digest = [u8; 32];

/// Why there is no randomness: the operating system has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoRandomness;

/// Random bytes, as hexadecimal digits.
pub fn random() -> Result<String, NoRandomness> {
    random_bytes::<BYTES>().map(|bytes| hex(&bytes))
}

/// Random bytes.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The key of this process.
#[derive(Clone)]
pub struct Seal(hmac::Key);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(***)")
    }
}

impl Seal {
    /// A new key.
    pub fn new() -> Result<Self, NoRandomness> {
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<BYTES>()?)))
    }

    /// The name of a secret. Whoever looks it up learns nothing from the time that takes: names can't be foreseen.
    pub fn digest(&self, purpose: &str, secret: &str) -> Digest {
        let mut digest = Digest::default();
        digest.copy_from_slice(self.tag(purpose, secret).as_ref());
        digest
    }

    /// A signature of a text, as hexadecimal digits.
    pub fn sign(&self, purpose: &str, text: &str) -> String {
        hex(self.tag(purpose, text).as_ref())
    }

    /// Whether a signature is that of the text; takes as long whatever is wrong with it.
    pub fn is_signed(&self, purpose: &str, text: &str, signature: &str) -> bool {
        let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pairs = signature.as_bytes().chunks(2).map(|pair| Some(nibble(*pair.first()?)? << 4 | nibble(*pair.get(1)?)?));
        // Longer ones are not even read.
        let Some(bytes) = pairs.take(BYTES + 1).collect::<Option<Vec<u8>>>() else { return false };
        hmac::verify(&self.0, message(purpose, text).as_bytes(), &bytes).is_ok()
    }

    fn tag(&self, purpose: &str, text: &str) -> hmac::Tag {
        hmac::sign(&self.0, message(purpose, text).as_bytes())
    }
}

/// No purpose has a NUL, so that what is signed for one is never right for another.
fn message(purpose: &str, text: &str) -> String {
    format!("{purpose}\0{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_right_for_one_text_one_purpose_and_one_process() {
        let (seal, other) = (Seal::new().unwrap(), Seal::new().unwrap());
        let signature = seal.sign("form", "a");
        assert_eq!(signature.len(), 64);
        assert!(seal.is_signed("form", "a", &signature));
        assert!(seal.is_signed("form", "a", &signature.to_uppercase()));
        for (purpose, text, wrong) in [("form", "b", signature.as_str()), ("session", "a", &signature), ("form", "a", &signature[..62])] {
            assert!(!seal.is_signed(purpose, text, wrong));
        }
        for wrong in ["", "zz", "0", &signature[1..], &format!("{signature}00"), &format!("{signature}é")] {
            assert!(!seal.is_signed("form", "a", wrong), "{wrong}");
        }
        assert!(!other.is_signed("form", "a", &signature));
        assert_ne!(seal.digest("x", "a"), other.digest("x", "a"));
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
