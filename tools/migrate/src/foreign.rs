//! Converts users of other systems to accounts.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use identity::{
    Account, Attributes, Email, EmailStanding, Revision, Role, Roles, SessionEpoch, Standing,
    UserId, Username,
};
use jiff::Timestamp;
use process::Random;
use serde_json::{Value, json};

use crate::record::verifiable;
use crate::{Reason, Record, RecordPassword};

/// A user of another system.
#[derive(Clone)]
pub struct ForeignUser {
    /// The id in the other system.
    pub id: OldId,
    /// The username. If there is none, the account's username is made from the address and the new id.
    pub username: Option<String>,
    /// The email address.
    pub email: Option<String>,
    /// Whether the other system states that the owner has confirmed the address.
    pub email_standing: EmailStanding,
    /// The hash of the password, unless the user has no password.
    pub hash: Option<String>,
    /// The names of the roles.
    pub roles: RoleNames,
    /// The time of registration, if the other system stores it.
    pub created_at: Option<Timestamp>,
    /// Whether the user may sign in.
    pub standing: Standing,
}

/// An id in another system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OldId {
    /// A number, such as an automatically incremented key.
    Number(i64),
    /// Any text.
    Text(String),
}

impl fmt::Display for OldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// The roles of a user in another system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleNames {
    /// The operator has stated where roles are stored, so a role without an equivalent is an error.
    All(Vec<String>),
    /// Roles for which the operator has not stated an equivalent are ignored.
    OnlyMapped(Vec<String>),
}

/// The name of the system that an import comes from: 1 to 32 lower-case letters, digits, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceName(String);

/// The text is not the name of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 32 lower-case letters, digits, _ and -")]
pub struct SourceNameError;

impl FromStr for SourceName {
    type Err = SourceNameError;

    fn from_str(text: &str) -> Result<Self, SourceNameError> {
        let is_allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let is_valid = (1..=32).contains(&text.len()) && text.chars().all(is_allowed);
        is_valid.then(|| Self(text.to_owned())).ok_or(SourceNameError)
    }
}

impl SourceName {
    /// The name of the attribute that keeps the old id.
    fn id_attribute(&self) -> String {
        format!("{}_id", self.0)
    }
}

/// Whether to trust the addresses of another system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Treat an address as confirmed if the other system says so.
    AsStated,
    /// Treat every address as confirmed.
    Confirmed,
}

/// What happens to an address that is not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconfirmed {
    /// The account claims it at once.
    Claimed,
    /// The account claims it once the owner has confirmed it.
    Pending,
}

/// How users of another system become accounts.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// The name of the other system. Users of different sources are different users, even if their ids are equal.
    pub source: SourceName,
    /// The role that replaces each role of the other system. A role in [`RoleNames::All`] needs no entry if Latchkey
    /// has a role with the same name.
    pub roles: BTreeMap<String, Role>,
    /// Whether to trust addresses.
    pub addresses: Addresses,
    /// What happens to addresses that are not confirmed.
    pub unconfirmed: Unconfirmed,
    /// The time of the import. It also becomes the time of registration of users who have none.
    pub now: Timestamp,
}

impl Conversion {
    /// Converts a user to an account.
    ///
    /// The new id depends only on the source, the old id and the time of registration, so an import that runs again
    /// recognizes the accounts that it has already created.
    ///
    /// # Errors
    /// When the user's name, address, hash or roles are invalid, or the owner could never sign in.
    pub fn record(&self, user: ForeignUser) -> Result<Record, Reason> {
        let id = self.id(&user);
        let email = user.email.as_deref().map(Email::parse).transpose().map_err(Reason::Email)?;
        let confirmed = self.addresses == Addresses::Confirmed
            || user.email_standing == EmailStanding::Verified;
        let password = user.hash.map(verifiable).transpose()?;
        let username = match &user.username {
            Some(name) => Username::parse(name).map_err(Reason::Username)?,
            None => made_username(email.as_ref(), id)?,
        };
        // A password reset works only for an address that the account has claimed.
        let is_claimed = email.is_some() && (confirmed || self.unconfirmed == Unconfirmed::Claimed);
        if password.is_none() && !is_claimed {
            return Err(Reason::NoWayIn);
        }
        let (email, pending_email) = if is_claimed { (email, None) } else { (None, email) };
        let is_verified = confirmed && email.is_some();
        let old_id = match user.id {
            OldId::Number(number) => json!(number),
            OldId::Text(text) => json!(text),
        };
        let attributes =
            Value::Object([(self.source.id_attribute(), old_id)].into_iter().collect());
        let account = Account {
            id,
            username,
            email,
            email_standing: if is_verified {
                EmailStanding::Verified
            } else {
                EmailStanding::Unverified
            },
            pending_email,
            roles: self.roles(user.roles)?,
            created_at: user.created_at.map_or(self.now, |created_at| created_at.min(self.now)),
            last_login_at: None,
            standing: user.standing,
            epoch: SessionEpoch::FIRST,
            attributes: Attributes::try_from(attributes).map_err(Reason::Attributes)?,
            revision: Revision::FIRST,
        };
        let password =
            password.map(|hash| RecordPassword { hash, set_in: Some(SessionEpoch::FIRST) });
        Ok(Record { account, password })
    }

