//! Peppers, which are secrets outside the tables, and the keys derived from them.
//!
//! A copy of the tables is not enough to forge anything that a pepper authenticates. Each purpose has its own
//! key, derived by HKDF (RFC 5869) with a label, so a MAC for one purpose is invalid for every other.
//! [`Peppers::seal`] encrypts with a separate key, derived in the same way.
//!
//! Every pepper has an id, and several may be valid at once. A new one is announced for [`ANNOUNCE_SECONDS`] before its
//! first use, because functions do not all read the secret at the same moment. An old one is kept for as long as
//! anything made with it may be valid.

mod code;
mod edge;
mod mailed;
mod quarantine;
mod seal;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use code::{Code, CodeKind, CodeTag};
pub use edge::EdgeSecret;
use jiff::{SignedDuration, Timestamp};
pub use mailed::MailedCode;
use process::Random;
pub use quarantine::NameQuarantine;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// How long a pepper is known before its first use, in seconds. This is longer than the time for which a function
/// may use an old copy of the secret: 60 s, and 300 s more while the secret cannot be read.
pub const ANNOUNCE_SECONDS: i64 = 600;

/// The maximum number of peppers. A transaction that claims two names contains two checks for each pepper, and DynamoDB
/// limits it to 100 items.
const MAX_PEPPERS: usize = 32;

/// The minimum length of a pepper in characters of base64url: 192 bits.
const MIN_SECRET_CHARS: usize = 32;

/// The maximum length of a pepper's id, in characters.
const MAX_ID_CHARS: usize = 16;

/// The length of a MAC in bytes, which is the output length of SHA-256.
pub const MAC_BYTES: usize = 32;

/// The purpose of a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A refresh token.
    RefreshToken,
    /// An invitation, or another code that is stored as a MAC.
    Code,
    /// The database key of an attempt counter. Replacing the pepper resets the counters.
    Throttle,
    /// The token of a link in an email.
    MailLink,
    /// The digits in an email.
    MailDigits,
    /// The tombstone of a deleted account's name.
    Tombstone,
}

impl Purpose {
    /// The label of the subkey (`info` in RFC 5869). It must never change, or all existing MACs would become invalid.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::RefreshToken => b"latchkey/v1/refresh-token",
            Self::Code => b"latchkey/v1/code",
            Self::Throttle => b"latchkey/v1/throttle",
            Self::MailLink => b"latchkey/v1/mail-link",
            Self::MailDigits => b"latchkey/v1/mail-digits",
            Self::Tombstone => b"latchkey/v1/tombstone",
        }
    }
}

/// A pepper with its id and the time of its first use.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Pepper {
    id: String,
    secret: String,
    /// The time of its first use. The first pepper has none, because it is in use from the start.
    #[zeroize(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    starts_at: Option<Timestamp>,
}

/// The stored form of the peppers. CloudFormation's `GenerateSecretString` can generate the two members of the first
/// pepper. The later peppers are in `later`.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(flatten)]
    first: Pepper,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    later: Vec<Pepper>,
}

/// The peppers, oldest first.
#[derive(Clone)]
pub struct Peppers(Stored);

/// Shows only ids.
impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// The key of one purpose, derived from one pepper.
#[derive(Clone)]
pub struct MacKey {
    id: String,
    key: hmac::Key,
}

/// Shows only the pepper's id.
impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl MacKey {
    /// The id of the pepper.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Computes HMAC-SHA-256 (RFC 2104) over `message`.
    #[must_use]
    pub fn mac(&self, message: &[u8]) -> [u8; MAC_BYTES] {
        let tag = hmac::sign(&self.key, message);
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    /// Whether `mac` is the MAC of `message`. Compares in constant time.
    #[must_use]
    pub fn verifies(&self, message: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.key, message, mac).is_ok()
    }
}

