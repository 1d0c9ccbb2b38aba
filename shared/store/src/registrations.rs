//! Creating accounts.

use std::str::FromStr;

use aws_sdk_dynamodb::types::TransactWriteItem;
use dynamo::Client;
use identity::{
    Account, Email, EmailStanding, Roles, SessionEpoch, Standing, StoredHash, UserId, Username,
};
use jiff::Timestamp;
use process::{Fault, FaultKind, Reader};
use serde::Serialize;

use crate::expression::{absent, attribute, exists};
use crate::item::{AccountItem, ClaimItem, PasswordEpoch, PasswordItem};
use crate::key::Key;
use crate::outbox::NewMail;
use crate::table::{Config, StoreError, Table};

/// Creates accounts.
#[derive(Clone, Debug)]
pub struct Registrations(Table);

/// An account to be created.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// A new, random id.
    pub id: UserId,
    /// The username in the spelling that the user chose.
    pub username: Username,
    /// The e-mail address, if one was given.
    pub email: Option<NewEmail>,
    /// The initial roles.
    pub roles: Roles,
    /// The hash of the password.
    pub password: StoredHash,
    /// The time of registration.
    pub created_at: Timestamp,
    /// The MAC of the code of the invitation that the registration uses up, if it needs one.
    pub invite: Option<String>,
}

/// An address to register with.
#[derive(Clone, Debug)]
pub enum NewEmail {
    /// Claimed at once, and not verified: registering fails if another account has it.
    Claimed(Email),
    /// Claimed once it is verified. Registering succeeds even if another account has it.
    Pending {
        /// The address that the mail confirms.
        address: Email,
        /// The mail with the code. `None` if the address has had too many mails.
        mail: Option<NewMail>,
    },
}

/// When the address of a new account is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClaim {
    /// At registration, which fails if the address is taken.
    AtOnce,
    /// When its owner confirms it. Until then nothing reveals whether it is taken.
    OnceVerified,
}

impl AddressClaim {
    /// From `EMAIL_VERIFICATION`: `optional`, which is the default, or `required`.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        reader.optional("EMAIL_VERIFICATION", Self::AtOnce)
    }
}

impl FromStr for AddressClaim {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "optional" => Ok(Self::AtOnce),
            "required" => Ok(Self::OnceVerified),
            _ => Err("expected `optional` or `required`"),
        }
    }
}

/// The position of the username's claim in the transaction.
const USERNAME_CLAIM: usize = 0;
/// The position of the first item that not every registration has.
const FURTHER: usize = 3;

impl Registrations {
    /// The registrations of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Creates an account with its claims to name and address, or nothing at all.
    ///
    /// This is one transaction with a condition on each item, so exactly one of several concurrent
    /// registrations gets a name.
    ///
    /// # Errors
    /// When name or address is taken, the invitation is invalid, or the table cannot be written.
    pub async fn create(&self, new: NewAccount) -> Result<Account, RegisterError> {
        let NewAccount { id, username, email, roles, password, created_at, invite } = new;
        let claim = ClaimItem { user_id: id, username: username.clone() };
        let name = username.canonical().clone();
        let (email, pending_email, mail) = match email {
            Some(NewEmail::Claimed(email)) => (Some(email), None, None),
            Some(NewEmail::Pending { address, mail }) => (None, Some(address), mail),
            None => (None, None, None),
        };
        let address = email.as_ref().map(|email| email.canonical().clone());
        let account = Account {
            id,
            username,
            email,
            email_standing: EmailStanding::Unverified,
            pending_email,
            roles,
            created_at,
            standing: Standing::Active,
            epoch: SessionEpoch::FIRST,
        };
        let hash = password.expose().to_owned();
        let mut puts = vec![
            self.put_new(Key::username(&name), &claim)?,
            self.put_new(
                Key::password(&name),
                &PasswordItem { hash, epoch: PasswordEpoch::of(SessionEpoch::FIRST) },
            )?,
            self.put_new(Key::account(id), &AccountItem::new(account.clone()))?,
        ];
        let mut further = Vec::new();
        if let Some(tag) = &invite {
            puts.push(self.use_up(tag, created_at));
            further.push(RegisterError::InvalidInvite);
        }
        if let Some(address) = &address {
            puts.push(self.put_new(Key::email(address), &claim)?);
            further.push(RegisterError::EmailTaken);
        }
        // If the mail is lost, the owner can request it again, but could not register the name again.
        let failed = self.0.transact_and_tell(puts, id, mail.as_ref()).await?;
        // An invalid invitation is reported before any other failure.
        let invalid = invite.is_some() && failed.contains(&FURTHER);
        match failed.first() {
            None => Ok(account),
            _ if invalid => Err(RegisterError::InvalidInvite),
            Some(&USERNAME_CLAIM) => Err(RegisterError::UsernameTaken),
            Some(at) if *at >= FURTHER && at - FURTHER < further.len() => {
                Err(further.swap_remove(at - FURTHER))
            }
            Some(_) => Err(StoreError::Contradiction.into()),
        }
    }

    /// The part of the transaction that deletes an invitation, which must exist and not have expired.
    fn use_up(&self, tag: &str, now: Timestamp) -> TransactWriteItem {
        let is_valid = exists().and(attribute("expires_at").above(now.as_second()));
        self.0.delete_when(Key::invite(tag), is_valid)
    }

    fn put_new(&self, key: Key, item: &impl Serialize) -> Result<TransactWriteItem, StoreError> {
        Ok(self.0.put(key, item)?.when(absent()).into())
    }
}

/// An account could not be created.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Another account has the username.
    #[error("the username is taken")]
    UsernameTaken,
    /// Another account has the address.
    #[error("another account uses the e-mail address")]
    EmailTaken,
    /// The invitation does not exist, was used, or has expired.
    #[error("the invitation is invalid")]
    InvalidInvite,
    /// The table could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fault for RegisterError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::UsernameTaken | Self::EmailTaken => FaultKind::Conflict,
            Self::InvalidInvite => FaultKind::Forbidden,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UsernameTaken | Self::EmailTaken => "already_exists",
            Self::InvalidInvite => "invalid_invite",
            Self::Store(error) => error.code(),
        }
    }

    fn detail(&self) -> Option<&'static str> {
        match self {
            Self::UsernameTaken => Some("The username is taken."),
            Self::EmailTaken => Some("Another account uses this e-mail address."),
            Self::InvalidInvite => None,
            Self::Store(error) => error.detail(),
        }
    }
}
