//! Types for the items of the users' table.

use std::collections::HashMap;

use auth::LiveSession;
use aws_sdk_dynamodb::types::AttributeValue;
use identity::{
    Account, Attributes, Authentication, Email, EmailStanding, Method, Methods, Network, Revision,
    Roles, SessionEpoch, Standing, UserId, Username,
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::StoreError;
use crate::key::Key;

/// The attributes of an item.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A type of item.
///
/// The compiler generates the code of generic and async functions in every program that calls them. The methods that
/// [`stored_items!`] implements are neither, so their code is generated once, in this crate.
pub(crate) trait StoredItem: Sized {
    /// Parses an item. Ignores the key and any attributes that a later version has added.
    fn parse(attributes: Item) -> Result<Self, StoreError>;

    /// Converts an item and its key to attributes.
    fn with_key(&self, key: Key) -> Result<Item, StoreError>;
}

/// Implements [`StoredItem`] for types that serde can serialize and deserialize.
macro_rules! stored_items {
    ($($item:ty),*) => {
        $(
            impl $crate::item::StoredItem for $item {
                fn parse(attributes: $crate::item::Item) -> Result<Self, $crate::StoreError> {
                    serde_dynamo::from_item(attributes).map_err($crate::StoreError::unusable)
                }

                fn with_key(
                    &self,
                    key: $crate::key::Key,
                ) -> Result<$crate::item::Item, $crate::StoreError> {
                    let attributes = serde_dynamo::to_item(self);
                    let mut attributes: $crate::item::Item =
                        attributes.map_err($crate::StoreError::unusable)?;
                    attributes.extend(key.attributes());
                    Ok(attributes)
                }
            }
        )*
    };
}

pub(crate) use stored_items;

stored_items!(AccountItem, ClaimItem, PasswordItem, SessionItem);

/// The stored form of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccountItem {
    id: UserId,
    username: Username,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<Email>,
    email_verified: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending_email: Option<Email>,
    roles: Roles,
    created_at: Timestamp,
    disabled: bool,
    #[serde(rename = "ver")]
    epoch: SessionEpoch,
    /// The epoch in which the password was set: see [`PasswordEpoch`].
    #[serde(rename = "password_ver", default, skip_serializing_if = "PasswordEpoch::is_absent")]
    password_epoch: PasswordEpoch,
    /// JSON text. Absent if the account has no attributes.
    #[serde(default, with = "json_text", skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes,
    /// Absent if an older version created the account and nothing has changed since.
    #[serde(default, skip_serializing_if = "is_none")]
    revision: Revision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_login_at: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(revision: &Revision) -> bool {
    *revision == Revision::NONE
}

/// Attributes as JSON text. A DynamoDB map would alter some numbers that JSON can express.
mod json_text {
    use identity::Attributes;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        attributes: &Attributes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&attributes.to_json())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Attributes, D::Error> {
        Attributes::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The epoch in which a password was set. It is stored both in the account's item and in the password's item,
/// and each password change raises the epoch and writes both in one transaction. If the values read from the two
/// items differ, the password was changed between the reads. For an account created by an older version, both
/// items lack the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordEpoch(Option<SessionEpoch>);

impl PasswordEpoch {
    /// The value for a password that is set in `epoch`.
    #[must_use]
    pub fn of(epoch: SessionEpoch) -> Self {
        Self(Some(epoch))
    }

    /// The epoch. `None` for a password that an older version has set.
    #[must_use]
    pub fn epoch(self) -> Option<SessionEpoch> {
        self.0
    }

    fn is_absent(&self) -> bool {
        self.0.is_none()
    }
}

impl AccountItem {
    /// Creates the item of an account whose password was set in `password_epoch`.
    pub(crate) fn new(account: Account, password_epoch: PasswordEpoch) -> Self {
        Self { password_epoch, ..account.into() }
    }

    /// The epoch in which the account's password was set.
    pub(crate) fn password_epoch(&self) -> PasswordEpoch {
        self.password_epoch
    }

    pub(crate) fn id(&self) -> UserId {
        self.id
    }

    pub(crate) fn username(&self) -> &Username {
        &self.username
    }
}

impl From<Account> for AccountItem {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            username: account.username,
            email: account.email,
            email_verified: account.email_standing == EmailStanding::Verified,
            pending_email: account.pending_email,
            roles: account.roles,
            created_at: account.created_at,
            disabled: account.standing == Standing::Disabled,
            epoch: account.epoch,
            password_epoch: PasswordEpoch::default(),
            attributes: account.attributes,
            revision: account.revision,
            last_login_at: account.last_login_at,
        }
    }
}

impl From<AccountItem> for Account {
    fn from(item: AccountItem) -> Self {
        Self {
            id: item.id,
            username: item.username,
            email: item.email,
            email_standing: if item.email_verified {
                EmailStanding::Verified
            } else {
                EmailStanding::Unverified
            },
            pending_email: item.pending_email,
            roles: item.roles,
            created_at: item.created_at,
            standing: if item.disabled { Standing::Disabled } else { Standing::Active },
            epoch: item.epoch,
            attributes: item.attributes,
            revision: item.revision,
            last_login_at: item.last_login_at,
        }
    }
}

