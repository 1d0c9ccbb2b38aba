//! Uses emailed codes: to set a password without the old one, and to claim an address.

use dynamo::Client;
use events::{Kind, Occasion};
use identity::{Account, Email, EmailStanding, NameTagger, StoredHash, UniqueName};

use crate::codes::CodeRecord;
use crate::expression::{Condition, absent, attribute};
use crate::item::{ClaimItem, PasswordEpoch, PasswordItem};
use crate::key::Key;
use crate::outbox::NewMail;
use crate::table::{Config, StoreError, Table};

/// Sets passwords with emailed codes.
#[derive(Clone, Debug)]
pub struct Resets(Table);

/// Claims addresses with emailed codes.
#[derive(Clone, Debug)]
pub struct Verifications(Table);

/// The outcome of using a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// The change was made, and the code is used up.
    Done,
    /// The code is no longer valid or the account has changed. Nothing was written.
    Conflict,
    /// Another account has the address, or a deleted account had it recently. Nothing was written.
    Taken,
}

/// The condition that an account still has the epoch and the address that were read, and is not disabled.
pub(crate) fn unchanged(account: &Account) -> Condition {
    // The comparison includes the spelling of the address.
    let has_same_email = match &account.email {
        Some(email) => attribute("email").is(email),
        None => attribute("email").is_absent(),
    };
    attribute("ver").is(account.epoch).and(attribute("disabled").is(false)).and(has_same_email)
}

impl Resets {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Sets the password's hash to `new`, raises the account's epoch to end all of its sessions, uses up the
    /// code, and requests `notice`, if any.
    ///
    /// This is one transaction. Nothing is written unless the code is valid and `account`, including its address, is
    /// still current. A notice that cannot be written does not prevent the reset.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn reset(
        &self,
        code: &CodeRecord,
        account: &Account,
        new: StoredHash,
        notice: Option<&NewMail>,
        occasion: &Occasion,
    ) -> Result<Redeemed, StoreError> {
        let Self(table) = self;
        let next = account.epoch.next();
        let raised = table
            .update_account(account.id)
            .when(unchanged(account))
            .set("ver", next)
            .set("password_ver", next);
        let hash = new.expose().to_owned();
        let password = PasswordItem { hash, epoch: PasswordEpoch::of(next) };
        // This write has no condition: the transaction already checks the account, and a reset replaces any
        // hash or creates the first one.
        let password = table.put(Key::password(account.username.canonical()), &password)?;
        let mut change = table.use_up(code, occasion.at)?;
        change.extend([raised.into(), password.into()]);
        let event = occasion.event(account.id, Kind::PasswordReset);
        let failed = table.transact_and_record(change, account.id, &event, notice).await?;
        Ok(if failed.is_empty() { Redeemed::Done } else { Redeemed::Conflict })
    }
}

impl Verifications {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Claims, for the account, the address to which the code was sent. Marks the address as verified, releases
    /// the account's previous address, uses up the code, and requests `notice`, if any.
    ///
    /// This is one transaction. Nothing is written unless the code is valid, `account` is still current, no
    /// administrator has changed its address since the code was requested, no other account has the new address, and
    /// no recently deleted account had it. A notice that cannot be written does not prevent the claim.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn verify(
        &self,
        code: &CodeRecord,
        account: &Account,
        tagger: &dyn NameTagger,
        notice: Option<&NewMail>,
        occasion: &Occasion,
    ) -> Result<Redeemed, StoreError> {
        let Self(table) = self;
        let address = code.address.canonical();
        // Both ids are UUIDv7, so their texts sort by time.
        let is_recent =
            attribute("codes_after").is_absent().or(attribute("codes_after").at_most(code.mail));
        let verified = table
            .update_account(account.id)
            .when(unchanged(account).and(is_recent))
            .set("email", &code.address)
            .set("email_verified", true)
            .remove("pending_email");
        let free_or_own = || absent().or(attribute("user_id").is(account.id));
        let claim = ClaimItem { user_id: account.id, username: account.username.clone() };
        let claimed = table.put(Key::email(address), &claim)?.when(free_or_own());
        // The conditions that fail if the address is taken come first.
        let mut change = vec![claimed.into()];
        change.extend(table.no_tombstone(UniqueName::Email(address), tagger, occasion.at));
        let claims = change.len();
        change.extend(table.use_up(code, occasion.at)?);
        change.push(verified.into());
        let differs = |old: &&Email| old.canonical() != address;
        if let Some(old) = account.email.as_ref().filter(differs) {
            change.push(table.delete_when(Key::email(old.canonical()), free_or_own()));
        }
        let event =
            occasion.event(account.id, Kind::EmailChanged { standing: EmailStanding::Verified });
        let failed = table.transact_and_record(change, account.id, &event, notice).await?;
        Ok(match failed.iter().max() {
            None => Redeemed::Done,
            Some(last) if *last < claims => Redeemed::Taken,
            Some(_) => Redeemed::Conflict,
        })
    }
}
