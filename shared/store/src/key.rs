//! Keys of the users' table, built here and nowhere else.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use identity::{CanonicalName, MailId, MailedFor, SessionId, UserId};

use crate::codes::DigitsOf;

/// What the sort key of every session begins with.
pub(crate) const SESSIONS: &str = "SESSION#";

/// The primary key of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
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
        Self::new(format!("USER#{id}"), format!("{SESSIONS}{session}"))
    }

    /// The claim to a username: that it is there makes the name unique.
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

    /// An invitation, by what is stored of its code.
    pub(crate) fn invite(tag: &str) -> Self {
        Self::new(format!("INVITE#{tag}"), "INVITE")
    }

    /// A counter of attempts. Its tag is a MAC: nobody can read in it whom it is about.
    pub(crate) fn counter(kind: &str, tag: &str) -> Self {
        Self::new(format!("COUNTER#{kind}#{tag}"), "COUNTER")
    }

    /// That a network is known to an account, both as tags.
    pub(crate) fn known(who: &str, network: &str) -> Self {
        Self::new(format!("KNOWN#{who}"), format!("NETWORK#{network}"))
    }

    /// The tag of the network whose sort key is `sk`.
    pub(crate) fn network_of(sk: &str) -> Option<String> {
        sk.strip_prefix("NETWORK#").map(str::to_owned)
    }

    /// A mail that is to be sent. The mailer's stream is filtered by how it begins.
    pub(crate) fn mail(id: MailId) -> Self {
        Self::new(format!("OUTBOX#{id}"), "MAIL")
    }

    /// The mail whose key begins like that.
    pub(crate) fn mail_of(pk: &str) -> Option<MailId> {
        pk.strip_prefix("OUTBOX#")?.parse().ok()
    }

    /// The code of a mail, as far as it is stored.
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

    /// The key as DynamoDB takes it.
    pub(crate) fn attributes(self) -> HashMap<String, AttributeValue> {
        HashMap::from([
            ("pk".to_owned(), AttributeValue::S(self.pk)),
            ("sk".to_owned(), AttributeValue::S(self.sk)),
        ])
    }
}