/// An account's claim to a name or an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClaimItem {
    pub(crate) user_id: UserId,
    /// The account's username, under which the password is stored. Usernames do not change.
    pub(crate) username: Username,
}

/// The stored form of a password.
#[derive(Serialize, Deserialize)]
pub(crate) struct PasswordItem {
    pub(crate) hash: String,
    /// The account's epoch in which the password was set.
    #[serde(rename = "ver", default, skip_serializing_if = "PasswordEpoch::is_absent")]
    pub(crate) epoch: PasswordEpoch,
}

/// The stored form of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionItem {
    pub(crate) created_at: Timestamp,
    pub(crate) last_used_at: Timestamp,
    /// When the session ends if it is not used, in seconds since 1970. This is the table's TTL attribute.
    pub(crate) expires_at: i64,
    /// When the session ends even if it is used, in seconds since 1970.
    pub(crate) absolute_expires_at: i64,
    /// The number of rotations.
    pub(crate) counter: u64,
    /// The time of the last rotation, in milliseconds since 1970. 0 if there was none.
    pub(crate) rotated_at: i64,
    /// The time of the second-to-last rotation, in the same form.
    pub(crate) rotated_before: i64,
    /// The id of the pepper from which the current refresh token is derived.
    pub(crate) pepper: String,
    /// The account's epoch at the time of login.
    #[serde(rename = "ver")]
    pub(crate) epoch: SessionEpoch,
    /// When the user last authenticated, in seconds since 1970. Sessions of earlier versions lack it: their users
    /// authenticated when the session began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) auth_time: Option<i64>,
    /// The methods of authentication, stored as a set so that concurrent additions do not overwrite each other.
    #[serde(default = "password", serialize_with = "serde_dynamo::string_set::serialize")]
    pub(crate) amr: Methods,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_agent: Option<String>,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<Network>,
}

