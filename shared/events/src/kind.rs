//! The kinds of events.

use identity::{EmailStanding, Roles, SessionId};
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// The account was created.
    Registered,
    /// A user presented the right password, and a session began.
    Login {
        /// The new session.
        session_id: SessionId,
    },
    /// Someone presented a wrong password, or the right password while the account was disabled or logged out.
    LoginFailed,
    /// There were too many wrong passwords, so an attempt was refused. At most one such event is recorded per hour.
    Throttled,
    /// A superseded refresh token was used, and its session was ended.
    RefreshReuse {
        /// The session that was ended.
        session_id: SessionId,
    },
    /// One session or all sessions were ended.
    Logout {
        /// The session that was ended, or `None` if all sessions were ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_id: Option<SessionId>,
    },
    /// The password was changed by a signed-in user. All sessions ended, and a new one began.
    PasswordChanged {
        /// The new session.
        session_id: SessionId,
    },
    /// The password was set with an emailed code. All sessions ended.
    PasswordReset,
    /// The account's address was changed or removed, or its verification status changed.
    EmailChanged {
        /// Whether the address is verified.
        #[serde(rename = "email_verified", with = "verified")]
        standing: EmailStanding,
    },
    /// The account's roles changed.
    RolesChanged {
        /// The roles that the account has now.
        roles: Roles,
        /// The roles that it had before.
        previous_roles: Roles,
    },
    /// The account was disabled. All sessions ended.
    Disabled,
    /// The account was enabled again.
    Enabled,
    /// The account was deleted.
    Deleted,
    /// The owner's data was exported.
    Exported,
    /// Another key now signs tokens, or keys were revoked.
    KeyRotated {
        /// The key that signs now.
        key_id: String,
    },
}

impl Kind {
    /// The names of all kinds, in the order of [`Kind`].
    pub const NAMES: [&str; 15] = [
        "registered",
        "login",
        "login_failed",
        "throttled",
        "refresh_reuse",
        "logout",
        "password_changed",
        "password_reset",
        "email_changed",
        "roles_changed",
        "disabled",
        "enabled",
        "deleted",
        "exported",
        "key_rotated",
    ];

    /// The member `kind` of an event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Login { .. } => "login",
            Self::LoginFailed => "login_failed",
            Self::Throttled => "throttled",
            Self::RefreshReuse { .. } => "refresh_reuse",
            Self::Logout { .. } => "logout",
            Self::PasswordChanged { .. } => "password_changed",
            Self::PasswordReset => "password_reset",
            Self::EmailChanged { .. } => "email_changed",
            Self::RolesChanged { .. } => "roles_changed",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Deleted => "deleted",
            Self::Exported => "exported",
            Self::KeyRotated { .. } => "key_rotated",
        }
    }

    /// The members that only some kinds have.
    pub(crate) fn members(&self) -> Members<'_> {
        let none = Members::default();
        match self {
            Self::Login { session_id }
            | Self::RefreshReuse { session_id }
            | Self::PasswordChanged { session_id } => {
                Members { session_id: Some(*session_id), ..none }
            }
            Self::Logout { session_id } => Members { session_id: *session_id, ..none },
            Self::EmailChanged { standing } => {
                Members { email_verified: Some(verified::of(*standing)), ..none }
            }
            Self::RolesChanged { roles, previous_roles } => {
                Members { roles: Some(roles), previous_roles: Some(previous_roles), ..none }
            }
            Self::KeyRotated { key_id } => Members { key_id: Some(key_id), ..none },
            Self::Registered
            | Self::LoginFailed
            | Self::Throttled
            | Self::PasswordReset
            | Self::Disabled
            | Self::Enabled
            | Self::Deleted
            | Self::Exported => none,
        }
    }
}

/// The members that only some kinds have, for the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Members<'a> {
    pub(crate) session_id: Option<SessionId>,
    pub(crate) email_verified: Option<bool>,
    pub(crate) roles: Option<&'a Roles>,
    pub(crate) previous_roles: Option<&'a Roles>,
    pub(crate) key_id: Option<&'a str>,
}

/// Represents an `EmailStanding` as a boolean: whether the address is verified.
mod verified {
    use identity::EmailStanding;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn of(standing: EmailStanding) -> bool {
        standing == EmailStanding::Verified
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(
        standing: &EmailStanding,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(of(*standing))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<EmailStanding, D::Error> {
        Ok(if bool::deserialize(deserializer)? {
            EmailStanding::Verified
        } else {
            EmailStanding::Unverified
        })
    }
}

#[cfg(test)]
mod tests {
    use identity::Role;
    use process::SystemRandom;
    use serde_json::json;

    use super::*;

    /// One event of each kind.
    fn all() -> [Kind; Kind::NAMES.len()] {
        let session_id = SessionId::new(&SystemRandom);
        [
            Kind::Registered,
            Kind::Login { session_id },
            Kind::LoginFailed,
            Kind::Throttled,
            Kind::RefreshReuse { session_id },
            Kind::Logout { session_id: Some(session_id) },
            Kind::PasswordChanged { session_id },
            Kind::PasswordReset,
            Kind::EmailChanged { standing: EmailStanding::Unverified },
            Kind::RolesChanged {
                roles: Roles::from_iter([Role::User, Role::Admin]),
                previous_roles: Roles::default(),
            },
            Kind::Disabled,
            Kind::Enabled,
            Kind::Deleted,
            Kind::Exported,
            Kind::KeyRotated { key_id: "a-key".to_owned() },
        ]
    }

    #[test]
    fn every_kind_has_its_name_and_round_trips() {
        for (kind, name) in all().into_iter().zip(Kind::NAMES) {
            let json = serde_json::to_value(&kind).unwrap();
            assert_eq!((json["kind"].as_str(), kind.name()), (Some(name), name));
            assert_eq!(serde_json::from_value::<Kind>(json).unwrap(), kind);
        }
    }

    #[test]
    fn members_have_documented_names() {
        let json = |kind| serde_json::to_value::<Kind>(kind).unwrap();
        assert_eq!(json(Kind::Logout { session_id: None }), json!({"kind": "logout"}));
        let confirmed = Kind::EmailChanged { standing: EmailStanding::Verified };
        assert_eq!(json(confirmed), json!({"kind": "email_changed", "email_verified": true}));
        let [.., roles, _, _, _, _, _] = all();
        let expected = json!(
            {"kind": "roles_changed", "roles": ["user", "admin"], "previous_roles": []}
        );
        assert_eq!(json(roles), expected);
    }
}