    /// A UUIDv7 whose random bits are a digest of the source and the old id. Without a time of registration, its time
    /// is 1970, because the time of the import changes with every run.
    fn id(&self, user: &ForeignUser) -> UserId {
        let text = format!("latchkey import 1\0{}\0{}", self.source.0, user.id);
        let digest = digest(&SHA256, text.as_bytes());
        let mut bits = [0; 32];
        bits.copy_from_slice(digest.as_ref());
        UserId::new(user.created_at.unwrap_or(Timestamp::UNIX_EPOCH), &Digest(bits))
    }

    /// Every account gets the role `user`, as at registration.
    fn roles(&self, names: RoleNames) -> Result<Roles, Reason> {
        let mapped = |name: &String| self.roles.get(name).copied();
        let roles: Vec<Role> = match names {
            RoleNames::All(names) => names
                .iter()
                .map(|name| {
                    let role = mapped(name).or_else(|| name.parse().ok());
                    role.ok_or_else(|| Reason::role(name))
                })
                .collect::<Result<_, _>>()?,
            RoleNames::OnlyMapped(names) => names.iter().filter_map(mapped).collect(),
        };
        Ok(roles.into_iter().chain([Role::User]).collect())
    }
}

/// The bytes of a digest, used in place of random ones.
struct Digest([u8; 32]);

impl Random for Digest {
    fn fill(&self, bytes: &mut [u8]) {
        for (byte, digest) in bytes.iter_mut().zip(self.0.into_iter().cycle()) {
            *byte = digest;
        }
    }
}