/// Parses a network. Invalid text becomes `None`: a network is only displayed, so it must not make a session
/// unreadable.
fn lenient<'de, D: Deserializer<'de>>(network: D) -> Result<Option<Network>, D::Error> {
    let text = Option::<String>::deserialize(network)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// The authentication methods of a session that an earlier version began.
fn password() -> Methods {
    Method::Password.into()
}

impl TryFrom<&SessionItem> for LiveSession {
    type Error = StoreError;

    fn try_from(item: &SessionItem) -> Result<Self, StoreError> {
        let ends = item.expires_at.min(item.absolute_expires_at);
        let expires_at = Timestamp::from_second(ends).map_err(StoreError::unusable)?;
        let at = item.auth_time.map_or(Ok(item.created_at), Timestamp::from_second);
        let at = at.map_err(StoreError::unusable)?;
        let authentication = Authentication { at, methods: item.amr.clone() };
        Ok(Self { created_at: item.created_at, epoch: item.epoch, expires_at, authentication })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use identity::{Role, SessionId};
    use process::{Clock, SystemClock, SystemRandom};
    use proptest::prelude::*;

    use super::*;

    fn username() -> impl Strategy<Value = Username> {
        "[a-zA-Z0-9äöüßéΣσς]{3,20}"
            .prop_filter_map("a username", |name| Username::parse(&name).ok())
    }

    fn email() -> impl Strategy<Value = Email> {
        "[a-zA-Zé]{1,20}@[a-z]{1,20}\\.com"
            .prop_filter_map("an address", |email| Email::parse(&email).ok())
    }

    fn id() -> impl Strategy<Value = UserId> {
        Just(()).prop_map(|()| UserId::new(SystemClock.now(), &SystemRandom))
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        (0_i64..=253_402_207_200_000).prop_map(|ms| Timestamp::from_millisecond(ms).unwrap())
    }

    fn account() -> impl Strategy<Value = Account> {
        let roles = proptest::sample::subsequence(Role::ALL.to_vec(), 0..=Role::ALL.len());
        let about = (any::<bool>(), any::<bool>(), any::<u64>());
        let managed = ("[a-z]{0,20}", any::<u64>(), proptest::option::of(time()));
        let emails = (proptest::option::of(email()), proptest::option::of(email()));
        (id(), username(), emails, roles, time(), about, managed).prop_map(
            |(id, username, (email, pending_email), roles, created_at, about, managed)| Account {
                id,
                username,
                email,
                email_standing: if about.0 {
                    EmailStanding::Verified
                } else {
                    EmailStanding::Unverified
                },
                pending_email,
                roles: roles.into_iter().collect(),
                created_at,
                standing: if about.1 { Standing::Disabled } else { Standing::Active },
                epoch: SessionEpoch::new(about.2),
                attributes: match managed.0.as_str() {
                    "" => Attributes::default(),
                    name => Attributes::parse(&format!(r#"{{"{name}":1.50}}"#)).unwrap(),
                },
                revision: Revision::new(managed.1),
                last_login_at: managed.2,
            },
        )
    }

    /// Converts an item to attributes, adds a key and an attribute of a later version, and parses the result.
    fn stored<T: StoredItem>(key: Key, item: &T) -> T {
        let mut attributes = item.with_key(key).unwrap();
        attributes.insert("later".to_owned(), AttributeValue::Bool(true));
        T::parse(attributes).unwrap()
    }

    proptest! {
        #[test]
        fn accounts_round_trip(account in account()) {
            for item in [AccountItem::from(account.clone()), AccountItem::new(account.clone(), PasswordEpoch::of(account.epoch))] {
                let again: AccountItem = stored(Key::account(account.id), &item);
                prop_assert_eq!(&again, &item);
                prop_assert_eq!(Account::from(again), account.clone());
            }
        }

        #[test]
        fn claims_round_trip(user_id in id(), username in username()) {
            let key = Key::username(username.canonical());
            let item = ClaimItem { user_id, username };
            prop_assert_eq!(stored(key, &item), item);
        }

        #[test]
        fn passwords_round_trip(hash in ".{1,100}", username in username(), epoch in any::<u64>()) {
            for epoch in [PasswordEpoch::default(), PasswordEpoch::of(SessionEpoch::new(epoch))] {
                let item = PasswordItem { hash: hash.clone(), epoch };
                let again = stored(Key::password(username.canonical()), &item);
                prop_assert_eq!((&again.hash, again.epoch), (&hash, epoch));
            }
        }

        #[test]
        fn sessions_round_trip(
            (created_at, last_used_at) in (time(), time()),
            (expires_at, absolute_expires_at) in (any::<i64>(), any::<i64>()),
            (counter, ver) in (any::<u64>(), any::<u64>()),
            (rotated_at, rotated_before) in (any::<i64>(), any::<i64>()),
            (auth_time, otp) in (proptest::option::of(any::<i64>()), any::<bool>()),
            pepper in "[A-Za-z0-9_-]{1,16}",
            user_agent in proptest::option::of(".{0,40}"),
            network in proptest::option::of(any::<IpAddr>().prop_map(Network::of)),
            user in id(),
        ) {
            let amr = if otp { password().and(Method::Otp) } else { password() };
            let item = SessionItem {
                created_at, last_used_at, expires_at, absolute_expires_at, counter, rotated_at,
                rotated_before, pepper, epoch: SessionEpoch::new(ver), auth_time, amr, user_agent,
                network,
            };
            let key = Key::session(user, SessionId::new(&SystemRandom));
            prop_assert_eq!(stored(key, &item), item);
        }

        /// A session can be listed and ended even if its network is invalid.
        #[test]
        fn a_session_is_readable_with_any_network_text(text in "\\PC{0,40}") {
            let item = SessionItem {
                created_at: Timestamp::UNIX_EPOCH, last_used_at: Timestamp::UNIX_EPOCH, expires_at: 1,
                absolute_expires_at: 1, counter: 0, rotated_at: 0, rotated_before: 0,
                pepper: "a".to_owned(), epoch: SessionEpoch::FIRST, auth_time: None, amr: password(),
                user_agent: None, network: None,
            };
            let key = Key::session(UserId::new(SystemClock.now(), &SystemRandom), SessionId::new(&SystemRandom));
            let mut attributes = item.with_key(key).unwrap();
            attributes.insert("network".to_owned(), AttributeValue::S(text.clone()));
            let expected = SessionItem { network: text.parse().ok(), ..item };
            prop_assert_eq!(SessionItem::parse(attributes).unwrap(), expected);
        }

        /// Sessions of earlier versions have neither `auth_time` nor `amr`.
        #[test]
        fn a_session_of_an_earlier_version_began_with_the_password(created_at in time()) {
            let item = SessionItem {
                created_at, last_used_at: created_at, expires_at: 1, absolute_expires_at: 1, counter: 0,
                rotated_at: 0, rotated_before: 0, pepper: "a".to_owned(), epoch: SessionEpoch::FIRST,
                auth_time: None, amr: password(), user_agent: None, network: None,
            };
            let key = Key::session(UserId::new(SystemClock.now(), &SystemRandom), SessionId::new(&SystemRandom));
            let mut attributes = item.with_key(key).unwrap();
            attributes.remove("amr").unwrap();
            let session = LiveSession::try_from(&SessionItem::parse(attributes).unwrap()).unwrap();
            prop_assert_eq!(session.authentication, Authentication { at: created_at, methods: password() });
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}", number in any::<i64>()) {
            for value in [
                AttributeValue::S(text.clone()),
                AttributeValue::N(number.to_string()),
                AttributeValue::N(text.clone()),
                AttributeValue::Null(true),
            ] {
                for name in ["id", "username", "roles", "ver", "expires_at", "hash", "created_at"] {
                    let item = HashMap::from([(name.to_owned(), value.clone())]);
                    prop_assert!(AccountItem::parse(item.clone()).is_err());
                    prop_assert!(ClaimItem::parse(item.clone()).is_err());
                    let session = SessionItem::parse(item);
                    prop_assert!(session.is_err());
                }
            }
        }
    }
}