impl Peppers {
    /// Creates a set with one new pepper.
    #[must_use]
    pub fn generate(version: &str, random: &dyn Random) -> Self {
        let first = Pepper::generate(None, random);
        Self(Stored { version: Some(version.to_owned()), first, later: Vec::new() })
    }

    /// Returns this set with another pepper, which comes into use once every function knows it. Drops the peppers that
    /// were replaced so long ago that nothing made with them is valid.
    ///
    /// `kept_for` is the maximum time for which anything made with a pepper is valid.
    ///
    /// # Errors
    /// When the newest pepper is not in use yet, or there are too many.
    pub fn with_new(
        &self,
        version: &str,
        now: Timestamp,
        kept_for: SignedDuration,
        random: &dyn Random,
    ) -> Result<Self, AddError> {
        if let Some(starts_at) = self.0.later.last().and_then(|last| last.starts_at)
            && starts_at > now
        {
            return Err(AddError::NotInUse { starts_at });
        }
        let announced = SignedDuration::from_secs(ANNOUNCE_SECONDS);
        let mut all: Vec<_> = self.all().cloned().collect();
        all.push(Pepper::generate(Some(now + announced), random));
        // A function with an old copy of the secret may use a replaced pepper for up to `ANNOUNCE_SECONDS`.
        let kept = kept_for.saturating_add(announced);
        let replaced = |next: &Pepper| {
            next.starts_at.is_some_and(|starts_at| now.duration_since(starts_at) > kept)
        };
        while all.len() > 1 && replaced(&all[1]) {
            all.remove(0);
        }
        if all.len() > MAX_PEPPERS {
            return Err(AddError::TooMany);
        }
        let first = all.remove(0);
        Ok(Self(Stored { version: Some(version.to_owned()), first, later: all }))
    }

    /// The set as JSON, to be stored only in the secret.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        Zeroizing::new(serde_json::to_string(&self.0).expect("peppers are JSON"))
    }

    /// The ids, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.all().map(|pepper| pepper.id.as_str())
    }

    /// The time at which the newest pepper comes into use, which may be in the past. `None` for the first pepper.
    #[must_use]
    pub fn begins_at(&self) -> Option<Timestamp> {
        self.0.later.last().and_then(|last| last.starts_at)
    }

    /// The key for new MACs.
    #[must_use]
    pub fn current(&self, purpose: Purpose, now: Timestamp) -> MacKey {
        self.in_use(now).key(purpose)
    }

    /// The key of the pepper `id`, or `None` if it is unknown.
    #[must_use]
    pub fn by_id(&self, id: &str, purpose: Purpose) -> Option<MacKey> {
        self.all().find(|pepper| pepper.id == id).map(|pepper| pepper.key(purpose))
    }

    /// The pepper in use.
    fn in_use(&self, now: Timestamp) -> &Pepper {
        let is_in_use =
            |pepper: &&Pepper| pepper.starts_at.is_none_or(|starts_at| starts_at <= now);
        self.0.later.iter().rev().find(is_in_use).unwrap_or(&self.0.first)
    }

    fn all(&self) -> impl Iterator<Item = &Pepper> {
        std::iter::once(&self.0.first).chain(&self.0.later)
    }
}

impl FromStr for Peppers {
    type Err = PepperError;

    fn from_str(json: &str) -> Result<Self, PepperError> {
        let peppers = Self(serde_json::from_str(json).map_err(|_| PepperError::Form)?);
        let mut ids: Vec<_> = peppers.ids().collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(PepperError::DoubleId);
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        for pepper in peppers.all() {
            if !(1..=MAX_ID_CHARS).contains(&pepper.id.len()) || !pepper.id.bytes().all(good) {
                return Err(PepperError::Id);
            }
            if pepper.secret.len() < MIN_SECRET_CHARS {
                return Err(PepperError::Short);
            }
        }
        Ok(peppers)
    }
}

