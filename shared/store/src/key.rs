//! Keys of items in the users' table. Only this module builds them.

use aws_sdk_dynamodb::types::AttributeValue;
use identity::{CanonicalName, EventId, MailId, MailedFor, SessionId, UserId};

use crate::codes::DigitsOf;
use crate::item::Item;
use crate::lists::{List, shard_of};
use crate::outbox::Task;

/// The prefix of every session's sort key.
const SESSION: &str = "SESSION#";

/// The prefix of every code pointer's sort key, and of every code's partition key.
const CODE: &str = "CODE#";

/// The sort key of every code.
pub(crate) const CODE_ITEM: &str = "CODE";

/// The prefix of every event's sort key.
pub(crate) const EVENT: &str = "EVENT#";

/// The prefix of the sort key of every mark that an event has been recorded.
const ONCE: &str = "ONCE#";

/// The prefix of every known network's sort key.
const NETWORK: &str = "NETWORK#";

/// The sort key of a requested email.
const MAIL: &str = "MAIL";

/// The sort key of the outbox item of a deleted account.
pub(crate) const REMAINS: &str = "REMAINS";

/// The sort key of every account.
pub(crate) const ACCOUNT: &str = "ACCOUNT";

/// The primary key of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// The kind of an item that belongs to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartOfAccount {
    Account,
    Session,
    Event,
    /// A pointer to a code.
    Code,
    /// A network that is known under a name of the account.
    Network,
    Other,
}

impl PartOfAccount {
    /// The kind of the item with this key.
    pub(crate) fn of(key: &Key) -> Self {
        match key.sk.as_str() {
            ACCOUNT => Self::Account,
            sk if sk.starts_with(SESSION) => Self::Session,
            sk if sk.starts_with(EVENT) => Self::Event,
            sk if sk.starts_with(CODE) => Self::Code,
            sk if sk.starts_with(NETWORK) => Self::Network,
            _ => Self::Other,
        }
    }
}

impl KeyPrefix {
    /// All items in an account's partition: the account, its sessions and its events.
    pub(crate) fn account(id: UserId) -> Self {
        Self { pk: Key::account(id).pk, sk: "" }
    }

    /// The sessions of an account.
    pub(crate) fn sessions(id: UserId) -> Self {
        Self { pk: Key::account(id).pk, sk: SESSION }
    }

    /// The events of an account.
    pub(crate) fn events(id: UserId) -> Self {
        Self { pk: Key::account(id).pk, sk: EVENT }
    }

    /// The pointers to the codes of an account.
    pub(crate) fn codes(id: UserId) -> Self {
        Self { pk: format!("CODES#{id}"), sk: CODE }
    }

    /// The id of the email whose code `pointer` points to.
    pub(crate) fn code_of(pointer: &Key) -> Option<MailId> {
        pointer.sk.strip_prefix(CODE)?.parse().ok()
    }

    /// The known networks of the account with a certain username or address. `name` is the tag of that name.
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

    /// The key of an item that was read.
    pub(crate) fn of(item: &Item) -> Option<Self> {
        let part = |name| item.get(name)?.as_s().ok().cloned();
        Some(Self { pk: part("pk")?, sk: part("sk")? })
    }

    pub(crate) fn account(id: UserId) -> Self {
        Self::new(format!("USER#{id}"), ACCOUNT)
    }

    pub(crate) fn session(id: UserId, session: SessionId) -> Self {
        Self::new(format!("USER#{id}"), format!("{SESSION}{session}"))
    }

    /// An event of an account.
    pub(crate) fn event(id: UserId, event: EventId) -> Self {
        Self::new(format!("USER#{id}"), format!("{EVENT}{event}"))
    }

    /// The mark that an event which is recorded at most once has been recorded.
    pub(crate) fn once(id: UserId, once: EventId) -> Self {
        Self::new(format!("USER#{id}"), format!("{ONCE}{once}"))
    }

    /// An item that is written instead of an event if no account has the presented name.
    pub(crate) fn decoy(event: EventId) -> Self {
        Self::new(format!("USER#{event}"), "DECOY")
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

    /// The entry of an account in a list.
    pub(crate) fn listed(list: List, id: UserId) -> Self {
        Self::new(list.shard(shard_of(id)), id.to_string())
    }

    /// The ids of all active accounts with the role `super_admin`.
    pub(crate) fn super_admins() -> Self {
        Self::new("SUPER_ADMINS".to_owned(), "SUPER_ADMINS")
    }

    /// A counter of attempts. `tag` is a MAC, so it does not reveal whose attempts are counted.
    pub(crate) fn counter(kind: &str, tag: &str) -> Self {
        Self::new(format!("COUNTER#{kind}#{tag}"), "COUNTER")
    }

    /// A known network of the account with a certain username or address. Both arguments are tags.
    pub(crate) fn known(name: &str, network: &str) -> Self {
        Self::new(KeyPrefix::known_networks(name).pk, format!("{NETWORK}{network}"))
    }

    /// The tombstone of a deleted account's name. `tag` is a MAC, so it does not reveal the name.
    pub(crate) fn tombstone(tag: &str) -> Self {
        Self::new(format!("TOMBSTONE#{tag}"), "TOMBSTONE")
    }

    /// An email to send. The event filter of the mailer's stream selects this prefix.
    pub(crate) fn mail(id: MailId) -> Self {
        Self::new(format!("OUTBOX#{id}"), MAIL)
    }

    /// The task of the outbox item with this key. `None` if the key belongs to another kind of item.
    pub(crate) fn task(pk: &str, sk: &str) -> Option<Task> {
        let id = pk.strip_prefix("OUTBOX#")?;
        match sk {
            MAIL => id.parse().ok().map(Task::Mail),
            REMAINS => id.parse().ok().map(Task::Remains),
            _ => None,
        }
    }

    /// The outbox item of a deleted account that still has remains. The event filter of the mailer's stream selects
    /// its prefix.
    pub(crate) fn remains(id: UserId) -> Self {
        Self::new(format!("OUTBOX#{id}"), REMAINS)
    }

    /// The stored part of the code in an email.
    pub(crate) fn code(id: MailId) -> Self {
        Self::new(format!("{CODE}{id}"), CODE_ITEM)
    }

    /// The id of the email whose code has this key.
    pub(crate) fn mail_of_code(&self) -> Option<MailId> {
        self.pk.strip_prefix(CODE)?.parse().ok()
    }

    /// The pointer to a code of an account, by which the code is found when the account is deleted.
    pub(crate) fn code_of(user: UserId, id: MailId) -> Self {
        let KeyPrefix { pk, sk } = KeyPrefix::codes(user);
        Self::new(pk, format!("{sk}{id}"))
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
