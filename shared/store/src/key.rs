//! Keys of the users' table. Nothing else builds keys.

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

/// The beginning of the keys of items that one query reads.
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

    /// The networks that are known by a name, which is given as its tag.
    pub(crate) fn known_networks(who: &str) -> Self {
        Self { pk: format!("KNOWN#{who}"), sk: NETWORK }
    }

    /// The part of an item's sort key that follows the prefix.
    pub(crate) fn rest<'a>(&self, item: &'a Item) -> Option<&'a str> {
        item.get("sk")?.as_s().ok()?.strip_prefix(self.sk)
    }
}

impl Key {
    fn new(pk: String, sk: impl Into<String>) -> Self {
        Self { pk, sk: sk.into() }
    }

    /// An account.
    pub(crate) fn account(id: UserId) -> Self {
        Self::new(format!("USER#{id}"), "ACCOUNT")
    }

    /// A session of an account.
    pub(crate) fn session(id: UserId, session: SessionId) -> Self {
        Self::new(format!("USER#{id}"), format!("{SESSION}{session}"))
    }

    /// The claim to a username, which makes the name unique.
    pub(crate) fn username(name: &CanonicalName) -> Self {
        Self::new(format!("USERNAME#{}", name.as_str()), "CLAIM")
    }

    /// The password of the account with a username. It is stored under the name, so that a login reads
    /// claim and hash concurrently, and in its own item, so that nothing else reads it.
    pub(crate) fn password(name: &CanonicalName) -> Self {
        Self::new(format!("USERNAME#{}", name.as_str()), "PASSWORD")
    }

    /// The claim to an e-mail address.
    pub(crate) fn email(address: &CanonicalName) -> Self {
        Self::new(format!("EMAIL#{}", address.as_str()), "CLAIM")
    }

    /// An invitation. `tag` is a MAC of its code.
    pub(crate) fn invite(tag: &str) -> Self {
        Self::new(format!("INVITE#{tag}"), "INVITE")
    }

    /// A counter of attempts. Its tag is a MAC, which reveals nothing about whom the counter concerns.
    pub(crate) fn counter(kind: &str, tag: &str) -> Self {
        Self::new(format!("COUNTER#{kind}#{tag}"), "COUNTER")
    }

    /// A network that is known by a name. Both are given as tags.
    pub(crate) fn known(who: &str, network: &str) -> Self {
        Self::new(KeyPrefix::known_networks(who).pk, format!("{NETWORK}{network}"))
    }

    /// A mail to be sent. The filter of the mailer's stream selects this prefix.
    pub(crate) fn mail(id: MailId) -> Self {
        Self::new(format!("OUTBOX#{id}"), "MAIL")
    }

    /// The mail whose partition key is `pk`. `None` if it is the key of another kind of item.
    pub(crate) fn mail_of(pk: &str) -> Option<MailId> {
        pk.strip_prefix("OUTBOX#")?.parse().ok()
    }

    /// The stored part of the code in a mail.
    pub(crate) fn code(id: MailId) -> Self {
        Self::new(format!("CODE#{id}"), "CODE")
    }

    /// The digits that are currently valid for a reset or a confirmation.
    pub(crate) fn digits(of: DigitsOf<'_>) -> Self {
        let (purpose, whose) = match of {
            DigitsOf::Reset(address) => (MailedFor::PasswordReset, address.as_str().to_owned()),
            DigitsOf::Confirmation(user) => (MailedFor::EmailVerification, user.to_string()),
        };
        Self::new(format!("DIGITS#{}#{whose}", purpose.as_str()), "DIGITS")
    }

    /// The key as attributes of an item.
    pub(crate) fn attributes(self) -> Item {
        Item::from([
            ("pk".to_owned(), AttributeValue::S(self.pk)),
            ("sk".to_owned(), AttributeValue::S(self.sk)),
        ])
    }
}