impl Pepper {
    fn generate(starts_at: Option<Timestamp>, random: &dyn Random) -> Self {
        let secret = Zeroizing::new(random.bytes::<48>());
        Self {
            id: URL_SAFE_NO_PAD.encode(random.bytes::<6>()),
            secret: URL_SAFE_NO_PAD.encode(*secret),
            starts_at,
        }
    }

    fn key(&self, purpose: Purpose) -> MacKey {
        let subkey = self.subkey(purpose.label());
        MacKey { id: self.id.clone(), key: hmac::Key::new(hmac::HMAC_SHA256, &*subkey) }
    }

    /// Derives the key for the purpose with this label.
    fn subkey(&self, label: &[u8]) -> Zeroizing<[u8; MAC_BYTES]> {
        let mut subkey = Zeroizing::new([0; MAC_BYTES]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
            .extract(self.secret.as_bytes())
            .expand(&[label], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *subkey))
            .expect("HKDF can produce 32 bytes (RFC 5869 §2.3)");
        subkey
    }
}

/// The reason why no pepper can be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The newest pepper is not in use yet, and only one can be added at a time.
    #[error("the newest pepper comes into use at {starts_at}: no other can be added before then")]
    NotInUse {
        /// When the newest pepper comes into use.
        starts_at: Timestamp,
    },
    /// There are already as many peppers as permitted.
    #[error(
        "there are already {most} peppers: wait until the oldest one has been replaced for longer than \
         SESSION_ABSOLUTE_SECONDS and NAME_QUARANTINE_DAYS",
        most = MAX_PEPPERS
    )]
    TooMany,
}

/// The reason why a set of peppers is invalid. It reveals nothing about the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PepperError {
    /// The text is not JSON with the expected members.
    #[error("not a set of peppers")]
    Form,
    /// An id has a form that does not fit into a token.
    #[error("a pepper's id is not 1 to 16 characters of base64url")]
    Id,
    /// Two peppers have the same id.
    #[error("two peppers have the same id")]
    DoubleId,
    /// A pepper is too short to be a secret.
    #[error("a pepper is shorter than 32 characters")]
    Short,
}

#[cfg(test)]
mod tests {
    use process::{Clock, SystemClock, SystemRandom};

    use super::*;

