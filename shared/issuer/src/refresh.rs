//! Refresh tokens: `v1.<pepper id>.<sub>.<sid>.<counter>.<MAC>`.
//!
//! A token contains the id of its session and the number of times that the session had rotated when the token was
//! issued. A MAC proves that this service issued the token. No table contains the MAC's pepper, so a copy of the tables
//! is not enough to forge a token. The MAC is checked before anything is read or written, so a stranger who knows a
//! session id cannot rotate the session. The content of a token is not secret, and the same content always yields the
//! same token.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{SessionId, UserId};
use peppers::{MacKey, Peppers, Purpose};
use process::{Fault, FaultKind};

/// The maximum length of a refresh token, in bytes. Latchkey's own tokens are shorter than 130 bytes.
pub const MAX_REFRESH_TOKEN_BYTES: usize = 256;

/// The version of the format: the first part of a token.
const FORM: &str = "v1";

/// The prefix of the authenticated text. It must never change.
const LABEL: &str = "latchkey refresh token:";

/// The content of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// The user id.
    pub sub: UserId,
    /// The session id.
    pub sid: SessionId,
    /// The number of times that the session had rotated when the token was issued.
    pub counter: u64,
}

impl RefreshToken {
    /// Encodes the token for the client. The same content and `key` always yield the same token.
    #[must_use]
    pub fn sign(&self, key: &MacKey) -> String {
        let mut token = format!(
            "{FORM}.{}.{}.{}.{}",
            key.id(),
            encode(self.sub.to_bytes()),
            encode(self.sid.to_bytes()),
            encode(self.counter.to_be_bytes()),
        );
        let mac = key.mac(&message(&token));
        token.push('.');
        token.push_str(&encode(mac));
        token
    }

    /// Returns the content of `token` if this service issued it.
    ///
    /// # Errors
    /// When this service did not issue the token.
    pub fn verify(token: &str, peppers: &Peppers) -> Result<Self, RefreshTokenError> {
        if token.len() > MAX_REFRESH_TOKEN_BYTES {
            return Err(RefreshTokenError::Malformed);
        }
        let (signed, mac) = token.rsplit_once('.').ok_or(RefreshTokenError::Malformed)?;
        let mac = decode(mac)?;
        let members: Vec<_> = signed.split('.').collect();
        let [FORM, pepper, sub, sid, counter] = members[..] else {
            return Err(RefreshTokenError::Malformed);
        };
        let key =
            peppers.by_id(pepper, Purpose::RefreshToken).ok_or(RefreshTokenError::UnknownPepper)?;
        if !key.verifies(&message(signed), &mac) {
            return Err(RefreshTokenError::Mac);
        }
        Ok(Self {
            sub: UserId::from_bytes(bytes(sub)?),
            sid: SessionId::from_bytes(bytes(sid)?),
            counter: u64::from_be_bytes(bytes(counter)?),
        })
    }
}

fn message(signed: &str) -> Vec<u8> {
    [LABEL.as_bytes(), signed.as_bytes()].concat()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes base64url. Padding and nonzero spare bits are refused, so that a token has only one spelling.
fn decode(member: &str) -> Result<Vec<u8>, RefreshTokenError> {
    URL_SAFE_NO_PAD.decode(member).map_err(|_| RefreshTokenError::Malformed)
}

fn bytes<const N: usize>(member: &str) -> Result<[u8; N], RefreshTokenError> {
    decode(member)?.try_into().map_err(|_| RefreshTokenError::Malformed)
}

/// The reason why a refresh token was refused. It appears only in logs: clients learn only that the token is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshTokenError {
    /// The text does not have the form of a refresh token.
    Malformed,
    /// The token names an unknown pepper.
    UnknownPepper,
    /// The MAC is invalid, so this service did not issue the token.
    Mac,
}

impl fmt::Display for RefreshTokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the refresh token is malformed",
            Self::UnknownPepper => "the refresh token's pepper is unknown",
            Self::Mac => "the refresh token was not issued by this service",
        })
    }
}

impl std::error::Error for RefreshTokenError {}

impl Fault for RefreshTokenError {
    fn kind(&self) -> FaultKind {
        FaultKind::Unauthenticated
    }
}

#[cfg(test)]
mod tests {
    use process::{Clock, SystemClock, SystemRandom};

    use super::*;

    fn peppers() -> Peppers {
        Peppers::generate("v1", &SystemRandom)
    }

    fn key(peppers: &Peppers) -> MacKey {
        peppers.current(Purpose::RefreshToken, SystemClock.now())
    }

    fn refresh_token(counter: u64) -> RefreshToken {
        let sub = UserId::new(SystemClock.now(), &SystemRandom);
        RefreshToken { sub, sid: SessionId::new(&SystemRandom), counter }
    }

    #[test]
    fn a_token_round_trips_and_is_reproducible() {
        let peppers = peppers();
        for counter in [0, 1, u64::MAX] {
            let issued = refresh_token(counter);
            let token = issued.sign(&key(&peppers));
            assert_eq!(RefreshToken::verify(&token, &peppers), Ok(issued));
            assert_eq!(issued.sign(&key(&peppers)), token);
            assert!(token.len() < 130);
        }
    }

    #[test]
    fn a_token_altered_anywhere_is_refused() {
        let peppers = peppers();
        let token = refresh_token(7).sign(&key(&peppers));
        for at in 0..token.len() {
            for other in ["A", "B", "_", ".", "=", "\u{e9}"] {
                let mut altered = token.clone();
                altered.replace_range(at..=at, other);
                if altered != token {
                    assert!(RefreshToken::verify(&altered, &peppers).is_err(), "{at} {other}");
                }
            }
            assert!(RefreshToken::verify(&token[..at], &peppers).is_err(), "cut at {at}");
        }
        for altered in [
            format!("{token}="),
            format!("{token}A"),
            format!("{token}."),
            format!(" {token}"),
            format!("{token}\n"),
            token.replacen("v1", "v2", 1),
            token.repeat(3),
            String::new(),
            ".....".to_owned(),
        ] {
            assert!(RefreshToken::verify(&altered, &peppers).is_err(), "{altered}");
        }
    }

    /// In base64url, the last character of 8, 16 or 32 encoded bytes has spare bits, which must be zero.
    #[test]
    fn a_token_with_nonzero_spare_bits_is_refused() {
        let peppers = peppers();
        let token = refresh_token(7).sign(&key(&peppers));
        for (member, part) in token.split('.').enumerate().skip(2) {
            let last = part.as_bytes()[part.len() - 1];
            let next = format!("{}{}", &part[..part.len() - 1], char::from(last + 1));
            let altered: Vec<_> = token
                .split('.')
                .enumerate()
                .map(|(n, part)| if n == member { next.as_str() } else { part })
                .collect();
            assert!(RefreshToken::verify(&altered.join("."), &peppers).is_err(), "{member}");
        }
    }

    #[test]
    fn a_token_made_with_another_pepper_is_refused() {
        let (ours, other) = (peppers(), peppers());
        let token = refresh_token(7).sign(&key(&other));
        assert_eq!(RefreshToken::verify(&token, &ours), Err(RefreshTokenError::UnknownPepper));
        let renamed = token.replacen(key(&other).id(), key(&ours).id(), 1);
        assert_eq!(RefreshToken::verify(&renamed, &ours), Err(RefreshTokenError::Mac));
    }
}
