//! Deletes accounts at the request of their owner, an administrator or an operator.
//!
//! One transaction deletes the account, its claims to names, and its password. Everything else that names the user is
//! deleted right afterwards ([`store::Deletions`]). Tombstones keep the names from being claimed until the quarantine
//! ends.

use events::Occasion;
use identity::{Account, EventId, UserId};
use jiff::Timestamp;
use peppers::{NameQuarantine, Peppers};
use serde::Serialize;
use store::{Authority, ChangeError, Deleted, Deletion, Deletions};

/// Deletes accounts.
#[derive(Clone, Debug)]
pub struct AccountDeletion {
    deletions: Deletions,
    quarantine: NameQuarantine,
}

/// A receipt for a deletion.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Receipt {
    /// The id of the security event that records the deletion.
    #[serde(rename = "receipt")]
    event: EventId,
    action: Action,
    user_id: UserId,
    at: Timestamp,
    deleted: Deleted,
}

/// What a receipt confirms.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Deleted,
}

impl AccountDeletion {
    /// Deletes accounts in `deletions`, and keeps their names in quarantine.
    #[must_use]
    pub fn new(deletions: Deletions, quarantine: NameQuarantine) -> Self {
        Self { deletions, quarantine }
    }

    /// Deletes an account if `permit` allows this for the account's current state. `admin` is the administrator who
    /// deletes the account, or `None` if its owner or an operator does.
    ///
    /// # Errors
    /// The errors of [`Deletions::delete`].
    pub async fn delete<E: From<ChangeError>>(
        &self,
        id: UserId,
        occasion: &Occasion,
        peppers: &Peppers,
        admin: Option<&Authority>,
        permit: impl Fn(&Account) -> Result<(), E>,
    ) -> Result<Receipt, E> {
        let known_under = |account: &Account| throttle::known_under(peppers, account);
        let deletion = Deletion {
            occasion,
            tagger: peppers,
            quarantine: self.quarantine.duration(),
            admin,
            known_under: &known_under,
        };
        let deleted = self.deletions.delete(id, &deletion, permit).await?;
        let (event, at) = (occasion.id, occasion.at);
        Ok(Receipt { event, action: Action::Deleted, user_id: id, at, deleted })
    }
}
