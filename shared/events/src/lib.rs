//! Security events: what happened to an account or to the keys, when, and who caused it.
//!
//! A route describes its request as an [`Occasion`]. The code that carries out the action turns the occasion into
//! an [`Event`], records the event in the action's transaction, and then writes the event's line to the log.
//!
//! The names and members of events are a public interface, documented in `docs/events.md`.

mod kind;

use identity::{EventId, IdError, Network, UserId};
use jiff::{Timestamp, Unit};
pub use kind::Kind;
use process::Random;
use serde::{Deserialize, Serialize};

/// Something that happened to an account or to the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The ids of an account's events sort by time. The id of [`Kind::Throttled`] contains the start of the hour
    /// instead of the time.
    pub id: EventId,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
    /// The time of the event.
    pub at: Timestamp,
    /// Who caused the event.
    #[serde(default, skip_serializing_if = "Actor::is_owner")]
    pub by: Actor,
    /// Where the request came from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// The party that caused an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Actor {
    /// The owner of the account, or a stranger who acted as the owner.
    #[default]
    Owner,
    /// Another user.
    User(UserId),
    /// An operator with access to the database, or the service itself.
    Operator,
}

/// The name of [`Actor::Operator`].
const OPERATOR: &str = "operator";

impl Actor {
    fn is_owner(&self) -> bool {
        *self == Self::Owner
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        match actor {
            Actor::Owner => Self::new(),
            Actor::User(id) => id.to_string(),
            Actor::Operator => OPERATOR.to_owned(),
        }
    }
}

impl TryFrom<String> for Actor {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        match text.as_str() {
            "" => Ok(Self::Owner),
            OPERATOR => Ok(Self::Operator),
            id => id.parse().map(Self::User),
        }
    }
}

/// Where a request came from, as the user sees it in the list of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The client's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The client's description of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// A request that may cause an event: everything about the event except its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// The id that the event will have.
    pub id: EventId,
    /// The time of the event.
    pub at: Timestamp,
    /// Who makes the request.
    pub by: Actor,
    /// Where the request comes from.
    pub origin: Origin,
}

impl Occasion {
    /// Describes a request that an account's owner makes at `now`.
    #[must_use]
    pub fn new(now: Timestamp, random: &dyn Random, origin: Origin) -> Self {
        Self { id: EventId::new(now, random), at: whole_millis(now), by: Actor::Owner, origin }
    }

    /// Describes a command that an operator runs at `now`.
    #[must_use]
    pub fn of_operator(now: Timestamp, random: &dyn Random) -> Self {
        Self { by: Actor::Operator, ..Self::new(now, random, Origin::default()) }
    }

    /// Attributes this request to the user `actor`, who may act on another user's account.
    #[must_use]
    pub fn by(self, actor: UserId) -> Self {
        Self { by: Actor::User(actor), ..self }
    }

    /// The event that this request causes for the account `user`. Owners see the events of their accounts, so an event
    /// that another user caused does not contain the origin of the request.
    #[must_use]
    pub fn event(&self, user: UserId, kind: Kind) -> Event {
        let Self { id, at, by, origin } = self.clone();
        let by = if by == Actor::User(user) { Actor::Owner } else { by };
        let origin = if by == Actor::Owner { origin } else { Origin::default() };
        Event { id, kind, at, by, origin }
    }
}

/// Truncates a time to the precision of an id.
fn whole_millis(time: Timestamp) -> Timestamp {
    let millis = jiff::TimestampRound::new().smallest(Unit::Millisecond);
    time.round(millis.mode(jiff::RoundMode::Trunc)).unwrap_or(time)
}

impl Event {
    /// Reports that another key now signs tokens, or that keys were revoked. The event belongs to no account.
    #[must_use]
    pub fn of_keys(now: Timestamp, random: &dyn Random, key_id: &str) -> Self {
        let Occasion { id, at, by, origin } = Occasion::new(now, random, Origin::default());
        Self { id, kind: Kind::KeyRotated { key_id: key_id.to_owned() }, at, by, origin }
    }

    /// Writes the event's line to the log. `user` is the owner of the account, if the event belongs to one. The line
    /// contains neither the network nor the user agent, because these must never appear in the log.
    pub fn log(&self, user: Option<UserId>) {
        let members = self.kind.members();
        tracing::info!(
            event = "security_event",
            kind = self.kind.name(),
            event_id = %self.id,
            user_id = user.map(tracing::field::display),
            by = Some(self.by).filter(|by| !by.is_owner()).map(String::from),
            session_id = members.session_id.map(tracing::field::display),
            email_verified = members.email_verified,
            roles = members.roles.map(tracing::field::display),
            previous_roles = members.previous_roles.map(tracing::field::display),
            key_id = members.key_id,
            "security event"
        );
    }
}

#[cfg(test)]
mod tests {
    use process::{Clock, SystemClock, SystemRandom};
    use serde_json::json;

    use super::*;

    fn user() -> UserId {
        UserId::new(SystemClock.now(), &SystemRandom)
    }

    fn occasion() -> Occasion {
        let origin = Origin {
            network: Some("203.0.113.7".parse().unwrap()),
            user_agent: Some("curl/8.14.1".to_owned()),
        };
        Occasion::new("2026-11-25T23:16:47.290999Z".parse().unwrap(), &SystemRandom, origin)
    }

    #[test]
    fn an_event_is_a_flat_object_and_round_trips() {
        let (owner, admin) = (user(), user());
        let event = occasion().event(owner, Kind::PasswordReset);
        let json = serde_json::to_value(&event).unwrap();
        let expected = json!({
            "id": event.id,
            "kind": "password_reset",
            "at": "2026-11-25T23:16:47.29Z",
            "network": "203.0.113.7",
            "user_agent": "curl/8.14.1",
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
        // The owner must not learn where an administrator's request came from.
        let event = occasion().by(admin).event(owner, Kind::Disabled);
        let json = serde_json::to_value(&event).unwrap();
        let expected = json!({
            "id": event.id,
            "kind": "disabled",
            "at": "2026-11-25T23:16:47.29Z",
            "by": admin,
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
        let event = Occasion::of_operator(SystemClock.now(), &SystemRandom);
        let event = event.event(owner, Kind::Enabled);
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["by"], "operator");
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }

    #[test]
    fn an_actor_is_named_only_if_it_is_not_the_owner() {
        let owner = user();
        for event in [
            occasion().event(owner, Kind::PasswordReset),
            occasion().by(owner).event(owner, Kind::PasswordReset),
        ] {
            let json = serde_json::to_value(&event).unwrap();
            assert!(json.get("by").is_none(), "{json}");
            assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
        }
    }
}
