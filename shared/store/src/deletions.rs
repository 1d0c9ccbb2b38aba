//! Deletes accounts.
//!
//! One transaction deletes the account, its claims and its password, leaves tombstones of its names, and records the
//! deletion. The other items, such as sessions and events, may be too many for a transaction. They are the *remains* of
//! the account: the transaction writes an outbox item for them, and they are deleted right afterwards. If that is
//! interrupted, the mailer, which the outbox item invokes, deletes the rest.

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
use crate::item::{Item, stored_items};
use crate::key::{Key, KeyPrefix, PartOfAccount};
use crate::table::{Config, StoreError, Table};

/// How long deleting the remains may delay the response. The mailer deletes what is left.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long counting the remains may delay the deletion.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// How many items are deleted concurrently.
const AT_ONCE: usize = 25;

/// How many keys are read at once. Their items are deleted before further keys are read. So the memory is bounded, and
/// a sweep that is interrupted has made progress.
const PAGE: i32 = 100;

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
    /// How long no account can claim the names.
    pub quarantine: SignedDuration,
    /// The administrator who deletes the account. `None` if the owner or an operator deletes it. The deletion is
    /// refused if the administrator has been disabled or logged out, or has lost a role, since the request was
    /// admitted.
    pub admin: Option<&'a Authority>,
    /// Computes the tags of the names under which the account's known networks may be stored.
    pub known_under: &'a (dyn Fn(&Account) -> Vec<String> + Send + Sync),
}

/// Identifies the items that are deleted after their account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    user_id: UserId,
    /// The tags of the names under which the account's known networks may be stored.
    known_under: Vec<String>,
    /// How many times the deletion was postponed. A new number makes the stream invoke the mailer again.
    #[serde(default)]
    postponed: u64,
    /// How many times the deletion was postponed because it failed.
    #[serde(default)]
    failures: u64,
}

stored_items!(Remains);

impl Remains {
    /// The remains of an account that has no outbox item. They do not include the account's known networks, because only
    /// the outbox item identifies these.
    #[must_use]
    pub fn of(user_id: UserId) -> Self {
        Self { user_id, known_under: Vec::new(), postponed: 0, failures: 0 }
    }

    /// How many times the deletion was postponed because it failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// The same remains after another failure.
    #[must_use]
    pub fn after_failure(self) -> Self {
        Self { failures: self.failures.saturating_add(1), ..self }
    }

    /// Where the items are.
    fn prefixes(&self) -> impl Iterator<Item = KeyPrefix> {
        let networks = self.known_under.iter().map(|name| KeyPrefix::known_networks(name));
        [KeyPrefix::account(self.user_id), KeyPrefix::codes(self.user_id)]
            .into_iter()
            .chain(networks)
    }
}

/// Whether the remains of an account have been deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// All of them.
    All,
    /// As many as permitted. There are more.
    Part,
}

/// How many items of each kind have been deleted with an account. If there were too many to count them within a few
/// seconds, the numbers are too low.
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

impl Deleted {
    fn add(&mut self, remnants: &[Remnant]) {
        for remnant in remnants {
            match remnant.part {
                PartOfAccount::Session => self.sessions += 1,
                PartOfAccount::Event => self.events += 1,
                PartOfAccount::Code => self.codes += 1,
                PartOfAccount::Network => self.known_networks += 1,
                PartOfAccount::Account | PartOfAccount::Other => {}
            }
        }
    }

    /// The higher number of each kind.
    fn max(self, other: Self) -> Self {
        Self {
            sessions: self.sessions.max(other.sessions),
            events: self.events.max(other.events),
            codes: self.codes.max(other.codes),
            known_networks: self.known_networks.max(other.known_networks),
        }
    }
}

/// An item that remains of an account.
struct Remnant {
    part: PartOfAccount,
    key: Key,
}

impl Remnant {
    /// `None` if the item is the account or the event that reports its deletion.
    fn of(item: &Item) -> Result<Option<Self>, StoreError> {
        let key = Key::of(item).ok_or(StoreError::Contradiction)?;
        let part = PartOfAccount::of(&key);
        let kind = item.get("kind").and_then(|kind| kind.as_s().ok());
        let is_kept = match part {
            PartOfAccount::Account => true,
            PartOfAccount::Event => kind.is_some_and(|kind| kind == Kind::Deleted.name()),
            _ => false,
        };
        Ok((!is_kept).then_some(Self { part, key }))
    }
}

