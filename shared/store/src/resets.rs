//! Uses emailed codes: to set a password without the old one, and to claim an address.

use dynamo::Client;
use identity::{Account, Email, StoredHash};
use jiff::Timestamp;

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
    /// Another account has the address. Nothing was written.
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
    /// This is one transaction, on the conditions that the code is valid and that `account`, including its
    /// address, is still current. A notice that cannot be written does not prevent the reset.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn reset(
        &self,
        code: &CodeRecord,
        account: &Account,
        new: StoredHash,
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<Redeemed, StoreError> {
        let Self(table) = self;
        let next = account.epoch.next();
        let raised = table
            .update(Key::account(account.id))
            .when(unchanged(account))
            .set("ver", next)
            .set("password_ver", next);
        let hash = new.expose().to_owned();
        let password = PasswordItem { hash, epoch: PasswordEpoch::of(next) };
        // This write has no condition: the transaction already checks the account, and a reset replaces any
        // hash or creates the first one.
        let password = table.put(Key::password(account.username.canonical()), &password)?;
        let change = vec![table.use_up(code, now), raised.into(), password.into()];
        let failed = table.transact_with_mail(change, account.id, notice).await?;
        Ok(redeemed(&failed, None))
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
    /// This is one transaction, on the conditions that the code is valid, that `account` is still current,
    /// and that no other account has the address. A notice that cannot be written does not prevent the claim.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn verify(
        &self,
        code: &CodeRecord,
        account: &Account,
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<Redeemed, StoreError> {
        let Self(table) = self;
        let verified = table
            .update(Key::account(account.id))
            .when(unchanged(account))
            .set("email", &code.address)
            .set("email_verified", true)
            .remove("pending_email");
        let free_or_own = || absent().or(attribute("user_id").is(account.id));
        let claim = ClaimItem { user_id: account.id, username: account.username.clone() };
        let claimed = table.put(Key::email(code.address.canonical()), &claim)?.when(free_or_own());
        let mut change = vec![table.use_up(code, now), verified.into(), claimed.into()];
        let differs = |old: &&Email| old.canonical() != code.address.canonical();
        if let Some(old) = account.email.as_ref().filter(differs) {
            change.push(table.delete_when(Key::email(old.canonical()), free_or_own()));
        }
        let failed = table.transact_with_mail(change, account.id, notice).await?;
        // The claim is the third item.
        Ok(redeemed(&failed, Some(2)))
    }
}

/// The outcome of a transaction, given the positions of its failed conditions. `claim` is the position of the
/// claim to the address, if the transaction contains one.
fn redeemed(failed: &[usize], claim: Option<usize>) -> Redeemed {
    match failed {
        [] => Redeemed::Done,
        [only] if Some(*only) == claim => Redeemed::Taken,
        _ => Redeemed::Conflict,
    }
}
