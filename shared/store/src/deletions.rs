//! Deletes accounts.
//!
//! One transaction deletes the account, its claims and its password, leaves tombstones of its names, and records the
//! deletion. The other items, such as sessions and events, may be too many for a transaction. They are the *remains* of
//! the account: the transaction writes an outbox item for them, and they are deleted right afterwards. If that is
//! interrupted, the mailer, which the outbox item invokes, deletes them.

use std::collections::BTreeSet;
use std::time::Duration;

use dynamo::Client;
use events::{Event, Kind, Occasion, Origin};
use futures_util::StreamExt;
use futures_util::stream::iter;
use identity::{Account, Email, NameTagger, UniqueName, UserId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::administration::{Authority, ChangeError, TRIES};
use crate::codes::DigitsOf;
use crate::expression::attribute;
use crate::key::{Key, KeyPrefix, PartOfAccount};
use crate::table::{Config, StoreError, Table};

/// How long deleting the remains may delay the response. The mailer deletes what is left.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long counting the remains may delay the deletion.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// How many items are deleted concurrently.
const AT_ONCE: usize = 25;

/// Deletes accounts.
#[derive(Clone, Debug)]
pub struct Deletions(Table);

/// How to delete an account.
#[derive(Clone, Copy)]
pub struct Deletion<'a> {
    /// The request that deletes the account.
    pub occasion: &'a Occasion,
    /// Computes the tags of the account's names.
    pub tagger: &'a dyn NameTagger,
    /// How long the names cannot be claimed.
    pub quarantine: SignedDuration,
    /// The administrator who deletes the account. `None` if the owner or an operator deletes it. The deletion is
    /// refused if the administrator has been disabled or logged out, or has lost a role, since the request was
    /// admitted.
    pub admin: Option<&'a Account>,
    /// Computes the tags of the names under which the account's networks may be known.
    pub known_under: &'a (dyn Fn(&Account) -> Vec<String> + Send + Sync),
}

/// Identifies the items that are deleted after their account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    user_id: UserId,
    /// The tags of the names under which the account's networks may be known.
    known_under: Vec<String>,
}

/// How many items of each kind have been deleted with an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// The sessions, including expired ones.
    pub sessions: usize,
    /// The security events.
    pub events: usize,
    /// The emailed codes.
    pub codes: usize,
    /// The networks from which the owner signed in.
    pub known_networks: usize,
}

/// An item that remains of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Remnant {
    Session(Key),
    Event(Key),
    /// The pointer to a code.
    Code(Key),
    Network(Key),
    Other(Key),
}

impl Deleted {
    fn of(remnants: &BTreeSet<Remnant>) -> Self {
        let mut deleted = Self::default();
        for remnant in remnants {
            match remnant {
                Remnant::Session(_) => deleted.sessions += 1,
                Remnant::Event(_) => deleted.events += 1,
                Remnant::Code(_) => deleted.codes += 1,
                Remnant::Network(_) => deleted.known_networks += 1,
                Remnant::Other(_) => {}
            }
        }
        deleted
    }
}

/// The stored items of an account, except those that the transaction deletes.
struct Inventory {
    remnants: BTreeSet<Remnant>,
    /// Whether the account exists.
    has_account: bool,
}

impl Deletions {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Reads an account and deletes it if `permit` allows it. If the account changes in between, reads it again and
    /// retries, a few times at most. Returns how many items of each kind were deleted with the account.
    ///
    /// # Errors
    /// When the account does not exist, `permit` fails, the account is the last active super administrator, or the
    /// table cannot be read or written.
    pub async fn delete<E: From<ChangeError>>(
        &self,
        id: UserId,
        deletion: &Deletion<'_>,
        permit: impl Fn(&Account) -> Result<(), E>,
    ) -> Result<Deleted, E> {
        for _ in 0..TRIES {
            let account = self.0.account(id).await.map_err(ChangeError::from)?;
            let account = account.ok_or(ChangeError::Store(StoreError::Absent))?;
            permit(&account)?;
            match self.delete_current(&account, deletion).await {
                Err(ChangeError::Raced) => {}
                done => return Ok(done?),
            }
        }
        Err(ChangeError::Raced.into())
    }