/// A username for a user who has none: the local part of the address, followed by the end of the id. The local part
/// alone would not be unique.
fn made_username(email: Option<&Email>, id: UserId) -> Result<Username, Reason> {
    let email = email.ok_or(Reason::Missing("username"))?;
    let end = hex::encode(&id.to_bytes()[12..]);
    let local = email.as_str().rsplit_once('@').map_or("", |(local, _)| local);
    let local: String = local.chars().take(40).collect();
    let name = Username::parse(&format!("{local}-{end}"));
    name.or_else(|_| Username::parse(&format!("user-{end}"))).map_err(Reason::Username)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const HASH: &str =
        "pbkdf2:sha256:1$s$55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";

    pub(crate) fn conversion() -> Conversion {
        Conversion {
            source: "flask".parse().unwrap(),
            roles: BTreeMap::from([("moderator".to_owned(), Role::Admin)]),
            addresses: Addresses::AsStated,
            unconfirmed: Unconfirmed::Claimed,
            now: "2026-11-28T12:00:00Z".parse().unwrap(),
        }
    }

    fn user() -> ForeignUser {
        ForeignUser {
            id: OldId::Number(17),
            username: Some("Rosa".to_owned()),
            email: Some("rosa@example.com".to_owned()),
            email_standing: EmailStanding::Unverified,
            hash: Some(HASH.to_owned()),
            roles: RoleNames::All(Vec::new()),
            created_at: Some("2024-05-01T12:00:00Z".parse().unwrap()),
            standing: Standing::Active,
        }
    }

    /// If ids changed, an import that runs again after an update of Latchkey would create every account twice.
    #[test]
    fn an_id_never_changes() {
        let id = |user| conversion().record(user).unwrap().account.id.to_string();
        assert_eq!(id(user()), id(ForeignUser { username: Some("other".to_owned()), ..user() }));
        assert_eq!(&id(user())[..15], "018f3406-9e00-7");
        let undated = ForeignUser { created_at: None, ..user() };
        assert_eq!(&id(undated.clone())[..15], "00000000-0000-7");
        assert_eq!(id(user())[15..], id(undated)[15..]);
        assert_ne!(id(user()), id(ForeignUser { id: OldId::Number(18), ..user() }));
        let other = Conversion { source: "other".parse().unwrap(), ..conversion() };
        assert_ne!(id(user()), other.record(user()).unwrap().account.id.to_string());
    }

    #[test]
    fn an_imported_account_keeps_its_old_id_and_has_the_role_user() {
        let record = conversion().record(user()).unwrap();
        assert_eq!(record.account.attributes.to_json(), r#"{"flask_id":17}"#);
        assert_eq!(record.account.roles.to_string(), "user");
        assert_eq!(record.account.created_at, user().created_at.unwrap());
        assert_eq!(record.password.unwrap().hash.expose(), HASH);
        let text = ForeignUser { id: OldId::Text("a|1".to_owned()), created_at: None, ..user() };
        let account = conversion().record(text).unwrap().account;
        assert_eq!(account.attributes.to_json(), r#"{"flask_id":"a|1"}"#);
        assert_eq!(account.created_at, conversion().now);
    }

    #[test]
    fn an_unknown_role_is_refused_unless_only_mapped_roles_are_imported() {
        let roles = |names: RoleNames| {
            let record = conversion().record(ForeignUser { roles: names, ..user() });
            record.map(|record| record.account.roles.to_string())
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let all = |them: &[&str]| roles(RoleNames::All(names(them)));
        assert_eq!(all(&["super_admin"]).unwrap(), "user,super_admin");
        assert_eq!(all(&["moderator"]).unwrap(), "user,admin");
        assert_eq!(all(&["owner"]), Err(Reason::Role(Some("owner".to_owned()))));
        assert_eq!(all(&[HASH]), Err(Reason::Role(None)));
        let hints = RoleNames::OnlyMapped(names(&["super_admin", "moderator", "owner"]));
        assert_eq!(roles(hints).unwrap(), "user,admin");
    }

    #[test]
    fn an_address_is_claimed_if_it_is_confirmed_or_needs_no_confirmation() {
        use {Addresses as A, Unconfirmed as U};
        for (addresses, unconfirmed, stated, claimed, verified) in [
            (A::AsStated, U::Claimed, EmailStanding::Verified, true, true),
            (A::AsStated, U::Claimed, EmailStanding::Unverified, true, false),
            (A::AsStated, U::Pending, EmailStanding::Unverified, false, false),
            (A::AsStated, U::Pending, EmailStanding::Verified, true, true),
            (A::Confirmed, U::Pending, EmailStanding::Unverified, true, true),
        ] {
            let conversion = Conversion { addresses, unconfirmed, ..conversion() };
            let user = ForeignUser { email_standing: stated, ..user() };
            let account = conversion.record(user.clone()).unwrap().account;
            assert_eq!(account.email.is_some(), claimed);
            assert_eq!(account.pending_email.is_some(), !claimed);
            assert_eq!(account.email_standing == EmailStanding::Verified, verified);
            // Without a password, the owner can sign in only if the address is claimed.
            let without = conversion.record(ForeignUser { hash: None, ..user });
            assert_eq!(without.map(drop), if claimed { Ok(()) } else { Err(Reason::NoWayIn) });
        }
        let nobody = ForeignUser { hash: None, email: None, ..user() };
        assert_eq!(conversion().record(nobody), Err(Reason::NoWayIn));
    }

    #[test]
    fn a_user_without_a_name_gets_one_that_no_other_user_has() {
        let made = |email: Option<&str>| {
            let email = email.map(str::to_owned);
            let record = conversion().record(ForeignUser { username: None, email, ..user() });
            record.map(|record| (record.account.username.as_str().to_owned(), record.account.id))
        };
        let (name, id) = made(Some("rosa@example.com")).unwrap();
        assert_eq!(name, format!("rosa-{}", &id.to_string()[28..]));
        let (name, _) = made(Some("☕@example.com")).unwrap();
        assert!(name.starts_with("user-"), "{name}");
        assert_eq!(made(None), Err(Reason::Missing("username")));
    }

    #[test]
    fn only_short_plain_names_are_sources() {
        for text in ["flask", "shop-2_old"] {
            assert!(text.parse::<SourceName>().is_ok(), "{text}");
        }
        for text in ["", "Flask", "a b", &"x".repeat(33)] {
            assert_eq!(text.parse::<SourceName>(), Err(SourceNameError), "{text}");
        }
    }
}
