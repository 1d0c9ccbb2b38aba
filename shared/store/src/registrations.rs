//! Creates accounts.

use std::str::FromStr;

use aws_sdk_dynamodb::types::TransactWriteItem;
use dynamo::Client;
use events::{Kind, Occasion};
use identity::{
    Account, Attributes, Email, EmailStanding, NameTagger, Revision, Roles, SessionEpoch, Standing,
    StoredHash, UniqueName, UserId, Username,
};
use jiff::Timestamp;
use process::{Fault, FaultKind, Reader};

use crate::expression::{absent, attribute, exists};
use crate::item::{AccountItem, ClaimItem, PasswordEpoch, PasswordItem, StoredItem};
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
    /// The request that creates the account.
    pub occasion: Occasion,
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
    /// At registration. The registration fails if the address is taken.
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

/// A part of a new account that conflicts with stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// Another account has the username, or a recently deleted account had it.
    Username,
    /// A password is stored under the username.
    Password,
    /// An account has the id.
    Id,
    /// Another account has the address, or a recently deleted account had it.
    Email,
    /// The invitation does not exist, has been used, or has expired.
    Invite,
    /// A part of the transaction that has no condition.
    Impossible,
}

/// An account to write, with its claims and its password.
pub(crate) struct Creation<'a> {
    pub(crate) account: Account,
    /// `None` if the owner has to set a password by email.
    pub(crate) password: Option<PasswordItem>,
    /// The invitation to use up, if any: the MAC of its code.
    pub(crate) invite: Option<String>,
    pub(crate) mail: Option<NewMail>,
    /// The request that creates the account.
    pub(crate) occasion: &'a Occasion,
}

impl Table {
    /// Writes an account, its password, its claims to the name and the address, its entries in lists and the event, or
    /// nothing at all. Returns the conflicts that prevent the creation; if there are none, the account was created.
    ///
    /// This is one transaction with a condition on each item, so of several concurrent creations with the same name,
    /// exactly one succeeds.
    pub(crate) async fn create_account(
        &self,
        creation: Creation<'_>,
        tagger: &dyn NameTagger,
    ) -> Result<Vec<Conflict>, StoreError> {
        let Creation { account, password, invite, mail, occasion } = creation;
        let now = occasion.at;
        let set_in = password.as_ref().map_or_else(PasswordEpoch::default, |it| it.epoch);
        let item = AccountItem::new(account.clone(), set_in);
        let name = account.username.canonical();
        let claim = ClaimItem { user_id: account.id, username: account.username.clone() };
        let mut parts = vec![(Conflict::Username, self.put_new(Key::username(name), &claim)?)];
        if let Some(password) = &password {
            parts.push((Conflict::Password, self.put_new(Key::password(name), password)?));
        }
        parts.push((Conflict::Id, self.put_new(Key::account(account.id), &item)?));
        let mut claimed = vec![(Conflict::Username, UniqueName::Username(name))];
        if let Some(tag) = &invite {
            parts.push((Conflict::Invite, self.use_up_invite(tag, now)));
        }
        if let Some(address) = account.email.as_ref().map(Email::canonical) {
            parts.push((Conflict::Email, self.put_new(Key::email(address), &claim)?));
            claimed.push((Conflict::Email, UniqueName::Email(address)));
        }
        for (conflict, name) in claimed {
            let checks = self.no_tombstone(name, tagger, now);
            parts.extend(checks.into_iter().map(|check| (conflict, check)));
        }
        // These parts have no conditions: only removing a super administrator from the set needs one.
        let memberships = self.memberships(None, Some(&account))?.parts;
        parts.extend(memberships.into_iter().map(|part| (Conflict::Impossible, part)));
        let (conflicts, writes): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let event = occasion.event(account.id, Kind::Registered);
        // The account is created even if the email cannot be requested: the owner can request another.
        let failed = self.transact_and_record(writes, account.id, &event, mail.as_ref()).await?;
        let of = |at: usize| conflicts.get(at).copied().ok_or(StoreError::Contradiction);
        failed.into_iter().map(of).collect()
    }

    /// Builds the part of the transaction that deletes an invitation, which must exist and must not have expired.
    fn use_up_invite(&self, tag: &str, now: Timestamp) -> TransactWriteItem {
        let is_valid = exists().and(attribute("expires_at").above(now.as_second()));
        self.delete_when(Key::invite(tag), is_valid)
    }

    fn put_new(&self, key: Key, item: &impl StoredItem) -> Result<TransactWriteItem, StoreError> {
        Ok(self.put(key, item)?.when(absent()).into())
    }
}

impl Registrations {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Creates an account and its claims to the name and the address, or nothing at all.
    ///
    /// This is one transaction with a condition on each item, so of several concurrent registrations of the same
    /// name, exactly one succeeds. The names of recently deleted accounts are treated as taken.
    ///
    /// # Errors
    /// When the name or the address is taken, the invitation is invalid, or the table cannot be written.
    pub async fn create(
        &self,
        new: NewAccount,
        tagger: &dyn NameTagger,
    ) -> Result<Account, RegisterError> {
        let NewAccount { id, username, email, roles, password, created_at, invite, occasion } = new;
        let (email, pending_email, mail) = match email {
            Some(NewEmail::Claimed(email)) => (Some(email), None, None),
            Some(NewEmail::Pending { address, mail }) => (None, Some(address), mail),
            None => (None, None, None),
        };
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
            attributes: Attributes::default(),
            revision: Revision::FIRST,
            last_login_at: None,
        };
        let hash = password.expose().to_owned();
        let epoch = PasswordEpoch::of(SessionEpoch::FIRST);
        let creation = Creation {
            account: account.clone(),
            password: Some(PasswordItem { hash, epoch }),
            invite,
            mail,
            occasion: &occasion,
        };
        let conflicts = self.0.create_account(creation, tagger).await?;
        // If several conditions failed, an invalid invitation is reported first.
        if conflicts.is_empty() {
            Ok(account)
        } else if conflicts.contains(&Conflict::Invite) {
            Err(RegisterError::InvalidInvite)
        } else if conflicts.contains(&Conflict::Username) {
            Err(RegisterError::UsernameTaken)
        } else if conflicts.contains(&Conflict::Email) {
            Err(RegisterError::EmailTaken)
        } else {
            Err(StoreError::Contradiction.into())
        }
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
