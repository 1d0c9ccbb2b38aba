//! The outbox: emails to be sent.
//!
//! To request an email, a function writes an item. The table's stream invokes the mailer for each new item, and
//! the mailer sends the email. The item contains the purpose and the recipient but no code, because the mailer
//! derives the code from the item's id.

use dynamo::Client;
use identity::{Account, Email, EmailStanding, MailId, SessionEpoch, UserId};
use jiff::{SignedDuration, Timestamp};
use process::{Random, World};
use serde::{Deserialize, Serialize};

use crate::item::stored_items;
use crate::key::Key;
use crate::table::{Config, StoreError, Table, log_owner_not_told};
use crate::write::Put;

/// The lifetime of an emailed code, which begins with the request (ASVS 6.5.5).
pub const CODE_VALID_FOR: SignedDuration = SignedDuration::from_mins(10);

/// How long after an event its notice is worth sending.
const NOTICE_VALID_FOR: SignedDuration = SignedDuration::from_hours(24);

/// The purpose and the recipient of an email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mail {
    /// A code for setting a new password, sent if an account has the address.
    PasswordReset {
        /// The address, spelled as in the request.
        address: Email,
    },
    /// A code for confirming an address for an account.
    EmailVerification {
        /// The account that claims the address.
        user_id: UserId,
        /// The account's epoch at the time of the request. Ending the account's sessions also voids the code.
        #[serde(rename = "ver")]
        epoch: SessionEpoch,
        /// The address to confirm.
        address: Email,
    },
    /// A notice of an event in an account.
    Notice {
        /// The account whose owner is notified.
        user_id: UserId,
        /// The event that the notice reports.
        notice: Notice,
        /// The address to notify. `None` means the address that the account has when the email is sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<ConfirmedEmail>,
    },
}

/// An address that its owner has confirmed. Notices go only to confirmed addresses, because anyone can register
/// with a stranger's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfirmedEmail(Email);

impl ConfirmedEmail {
    /// The address of an account, if its owner has confirmed it.
    #[must_use]
    pub fn of(account: &Account) -> Option<Self> {
        match account.email_standing {
            EmailStanding::Verified => account.email.clone().map(Self),
            EmailStanding::Unverified => None,
        }
    }

    /// The confirmed address.
    #[must_use]
    pub fn email(&self) -> &Email {
        &self.0
    }
}

/// An event that an account's owner is notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// The password has been changed.
    PasswordChanged,
    /// Someone who knows the password has requested a change of address.
    EmailChangeRequested,
    /// The address has been replaced.
    EmailChanged,
    /// A session has been ended because a superseded refresh token was used.
    SessionReused,
    /// The account was used from a new network.
    NewNetwork,
}

/// What an outbox item asks the mailer to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Send this email.
    Mail(MailId),
    /// Delete the remains of this deleted account.
    Remains(UserId),
}

impl Task {
    /// The task of the item with this key. `None` if the key belongs to another kind of item.
    #[must_use]
    pub fn of_key(pk: &str, sk: &str) -> Option<Self> {
        Key::task(pk, sk)
    }
}

/// A request for an email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMail {
    /// A new, random id.
    pub id: MailId,
    /// The purpose and the recipient.
    pub mail: Mail,
    /// When the email was requested. The lifetime of a code begins at this time.
    pub asked_at: Timestamp,
}

impl NewMail {
    /// Creates a request for a code that confirms `address` for an account whose epoch is `epoch`.
    #[must_use]
    pub fn verification(
        user_id: UserId,
        epoch: SessionEpoch,
        address: Email,
        now: Timestamp,
        random: &dyn Random,
    ) -> Self {
        let mail = Mail::EmailVerification { user_id, epoch, address };
        Self { id: MailId::new(now, random), mail, asked_at: now }
    }

