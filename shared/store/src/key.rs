//! Keys of items in the users' table. Only this module builds them.

use aws_sdk_dynamodb::types::AttributeValue;
use identity::{CanonicalName, MailId, MailedFor, SessionId, UserId};

use crate::codes::DigitsOf;
use crate::item::Item;

/// The prefix of every session's sort key.
const SESSION: &str = "SESSION#";

/// The prefix of every known network's sort key.
const NETWORK: &str = "NETWORK#";

/// The primary key of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

/// The partition key and sort-key prefix of the items that one query reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyPrefix {
    pub(crate) pk: String,
    pub(crate) sk: &'static str,
}

impl KeyPrefix {
    /// The sessions of an account.
    pub(crate) fn sessions(id: UserId) -> Self {
        Self { pk: Key::account(id).pk, sk: SESSION }
    }

    /// The networks that are known under a name. `name` is the tag of the name.
    pub(crate) fn known_networks(name: &str) -> Self {
        Self { pk: format!("KNOWN#{name}"), sk: NETWORK }
    }

    /// The part of an item's sort key after the prefix.
    pub(crate) fn rest<'a>(&self, item: &'a Item) -> Option<&'a str> {
        item.get("sk")?.as_s().ok()?.strip_prefix(self.sk)
    }
}

impl Key {
    fn new(pk: String, sk: impl Into<String>) -> Self {
        Self { pk, sk: sk.into() }
    }

    pub(crate) fn account(id: UserId) -> Self {
        Self::new(format!("USER#{id}"), "ACCOUNT")
    }

    pub(crate) fn session(id: UserId, session: SessionId) -> Self {
        Self::new(format!("USER#{id}"), format!("{SESSION}{session}"))
    }

    /// The claim to a username, which makes the name unique.
    pub(crate) fn username(name: &CanonicalName) -> Self {
        Self::new(format!("USERNAME#{}", name.as_str()), "CLAIM")
    }

    /// The password of the account with this username. It is stored under the name so that a login can read
    /// the claim and the hash concurrently, and in a separate item so that other operations do not read it.
    pub(crate) fn password(name: &CanonicalName) -> Self {
        Self::new(format!("USERNAME#{}", name.as_str()), "PASSWORD")
    }

    /// The claim to an email address, which makes the address unique.
    pub(crate) fn email(address: &CanonicalName) -> Self {
        Self::new(format!("EMAIL#{}", address.as_str()), "CLAIM")
    }

    /// An invitation. `tag` is a MAC of the invitation's code.
    pub(crate) fn invite(tag: &str) -> Self {
        Self::new(format!("INVITE#{tag}"), "INVITE")
    }

    /// A counter of attempts. `tag` is a MAC, so it does not reveal whose attempts are counted.
    pub(crate) fn counter(kind: &str, tag: &str) -> Self {
        Self::new(format!("COUNTER#{kind}#{tag}"), "COUNTER")
    }

    /// A network that is known under a name. Both arguments are tags.
    pub(crate) fn known(name: &str, network: &str) -> Self {
        Self::new(KeyPrefix::known_networks(name).pk, format!("{NETWORK}{network}"))
    }

    /// An email to send. The event filter of the mailer's stream selects this prefix.
    pub(crate) fn mail(id: MailId) -> Self {
        Self::new(format!("OUTBOX#{id}"), "MAIL")
    }

    /// The id of the email whose partition key is `pk`. `None` if `pk` belongs to another kind of item.
    pub(crate) fn mail_of(pk: &str) -> Option<MailId> {
        pk.strip_prefix("OUTBOX#")?.parse().ok()
    }

    /// The stored part of the code in an email.
    pub(crate) fn code(id: MailId) -> Self {
        Self::new(format!("CODE#{id}"), "CODE")
    }

    /// The digits that are currently valid for a reset or a confirmation.
    pub(crate) fn digits(of: DigitsOf<'_>) -> Self {
        let (purpose, owner) = match of {
            DigitsOf::Reset(address) => (MailedFor::PasswordReset, address.as_str().to_owned()),
            DigitsOf::Confirmation(user) => (MailedFor::EmailVerification, user.to_string()),
        };
        Self::new(format!("DIGITS#{}#{owner}", purpose.as_str()), "DIGITS")
    }

    /// Converts the key to attributes of its item.
    pub(crate) fn attributes(self) -> Item {
        Item::from([
            ("pk".to_owned(), AttributeValue::S(self.pk)),
            ("sk".to_owned(), AttributeValue::S(self.sk)),
        ])
    }
}