/// What to do with the remains of an account.
enum Pass<'a> {
    Count,
    /// Delete them, at most about `budget` items. Each deleted item reduces the budget. An item that cannot be deleted
    /// does not: otherwise, a page of such items would prevent the deletion of the items after it.
    Delete {
        budget: &'a mut usize,
    },
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
        let known_under = (deletion.known_under)(account);
        let remains = Remains { known_under, ..Remains::of(account.id) };
        // Count the remains now, because the mailer may delete some of them before the sweep below. If counting takes
        // too long, the account is deleted anyway.
        let (mut counted, mut deleted) = (Deleted::default(), Deleted::default());
        let count = self.walk(&remains, Pass::Count, &mut counted);
        if let Ok(walked) = timeout(COUNT_TIMEOUT, count).await {
            walked?;
        }
        self.transact(account, deletion, &remains).await?;
        let mut budget = usize::MAX;
        let swept = async {
            self.sweep_counted(&remains, &mut budget, &mut deleted).await?;
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
        Ok(counted.max(deleted))
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
        parts.extend(table.outdated_entries(account));
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
            parts.extend(admin.check(table, account)?);
        }
        let failed = table.transact(parts).await?;
        match failed.first() {
            None => {
                event.log(Some(id));
                Ok(())
            }
            // If the account has changed, other conditions may have failed only for that reason.
            Some(0) => Err(ChangeError::Raced),
            first if first.copied() == keeps_super_admin => Err(ChangeError::LastSuperAdmin),
            Some(first) if *first >= permitted => Err(match deletion.admin {
                Some(admin) => admin.refusal(table).await,
                None => StoreError::Contradiction.into(),
            }),
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

    /// Deletes the remains of an account, at most about `budget` items, and reduces the budget by their number. This is
    /// idempotent. Nothing is deleted if the account exists, which happens only after it was restored from a backup.
    ///
    /// # Errors
    /// When the table cannot be read or written. Some items may have been deleted nevertheless.
    pub async fn sweep(&self, remains: &Remains, budget: &mut usize) -> Result<Swept, StoreError> {
        self.sweep_counted(remains, budget, &mut Deleted::default()).await
    }

    /// Postpones deleting the rest of the remains: the stream invokes the mailer again, after all emails that have been
    /// requested so far.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn postpone(&self, remains: &Remains) -> Result<(), StoreError> {
        let postponed = remains.postponed.wrapping_add(1);
        let again = Remains { postponed, ..remains.clone() };
        self.0.put(Key::remains(remains.user_id), &again)?.send().await.map(drop)
    }

    /// Deletes the outbox item of a deleted account, after its remains have been deleted.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn done(&self, id: UserId) -> Result<(), StoreError> {
        self.0.delete(Key::remains(id)).await.map(drop)
    }

    async fn sweep_counted(
        &self,
        remains: &Remains,
        budget: &mut usize,
        deleted: &mut Deleted,
    ) -> Result<Swept, StoreError> {
        if self.0.account(remains.user_id).await?.is_some() {
            let user_id = remains.user_id.to_string();
            tracing::error!(event = "remains_kept", user_id, "the account exists");
            return Ok(Swept::All);
        }
        self.walk(remains, Pass::Delete { budget }, deleted).await
    }

    /// Counts or deletes the remains of an account, page by page, and adds their numbers to `tally`.
    async fn walk(
        &self,
        remains: &Remains,
        mut pass: Pass<'_>,
        tally: &mut Deleted,
    ) -> Result<Swept, StoreError> {
        // A failed deletion does not prevent the others.
        let mut outcome = Ok(());
        for prefix in remains.prefixes() {
            let mut pages = self.0.keys_of(&prefix, PAGE).send();
            while let Some(page) = pages.next().await {
                let mut remnants = Vec::new();
                for item in page?.items() {
                    remnants.extend(Remnant::of(item)?);
                }
                if let Pass::Delete { budget } = &mut pass {
                    if **budget == 0 && !remnants.is_empty() {
                        return Ok(Swept::Part);
                    }
                    outcome = outcome.and(self.delete_all(&remnants, budget).await);
                }
                tally.add(&remnants);
            }
        }
        outcome.map(|()| Swept::All)
    }

    /// Deletes `remnants`, and reduces the budget by the number of those that were deleted.
    async fn delete_all(&self, remnants: &[Remnant], budget: &mut usize) -> Result<(), StoreError> {
        let deletions: Vec<_> = remnants.iter().map(|it| self.delete_remnant(it)).collect();
        let mut deletions = iter(deletions).buffer_unordered(AT_ONCE);
        let mut outcome = Ok(());
        while let Some(deleted) = deletions.next().await {
            *budget = budget.saturating_sub(usize::from(deleted.is_ok()));
            outcome = outcome.and(deleted);
        }
        outcome
    }

    async fn delete_remnant(&self, remnant: &Remnant) -> Result<(), StoreError> {
        // The pointer is deleted last, because without it the code cannot be found.
        if remnant.part == PartOfAccount::Code {
            self.0.delete_code(&remnant.key).await?;
        }
        self.0.delete(remnant.key.clone()).await.map(drop)
    }
}
