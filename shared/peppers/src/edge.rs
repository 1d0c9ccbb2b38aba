//! The edge secret, which the proxy in front of the API sends with every request.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Pepper, Peppers};

/// The label of the subkey (`info` in RFC 5869). It must never change, or every proxy would be refused.
const LABEL: &[u8] = b"latchkey/v1/edge";

/// The edge secret derived from one pepper. The proxy gets the secret; functions get only its digest, so that a
/// function that reads no peppers can recognize the proxy but cannot derive any secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct EdgeSecret(String);

impl fmt::Debug for EdgeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeSecret")
    }
}

impl EdgeSecret {
    /// The value of the header that the proxy sends: 256 bits in base64url.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The SHA-256 digest of [`EdgeSecret::expose`], in hexadecimal. It is not a secret.
    fn digest(&self) -> String {
        hex::encode(digest::digest(&digest::SHA256, self.0.as_bytes()))
    }
}

impl Pepper {
    fn edge_secret(&self) -> EdgeSecret {
        EdgeSecret(URL_SAFE_NO_PAD.encode(*self.subkey(LABEL)))
    }
}

impl Peppers {
    /// The secret for the proxy, derived from the pepper in use.
    #[must_use]
    pub fn edge_secret(&self, now: Timestamp) -> EdgeSecret {
        self.in_use(now).edge_secret()
    }

    /// The digests of the secrets that functions accept, separated by commas. All peppers are included, so that the
    /// proxy can switch to the next secret at any time.
    #[must_use]
    pub fn edge_digests(&self) -> String {
        self.all().map(|pepper| pepper.edge_secret().digest()).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use process::{Clock, SystemClock, SystemRandom};

    use super::*;
    use crate::{ANNOUNCE_SECONDS, Purpose};

    /// Computes the secret step by step, as in RFC 5869. A changed derivation would lock the proxy out.
    #[test]
    fn the_derivation_does_not_change() {
        use aws_lc_rs::hmac;

        let json = format!(r#"{{"id":"1","secret":"{}"}}"#, "a".repeat(64));
        let peppers: Peppers = json.parse().unwrap();
        let salt = hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]);
        let prk = hmac::sign(&salt, "a".repeat(64).as_bytes());
        let mut info = b"latchkey/v1/edge".to_vec();
        info.push(1);
        let okm = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, prk.as_ref()), &info);
        let secret = peppers.edge_secret(SystemClock.now());
        assert_eq!(secret.expose(), URL_SAFE_NO_PAD.encode(okm));
    }

    #[test]
    fn the_digest_matches_sha256sum() {
        let secret = EdgeSecret("abc".to_owned());
        let sha256sum_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(secret.digest(), sha256sum_of_abc);
    }

    #[test]
    fn the_secrets_of_both_peppers_are_accepted_during_a_rotation() {
        let (start, kept) = (SystemClock.now(), SignedDuration::from_hours(24));
        let first = Peppers::generate("a", &SystemRandom);
        let both = first.with_new("b", start, kept, &SystemRandom).unwrap();
        let switched = start + SignedDuration::from_secs(ANNOUNCE_SECONDS);
        let [old, new] = [start, switched].map(|now| both.edge_secret(now).digest());
        assert_ne!(old, new);
        assert_eq!(both.edge_digests(), format!("{old},{new}"));
        assert_eq!(old, first.edge_secret(start).digest());
    }

    #[test]
    fn the_secret_is_not_a_refresh_token_mac_and_debug_does_not_show_it() {
        let peppers = Peppers::generate("a", &SystemRandom);
        let secret = peppers.edge_secret(SystemClock.now());
        let token = peppers.current(Purpose::RefreshToken, SystemClock.now());
        assert!(!token.verifies(b"", secret.expose().as_bytes()));
        assert_eq!(format!("{secret:?}"), "EdgeSecret");
    }
}
