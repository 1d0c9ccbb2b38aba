//! Creates accounts.

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

/// An account to create.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// A new, random id.
    pub id: UserId,
    /// The username in the spelling that the user chose.
    pub username: Username,
    /// The email address, if one was given.
    pub email: Option<NewEmail>,
    /// The initial roles.
    pub roles: Roles,
    /// The hash of the password.
    pub password: StoredHash,
    /// The time of registration.
    pub created_at: Timestamp,
    /// The MAC of the invitation's code, if the registration uses up an invitation.
    pub invite: Option<String>,
}

/// An address to register with.
#[derive(Clone, Debug)]
pub enum NewEmail {
    /// Claimed immediately, before it is verified. The registration fails if another account has the address.
    Claimed(Email),
    /// Claimed once it is verified. The registration succeeds even if another account has the address.
    Pending {
        /// The address to verify.
        address: Email,
        /// The email with the code. `None` if the address has received too many emails.
        mail: Option<NewMail>,
    },
}

/// When the address of a new account is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClaim {
    /// At registration, which fails if the address is taken.
    AtOnce,
    /// When the owner of the address confirms it. Until then, nothing reveals whether the address is taken.
    OnceVerified,
}

impl AddressClaim {
    /// Reads `EMAIL_VERIFICATION`: `optional`, which is the default, or `required`.
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
/// The position of the first optional item in the transaction.
const FIRST_OPTIONAL: usize = 3;

impl Registrations {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Creates an account and its claims to the name and the address, or nothing at all.
    ///
    /// This is one transaction with a condition on each item, so of several concurrent registrations of the same
    /// name, exactly one succeeds.
    ///
    /// # Errors
    /// When the name or the address is taken, the invitation is invalid, or the table cannot be written.
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
        let mut optional = Vec::new();
        if let Some(tag) = &invite {
            puts.push(self.use_up(tag, created_at));
            optional.push(RegisterError::InvalidInvite);
        }
        if let Some(address) = &address {
            puts.push(self.put_new(Key::email(address), &claim)?);
            optional.push(RegisterError::EmailTaken);
        }
        // The account is created even if the email cannot be requested: the owner can request another.
        let failed = self.0.transact_with_mail(puts, id, mail.as_ref()).await?;
        // If several conditions failed, the invitation's is reported first.
        let invalid = invite.is_some() && failed.contains(&FIRST_OPTIONAL);
        match failed.first() {
            None => Ok(account),
            _ if invalid => Err(RegisterError::InvalidInvite),
            Some(&USERNAME_CLAIM) => Err(RegisterError::UsernameTaken),
            Some(at) if *at >= FIRST_OPTIONAL && at - FIRST_OPTIONAL < optional.len() => {
                Err(optional.swap_remove(at - FIRST_OPTIONAL))
            }
            Some(_) => Err(StoreError::Contradiction.into()),
        }
    }

    /// Builds the part of the transaction that deletes an invitation, which must exist and must not have expired.
    fn use_up(&self, tag: &str, now: Timestamp) -> TransactWriteItem {
        let is_valid = exists().and(attribute("expires_at").above(now.as_second()));
        self.0.delete_when(Key::invite(tag), is_valid)
    }

    fn put_new(&self, key: Key, item: &impl Serialize) -> Result<TransactWriteItem, StoreError> {
        Ok(self.0.put(key, item)?.when(absent()).into())
    }
}

/// Why an account could not be created.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Another account has the username.
    #[error("the username is taken")]
    UsernameTaken,
    /// Another account has the address.
    #[error("another account uses the email address")]
    EmailTaken,
    /// The invitation does not exist, has been used, or has expired.
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
            Self::EmailTaken => Some("Another account uses this email address."),
            Self::InvalidInvite => None,
            Self::Store(error) => error.detail(),
        }
    }
}
