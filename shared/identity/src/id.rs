//! Identifiers.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use process::Random;

use crate::Presented;

/// The text is not a hyphenated lower-case UUID (RFC 9562).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid identifier")]
pub struct IdError;

/// Parses only the spelling that [`fmt::Display`] writes. Braces, upper case and the form without hyphens are
/// refused, so that an identifier used as a key has only one spelling.
fn parse(text: &str) -> Result<Uuid, IdError> {
    let uuid = Uuid::try_parse(text).map_err(|_| IdError)?;
    let mut canonical = Uuid::encode_buffer();
    if uuid.hyphenated().encode_lower(&mut canonical) == text { Ok(uuid) } else { Err(IdError) }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// Returns the 128 bits.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }

            /// Creates the identifier with these 128 bits.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text).map(Self)
            }
        }

        /// Deserializes upper case too (RFC 9562 §4), because a client may send an id that a person typed.
        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.to_ascii_lowercase().parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

identifier! {
    /// Identifies a user: `sub` of a token. A UUIDv7, so that ids sort by registration time.
    UserId
}

identifier! {
    /// Identifies a session: `sid` of a token. A UUIDv4: 122 random bits.
    SessionId
}

identifier! {
    /// Identifies a token: `jti` (RFC 7519 §4.1.7). A UUIDv4.
    TokenId
}

identifier! {
    /// Identifies an email to be sent. A UUIDv7, so that a later email has a greater id.
    MailId
}

identifier! {
    /// Identifies a security event. A UUIDv7, so that a later event has a greater id.
    EventId
}

/// A UUIDv7 (RFC 9562 §5.7). Times before 1970 are treated as 1970, because a UUIDv7 cannot represent them.
fn ordered(now: Timestamp, random: &dyn Random) -> Uuid {
    with_tail(now, &random.bytes())
}

fn with_tail(at: Timestamp, tail: &[u8; 10]) -> Uuid {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, tail).into_uuid()
}

impl EventId {
    /// Creates an identifier for the millisecond of `now`.
    #[must_use]
    pub fn new(now: Timestamp, random: &dyn Random) -> Self {
        Self(ordered(now, random))
    }

    /// The lowest identifier for the millisecond of `at`: the lower bound of a time range.
    #[must_use]
    pub fn earliest(at: Timestamp) -> Self {
        Self(with_tail(at, &[0; 10]))
    }

    /// The identifier for a user, the kind of the presented name and the hour of `at`. It is the same during the whole
    /// hour. A user has at most one name of each kind, so an event with this id is recorded at most once an hour for
    /// each name.
    #[must_use]
    pub fn hourly(at: Timestamp, user: UserId, presented: &Presented) -> Self {
        let seconds = at.as_second();
        let hour = Timestamp::from_second(seconds - seconds.rem_euclid(3_600)).unwrap_or(at);
        let [_, _, _, _, _, _, mut tail @ ..] = user.to_bytes();
        tail[9] ^= u8::from(matches!(presented, Presented::Email(_)));
        Self(with_tail(hour, &tail))
    }

    /// The identifier for a session and the minute of `at`. It is the same during the whole minute, so an event that
    /// is recorded once for this identifier is recorded at most once a minute for each session. The ids of sessions are random, so it differs from the
    /// identifiers of all other events of the user.
    #[must_use]
    pub fn minutely(at: Timestamp, session: SessionId) -> Self {
        let seconds = at.as_second();
        let minute = Timestamp::from_second(seconds - seconds.rem_euclid(60)).unwrap_or(at);
        let [_, _, _, _, _, _, tail @ ..] = session.to_bytes();
        Self(with_tail(minute, &tail))
    }
}

impl MailId {
    /// Creates an identifier for the millisecond of `now`.
    #[must_use]
    pub fn new(now: Timestamp, random: &dyn Random) -> Self {
        Self(ordered(now, random))
    }
}

impl UserId {
    /// Creates an identifier for the millisecond of `now`.
    #[must_use]
    pub fn new(now: Timestamp, random: &dyn Random) -> Self {
        Self(ordered(now, random))
    }
}

impl SessionId {
    /// Creates a random identifier.
    #[must_use]
    pub fn new(random: &dyn Random) -> Self {
        Self(Builder::from_random_bytes(random.bytes()).into_uuid())
    }
}

impl TokenId {
    /// Creates a random identifier.
    #[must_use]
    pub fn new(random: &dyn Random) -> Self {
        Self(Builder::from_random_bytes(random.bytes()).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use process::SystemRandom;

    #[test]
    fn an_identifier_has_one_spelling() {
        let id = UserId::new(Timestamp::UNIX_EPOCH, &SystemRandom);
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for other in [
            text.to_uppercase(),
            text.replace('-', ""),
            format!("{{{text}}}"),
            format!("urn:uuid:{text}"),
            format!(" {text}"),
        ] {
            assert_eq!(other.parse::<UserId>(), Err(IdError), "{other}");
        }
    }

    #[test]
    fn upper_case_is_deserialized_too() {
        let text = "0190a0f0-7c3a-7abc-8def-0123456789ab";
        let id = |text: &str| serde_json::from_value::<UserId>(text.into()).ok();
        assert_eq!(id(&text.to_uppercase()), text.parse().ok());
        assert_eq!(id(text), text.parse().ok());
        assert_eq!(id(&text.replace('-', "")), None);
    }

    #[test]
    fn user_ids_sort_by_time() {
        let early = UserId::new(Timestamp::from_second(1_000).unwrap(), &SystemRandom);
        let late = UserId::new(Timestamp::from_second(1_001).unwrap(), &SystemRandom);
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn each_name_of_a_user_has_one_hourly_event_id() {
        let at = |second: i64| Timestamp::from_second(1_000_800 + second).unwrap();
        let [one, other] = [1, 2].map(|n| UserId::new(at(n), &SystemRandom));
        let [name, address] = ["name", "a@example.com"].map(|it| Presented::parse(it).unwrap());
        let id = EventId::hourly(at(0), one, &name);
        assert_eq!(id, EventId::hourly(at(3_599), one, &name));
        for different in [
            EventId::hourly(at(3_600), one, &name),
            EventId::hourly(at(0), other, &name),
            EventId::hourly(at(0), one, &address),
        ] {
            assert_ne!(id, different);
        }
        assert!(EventId::earliest(at(0)) <= id && id < EventId::earliest(at(1)));
    }

    #[test]
    fn a_session_has_one_minutely_event_id() {
        let at = |second: i64| Timestamp::from_second(1_000_800 + second).unwrap();
        let [one, other] = [(); 2].map(|()| SessionId::new(&SystemRandom));
        let id = EventId::minutely(at(0), one);
        assert_eq!(id, EventId::minutely(at(59), one));
        for different in [EventId::minutely(at(60), one), EventId::minutely(at(0), other)] {
            assert_ne!(id, different);
        }
        assert!(EventId::earliest(at(0)) <= id && id < EventId::earliest(at(1)));
    }

    #[test]
    fn uuid_versions_are_as_documented() {
        let version = |text: String| Uuid::parse_str(&text).unwrap().get_version_num();
        assert_eq!(version(UserId::new(Timestamp::UNIX_EPOCH, &SystemRandom).to_string()), 7);
        assert_eq!(version(EventId::earliest(Timestamp::UNIX_EPOCH).to_string()), 7);
        assert_eq!(version(SessionId::new(&SystemRandom).to_string()), 4);
        assert_eq!(version(TokenId::new(&SystemRandom).to_string()), 4);
    }
}