    const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);

    fn now() -> Timestamp {
        SystemClock.now()
    }

    #[test]
    fn a_generated_secret_string_is_a_set_of_one_pepper() {
        let json = format!(r#"{{"id":"1","secret":"{}"}}"#, "a1B2".repeat(16));
        let peppers: Peppers = json.parse().unwrap();
        assert_eq!(peppers.current(Purpose::RefreshToken, now()).id(), "1");
        assert_eq!(peppers.ids().collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn a_mac_depends_on_message_and_pepper() {
        let (one, other) =
            (Peppers::generate("a", &SystemRandom), Peppers::generate("b", &SystemRandom));
        let key = one.current(Purpose::RefreshToken, now());
        let mac = key.mac(b"message");
        assert!(key.verifies(b"message", &mac));
        assert!(!key.verifies(b"messagf", &mac));
        assert!(!key.verifies(b"message", &mac[..31]));
        assert!(!key.verifies(b"message", b""));
        assert!(!other.current(Purpose::RefreshToken, now()).verifies(b"message", &mac));
    }

    /// Computes the subkey step by step, as in RFC 5869. A changed derivation would end every session.
    #[test]
    fn the_derivation_does_not_change() {
        let json = format!(r#"{{"id":"1","secret":"{}"}}"#, "a".repeat(64));
        let peppers: Peppers = json.parse().unwrap();
        let mac = peppers.current(Purpose::RefreshToken, now()).mac(b"message");
        let salt = hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]);
        let prk = hmac::sign(&salt, "a".repeat(64).as_bytes());
        let mut info = b"latchkey/v1/refresh-token".to_vec();
        info.push(1);
        let okm = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, prk.as_ref()), &info);
        let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, okm.as_ref()), b"message");
        assert_eq!(mac, expected.as_ref());
    }

    #[test]
    fn a_new_pepper_is_announced_before_use_and_the_old_one_is_kept() {
        let start = now();
        let first = Peppers::generate("a", &SystemRandom);
        let old = first.current(Purpose::RefreshToken, start);
        let both = first.with_new("b", start, KEPT, &SystemRandom).unwrap();
        let both: Peppers = both.to_json().parse().unwrap();
        assert_eq!(both.current(Purpose::RefreshToken, start).id(), old.id());
        assert!(both.with_new("c", start, KEPT, &SystemRandom).is_err(), "one at a time");
        let in_use_from = start + SignedDuration::from_secs(ANNOUNCE_SECONDS);
        let new = both.current(Purpose::RefreshToken, in_use_from);
        assert_ne!(new.id(), old.id());
        let mac = old.mac(b"m");
        let kept = both.by_id(old.id(), Purpose::RefreshToken).unwrap();
        assert!(kept.verifies(b"m", &mac));
        // The old pepper is kept for as long as anything made with it may be valid, and no longer.
        for (after, expected) in [(KEPT, 3), (KEPT + SignedDuration::from_hours(1), 2)] {
            let later = both.with_new("c", in_use_from + after, KEPT, &SystemRandom).unwrap();
            assert_eq!(later.ids().count(), expected, "{after:?}");
        }
    }

    /// Each pepper adds two checks to the transaction of a registration, whose size DynamoDB limits.
    #[test]
    fn no_more_than_32_peppers_are_kept() {
        let announced = SignedDuration::from_secs(ANNOUNCE_SECONDS);
        let (start, mut at) = (now(), now());
        let mut peppers = Peppers::generate("a", &SystemRandom);
        while peppers.ids().count() < MAX_PEPPERS {
            peppers = peppers.with_new("b", at, KEPT, &SystemRandom).unwrap();
            at += announced;
        }
        let refused = peppers.with_new("b", at, KEPT, &SystemRandom).unwrap_err();
        assert_eq!(refused, AddError::TooMany);
        assert!(refused.to_string().contains("already 32 peppers"), "{refused}");
        // Once the oldest one is no longer needed, another can be added.
        let later = start + announced + KEPT + announced + SignedDuration::from_secs(1);
        assert_eq!(peppers.with_new("b", later, KEPT, &SystemRandom).unwrap().ids().count(), 32);
    }

    #[test]
    fn invalid_peppers_are_refused_without_being_quoted() {
        let long = "s".repeat(40);
        for (json, expected) in [
            ("hush".to_owned(), PepperError::Form),
            (r#"{"id":"1"}"#.to_owned(), PepperError::Form),
            (r#"{"id":"1","secret":"hush"}"#.to_owned(), PepperError::Short),
            (format!(r#"{{"id":"a.b","secret":"{long}"}}"#), PepperError::Id),
            (format!(r#"{{"id":"","secret":"{long}"}}"#), PepperError::Id),
            (
                format!(
                    r#"{{"id":"1","secret":"{long}","later":[{{"id":"1","secret":"{long}"}}]}}"#
                ),
                PepperError::DoubleId,
            ),
        ] {
            let error = json.parse::<Peppers>().unwrap_err();
            assert_eq!(error, expected);
            assert!(!format!("{error} {error:?}").contains("hush"));
        }
    }

    #[test]
    fn a_mac_for_one_purpose_is_invalid_for_every_other() {
        let peppers = Peppers::generate("a", &SystemRandom);
        let [token, throttle] = [Purpose::RefreshToken, Purpose::Throttle]
            .map(|purpose| peppers.current(purpose, now()));
        assert!(!throttle.verifies(b"message", &token.mac(b"message")));
    }

    #[test]
    fn debug_shows_no_secret() {
        let peppers = Peppers::generate("a", &SystemRandom);
        let shown = format!("{peppers:?} {:?}", peppers.current(Purpose::RefreshToken, now()));
        assert!(!shown.contains(&peppers.0.first.secret));
    }
}