    /// Creates a request for a notice to the account's current address. `None` if the account has no confirmed
    /// address.
    #[must_use]
    pub fn notice(
        account: &Account,
        notice: Notice,
        now: Timestamp,
        random: &dyn Random,
    ) -> Option<Self> {
        let address = Some(ConfirmedEmail::of(account)?);
        let mail = Mail::Notice { user_id: account.id, notice, address };
        Some(Self { id: MailId::new(now, random), mail, asked_at: now })
    }
}

/// The stored form of a request for an email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailItem {
    #[serde(flatten)]
    pub(crate) mail: Mail,
    pub(crate) asked_at: Timestamp,
    /// The time after which the email is no longer worth sending, in seconds since 1970. This is the table's TTL
    /// attribute.
    pub(crate) expires_at: i64,
}

stored_items!(MailItem);

impl From<&NewMail> for MailItem {
    fn from(new: &NewMail) -> Self {
        let valid_for = match new.mail {
            Mail::PasswordReset { .. } | Mail::EmailVerification { .. } => CODE_VALID_FOR,
            Mail::Notice { .. } => NOTICE_VALID_FOR,
        };
        let ends = new.asked_at.saturating_add(valid_for).unwrap_or(Timestamp::MAX);
        Self { mail: new.mail.clone(), asked_at: new.asked_at, expires_at: ends.as_second() }
    }
}

impl Table {
    /// Builds the write that requests an email. As part of a transaction, it requests the email if and only if the
    /// transaction succeeds.
    ///
    /// The write has no condition: the id is new and random, and a retry after a lost answer must not fail
    /// because of the first attempt's write.
    pub(crate) fn mail(&self, new: &NewMail) -> Result<Put<'_>, StoreError> {
        self.put(Key::mail(new.id), &MailItem::from(new))
    }
}

/// Requests emails.
#[derive(Clone, Debug)]
pub struct Outbox(Table);

impl Outbox {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Requests all of these emails or none of them. There must be at most a hundred.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn put(&self, mails: &[NewMail]) -> Result<(), StoreError> {
        if let [mail] = mails {
            return self.0.mail(mail)?.send().await.map(drop);
        }
        let puts = mails.iter().map(|mail| Ok(self.0.mail(mail)?.into()));
        self.0.transact(puts.collect::<Result<_, StoreError>>()?).await.map(drop)
    }

    /// Notifies an account's owner of an event, if the account has a confirmed address. A failure is only logged,
    /// because the event has already happened.
    pub async fn notify(&self, account: &Account, notice: Notice, world: &World) {
        let notice = NewMail::notice(account, notice, world.clock.now(), &*world.random);
        let Some(notice) = notice else { return };
        if let Err(error) = self.put(&[notice]).await {
            log_owner_not_told(account.id, &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use process::{Clock, SystemClock, SystemRandom};

    use super::*;
    use crate::item::StoredItem;

    #[test]
    fn mails_round_trip() {
        let now = SystemClock.now();
        let (id, user_id) = (MailId::new(now, &SystemRandom), UserId::new(now, &SystemRandom));
        let address = Email::parse("Rosa@example.com").unwrap();
        let notice = Notice::EmailChanged;
        for (mail, seconds) in [
            (Mail::PasswordReset { address: address.clone() }, 600),
            (
                Mail::EmailVerification {
                    user_id,
                    epoch: SessionEpoch::new(u64::MAX),
                    address: address.clone(),
                },
                600,
            ),
            (Mail::Notice { user_id, notice, address: Some(ConfirmedEmail(address)) }, 86_400),
            (Mail::Notice { user_id, notice: Notice::NewNetwork, address: None }, 86_400),
        ] {
            let item = MailItem::from(&NewMail { id, mail, asked_at: now });
            assert_eq!(item.expires_at, now.as_second() + seconds);
            let stored = item.with_key(Key::mail(id)).unwrap();
            assert!(stored["pk"].as_s().unwrap().starts_with("OUTBOX#"));
            assert_eq!(MailItem::parse(stored).unwrap(), item);
        }
    }
}