    /// Deletes an account on the condition that it has not changed since it was read.
    async fn delete_current(
        &self,
        account: &Account,
        deletion: &Deletion<'_>,
    ) -> Result<Deleted, ChangeError> {
        let remains = Remains { user_id: account.id, known_under: (deletion.known_under)(account) };
        // Count the remains now, because the mailer may delete some of them before the sweep below. If counting takes
        // too long, the account is deleted anyway.
        let mut remnants = match timeout(COUNT_TIMEOUT, self.inventory(&remains)).await {
            Ok(inventory) => inventory?.remnants,
            Err(_) => BTreeSet::new(),
        };
        self.transact(account, deletion, &remains).await?;
        let swept = async {
            remnants.extend(self.sweep_counted(&remains).await?);
            self.done(account.id).await
        };
        let failure: Option<Box<dyn std::error::Error>> = match timeout(SWEEP_TIMEOUT, swept).await
        {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.into()),
            Err(error) => Some(error.into()),
        };
        if let Some(error) = failure {
            let (user_id, error) = (account.id.to_string(), &*error);
            tracing::warn!(event = "remains_not_deleted", user_id, error, "left to the mailer");
        }
        Ok(Deleted::of(&remnants))
    }

    /// Deletes the account, its claims and its password, and leaves the tombstones, the event and the outbox item, or
    /// changes nothing at all.
    async fn transact(
        &self,
        account: &Account,
        deletion: &Deletion<'_>,
        remains: &Remains,
    ) -> Result<(), ChangeError> {
        let Self(table) = self;
        let Deletion { occasion, tagger, quarantine, .. } = deletion;
        let (id, now) = (account.id, occasion.at);
        let username = account.username.canonical();
        let address = account.email.as_ref().map(Email::canonical);
        let is_own = || attribute("user_id").is(id);
        let mut parts = vec![table.delete_when(Key::account(id), Table::is_current(account))];
        let memberships = table.memberships(Some(account), None)?;
        let keeps_super_admin = memberships.first_keeps_super_admin.then_some(parts.len());
        parts.extend(memberships.parts);
        parts.extend([
            table.delete_when(Key::username(username), is_own()),
            table.delete_any(Key::password(username)),
            table.delete_any(Key::digits(DigitsOf::Confirmation(id))),
        ]);
        let mut names = vec![UniqueName::Username(username)];
        if let Some(address) = address {
            parts.extend([
                table.delete_when(Key::email(address), is_own()),
                table.delete_any(Key::digits(DigitsOf::Reset(address))),
            ]);
            names.push(UniqueName::Email(address));
        }
        let until = now.saturating_add(*quarantine).unwrap_or(Timestamp::MAX);
        for name in names {
            parts.push(table.tombstone(name, *tagger, now, until)?.into());
        }
        // The event outlives the account, so it does not contain the origin of the request.
        let event = Event { origin: Origin::default(), ..occasion.event(id, Kind::Deleted) };
        parts.push(table.event(id, &event)?.into());
        parts.push(table.put(Key::remains(id), remains)?.into());
        let permitted = parts.len();
        if let Some(admin) = deletion.admin {
            parts.extend(Authority::of(admin).check(table, account)?);
        }
        let failed = table.transact(parts).await?;
        match failed.first() {
            None => {
                event.log(Some(id));
                Ok(())
            }
            // If the account has changed, this may be the only reason why other conditions failed.
            Some(0) => Err(ChangeError::Raced),
            first if first.copied() == keeps_super_admin => Err(ChangeError::LastSuperAdmin),
            Some(first) if *first == permitted => Err(ChangeError::NotPermitted),
            Some(_) => Err(StoreError::Contradiction.into()),
        }
    }

    /// Reads the outbox item of a deleted account. `None` if nothing remains of the account.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn remains(&self, id: UserId) -> Result<Option<Remains>, StoreError> {
        self.0.get(Key::remains(id)).await
    }

    /// Deletes the remains of an account. This is idempotent. Nothing is deleted if the account exists, which happens
    /// only after it was restored from a backup.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn sweep(&self, remains: &Remains) -> Result<(), StoreError> {
        self.sweep_counted(remains).await.map(drop)
    }

    /// Deletes the outbox item of a deleted account, after its remains have been deleted.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn done(&self, id: UserId) -> Result<(), StoreError> {
        self.0.delete(Key::remains(id)).await.map(drop)
    }

    async fn sweep_counted(&self, remains: &Remains) -> Result<BTreeSet<Remnant>, StoreError> {
        let Inventory { remnants, has_account } = self.inventory(remains).await?;
        if has_account {
            let user_id = remains.user_id.to_string();
            tracing::error!(event = "remains_kept", user_id, "the account exists");
            return Ok(BTreeSet::new());
        }
        let deletions: Vec<_> = remnants.iter().map(|it| self.delete_remnant(it)).collect();
        let mut deletions = iter(deletions).buffer_unordered(AT_ONCE);
        // A failed deletion does not prevent the others.
        let mut outcome = Ok(());
        while let Some(deleted) = deletions.next().await {
            outcome = outcome.and(deleted);
        }
        drop(deletions);
        outcome.map(|()| remnants)
    }

    async fn delete_remnant(&self, remnant: &Remnant) -> Result<(), StoreError> {
        let Self(table) = self;
        match remnant {
            // The pointer is deleted last, because without it the code cannot be found.
            Remnant::Code(pointer) => {
                table.delete_code(pointer).await?;
                table.delete(pointer.clone()).await.map(drop)
            }
            Remnant::Session(key)
            | Remnant::Event(key)
            | Remnant::Network(key)
            | Remnant::Other(key) => table.delete(key.clone()).await.map(drop),
        }
    }

    /// Finds the remains of an account.
    async fn inventory(&self, remains: &Remains) -> Result<Inventory, StoreError> {
        let Self(table) = self;
        let id = remains.user_id;
        let (mut remnants, mut has_account) = (BTreeSet::new(), false);
        for (key, kind) in table.keys_of(&KeyPrefix::account(id)).await? {
            match PartOfAccount::of(&key) {
                PartOfAccount::Account => has_account = true,
                PartOfAccount::Event if kind.as_deref() == Some(Kind::Deleted.name()) => {}
                PartOfAccount::Event => drop(remnants.insert(Remnant::Event(key))),
                PartOfAccount::Session => drop(remnants.insert(Remnant::Session(key))),
                PartOfAccount::Other => drop(remnants.insert(Remnant::Other(key))),
            }
        }
        let codes = table.keys_of(&KeyPrefix::codes(id)).await?;
        remnants.extend(codes.into_iter().map(|(key, _)| Remnant::Code(key)));
        for name in &remains.known_under {
            let networks = table.keys_of(&KeyPrefix::known_networks(name)).await?;
            remnants.extend(networks.into_iter().map(|(key, _)| Remnant::Network(key)));
        }
        Ok(Inventory { remnants, has_account })
    }
}
